"""Invoices over HTTP: send, check, read, list, and what may be done to one."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import sqlalchemy as sa
from fastapi import APIRouter, BackgroundTasks, Query, Response

from api import acting, queries
from api.authentication import Operator, Reading, Submitter
from api.context import Account, ApiContext, ExternalId, JsonBody, OptionalObject, TheApi, TheRequest, text_of
from api.keys import Key
from api.problems import HttpProblem
from api.shapes import CheckedShape, InvoicePage, InvoiceShape, answers, as_json, body_of, faults
from models.vocabulary import InvoiceStatus
from stamping.intake.check import check
from stamping.intake.submit import Accepted, Settled

router = APIRouter(tags=["Facturas"])
ONE = "/invoices/{account}/{external_id}"


def state(api: ApiContext, key: Key, account: str, external_id: str) -> dict[str, Any]:
    """Return where an invoice stands. Raises HttpProblem where the key's accounts have none."""
    with api.reading() as db:
        return _state(db, api, key, account, external_id)


def _state(
    db: sa.Connection, api: ApiContext, key: Key, account: str, external_id: str, *, story: bool = False
) -> dict[str, Any]:
    found = None
    if key.sees(account):
        quarantine = api.tools.policy.quarantine
        found = queries.one(db, account, external_id, now=api.now(), quarantine=quarantine)
    if found is None:
        raise HttpProblem(404, acting.NOT_FOUND, code="not_found")
    shown = queries.state_of(found, api.url_of)
    return {**shown, "story": queries.story_of(found)} if story else shown


@router.post(
    "/invoices",
    response_model=InvoiceShape,
    status_code=202,
    responses={
        200: {"model": InvoiceShape, "description": "It is known, with the same content."},
        **answers(409, 422),
    },
    openapi_extra=body_of("Invoice"),
    summary="Send an invoice to be stamped",
)
def send(
    key: Submitter,
    api: TheApi,
    raw: JsonBody,
    asked: TheRequest,
    response: Response,
    background: BackgroundTasks,
) -> Any:
    """The same invoice sent again is one invoice. It is stored before this answers, and needs no broker."""
    taken = acting.send(api, raw, key, asked)
    background.add_task(acting.enqueue_accepted, api, taken)
    answer = _sent(api, key, raw, taken, response)
    if isinstance(answer, Response):
        answer.background = background
    return answer


def _sent(api: ApiContext, key: Key, raw: Any, taken: Accepted | Settled, response: Response) -> Any:
    what = taken.what if isinstance(taken, Settled) else "accepted"
    if what == "unreadable":
        checked = check(raw, api.tools).as_dict()
        detail = "The body names no invoice: account and external_id are needed."
        return HttpProblem(422, detail, code="unreadable", errors=checked["errors"]).as_response()
    found = state(api, key, raw["account"], raw["external_id"])
    if what == "rejected":
        problem = HttpProblem(
            422,
            found["message"],
            code="rejected",
            errors=found["errors"],
            warnings=found["warnings"],
            invoice=found,
        )
        return problem.as_response()
    if what == "conflict":
        with api.reading() as db:
            errors = acting.newest_errors(db, UUID(found["invoice_id"]))
        detail = errors[0]["message"] if errors else found["message"]
        return HttpProblem(409, detail, code="conflict", errors=errors, invoice=found).as_response()
    response.status_code = 200 if what == "known" else 202
    return found


@router.post(
    "/invoices/check",
    response_model=CheckedShape,
    openapi_extra=body_of("Anything"),
    summary="Dry run: every fault and warning, and the totals",
)
def dry_run(key: Submitter, api: TheApi, raw: JsonBody) -> Any:
    """Exactly the faults and warnings of the real submission. Nothing is stored or sent."""
    account = raw.get("account") if isinstance(raw, dict) else None
    if isinstance(account, str) and not key.sees(account):
        raise HttpProblem(403, "This key may not check invoices of that account.", code="account_forbidden")
    api.now()
    return check(raw, api.tools).as_dict()


STATUSES = f"^({'|'.join(InvoiceStatus)})(,({'|'.join(InvoiceStatus)}))*$"


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise HttpProblem(400, "since must be an instant with a time zone (RFC 3339).", code="bad_request")
    return found


