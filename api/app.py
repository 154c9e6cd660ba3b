"""The application: routes of `/v1`, the panel at `/`, and what every answer carries."""

from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import catalogs, connections, documents, events, health, invoices, panel, problems, status
from api.context import ApiContext, Enqueue, Heads, WholeSegments
from api.live import Live
from api.metrics import HttpMeter, Measured
from api.panel import login, pages
from api.shapes import USUAL, invoice_schemas
from stamping.tools import Tools

DESCRIPTION = """Send invoices to be stamped, read what became of them, download their documents.

Every request but links needs `Authorization: Bearer KEY` (`timbrado keys create`). Errors are RFC 9457 problem objects.
An id in a path is percent-encoded, a slash in it too (`%2F`)."""

_CSP = "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": _CSP + "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Headers:
    """Adds the headers that a browser needs to each answer; a line that stays open is not delayed."""

    def __init__(self, app: ASGIApp, *, is_https: bool) -> None:
        self._app = app
        self._headers = {**HEADERS, "Cache-Control": "no-store"}
        if is_https:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "http" else send)


def create_app(tools: Tools, *, enqueue: Enqueue, public_url: str, meter: HttpMeter | None = None) -> FastAPI:
    """Build the application over opened tools; `enqueue` sends messages where the broker answers."""

    app = FastAPI(
        title="timbrado",
        version="1",
        description=DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    url = public_url.rstrip("/")
    app.state.api = ApiContext(tools=tools, enqueue=enqueue, public_url=url, live=Live(tools.reading, url))
    problems.install(app, pages.refused)
    v1 = APIRouter(prefix="/v1", responses=USUAL)
    for module in (documents, invoices, connections, events, catalogs, status):
        v1.include_router(module.router)
    app.include_router(v1)
    _describe(app)
    health.install(app)
    app.include_router(panel.router)
    login.install(app)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "panel" / "static"), name="static")

    app.add_middleware(Headers, is_https=url.startswith("https://"))
    app.add_middleware(WholeSegments)
    if meter is not None:
        app.add_middleware(Measured, meter=meter)
    app.add_middleware(Heads)
    return app


def _describe(app: FastAPI) -> None:
    """Serve the OpenAPI document, and a page of it that needs nothing from elsewhere."""

    @cache
    def document() -> dict[str, Any]:
        made = app.openapi()
        for path in made["paths"].values():
            for operation in path.values():
                if operation["responses"].get("422", {}).get("description") == "Validation Error":
                    del operation["responses"]["422"]
        for name in ("HTTPValidationError", "ValidationError"):
            made["components"]["schemas"].pop(name, None)
        made["components"]["schemas"] |= invoice_schemas()
        return made

    @app.get("/v1/openapi.json", include_in_schema=False)
    def openapi() -> JSONResponse:
        return JSONResponse(document())

    @app.get("/v1/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(pages.templates().get_template("docs.html").render(api=document()))
