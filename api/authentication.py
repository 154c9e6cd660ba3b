"""Whose key a request brings, what it may do, and how often it may ask."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api import keys
from api.context import TheApi
from api.keys import Key
from api.problems import HttpProblem

_bearer = HTTPBearer(auto_error=False, description="A key of `timbrado keys create`.")


def address_of(request: Request) -> str:
    """Return where a request came from."""
    return request.client.host if request.client is not None else ""


def _key(
    request: Request,
    api: TheApi,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Key:
    if credentials is None:
        raise HttpProblem(
            401,
            "Send `Authorization: Bearer KEY`.",
            code="key_needed",
            headers={"WWW-Authenticate": "Bearer"},
        )
    address, digest = address_of(request), keys.hash_of(credentials.credentials)
    if digest not in api.accepted and (wait := api.guesses.is_empty(address)):
        raise HttpProblem(
            429, "Too many wrong keys from this address.", code="too_many_guesses", retry_after=int(wait) + 1
        )
    with api.tools.engine.begin() as db:
        key = keys.find(db, credentials.credentials, api.now())
    if key is None:
        api.accepted.discard(digest)
        api.guesses.take(address)
        raise HttpProblem(
            401, "There is no such key in force.", code="key_refused", headers={"WWW-Authenticate": "Bearer"}
        )
    api.accepted.add(digest)
    if wait := api.requests.take(str(key.id)):
        raise HttpProblem(
            429, "This key asks too often.", code="too_many_requests", retry_after=int(wait) + 1
        )
    return key


def _may(scope: str) -> Callable[[Key], Coroutine[Any, Any, Key]]:
    async def may(key: Annotated[Key, Depends(_key)]) -> Key:
        if not key.may(scope):
            raise HttpProblem(403, f"This key has not the scope {scope!r}.", code="scope_missing")
        return key

    return may


Submitter = Annotated[Key, Depends(_may("submit"))]
Reader = Annotated[Key, Depends(_may("read"))]
Operator = Annotated[Key, Depends(_may("operate"))]
