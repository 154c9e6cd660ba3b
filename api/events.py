"""Events over HTTP: read on from a cursor, or kept open as server-sent events."""

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from sse_starlette.sse import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from api.authentication import Asker, Reading
from api.context import ApiContext, TheApi
from api.keys import Key
from api.live import kinds_of
from api.problems import HttpProblem
from api.shapes import EventPage, answers, as_json
from events import feed
from events.types import body

router = APIRouter(tags=["Avisos"])
CURSOR = "^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})?$"
"""An event's id; empty is none."""
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
    asker: Reading,
    api: TheApi,
    after: Annotated[str, Query(description="An event's id: what follows it.", pattern=CURSOR)] = "",
    account: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    last_event_id: Annotated[str, Header(pattern=CURSOR)] = "",
) -> Any:
    """Nothing is skipped: an event is read once all that come before it can be.

    With `Accept: text/event-stream` the line stays open; `Last-Event-ID` (or `after`) says what it follows, and without
    it the line begins now. Its first `id:` comes alone: the cursor to go on from where it breaks before an event.
    """
    if "text/event-stream" in request.headers.get("accept", ""):
        cursor = last_event_id or after
        place, key = await run_in_threadpool(_begin, asker, UUID(cursor) if cursor else None)
        return stream(api, key, place, account)
    return await run_in_threadpool(_page, api, asker, UUID(after) if after else None, account, limit)


def _page(api: ApiContext, asker: Asker, cursor: UUID | None, account: str | None, limit: int) -> Response:
    """Return events, and the cursor of the next ones: at the end that is the newest event, whosever it is, so that an
    account in which nothing happens does not read the others' events again and again.

    The newest is read first: all that comes before it can then be read, and none of it is passed over.
    """
    with asker.reading() as (db, key):
        place = _place(db, cursor)
        newest = feed.latest(db)
        found = feed.after(db, place, which=kinds_of(key, account), public_url=api.public_url, limit=limit)
    last = found[-1].place if found else place
    if len(found) < limit:
        last = max(last, newest)
    after = last[1] if last != feed.BEGINNING else cursor
    items = [each.as_dict() for each in found]
    return as_json({"items": items, "cursor": str(after) if after is not None else None})


def _place(db: sa.Connection, cursor: UUID | None) -> feed.Place:
    """Return where to go on; without a cursor that is the beginning. Raises HttpProblem for one that is gone."""
    try:
        return feed.place_of(db, cursor) if cursor is not None else feed.BEGINNING
    except feed.UnknownCursor as error:
        raise _gone() from error


def _gone() -> HttpProblem:
    return HttpProblem(410, "There is no such event any more: begin without `after`.", code="cursor_gone")


def stream(api: ApiContext, key: Key, place: feed.Place, account: str | None) -> Response:
    """Return an open line of the events after a place."""

    async def lines() -> AsyncIterator[dict[str, str]]:
        yield {"id": str(place[1])}  # who loses the line before its first event goes on from here
        async for each in api.live.listen(place, key, lambda found: account in (None, found.account)):
            yield {"id": str(each.id), "data": body(each.event)}

    return EventSourceResponse(
        lines(), ping=PING, headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
    )


def _begin(asker: Asker, cursor: UUID | None) -> tuple[feed.Place, Key]:
    """Return where a line begins, after its cursor or now, and for whom."""
    with asker.reading() as (db, key):
        return _place(db, cursor) if cursor is not None else feed.latest(db), key
