"""What the doctor checks of the machinery: settings, database, broker, queues, workers, beat, storage."""

import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from kombu import Producer
from kombu.exceptions import ChannelError

from cfdi.sat import data
from cli import format, session
from cli.doctor.findings import CheckResults, Installation, bad, ok, warn
from config.values import redis_from_broker
from migrations import configuration, is_ahead
from stamping import heartbeat
from worker import database

CLOCK_OFF = timedelta(seconds=2)
BEAT_STALE = 90.0  # seconds; the sweep runs every 15
BEAT_SILENT = 150.0  # seconds; beat notes its clock each minute
OLD_CATALOGS = 180  # days
LEAST_DISK = 1_000  # MB
LONG_QUEUE = 10_000  # messages
SLOW_STORE = 2.0  # seconds for a probe


def check_settings(installation: Installation) -> CheckResults:
    """Name the provider and the store; warn of what belongs to tests."""
    settings = installation.settings
    where = f"{settings.contadigital_url}, documents in {settings.storage_url}"
    if settings.test_runtime:
        yield warn(
            "settings", f"{where}; the test runtime is on", "unset TIMBRADO_TEST_RUNTIME in production"
        )
    else:
        yield ok("settings", where)


def check_database(installation: Installation) -> CheckResults:
    """Ask it, have it write, hold its tables against this program, and its clock against ours."""
    began = time.monotonic()
    with installation.tools.engine.connect() as db:
        version = db.execute(sa.text("SHOW server_version")).scalar_one().split()[0]
        took = (time.monotonic() - began) * 1000
        yield ok("database", f"PostgreSQL {version}, answers in {took:.0f} ms")
        encoding = db.execute(sa.text("SHOW server_encoding")).scalar_one()
        if encoding != "UTF8":
            yield bad(
                "database",
                f"its encoding is {encoding}: not every name fits",
                "create it with ENCODING 'UTF8'",
            )
        yield from _migrations(db)
        off = installation.tools.clock.sync(db)
    if (fault := database.write_fault(installation.tools.engine)) is not None:
        yield bad("database", f"it takes nothing: {fault}", "docs/operations.md#timbradodatabaserefuses")
    if abs(off) > CLOCK_OFF:
        yield warn(
            "clock",
            f"this host is {off.total_seconds():+.1f} s off the database's clock (workers go by the database's)",
            "set this host's clock by NTP",
        )
    else:
        yield ok("clock", f"{off.total_seconds() * 1000:+.0f} ms off the database's")


def check_locks(installation: Installation) -> CheckResults:
    """Name who keeps others waiting: looked for while the other checks, which may wait themselves, are under way."""
    found: list[database.Blocker] = []
    for _ in range(LOCK_CHECKS):
        with installation.tools.engine.connect() as db:
            found = database.blockers(db)
        if found:
            break
        time.sleep(BETWEEN_CHECKS)
    for each in found:
        yield bad("locks", str(each), f"SELECT pg_cancel_backend({each.pid}), or pg_terminate_backend")
    if not found:
        yield ok("locks", "nobody waits for one")


LOCK_CHECKS, BETWEEN_CHECKS = 4, 0.4  # seconds


def check_durability(installation: Installation) -> CheckResults:
    """See whether what was committed is kept, and whether a pooler in between changes what a session sets."""
    engine = installation.tools.engine
    with engine.connect() as db:
        db.rollback()  # what follows is another transaction than the one that set the limits
        found = list(database.unsafe(db))
    for each in found:
        yield warn("kept", each.found, each.fix)
    if not database.prepares(engine):
        yield bad(
            "kept",
            "a prepared statement is gone with its transaction: a pooler in transaction mode",
            "use the pooler in session mode, or none",
        )
    elif not found:
        yield ok("kept", "commits are kept, and what a session sets too")


def check_catalogs(_: Installation) -> CheckResults:
    """Say how old the SAT's catalogues are."""
    found = data.current()
    age = found.age_in_days(datetime.now(UTC).date())
    if age is not None and age > OLD_CATALOGS:
        yield warn(
            "catalogs", f"{found.source}: {age} days old", "timbrado catalogs install, with a newer satcfdi"
        )
    else:
        yield ok("catalogs", f"{found.source}, {'of an unknown date' if age is None else f'{age} days old'}")


