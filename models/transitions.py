"""The allowed moves of an invoice, and the one guarded UPDATE that makes them.

Every write names its claim number; the database rejects a stale one. The table `invoice_moves` and its trigger hold any
other SQL to the same moves.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.tables import EVENT_COLUMNS, invoices
from models.vocabulary import InvoiceStatus

S = InvoiceStatus

TRANSITIONS: dict[InvoiceStatus, frozenset[InvoiceStatus]] = {
    S.ACCEPTED: frozenset({S.STAMPING, S.REJECTED, S.ON_HOLD, S.FAILED, S.IN_DOUBT, S.WITHDRAWN}),
    S.STAMPING: frozenset({S.STAMPED, S.DIFFERS, S.REJECTED, S.IN_DOUBT, S.WAITING, S.ON_HOLD, S.FAILED}),
    S.IN_DOUBT: frozenset({S.STAMPED, S.DIFFERS, S.WAITING, S.FAILED}),
    S.WAITING: frozenset({S.STAMPING, S.ON_HOLD, S.ACCEPTED, S.REJECTED, S.FAILED, S.IN_DOUBT, S.WITHDRAWN}),
    S.ON_HOLD: frozenset({S.WAITING, S.ACCEPTED, S.REJECTED, S.FAILED, S.IN_DOUBT, S.WITHDRAWN}),
    S.REJECTED: frozenset({S.ACCEPTED, S.ON_HOLD, S.WITHDRAWN}),
    S.FAILED: frozenset({S.ACCEPTED, S.ON_HOLD, S.IN_DOUBT, S.REJECTED, S.STAMPED, S.DIFFERS, S.WITHDRAWN}),
    S.STAMPED: frozenset({S.CANCELLING}),
    S.DIFFERS: frozenset({S.STAMPED, S.CANCELLING}),
    S.CANCELLING: frozenset({S.CANCELLED, S.STAMPED, S.DIFFERS}),
    S.CANCELLED: frozenset(),
    S.WITHDRAWN: frozenset(),
}


def sources_of(target: InvoiceStatus) -> frozenset[InvoiceStatus]:
    """Return the statuses from which `target` may be reached."""
    return frozenset(source for source, targets in TRANSITIONS.items() if target in targets)


def advance(
    connection: sa.Connection,
    invoice_id: UUID,
    *,
    target: InvoiceStatus,
    now: datetime,
    source: InvoiceStatus | Iterable[InvoiceStatus] | None = None,
    claim: int | None = None,
    **values: Any,
) -> sa.Row[Any] | None:
    """Move an invoice to `target` and let its claim go; None when another worker won.

    `source` narrows where it must stand (default: wherever the table of moves allows it); `claim` is the number
    of the caller's claim, and an older one moves nothing. Returns the columns of an event from the new row.
    """
    if source is None:
        sources = sources_of(target)
    else:
        sources = frozenset([source]) if isinstance(source, InvoiceStatus) else frozenset(source)
    moved = (
        sa.update(invoices)
        .where(invoices.c.id == invoice_id, invoices.c.status.in_(sorted(sources)))
        .values({"status": target, "claimed_until": None, "claimed_by": None, "updated_at": now, **values})
        .returning(*EVENT_COLUMNS)
    )
    if claim is not None:
        moved = moved.where(invoices.c.claim == claim)
    return connection.execute(moved).one_or_none()


def write_fenced(
    connection: sa.Connection, invoice_id: UUID, *, claim: int, now: datetime, **values: Any
) -> sa.Row[Any] | None:
    """Write facts on an invoice without moving it, if the claim still stands; None when it passed to another."""
    written = (
        sa.update(invoices)
        .where(invoices.c.id == invoice_id, invoices.c.claim == claim, invoices.c.claimed_until.is_not(None))
        .values(updated_at=now, **values)
        .returning(*EVENT_COLUMNS)
    )
    return connection.execute(written).one_or_none()
