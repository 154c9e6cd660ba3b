"""One call to ContaDigital, as it is remembered: committed before it leaves, closed with how it ended.

Each ending is one line in the log, always with the same keys, and one count for the metrics. Neither names an account,
an RFC or a customer: the invoice's id leads to those who may see them.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog

from models.status import AttemptOutcome, Call
from models.tables import attempts, invoices
from models.transitions import hold_fence
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


def begin(claimed: Claimed, call: Call, tools: Tools, *, record_id: int | None, **values: Any) -> int:
    """Commit what is about to be sent, before it leaves; return the attempt's number.

    Also renews the lease, so that a claim never runs out in the middle of a call that it covers. Raises LateError
    when the claim has passed to another worker: then nothing may be sent.
    """
    now = tools.clock.now()
    with tools.engine.begin() as db:
        row = hold_fence(
            db,
            claimed.id,
            claim=claimed.claim,
            now=now,
            calls=invoices.c.calls + 1,
            claimed_until=now + tools.policy.lease,
            **values,
        )
        if row is None:
            raise LateError(claimed.id)
        write(db, row, call, tools, now, claim=claimed.claim, record_id=record_id)
    return row.calls  # type: ignore[no-any-return]  # integer column


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
        .returning(attempts.c.call, attempts.c.claim)
    ).one_or_none()
    if row is None:
        return
    tools.meter.attempt(row.call, outcome, ended.latency_ms)
    log.info(
        "attempt",
        invoice_id=str(invoice_id),
        number=ended.number,
        call=row.call,
        claim=row.claim,
        outcome=str(outcome),
        http_status=ended.http_status,
        codigo=ended.codigo,
        latency_ms=ended.latency_ms,
        trace_id=trace_id,
        worker=tools.worker,
    )
