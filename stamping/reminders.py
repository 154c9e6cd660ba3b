"""Telling that it takes long: once when ContaDigital keeps a user waiting, and as the 72 hours run out.

Past the 72 hours an invoice that is certainly not stamped is given up, with that reason and never silently. One in
doubt is not: no timer ends a doubt.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.tables import connections, invoices
from models.transitions import advance
from models.vocabulary import OPEN, FailedReason, InvoiceStatus
from stamping import notify
from stamping.deadlines import WARNINGS, hours_left, next_notice
from stamping.texts import EXPIRED
from stamping.tools import Tools

LOOK_AGAIN = timedelta(minutes=1)  # while a call is under way, its own answer decides
TOLD_OTHERWISE = frozenset({InvoiceStatus.ON_HOLD, InvoiceStatus.IN_DOUBT})
"""Statuses whose own event has said why it takes long."""
GIVES_UP = frozenset({InvoiceStatus.ACCEPTED, InvoiceStatus.WAITING, InvoiceStatus.ON_HOLD})


def notice(invoice_id: UUID, tools: Tools) -> str | None:
    """Tell what is due to be told of one invoice; return what was told."""
    now = tools.clock.now()
    with tools.engine.begin() as db:
        row = db.execute(
            sa.select(invoices)
            .where(invoices.c.id == invoice_id, invoices.c.reminder_at <= now)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return None
        if row.status not in OPEN:
            _set(db, invoice_id, reminder_at=None, enqueued_at=None)
            return None
        if row.expires_at is not None and now >= row.expires_at:
            if row.status in GIVES_UP:
                moved = advance(
                    db,
                    invoice_id,
                    target=InvoiceStatus.FAILED,
                    source=GIVES_UP,
                    now=now,
                    reason=FailedReason.EXPIRED,
                    errors=[EXPIRED.as_dict()],
                    version=invoices.c.version + 1,
                    next_attempt_at=None,
                    reminder_at=None,
                    enqueued_at=None,
                )
                if moved is not None:
                    notify.invoice(db, moved, tools, "invoice.failed")
                return "expired"
            again = now + LOOK_AGAIN if row.status == InvoiceStatus.STAMPING else None
            _set(db, invoice_id, reminder_at=again, enqueued_at=None)
            return None
        what = _what(row, tools)
        if what is None:
            later = next_notice(now=now, expires_at=row.expires_at)
            _set(db, invoice_id, reminder_at=later, enqueued_at=None)
            return None
        written = db.execute(
            sa.update(invoices)
            .where(invoices.c.id == invoice_id)
            .values(
                last_reminder=what,
                reminder_at=next_notice(now=now, expires_at=row.expires_at),
                enqueued_at=None,
                version=invoices.c.version + 1,
                updated_at=now,
            )
            .returning(*invoices.c)
        ).one()
        if what == "delayed":
            notify.invoice(
                db, written, tools, "invoice.delayed", variant="paused" if _is_paused(db, row) else ""
            )
        else:
            hours = hours_left(row.expires_at, now)
            notify.invoice(db, written, tools, "invoice.delayed", variant="hours", hours=hours)
    return what


def _what(row: sa.Row[Any], tools: Tools) -> str | None:
    """Return the sharpest warning that is due and not yet told; None when there is nothing new to say."""
    now = tools.clock.now()
    if row.expires_at is not None:
        due = [f"{left.total_seconds() / 3600:g}h" for left in WARNINGS if now >= row.expires_at - left]
        if due:
            return due[-1] if due[-1] != row.last_reminder else None
    if row.last_reminder is None and row.status not in TOLD_OTHERWISE:
        return "delayed"
    return None


def _is_paused(db: sa.Connection, row: sa.Row[Any]) -> bool:
    """Whether an operator holds the account: then it is not ContaDigital that is slow."""
    paused = sa.select(connections.c.paused).where(connections.c.account == row.account)
    return bool(db.execute(paused).scalar_one_or_none())


def _set(db: sa.Connection, invoice_id: UUID, **values: object) -> None:
    db.execute(sa.update(invoices).where(invoices.c.id == invoice_id).values(**values))