def _migrations(db: Any) -> CheckResults:

    head = ScriptDirectory.from_config(configuration("")).get_current_head()
    at = MigrationContext.configure(db).get_current_revision()
    if is_ahead(db):
        yield ok("migrations", f"at {at}, of a later release than this program, which works with it")
    elif at != head:
        yield bad(
            "migrations",
            f"the tables are at {at or 'nothing'}, this program wants {head}",
            "timbrado migrate",
        )
    else:
        yield ok("migrations", f"at {head}")


def check_broker(installation: Installation) -> CheckResults:
    """Ask it, and see that it keeps what it is given."""
    url = installation.settings.broker_url.get_secret_value()
    if not url.startswith("redis"):
        yield from _rabbitmq(installation)
        return

    yield from _redis(redis_from_broker(url))


def _rabbitmq(installation: Installation) -> CheckResults:
    """Connect, and publish messages that nobody gets: while an alarm stands the first one of a connection is confirmed,
    and then it is not read from any more.
    """
    connection = installation.app.connection_for_write(connect_timeout=3)
    connection.ensure_connection(max_retries=1, timeout=3)
    producer = Producer(connection)
    try:
        for _ in range(2):
            producer.publish(b"", routing_key=NOBODY, retry=False, confirm_timeout=1.0)
    except TimeoutError:
        connection.collect()  # closing it in order would wait for the broker
        yield bad(
            "broker",
            "it blocks who publishes: its memory or disk alarm stands",
            "rabbitmqctl status; make room: nothing can be sent meanwhile",
        )
        return
    connection.release()
    yield ok("broker", "answers, and confirms what is published")


NOBODY = "timbrado.doctor"
"""A routing key that no queue has: what is sent there is dropped."""


def _redis(url: str) -> CheckResults:

    with redis.Redis.from_url(url, socket_timeout=4, socket_connect_timeout=4) as client:
        client.ping()
        server: dict[str, Any] = client.info("server")
        memory: dict[str, Any] = client.info("memory")
        persistence: dict[str, Any] = client.info("persistence")
        replication: dict[str, Any] = client.info("replication")
    used, most = int(memory["used_memory"]), int(memory.get("maxmemory", 0))
    policy = memory.get("maxmemory_policy", "noeviction")
    yield ok("broker", f"Redis {server['redis_version']}, {used / 1e6:.0f} MB used")
    if replication.get("role") != "master":
        yield bad(
            "broker",
            "it is a replica, and read-only: nothing can be sent",
            "TIMBRADO_BROKER_URL must lead to the master; or REPLICAOF NO ONE",
        )
    if policy != "noeviction":
        yield bad(
            "broker", f"maxmemory-policy is {policy}: it would throw queues away", "set it to noeviction"
        )
    elif most and used >= most:
        yield bad(
            "broker", "it is full: nothing can be sent", "raise maxmemory; look at what waits: queues, below"
        )
    elif most and used > 0.8 * most:
        yield warn(
            "broker",
            f"{used / most:.0%} of maxmemory used",
            "raise maxmemory: publishing stops when it is full",
        )
    if not int(persistence.get("aof_enabled", 0)):
        yield warn(
            "broker",
            "no append-only file: a restart loses what is queued (the sweep enqueues again; submissions would be gone)",
            "set appendonly yes",
        )
    elif persistence.get("aof_last_write_status", "ok") != "ok":
        yield bad("broker", "the append-only file cannot be written", "look at its disk")


def check_queues(installation: Installation) -> CheckResults:
    """Count what waits in each."""
    lengths: dict[str, int] = {}
    with installation.app.connection_for_read(connect_timeout=4) as connection:
        absent: tuple[type[BaseException], ...] = (ChannelError, *connection.channel_errors)
        for name in session.queues(installation.app):
            channel: Any = connection.channel()
            try:
                lengths[name] = channel.queue_declare(queue=name, passive=True).message_count
            except absent:
                lengths[name] = 0  # nothing was ever sent there
            else:
                channel.close()
    shown = ", ".join(f"{name} {count:,}" for name, count in lengths.items())
    if max(lengths.values()) > LONG_QUEUE:
        yield warn("queues", shown, "more worker processes, or look at what they wait for: `timbrado watch`")
    else:
        yield ok("queues", shown)


