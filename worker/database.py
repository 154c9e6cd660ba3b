"""PostgreSQL as a process opens it, and what can be seen to be wrong with it."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from models.compiled import GONE

LIMITS = {
    "statement_timeout": "15s",  # the threads pool can't be killed into
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
    "plan_cache_mode": "force_generic_plan",  # every statement is prepared at once, and its plan made once
}
"""What each connection sets for itself once it is open: a pooler refuses these as start-up options, or drops them."""

MEANING = {
    "25006": "it is read-only: a standby, or a primary that was demoted",
    "53100": "its disk is full",
    "53200": "it has no memory left",
    "53300": "it takes no more connections (max_connections)",
    "55P03": "a lock was not given in time",
    "57014": "it did not answer in time",
    "57P03": "it is starting, or recovering",
    "28P01": "the password is refused",
    "3D000": "there is no such database",
    "42P01": "a table is missing: migrate",
}
"""What an operator should know of PostgreSQL's codes."""


def open_engine(url: str, *, pool_size: int = 8, timeout: float = 30.0) -> sa.Engine:
    """Open a database: at most so many connections, each with its limits, and none of them pinned to a dead node.

    At rest they commit by themselves, as the statements want that every invoice takes (`models.compiled.AtOnce`).
    """
    engine = sa.create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=timeout,
        pool_use_lifo=True,  # the few that are in use stay warm, with their statements prepared
        pool_pre_ping=False,  # a dead connection is retried by whoever meets it; a ping a statement costs more
        pool_recycle=1800,
        hide_parameters=True,  # an error's text must not repeat what Apunto sent
        connect_args={
            "connect_timeout": 5,
            "prepare_threshold": None,  # until its limits are set
            "application_name": "timbrado",
            "client_encoding": "utf8",  # whatever the environment says of the language
            # A host that is gone without a word leaves a thread waiting for two hours with the kernel's defaults;
            # none of these is heeded on a unix socket.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 4,
            "tcp_user_timeout": 30_000,
        },
    )
    sa.event.listen(engine, "connect", _set_limits)
    sa.event.listen(engine, "handle_error", _let_go)
    return engine.execution_options(isolation_level="READ COMMITTED")


def _set_limits(connection: Any, _record: Any) -> None:
    settings = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in LIMITS.items())
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {settings}, {_COMMITS_ARE_KEPT}", prepare=False)
    connection.commit()  # where it does not commit by itself yet
    connection.prepare_threshold = 0


_COMMITS_ARE_KEPT = (
    "CASE current_setting('synchronous_commit')"
    " WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END"
)
"""What is about to be sent is committed before it leaves: a server that confirms before it has written loses that."""


def _let_go(context: sa.engine.ExceptionContext) -> None:
    """Drop every connection that was open when one of them was seen to lead nowhere."""
    if getattr(context.original_exception, "sqlstate", None) in GONE:
        context.is_disconnect = True


# --- what is wrong with it: for readiness, metrics and the doctor ----------------------------------------------------


def fault_of(error: Exception) -> str:
    """Say in one line what an error of the database means to an operator, by its code."""
    code = str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")
    if code:
        return f"{MEANING.get(code, 'it answers with an error')} ({code})"
    return "it does not answer"


def write_fault(engine: sa.Engine, *, seconds: float = 2.0) -> str | None:
    """Write one row, and say what kept it from being written; None where it was."""
    try:
        with engine.begin() as db:
            db.execute(sa.text(f"SET LOCAL statement_timeout = {int(seconds * 1000)}"))
            db.execute(_WRITE, {"filler": "x" * 2_000})
    except (DBAPIError, sa.exc.TimeoutError) as error:
        return fault_of(error)
    return None


