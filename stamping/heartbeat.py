"""What ran when, and what kept a process from its work: a row a name, by the database's clock, for doctor and metrics.

A row is written over, never added to, so that nobody has to clean up.
"""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables import heartbeats
from stamping.tools import Tools

SWEEP, SWEEP_BEGUN, BEAT = "sweep", "sweep_begun", "beat"
REFUSED = "refused"
"""A worker could not do its work: `code` is PostgreSQL's, or EMFILE."""
STORE = "store"
"""The document store took nothing: `why`."""
DROPPED = "dropped"
"""Redis dropped keys for want of memory: `keys` so far."""

WORD_EVERY = 5.0  # seconds
_noting = threading.Lock()
_noted_at: dict[tuple[int, str], float] = {}


def note(db: sa.Connection, name: str, worker: str, **detail: Any) -> None:
    """Note that something ran to its end now."""
    values = {"at": sa.func.clock_timestamp(), "worker": worker, "detail": detail}
    db.execute(
        insert(heartbeats)
        .values(name=name, **values)
        .on_conflict_do_update(index_elements=[heartbeats.c.name], set_=values)
    )


def may_begin(tools: Tools, apart: timedelta) -> bool:
    """Whether no other sweep began a moment ago: however many messages ask for one, sweeps keep apart."""
    values = {"at": sa.func.clock_timestamp(), "worker": tools.worker}
    begun = (
        insert(heartbeats)
        .values(name=SWEEP_BEGUN, **values)
        .on_conflict_do_update(
            index_elements=[heartbeats.c.name],
            set_=values,
            where=sa.or_(
                heartbeats.c.at <= sa.func.clock_timestamp() - apart,
                heartbeats.c.at > sa.func.clock_timestamp(),  # the database's clock was set back
            ),
        )
        .returning(heartbeats.c.name)
    )
    with tools.engine.begin() as db:
        return db.execute(begun).one_or_none() is not None


@dataclass(frozen=True, slots=True)
class Noted:
    """What was noted last: how many seconds ago, by the database's clock, by whom, and what of it."""

    age: float
    worker: str
    detail: Mapping[str, Any]


def last(db: sa.Connection, name: str) -> Noted | None:
    """Return what was noted last under a name; None where nothing ever was."""
    age = sa.func.extract("epoch", sa.func.clock_timestamp() - heartbeats.c.at)
    row = db.execute(
        sa.select(age, heartbeats.c.worker, heartbeats.c.detail).where(heartbeats.c.name == name)
    ).one_or_none()
    return Noted(float(row[0]), row.worker or "", row.detail or {}) if row is not None else None


def age_of(db: sa.Connection, name: str) -> float | None:
    """Return how many seconds ago something last ran, by the database's clock; None where it never did."""
    noted = last(db, name)
    return noted.age if noted is not None else None


def leave_word(tools: Tools, name: str, **detail: Any) -> None:
    """Note why this process can't do its work, for the doctor and for timelines; a failure is no fault of the work.

    At most every few seconds, and one thread at a time: others go on.
    """
    if not _noting.acquire(blocking=False):
        return
    try:
        key = (id(tools.engine), name)
        if time.monotonic() - _noted_at.get(key, -WORD_EVERY) < WORD_EVERY:
            return
        _noted_at[key] = time.monotonic()
        with suppress(sa.exc.SQLAlchemyError), tools.engine.begin() as db:
            db.execute(sa.text("SET LOCAL statement_timeout = 1000"))
            note(db, name, tools.worker, **detail)
    finally:
        _noting.release()


def note_dropped(db: sa.Connection, keys: int, worker: str) -> None:
    """Note that Redis dropped keys, where it has dropped more since: it forgets its own count when it restarts."""
    noted = last(db, DROPPED)
    if keys and (noted is None or noted.detail.get("keys") != keys):
        note(db, DROPPED, worker, keys=keys)
