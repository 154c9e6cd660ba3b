"""Saying that it takes long: once when ContaDigital keeps a user waiting, and as the SAT's 72 hours run out.

The 72 hours are a budget of each invoice: known from its `fecha`, warned about at 24, 6 and 1 hours left. Past them an
invoice that is certainly not stamped is given up, with that reason and never silently. One in doubt is not: no timer
ends a doubt.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.tables import connections, invoices
from models.transitions import advance
from models.vocabulary import OPEN, FailedReason, InvoiceStatus
from stamping import notify
from stamping.texts import EXPIRED
from stamping.timeline.next_action import LONG_DOUBT
from stamping.tools import Tools

BUDGET = timedelta(hours=72)
WARNINGS = (timedelta(hours=24), timedelta(hours=6), timedelta(hours=1))
LOOK_AGAIN = timedelta(minutes=1)  # while a call is under way, its own answer decides
SECOND_LOOK = timedelta(minutes=5)
"""Between the two looks at the clock before an invoice is given up: the database's clock was seen to jump ahead for a
minute, and what is given up then is given up for good."""
OVER = "over"
"""The last reminder of an invoice whose 72 hours were over at the first look."""
REPORTED_OTHERWISE = frozenset({InvoiceStatus.ON_HOLD, InvoiceStatus.IN_DOUBT})
"""Statuses whose own event has said why it takes long."""
GIVES_UP = frozenset({InvoiceStatus.ACCEPTED, InvoiceStatus.WAITING, InvoiceStatus.ON_HOLD})


def next_reminder(
    *, now: datetime, expires_at: datetime | None, delayed_at: datetime | None = None
) -> datetime | None:
    """Return the next instant at which to look: the delay (where not reported), a warning, the end of the 72 hours."""
    times = [delayed_at] if delayed_at is not None else []
    if expires_at is not None:
        times += [expires_at - left for left in WARNINGS]
        times.append(expires_at)
    return min((time for time in times if time > now), default=None)


def hours_left(expires_at: datetime, now: datetime) -> int:
    """Return how many of the 72 hours are left, rounded to the next whole hour."""
    return max(0, -(-int((expires_at - now).total_seconds()) // 3600))


def remind(invoice_id: UUID, tools: Tools) -> str | None:
    """Emit what is due to be said of one invoice; return what was said."""
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
        doubt_at = long_doubt_at(row)
        if doubt_at is not None and row.reminder_at <= doubt_at <= now:
            return _doubt_is_long(db, row, tools, now)
        if row.expires_at is not None and now >= row.expires_at:
            return _is_over(db, row, tools, now)
        later = next_reminder(now=now, expires_at=row.expires_at, delayed_at=doubt_at)
        what = _what(row, tools)
        if what is None:
            _set(db, invoice_id, reminder_at=later, enqueued_at=None)
            return None
        written = db.execute(
            sa.update(invoices)
            .where(invoices.c.id == invoice_id)
            .values(
                last_reminder=what,
                reminder_at=later,
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


def long_doubt_at(row: sa.Row[Any]) -> datetime | None:
    """Return when a person is named for a doubt that did not end; None where it is none."""
    return row.doubt_since + LONG_DOUBT if row.status == InvoiceStatus.IN_DOUBT else None


def reminder_of_a_doubt(now: datetime) -> sa.ColumnElement[Any]:
    """Return when to look at an invoice whose doubt begins now: no later than when a person is named."""
    return sa.func.least(invoices.c.reminder_at, sa.literal(now + LONG_DOUBT, sa.DateTime(timezone=True)))


def _doubt_is_long(db: sa.Connection, row: sa.Row[Any], tools: Tools, now: datetime) -> str:
    """Emit, once, that a doubt did not end by itself; it is looked up as before."""
    again = now if row.expires_at is not None and now >= row.expires_at else None
    written = db.execute(
        sa.update(invoices)
        .where(invoices.c.id == row.id)
        .values(
            reminder_at=again or next_reminder(now=now, expires_at=row.expires_at),
            enqueued_at=None,
            version=invoices.c.version + 1,
            updated_at=now,
        )
        .returning(*invoices.c)
    ).one()
    notify.invoice(db, written, tools, "invoice.in_doubt", variant="long")
    return "long"


def _is_over(db: sa.Connection, row: sa.Row[Any], tools: Tools, now: datetime) -> str | None:
    """Give an invoice up whose time is over at the second look."""
    if row.status not in GIVES_UP:
        again = next_reminder(now=now, expires_at=None, delayed_at=long_doubt_at(row))
        if row.status == InvoiceStatus.STAMPING:
            again = now + LOOK_AGAIN
        _set(db, row.id, reminder_at=again, enqueued_at=None)
        return None
    if row.last_reminder != OVER:
        _set(db, row.id, last_reminder=OVER, reminder_at=now + SECOND_LOOK, enqueued_at=None)
        return None
    moved = advance(
        db,
        row.id,
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


def _what(row: sa.Row[Any], tools: Tools) -> str | None:
    """Return the sharpest warning that is due and not yet sent; None when there is nothing new to say."""
    now = tools.clock.now()
    if row.expires_at is not None:
        due = [f"{left.total_seconds() / 3600:g}h" for left in WARNINGS if now >= row.expires_at - left]
        if due:
            return due[-1] if due[-1] != row.last_reminder else None
    if row.last_reminder is None and row.status not in REPORTED_OTHERWISE:
        return "delayed"
    return None


def _is_paused(db: sa.Connection, row: sa.Row[Any]) -> bool:
    """Whether an operator holds the account: then it is not ContaDigital that is slow."""
    paused = sa.select(connections.c.paused).where(connections.c.account == row.account)
    return bool(db.execute(paused).scalar_one_or_none())


def _set(db: sa.Connection, invoice_id: UUID, **values: object) -> None:
    db.execute(sa.update(invoices).where(invoices.c.id == invoice_id).values(**values))
