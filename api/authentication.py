"""Whose key a request brings, what it may do, and how often it may ask."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from api import keys
from api.context import ApiContext, TheApi
from api.keys import Key
from api.problems import HttpProblem

_bearer = HTTPBearer(auto_error=False, description="A key of `timbrado keys create`.")


def address_of(request: Request) -> str:
    """Return where a request came from."""
    return request.client.host if request.client is not None else ""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, by a key that was in force when this process read it first.

    Whether it still is, is read where the work begins, in the work's own thread and connection: a revoked key reads
    nothing more.
    """

    known: Key
    _api: ApiContext
    _address: str
    _digest: str

    @contextmanager
    def reading(self) -> Iterator[tuple[sa.Connection, Key]]:
        """Open the database for what the key may read. Raises HttpProblem where it is no longer in force."""
        with self._api.reading() as db:
            yield db, _in_force(db, self._api, self._address, self._digest)


def _in_force(db: sa.Connection, api: ApiContext, address: str, digest: str) -> Key:
    key = keys.find(db, digest, api.now())
    if key is None:
        api.accepted.pop(digest, None)
        api.guesses.take(address)
        raise HttpProblem(
            401, "There is no such key in force.", code="key_refused", headers={"WWW-Authenticate": "Bearer"}
        )
    return key


def _first(api: ApiContext, address: str, digest: str) -> Key:
    if wait := api.guesses.is_empty(address):
        raise HttpProblem(
            429, "Too many wrong keys from this address.", code="too_many_guesses", retry_after=int(wait) + 1
        )
    with api.reading() as db:
        key = api.accepted[digest] = _in_force(db, api, address, digest)
    return key


async def _asker(
    request: Request,
    api: TheApi,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Asker:
    if credentials is None:
        raise HttpProblem(
            401,
            "Send `Authorization: Bearer KEY`.",
            code="key_needed",
            headers={"WWW-Authenticate": "Bearer"},
        )
    address, digest = address_of(request), keys.hash_of(credentials.credentials)
    known = api.accepted.get(digest)
    if known is None:
        known = await run_in_threadpool(_first, api, address, digest)
    if wait := api.requests.take(str(known.id)):
        raise HttpProblem(
            429, "This key asks too often.", code="too_many_requests", retry_after=int(wait) + 1
        )
    return Asker(known, api, address, digest)


def _may(scope: str) -> Callable[[Asker], Coroutine[Any, Any, Asker]]:
    async def may(asker: Annotated[Asker, Depends(_asker)]) -> Asker:
        if not asker.known.may(scope):
            raise HttpProblem(403, f"This key has not the scope {scope!r}.", code="scope_missing")
        return asker

    return may


def _key(scope: str) -> Callable[[Asker], Key]:
    def key(asker: Annotated[Asker, Depends(_may(scope))]) -> Key:
        with asker.reading() as (_, found):
            return found

    return key


Reading = Annotated[Asker, Depends(_may("read"))]
Reader = Annotated[Key, Depends(_key("read"))]
Submitter = Annotated[Key, Depends(_key("submit"))]
Operator = Annotated[Key, Depends(_key("operate"))]
