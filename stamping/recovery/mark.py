"""A mark outside the database, by which a database that was set back is noticed before it sends anything.

Each start of a worker, and then the sweep, counts a mark up in the database and writes the same count into the document
store. A database whose count is behind the store's was restored from a backup; one that stands on another timeline than
the mark names was failed over to a standby that may lack the last commits. What left since is then not known to it
(docs/operations.md).
"""

import json
import math
import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert

from models.tables import connections, installation
from stamping.tools import Tools
from storage import StorageUnavailable

log = structlog.get_logger(__name__)

NAME = "restore_mark"
SET_BACK = "set_back"
RECOVERED = "recovered"
DOUBT = "restore"
"""The doubt of an invoice whose database was set back, and that has no Id to look up by."""
EVERY = timedelta(seconds=20)
"""How often a mark is written at most: one small object, also on S3."""
_TIMELINE = sa.text("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)")
_SYNCHRONOUS = sa.text(
    "SELECT current_setting('synchronous_standby_names') <> '' AND current_setting('synchronous_commit')"
    " IN ('on', 'remote_apply', 'remote_write')"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """What is counted in the database and copied outside it."""

    epoch: str  # of one life of the database: a new one begins with each `timbrado recover`
    count: int
    timeline: str  # PostgreSQL's; another one after a failover
    synchronous: bool  # whether a standby had to confirm each commit: then a failover loses nothing

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "epoch": self.epoch,
            "count": self.count,
            "timeline": self.timeline,
            "synchronous": self.synchronous,
        }


