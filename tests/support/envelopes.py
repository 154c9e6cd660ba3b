"""Celery messages as a queue holds them, good and broken."""

import base64
import json
import uuid
from typing import Any

from worker.redis_transport import MAX_MESSAGE


def an_envelope(
    task: str,
    kwargs: dict[str, Any] | None = None,
    *,
    args: tuple[Any, ...] = (),
    body: Any = None,
    headers: dict[str, Any] | None = None,
    properties: dict[str, Any] | None = None,
    embed: dict[str, Any] | None = None,
    **info: Any,
) -> dict[str, Any]:
    """A message of protocol 2 as kombu writes it into Redis; `headers` and `properties` are laid over its own."""
    tag = str(uuid.uuid4())
    content = body if body is not None else json.dumps([list(args), kwargs or {}, embed or {}]).encode()
    return {
        "body": base64.b64encode(content).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": task,
            "id": tag,
            "root_id": tag,
            "parent_id": None,
            "argsrepr": "()",
            "kwargsrepr": "{}",
            "origin": "a test",
            **(headers or {}),
        },
        "properties": {
            "correlation_id": tag,
            "delivery_mode": 2,
            "delivery_info": info.get("delivery_info", {"exchange": "", "routing_key": "intake"}),
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": tag,
            **(properties or {}),
        },
    }


def _broken(**changes: Any) -> bytes:
    return json.dumps(an_envelope("stamping.sweep") | changes).encode()


def _without(name: str) -> bytes:
    envelope = an_envelope("stamping.sweep")
    del envelope["properties"][name]
    return json.dumps(envelope).encode()


NO_MESSAGES: dict[str, bytes] = {
    "no JSON": b"hello",
    "nothing": b"",
    "invalid UTF-8": b'{"body": "\xff\xfe"}',
    "deep nesting": b"[" * 100_000,
    "deep headers": b'{"headers": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001,
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "a number beyond any": b"1" * 10_000,
    "a date of kombu's that is none": b'{"__type__": "datetime", "__value__": "soon"}',
    "no properties": b'{"body": "e30="}',
    "properties null": _broken(properties=None),
    "a body that is a number": _broken(body=7),
    "no body": _broken(body=None),
    "headers that are a list": _broken(headers=[1]),
    "an unknown encoding": json.dumps(
        an_envelope("stamping.sweep", properties={"body_encoding": "rot13"})
    ).encode(),
    "an encoding that is an object": json.dumps(
        an_envelope("stamping.sweep", properties={"body_encoding": {"a": 1}})
    ).encode(),
    "a tag of ten thousand characters": json.dumps(
        an_envelope("stamping.sweep", properties={"delivery_tag": "x" * 10_000})
    ).encode(),
    "no base64": _broken(body="é"),
    "a tag that is a list": json.dumps(
        an_envelope("stamping.sweep", properties={"delivery_tag": [1]})
    ).encode(),
    "no tag": _without("delivery_tag"),
    "more than a worker has memory for": json.dumps(
        an_envelope("stamping.submit_invoice", {"invoice": {"account": "a", "nota": "x" * MAX_MESSAGE}})
    ).encode(),
}
"""What a queue may hold that is no message of Celery's: each of these ended kombu's consumer, or was dropped by it."""
