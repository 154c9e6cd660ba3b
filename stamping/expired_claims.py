"""What becomes of an invoice whose worker died, or stands still: its claim runs out, and the sweep ends it.

Where something may have left it is in doubt, and is looked up. Where nothing had, it is tried again: at once, since
machines die, and then later each time, since an invoice may be what ends each worker that prepares it.
"""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog

from models.tables import attempts as attempts_table
from models.tables import invoices
from models.vocabulary import SENDS, AttemptOutcome, InvoiceStatus
from stamping import attempts, notify, settle
from stamping.deadlines import reminder_of_a_doubt
from stamping.retries import before_lookup, before_try
from stamping.tools import Tools

log = structlog.get_logger(__name__)

BATCH = 200


def end(tools: Tools, now: datetime) -> int:
    """End the claims that ran out: in doubt when something may have been sent, back to waiting when nothing was.

    The claim number grows, so that the worker that had it is refused when it comes back late.
    """
    with tools.engine.begin() as db:
        rows = db.execute(expired(tools, now)).all()
        for row in rows:
            sent = db.execute(attempts.begun(row.id, row.claim)).one_or_none()
            _end(db, row, sent, tools, now)
    tools.meter.rescued(len(rows))
    return len(rows)


def _end(db: sa.Connection, row: sa.Row[Any], sent: Any, tools: Tools, now: datetime) -> None:
    values: dict[str, Any] = {
        "claim": invoices.c.claim + 1,
        "claimed_until": None,
        "claimed_by": None,
        "updated_at": now,
    }
    if row.status != InvoiceStatus.STAMPING:  # a look-up, or a cancellation: look again
        values |= {"next_attempt_at": now}
    elif sent is not None and sent.call in SENDS:
        values |= {
            "status": InvoiceStatus.IN_DOUBT,
            "doubt": sent.call,
            "doubt_since": now,
            "lookups": 0,
            "tries": 0,
            "next_attempt_at": now + before_lookup(0),
            "reminder_at": reminder_of_a_doubt(now),
            "version": invoices.c.version + 1,
        }
    else:
        tries = row.tries + 1
        log.warning("claim_ran_out", invoice_id=str(row.id), worker=row.claimed_by, tries=tries)
        values |= {
            "status": InvoiceStatus.WAITING,
            "tries": tries,
            "next_attempt_at": now + (before_try(row.tries) if row.tries else timedelta()),
        }
    if sent is not None:
        db.execute(
            sa.update(attempts_table)
            .where(attempts_table.c.invoice_id == row.id, attempts_table.c.number == sent.number)
            .values(outcome=AttemptOutcome.LOST, finished_at=now, detail="the worker's claim ran out")
        )
    moved = db.execute(
        sa.update(invoices).where(invoices.c.id == row.id).values(**values).returning(*invoices.c)
    ).one()
    if moved.status == InvoiceStatus.IN_DOUBT and row.status == InvoiceStatus.STAMPING:
        notify.invoice(db, moved, tools, "invoice.in_doubt")
    if moved.status == InvoiceStatus.WAITING:
        settle.withdraw_if_asked(db, moved, tools, now)


def expired(tools: Tools, now: datetime) -> sa.Select[Any]:
    """Claims that ran out (ix_invoices_claims), and those that end further ahead than any claim that is taken now."""
    return (
        sa.select(invoices.c.id, invoices.c.status, invoices.c.claim, invoices.c.claimed_by, invoices.c.tries)
        .where(
            sa.or_(
                invoices.c.claimed_until <= now,
                invoices.c.claimed_until > now + tools.policy.lease + timedelta(minutes=1),
            )
        )
        .order_by(invoices.c.claimed_until)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
