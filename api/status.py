"""How the whole stands: whether ContaDigital answers, how fast, and what waits."""

from typing import Any

from fastapi import APIRouter

from api import queries
from api.authentication import Reader
from api.context import TheApi

router = APIRouter(tags=["Estado"])


@router.get("/status", summary="Whether ContaDigital answers, and what waits")
def status(key: Reader, api: TheApi) -> dict[str, Any]:
    """p50 and p95 of the last stamps and look-ups, the oldest that waits, what is in doubt, the nearest 72 hours."""
    now = api.now()
    with api.tools.engine.connect() as db:
        return queries.status(db, key, now)
