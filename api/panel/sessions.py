"""Who is logged in: a session is 256 random bits in a cookie, and its hash in a table.

It ends after twelve hours, with its key, or when its owner leaves. Each form carries a token made of the session's
secret, so that no other site can send it.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated
from urllib.parse import parse_qsl, quote, urlsplit

import sqlalchemy as sa
from fastapi import Depends, Request, Response

from api import keys
from api.context import ApiContext, TheApi, read_body
from api.keys import Key
from api.problems import PanelProblem
from models.tables import panel_sessions

COOKIE = "timbrado_session"
LASTS = timedelta(hours=12)


class LoginNeeded(Exception):
    """Nobody is logged in: answered with the log-in page, which leads back to `back`, and tells of an act `undone`."""

    def __init__(self, back: str, *, undone: bool) -> None:
        super().__init__(back)
        self.back, self.undone = back, undone


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks, and the token that its forms must carry."""

    key: Key
    csrf: str

    @property
    def is_operator(self) -> bool:
        """Whether it may act."""
        return self.key.may("operate")


def begin(api: ApiContext, name: str, secret: str, response: Response) -> bool:
    """Log a person in where the name and the key belong together; False where they do not."""
    now = api.now()
    with api.tools.engine.begin() as db:
        key = keys.find(db, keys.hash_of(secret.strip()), now)
        if (
            key is None
            or not key.is_person
            or not hmac.compare_digest(key.name.encode(), name.strip().encode())
        ):
            return False
        token = secrets.token_urlsafe(32)
        db.execute(sa.delete(panel_sessions).where(panel_sessions.c.expires_at < now))
        db.execute(
            sa.insert(panel_sessions).values(
                token_hash=keys.hash_of(token), api_key_id=key.id, created_at=now, expires_at=now + LASTS
            )
        )
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(LASTS.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=api.public_url.startswith("https://"),
        path="/",
    )
    return True


def end(api: ApiContext, request: Request, response: Response) -> None:
    """Log out."""
    token = request.cookies.get(COOKIE, "")
    with api.tools.engine.begin() as db:
        db.execute(sa.delete(panel_sessions).where(panel_sessions.c.token_hash == keys.hash_of(token)))
    response.delete_cookie(COOKIE, path="/")


def _person(request: Request, api: TheApi) -> Person:
    token = request.cookies.get(COOKIE)
    key = None
    if token:
        now = api.now()
        with api.reading() as db:
            key = keys.of_session(db, keys.hash_of(token), now)
    if key is None or token is None or not key.is_person:
        undone = request.method != "GET"
        at = urlsplit(request.headers.get("referer", "/")) if undone else request.url
        query = f"?{at.query}" if at.query else ""
        path = at.path if undone else quote(request.scope["path"])
        raise LoginNeeded(path + query, undone=undone)
    if wait := api.requests.take(str(key.id)):
        raise PanelProblem(
            429, "Demasiadas consultas seguidas: espera un momento.", retry_after=int(wait) + 1
        )
    return Person(key, csrf_of(token))


def csrf_of(token: str) -> str:
    """Return the token of a session's forms."""
    return hmac.new(token.encode(), b"form", hashlib.sha256).hexdigest()


Someone = Annotated[Person, Depends(_person)]


async def read_form(request: Request) -> dict[str, str]:
    """Return a form's fields. Raises HttpProblem for one that came from elsewhere."""
    origin = request.headers.get("origin")
    if origin not in (None, "null") and urlsplit(origin).netloc != request.headers.get("host"):
        raise PanelProblem(403, "Esta solicitud viene de otra página.", code="other_origin")
    body = await read_body(request)
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50))


Form = Annotated[dict[str, str], Depends(read_form)]


async def _operator(person: Someone, form: Form) -> Person:
    if not hmac.compare_digest(form.get("csrf", ""), person.csrf):
        raise PanelProblem(403, "La página venció: vuelve a cargarla e inténtalo de nuevo.", code="csrf")
    if not person.is_operator:
        raise PanelProblem(403, "Tu cuenta solo puede consultar.", code="scope_missing")
    return person


Operator = Annotated[Person, Depends(_operator)]


def reason_of(form: dict[str, str]) -> str:
    """Return why a person acts. Raises HttpProblem where that is not said."""
    reason = form.get("reason", "").strip()
    if not reason:
        raise PanelProblem(400, "Escribe el motivo: queda en el historial.", code="reason_needed")
    return reason[:1_000]
