"""The invoice that a request names, and its status emitted again for whoever asked."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
import uuid_utils.compat as uuids

from cfdi.faults import Fault
from models.tables import invoices
from stamping import notify
from stamping.cancellation.reasons import NO_SUCH_INVOICE
from stamping.intake import seen_messages, untrusted
from stamping.intake.seen_messages import Message
from stamping.tools import Tools


def lock(db: sa.Connection, account: object, external_id: object) -> sa.Row[Any] | None:
    """Return the invoice of this account and external_id, locked; None where there is none."""
    names = untrusted.pair(account, external_id)
    if names is None:
        return None
    return db.execute(
        sa.select(invoices)
        .where(invoices.c.account == names[0], invoices.c.external_id == names[1])
        .with_for_update()
    ).one_or_none()


def by_id(db: sa.Connection, invoice_id: UUID) -> sa.Row[Any]:
    """Return an invoice's row, as it is now."""
    return db.execute(sa.select(invoices).where(invoices.c.id == invoice_id)).one()


def find(
    db: sa.Connection,
    account: object,
    external_id: object,
    message: Message | None,
    tools: Tools,
    trace_id: str | None,
) -> tuple[sa.Row[Any] | None, bool]:
    """Lock the invoice that a request names and note its message: the row, and whether the message is new.

    That there is no such invoice is an event of its own, once a message.
    """
    row = lock(db, account, external_id)
    if row is None:
        return None, not_found(db, account, external_id, message, tools, trace_id)
    return row, seen_messages.is_new(db, message, row.account, tools.clock.now())


def not_found(
    db: sa.Connection,
    account: object,
    external_id: object,
    message: Message | None,
    tools: Tools,
    trace_id: str | None,
) -> bool:
    """Note a message that names no invoice, and emit that there is none; False where that was done before."""
    now = tools.clock.now()
    names = untrusted.pair(account, external_id)
    is_new = seen_messages.is_new(db, message, names[0] if names is not None else None, now)
    if is_new:
        asked = {"account": account, "external_id": external_id}
        notify.not_found(db, uuids.uuid7(), asked, NO_SUCH_INVOICE, tools, now, trace_id)
    return is_new


def next_version(db: sa.Connection, row: sa.Row[Any], tools: Tools, **values: Any) -> sa.Row[Any]:
    """Count an invoice's version up, with what else is to be written, for an event about it."""
    return db.execute(
        sa.update(invoices)
        .where(invoices.c.id == row.id)
        .values(version=invoices.c.version + 1, updated_at=tools.clock.now(), **values)
        .returning(*invoices.c)
    ).one()


def repeat_status(db: sa.Connection, row: sa.Row[Any], tools: Tools, *faults: Fault, **values: Any) -> None:
    """Emit where an invoice stands under a version of its own; `faults` say why a request changes nothing."""
    notify.status_again(db, next_version(db, row, tools, **values), tools, errors=faults or None)
