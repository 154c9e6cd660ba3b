"""The move of a stamped invoice to `cancelling`, made in the commit that decides it."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from models.transitions import advance
from models.vocabulary import InvoiceStatus

CANCELLABLE = frozenset({InvoiceStatus.STAMPED, InvoiceStatus.DIFFERS})


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
