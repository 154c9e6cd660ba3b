"""The only place that sends our Celery messages: tasks for ids, and submissions in batches.

A message is only a hint. A broker that is away loses nothing that is in the tables: the sweep enqueues it again. A
batch of submissions that the broker did not confirm may have arrived in part; it is sent again, since the same invoice
sent twice is one invoice.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

import structlog
from amqp.exceptions import AMQPError
from celery import Celery, current_app
from celery.utils import uuid
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from stamping.intake.untrusted import SENT_AT
from stamping.sweep import Queued
from tasks import context

log = structlog.get_logger(__name__)

HIDDEN = "(hidden)"
"""What Flower and logs show instead of the arguments of an intake task."""


CONFIRMED = 5.0
"""Seconds for RabbitMQ to confirm a message: while its memory or disk alarm stands it never does."""
BROKER_REFUSES = (KombuError, AMQPError, RedisError, OSError)
"""A broker that is away, full, read-only, or blocks who publishes."""


def for_each(task: str, ids: Iterable[UUID], *, queue: str | None = None) -> None:
    """Enqueue a task once for each id; where the broker refuses, the sweep does so later."""
    for each in ids:
        if not _enqueue(task, args=(str(each),), queue=queue):
            return


def once(task: str) -> None:
    """Enqueue a task that takes no id; where the broker refuses, beat does so later."""
    _enqueue(task)


def _enqueue(task: str, **options: Any) -> bool:
    try:
        current_app.send_task(
            task, headers={SENT_AT: context.now().isoformat()}, confirm_timeout=CONFIRMED, **options
        )
    except BROKER_REFUSES as error:
        log.warning("not_enqueued", task=task, error=type(error).__name__)
        context.meter().not_enqueued()
        return False
    return True


def again(
    app: Celery[Any], task: str, queue: str | None, message: Mapping[str, Any], body: bytes | None
) -> bool:
    """Send a dead letter again, under a new id: its bytes where it never was arguments, and these otherwise.

    False where the broker does not take it.
    """
    if body is not None:
        headers = {"lang": "py", "task": task, "id": uuid(), "argsrepr": HIDDEN, "kwargsrepr": HIDDEN}
        try:
            with app.producer_or_acquire() as producer:
                producer.publish(
                    body,
                    routing_key=queue or QUEUE,
                    content_type="application/json",
                    content_encoding="utf-8",
                    headers=headers,
                    delivery_mode=2,
                )
        except BROKER_REFUSES:
            return False
        return True
    kwargs: dict[str, Any] = {name: each for name, each in message.items() if name not in {"task", "args"}}
    if task == TASK and "invoice" not in message and "args" not in message:  # stored as the invoice alone
        kwargs = {"invoice": dict(message)}
    return _enqueue(
        task,
        args=tuple(message.get("args", ())),
        kwargs=kwargs,
        queue=QUEUE,
        argsrepr=HIDDEN,
        kwargsrepr=HIDDEN,
    )


def queued(names: Iterable[str]) -> dict[str, Queued]:
    """Return what waits in these queues; nothing of them where the broker does not answer."""
    try:
        with current_app.connection_or_acquire() as connection:
            look = _in_redis if connection.transport.driver_type == "redis" else _in_rabbitmq
            return {name: look(connection, name) for name in names}
    except BROKER_REFUSES as error:
        log.warning("queues_not_read", error=type(error).__name__)
        return {}


def dropped_keys() -> int:
    """Return how many keys Redis has dropped for want of memory since it started; 0 where there is none to ask."""
    try:
        with current_app.connection_or_acquire() as connection:
            if connection.transport.driver_type != "redis":
                return 0
            with connection.default_channel.conn_or_acquire() as client:
                return int(client.info("stats").get("evicted_keys", 0))
    except BROKER_REFUSES as error:
        log.warning("redis_not_read", error=type(error).__name__)
        return 0


def _in_redis(connection: Any, name: str) -> Queued:
    with connection.default_channel.conn_or_acquire() as client:
        length, oldest = client.llen(name), client.lindex(name, -1)
    try:
        return Queued(length, datetime.fromisoformat(json.loads(oldest)["headers"][SENT_AT]))
    except (TypeError, ValueError, KeyError):  # nothing waits, or it is no message of ours
        return Queued(length)


def _in_rabbitmq(connection: Any, name: str) -> Queued:
    with connection.channel() as channel:
        try:
            return Queued(channel.queue_declare(queue=name, passive=True).message_count)
        except connection.channel_errors:  # nothing was ever sent there
            return Queued()


TASK, QUEUE = "stamping.submit_invoice", "intake"
BATCH = 200
"""Messages a round trip: more gains little, and fewer are repeated where the broker goes away."""
PAUSES = (0.2, 0.7, 1.5)
"""Seconds before a batch that was not confirmed is sent again; after the last one it is given up."""


def submit_many(
    app: Celery[Any], invoices: Iterable[Mapping[str, Any]], *, batch: int = BATCH
) -> Iterator[int]:
    """Publish submissions, a batch a round trip where the broker can; yields how many it has after each.

    Their arguments are hidden from whoever watches the queue, and no `task-sent` event is made of each: Flower shows
    them as they are received. Raises kombu's OperationalError where the broker stays away.
    """
    left = iter(invoices)
    sent = 0
    with app.producer_or_acquire() as producer:
        while several := list(islice(left, batch)):
            _publish_with_retry(app, producer, several)
            sent += len(several)
            yield sent


# kombu's types know nothing of batches, nor that a producer has a connection: it is Any below


def _publish_with_retry(app: Celery[Any], producer: Any, several: list[Mapping[str, Any]]) -> None:
    for pause in (*PAUSES, None):
        try:
            _publish(app, producer, several)
        except BROKER_REFUSES as error:
            if pause is None:
                # kombu's own words of a batch name no reason
                raise OperationalError(str(error.__cause__ or error)) from error
            time.sleep(pause)
            producer.revive(producer.connection.default_channel)
        else:
            return


def _publish(app: Celery[Any], producer: Any, several: list[Mapping[str, Any]]) -> None:
    queue = app.amqp.queues[QUEUE]
    producer.maybe_declare(queue)
    with producer.batch(max_size=len(several)):  # a pipeline where the broker is Redis, one by one elsewhere
        for invoice in several:
            message = app.amqp.as_task_v2(
                uuid(),
                TASK,
                kwargs={"invoice": dict(invoice)},
                argsrepr=HIDDEN,
                kwargsrepr=HIDDEN,
                ignore_result=True,
            )
            producer.publish(
                message.body,
                exchange="",
                routing_key=QUEUE,
                serializer="json",
                headers=message.headers,
                delivery_mode=2,
                retry=False,
                **message.properties,
            )
