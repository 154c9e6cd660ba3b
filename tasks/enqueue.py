"""The only place that sends our Celery messages: tasks for ids, and submissions in batches.

A message is only a hint. A broker that is away loses nothing that is in the tables: the sweep enqueues it again. A
batch of submissions that the broker did not confirm may have arrived in part; it is sent again, since the same invoice
sent twice is one invoice.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any
from uuid import UUID

import structlog
from amqp.exceptions import AMQPError
from celery import Celery, current_app
from celery.utils import uuid
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

HIDDEN = "(hidden)"
"""What Flower and logs show instead of the arguments of an intake task."""


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
        current_app.send_task(task, **options)
    except BROKER_REFUSES as error:
        log.warning("not_enqueued", task=task, error=type(error).__name__)
        return False
    return True


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
                raise OperationalError(str(error)) from error
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
