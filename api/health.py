"""`/healthz` and `/readyz` of `timbrado serve`."""

import sqlalchemy as sa
from fastapi import FastAPI, Request

from api.context import api_of


def install(app: FastAPI) -> None:
    """Answer whether the process lives, and whether it can read."""

    @app.get("/healthz", include_in_schema=False)
    async def alive() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", include_in_schema=False)
    def ready(request: Request) -> dict[str, str]:
        with api_of(request).reading() as db:
            db.execute(sa.text("SELECT 1"))
        return {"status": "ok"}
