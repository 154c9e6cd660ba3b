"""What `timbrado doctor` looks at: one function a thing, each of which says how it is and what to mend.

The one thing a newcomer would get wrong: a customer's broken connection is `warn`, not `bad`. Bad is what keeps this
installation from doing its work; whoever is paged by the exit code can mend that.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery

    from config.settings import Settings
    from stamping.tools import Tools


class Level(StrEnum):
    """How a thing is."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's: what was looked at, how it is, what was seen, and what to mend."""

    what: str
    level: Level
    said: str
    mend: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it as plain values."""
        return {"what": self.what, "level": self.level.value, "said": self.said, "mend": self.mend}


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined."""

    settings: "Settings"
    tools: "Tools"
    app: "Celery"


Findings = Iterator[Finding]

CLOCK_OFF = timedelta(seconds=2)
BEAT_STALE = 90.0  # seconds; the bell rings every 15
LATE = timedelta(minutes=2)
"""Past its time by this much, an invoice that nobody took says that something does not run."""
HURRY = timedelta(hours=6)
LEAST_DISK = 1_000  # MB
LONG_QUEUE = 10_000  # messages
SLOW_STORE = 2.0  # seconds for a probe
OLD_NOTICE = timedelta(hours=1)


def ok(what: str, said: str) -> Finding:
    """Return a thing that is well."""
    return Finding(what, Level.OK, said)


def warn(what: str, said: str, mend: str) -> Finding:
    """Return a thing that somebody should look at."""
    return Finding(what, Level.WARN, said, mend)


def bad(what: str, said: str, mend: str) -> Finding:
    """Return a thing that keeps this installation from its work."""
    return Finding(what, Level.BAD, said, mend)


def examine(patient: Patient) -> Findings:
    """Look at everything, in order; what could not be looked at is bad, and the rest is looked at all the same.

    What stands on something that does not answer is not tried: one cause is told once, and nobody waits for timeouts.
    """
    silent: set[str] = set()
    for check in CHECKS:
        if check.needs in silent:
            yield warn(
                check.what,
                f"not looked at: the {check.needs} does not answer",
                f"mend the {check.needs} first",
            )
            continue
        try:
            yield from check.look(patient)
        except Exception as error:  # noqa: BLE001 (whatever keeps us from looking is what there is to tell)
            silent.add(check.what)
            yield bad(check.what, one_line(error), check.mend)


def _settings(patient: Patient) -> Findings:
    told = patient.settings
    where = f"{told.contadigital_url}, documents in {told.storage_url}"
    if told.test_runtime:
        yield warn(
            "settings", f"{where}; the test runtime is on", "unset TIMBRADO_TEST_RUNTIME in production"
        )
    else:
        yield ok("settings", where)


def _database(patient: Patient) -> Findings:
    import time

    import sqlalchemy as sa

    began = time.monotonic()
    with patient.tools.engine.connect() as db:
        version = db.execute(sa.text("SHOW server_version")).scalar_one().split()[0]
        took = (time.monotonic() - began) * 1000
        yield ok("database", f"PostgreSQL {version}, answers in {took:.0f} ms")
        yield from _migrations(db)
        off = patient.tools.clock.sync(db)
    if abs(off) > CLOCK_OFF:
        yield warn(
            "clock",
            f"this host is {off.total_seconds():+.1f} s off the database's clock (workers go by the database's)",
            "set this host's clock by NTP",
        )
    else:
        yield ok("clock", f"{off.total_seconds() * 1000:+.0f} ms off the database's")


def _migrations(db: Any) -> Findings:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from migrations import configuration

    head = ScriptDirectory.from_config(configuration("")).get_current_head()
    at = MigrationContext.configure(db).get_current_revision()
    if at != head:
        yield bad(
            "migrations",
            f"the tables are at {at or 'nothing'}, this program wants {head}",
            "timbrado migrate",
        )
    else:
        yield ok("migrations", f"at {head}")


def _broker(patient: Patient) -> Findings:
    url = patient.settings.broker_url.get_secret_value()
    if not url.startswith("redis"):
        with patient.app.connection_for_read(connect_timeout=5) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
        yield ok("broker", "answers")
        return
    from config.values import redis_from_broker

    yield from _redis("broker", redis_from_broker(url))
    other = patient.settings.redis_url.get_secret_value()
    if other != redis_from_broker(url):
        yield from _redis("redis", other)


