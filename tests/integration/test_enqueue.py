"""Sending many: what it publishes is what the worker reads, with batches and without."""

import base64
import json
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError

from tasks.enqueue import submit_many
from tests.support.builders import an_invoice


def an_app(broker_url: str) -> "Celery[Any]":
    app: Celery[Any] = Celery("sender", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_queues=[Queue("intake", routing_key="intake")],
        task_default_queue="intake",
        task_send_sent_event=True,
    )
    return app


def test_every_invoice_is_published_once_and_in_order(broker_url: str, redis_url: str) -> None:
    """Five in batches of two: five messages, the first that was given is the first to be read, no event of each."""
    with an_app(broker_url) as app, redis.Redis.from_url(redis_url) as client:
        results = list(submit_many(app, [an_invoice(external_id=f"OP-{n}") for n in range(5)], batch=2))
        queued = [json.loads(each) for each in reversed(client.lrange("intake", 0, -1))]
        others = [key for key in client.scan_iter() if not key.startswith(b"_kombu") and key != b"intake"]

    assert results == [2, 4, 5]
    assert [body_of(each)[1]["invoice"]["external_id"] for each in queued] == [f"OP-{n}" for n in range(5)]
    assert others == []


def test_a_message_is_celerys_own_with_its_arguments_hidden(broker_url: str, redis_url: str) -> None:
    """The name of the contract, keyword arguments, protocol 2, and nothing of the invoice in a header."""
    invoice = an_invoice()
    with an_app(broker_url) as app, redis.Redis.from_url(redis_url) as client:
        list(submit_many(app, [invoice]))
        (raw,) = client.lrange("intake", 0, -1)

    message = json.loads(raw)
    assert message["headers"]["task"] == "stamping.submit_invoice"
    assert message["headers"]["argsrepr"] == message["headers"]["kwargsrepr"] == "(hidden)"
    assert body_of(message)[:2] == [[], {"invoice": invoice}]
    assert invoice["receptor"]["rfc"] not in json.dumps(message["headers"])


def test_a_broker_that_takes_no_batches_gets_them_one_by_one() -> None:
    """Over kombu's transport in memory, which has no pipeline."""
    with an_app("memory://") as app:
        list(submit_many(app, [an_invoice(external_id=f"OP-{n}") for n in range(3)]))
        with app.connection_for_read() as connection, connection.SimpleQueue("intake") as queue:
            seen = [queue.get(block=False).payload[1]["invoice"]["external_id"] for _ in range(3)]

    assert seen == ["OP-0", "OP-1", "OP-2"]


def test_a_broker_that_is_away_is_reported_to_be(tmp_path: Any) -> None:
    """After a few tries, as kombu's own error."""
    with an_app(f"redis+socket://{tmp_path}/nothing.sock") as app:
        app.conf.update(
            broker_connection_timeout=0.2, broker_transport_options={"max_retries": 0, "interval_start": 0}
        )
        with pytest.raises(OperationalError):
            list(submit_many(app, [an_invoice()]))


def body_of(message: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(message["body"]))
