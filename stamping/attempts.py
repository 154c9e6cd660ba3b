"""One call to ContaDigital, as it is remembered: committed before it leaves, closed with how it ended.

Each ending is one line in the log, always with the same keys, and one count for the metrics. Neither names an account,
an RFC or a customer: the invoice's id leads to those who may see them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog

from models.status import AttemptOutcome, Call
from models.tables import attempts, invoices
from stamping.claims import Claimed, LateError
from stamping.tools import Tools

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Ended:
    """How an attempt ended; `number` is None where there was none."""

    number: int | None
    outcome: AttemptOutcome
    http_status: int | None = None
    codigo: int | None = None
    latency_ms: int | None = None
    detail: str | None = None


NO_ATTEMPT = Ended(None, AttemptOutcome.DONE)


def begin(
    claimed: Claimed,
    call: Call,
    tools: Tools,
    *,
    record_id: int | None,
    after: Ended | None = None,
    facts: Mapping[str, Any] | None = None,
) -> int:
    """Commit what is about to be sent, before it leaves; return the attempt's number.

    Also renews the lease, so that a claim never runs out in the middle of a call that it covers, and in the same
    breath closes the attempt `after` which this one comes. `facts` are written on the invoice with it. Raises LateError when the claim has passed to another
    worker: then nothing may be sent.
    """
    now = tools.clock.now()
    fenced = (
        sa.update(invoices)
        .where(
            invoices.c.id == claimed.id,
            invoices.c.claim == claimed.claim,
            invoices.c.claimed_until.is_not(None),
        )
        .values(
            calls=invoices.c.calls + 1,
            claimed_until=now + tools.policy.lease,
            updated_at=now,
            **(facts or {}),
        )
        .returning(invoices.c.id, invoices.c.calls)
        .cte("fenced")
    )
    began = (
        sa.insert(attempts)
        .from_select(
            ["invoice_id", "number", "call", "claim", "record_id", "worker", "started_at"],
            sa.select(
                fenced.c.id,
                fenced.c.calls,
                sa.literal(call, sa.Text),
                sa.literal(claimed.claim, sa.Integer),
                sa.literal(record_id or None, sa.BigInteger),
                sa.literal(tools.worker, sa.Text),
                sa.literal(now, sa.DateTime(timezone=True)),
            ),
        )
        .returning(attempts.c.number)
    )
    closed = after is not None and after.number is not None
    if after is not None and closed:
        began = began.add_cte(
            _closing(claimed.id, after, after.outcome, now)
            .where(sa.exists(sa.select(fenced.c.id)))
            .cte("closed")
        )
    with tools.at_once.begin() as db:
        number: int | None = db.execute(began).scalar_one_or_none()
    if number is None:
        raise LateError(claimed.id)
    if after is not None and closed:
        _note(tools, claimed.id, after, after.outcome, Call.SAVE, claimed.claim, claimed.invoice.trace_id)
    return number


def write(
    db: sa.Connection,
    row: sa.Row[Any],
    call: Call,
    tools: Tools,
    now: datetime,
    *,
    claim: int,
    record_id: int | None,
    detail: str | None = None,
) -> None:
    """Write the row of an attempt that begins; its number is the invoice's count of calls."""
    db.execute(
        sa.insert(attempts).values(
            invoice_id=row.id,
            number=row.calls,
            call=call,
            claim=claim,
            record_id=record_id or None,
            worker=tools.worker,
            started_at=now,
            detail=detail,
        )
    )


def end(
    db: sa.Connection,
    invoice_id: UUID,
    ended: Ended,
    tools: Tools,
    now: datetime,
    *,
    outcome: AttemptOutcome | None = None,
    trace_id: str | None = None,
) -> None:
    """Write how an attempt ended; one that has an end already keeps it."""
    if ended.number is None:
        return
    outcome = outcome or ended.outcome
    row = db.execute(
        _closing(invoice_id, ended, outcome, now).returning(attempts.c.call, attempts.c.claim)
    ).one_or_none()
    if row is not None:
        _note(tools, invoice_id, ended, outcome, row.call, row.claim, trace_id)


def _closing(invoice_id: UUID, ended: Ended, outcome: AttemptOutcome, now: datetime) -> sa.Update:
    return (
        sa.update(attempts)
        .where(
            attempts.c.invoice_id == invoice_id,
            attempts.c.number == ended.number,
            attempts.c.outcome.is_(None),
        )
        .values(
            outcome=outcome,
            finished_at=now,
            http_status=ended.http_status,
            codigo=ended.codigo,
            latency_ms=ended.latency_ms,
            detail=(ended.detail or "")[:1000] or None,
        )
    )


def _note(
    tools: Tools,
    invoice_id: UUID,
    ended: Ended,
    outcome: AttemptOutcome,
    call: str,
    claim: int,
    trace_id: str | None,
) -> None:
    """Count it, and log it: one line an attempt, always with the same keys."""
    tools.meter.attempt(call, outcome, ended.latency_ms)
    log.info(
        "attempt",
        invoice_id=str(invoice_id),
        number=ended.number,
        call=str(call),
        claim=claim,
        outcome=str(outcome),
        http_status=ended.http_status,
        codigo=ended.codigo,
        latency_ms=ended.latency_ms,
        trace_id=trace_id,
        worker=tools.worker,
    )
