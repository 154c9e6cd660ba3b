"""Events over HTTP: read on from a cursor, or kept open as server-sent events."""

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from sse_starlette.sse import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from api.context import ApiContext, Reader, TheApi
from api.keys import Key
from api.live import sees
from api.problems import HttpProblem
from api.shapes import EventPage, answers
from events import feed
from events.types import body
from models.tables import events

router = APIRouter(tags=["Avisos"])
PING = 15  # seconds between comments on a line on which nothing happens


@router.get(
    "/events",
    response_model=EventPage,
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "description": "Events in their order.",
        },
        **answers(410),
    },
    summary="Events since a cursor",
)
async def read(
    request: Request,
    key: Reader,
    api: TheApi,
    after: Annotated[str | None, Query(description="An event's id: what follows it.", max_length=100)] = None,
    account: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> Any:
    """Nothing is skipped: an event is read once all that come before it can be.

    With `Accept: text/event-stream` the line stays open; `Last-Event-ID` (or `after`) says what it follows, and without
    it the line begins now.
    """
    if "text/event-stream" in request.headers.get("accept", ""):
        return await stream(api, key, _cursor(last_event_id or after), account)
    cursor = _cursor(after)
    items = await run_in_threadpool(_page, api, key, cursor, account, limit)
    last = items[-1]["id"] if items else (str(cursor) if cursor is not None else None)
    return {"items": items, "cursor": last}


def _cursor(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise HttpProblem(400, "A cursor is the id of an event.", code="bad_request") from None


def _page(
    api: ApiContext, key: Key, cursor: UUID | None, account: str | None, limit: int
) -> list[dict[str, Any]]:
    mine = sees(key)
    if account is not None:
        mine = mine & (events.c.account == account)
    with api.tools.engine.connect() as db:
        place = _place(db, cursor)
        found = feed.after(db, place, accounts=mine, public_url=api.public_url, limit=limit)
    return [each.as_dict() for each in found]


def _place(db: sa.Connection, cursor: UUID | None) -> feed.Place:
    """Return where to go on; without a cursor that is the beginning. Raises HttpProblem for one that is gone."""
    try:
        return feed.place_of(db, cursor) if cursor is not None else feed.BEGINNING
    except feed.UnknownCursor as error:
        raise _gone() from error


def _gone() -> HttpProblem:
    return HttpProblem(410, "There is no such event any more: begin without `after`.", code="cursor_gone")


async def stream(api: ApiContext, key: Key, cursor: UUID | None, account: str | None) -> Response:
    """Return an open line of events."""
    place = await run_in_threadpool(_begin, api, cursor)

    async def lines() -> AsyncIterator[dict[str, str]]:
        async for each in api.live.listen(place, key, lambda found: account in (None, found.account)):
            yield {"id": str(each.id), "data": body(each.event)}

    return EventSourceResponse(
        lines(), ping=PING, headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
    )


def _begin(api: ApiContext, cursor: UUID | None) -> feed.Place:
    """Return where a line begins: after its cursor, or now."""
    with api.tools.engine.connect() as db:
        return _place(db, cursor) if cursor is not None else feed.latest(db)
