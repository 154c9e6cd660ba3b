"""The inbox: submissions that a client wrote in its own transaction, taken in even if no message ever comes.

The inbox may lie in the caller's own database. A row is marked as taken only after its invoice is safe in ours, and
taking one in twice is harmless: the pair (account, external_id) sees to that.
"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from models.tables import inbox
from stamping.cancellation import cancel, replace
from stamping.intake import dead_letters, operator_retry, submit, withdraw
from stamping.intake.seen_messages import Message
from stamping.tools import Tools

log = structlog.get_logger(__name__)
BATCH = 100
TASKS = {
    "submit": "stamping.submit_invoice",
    "cancel": "stamping.cancel_invoice",
    "retry": "stamping.retry_invoice",
    "withdraw": "stamping.withdraw_invoice",
    "replace": "stamping.replace_invoice",
}
"""The task that does the same as a row of this kind."""


def _next() -> sa.Select[Any]:
    """The oldest row that waits, but none behind another of its invoice, which a worker is at: `withdraw` would find no
    invoice yet, and an older correction would come last.
    """
    before = inbox.alias("before")
    pair = ("account", "external_id")
    is_behind = (
        sa.exists()
        .where(
            before.c.taken_at.is_(None),
            before.c.created_at < inbox.c.created_at,
            *(before.c.payload[name].astext == inbox.c.payload[name].astext for name in pair),
        )
        .correlate(inbox)
    )
    return (
        sa.select(inbox)
        .where(inbox.c.taken_at.is_(None), ~is_behind)
        .order_by(inbox.c.created_at)
        .limit(1)
        .with_for_update(skip_locked=True, of=inbox)
    )


def take(tools: Tools) -> Iterator[submit.Accepted | submit.Settled]:
    """Take in what waits, row by row; two at once do not take the same."""
    for _ in range(BATCH):
        with tools.inbox_engine.begin() as theirs:
            row = theirs.execute(_next()).one_or_none()
            if row is None:
                return
            try:
                taken = _take_one(row, tools)
            except Exception as error:
                if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError | DataError):
                    raise  # the database is away: all of it waits
                # a bug of ours must not stop all that comes behind it
                log.exception("inbox_row_dead_lettered", row=str(row.id))
                dead_letters.store(
                    row.payload,
                    tools,
                    reason=f"it met {type(error).__name__}",
                    origin=dead_letters.Origin(task=TASKS.get(row.kind, row.kind), queue="inbox"),
                    trace_id=row.trace_id,
                )
                taken = submit.Settled(None, None, "unreadable")
            theirs.execute(sa.update(inbox).where(inbox.c.id == row.id).values(taken_at=sa.func.now()))
        yield taken


def _take_one(row: sa.Row[Any], tools: Tools) -> submit.Accepted | submit.Settled:
    written_at = min(row.created_at, tools.clock.now())  # by the clock of another database
    message = Message(str(row.id), TASKS.get(row.kind, row.kind), written_at)
    if row.kind == "submit":
        return submit.submit(row.payload, tools, message=message, trace_id=row.trace_id)
    if row.kind == "replace" and isinstance(row.payload, dict):
        account, external_id, invoice = (row.payload.get(n) for n in ("account", "external_id", "invoice"))
        return replace.replace(account, external_id, invoice, tools, message=message, trace_id=row.trace_id)
    return _other(row, message, tools)


def _other(row: sa.Row[Any], message: Message, tools: Tools) -> submit.Settled:
    payload = row.payload if isinstance(row.payload, dict) else {}
    account, external_id = payload.get("account"), payload.get("external_id")
    if row.kind == "cancel":
        motivo, sustitucion = payload.get("motivo"), payload.get("uuid_sustitucion")
        cancel.request(
            account, external_id, motivo, sustitucion, tools, message=message, trace_id=row.trace_id
        )
    elif row.kind == "retry":
        operator_retry.retry(account, external_id, tools, message=message, trace_id=row.trace_id)
    elif row.kind == "withdraw":
        withdraw.withdraw(account, external_id, tools, message=message, trace_id=row.trace_id)
    else:
        raise ValueError(f"no request of kind {row.kind}")
    return submit.Settled(None, None, row.kind)
