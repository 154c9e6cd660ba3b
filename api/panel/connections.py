"""Conexiones: how each stands, how to correct it, and where a key or ids are typed in."""

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from api import acting, queries
from api.context import Account, ApiContext, TheApi
from api.panel.pages import back_to, page
from api.panel.sessions import Form, Operator, Person, Someone, reason_of
from api.problems import HttpProblem, PanelProblem
from models.tables import actions, answer_samples, invoices
from models.vocabulary import DUE, InvoiceStatus

router = APIRouter(prefix="/conexiones")
MOST_ACTIONS = 20


@router.get("")
def listed(
    request: Request, person: Someone, api: TheApi, account: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    """Show every connection, those with a problem first."""
    if account.strip():
        return RedirectResponse(f"/conexiones/{quote(account.strip(), safe='')}", 303)
    with api.reading() as db:
        found = [queries.connection_of(row) for row in queries.connection_rows(db, person.key)]
    found.sort(key=lambda each: (each["status"] != "broken", not each["paused"], each["account"]))
    return page("connections.html", request, person, found=found, now=api.now())


@router.get("/{account}")
def show(request: Request, person: Someone, api: TheApi, account: Account) -> Response:
    """Show one connection; for an account that has none, the form that makes it."""
    return _shown(request, person, api, account)


def _shown(
    request: Request,
    person: Person,
    api: ApiContext,
    account: str,
    problem: HttpProblem | None = None,
    typed: Mapping[str, str] | None = None,
) -> Response:
    if not person.key.sees(account):
        return page("missing.html", request, person, http_status=404, what="esa conexión")
    with api.reading() as db:
        rows = queries.connection_rows(db, person.key, account)
        connection = queries.connection_of(rows[0]) if rows else None
        counts: dict[str, int] = dict(
            db.execute(
                sa.select(invoices.c.status, sa.func.count())
                .where(
                    invoices.c.account == account,
                    invoices.c.status.in_([*DUE, InvoiceStatus.STAMPING, InvoiceStatus.ON_HOLD]),
                )
                .group_by(invoices.c.status)
            ).all()
        )
        done = db.execute(
            sa.select(actions)
            .where(actions.c.account == account)
            .order_by(actions.c.id.desc())
            .limit(MOST_ACTIONS)
        ).all()
        samples: list[Any] = []
        if rows:
            samples = list(
                db.execute(
                    sa.select(answer_samples)
                    .where(answer_samples.c.connection_id == rows[0].id)
                    .order_by(answer_samples.c.at.desc())
                    .limit(5)
                )
            )
    return page(
        "connection.html",
        request,
        person,
        http_status=problem.status if problem is not None else 200,
        problem=problem,
        typed=typed or {},
        account=account,
        connection=connection,
        counts=counts,
        actions=done,
        samples=samples,
        now=api.now(),
    )


@router.post("/{account}/{action}")
async def act(
    request: Request,
    person: Operator,
    form: Form,
    api: TheApi,
    account: Account,
    action: Annotated[str, Path(max_length=20)],
) -> Response:
    """Do what an operator asks for, and lead back to the connection."""
    return await run_in_threadpool(_act, request, person, form, api, account, action)


def _act(
    request: Request, person: Person, form: dict[str, str], api: ApiContext, account: str, action: str
) -> Response:
    key = person.key
    try:
        match action:
            case "connect":
                if not key.sees(account):
                    raise PanelProblem(404, "No existe esa cuenta.", code="not_found")
                acting.connect(api, key, account, _facts(api, person, account, form))
            case "validate":
                acting.validate(api, key, account, form.get("reason") or None)
            case "disconnect":
                acting.disconnect(api, key, account, reason_of(form))
            case "hold" | "release":
                acting.set_paused(api, key, account, paused=action == "hold", reason=reason_of(form))
            case _:
                raise PanelProblem(404, "No existe esa acción.", code="not_found")
    except HttpProblem as problem:
        return _shown(request, person, api, account, problem, form)
    return back_to(f"/conexiones/{quote(account, safe='')}", action)


def _facts(api: ApiContext, person: Person, account: str, form: dict[str, str]) -> dict[str, Any]:
    """Return what a connection is made of; its address stays, since the form does not ask for one."""
    names = ("api_key", "rfc", "razon_social", "codigo_postal", "empresa_id", "serie")
    facts: dict[str, Any] = {name: form[name].strip() for name in names if form.get(name, "").strip()}
    if text := form.get("ids", "").strip():
        try:
            facts["ids"] = json.loads(text)
        except ValueError:
            raise PanelProblem(
                400, "Los identificadores deben ser un objeto JSON.", code="bad_request"
            ) from None
    if "api_key" not in facts:
        raise PanelProblem(400, "Pega el API Key de ContaDigital.", code="bad_request")
    with api.reading() as db:
        rows = queries.connection_rows(db, person.key, account)
    return {**facts, "base_url": rows[0].base_url if rows else None, "move": form.get("move") == "1"}