def check_workers(installation: Installation) -> CheckResults:
    """Find who answers, and whether every queue has a consumer."""
    inspect = installation.app.control.inspect(timeout=1.5)
    consumed = inspect.active_queues() or {}
    if not consumed:
        yield bad("workers", "none answers", "start one: celery -A worker worker, or `timbrado up`")
        return
    names = sorted(consumed)
    taken = {queue["name"] for queues in consumed.values() for queue in queues or ()}
    missing = [name for name in session.queues(installation.app) if name not in taken]
    shown = f"{len(names)}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"
    if missing:
        yield bad(
            "workers",
            f"{shown}; no worker takes from {', '.join(missing)}",
            "`timbrado drain --undo` if they were drained, else start one with -Q for these queues",
        )
    else:
        yield ok("workers", shown)


def check_refusals(installation: Installation) -> CheckResults:
    """Say what kept workers from their work in the last minute, and whether submissions may be gone."""
    with installation.tools.engine.connect() as db:
        refused, store = heartbeat.last(db, heartbeat.REFUSED), heartbeat.last(db, heartbeat.STORE)
        dropped = heartbeat.last(db, heartbeat.DROPPED)
    if refused is not None and refused.age < RECENT:
        code = str(refused.detail.get("code"))
        why = (
            f"it has no file descriptors left ({code})"
            if code == "EMFILE"
            else f"PostgreSQL does not store what comes in: {database.MEANING.get(code, 'it refuses')} ({code})"
        )
        yield bad("work", f"{refused.worker}, {refused.age:.0f} s ago: {why}", REMEDY.get(code, REMEDY[""]))
    if store is not None and store.age < RECENT:
        yield bad(
            "work",
            f"{store.worker}, {store.age:.0f} s ago: documents can't be stored, so nothing new is stamped: "
            f"{store.detail.get('why')}",
            "see storage below, on the worker's host",
        )
    if dropped is not None and dropped.age < REMEMBERED:
        yield warn(
            "work",
            f"Redis dropped {dropped.detail.get('keys')} keys for want of memory, "
            f"{format.span(timedelta(seconds=dropped.age))} ago: submissions may be gone",
            "have Apunto send again what it has no event for (harmless twice)",
        )
    if not any(each is not None and each.age < RECENT for each in (refused, store)):
        yield ok("work", "no worker was refused anything in the last minute")


RECENT = 60.0  # seconds
REMEMBERED = timedelta(days=7).total_seconds()
"""For how long it is said that Redis dropped something: it forgets that itself when it restarts."""
REMEDY = {
    "53100": "make room where PostgreSQL's data, WAL and tablespaces lie: df -h",
    "EMFILE": "raise its limit of open files (LimitNOFILE, ulimit -n) to 1024 or more",
    "55P03": "see locks above",
    "57014": "see locks above",
    "": "docs/operations.md#timbradodatabaserefuses",
}


def check_beat(installation: Installation) -> CheckResults:
    """Read when the last sweep ended, and what beat last said of its own clock."""
    with installation.tools.engine.begin() as db:
        swept, beat = heartbeat.last(db, heartbeat.SWEEP), heartbeat.last(db, heartbeat.BEAT)
    start = "start it, once in all: celery -A worker beat"
    runs = beat is not None and beat.age < BEAT_SILENT
    if swept is None or swept.age > BEAT_STALE:
        found = "no sweep ever ran" if swept is None else f"its last sweep ran {swept.age:.0f} s ago"
        if runs:
            yield bad(
                "beat", f"it runs, and {found}", "does a worker take from upkeep? See workers and its log"
            )
        else:
            yield bad("beat", found, f"{start}; or no worker takes from upkeep")
    else:
        yield ok("beat", f"its last sweep ran {swept.age:.0f} s ago")
    if beat is not None and runs and abs(beat.detail.get("off", 0.0)) > CLOCK_OFF.total_seconds():
        yield warn(
            "clock",
            f"beat's host ({beat.worker}) is {beat.detail['off']:+.1f} s off the database's clock",
            "set that host's clock by NTP",
        )


def check_storage(installation: Installation) -> CheckResults:
    """Write, read and list a small object."""
    took = installation.tools.store.probe()
    if took > SLOW_STORE:
        yield warn(
            "storage",
            f"writes, reads and keeps, in {took:.1f} s",
            "each stamp waits for this: look at the disk",
        )
    else:
        yield ok("storage", f"writes, reads and keeps, in {took * 1000:.0f} ms")
    left = _disk_left(installation.settings.storage_url)
    if left is not None and left < LEAST_DISK:
        yield warn("storage", f"{left:,} MB left on its disk", "make room: a full disk stops stamping")


def _disk_left(url: str) -> int | None:
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    found = os.statvfs(unquote(parts.path))
    return found.f_bavail * found.f_frsize // 1_000_000
