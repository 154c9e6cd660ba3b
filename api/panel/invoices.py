"""Facturas: search, one invoice with its timeline, and what may be done to it."""

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from api import acting, documents, queries
from api.context import Account, ApiContext, ExternalId, TheApi
from api.panel.pages import back_to, page
from api.panel.sessions import Form, Operator, Person, Someone, reason_of
from api.problems import HttpProblem, PanelProblem
from models.tables import invoices
from models.vocabulary import HAS_UUID, DocumentKind, InvoiceStatus
from stamping.intake.check import check
from stamping.intake.submit import Settled

router = APIRouter(prefix="/facturas")
S = InvoiceStatus

MAY: dict[str, frozenset[InvoiceStatus]] = {
    "retry": frozenset({S.ACCEPTED, S.WAITING, S.IN_DOUBT, S.ON_HOLD, S.FAILED, S.CANCELLING}),
    "cancel": frozenset({S.STAMPED, S.DIFFERS}),
    "replace": frozenset({S.STAMPED, S.DIFFERS}),
    "accept": frozenset({S.DIFFERS}),
    "withdraw": frozenset({S.ACCEPTED, S.WAITING, S.ON_HOLD, S.REJECTED, S.IN_DOUBT, S.FAILED}),
    "resolve": frozenset({S.FAILED, S.IN_DOUBT}),
}
"""The statuses in which the panel offers an action; the action itself decides."""

MOTIVOS = {
    "02": "02 · Se emitió con errores, sin relación",
    "03": "03 · No se llevó a cabo la operación",
    "04": "04 · Operación nominativa en una factura global",
    "01": "01 · Se emitió con errores, con relación (la sustituye otra)",
}


@router.get("")
def search(
    request: Request,
    person: Someone,
    api: TheApi,
    q: Annotated[str, Query(max_length=200)] = "",
    status: Annotated[str, Query(max_length=40)] = "",
    account: Annotated[str, Query(max_length=200)] = "",
    cursor: UUID | None = None,
) -> Response:
    """Show a page of invoices."""
    with api.reading() as db:
        items, more = queries.page(
            db,
            person.key,
            url_of=api.url_of,
            account=account or None,
            statuses=[status] if status in set(InvoiceStatus) else [],
            q=q or None,
            cursor=cursor,
        )
    return page(
        "invoices.html", request, person, items=items, more=more, q=q, status=status, account=account, cursor=cursor
    )  # fmt: skip


@router.get("/{account}/{external_id}")
def show(
    request: Request, person: Someone, api: TheApi, account: Account, external_id: ExternalId
) -> Response:
    """Show one invoice."""
    return _shown(request, person, api, account, external_id)


def _shown(
    request: Request,
    person: Person,
    api: ApiContext,
    account: str,
    external_id: str,
    problem: HttpProblem | None = None,
    typed: Mapping[str, str] | None = None,
) -> Response:
    now = api.now()
    found = None
    substitute = (typed or {}).get("invoice", "")
    if person.key.sees(account):
        with api.reading() as db:
            found = queries.one(db, account, external_id, now=now, quarantine=api.tools.policy.quarantine)
    if found is None:
        return page("missing.html", request, person, http_status=404, what="esa factura")
    status = InvoiceStatus(found.status)
    if person.is_operator and status in MAY["replace"] and not substitute:
        with api.reading() as db:
            substitute = substitute_of(
                db.execute(sa.select(invoices.c.content).where(invoices.c.id == found.id)).scalar_one()
            )
    return page(
        "invoice.html",
        request,
        person,
        http_status=problem.status if problem is not None else 200,
        problem=problem,
        found=found,
        state=queries.state_of(found, api.url_of),
        story=queries.story_of(found)[::-1],
        may={name: status in where for name, where in MAY.items()},
        motivos=MOTIVOS,
        substitute=substitute,
        has_uuid=status in HAS_UUID,
        now=now,
    )


