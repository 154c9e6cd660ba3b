"""What Prometheus reads, and what a load balancer asks: /metrics, /healthz, /readyz on TIMBRADO_METRICS_PORT.

Counts of calls come from this process; how many invoices stand where, and for how long, comes from the database, so
any one worker says it for all. No label ever carries an account's name or an RFC. Only what is open is counted by
status: stamped invoices grow for five years. A scrape takes two seconds at most, and gives the figures that it has.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import sqlalchemy as sa
import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, Info, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError

from cfdi.sat import data
from config.version import VERSION
from events import outbox
from models.tables import answer_samples, connections, dead_letters, invoices, providers
from models.vocabulary import DUE, OPEN, ConnectionStatus, DeliveryStatus, FailedReason, InvoiceStatus
from stamping import heartbeat
from stamping.clock import Clock
from stamping.tools import Meter
from storage import DocumentStore
from worker import database
from worker.health import MOST_SECONDS, Health, by_broker, by_database, store_fault, within

log = structlog.get_logger(__name__)

ANSWERED = frozenset({"done", "refused", "no"})
BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 30, 45)
FRESH = 5.0  # seconds for which the database's figures are given again without asking
COUNTED = sorted((OPEN | {InvoiceStatus.CANCELLING, InvoiceStatus.FAILED}) - {InvoiceStatus.STAMPED})


class PrometheusMeter(Meter):
    """Counts what this process does."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        Info("timbrado_build", "The release that runs: `timbrado_build_info`.", registry=registry).info(
            {"version": VERSION}
        )
        self._attempts = Counter(
            "timbrado_attempts",
            "Calls to ContaDigital by how they ended",
            ["call", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "timbrado_call_seconds",
            "Latency of calls to ContaDigital, by call and by whether they were answered",
            ["call", "answered"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._given_back = Counter(
            "timbrado_messages_given_back",
            "Messages that went back into their queue, by PostgreSQL's code (53100: disk full; empty: no answer)",
            ["sqlstate"],
            registry=registry,
        )
        self._not_enqueued = Counter(
            "timbrado_messages_not_enqueued",
            "Messages that the broker did not take: it is away, full, read-only, or blocks who publishes",
            registry=registry,
        )
        self._second_stamps = Counter(
            "timbrado_second_stamps",
            "Stamps that came late under another UUID than their invoice has: a duplicate to cancel",
            registry=registry,
        )
        self._rescued = Counter(
            "timbrado_claims_rescued", "Claims that ran out and were brought back", registry=registry
        )

    def given_back(self, sqlstate: str) -> None:
        """Count a message that went back into its queue."""
        self._given_back.labels(sqlstate).inc()
        by_database.note(
            database.MEANING.get(sqlstate, "it refuses what comes in") + f" ({sqlstate})" if sqlstate else ""
        )

    def not_enqueued(self) -> None:
        """Count a message that the broker did not take."""
        self._not_enqueued.inc()
        by_broker.note("the broker takes no messages: it is away, full, read-only, or blocks who publishes")

    def attempt(self, call: str, outcome: str, latency_ms: int | None) -> None:
        """Count one call to ContaDigital and how it ended."""
        self._attempts.labels(call, outcome).inc()
        if latency_ms is not None:
            answered = "yes" if outcome in ANSWERED else "no"
            self._seconds.labels(call, answered).observe(latency_ms / 1000)

    def second_stamp(self) -> None:
        """Count a stamp that came late, beside the one that its invoice has."""
        self._second_stamps.inc()

    def rescued(self, claims: int) -> None:
        """Count claims that had run out and were brought back."""
        if claims:
            self._rescued.inc(claims)


class TableCollector(Collector):
    """How many invoices stand where, read from the database when somebody scrapes, at most every few seconds."""

    def __init__(
        self,
        engine: sa.Engine,
        clock: Clock,
        redis: Redis | None,
        *,
        queues: Iterable[str],
        store: DocumentStore | None,
    ) -> None:
        """`store` is None for beat, which has no business with documents."""
        self._engine, self._clock, self._redis, self._store = engine, clock, redis, store
        self._queues = tuple(queues)
        self._lock = threading.Lock()
        self._figures: list[Metric] = []
        self._read_at = -FRESH

    def describe(self) -> Iterable[Metric]:
        """Return nothing: else registering would collect, and a start wait for the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Return the figures; those of a moment ago where they are fresh enough."""
        with self._lock:
            if time.monotonic() - self._read_at >= FRESH:
                self._figures = list(self._read())
                self._read_at = time.monotonic()
            yield from self._figures

    def _read(self) -> Iterator[Metric]:
        until = time.monotonic() + MOST_SECONDS
        is_up, is_writable = 0, 0
        for read in (
            self._of_database,
            self._of_sweep,
            _of_connections,
            _of_answers,
            _of_events,
            _of_dead_letters,
            _of_invoices,
        ):
            left = until - time.monotonic()
            if left <= 0:
                break
            try:
                with self._engine.begin() as db:
                    db.execute(sa.text(f"SET LOCAL statement_timeout = {max(1, int(left * 1000))}"))
                    yield from list(read(db, self._clock.now()))
                is_up = 1
            except sa.exc.SQLAlchemyError as error:
                log.warning("figures_missing", figures=read.__name__, why=database.fault_of(error))
                if not is_up:
                    break
        if is_up:
            is_writable = int(database.write_fault(self._engine, seconds=1) is None)
        yield _gauge("timbrado_database_up", "Whether PostgreSQL answered", is_up)
        yield _gauge("timbrado_database_writable", "Whether PostgreSQL took one row", is_writable)
        if self._store is not None:
            store = self._store
            fault = within(MOST_SECONDS, lambda: store_fault(store))
            yield _gauge("timbrado_store_up", "Whether the document store took a small object", not fault)
        yield from self._of_redis()

    def _of_database(self, db: sa.Connection, _: datetime) -> Iterator[Metric]:
        off = self._clock.sync(db).total_seconds()
        yield _gauge("timbrado_clock_seconds", "How far this host's clock is ahead of the database's", off)
        blocking = database.blockers(db)
        yield _gauge(
            "timbrado_database_blocked",
            "Sessions that wait for a lock which is held for more than five seconds",
            sum(each.waiting for each in blocking if each.seconds > 5),
        )
        yield _gauge(
            "timbrado_database_unsafe",
            "Settings of PostgreSQL, or of a pooler before it, that may lose a commit or a limit",
            sum(1 for _ in database.unsafe(db)),
        )

    def _of_sweep(self, db: sa.Connection, _: datetime) -> Iterator[Metric]:
        age = heartbeat.age_of(db, heartbeat.SWEEP)
        if age is not None:
            yield _gauge("timbrado_sweep_seconds", "Age of the last sweep's end", age)

    def _of_redis(self) -> Iterator[Metric]:
        if self._redis is None:
            return
        waiting = GaugeMetricFamily(
            "timbrado_queue_messages", "Messages waiting in the broker", labels=["queue"]
        )
        try:
            for queue in self._queues:
                waiting.add_metric([queue], float(self._redis.llen(queue)))
            memory: dict[str, float] = self._redis.info("memory")
            stats: dict[str, float] = self._redis.info("stats")
        except RedisError:
            yield _gauge("timbrado_redis_up", "Whether Redis answered", 0)
            return
        yield _gauge("timbrado_redis_up", "Whether Redis answered", 1)
        yield waiting
        most = memory.get("maxmemory") or memory.get("total_system_memory") or 0
        share = memory["used_memory"] / most if most else 0.0
        yield _gauge("timbrado_redis_memory_ratio", "Memory that Redis uses, of what it may use", share)
        yield _gauge(
            "timbrado_redis_evicted_keys", "Keys that Redis dropped for want of memory", stats["evicted_keys"]
        )


def _of_dead_letters(db: sa.Connection, now: datetime) -> Iterator[Metric]:
    number = db.execute(
        sa.select(sa.func.count())
        .select_from(dead_letters)
        .where(dead_letters.c.resent_at.is_(None), dead_letters.c.created_at > now - timedelta(days=1))
    ).scalar_one()
    yield _gauge("timbrado_dead_letters", "Dead letters of the last day that nobody has sent again", number)


def _of_invoices(db: sa.Connection, now: datetime) -> Iterator[Metric]:
    count = GaugeMetricFamily("timbrado_invoices", "Open invoices by status", labels=["status"])
    oldest = GaugeMetricFamily(
        "timbrado_oldest_seconds", "Age of the oldest open invoice by status", labels=["status"]
    )
    seen = {
        row.status: row
        for row in db.execute(
            sa.select(
                invoices.c.status,
                sa.func.count().label("number"),
                sa.func.min(invoices.c.created_at).label("oldest"),
            )
            .where(invoices.c.status.in_(COUNTED))
            .group_by(invoices.c.status)
        )
    }
    for status in COUNTED:
        row = seen.get(status)
        count.add_metric([status], row.number if row else 0)
        oldest.add_metric([status], (now - row.oldest).total_seconds() if row else 0)
    yield count
    yield oldest
    may_go = db.execute(
        sa.select(sa.func.count())
        .select_from(invoices.join(connections, connections.c.account == invoices.c.account))
        .where(
            invoices.c.status.in_(sorted(DUE)),
            invoices.c.next_attempt_at <= now,
            connections.c.status == ConnectionStatus.ACTIVE,
            connections.c.paused.is_(False),
            sa.or_(connections.c.throttled_until.is_(None), connections.c.throttled_until <= now),
        )
    ).scalar_one()
    yield _gauge("timbrado_invoices_due", "Invoices that may be sent now, and wait for their turn", may_go)
    deadline, needing, doubt = db.execute(
        sa.select(
            sa.select(sa.func.min(invoices.c.expires_at))
            .where(invoices.c.status.in_(sorted(OPEN)))
            .scalar_subquery(),
            sa.select(sa.func.count())
            .select_from(invoices)
            .where(
                sa.or_(
                    sa.and_(
                        invoices.c.status == InvoiceStatus.FAILED,
                        invoices.c.reason == FailedReason.NEEDS_PERSON,
                    ),
                    invoices.c.status == InvoiceStatus.DIFFERS,
                )
            )
            .scalar_subquery(),
            sa.select(sa.func.min(invoices.c.doubt_since))
            .where(invoices.c.status == InvoiceStatus.IN_DOUBT)
            .scalar_subquery(),
        )
    ).one()
    left = (deadline - now).total_seconds() / 3600 if deadline else 72.0
    yield _gauge(
        "timbrado_least_hours_left", "Least hours left of the SAT's 72, over all open invoices", left
    )
    yield _gauge("timbrado_needs_person", "Invoices that stand before a person", needing)
    doubted = (now - doubt).total_seconds() if doubt else 0.0
    yield _gauge("timbrado_oldest_doubt_seconds", "Age of the oldest doubt", doubted)


def _of_connections(db: sa.Connection, _: datetime) -> Iterator[Metric]:
    counted = GaugeMetricFamily(
        "timbrado_connections", "Connections by status and reason", labels=["status", "reason"]
    )
    rows = db.execute(
        sa.select(connections.c.status, connections.c.reason, sa.func.count()).group_by(
            connections.c.status, connections.c.reason
        )
    ).all()
    for status, reason, number in rows:
        counted.add_metric([status, reason or ""], number)
    if not any(row[0] == ConnectionStatus.ACTIVE for row in rows):
        counted.add_metric([ConnectionStatus.ACTIVE, ""], 0)
    yield counted
    is_open = db.execute(
        sa.select(sa.func.count()).select_from(providers).where(providers.c.opened_at.is_not(None))
    ).scalar_one()
    yield _gauge("timbrado_breakers_open", "Providers that are taken for down", is_open)


def _of_answers(db: sa.Connection, now: datetime) -> Iterator[Metric]:
    longest = db.execute(sa.select(sa.func.max(connections.c.throttled_until))).scalar_one()
    wait = max(0.0, (longest - now).total_seconds()) if longest else 0.0
    yield _gauge(
        "timbrado_longest_wait_seconds", "The longest wait that ContaDigital asked an account for", wait
    )
    number = db.execute(
        sa.select(sa.func.count())
        .select_from(answer_samples)
        .where(answer_samples.c.at > now - timedelta(days=1))
    ).scalar_one()
    yield _gauge(
        "timbrado_answers_not_understood",
        "Calls whose last answer was not understood, of a day",
        number,
    )
    age = data.current().age_in_days(now.date())
    if age is not None:
        yield _gauge("timbrado_catalogs_days", "Age of the SAT's catalogues", age)


def _of_events(db: sa.Connection, now: datetime) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("timbrado_events", "Events by channel and state", labels=["channel", "state"])
    oldest = GaugeMetricFamily(
        "timbrado_events_oldest_seconds", "Age of the oldest event that waits", labels=["channel"]
    )
    for backlog in outbox.backlogs(db):
        waiting.add_metric([backlog.channel, backlog.status], backlog.count)
        if backlog.status == DeliveryStatus.PENDING:
            oldest.add_metric([backlog.channel], (now - backlog.oldest_at).total_seconds())
    yield waiting
    yield oldest


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=float(value))


class _Server(ThreadingMixIn, WSGIServer):
    """One thread a question: who asks whether this process lives must not wait for a slow database."""

    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a scrape every few seconds is no news."""


def serve(port: int, health: Health, *, host: str = "0.0.0.0") -> WSGIServer | None:  # noqa: S104  # scraped from outside its container
    """Answer in a thread of its own; None (and a warning) where the port is taken."""
    metrics = make_wsgi_app()

    def app(environ: dict[str, str], start_response: Callable[..., object]) -> Iterable[bytes]:
        match environ.get("PATH_INFO", "/"):
            case "/metrics":
                return metrics(environ, start_response)  # type: ignore[no-any-return]  # a WSGI app
            case "/healthz":
                faults = health.faults_of_life()
            case "/readyz":
                faults = health.faults_of_readiness()
            case _:
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"/metrics, /healthz, /readyz\n"]
        status = "503 Service Unavailable" if faults else "200 OK"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return ["\n".join(faults or ["ok"]).encode() + b"\n"]

    try:
        server = make_server(host, port, app, server_class=_Server, handler_class=_Silent)
    except OSError as error:
        log.warning("metrics_port_taken", port=port, why=error.strerror)
        return None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
