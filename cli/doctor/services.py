"""What the doctor checks of the machinery: settings, database, broker, queues, workers, beat, storage."""

import os
import time
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from kombu.exceptions import ChannelError

from cli import session
from cli.doctor.findings import CheckResults, Installation, bad, ok, warn
from config.values import redis_from_broker
from migrations import configuration, is_ahead
from stamping import sweep

CLOCK_OFF = timedelta(seconds=2)
BEAT_STALE = 90.0  # seconds; the sweep runs every 15
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
    """Ask it, hold its tables against this program, and its clock against ours."""
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
    if abs(off) > CLOCK_OFF:
        yield warn(
            "clock",
            f"this host is {off.total_seconds():+.1f} s off the database's clock (workers go by the database's)",
            "set this host's clock by NTP",
        )
    else:
        yield ok("clock", f"{off.total_seconds() * 1000:+.0f} ms off the database's")


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
        with installation.app.connection_for_read(connect_timeout=5) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
        yield ok("broker", "answers")
        return

    with redis.Redis.from_url(redis_from_broker(url), socket_timeout=5, socket_connect_timeout=5) as client:
        client.ping()
        server: dict[str, Any] = client.info("server")
        memory: dict[str, Any] = client.info("memory")
        persistence: dict[str, Any] = client.info("persistence")
    used, most = int(memory["used_memory"]), int(memory.get("maxmemory", 0))
    policy = memory.get("maxmemory_policy", "noeviction")
    yield ok("broker", f"Redis {server['redis_version']}, {used / 1e6:.0f} MB used")
    if policy != "noeviction":
        yield bad(
            "broker", f"maxmemory-policy is {policy}: it would throw queues away", "set it to noeviction"
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
    with installation.app.connection_for_read(connect_timeout=5) as connection:
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


def check_beat(installation: Installation) -> CheckResults:
    """Read when its last sweep ran."""
    with installation.tools.engine.begin() as db:
        age = sweep.age_of(db, sweep.SWEEP)
    start = "start it, once in all: celery -A worker beat"
    if age is None:
        yield bad("beat", "no sweep ever ran", start)
        return
    if age > BEAT_STALE:
        yield bad("beat", f"its last sweep ran {age:.0f} s ago", f"{start}; or no worker takes from upkeep")
    else:
        yield ok("beat", f"its last sweep ran {age:.0f} s ago")


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