@router.get("/{account}/{external_id}/{kind}")
def download(
    request: Request,
    person: Someone,
    api: TheApi,
    account: Account,
    external_id: ExternalId,
    kind: DocumentKind,
) -> Response:
    """Download a document."""
    try:
        with api.reading() as db:
            row = acting.find(db, person.key, account, external_id)
        return documents.answer(api, row, kind, request.headers.get("if-none-match"))
    except HttpProblem as problem:
        return _shown(request, person, api, account, external_id, problem)


@router.post("/{account}/{external_id}/{action}")
async def act(
    request: Request,
    person: Operator,
    form: Form,
    api: TheApi,
    account: Account,
    external_id: ExternalId,
    action: Annotated[str, Path(max_length=20)],
) -> Response:
    """Do what an operator asks for, and lead back to the invoice."""
    return await run_in_threadpool(_act, request, person, form, api, account, external_id, action)


def _act(
    request: Request,
    person: Person,
    form: dict[str, str],
    api: ApiContext,
    account: str,
    external_id: str,
    action: str,
) -> Response:
    function: Any = ACTIONS.get(action)
    try:
        if function is None:
            raise PanelProblem(404, "No existe esa acción.", code="not_found")
        function(api, person, account, external_id, form, reason_of(form))
    except HttpProblem as problem:
        return _shown(request, person, api, account, external_id, problem, form)
    return back_to(f"/facturas/{quote(account, safe='')}/{quote(external_id, safe='')}", action)


def _retry(
    api: ApiContext, person: Person, account: str, external_id: str, _: dict[str, str], reason: str
) -> None:
    acting.retry(api, person.key, account, external_id, reason)


def _cancel(
    api: ApiContext, person: Person, account: str, external_id: str, form: dict[str, str], reason: str
) -> None:
    acting.cancel(
        api,
        person.key,
        account,
        external_id,
        motivo=form.get("motivo") or None,
        uuid_sustitucion=form.get("uuid_sustitucion", "").strip() or None,
        reason=reason,
    )


def _accept(
    api: ApiContext, person: Person, account: str, external_id: str, _: dict[str, str], reason: str
) -> None:
    acting.accept(api, person.key, account, external_id, reason)


def _resolve(
    api: ApiContext, person: Person, account: str, external_id: str, form: dict[str, str], reason: str
) -> None:
    xml = form.get("xml", "").strip()
    if bool(xml) is (form.get("not_stamped") == "1"):
        raise PanelProblem(400, "Pega el XML que se encontró, o di que no se timbró.", code="bad_request")
    acting.resolve(api, person.key, account, external_id, reason, xml=xml or None)


def _withdraw(
    api: ApiContext, person: Person, account: str, external_id: str, _: dict[str, str], reason: str
) -> None:
    acting.withdraw(api, person.key, account, external_id, reason)


def _replace(
    api: ApiContext, person: Person, account: str, external_id: str, form: dict[str, str], reason: str
) -> None:
    try:
        new = json.loads(form.get("invoice", ""))
    except (ValueError, RecursionError):
        new = None
    if not isinstance(new, dict):
        raise PanelProblem(400, "La factura nueva debe ser un objeto JSON.", code="bad_request")
    taken = acting.replace(api, person.key, account, external_id, new, reason)
    if isinstance(taken, Settled) and taken.what in {"rejected", "conflict", "unreadable"}:
        with api.reading() as db:
            errors = acting.newest_errors(db, taken.invoice_id) if taken.invoice_id is not None else []
        errors = errors or check(new, api.tools).as_dict()["errors"]
        raise PanelProblem(422, "La factura nueva no se aceptó.", code="rejected", errors=errors)


def substitute_of(content: Any) -> str:
    """Return what the form of a substitute begins with: the invoice as it was sent, without its own id and date."""
    whole = dict(content) if isinstance(content, dict) else {}
    return json.dumps(
        {**whole, "external_id": "", "fecha": None, "cfdi_relacionados": None}, ensure_ascii=False, indent=2
    )


ACTIONS = {
    "retry": _retry,
    "withdraw": _withdraw,
    "cancel": _cancel,
    "replace": _replace,
    "accept": _accept,
    "resolve": _resolve,
}
