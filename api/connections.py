"""Connections over HTTP: the key goes in and never comes out."""

from typing import Any

from fastapi import APIRouter, Response

from api import acting, queries
from api.authentication import Operator, Reader
from api.context import Account, ApiContext, JsonObject, OptionalObject, TheApi, text_of
from api.keys import Key
from api.problems import HttpProblem
from api.shapes import ConnectionShape, answers, body_of

router = APIRouter(tags=["Conexiones"])
ONE = "/connections/{account}"


def state(api: ApiContext, key: Key, account: str) -> dict[str, Any]:
    """Return where a connection stands. Raises HttpProblem where the key's accounts have none."""
    acting.find_connection(api, key, account)
    with api.reading() as db:
        (row,) = queries.connection_rows(db, key, account)
    return queries.connection_of(row)


@router.get(ONE, response_model=ConnectionShape, responses=answers(404), summary="Where a connection stands")
def read(key: Reader, api: TheApi, account: Account) -> Any:
    """Status, what is wrong and how to correct it, and what was recognised of the account's lists."""
    return state(api, key, account)


@router.put(
    ONE, response_model=ConnectionShape, responses=answers(404, 409),
    openapi_extra=body_of("Connection"), summary="Connect an account",
)  # fmt: skip
def put(key: Operator, api: TheApi, account: Account, body: JsonObject) -> Any:
    """Stores or replaces it and validates it at once: the answer says whether ContaDigital took the key.

    409 where it moves to another address or company and invoices that can only be looked up at the old one are open:
    `left_behind` counts them by status, and `move: true` confirms it.
    """
    if not key.sees(account):
        raise HttpProblem(403, "This key may not connect that account.", code="account_forbidden")
    acting.connect(api, key, account, body)
    return state(api, key, account)


@router.post(
    f"{ONE}/validate", response_model=ConnectionShape, responses=answers(404),
    openapi_extra=body_of("Reason", required=False), summary="Validate a connection again",
)  # fmt: skip
def validate(key: Operator, api: TheApi, account: Account, body: OptionalObject) -> Any:
    """Its invoices on hold go on by themselves once it is active."""
    acting.validate(api, key, account, text_of(body, "reason"))
    return state(api, key, account)


@router.delete(ONE, status_code=204, responses=answers(404), summary="Forget an account's key")
def delete(key: Operator, api: TheApi, account: Account) -> Response:
    """Its open invoices are put on hold."""
    acting.disconnect(api, key, account)
    return Response(status_code=204)
