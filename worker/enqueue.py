"""The door for many: submissions published in batches, for the command line and for whoever imports a month at once.

The one thing a newcomer would get wrong: a batch that the broker did not confirm may have arrived, in part or whole. It
is sent again all the same, since the same invoice sent twice is one invoice.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from celery.utils import uuid
from kombu.exceptions import OperationalError

from worker.privacy import HIDDEN

if TYPE_CHECKING:
    from celery import Celery

TASK, QUEUE = "stamping.submit_invoice", "intake"
BATCH = 200
"""Messages a round trip: more gains little, and fewer are repeated where the broker goes away."""
PAUSES = (0.2, 0.7, 1.5)
"""Seconds before a batch that was not confirmed is sent again; after the last one it is given up."""


def submit_many(
    app: "Celery[Any]", invoices: Iterable[Mapping[str, Any]], *, batch: int = BATCH
) -> Iterator[int]:
    """Publish submissions, a batch a round trip where the broker can; yields how many it has after each.

    Their arguments are hidden from whoever watches the queue, and no `task-sent` event is made of each: Flower shows
    them as they are received. Raises kombu's OperationalError where the broker stays away.
    """
    left = iter(invoices)
    sent = 0
    with app.producer_or_acquire() as producer:
        while several := list(islice(left, batch)):
            _patiently(app, producer, several)
            sent += len(several)
            yield sent


# kombu's types know nothing of batches, nor that a producer has a connection: it is Any below


def _patiently(app: "Celery[Any]", producer: Any, several: list[Mapping[str, Any]]) -> None:
    for pause in (*PAUSES, None):
        try:
            _publish(app, producer, several)
        except (*producer.connection.connection_errors, *producer.connection.channel_errors) as error:
            if pause is None:
                raise OperationalError(str(error)) from error
            time.sleep(pause)
            producer.revive(producer.connection.default_channel)
        else:
            return


def _publish(app: "Celery[Any]", producer: Any, several: list[Mapping[str, Any]]) -> None:
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