def _redis(what: str, url: str) -> Findings:
    import redis

    with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
        client.ping()
        server: dict[str, Any] = client.info("server")
        memory: dict[str, Any] = client.info("memory")
        kept: dict[str, Any] = client.info("persistence")
    used, most = int(memory["used_memory"]), int(memory.get("maxmemory", 0))
    policy = memory.get("maxmemory_policy", "noeviction")
    yield ok(what, f"Redis {server['redis_version']}, {used / 1e6:.0f} MB used")
    if policy != "noeviction":
        yield bad(what, f"maxmemory-policy is {policy}: it would throw queues away", "set it to noeviction")
    elif most and used > 0.8 * most:
        yield warn(
            what, f"{used / most:.0%} of maxmemory used", "raise maxmemory: publishing stops when it is full"
        )
    if not int(kept.get("aof_enabled", 0)):
        yield warn(
            what,
            "no append-only file: a restart loses what is queued (the sweep rings again; submissions would be gone)",
            "set appendonly yes",
        )
    elif kept.get("aof_last_write_status", "ok") != "ok":
        yield bad(what, "the append-only file cannot be written", "look at its disk")


def _queues(patient: Patient) -> Findings:
    from kombu.exceptions import ChannelError

    from worker.app import QUEUES

    lengths: dict[str, int] = {}
    with patient.app.connection_for_read(connect_timeout=5) as connection:
        absent: tuple[type[BaseException], ...] = (ChannelError, *connection.channel_errors)
        for name in QUEUES:
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


def _workers(patient: Patient) -> Findings:
    from worker.app import QUEUES

    inspect = patient.app.control.inspect(timeout=1.5)
    consumed = inspect.active_queues() or {}
    if not consumed:
        yield bad("workers", "none answers", "start one: celery -A worker worker, or `timbrado up`")
        return
    names = sorted(consumed)
    taken = {queue["name"] for queues in consumed.values() for queue in queues or ()}
    missing = [name for name in QUEUES if name not in taken]
    shown = f"{len(names)}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"
    if missing:
        yield bad(
            "workers",
            f"{shown}; nobody takes from {', '.join(missing)}",
            "`timbrado drain --undo` if they were drained, else start one with -Q for these queues",
        )
    else:
        yield ok("workers", shown)


def _beat(patient: Patient) -> Findings:
    import time

    import redis

    from worker.resources import BEAT_KEY

    with redis.Redis.from_url(
        patient.settings.redis_url.get_secret_value(), socket_timeout=5, socket_connect_timeout=5
    ) as client:
        rang_at = client.get(BEAT_KEY)
    start = "start it, once in all: celery -A worker beat"
    if rang_at is None:
        yield bad("beat", "its bell was never answered", start)
        return
    age = time.time() - float(rang_at)
    if age > BEAT_STALE:
        yield bad(
            "beat", f"its last bell was answered {age:.0f} s ago", f"{start}; or no worker takes from upkeep"
        )
    else:
        yield ok("beat", f"its last bell was answered {age:.0f} s ago")


def _storage(patient: Patient) -> Findings:
    took = patient.tools.store.probe()
    if took > SLOW_STORE:
        yield warn(
            "storage",
            f"writes, reads and keeps, in {took:.1f} s",
            "each stamp waits for this: look at the disk",
        )
    else:
        yield ok("storage", f"writes, reads and keeps, in {took * 1000:.0f} ms")
    left = _disk_left(patient.settings.storage_url)
    if left is not None and left < LEAST_DISK:
        yield warn("storage", f"{left:,} MB left on its disk", "make room: a full disk stops stamping")


def _disk_left(url: str) -> int | None:
    import os
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    found = os.statvfs(unquote(parts.path))
    return found.f_bavail * found.f_frsize // 1_000_000


