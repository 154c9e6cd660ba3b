"""One call to ContaDigital, as it is remembered: committed before it leaves, closed with how it ended.

Each ending is one line in the log, always with the same keys, and one count for the metrics. Neither names an account,
an RFC or a customer: the invoice's id leads to those who may see them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog

from models.compiled import Compiled, param
from models.tables import attempts, invoices
from models.vocabulary import AttemptOutcome, Call
from stamping.claims import Claimed, LateError
from stamping.tools import Tools

log = structlog.get_logger(__name__)
_INSTANT = sa.DateTime(timezone=True)


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
    breath closes the attempt `after` which this one comes. `facts` are written on the invoice with it. Raises
    LateError when the claim has passed to another worker: then nothing may be sent.
    """
    now = tools.clock.now()
    closes = after is not None and after.number is not None
    parameters: dict[str, Any] = {
        "invoice_id": claimed.id,
        "fence": claimed.claim,
        "until": now + tools.policy.lease,
        "now": now,
        "call": str(call),
        "record": record_id or None,
        "by": tools.worker,
        **{f"fact_{name}": value for name, value in (facts or {}).items()},
    }
    if after is not None and closes:
        parameters |= {"attempt": after.number, **_ending(after, after.outcome, now)}
    with tools.at_once.begin() as db:
        number: int | None = (
            _beginning(tuple(sorted(facts or ())), closes).run(db, **parameters).scalar_one_or_none()
        )
    if number is None:
        if after is not None:
            came_late(claimed, after, tools)
        raise LateError(claimed.id)
    if after is not None and closes:
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
    row = _END.run(
        db, invoice_id=invoice_id, attempt=ended.number, **_ending(ended, outcome, now)
    ).one_or_none()
    if row is not None:
        _note(tools, invoice_id, ended, outcome, row.call, row.claim, trace_id)


def begun(invoice_id: UUID, claim: int) -> sa.Select[Any]:
    """The last call that a claim began and nobody heard the end of."""
    return (
        sa.select(attempts.c.call, attempts.c.number)
        .where(
            attempts.c.invoice_id == invoice_id,
            attempts.c.claim == claim,
            attempts.c.outcome.is_(None),
        )
        .order_by(attempts.c.number.desc())
        .limit(1)
    )


def came_late(claimed: Claimed, ended: Ended, tools: Tools) -> None:
    """Mark an attempt whose answer came when its claim had passed to another: `late`, also where the sweep has taken
    it for lost meanwhile. What the answer was is kept with it."""
    if ended.number is None:
        return
    now = tools.clock.now()
    detail = f"{ended.outcome}, but its claim had passed to another worker. {ended.detail or ''}".strip()
    told = replace(ended, detail=detail)
    with tools.engine.begin() as db:
        row = _END_LATE.run(
            db, invoice_id=claimed.id, attempt=ended.number, **_ending(told, AttemptOutcome.LATE, now)
        ).one_or_none()
    if row is not None:
        trace_id = claimed.invoice.trace_id
        _note(tools, claimed.id, told, AttemptOutcome.LATE, row.call, row.claim, trace_id)


def _ending(ended: Ended, outcome: AttemptOutcome, now: datetime) -> dict[str, Any]:
    return {
        "outcome": str(outcome),
        "finished": now,
        "http_status": ended.http_status,
        "codigo": ended.codigo,
        "latency_ms": ended.latency_ms,
        "detail": (ended.detail or "")[:1000] or None,
    }


def _closing(*also: AttemptOutcome) -> sa.Update:
    is_open = attempts.c.outcome.is_(None)
    return (
        sa.update(attempts)
        .where(
            attempts.c.invoice_id == param("invoice_id"),
            attempts.c.number == param("attempt"),
            sa.or_(is_open, attempts.c.outcome.in_(also)) if also else is_open,
        )
        .values(
            outcome=param("outcome"),
            finished_at=param("finished"),
            http_status=param("http_status"),
            codigo=param("codigo"),
            latency_ms=param("latency_ms"),
            detail=param("detail"),
        )
    )


_END = Compiled(lambda: _closing().returning(attempts.c.call, attempts.c.claim))
_END_LATE = Compiled(lambda: _closing(AttemptOutcome.LOST).returning(attempts.c.call, attempts.c.claim))


@cache
def _beginning(facts: tuple[str, ...], closes: bool) -> Compiled:
    """Return the statement that fences, counts, and writes the new attempt; one for each set of facts."""

    def build() -> Any:
        fenced = (
            sa.update(invoices)
            .where(
                invoices.c.id == param("invoice_id"),
                invoices.c.claim == param("fence"),
                invoices.c.claimed_until.is_not(None),
            )
            .values(
                calls=invoices.c.calls + 1,
                claimed_until=param("until"),
                updated_at=param("now", _INSTANT),
                **{name: param(f"fact_{name}") for name in facts},
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
                    param("call", sa.Text),
                    param("fence", sa.Integer),
                    param("record", sa.BigInteger),
                    param("by", sa.Text),
                    param("now", _INSTANT),
                ),
            )
            .returning(attempts.c.number)
        )
        if closes:
            still_ours = sa.exists(sa.select(fenced.c.id))
            began = began.add_cte(_closing().where(still_ours).cte("closed"))
        return began

    return Compiled(build)


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
