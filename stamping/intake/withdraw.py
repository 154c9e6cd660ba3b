"""`withdraw`: take back an invoice that is not stamped.

One that certainly is not goes at once, under the lock that a claim needs too, so that it is either withdrawn or sent.
One whose outcome is unknown is looked up first: what ends the doubt withdraws it, or says that it is stamped.
"""

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from cfdi.faults import Fault
from models.tables import invoices
from models.transitions import advance
from models.vocabulary import DUE, FailedReason, InvoiceStatus
from stamping import notify
from stamping.intake import asked_about
from stamping.intake.operator_retry import LOOK_UP_FIRST, CommandResult, look_up_again
from stamping.intake.seen_messages import Message
from stamping.texts import CANNOT_KNOW, WITHDRAWN_BEFORE
from stamping.tools import Tools

AT_ONCE = DUE | {InvoiceStatus.ON_HOLD, InvoiceStatus.REJECTED}
UNKNOWN = frozenset({InvoiceStatus.STAMPING, InvoiceStatus.IN_DOUBT})
IS_STAMPED = Fault(
    code="timbrado.ya_timbrada",
    field="",
    message="La factura ya está timbrada, así que no se puede retirar.",
    fix="Si ya no la necesitas, cancélala.",
    source="timbrado",
)


def withdraw(
    account: object,
    external_id: object,
    tools: Tools,
    *,
    message: Message | None = None,
    trace_id: str | None = None,
) -> CommandResult:
    """Take an invoice back; its event says what became of it. A message that was seen only has that said again."""
    with tools.engine.begin() as db:
        row, is_new = asked_about.find(db, account, external_id, message, tools, trace_id)
        if row is None:
            return CommandResult(f"no invoice {external_id!r} in account {account!r}")
        if not is_new:
            return replace(
                _say_again(db, row, tools, "nothing to do: this message was seen before"), is_repeated=True
            )
        match InvoiceStatus(row.status), row.reason:
            case (status, _) if status in AT_ONCE:
                return _take_back(db, row, tools)
            case InvoiceStatus.FAILED, (FailedReason.EXPIRED | FailedReason.NOT_STAMPED):
                return _take_back(db, row, tools)
            case (status, _) if status in UNKNOWN:
                return _ask(db, row, tools)
            case InvoiceStatus.FAILED, FailedReason.NEEDS_PERSON if row.record_id is not None:
                return _ask(db, row, tools)
            case InvoiceStatus.FAILED, _:
                return _say_again(db, row, tools, "refused: its outcome is unknown", CANNOT_KNOW)
            case InvoiceStatus.WITHDRAWN, _:
                return _say_again(db, row, tools, "nothing to do: it is withdrawn", WITHDRAWN_BEFORE)
            case _:
                return _say_again(db, row, tools, f"refused: it is {row.status}", IS_STAMPED)


def _take_back(db: sa.Connection, row: sa.Row[Any], tools: Tools) -> CommandResult:
    moved = advance(
        db,
        row.id,
        target=InvoiceStatus.WITHDRAWN,
        source=InvoiceStatus(row.status),
        now=tools.clock.now(),
        reason=None,
        version=invoices.c.version + 1,
        next_attempt_at=None,
        reminder_at=None,
        enqueued_at=None,
    )
    if moved is not None:
        notify.invoice(db, moved, tools, "invoice.withdrawn")
    return CommandResult("withdrawn", True, None, row.id)


def _ask(db: sa.Connection, row: sa.Row[Any], tools: Tools) -> CommandResult:
    """Note that it is to be taken back once its outcome is known, and have that looked up."""
    now = tools.clock.now()
    wanted: dict[str, Any] = {"withdraw_asked_at": now}
    if row.status == InvoiceStatus.STAMPING:  # a worker is at it: its answer decides
        db.execute(sa.update(invoices).where(invoices.c.id == row.id).values(**wanted))
        return _say_again(db, row, tools, "it is being sent: its answer decides", done=True)
    if row.status == InvoiceStatus.IN_DOUBT:
        wanted |= {"next_attempt_at": now, "enqueued_at": None}
        db.execute(sa.update(invoices).where(invoices.c.id == row.id).values(**wanted))
        return _say_again(db, row, tools, LOOK_UP_FIRST, done=True, task="stamping.reconcile_invoice")
    return look_up_again(db, row, tools, **wanted)


def _say_again(
    db: sa.Connection,
    row: sa.Row[Any],
    tools: Tools,
    text: str,
    *faults: Fault,
    done: bool = False,
    task: str | None = None,
) -> CommandResult:
    asked_about.repeat_status(db, row, tools, *faults)
    return CommandResult(text, done, task, row.id, faults)
