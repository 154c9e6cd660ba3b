"""The move of a stamped invoice to `cancelling`, made in the commit that decides it."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from models.tables import invoices
from models.transitions import advance
from models.vocabulary import InvoiceStatus

CANCELLABLE = frozenset({InvoiceStatus.STAMPED, InvoiceStatus.DIFFERS})
SUBSTITUTED = "01"


def begin(
    db: sa.Connection, invoice_id: UUID, motivo: str, uuid_sustitucion: str | None, now: datetime
) -> UUID | None:
    """Have an invoice that has its stamp cancelled; None where it was moved by another meanwhile."""
    moved = advance(
        db,
        invoice_id,
        target=InvoiceStatus.CANCELLING,
        source=CANCELLABLE,
        now=now,
        motivo=motivo,
        uuid_sustitucion=uuid_sustitucion,
        next_attempt_at=now,
        lookups=0,
        tries=0,
        doubt=None,
        doubt_since=None,
        enqueued_at=None,
    )
    return invoice_id if moved is not None else None


def begin_for_substitute(db: sa.Connection, substitute_id: UUID, now: datetime) -> UUID | None:
    """Have the invoice cancelled that this one, stamped in the same commit, replaces; None where it replaces none."""
    row = db.execute(
        sa.select(invoices.c.replaces_id, invoices.c.uuid).where(invoices.c.id == substitute_id)
    ).one()
    if row.replaces_id is None:
        return None
    return begin(db, row.replaces_id, SUBSTITUTED, row.uuid, now)
