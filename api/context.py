"""What a request works with: the opened tools, its body, and the names in its path and its headers."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any
from urllib.parse import unquote
from uuid import UUID

import sqlalchemy as sa
from fastapi import Depends, Header, Path, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.keys import Key
from api.limits import MAX_BODY, Buckets, of_a_key, of_wrong_keys
from api.live import Live
from api.problems import HttpProblem
from events.types import document_url
from stamping.intake.seen_messages import Message
from stamping.tools import Tools

Enqueue = Callable[[str, Sequence[UUID], str | None], None]
"""Sends a task for each id to a queue, or once where there is no id; a broker that is away loses nothing."""


@dataclass
class ApiContext:
    """What all requests of this process share."""

    tools: Tools
    enqueue: Enqueue
    public_url: str
    """The address that users reach it at, without a slash at its end."""
    live: Live
    requests: Buckets = field(default_factory=of_a_key)
    guesses: Buckets = field(default_factory=of_wrong_keys)
    accepted: dict[str, Key] = field(default_factory=dict)
    """By their hashes, keys that were in force when this process read them: an address with wrong keys does not stop
    them."""

    def now(self) -> datetime:
        """Return the time by the database's clock."""
        self.tools.clock.keep(self.tools.engine)
        return self.tools.clock.now()

    def reading(self) -> sa.Connection:
        """Open the database to read from it, each statement by itself."""
        return self.tools.reading()

    def url_of(self, account: str, external_id: str, kind: str) -> str:
        """Return where a document is downloaded."""
        return document_url(self.public_url, account, external_id, kind)


def api_of(request: Request) -> ApiContext:
    """Return what this process shares."""
    found: ApiContext = request.app.state.api
    return found


async def _api(request: Request) -> ApiContext:
    return api_of(request)


# What asks no database is a coroutine here: FastAPI runs each other function in a thread of its own, which costs more
# than the function.
TheApi = Annotated[ApiContext, Depends(_api)]


async def _account(account: Annotated[str, Path(description="Apunto's id of the emisor's account.")]) -> str:
    return unquote(account)


async def _external_id(external_id: Annotated[str, Path(description="Apunto's id of the invoice.")]) -> str:
    return unquote(external_id)


Account = Annotated[str, Depends(_account)]
ExternalId = Annotated[str, Depends(_external_id)]


async def read_body(request: Request) -> bytes:
    """Read the body, and no more of it than we take."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HttpProblem(413, f"The body has more than {MAX_BODY:,} bytes.", code="too_large")
    return bytes(body)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


async def _json(request: Request) -> Any:
    body = await read_body(request)
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise HttpProblem(400, f"The body is no JSON: {error}"[:300], code="bad_json") from error


async def _json_object(request: Request) -> dict[str, Any]:
    found = await _json(request)
    if not isinstance(found, dict):
        raise HttpProblem(400, "The body must be a JSON object.", code="bad_json")
    return found


async def _optional_object(request: Request) -> dict[str, Any]:
    body = await read_body(request)
    if not body.strip():
        return {}
    try:
        found = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise HttpProblem(400, f"The body is no JSON: {error}"[:300], code="bad_json") from error
    if not isinstance(found, dict):
        raise HttpProblem(400, "The body must be a JSON object.", code="bad_json")
    return found


JsonBody = Annotated[Any, Depends(_json)]
JsonObject = Annotated[dict[str, Any], Depends(_json_object)]
OptionalObject = Annotated[dict[str, Any], Depends(_optional_object)]


_BROKEN = re.compile("[\0\ud800-\udfff]")
"""What JSON can say and no column holds: NUL, and half of a pair."""


def text_of(body: dict[str, Any], name: str, *, required: bool = False) -> str | None:
    """Return a text of a body. Raises HttpProblem where it is no text, or is needed and not there."""
    value = body.get(name)
    if isinstance(value, str) and value.strip() and not _BROKEN.search(value):
        return value.strip()
    if value not in (None, "") or required:
        raise HttpProblem(400, f"{name} must be a text.", code="bad_request")
    return None


@dataclass(frozen=True, slots=True)
class NamedRequest:
    """One request that changes something, as its headers name it."""

    idempotency_key: str | None = None
    trace_id: str | None = None

    def message(self, key: Key, action: str, now: datetime, account: str, external_id: str) -> Message | None:
        """Return the message that this request is, of this key and about this invoice alone; None for one that has no
        Idempotency-Key."""
        if self.idempotency_key is None:
            return None
        about = sha256(repr((account, external_id)).encode()).hexdigest()
        return Message(f"http:{key.id}:{action}:{about}:{self.idempotency_key}", f"http.{action}", now)


ONCE = NamedRequest()
"""A request that nobody sends twice: a person's, in the panel."""


async def _named_request(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=200,
            pattern="^[!-~]+$",
            description="Names this request: sent again with the same one it changes nothing more.",
        ),
    ] = None,
) -> NamedRequest:
    found = request.headers.get("x-trace-id") or request.headers.get("traceparent")
    trace_id = found[:100] if found and found.isascii() and found.isprintable() else None
    return NamedRequest(idempotency_key, trace_id)


TheRequest = Annotated[NamedRequest, Depends(_named_request)]


class Heads:
    """Answers HEAD as GET (RFC 9110, 9.3.2): the server leaves the body out. A line of events is not opened for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            headers = [each for each in scope["headers"] if each[0] != b"accept"]
            scope = {**scope, "method": "GET", "headers": headers}
        await self._app(scope, receive, send)


class WholeSegments:
    """Keeps an encoded slash inside its path segment, so that an id may hold any character.

    Servers decode the path before routes are matched. Here `%2F` and `%25` are left encoded, and the names of a path
    are decoded once more when they are read.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and b"%" in (raw := scope.get("raw_path") or b""):
            kept = raw.replace(b"%25", b"%2525").replace(b"%2F", b"%252F").replace(b"%2f", b"%252F")
            scope = {**scope, "path": unquote(kept.decode("latin-1"))}
        await self._app(scope, receive, send)
