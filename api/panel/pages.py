"""How a page is rendered: one environment of templates, and what all of them may use."""

import json
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api import words
from api.panel.sessions import Person
from api.problems import HttpProblem
from models.vocabulary import ConnectionStatus, InvoiceStatus

CENTRAL = ZoneInfo("America/Mexico_City")
"""What the panel's times are in: its readers are support and bookkeepers, whatever the place of issue."""

DONE = {
    "retry": "Se intentará de nuevo.",
    "replace": "La nueva factura se recibió; la anterior se cancela cuando se timbre.",
    "cancel": "La cancelación está en proceso.",
    "withdraw": "La factura se está retirando.",
    "accept": "La diferencia quedó aceptada.",
    "resolve": "La factura quedó resuelta.",
    "hold": "La cuenta quedó en pausa.",
    "release": "La cuenta continúa.",
    "connect": "La conexión se guardó y se validó.",
    "validate": "La conexión se validó.",
    "disconnect": "La cuenta quedó desconectada.",
    "replay": "El aviso se envía de nuevo.",
}


@cache
def templates() -> jinja2.Environment:
    """Return the templates."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(when=when, path=lambda text: quote(str(text), safe=""), pretty=pretty, money=money)
    made.globals.update(
        words=words,
        statuses=list(InvoiceStatus),
        connection_statuses=list(ConnectionStatus),
    )
    return made


def page(
    template: str, request: Request, person: Person | None, *, http_status: int = 200, **facts: Any
) -> HTMLResponse:
    """Render a page."""
    done = DONE.get(request.query_params.get("hecho", ""))
    text = (
        templates()
        .get_template(template)
        .render(
            person=person,
            csrf=person.csrf if person is not None else "",
            here=request.scope["path"],
            done=done,
            **facts,
        )
    )
    return HTMLResponse(text, http_status)


def refused(request: Request, problem: HttpProblem) -> Response:
    """Render a refusal that no page of its own shows."""
    what = "esa página" if problem.code == "not_found" else ""
    shown = page("missing.html", request, None, http_status=problem.status, what=what, problem=problem)
    shown.headers.update(problem.headers)
    return shown


def back_to(path: str, done: str) -> RedirectResponse:
    """Lead back to a page, which says what was done."""
    return RedirectResponse(f"{path}?hecho={done}", 303)


def when(value: Any) -> str:
    """Return an instant as a person reads it, in central Mexico's time."""
    if value is None or value == "":
        return "—"
    instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    if instant.tzinfo is None:
        return f"{instant:%d/%m/%Y %H:%M}"
    return f"{instant.astimezone(CENTRAL):%d/%m/%Y %H:%M}"


def pretty(value: Any) -> str:
    """Return a JSON value for a person's eyes."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def money(value: Any) -> str:
    """Return an amount with thousands."""
    try:
        return f"{Decimal(str(value)):,.2f}"
    except InvalidOperation:
        return "—"


def midnight(now: datetime) -> datetime:
    """Return when the day began, in central Mexico."""
    return now.astimezone(CENTRAL).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
