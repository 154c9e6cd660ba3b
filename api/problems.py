"""Refusals as RFC 9457 problem objects: every error of the API has this one form."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

_log = logging.getLogger(__name__)

TITLES = {
    400: "The request could not be read",
    401: "A key is needed",
    403: "The key may not do this",
    404: "There is no such thing",
    405: "The method is not allowed here",
    409: "It is not in a state that allows this",
    410: "It is gone",
    413: "The request is too large",
    415: "The content must be JSON",
    422: "The data are wrong",
    429: "Too many requests",
    500: "Our mistake",
    503: "Not available at the moment",
}

REFUSED: Mapping[str, str] = {
    "link_expired": "Este enlace ya no es válido: vive cinco minutos. Pide uno nuevo en Apunto.",
    "not_found": "No existe.",
    "document_late": "El documento todavía no está: se descarga en cuanto lo entreguen. Vuelve a intentarlo más tarde.",
    "not_stamped": "La factura no está timbrada, así que todavía no tiene documentos.",
    "no_document": "Esta factura no tiene ese documento.",
    "document_missing": "El documento no está en el almacén: avisa a soporte técnico.",
    "document_damaged": "El documento guardado está dañado: avisa a soporte técnico.",
    "unavailable": "Algo que se necesita no responde en este momento: inténtalo de nuevo en un minuto.",
    "no_channel": "No hay un canal configurado para enviar avisos.",
    "bad_request": "Falta un dato, o uno no se entiende.",
    "bad_json": "El texto no es un objeto JSON.",
    "unreadable": "El texto no es una factura: le faltan la cuenta o el identificador.",
    "internal": "Fue un error nuestro; quedó registrado.",
}
"""What a person reads of a refusal that carries no fault, by its code: in the panel, and as `message` of a problem."""

BUG = "This was our mistake; it is in our log."


class HttpProblem(Exception):
    """A refusal; `errors` and `warnings` are faults in the form of an event's."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
        warnings: Sequence[Mapping[str, Any]] = (),
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.code = status, detail, code
        self.errors, self.warnings, self.more = errors, warnings, more
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, retry_after))

    def as_response(self) -> JSONResponse:
        """Return the answer."""
        body: dict[str, Any] = {
            "type": f"urn:timbrado:problem:{self.code}" if self.code else "about:blank",
            "title": TITLES.get(self.status, "Error"),
            "status": self.status,
            "detail": self.detail,
        }
        if not self.errors and (text := REFUSED.get(self.code or "")):
            body["message"] = text
        if self.errors:
            body["errors"] = [dict(each) for each in self.errors]
        if self.warnings:
            body["warnings"] = [dict(each) for each in self.warnings]
        return JSONResponse(
            {**body, **self.more}, self.status, self.headers, media_type="application/problem+json"
        )


class PanelProblem(HttpProblem):
    """A refusal of the panel's own: its detail is in Spanish, for a person."""


PageOf = Callable[[Request, HttpProblem], Response]


def install(app: FastAPI, page_of: PageOf) -> None:
    """Have every error answered as a problem; in the panel, and where a link is opened in a browser, as a page."""

    def answer(request: Request, problem: HttpProblem) -> Response:
        path = request.scope["path"]
        is_page = path.startswith("/v1/documents/") or not path.startswith(
            ("/v1/", "/healthz", "/readyz", "/static/")
        )
        if is_page and "text/html" in request.headers.get("accept", ""):
            return page_of(request, problem)
        return problem.as_response()

    @app.exception_handler(HttpProblem)
    async def problem(request: Request, error: HttpProblem) -> Response:
        return answer(request, error)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        detail = str(error.detail or TITLES.get(error.status_code, ""))
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(sorted(_allowed(request)))
        code = "not_found" if error.status_code == 404 else None
        return answer(request, HttpProblem(error.status_code, detail, code=code, headers=headers))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        parts = [
            f"{'.'.join(str(each) for each in fault['loc'])}: {fault['msg']}" for fault in error.errors()
        ]
        return answer(request, HttpProblem(400, "; ".join(parts)[:1_000], code="bad_request"))

    @app.exception_handler(sa.exc.DBAPIError)
    async def database(request: Request, error: sa.exc.DBAPIError) -> Response:
        if isinstance(
            error, sa.exc.DataError
        ):  # a character or a number that no column holds: there is no such row
            return answer(request, HttpProblem(404, "There is no such thing.", code="not_found"))
        if not isinstance(error, sa.exc.OperationalError):
            _log.exception("a statement failed", exc_info=error)
            return answer(request, HttpProblem(500, BUG, code="internal"))
        _log.warning("the database did not answer: %s", type(error.orig).__name__)
        return answer(
            request, HttpProblem(503, "The database does not answer.", code="unavailable", retry_after=5)
        )

    @app.exception_handler(sa.exc.TimeoutError)
    async def crowded(request: Request, _: sa.exc.TimeoutError) -> Response:
        return answer(
            request, HttpProblem(503, "Too many requests at once.", code="unavailable", retry_after=2)
        )

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        _log.exception("a request failed", exc_info=error)
        return answer(request, HttpProblem(500, BUG, code="internal"))


def _allowed(request: Request) -> set[str]:
    """Return every method that a path has: each is a route of its own, and HEAD is answered where GET is."""
    found = {
        method
        for method in ("GET", "POST", "PUT", "DELETE")
        for route in request.app.routes
        if not isinstance(route, Mount)
        and route.matches({**request.scope, "method": method})[0] is Match.FULL
    } or {"GET"}  # the panel's own files
    return found | ({"HEAD"} if "GET" in found else set())
