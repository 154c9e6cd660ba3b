"""The Celery app (`celery -A worker ...`) and the options that all tasks share, once; the broker's are beside it.

A message is only a hint: the database knows what is due, so nothing here retries, counts down or keeps results; and the
settings that would make Celery run things twice are refused at boot.
"""

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from typing import Any

import structlog
from celery import Celery
from celery.signals import (
    beat_init,
    before_task_publish,
    heartbeat_sent,
    import_modules,
    setup_logging,
    worker_init,
    worker_ready,
    worker_shutdown,
)
from kombu.exceptions import OperationalError
from prometheus_client import REGISTRY
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError as DatabaseAway
from sqlalchemy.exc import SQLAlchemyError as DatabaseError

from config import logging as logs
from config.settings import Settings, SettingsError, load
from net import descriptors
from stamping import heartbeat
from stamping.clock import Clock
from stamping.recovery import mark
from storage import DocumentStore
from tasks import context, deliver, look_ahead
from worker import broker, flower, guard, health, metrics, redis_transport, resources
from worker.redaction import RedactingEvents, RedactingTask
from worker.schedule import beat_schedule

log = structlog.get_logger(__name__)

TALKATIVE = ("celery.worker.strategy", "celery.app.trace")
"""They say at INFO that each task came and went: Flower shows that, and an attempt is one line of ours."""

ROUTES = {
    "stamping.submit_invoice": {"queue": "intake"},
    "stamping.cancel_invoice": {"queue": "intake"},
    "stamping.retry_invoice": {"queue": "intake"},
    "stamping.replace_invoice": {"queue": "intake"},
    "stamping.connect": {"queue": "intake"},
    "stamping.validate_connection": {"queue": "intake"},
    "stamping.disconnect": {"queue": "intake"},
    "stamping.withdraw_invoice": {"queue": "intake"},
    "stamping.stamp_invoice": {"queue": "stamp"},
    "stamping.reconcile_invoice": {"queue": "stamp"},
    "stamping.settle_cancellation": {"queue": "stamp"},
    "stamping.fetch_documents": {"queue": "stamp.bulk"},
    "stamping.send_mail": {"queue": "stamp.bulk"},
    "stamping.deliver_events": {"queue": "events"},
    "stamping.*": {"queue": "upkeep"},
}


def create_app(settings: Settings) -> "Celery[Any]":
    """Build the app from settings; importing this module's `app` does so once per process."""
    context.provide(resources.tools, resources.now)
    redis_transport.install()
    made: Celery[Any] = Celery(
        "timbrado", set_as_current=True, task_cls=RedactingTask, events=RedactingEvents
    )
    made.conf.update(
        **broker.options(settings),
        result_backend=None,
        imports=("tasks.intake", "tasks.stamp", "tasks.upkeep", "tasks.deliver"),
        # acknowledged when done: a worker that dies leaves the message in the queue
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_acks_on_failure_or_timeout=True,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_pool="threads",
        worker_consumer="worker.consumer:RedactingConsumer",
        worker_concurrency=50,
        worker_send_task_events=True,
        task_send_sent_event=True,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        task_default_queue="intake",
        task_create_missing_queues=True,  # Apunto's own queue, for events
        task_routes=ROUTES,
        timezone="UTC",
        enable_utc=True,
        beat_schedule=beat_schedule(settings),
        beat_scheduler="worker.schedule:Scheduler",
        beat_max_loop_interval=1,
    )
    guard.refuse_what_runs_twice(made, lease=settings.lease)
    return made


@setup_logging.connect(weak=False)
def _our_logging(**_: object) -> None:
    """Keep Celery from setting up its own: one event a line, nothing secret in it."""
    settings = load()
    logs.configure(format=settings.log_format, level=settings.log_level)
    if settings.log_level != "debug":
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger("celery.beat").addFilter(_is_no_chatter)


def _is_no_chatter(record: logging.LogRecord) -> bool:
    """Leave out what beat says of each message: some thirty lines a minute that say nothing."""
    return not str(record.msg).startswith("Scheduler: Sending due task")


