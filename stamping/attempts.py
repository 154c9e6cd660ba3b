"""The work on one claimed invoice, call by call: each is committed before it leaves, and closed with how it ended.

Each ending is one line in the log, always with the same keys, and one count for the metrics. Neither names an account,
an RFC or a customer: the invoice's id leads to those who may see them.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
import structlog

from contadigital.errors import ContaDigitalError
from contadigital.records import Record
from models.compiled import Compiled, param
from models.tables import attempts, invoices
from models.transitions import write_fenced
from models.vocabulary import AttemptOutcome, Call
from net.may_send import fenced
from stamping import retries
from stamping.claims import Claimed, LateError
from stamping.prepare import Prepared
from stamping.retries import Failure
from stamping.tools import Tools

log = structlog.get_logger(__name__)
T = TypeVar("T")
_INSTANT = sa.DateTime(timezone=True)


@dataclass(frozen=True)
class Ended:
    """How one call ended; `number` is None where nothing was written of it before it left.

    Then `call` says which call of the preparation failed, and its row is written with the end of the attempt; without
    either there was no call.
    """

    number: int | None
    outcome: AttemptOutcome
    http_status: int | None = None
    codigo: int | None = None
    latency_ms: int | None = None
    detail: str | None = None
    call: Call | None = None


NO_CALL = Ended(None, AttemptOutcome.DONE)


class Attempt:
    """The work on one claimed invoice: the claim, what was made ready, and the call that was made last.

    `ask` is the one way in which a call of it is made; `ended` is then how that call ended, and goes into the database
    with whatever is committed next.
    """

    prepared: Prepared
    """What is sent, once prepare.py has made it ready."""

    def __init__(self, claimed: Claimed, tools: Tools, begun: Prepared | None = None) -> None:
        """With `begun` the commit that claimed it has written down its save, with this content, as call 1."""
        self.claimed, self.tools = claimed, tools
        self.is_begun = begun is not None
        if begun is not None:
            self.prepared = begun
        self.ended = NO_CALL
        self.call: Call | None = None
        self.asked_id: int | None = None
        """The Id that the call addresses; None or 0 for a new record."""
        self.saved_id: int | None = None
        """The Id under which this attempt saved the invoice."""
        self.record: Record | None = None
        """What ContaDigital answered, once it calls the invoice stamped."""
        self._claimed_at = claimed.taken_at

    @property
    def invoice(self) -> sa.Row[Any]:
        """The invoice as it was claimed."""
        return self.claimed.invoice

    @property
    def connection(self) -> sa.Row[Any]:
        """The connection as it was claimed."""
        return self.claimed.connection

    @property
    def account(self) -> str:
        """Apunto's id of the emisor's account."""
        return self.claimed.account

    @property
    def is_elsewhere(self) -> bool:
        """Whether its record's Id was issued at another address than the connection has now: there it is another's."""
        issued_at = self.invoice.record_base_url
        return issued_at is not None and issued_at != self.connection.base_url

    @property
    def doubted_for(self) -> timedelta:
        """For how long its outcome has been unknown; zero where it is not."""
        since = self.invoice.doubt_since
        return self.tools.clock.now() - since if since is not None else timedelta(0)

    def ask(
        self,
        call: Call,
        send: Callable[[], T],
        *,
        record_id: int | None,
        facts: Mapping[str, Any] | None = None,
    ) -> T:
        """Commit what is about to be sent, send it, and remember how it ended.

        `facts` are written on the invoice with it. The bytes leave only while the claim is young enough to be ours
        still: a process may stand still for an hour between its commit and its call. Raises what the call raises, and
        LateError where the claim has passed to another worker: then nothing was sent.
        """
        tools = self.tools
        number = 1 if self.is_begun else self._begin(call, record_id, facts)
        self.is_begun = False
        self.call, self.asked_id = call, record_id
        tools.failpoints.reach(f"before_{call}")
        began = time.monotonic()
        try:
            with fenced(self.is_young):
                answer = send()
        except ContaDigitalError as error:
            self.fails(error, number, began)
            raise
        codigo = answer.codigo if isinstance(answer, Record) else None
        self.ended = Ended(number, AttemptOutcome.DONE, 200, codigo, _ms(began))
        tools.failpoints.reach(f"after_{call}")
        return answer

    def fails(self, error: Exception, number: int | None = None, began: float | None = None) -> Failure:
        """Remember that a call failed, and return what comes next."""
        failure = retries.decide(error)
        self.ended = Ended(
            number,
            failure.outcome,
            failure.http_status,
            failure.codigo,
            _ms(began) if began is not None else None,
            failure.text,
            retries.call_of(error) if number is None and isinstance(error, ContaDigitalError) else None,
        )
        return failure

    def note(self, detail: str | None = None, outcome: AttemptOutcome | None = None) -> None:
        """Say more of how the last call ended."""
        self.ended = replace(
            self.ended, detail=detail or self.ended.detail, outcome=outcome or self.ended.outcome
        )

    def is_young(self) -> bool:
        """Whether so little of the lease is gone that nobody can have taken the claim over."""
        return self.tools.clock.elapsed() - self._claimed_at < self.tools.policy.lease.total_seconds() / 2

    def _begin(self, call: Call, record_id: int | None, facts: Mapping[str, Any] | None) -> int:
        """Commit what is about to be sent; renew an aged lease, and close the call before it, in the same commit."""
        tools, claimed, before = self.tools, self.claimed, self.ended
        now = tools.clock.now()
        elapsed = tools.clock.elapsed()
        # a young one is left: its column is indexed, and a row whose indexed columns stay is updated in place
        renews = elapsed - self._claimed_at > tools.policy.lease.total_seconds() * YOUNG
        if renews:
            self._claimed_at = elapsed
        closes = before.number is not None
        parameters: dict[str, Any] = {
            "invoice_id": claimed.id,
            "fence": claimed.claim,
            "now": now,
            "call": str(call),
            "record": record_id or None,
            "by": tools.worker,
            "dialect": self.prepared.dialect_version if hasattr(self, "prepared") else 0,
            **{f"fact_{name}": value for name, value in (facts or {}).items()},
        }
        if renews:
            parameters["until"] = now + tools.policy.lease
        if closes:
            parameters |= {"attempt": before.number, **ending(before, now)}
        statement = _beginning(tuple(sorted(facts or ())), closes, renews)

        def commit() -> int | None:
            return statement.run(tools.at_once, **parameters).scalar_one_or_none()  # type: ignore[no-any-return]  # a number

        number = with_retry(commit) if closes else commit()  # with an answer in hand that nobody else knows
        if number is None:
            came_late(claimed, before, tools)
            raise LateError(claimed.id)
        if closes:
            log_ending(
                tools,
                claimed.id,
                before,
                str(self.call),
                claimed.claim,
                self.invoice.trace_id,
            )
        self.ended = NO_CALL
        return number


YOUNG = 0.1
"""The part of a lease that may be gone before a call without a renewal; a call takes a quarter of it at most."""
TIMEOUT = 30.0
"""Seconds for which an answer in hand is offered to a database that is restarting."""


def with_retry(commit: Callable[[], T]) -> T:
    """Commit what an answer said, also while PostgreSQL restarts; the fence makes a second try harmless."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return commit()
        except sa.exc.DBAPIError as error:
            is_away = isinstance(error, sa.exc.OperationalError) or error.connection_invalidated
            if not is_away or time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


