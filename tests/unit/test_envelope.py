"""The envelope of a message decides nothing, and what is no message becomes the body of one."""

import base64
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import InvalidTaskError
from kombu import Message
from kombu.transport.virtual import Channel

from stamping.intake.untrusted import ARRIVED_AT
from tests.support.envelopes import NO_MESSAGES, an_envelope
from worker.redaction import RedactingRequest
from worker.redis_transport import MAX_BODY, NO_MESSAGE, as_message

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def taken(raw: bytes, queue: str = "intake") -> dict[str, Any]:
    """What kombu is handed for what a queue held."""
    return json.loads(as_message(raw, queue, lambda: NOW))  # type: ignore[no-any-return]  # an object


def understood(message: dict[str, Any]) -> Any:
    """The message as kombu reads it."""
    channel = SimpleNamespace(
        decode_body=lambda body, encoding=None: Channel.decode_body(CHANNEL, body, encoding)
    )
    return Channel.Message(message, channel=channel)


CHANNEL: Any = SimpleNamespace(codecs=Channel.codecs)


@pytest.mark.parametrize("name", sorted(NO_MESSAGES))
def test_what_is_no_message_becomes_the_body_of_one(name: str) -> None:
    """kombu can read it, it says what is wrong, and its bytes are those that came."""
    raw = NO_MESSAGES[name]

    message = taken(raw)

    assert message["headers"][NO_MESSAGE]
    assert base64.b64decode(message["body"]) == raw[:MAX_BODY]
    assert understood(message).body == raw[:MAX_BODY]
    assert message["properties"]["delivery_info"] == {"exchange": "", "routing_key": "intake"}


def test_what_is_kept_of_it_is_bounded() -> None:
    """A hundred megabytes that are no message do not fill the table."""
    message = taken(b"x" * (MAX_BODY + 1))

    assert len(base64.b64decode(message["body"])) == MAX_BODY


@pytest.mark.parametrize("info", [{}, {"exchange": "gone", "routing_key": "x"}, "intake", None])
def test_a_message_goes_back_into_the_queue_it_came_from(info: Any) -> None:
    """Whatever exchange its sender named: kombu would drop it where there is none of that name."""
    raw = json.dumps(an_envelope("stamping.sweep", delivery_info=info)).encode()

    message = taken(raw, "stamp")

    assert message["properties"]["delivery_info"] == {"exchange": "", "routing_key": "stamp"}
    assert NO_MESSAGE not in message["headers"]


@pytest.mark.parametrize("headers", [{"x": [1]}, {"x": {"y": 1}}, {"x": "y" * 5_000_000}])
def test_only_short_and_flat_headers_are_kept(headers: dict[str, Any]) -> None:
    """What a sender piles up in a header is not written out again with each step of its message."""
    message = taken(json.dumps(an_envelope("stamping.sweep", headers=headers)).encode())

    assert "x" not in message["headers"]
    assert message["headers"]["task"] == "stamping.sweep"


def test_a_message_without_a_sending_time_is_ordered_by_its_first_arrival() -> None:
    """Put back into its queue and taken again, it keeps the instant at which it first came."""
    first = as_message(json.dumps(an_envelope("stamping.sweep")).encode(), "intake", lambda: NOW)

    again = json.loads(as_message(first, "intake", lambda: datetime.max.replace(tzinfo=UTC)))

    assert again["headers"][ARRIVED_AT] == NOW.isoformat()


@pytest.mark.parametrize(
    "has", [{"headers": {"sent_at": "2026-11-29T11:00:00Z"}}, {"properties": {"timestamp": 1}}]
)
def test_a_sending_time_is_left_as_its_sender_wrote_it(has: dict[str, Any]) -> None:
    """A message that has one gets no time of arrival from us."""
    message = taken(json.dumps(an_envelope("stamping.sweep", **has)).encode())

    assert ARRIVED_AT not in message["headers"]


def a_request(body: Any, **headers: Any) -> RedactingRequest:
    app = Celery("x", broker="memory://", set_as_current=False)
    message = Message(
        body=json.dumps(body),
        headers={"id": "1", "task": "stamping.submit_invoice"} | headers,
        content_type="application/json",
        content_encoding="utf-8",
        accept={"application/json"},
        delivery_info={},
        properties={"reply_to": "elsewhere"},
    )
    return RedactingRequest(message, app=app, task=SimpleNamespace(ignore_result=True))


@pytest.mark.parametrize(
    "headers",
    [
        {"expires": "2020-01-01T00:00:00+00:00"},
        {"expires": 1e308},
        {"eta": "2036-01-01T00:00:00+00:00"},
        {"eta": "9999-12-31T23:59:59+14:00"},
        {"eta": "tomorrow"},
        {"timelimit": [0.001, 0.001]},
        {"retries": "many"},
        {"group": "g", "chord": "c"},
        {"stamped_headers": ["x"], "stamps": {"x": ["y"]}},
    ],
)
def test_what_an_envelope_asks_for_changes_nothing(headers: dict[str, Any]) -> None:
    """No age, no delay, no time limit, no group: the table decides, and nothing is lost for its age."""
    request = a_request([[], {"invoice": {}}, {}], **headers)

    assert (request.expires, request.eta, request.time_limits) == (None, None, (None, None))
    assert not set(headers) & set(request.request_dict)
    assert request.request_dict["reply_to"] is None


@pytest.mark.parametrize("name", ["callbacks", "errbacks", "chain", "chord"])
def test_a_message_starts_no_other(name: str) -> None:
    """What is to follow is dropped: a sender reaches no queue through us that it may not write itself."""
    follow = [{"task": "evil", "args": [], "kwargs": {}, "options": {"queue": "evil"}}]

    request = a_request([[], {"invoice": {}}, {name: follow}])

    assert request.body == ([], {"invoice": {}}, {})


@pytest.mark.parametrize(
    "headers", [{"id": None}, {"id": 7}, {"id": {"x": 1}}, {"id": "x" * 201}, {"id": ""}]
)
def test_a_message_without_an_id_is_none(headers: dict[str, Any]) -> None:
    """It could not be distinguished from another: it becomes a dead letter."""
    with pytest.raises(InvalidTaskError):
        a_request([[], {}, {}], **headers)


@pytest.mark.parametrize("body", [[{}, {}, {}], [[], [], {}], [7, {}, {}], [[], None, {}]])
def test_arguments_of_another_shape_are_no_task(body: Any) -> None:
    """They would fail within Celery, which acknowledges what failed."""
    with pytest.raises(InvalidTaskError):
        a_request(body)