def _keys(patient: Patient) -> Findings:
    import sqlalchemy as sa
    from cryptography.fernet import Fernet, InvalidToken

    from models.tables import connections

    newest = Fernet(patient.settings.encryption_keys[0].get_secret_value())
    with patient.tools.engine.connect() as db:
        stored = list(
            db.execute(
                sa.select(connections.c.account, connections.c.key_encrypted).where(
                    connections.c.key_encrypted.is_not(None)
                )
            )
        )
    old, lost = 0, []
    for row in stored:
        token = row.key_encrypted.encode()
        try:
            patient.tools.fernet.decrypt(token)
        except InvalidToken:
            lost.append(row.account)
            continue
        try:
            newest.decrypt(token)
        except InvalidToken:
            old += 1
    if lost:
        shown = ", ".join(lost[:5]) + (" ..." if len(lost) > 5 else "")
        yield bad(
            "keys",
            f"{len(lost)} stored API keys cannot be decrypted: {shown}",
            "put the old key back into TIMBRADO_ENCRYPTION_KEYS, or connect these accounts again",
        )
    elif old:
        yield warn("keys", f"{old} of {len(stored)} stored API keys use an older key", "timbrado rotate-keys")
    else:
        yield ok("keys", f"{len(stored)} stored API keys fit TIMBRADO_ENCRYPTION_KEYS")


def _provider(patient: Patient) -> Findings:
    import sqlalchemy as sa

    from models.tables import providers
    from worker.cli import words

    now = patient.tools.clock.now()
    with patient.tools.engine.connect() as db:
        down = list(db.execute(sa.select(providers).where(providers.c.opened_at.is_not(None))))
    for row in down:
        yield warn(
            "provider",
            f"{row.base_url} has not answered since {words.at(row.opened_at)}; asked again "
            f"{words.ago(row.next_probe_at, now)}",
            "nothing here: one invoice at a time asks, and what waits goes on by itself",
        )
    if not down:
        yield ok("provider", "no outage is known")


def _connections(patient: Patient) -> Findings:
    from worker.cli.connections import summaries

    found = summaries(patient.tools)
    if not found:
        yield warn("connection", "no account is connected", "timbrado connect ACCOUNT")
    for each in found:
        name = f"{each['account']}: {each['status']}"
        waiting = f", {each['on_hold']:,} invoices on hold" if each["on_hold"] else ""
        if each["status"] == "broken":
            yield warn("connection", f"{name}, {each['reason']}{waiting}", f"{each['message']} {each['fix']}")
        elif each["status"] == "disconnected":
            yield (
                warn("connection", f"{name}{waiting}", f"timbrado connect {each['account']}")
                if each["on_hold"]
                else ok("connection", name)
            )
        elif each["status"] == "pending":
            yield warn("connection", f"{name}{waiting}", f"timbrado validate {each['account']}")
        elif each["held"]:
            yield warn("connection", f"{name}, held by an operator", f"timbrado release {each['account']}")
        else:
            stamps = f", {each['stamps_left']:,} stamps left" if each["stamps_left"] is not None else ""
            yield ok("connection", f"{name}, serie {each['serie']}{stamps}")


def _invoices(patient: Patient) -> Findings:
    import sqlalchemy as sa

    from models.status import DUE, OPEN, FailedReason, InvoiceStatus
    from models.tables import connections, invoices
    from worker.cli import words

    now = patient.tools.clock.now()

    def count(*which: Any) -> int:
        return int(
            db.execute(
                sa.select(sa.func.count())
                .select_from(invoices.outerjoin(connections, connections.c.account == invoices.c.account))
                .where(*which)
            ).scalar_one()
        )

    usable = (connections.c.status == "active", connections.c.held.is_(False))
    with patient.tools.engine.connect() as db:
        waiting = count(invoices.c.status.in_(sorted(OPEN)))
        claims = count(invoices.c.claimed_until < now - LATE)
        due = count(
            invoices.c.status.in_(sorted(DUE)),
            invoices.c.next_attempt_at < now - LATE,
            invoices.c.rung_at.is_(None),
            *usable,
            sa.or_(connections.c.tap_closed_until.is_(None), connections.c.tap_closed_until < now - LATE),
        )
        late = count(
            invoices.c.status.in_(sorted(OPEN)),
            invoices.c.expires_at < now + HURRY,
            invoices.c.expires_at > now,
        )
        doubts = count(
            invoices.c.status == InvoiceStatus.IN_DOUBT,
            invoices.c.doubt_since < now - 2 * patient.tools.policy.quarantine,
        )
        person = count(
            invoices.c.status == InvoiceStatus.FAILED, invoices.c.reason == FailedReason.NEEDS_PERSON
        )
    if claims:
        yield bad(
            "invoices",
            f"{claims} claims ran out and nobody ended them",
            "the sweep does not run: look at beat and workers above",
        )
    if due:
        yield bad(
            "invoices",
            f"{due} are due for more than {words.span(LATE)} and nobody rang for them",
            "the sweep does not run: look at beat and workers above",
        )
    if late:
        yield warn(
            "invoices",
            f"{late} have less than {words.span(HURRY)} of the SAT's 72 hours left",
            "timbrado list --status open, and see what keeps them",
        )
    if doubts:
        yield warn(
            "invoices",
            f"{doubts} are in doubt for more than twice the quarantine",
            "timbrado list --status in_doubt; each one's `timbrado status` says what it waits for",
        )
    if person:
        yield warn(
            "invoices",
            f"{person} need a person",
            "timbrado list --status failed; then `timbrado status` of each",
        )
    if not (claims or due):
        yield ok("invoices", f"{waiting:,} open, none overdue")


