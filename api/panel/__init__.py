"""The panel: server-rendered pages in Spanish for support and bookkeepers, on the process of the HTTP API."""

from fastapi import APIRouter

from api.panel import connections, events, invoices, login, today

router = APIRouter(include_in_schema=False)
for module in (login, today, invoices, connections, events):
    router.include_router(module.router)