def write(
    db: sa.Connection,
    invoice_id: UUID,
    number: int,
    call: Call,
    tools: Tools,
    now: datetime,
    *,
    claim: int,
    record_id: int | None,
    detail: str | None = None,
) -> None:
    """Write the row of a call that begins; `number` is the invoice's count of calls."""
    db.execute(
        sa.insert(attempts).values(
            invoice_id=invoice_id,
            number=number,
            call=call,
            claim=claim,
            record_id=record_id or None,
            worker=tools.worker,
            started_at=now,
            detail=detail,
        )
    )


def close(db: sa.Connection, attempt: Attempt, now: datetime) -> None:
    """Write how the last call of an attempt ended; LateError where that takes a claim that has passed to another."""
    ended, tools, claimed = attempt.ended, attempt.tools, attempt.claimed
    if ended.number is not None:
        end(db, claimed.id, ended, tools, now, trace_id=claimed.invoice.trace_id)
    elif (
        ended.call is not None
    ):  # of the preparation: nothing of the invoice had left, so it was not written before
        row = write_fenced(db, claimed.id, claim=claimed.claim, now=now, calls=invoices.c.calls + 1)
        if row is None:
            raise LateError(claimed.id)
        number = db.execute(sa.select(invoices.c.calls).where(invoices.c.id == claimed.id)).scalar_one()
        write(db, claimed.id, number, ended.call, tools, now, claim=claimed.claim, record_id=None)
        end(db, claimed.id, replace(ended, number=number), tools, now, trace_id=claimed.invoice.trace_id)


