"""What the doctor checks of the broker: that it takes messages, what waits in its queues, and which workers answer."""

from typing import Any

import redis
from celery import Celery
from kombu import Producer
from kombu.exceptions import ChannelError

from cli.doctor.findings import CheckResults, bad, ok, warn
from cli.doctor.installation import Installation
from config.values import redis_from_broker
from worker import broker

LONG_QUEUE = 10_000  # messages


def check_broker(installation: Installation) -> CheckResults:
    """Ask it, and see that it keeps what it is given."""
    url = installation.settings.broker_url.get_secret_value()
    if not url.startswith("redis"):
        yield from _rabbitmq(installation)
        return
    yield from _redis(redis_from_broker(url))


def _app(installation: Installation) -> Celery:
    """Return an app that reaches the broker as a worker does, and imports none of its tasks."""
    app: Celery = Celery("timbrado", set_as_current=False)
    app.conf.update(broker.options(installation.settings))
    return app


def _rabbitmq(installation: Installation) -> CheckResults:
    """Connect, and publish messages that nobody gets: while an alarm stands the first one of a connection is confirmed,
    and then it is not read from any more.
    """
    connection = _app(installation).connection_for_write(connect_timeout=3)
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
    with _app(installation).connection_for_read(connect_timeout=4) as connection:
        absent: tuple[type[BaseException], ...] = (ChannelError, *connection.channel_errors)
        for name in broker.QUEUES:
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
    inspect = _app(installation).control.inspect(timeout=1.5)
    consumed = inspect.active_queues() or {}
    if not consumed:
        yield bad("workers", "none answers", "start one: celery -A worker worker, or `timbrado up`")
        return
    names = sorted(consumed)
    taken = {queue["name"] for queues in consumed.values() for queue in queues or ()}
    missing = [name for name in broker.QUEUES if name not in taken]
    shown = f"{len(names)}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}"
    if missing:
        yield bad(
            "workers",
            f"{shown}; no worker takes from {', '.join(missing)}",
            "`timbrado drain --undo` if they were drained, else start one with -Q for these queues",
        )
    else:
        yield ok("workers", shown)
