"""What is known of one provider address: its dialect, set by a person or by calibration, and what its answers taught.

Both are rows of `providers`, read without a restart: a process believes what it read for a few seconds.
"""

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from contadigital.dialect import Dialect, check
from models.tables import connections, providers
from models.vocabulary import BrokenReason
from stamping.tools import Tools

BELIEVED_FOR = timedelta(seconds=3)
_read: dict[tuple[int, str], tuple[datetime, Dialect, dict[str, Any]]] = {}
_lock = threading.Lock()


def dialect_of(base_url: str, tools: Tools) -> Dialect:
    """Return how the provider at this address is spoken to."""
    return _known(base_url, tools)[0]


def read_dialect(db: sa.Connection, base_url: str) -> Dialect:
    """Return the same in a transaction that is open already."""
    row = db.execute(
        sa.select(providers.c.dialect, providers.c.dialect_version).where(providers.c.base_url == base_url)
    ).one_or_none()
    return Dialect.stored(row.dialect, row.dialect_version) if row is not None else Dialect()


def learnt(base_url: str, tools: Tools) -> Mapping[str, Any]:
    """Return what answers from this address taught."""
    return _known(base_url, tools)[1]


def _known(base_url: str, tools: Tools) -> tuple[Dialect, dict[str, Any]]:
    key, now = (id(tools.engine), base_url), tools.clock.now()
    known = _read.get(key)
    if known is not None and abs(now - known[0]) < BELIEVED_FOR:
        return known[1], known[2]
    with tools.engine.begin() as db:
        row = db.execute(
            sa.select(providers.c.dialect, providers.c.dialect_version, providers.c.learnt).where(
                providers.c.base_url == base_url
            )
        ).one_or_none()
    dialect = Dialect.stored(row.dialect, row.dialect_version) if row is not None else Dialect()
    facts = dict(row.learnt) if row is not None else {}
    with _lock:
        _read[key] = (now, dialect, facts)
    return dialect, facts


def set_dialect(base_url: str, changes: Mapping[str, str], tools: Tools) -> Dialect:
    """Change choices of a provider's dialect, all or none; return it with its new version. Raises UnknownChoice."""
    checked = {name: check(name, value) for name, value in changes.items()}
    return _write(
        base_url, providers.c.dialect.op("||")(sa.cast(checked, providers.c.dialect.type)), checked, tools
    )


def reset_dialect(base_url: str, tools: Tools) -> Dialect:
    """Go back to the defaults; return them with their new version."""
    return _write(base_url, sa.text("'{}'::jsonb"), {}, tools)


def _write(base_url: str, dialect: Any, first: Mapping[str, str], tools: Tools) -> Dialect:
    now = tools.clock.now()
    with tools.engine.begin() as db:
        row = db.execute(
            insert(providers)
            .values(base_url=base_url, dialect=dict(first), dialect_version=1, updated_at=now)
            .on_conflict_do_update(
                index_elements=[providers.c.base_url],
                set_={
                    "dialect": dialect,
                    "dialect_version": providers.c.dialect_version + 1,
                    "updated_at": now,
                },
            )
            .returning(providers.c.dialect, providers.c.dialect_version)
        ).one()
        validate_stopped(db, now, connections.c.base_url == base_url)
    with _lock:
        _read.pop((id(tools.engine), base_url), None)
    return Dialect.stored(row.dialect, row.dialect_version)


def validate_stopped(db: sa.Connection, now: datetime, *which: sa.ColumnElement[bool]) -> list[UUID]:
    """Have accounts that stand still because their stamps differed validated again; return their connections.

    In the transaction of the decision that lets them go on: until one validation succeeds, the sweep asks for the next.
    """
    return list(
        db.execute(
            sa.update(connections)
            .where(connections.c.reason == BrokenReason.STAMPS_DIFFER, *which)
            .values(next_probe_at=now, probes=0, updated_at=now)
            .returning(connections.c.id)
        ).scalars()
    )


def learn(base_url: str, facts: Mapping[str, Any], tools: Tools) -> None:
    """Remember what an answer taught, where it is news."""
    known = learnt(base_url, tools)
    if all(known.get(name) == value for name, value in facts.items()):
        return
    now = tools.clock.now()
    with tools.engine.begin() as db:
        db.execute(
            insert(providers)
            .values(base_url=base_url, learnt=dict(facts), updated_at=now)
            .on_conflict_do_update(
                index_elements=[providers.c.base_url],
                set_={
                    "learnt": providers.c.learnt.op("||")(sa.cast(dict(facts), providers.c.learnt.type)),
                    "updated_at": now,
                },
            )
        )
    with _lock:
        _read.pop((id(tools.engine), base_url), None)