class DatabaseSetBack(RuntimeError):
    """The database is behind what this installation has already done; `why` says in what way."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the database was set back: {why}. Nothing is sent from it before "
            "`timbrado recover --after-restore` has been run (docs/operations.md)"
        )
        self.why = why


def fault(tools: Tools) -> str | None:
    """Say how the database is behind the mark outside it; None where it is not, or where there is no mark yet.

    A document store that cannot be read is no answer: its own check names it.
    """
    return _compare(tools)[0]


def begin(tools: Tools) -> None:
    """Compare, and count up: called before a process works, so that a database which fails over before the first sweep
    has a mark to be compared with. Raises DatabaseSetBack.
    """
    why, store_answers = _compare(tools)
    if why is not None:
        raise DatabaseSetBack(why)
    if not _is_recent(tools):
        _count_up(tools, copied=store_answers)


def note(tools: Tools) -> bool:
    """Compare, and count up, now and then; called by each sweep. False where the database turned out to be set back.

    Then every connection is paused, so that no process sends anything more, and the reason is kept for `doctor`.
    """
    if _is_recent(tools):
        return True
    why, store_answers = _compare(tools)
    if why is not None:
        _stop(tools, why)
        return False
    _count_up(tools, copied=store_answers)
    return True


def _compare(tools: Tools) -> tuple[str | None, bool]:
    """Return what is wrong, and whether the document store answered."""
    store_answers = True
    try:
        # first: a sweep counts up inside before it copies, so what is read later is no less
        outside = _outside(tools)
    except StorageUnavailable:
        outside, store_answers = None, False
    with tools.engine.begin() as db:
        inside = _inside(db)
        known = db.execute(
            sa.select(installation.c.value).where(installation.c.name == SET_BACK)
        ).scalar_one_or_none()
    if known is not None:
        return str(known["why"]), store_answers
    if outside is None:
        return None, store_answers
    return _compared(inside, outside, timeline=_timeline(tools)), store_answers


def _is_recent(tools: Tools) -> bool:
    """Whether the mark was counted up a moment ago, on the server that answers now."""
    now = tools.clock.now()
    with tools.engine.begin() as db:
        row = db.execute(
            sa.select(installation.c.value, installation.c.updated_at).where(installation.c.name == NAME)
        ).one_or_none()
        return (
            row is not None
            and timedelta(0) <= now - row.updated_at < EVERY
            and row.value["timeline"] == db.execute(_TIMELINE).scalar_one()
        )


def _count_up(tools: Tools, *, copied: bool) -> None:
    """Count the mark up, one process after the other: of several that start on a new database one begins its epoch."""
    with tools.engine.begin() as db:
        timeline, synchronous = db.execute(_TIMELINE).scalar_one(), db.execute(_SYNCHRONOUS).scalar_one()
        now = tools.clock.now()
        first = Mark(secrets.token_hex(8), 0, timeline, synchronous)
        db.execute(
            insert(installation)
            .values(name=NAME, value=first.as_dict(), updated_at=now)
            .on_conflict_do_nothing(index_elements=[installation.c.name])
        )
        before = Mark(
            **db.execute(
                sa.select(installation.c.value).where(installation.c.name == NAME).with_for_update()
            ).scalar_one()
        )
        mark = Mark(before.epoch, before.count + 1, timeline, synchronous)
        _write(db, NAME, mark.as_dict(), now)
    if copied:
        copy(mark, tools)


def copy(mark: Mark, tools: Tools) -> None:
    """Copy the mark outside the database; where the document store is away the next one is copied instead."""
    try:
        tools.store.write_mark(json.dumps(mark.as_dict()).encode())
    except StorageUnavailable as error:
        log.warning("restore_mark_not_written", why=type(error).__name__)


def renew(db: sa.Connection, tools: Tools) -> Mark:
    """Begin a new life of the database: what stands in it now is what this installation goes on from."""
    mark = Mark(
        secrets.token_hex(8), 1, db.execute(_TIMELINE).scalar_one(), db.execute(_SYNCHRONOUS).scalar_one()
    )
    now = tools.clock.now()
    _write(db, NAME, mark.as_dict(), now)
    _write(db, RECOVERED, {"at": now.isoformat()}, now)
    db.execute(sa.delete(installation).where(installation.c.name == SET_BACK))
    return mark


_recovered: dict[int, tuple[float, datetime | None]] = {}  # of an engine: when that was read, and what


def recovered_at(tools: Tools) -> datetime | None:
    """Return when `timbrado recover` last ran; believed for a while, since workers are stopped meanwhile.

    A broker keeps messages that were taken in before, and whose invoices the restored database does not hold.
    """
    read_at, at = _recovered.get(id(tools.engine), (-math.inf, None))
    if time.monotonic() - read_at > BELIEVED_FOR:
        with tools.engine.begin() as db:
            value = db.execute(
                sa.select(installation.c.value).where(installation.c.name == RECOVERED)
            ).scalar_one_or_none()
        at = datetime.fromisoformat(value["at"]) if value is not None else None
        _recovered[id(tools.engine)] = (time.monotonic(), at)
    return at


BELIEVED_FOR = 10.0  # seconds


def _compared(inside: Mark | None, outside: Mark, *, timeline: str) -> str | None:
    if inside is None:
        return "it has no mark, and its document store has one: it is another database, or an older one"
    if inside.epoch != outside.epoch:
        return "its mark is of another life than the document store's"
    if inside.count < outside.count:
        return f"its mark is {inside.count} and the document store's is {outside.count}"
    if timeline != outside.timeline and not outside.synchronous:
        return (
            f"it was failed over (timeline {outside.timeline} to {timeline}) from a primary whose commits no standby "
            "had to confirm, so that its last ones may be lost"
        )
    return None


def _stop(tools: Tools, why: str) -> None:
    """Pause every connection: workers that run stop sending within a claim."""
    log.error("database_set_back", why=why)
    now = tools.clock.now()
    with tools.engine.begin() as db:
        paused = (
            db.execute(
                sa.update(connections)
                .where(connections.c.paused.is_(False))
                .values(paused=True, updated_at=now)
                .returning(connections.c.account)
            )
            .scalars()
            .all()
        )
        known = db.execute(
            sa.select(installation.c.value).where(installation.c.name == SET_BACK)
        ).scalar_one_or_none()
        earlier = list(known["paused"]) if known is not None else []
        _write(db, SET_BACK, {"why": why, "paused": sorted({*earlier, *paused})}, now)


def _timeline(tools: Tools) -> str:
    with tools.engine.begin() as db:
        return str(db.execute(_TIMELINE).scalar_one())


def _inside(db: sa.Connection) -> Mark | None:
    value = db.execute(
        sa.select(installation.c.value).where(installation.c.name == NAME)
    ).scalar_one_or_none()
    return Mark(**value) if value is not None else None


def _outside(tools: Tools) -> Mark | None:
    data = tools.store.read_mark()
    return Mark(**json.loads(data)) if data is not None else None


def _write(db: sa.Connection, name: str, value: dict[str, Any], now: Any) -> None:
    row = {"value": value, "updated_at": now}
    db.execute(
        insert(installation)
        .values(name=name, **row)
        .on_conflict_do_update(index_elements=[installation.c.name], set_=row)
    )