@router.get("/invoices", response_model=InvoicePage, summary="A page of invoices, the newest first")
def listed(
    asker: Reading,
    api: TheApi,
    account: Annotated[str | None, Query(max_length=200)] = None,
    status: Annotated[
        str | None, Query(description="One status, or several with commas.", max_length=200, pattern=STATUSES)
    ] = None,
    since: Annotated[
        str | None,
        Query(
            description="Created at or after, with a time zone.", json_schema_extra={"format": "date-time"}
        ),
    ] = None,
    q: Annotated[
        str | None,
        Query(
            description="Folio fiscal, our id, RFC, Apunto's id, serie and folio, or a name.", max_length=200
        ),
    ] = None,
    cursor: Annotated[UUID | None, Query(description="The `cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Any:
    """Follow `cursor` until it is null. Each page costs the same, however many invoices there are."""
    statuses = [each for each in (status or "").split(",") if each]
    created_since = _instant(since) if since is not None else None
    with asker.reading() as (db, key):
        items, more = queries.page(
            db, key, url_of=api.url_of, account=account, statuses=statuses, since=created_since, q=q, cursor=cursor,
            limit=limit,
        )  # fmt: skip
    for each in items:
        each["errors"], each["warnings"] = faults(each["errors"]), faults(each["warnings"])
    return as_json({"items": items, "cursor": more})


@router.get(ONE, response_model=InvoiceShape, responses=answers(404), summary="Where one invoice stands")
def read(
    asker: Reading,
    api: TheApi,
    account: Account,
    external_id: ExternalId,
    story: Annotated[Literal["0", "1"], Query(description="1: the whole timeline.")] = "0",
) -> Any:
    """State, folio fiscal, faults, documents, what comes next and who must act."""
    with asker.reading() as (db, key):
        found = _state(db, api, key, account, external_id, story=story == "1")
    named = {name: faults(found[name]) for name in ("errors", "warnings")}
    return as_json(InvoiceShape.in_order(found | named))


@router.post(
    f"{ONE}/retry", response_model=InvoiceShape, status_code=202, responses=answers(404, 409),
    openapi_extra=body_of("Reason", required=False), summary="Try again what stopped",
)  # fmt: skip
def retry(
    key: Operator,
    api: TheApi,
    account: Account,
    external_id: ExternalId,
    body: OptionalObject,
    asked: TheRequest,
) -> Any:
    """One whose outcome is unknown is looked up first, and never sent."""
    acting.retry(api, key, account, external_id, text_of(body, "reason"), asked)
    return state(api, key, account, external_id)


@router.post(
    f"{ONE}/cancel", response_model=InvoiceShape, status_code=202, responses=answers(404, 409, 422),
    openapi_extra=body_of("Cancellation"), summary="Cancel before the SAT",
)  # fmt: skip
def cancel(
    key: Operator,
    api: TheApi,
    account: Account,
    external_id: ExternalId,
    body: OptionalObject,
    asked: TheRequest,
) -> Any:
    """`motivo` is 01 to 04; 01 names the substitute's folio fiscal in `uuid_sustitucion`."""
    acting.cancel(
        api,
        key,
        account,
        external_id,
        motivo=text_of(body, "motivo"),
        uuid_sustitucion=text_of(body, "uuid_sustitucion"),
        reason=text_of(body, "reason"),
        asked=asked,
    )
    return state(api, key, account, external_id)


@router.post(
    f"{ONE}/accept", response_model=InvoiceShape, responses=answers(404, 409, 422),
    openapi_extra=body_of("Decision"), summary="Accept a stamp that differs from what was sent",
)  # fmt: skip
def accept(
    key: Operator, api: TheApi, account: Account, external_id: ExternalId, body: OptionalObject
) -> Any:
    """It is stamped as it is; `reason` is kept with the key's name."""
    acting.accept(api, key, account, external_id, str(text_of(body, "reason", required=True)))
    return state(api, key, account, external_id)


@router.post(
    f"{ONE}/resolve", response_model=InvoiceShape, responses=answers(404, 409, 422),
    openapi_extra=body_of("Resolution"), summary="Close what stands before a person",
)  # fmt: skip
def resolve(
    key: Operator, api: TheApi, account: Account, external_id: ExternalId, body: OptionalObject
) -> Any:
    """Stamped, by its `xml`, which is examined first; or `not_stamped`, after which it may be sent again."""
    reason, xml = str(text_of(body, "reason", required=True)), text_of(body, "xml")
    if (xml is not None) is (body.get("not_stamped") is True):
        raise HttpProblem(400, "Say one of xml and not_stamped.", code="bad_request")
    acting.resolve(api, key, account, external_id, reason, xml=xml)
    return state(api, key, account, external_id)


@router.post(
    f"{ONE}/replace", response_model=InvoiceShape, status_code=202, responses={
        200: {"model": InvoiceShape, "description": "The new one is known, with the same content."},
        **answers(404, 409, 422),
    },
    openapi_extra=body_of("Replacement"), summary="Replace a stamped invoice by a new one",
)  # fmt: skip
def replace(
    key: Operator,
    api: TheApi,
    account: Account,
    external_id: ExternalId,
    body: OptionalObject,
    asked: TheRequest,
    response: Response,
) -> Any:
    """The new one is stamped with relation 04, and then the old one cancelled with motivo 01. Answers with the new
    one's state."""
    raw = body.get("invoice")
    if not isinstance(raw, dict):
        raise HttpProblem(400, "invoice must be the new invoice.", code="bad_request")
    taken = acting.replace(api, key, account, external_id, raw, text_of(body, "reason"), asked)
    return _sent(api, key, {**raw, "account": account}, taken, response)


@router.post(
    f"{ONE}/withdraw", response_model=InvoiceShape, status_code=202, responses=answers(404, 409),
    openapi_extra=body_of("Reason", required=False), summary="Take back one that is not stamped",
)  # fmt: skip
def withdraw(
    key: Operator,
    api: TheApi,
    account: Account,
    external_id: ExternalId,
    body: OptionalObject,
    asked: TheRequest,
) -> Any:
    """One whose outcome is unknown is looked up first, and then withdrawn, or reported as stamped."""
    acting.withdraw(api, key, account, external_id, text_of(body, "reason"), asked)
    return state(api, key, account, external_id)
