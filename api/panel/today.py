"""Hoy: what waits and why, what is in doubt, what stands before a person, and how the day goes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.responses import Response

from api import queries, words
from api.context import ApiContext, TheApi
from api.keys import Key
from api.panel.pages import CENTRAL, midnight, page
from api.panel.sessions import Someone
from models.tables import connections, events, invoices
from models.vocabulary import DUE, FailedReason, InvoiceStatus
from stamping import notify

router = APIRouter()
MOST = 50
"""Rows of a table of the page; the rest is one click away."""


@router.get("/")
def today(request: Request, person: Someone, api: TheApi) -> Response:
    """Show the day."""
    now, key = api.now(), person.key
    with api.reading() as db:
        status = queries.status(db, key, now)
        return page(
            "today.html",
            request,
            person,
            now=now,
            status=status,
            waiting=waiting(db, key, status["provider"]["down_since"], now),
            doubts=_invoices(db, key, invoices.c.status == InvoiceStatus.IN_DOUBT),
            persons=_invoices(
                db,
                key,
                sa.or_(
                    invoices.c.status == InvoiceStatus.DIFFERS,
                    sa.and_(
                        invoices.c.status == InvoiceStatus.FAILED,
                        invoices.c.reason == FailedReason.NEEDS_PERSON,
                    ),
                ),
            ),
            broken=[
                queries.connection_of(row)
                for row in queries.connection_rows(db, key)
                if row.status == "broken"
            ],
            day=_day(db, api, key, now),
        )


@dataclass(frozen=True)
class Waiting:
    """What one account has waiting."""

    account: str
    count: int
    oldest_at: datetime
    why: str
    fix: str


def waiting(db: sa.Connection, key: Key, down_since: str | None, now: datetime) -> list[Waiting]:
    """Return what waits, by account, with the reason and what to do about it."""
    is_on_hold = (invoices.c.status == sa.literal_column(f"'{InvoiceStatus.ON_HOLD}'")).label("is_on_hold")
    counted = db.execute(
        sa.select(invoices.c.account, is_on_hold, sa.func.count(), sa.func.min(invoices.c.created_at))
        .where(key.sees_of(invoices.c.account), invoices.c.status.in_([*DUE, InvoiceStatus.ON_HOLD]))
        .group_by(invoices.c.account, is_on_hold)
        .order_by(sa.func.min(invoices.c.created_at))
        .limit(MOST)
    ).all()
    rows = {}
    if counted:
        found = sa.select(connections).where(connections.c.account.in_([row.account for row in counted]))
        rows = {row.account: row for row in db.execute(found)}
    reasons: dict[tuple[str, str], Waiting] = {}
    for account, on_hold, count, oldest in counted:  # the oldest first
        why, fix = _why(rows.get(account), on_hold, down_since, now)
        one = reasons.setdefault((account, why), Waiting(account, 0, oldest, why, fix))
        reasons[account, why] = replace(one, count=one.count + count)
    return list(reasons.values())


def _why(row: Any, on_hold: bool, down_since: str | None, now: datetime) -> tuple[str, str]:
    if row is None:
        return "La cuenta no está conectada a ContaDigital.", "Conectarla."
    if row.status == "broken":
        broken = notify.broken_words(row)
        return broken.message, broken.fix
    if row.status != "active":
        return f"La conexión está {words.CONNECTION[row.status].lower()}.", "Conectarla de nuevo."
    if row.paused:
        return "Soporte pausó la cuenta.", "Reanudarla cuando se pueda."
    if down_since is not None:
        return "ContaDigital no responde.", "Nada: siguen solas cuando responda."
    if row.throttled_until is not None and row.throttled_until > now:
        return "ContaDigital pidió ir más despacio.", "Nada: siguen solas."
    return ("La conexión acaba de activarse." if on_hold else "Están en la fila."), "Nada: siguen solas."


def _invoices(db: sa.Connection, key: Key, which: sa.ColumnElement[bool]) -> Sequence[sa.Row[Any]]:
    columns = (
        "account",
        "external_id",
        "status",
        "reason",
        "created_at",
        "doubt_since",
        "expires_at",
        "uuid",
    )
    return db.execute(
        sa.select(*(invoices.c[name] for name in columns))
        .where(which, key.sees_of(invoices.c.account))
        .order_by(invoices.c.created_at)
        .limit(MOST)
    ).all()


@dataclass(frozen=True)
class Bar:
    """One hour of the day: how many were stamped, and its height in percent."""

    hour: int
    count: int
    height: int


def _day(db: sa.Connection, api: ApiContext, key: Key, now: datetime) -> dict[str, Any]:
    """Return how many invoices were stamped in each hour of the day.

    They are found by their events, which have an index by their instant; one that is sent again has two.
    """
    began = midnight(now)
    local = sa.func.timezone(str(CENTRAL), invoices.c.stamped_at)
    hour = sa.cast(sa.extract("hour", local), sa.Integer).label("hour")
    emitted = sa.select(events.c.subject_id).where(
        events.c.created_at >= began,
        events.c.created_at <= now + timedelta(minutes=5),
        events.c.type == "invoice.stamped",
        key.sees_of(events.c.account),
    )
    counted: dict[int, int] = dict(
        db.execute(
            sa.select(hour, sa.func.count())
            .where(invoices.c.id.in_(emitted), invoices.c.stamped_at >= began)
            .group_by(hour)
        ).all()
    )
    most = max(counted.values(), default=0)
    bars = [
        Bar(each, counted.get(each, 0), round(100 * counted.get(each, 0) / most) if most else 0)
        for each in range(24)
    ]
    return {"bars": bars, "total": sum(counted.values()), "most": most}