@worker_init.connect(weak=False)
def _open(sender: Any, **_: object) -> None:
    """Open what the process needs; the threads pool sends no `worker_process_init`."""
    guard.refuse_what_runs_twice_here(sender, lease=resources.settings().lease)
    alive = resources.settings().alive_file
    if alive is not None and not os.access(alive.parent, os.W_OK):
        raise SettingsError("timbrado: TIMBRADO_ALIVE_FILE names a file in a folder that cannot be written")
    descriptors.allow(LEAST_DESCRIPTORS)
    tools = resources.tools()
    try:
        mark.begin(tools)
    except mark.DatabaseSetBack as error:
        raise SystemExit(f"timbrado: {error}") from error
    except DatabaseAway:
        pass  # the database is away: nothing is sent without it, and the first sweep checks the mark
    deliver.set_channels(tools)
    serve_metrics(*resources.open_watch(resources.settings()), tools.store)


@beat_init.connect(weak=False)
def _watch_beat(**_: object) -> None:
    """Beat gives the figures too: they are there while no worker is. It lives while it enqueues.

    It opens no more than that needs: where it runs there may be no way to the documents.
    """
    engine, clock = resources.open_watch(resources.settings())
    serve_metrics(engine, clock, None)
    before_task_publish.connect(_alive, weak=False)
    threading.Thread(target=_note_clock, args=(engine, clock), name="clock", daemon=True).start()


def _note_clock(engine: Engine, clock: Clock) -> None:
    """Compare this host's clock with the database's, at once and each minute, and leave word of it for the doctor."""
    while True:
        with suppress(DatabaseError), engine.begin() as db:  # away: the next time
            off = clock.sync(db).total_seconds()
            heartbeat.note(db, heartbeat.BEAT, resources.host(), off=off)
            if abs(off) > CLOCK_OFF:
                log.warning("clock_off", seconds=round(off, 1))
        time.sleep(60)


CLOCK_OFF = 2.0
"""Seconds by which a host's clock may differ from the database's before somebody should know."""


def serve_metrics(engine: Engine, clock: Clock, store: DocumentStore | None) -> None:
    """Answer /metrics, /healthz and /readyz where a port is set for them."""
    global _health  # noqa: PLW0603  # one per process, noted each time its loop goes round
    settings = resources.settings()
    if settings.metrics_port is None:
        return

    redis = resources.open_redis(settings)
    table = metrics.TableCollector(engine, clock, redis, queues=broker.QUEUES, store=store)
    REGISTRY.register(table)
    _health = health.Health(engine, redis, store=store, broker_answers=broker_answers)
    metrics.serve(settings.metrics_port, _health)


def broker_answers() -> bool:
    """Say whether the broker answers now."""
    try:
        with app.connection_for_write(connect_timeout=5) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
    except OperationalError:
        return False
    return True


_health: health.Health | None = None


@worker_ready.connect(weak=False)
def _look_ahead(**_: object) -> None:
    """Begin to look ahead in `intake`."""
    look_ahead.start(resources.tools().worker)


@worker_shutdown.connect(weak=False)
def _close(**_: object) -> None:
    look_ahead.stop()
    deliver.stop()
    resources.close()


@heartbeat_sent.connect(weak=False)
def _alive(**_: object) -> None:
    """Note that the loop went round: for /healthz, and in the file whose age `timbrado health worker` reads.

    A worker that has no descriptors left for a while ends, and is started anew: most often it has leaked them.
    """
    global _no_descriptors_since  # noqa: PLW0603  # one per process
    if descriptors.fault():
        _no_descriptors_since = _no_descriptors_since or time.monotonic()
        log.error("no_descriptors")
        context.note_refusal("EMFILE")
        if time.monotonic() - _no_descriptors_since > WITHOUT_DESCRIPTORS:
            os.kill(os.getpid(), signal.SIGTERM)
        return
    _no_descriptors_since = 0.0
    if _health is not None:
        _health.beat()
    if resources.settings().alive_file is not None:
        resources.settings().alive_file.touch()  # type: ignore[union-attr]  # seen not to be None


LEAST_DESCRIPTORS = 1024
"""What a worker asks for: 50 threads have been seen to hold 105 at once, and 64 connections lead to ContaDigital."""
WITHOUT_DESCRIPTORS = 30.0
"""Seconds without a free descriptor after which a process ends."""
_no_descriptors_since = 0.0

import_modules.connect(flower.before_it_listens, weak=False)

app = create_app(load())
