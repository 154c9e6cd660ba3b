"""`retry`: try again what stopped, unless that could stamp twice; then it says why."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cfdi.faults import Fault
from models.tables import invoices
from models.transitions import advance
from models.vocabulary import FailedReason, InvoiceStatus
from stamping import notify
from stamping.cancellation.reasons import SUBSTITUTE_CAME_LATE
from stamping.cancellation.substitutes import has_another_substitute
from stamping.intake import asked_about
from stamping.intake.seen_messages import Message
from stamping.texts import not_retried
from stamping.timeline.next_action import LONG_DOUBT
from stamping.tools import Tools

LOOK_UP_FIRST = "its outcome is unknown: it is looked up first, and not sent"


@dataclass(frozen=True)
class CommandResult:
    """What came of it: the task to enqueue with which invoice, or why nothing is done (English, for operators).

    `faults` say the same to a user; `is_repeated` where the message was seen before, and its status only emitted again.
    """

    text: str
    done: bool = False
    task: str | None = None
    invoice_id: UUID | None = None
    faults: tuple[Fault, ...] = ()
    is_repeated: bool = False


def retry(
    account: object,
    external_id: object,
    tools: Tools,
    *,
    message: Message | None = None,
    trace_id: str | None = None,
) -> CommandResult:
    """Set an invoice going again where that is safe, and report its status where there is nothing to do.

    A message that was seen before only has the status reported again.
    """
    now = tools.clock.now()
    with tools.engine.begin() as db:
        row, is_new = asked_about.find(db, account, external_id, message, tools, trace_id)
        if row is None:
            return CommandResult(f"no invoice {external_id!r} in account {account!r}")
        if is_new and _comes_late(db, row):
            asked_about.repeat_status(db, row, tools, SUBSTITUTE_CAME_LATE)
            return CommandResult(
                "refused: another invoice replaces the one that it was to replace",
                faults=(SUBSTITUTE_CAME_LATE,),
            )
        match InvoiceStatus(row.status), row.reason:
            case _ if not is_new:
                text = "nothing to do: this message was seen before"
            case ((InvoiceStatus.ACCEPTED | InvoiceStatus.WAITING), _):
                db.execute(sa.update(invoices).where(invoices.c.id == row.id).values(next_attempt_at=now))
                return CommandResult("due now", True, "stamping.stamp_invoice", row.id)
            case InvoiceStatus.IN_DOUBT, _:
                db.execute(sa.update(invoices).where(invoices.c.id == row.id).values(next_attempt_at=now))
                return CommandResult(
                    LOOK_UP_FIRST, True,
                    "stamping.reconcile_invoice", row.id,
                )  # fmt: skip
            case InvoiceStatus.CANCELLING, _:
                db.execute(sa.update(invoices).where(invoices.c.id == row.id).values(next_attempt_at=now))
                return CommandResult(
                    "asked how the cancellation stands", True, "stamping.settle_cancellation", row.id
                )
            case InvoiceStatus.FAILED, FailedReason.NEEDS_PERSON if row.record_id is not None:
                return look_up_again(db, row, tools)
            case InvoiceStatus.FAILED, FailedReason.NEEDS_PERSON:
                text = (
                    "refused: an answer to saving it was lost and there is no Id to look it up by, so sending it "
                    "again could stamp it twice. Look for it at ContaDigital by its FolioOriginal "
                    f"({external_id!r}), and close it with `timbrado resolve`"
                )
            case InvoiceStatus.FAILED, FailedReason.NOT_STAMPED:
                _accept_again(db, row, tools, reason=None, tries=0)
                return CommandResult(
                    "sent again: a person found that it is not stamped",
                    True,
                    "stamping.stamp_invoice",
                    row.id,
                )
            case InvoiceStatus.FAILED, _:
                text = "refused: the SAT's 72 hours are over for its fecha; send it again with a new one"
            case InvoiceStatus.ON_HOLD, _:
                text = "refused: its connection is not active; fixed (`timbrado connections`), it goes on by itself"
            case InvoiceStatus.REJECTED, _ if _may_be_right_by_now(row):
                _accept_again(db, row, tools)
                return CommandResult(
                    "sent again as it is: what refused it may have changed its mind since", True,
                    "stamping.stamp_invoice", row.id,
                )  # fmt: skip
            case InvoiceStatus.REJECTED, _:
                text = (
                    "refused: its data is wrong (`timbrado status` says what); correct it and send it again"
                )
            case InvoiceStatus.STAMPING, _:
                text = "nothing to do: a worker is at it"
            case InvoiceStatus.DIFFERS, _:
                text = "nothing to do: it is stamped and its CFDI differs from what was sent: accept it, or cancel it"
            case _:
                text = f"nothing to do: it is {row.status}"
        asked_about.repeat_status(db, row, tools)
    faults = (not_retried(row.status, row.reason),) if is_new else ()
    return CommandResult(text, faults=faults, is_repeated=not is_new)


def _comes_late(db: sa.Connection, row: sa.Row[Any]) -> bool:
    """Whether it would be a second substitute of one invoice, sent again."""
    may_go = row.status == InvoiceStatus.REJECTED or row.reason == FailedReason.NOT_STAMPED
    return (
        may_go
        and row.replaces_id is not None
        and has_another_substitute(db, row.replaces_id, row.external_id)
    )


def look_up_again(db: sa.Connection, row: sa.Row[Any], tools: Tools, **values: Any) -> CommandResult:
    """Have the outcome of one that waits for a person looked up again."""
    now = tools.clock.now()
    moved = advance(
        db,
        row.id,
        target=InvoiceStatus.IN_DOUBT,
        source=InvoiceStatus.FAILED,
        now=now,
        reason=None,
        errors=[],
        doubt="stamp",
        doubt_since=now,
        reminder_at=now + LONG_DOUBT,
        lookups=0,
        tries=0,
        next_attempt_at=now,
        enqueued_at=None,
        version=invoices.c.version + 1,
        **values,
    )
    if moved is not None:
        notify.invoice(db, moved, tools, "invoice.in_doubt")
    return CommandResult(LOOK_UP_FIRST, True, "stamping.reconcile_invoice", row.id)


def _accept_again(db: sa.Connection, row: sa.Row[Any], tools: Tools, **values: Any) -> None:
    now = tools.clock.now()
    moved = advance(
        db,
        row.id,
        target=InvoiceStatus.ACCEPTED,
        source=InvoiceStatus(row.status),
        now=now,
        errors=[],
        next_attempt_at=now,
        enqueued_at=None,
        version=invoices.c.version + 1,
        **values,
    )
    if moved is not None:
        notify.invoice(db, moved, tools, "invoice.accepted")


def _may_be_right_by_now(row: sa.Row[Any]) -> bool:
    """Whether only ContaDigital or the SAT found it wrong: a name or a postcode may be registered there meanwhile."""
    return bool(row.errors) and all(error.get("source") != "timbrado" for error in row.errors)