def _outbox(patient: Patient) -> Findings:
    from events import endpoints
    from events.outbox import standings
    from worker.cli import words

    tools = patient.tools
    if not tools.channels:
        yield warn(
            "events",
            "nobody is told: neither a webhook nor a task is set",
            "set TIMBRADO_WEBHOOK_URL and _SECRET, or TIMBRADO_EVENTS_TASK and _QUEUE",
        )
    now = tools.clock.now()
    with tools.engine.connect() as db:
        found = standings(db)
        far = {channel: endpoints.state(db, channel) for channel in tools.channels}
    for channel, state in far.items():
        if state is not None and state.disabled_at is not None:
            yield bad(
                "events",
                f"the {channel} is switched off: {state.disabled_reason}",
                "set another address, or mend it and `timbrado events replay --dead`",
            )
        elif state is not None and state.failures >= endpoints.FAILING:
            yield warn(
                "events", f"the {channel} failed {state.failures} times in a row", "look at Apunto's receiver"
            )
    well = True
    for each in found:
        if each.status == "dead":
            well = False
            said = f"{each.count:,} over {each.channel} were given up"
            yield warn(
                "events", said, "timbrado events list --status dead, then timbrado events replay --dead"
            )
        elif each.oldest_at < now - OLD_NOTICE:
            well = False
            said = (
                f"{each.count:,} over {each.channel} wait, the oldest since {words.ago(each.oldest_at, now)}"
            )
            yield warn("events", said, "look at Apunto's receiver: timbrado events list --status pending")
    if well and tools.channels:
        waiting = sum(each.count for each in found if each.status == "pending")
        yield ok("events", f"told by {', '.join(tools.channels)}; {waiting:,} on their way")


def one_line(error: Exception) -> str:
    """Return an error on one line, without a secret."""
    from config.logging import clean

    text = " ".join(str(error).split()) or type(error).__name__
    return clean(text)[:240]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at, what to mend when it can't be, and what must answer before."""

    what: str
    look: Callable[[Patient], Findings]
    mend: str = "look at the log of this command with --debug"
    needs: str = ""


CHECKS = (
    Check("settings", _settings),
    Check("database", _database, "is PostgreSQL up, and TIMBRADO_DATABASE_URL right?"),
    Check("broker", _broker, "is it up, and TIMBRADO_BROKER_URL (or TIMBRADO_REDIS_URL) right?"),
    Check("queues", _queues, needs="broker"),
    Check("workers", _workers, needs="broker"),
    Check("beat", _beat, "is Redis up, and TIMBRADO_REDIS_URL right?", needs="broker"),
    Check("storage", _storage, "can this user write to TIMBRADO_STORAGE_URL, and is there room?"),
    Check("keys", _keys, needs="database"),
    Check("provider", _provider, needs="database"),
    Check("invoices", _invoices, needs="database"),
    Check("events", _outbox, needs="database"),
    Check("connection", _connections, needs="database"),
)
