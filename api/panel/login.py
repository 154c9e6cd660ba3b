"""Log-in and log-out."""

import re
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from api.authentication import address_of
from api.context import TheApi
from api.panel import sessions
from api.panel.pages import page
from api.panel.sessions import Form, LoginNeeded

router = APIRouter()

_LOCAL = re.compile(r"/(?![/\\])[^\x00-\x1f\\]*")

UNDONE = "Tu sesión terminó y no se hizo lo que enviaste. Entra y vuelve a hacerlo."


@router.get("/login")
def form(
    request: Request, back: Annotated[str, Query(max_length=1_000)] = "/", *, undone: bool = False
) -> Response:
    """Ask for name and key; say so where a session was over before what its person sent was done."""
    return page("login.html", request, None, back=back, wrong=UNDONE if undone else None, name="")


@router.post("/login")
async def log_in(request: Request, api: TheApi, fields: Form) -> Response:
    """Begin a session; wrong keys of one address are slowed down."""
    back = fields.get("back", "/")
    answer: Response = RedirectResponse(back if _LOCAL.fullmatch(back) else "/", 303)
    address = address_of(request)
    if wait := api.guesses.is_empty(address):
        wrong = f"Demasiados intentos: espera {int(wait) + 1} segundos."
        return page(
            "login.html", request, None, http_status=429, back=back, wrong=wrong, name=fields.get("name", "")
        )
    if await run_in_threadpool(sessions.begin, api, fields.get("name", ""), fields.get("key", ""), answer):
        return answer
    api.guesses.take(address)
    wrong = "El nombre y la clave no corresponden, o la clave ya no está vigente."
    return page(
        "login.html", request, None, http_status=401, back=back, wrong=wrong, name=fields.get("name", "")
    )


@router.post("/logout")
async def log_out(request: Request, api: TheApi, _: Form) -> Response:
    """End the session."""
    answer = RedirectResponse("/login", 303)
    await run_in_threadpool(sessions.end, api, request, answer)
    return answer


def install(app: FastAPI) -> None:
    """Lead whoever is not logged in to the log-in page."""

    @app.exception_handler(LoginNeeded)
    async def needed(request: Request, error: LoginNeeded) -> Response:
        if request.headers.get("accept") == "text/event-stream":
            return Response(status_code=401)
        asked = {"back": error.back} | ({"undone": "1"} if error.undone else {})
        return RedirectResponse(f"/login?{urlencode(asked)}", 303)
