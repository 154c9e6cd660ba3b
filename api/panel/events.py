"""Avisos: what Apunto was sent, how it fared, sending it again; and the line that keeps pages current."""

from typing import Annotated
from uuid import UUID

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from api import acting
from api.context import ApiContext, TheApi
from api.events import stream
from api.live import kinds_of
from api.panel.pages import back_to, page
from api.panel.sessions import Form, Operator, Someone, reason_of
from api.problems import HttpProblem
from events import channels, endpoints, feed, outbox

router = APIRouter()
PAGE = 50


@router.get("/avisos")
def listed(
    request: Request,
    person: Someone,
    api: TheApi,
    account: Annotated[str, Query(max_length=200)] = "",
    status: Annotated[str, Query(max_length=20)] = "",
    before: UUID | None = None,
) -> Response:
    """Show events, the newest first."""
    status = status if status in {"pending", "delivered", "dead"} else ""
    with api.reading() as db:
        found = outbox.list_events(
            db,
            account=account or None,
            status=status or None,
            before_id=before,
            which=sa.or_(*kinds) if (kinds := kinds_of(person.key)) else None,
            limit=PAGE + 1,
        )
        over = channels.current(db)
        far = {each: endpoints.state(db, each) for each in over}
        backlog = outbox.backlogs(db)
    more = found[PAGE - 1].id if len(found) > PAGE else None
    return page(
        "events.html",
        request,
        person,
        found=found[:PAGE],
        more=more,
        account=account,
        status=status,
        over=over,
        far=far,
        backlog=backlog,
        problem=None,
        now=api.now(),
    )


@router.post("/avisos/{event_id}/replay")
async def replay(request: Request, person: Operator, form: Form, api: TheApi, event_id: UUID) -> Response:
    """Send one event again."""
    try:
        await run_in_threadpool(acting.replay, api, person.key, event_id, reason_of(form))
    except HttpProblem as problem:
        return page(
            "missing.html", request, person, http_status=problem.status, what="ese aviso", problem=problem
        )
    return back_to("/avisos", "replay")


@router.get("/eventos")
async def live(person: Someone, api: TheApi) -> Response:
    """Keep a line open on which each event is one message: pages look again when one comes."""
    return stream(api, person.key, await run_in_threadpool(_newest, api), None)


def _newest(api: ApiContext) -> feed.Place:
    with api.reading() as db:
        return feed.latest(db)