def end(
    db: sa.Connection,
    invoice_id: UUID,
    ended: Ended,
    tools: Tools,
    now: datetime,
    *,
    trace_id: str | None = None,
) -> None:
    """Write how a call ended; one that has an end already keeps it."""
    if ended.number is None:
        return
    row = _END.run(db, invoice_id=invoice_id, attempt=ended.number, **ending(ended, now)).one_or_none()
    if row is not None:
        log_ending(tools, invoice_id, ended, row.call, row.claim, trace_id)


def begun(invoice_id: UUID, claim: int) -> sa.Select[Any]:
    """The last call that a claim began and that never ended."""
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
    late = replace(ended, detail=detail, outcome=AttemptOutcome.LATE)
    with tools.engine.begin() as db:
        row = _END_LATE.run(
            db, invoice_id=claimed.id, attempt=ended.number, **ending(late, now)
        ).one_or_none()
    if row is not None:
        trace_id = claimed.invoice.trace_id
        log_ending(tools, claimed.id, late, row.call, row.claim, trace_id)


def ending(ended: Ended, now: datetime) -> dict[str, Any]:
    """Return the columns of a call that has ended."""
    return {
        "outcome": str(ended.outcome),
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
def _beginning(facts: tuple[str, ...], closes: bool, renews: bool) -> Compiled:
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
                updated_at=param("now", _INSTANT),
                **({"claimed_until": param("until")} if renews else {}),
                **{name: param(f"fact_{name}") for name in facts},
            )
            .returning(invoices.c.id, invoices.c.calls)
            .cte("fenced")
        )
        began = (
            sa.insert(attempts)
            .from_select(
                [
                    "invoice_id",
                    "number",
                    "call",
                    "claim",
                    "record_id",
                    "worker",
                    "dialect_version",
                    "started_at",
                ],
                sa.select(
                    fenced.c.id,
                    fenced.c.calls,
                    param("call", sa.Text),
                    param("fence", sa.Integer),
                    param("record", sa.BigInteger),
                    param("by", sa.Text),
                    param("dialect", sa.Integer),
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


def log_ending(
    tools: Tools,
    invoice_id: UUID,
    ended: Ended,
    call: str,
    claim: int,
    trace_id: str | None,
) -> None:
    """Count it, and log it: one line an attempt, always with the same keys."""
    tools.meter.attempt(call, ended.outcome, ended.latency_ms)
    log.info(
        "attempt",
        invoice_id=str(invoice_id),
        number=ended.number,
        call=str(call),
        claim=claim,
        outcome=str(ended.outcome),
        http_status=ended.http_status,
        codigo=ended.codigo,
        latency_ms=ended.latency_ms,
        trace_id=trace_id,
        worker=tools.worker,
    )