_WRITE = sa.text(
    """
    INSERT INTO heartbeats (name, at, detail)
    VALUES ('written', clock_timestamp(), jsonb_build_object('filler', CAST(:filler AS text)))
    ON CONFLICT (name) DO UPDATE SET at = excluded.at, detail = excluded.detail"""
)


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session that keeps others waiting for a lock; `seconds` is the age of its transaction."""

    pid: int
    user: str
    application: str
    state: str
    query: str
    waiting: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"session {self.pid} ({self.user}, {self.application or 'no name'}, {self.state}, {self.seconds:.0f} s) "
            f"keeps {self.waiting} waiting: {self.query}"
        )


def blockers(db: sa.Connection) -> list[Blocker]:
    """Return who keeps others waiting for a lock in this database, the oldest transaction first."""
    return [
        Blocker(
            row.pid,
            row.usename or "",
            row.application_name or "",
            row.state or "",
            " ".join((row.query or "").split()),
            row.waiting,
            row.seconds or 0.0,
        )
        for row in db.execute(_BLOCKERS)
    ]


_BLOCKERS = sa.text(
    """
    WITH waiting AS (
      SELECT unnest(pg_blocking_pids(pid)) AS by FROM pg_stat_activity
      WHERE datname = current_database() AND wait_event_type = 'Lock'
    )
    SELECT a.pid, a.usename, a.application_name, a.state, left(a.query, 100) AS query, count(*) AS waiting,
      extract(epoch FROM clock_timestamp() - a.xact_start)::float AS seconds
    FROM waiting JOIN pg_stat_activity a ON a.pid = waiting.by
    GROUP BY a.pid, a.usename, a.application_name, a.state, a.query, a.xact_start
    ORDER BY seconds DESC NULLS LAST"""
)


def limits_in_force(db: sa.Connection) -> dict[str, str]:
    """Return the limits as the server has them: a pooler may have dropped what was asked for."""
    names = ", ".join(f"current_setting('{name}') AS {name}" for name in LIMITS)
    return dict(db.execute(sa.text(f"SELECT {names}")).one()._mapping)


def prepares(engine: sa.Engine) -> bool:
    """Whether a prepared statement outlives its transaction: behind a pooler of transactions it does not."""
    with engine.connect() as db:
        raw: Any = db.connection.driver_connection
        try:
            for _ in range(2):
                raw.execute("SELECT 1 /* prepared */", prepare=True)
                raw.commit()
        except Exception:  # noqa: BLE001  # whatever the pooler makes of it
            with suppress(Exception):
                db.invalidate()
            return False
    return True


@dataclass(frozen=True, slots=True)
class Unsafe:
    """What may lose a commit, or lets a statement run without end: what was seen, and its remedy."""

    found: str
    fix: str


def unsafe(db: sa.Connection) -> Iterator[Unsafe]:
    """Name what may lose a commit, and what a pooler has dropped."""
    kept = db.execute(_DURABILITY).one()
    if kept.fsync != "on":
        yield Unsafe(
            "fsync is off: a power cut loses commits, and an invoice is stamped twice", "set fsync = on"
        )
    if kept.synchronous_commit in {"off", "local"} and kept.fsync == "on":
        yield Unsafe(
            f"synchronous_commit is {kept.synchronous_commit}: a crash or a failover loses the last commits",
            "set synchronous_commit = on",
        )
    if kept.standbys and not kept.synchronous_standby_names:
        yield Unsafe(
            f"{kept.standbys} standbys need not confirm a commit: one that takes over may lack the last ones",
            "set synchronous_standby_names; else a failover is a restore: timbrado recover --after-restore",
        )
    for name, value in limits_in_force(db).items():
        if value != LIMITS[name]:
            yield Unsafe(
                f"{name} is {value}, and {LIMITS[name]} was set: a pooler drops what a session sets",
                "use the pooler in session mode, or none",
            )


_DURABILITY = sa.text(
    """
    SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS synchronous_commit,
      current_setting('synchronous_standby_names') AS synchronous_standby_names,
      (SELECT count(*) FROM pg_stat_replication) AS standbys"""
)
