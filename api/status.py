"""How the whole stands: whether ContaDigital answers, how fast, and what waits."""

from typing import Any

from fastapi import APIRouter

from api import queries
from api.authentication import Reading
from api.context import TheApi
from api.shapes import as_json

router = APIRouter(tags=["Estado"])


@router.get("/status", response_model=dict[str, Any], summary="Whether ContaDigital answers, and what waits")
def status(asker: Reading, api: TheApi) -> Any:
    """p50 and p95 of the last stamps and look-ups, the oldest that waits, what is in doubt, the nearest 72 hours."""
    with asker.reading() as (db, key):
        return as_json(queries.status(db, key, api.now()))
