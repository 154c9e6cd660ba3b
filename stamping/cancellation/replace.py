"""Replacing a stamped invoice: the new one is stamped first, related with 04 to the old one, which is then cancelled.

Both halves are one chain of commits: the new invoice is stored with the one that it replaces, and the commit that says
that it is stamped also begins the old one's cancellation with motivo 01. So there is never none of the two, and two
only until the SAT has cancelled the first.
"""

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cfdi.faults import Fault
from models.tables import invoices
from models.vocabulary import InvoiceStatus
from stamping.cancellation import reasons
from stamping.cancellation.begin import CANCELLABLE
from stamping.cancellation.substitutes import related
from stamping.intake import asked_about, seen_messages, submit, untrusted
from stamping.intake.seen_messages import Message
from stamping.tools import Tools


def replace(
    account: object,
    external_id: object,
    invoice: Any,
    tools: Tools,
    *,
    message: Message | None = None,
    trace_id: str | None = None,
) -> submit.Accepted | submit.Settled:
    """Take the substitute of a stamped invoice in; what is refused is an event of the one that it was to replace.

    The relation to the old one is added where it is missing. A substitute that is rejected leaves the old one as it is,
    and may be corrected by `submit`.
    """
    about = untrusted.pair(account, external_id)
    with tools.engine.begin() as db:
        old = asked_about.lock(db, account, external_id)
        if old is None:
            asked_about.not_found(db, account, external_id, message, tools, trace_id)
            return submit.Settled(None, about[0] if about else None, "unreadable")
        known = _substitute_of(db, old, invoice)
        faults = _faults(old, invoice) if known is None else ()
        if faults:
            seen_messages.is_new(db, message, old.account, tools.clock.now())
            asked_about.repeat_status(db, old, tools, *faults)
            return submit.Settled(old.id, old.account, "conflict")
    return submit.submit(
        related({**invoice, "account": old.account}, str(old.uuid)),
        tools,
        message=message,
        trace_id=trace_id,
        replaces=old.id,
    )


def _substitute_of(db: sa.Connection, old: sa.Row[Any], invoice: Any) -> UUID | None:
    """Return the substitute that a request like this has brought before: then only its status is emitted again."""
    name = invoice.get("external_id") if isinstance(invoice, dict) else None
    if not untrusted.is_name(name):
        return None
    return db.execute(
        sa.select(invoices.c.id).where(
            invoices.c.account == old.account,
            invoices.c.external_id == name,
            invoices.c.replaces_id == old.id,
        )
    ).scalar_one_or_none()


def _faults(old: sa.Row[Any], invoice: Any) -> tuple[Fault, ...]:
    if not isinstance(invoice, dict):
        return (reasons.SUBSTITUTE_UNREADABLE,)
    if invoice.get("external_id") in (None, old.external_id):
        return (reasons.SUBSTITUTE_NEEDS_ITS_OWN_ID,)
    if invoice.get("account") not in (None, old.account):
        return (reasons.SUBSTITUTE_OF_ANOTHER_ACCOUNT,)
    if old.status not in CANCELLABLE:
        if old.status in {InvoiceStatus.CANCELLING, InvoiceStatus.CANCELLED}:
            return (reasons.NOT_REPLACEABLE,)
        return (reasons.not_stamped(old.status, old.reason),)
    return ()
