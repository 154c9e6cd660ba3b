"""How a claim ends: the new status, the attempt and the event, in one commit.

Every function here names the claim. When the claim has passed to another worker it writes nothing of the invoice,
marks the attempt `late`, and raises LateError: whoever holds the claim now finds out the truth by looking it up.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

from cfdi.faults import Fault
from models.compiled import Compiled, param
from models.tables import EVENT_COLUMNS, connections, documents, invoices
from models.tables import attempts as attempts_table
from models.transitions import advance, sources_of, write_fenced
from models.vocabulary import (
    SENDS,
    AttemptOutcome,
    BrokenReason,
    Call,
    ConnectionStatus,
    FailedReason,
    InvoiceStatus,
)
from stamping import attempts, notify
from stamping.attempts import NO_ATTEMPT, Ended
from stamping.claims import Claimed, LateError
from stamping.connections import suspend
from stamping.limits import concurrency
from stamping.limits.backoff import before_lookup, before_try
from stamping.outcome import Failed, InDoubt, Later, OnHold, Outcome, Rejected, Stamped
from stamping.tools import Tools
from stamping.verify import Verified


@contextmanager
def one_commit(claimed: Claimed, tools: Tools, ended: Ended) -> Iterator[tuple[sa.Connection, datetime]]:
    """Open the commit in which a claim ends, with its attempt closed in it; a late one leaves only that mark."""
    now = tools.clock.now()
    tools.failpoints.reach("before_settle")
    try:
        with tools.engine.begin() as db:
            close(db, claimed, ended, tools, now)
            yield db, now
    except LateError:
        attempts.came_late(claimed, ended, tools)
        raise
    tools.failpoints.reach("after_settle")


def close(db: sa.Connection, claimed: Claimed, ended: Ended, tools: Tools, now: datetime) -> None:
    """Close the attempt of a claim."""
    attempts.end(db, claimed.id, ended, tools, now, trace_id=claimed.invoice.trace_id)


def move(
    db: sa.Connection, claimed: Claimed, target: InvoiceStatus, now: datetime, **values: Any
) -> sa.Row[Any]:
    """Move the invoice under our claim, or raise LateError."""
    row = advance(db, claimed.id, target=target, claim=claimed.claim, now=now, **values)
    if row is None:
        raise LateError(claimed.id)
    return row


_INSTANT = sa.DateTime(timezone=True)
_STAMPED = Compiled(
    lambda: (
        sa.update(invoices)
        .where(
            invoices.c.id == param("invoice_id"),
            invoices.c.claim == param("fence"),
            invoices.c.status.in_(sorted(sources_of(InvoiceStatus.STAMPED) - {InvoiceStatus.CANCELLING})),
        )
        .values(
            status=InvoiceStatus.STAMPED,
            version=invoices.c.version + 1,
            claimed_until=None,
            claimed_by=None,
            uuid=param("new_uuid"),
            serie=param("new_serie"),
            folio=param("new_folio"),
            fecha_timbrado=param("new_fecha_timbrado"),
            stamped_at=param("now", _INSTANT),
            updated_at=param("now", _INSTANT),
            record_id=param("new_record_id"),
            id_honoured=param("new_id_honoured"),
            tries=0,
            doubt=None,
            next_attempt_at=None,
            reminder_at=None,
            pdf_due_at=param("pdf_due"),
            mail_due_at=param("mail_due"),
        )
        .returning(*EVENT_COLUMNS)
    )
)
_OF_A_DOCUMENT = ("kind", "key", "sha256", "bytes", "checks", "quarantined_reason")


@cache
def _documents(number: int) -> Compiled:
    """Return the statement that writes so many documents at once."""
    return Compiled(
        lambda: sa.insert(documents).values(
            [
                {
                    "invoice_id": param("invoice_id", sa.Uuid),
                    "stored_at": param("stored_at", _INSTANT),
                    **{name: param(f"{name}_{place}", documents.c[name].type) for name in _OF_A_DOCUMENT},
                }
                for place in range(number)
            ]
        )
    )


def stamped(
    claimed: Claimed, tools: Tools, verified: Verified, ended: Ended, *, asked_id: int | None
) -> Outcome:
    """The CFDI exists and its XML is safe: say so. `asked_id` is the saved Id that was stamped or looked up."""
    report, record = verified.report, verified.record
    wants_mail = any(each.strip() for each in claimed.invoice.content.get("send_to") or ())
    honoured = asked_id == record.id if asked_id else None
    with one_commit(claimed, tools, ended) as (db, now):
        row = _STAMPED.run(
            db,
            invoice_id=claimed.id,
            fence=claimed.claim,
            now=now,
            new_uuid=report.uuid,
            new_serie=report.serie or record.serie or claimed.invoice.serie,
            new_folio=report.folio or record.folio,
            new_fecha_timbrado=report.fecha_timbrado,
            new_record_id=record.id,
            new_id_honoured=honoured,
            pdf_due=now if verified.lacks_pdf else None,
            mail_due=now if wants_mail else None,
        ).one_or_none()
        if row is None:
            raise LateError(claimed.id)
        _write_documents(
            db, claimed, verified, now
        )  # now that it is ours: whoever took over may have written them
        notify.invoice(db, row, tools, "invoice.stamped", documents=verified.documents)
        if honoured is not None:
            learn(db, claimed, now, honours_id=honoured)
        suspend.count_stamp(db, claimed.connection, record.stamps_left, tools, now)
        (concurrency.decrease if concurrency.is_slow(ended.latency_ms, tools) else concurrency.increase)(
            db, claimed.connection, tools, now
        )
    return Stamped(claimed.account, report.uuid or "", lacks_pdf=verified.lacks_pdf, mail=wants_mail)


def _write_documents(db: sa.Connection, claimed: Claimed, verified: Verified, now: datetime) -> None:
    values = {
        f"{name}_{place}": document[name]
        for place, document in enumerate(verified.documents)
        for name in _OF_A_DOCUMENT
    }
    _documents(len(verified.documents)).run(db, invoice_id=claimed.id, stored_at=now, **values)


def quarantined(
    claimed: Claimed, tools: Tools, verified: Verified, ended: Ended, *, facts: dict[str, Any] | None = None
) -> Outcome:
    """What came back can't be believed: it is kept aside, a person must look, and nothing is sent again.

    `facts` are written with it: the Id that it is looked up by, where a person asks for that.
    """
    faults = notify.evidence_faults(verified.report)
    with one_commit(claimed, tools, ended) as (db, now):
        _fail(db, claimed, tools, now, FailedReason.NEEDS_PERSON, faults, **(facts or {}))
        _write_documents(db, claimed, verified, now)
    return Failed(claimed.account)


def rejected(claimed: Claimed, tools: Tools, faults: Sequence[Fault], ended: Ended) -> Outcome:
    """Its data is wrong, in our word, ContaDigital's or the SAT's: the user corrects it and sends it again."""
    with one_commit(claimed, tools, ended) as (db, now):
        row = move(
            db,
            claimed,
            InvoiceStatus.REJECTED,
            now,
            version=invoices.c.version + 1,
            errors=[fault.as_dict() for fault in faults],
            next_attempt_at=None,
            reminder_at=None,
            tries=0,
        )
        notify.invoice(db, row, tools, "invoice.rejected")
    return Rejected(claimed.account)


def later(
    claimed: Claimed,
    tools: Tools,
    ended: Ended,
    *,
    wait: timedelta | None = None,
    throttle: bool = False,
    forget_record: bool = False,
    in_vain: bool = True,
    never_sent: bool = False,
) -> Outcome:
    """Certainly not stamped, and worth another try: wait, by the table and not by the broker.

    One that only had to let another go first (not `in_vain`) has failed at nothing, and waits no longer each time.
    Where nothing of it has ever left (`never_sent`), the date that it was given for this try is taken back.
    """
    tries = claimed.invoice.tries + (1 if in_vain else 0)
    changes: dict[str, Any] = {}
    if forget_record:
        changes = {"record_id": None, "record_empresa": None, "record_hash": None}
    delay = before_try(max(tries, 1))
    if wait is not None:
        delay = max(delay, wait)
    with one_commit(claimed, tools, ended) as (db, now):
        if never_sent and claimed.invoice.fecha is None:
            changes |= {"fecha": None, "expires_at": None, "reminder_at": _delay_to_tell(claimed, tools, now)}
        move(
            db,
            claimed,
            InvoiceStatus.WAITING,
            now,
            next_attempt_at=now + delay,
            tries=tries,
            **changes,
        )
        if throttle:
            db.execute(
                sa.update(connections)
                .where(connections.c.account == claimed.account)
                .values(throttled_until=now + (wait or delay), updated_at=now)
            )
            concurrency.decrease(db, claimed.connection, tools, now)
    return Later(claimed.account, delay)


def _delay_to_tell(claimed: Claimed, tools: Tools, now: datetime) -> datetime | None:
    """When the user must be told that it takes long; None where he was."""
    if claimed.invoice.last_reminder is not None:
        return None
    at: datetime = claimed.invoice.created_at + tools.policy.delayed_after
    return max(at, now)


def in_doubt(
    claimed: Claimed,
    tools: Tools,
    ended: Ended,
    *,
    doubt: str,
    facts: dict[str, Any] | None = None,
) -> Outcome:
    """An answer was lost: it may be stamped. It is looked up, and not sent again before that has an end.

    `facts` are written with it: the Id to look it up by, where that is known only now.
    """
    delay = before_lookup(0)
    with one_commit(claimed, tools, ended) as (db, now):
        row = move(
            db,
            claimed,
            InvoiceStatus.IN_DOUBT,
            now,
            version=invoices.c.version + 1,
            doubt=doubt,
            doubt_since=now,
            lookups=0,
            tries=0,
            next_attempt_at=now + delay,
            **(facts or {}),
        )
        notify.invoice(db, row, tools, "invoice.in_doubt")
        if concurrency.is_slow(ended.latency_ms, tools):
            concurrency.decrease(db, claimed.connection, tools, now)
    return InDoubt(claimed.account, delay)


def after_a_bug(claimed: Claimed, tools: Tools) -> None:
    """Give the claim back in the middle of the work: in doubt where something may have left, else as a failed try."""
    with tools.engine.begin() as db:
        open_call = db.execute(attempts.begun(claimed.id, claimed.claim)).one_or_none()
    if open_call is None:
        later(claimed, tools, NO_ATTEMPT)
        return
    ended = Ended(open_call.number, AttemptOutcome.LOST, detail="a bug of ours: the log has it")
    in_doubt(claimed, tools, ended, doubt=open_call.call)


def on_hold(
    claimed: Claimed, tools: Tools, ended: Ended, *, reason: BrokenReason, detail: dict[str, Any]
) -> Outcome:
    """The refusal concerns the account: break the connection, once, and hold this invoice without spending it."""
    with one_commit(claimed, tools, ended) as (db, now):
        row = move(
            db,
            claimed,
            InvoiceStatus.ON_HOLD,
            now,
            version=invoices.c.version + (0 if claimed.is_probe else 1),
            next_attempt_at=None,
            tries=0,
        )
        broken = suspend.break_connection(
            db,
            claimed.account,
            reason,
            detail,
            tools,
            now,
            through=claimed.connection,
        )
        connection = (
            broken or db.execute(sa.select(connections).where(connections.c.account == claimed.account)).one()
        )
        if claimed.is_probe:
            return OnHold(claimed.account)
        if connection.status == ConnectionStatus.ACTIVE:
            # mended while our call was under way: what we were refused for is no longer true
            advance(db, claimed.id, target=InvoiceStatus.WAITING, now=now, next_attempt_at=now)
            return Later(claimed.account, timedelta(0))
        notify.invoice(db, row, tools, "invoice.on_hold", connection=connection)
    return OnHold(claimed.account)


def on_hold_as_it_stands(
    claimed: Claimed, tools: Tools, ended: Ended, *, reason: BrokenReason, detail: dict[str, Any]
) -> None:
    """The refusal of a look-up concerns the account: break the connection. What was asked after stays as it is, and is
    asked after again once the connection is back."""
    with one_commit(claimed, tools, ended) as (db, now):
        stay(db, claimed, now, next_attempt_at=now + suspend.CONNECTION_BACK)
        suspend.break_connection(
            db,
            claimed.account,
            reason,
            detail,
            tools,
            now,
            through=claimed.connection,
        )
    suspend.put_on_hold(claimed.account, tools)


def failed(
    claimed: Claimed, tools: Tools, reason: FailedReason, faults: Sequence[Fault], ended: Ended = NO_ATTEMPT
) -> Outcome:
    """Given up, with a reason that a person can read."""
    with one_commit(claimed, tools, ended) as (db, now):
        _fail(db, claimed, tools, now, reason, faults)
    return Failed(claimed.account)


def _fail(
    db: sa.Connection,
    claimed: Claimed,
    tools: Tools,
    now: datetime,
    reason: FailedReason,
    faults: Sequence[Fault],
    **values: Any,
) -> None:
    row = move(
        db,
        claimed,
        InvoiceStatus.FAILED,
        now,
        version=invoices.c.version + 1,
        reason=reason,
        errors=[fault.as_dict() for fault in faults],
        next_attempt_at=None,
        reminder_at=None,
        **values,
    )
    notify.invoice(db, row, tools, "invoice.failed")


def proven_no(claimed: Claimed, tools: Tools, ended: Ended, *, wait: timedelta = timedelta(0)) -> Outcome:
    """The doubt ended in a no that can be believed: the same Id may be stamped again (or, a save, made again)."""
    with one_commit(claimed, tools, ended) as (db, now):
        db.execute(
            sa.update(attempts_table)
            .where(
                attempts_table.c.invoice_id == claimed.id,
                attempts_table.c.call.in_(sorted(SENDS)),
                sa.or_(attempts_table.c.outcome.is_(None), attempts_table.c.outcome.in_(UNKNOWN)),
            )
            .values(
                outcome=AttemptOutcome.PROVEN_NO,
                finished_at=sa.func.coalesce(attempts_table.c.finished_at, now),
            )
        )
        move(
            db,
            claimed,
            InvoiceStatus.WAITING,
            now,
            next_attempt_at=now + wait,
            reminder_at=suspend.watched_again(tools, now),
            doubt=None,
            doubt_since=None,
            lookups=0,
            tries=0,
        )
    return Later(claimed.account, wait)


UNKNOWN = (AttemptOutcome.LOST, AttemptOutcome.LATE)
"""Endings of a save or stamp that may hide a stamp."""


def was_ever_in_doubt(claimed: Claimed, tools: Tools) -> bool:
    """Whether a stamp of it was ever sent and not heard of, also where look-ups said no in the end.

    Asked when ContaDigital does not know the record any more: then those look-ups may have been about nothing.
    """
    with tools.engine.begin() as db:
        return (
            db.execute(
                sa.select(attempts_table.c.id).where(
                    attempts_table.c.invoice_id == claimed.id,
                    attempts_table.c.call == Call.STAMP,
                    attempts_table.c.claim < claimed.claim,
                    sa.or_(
                        attempts_table.c.outcome.is_(None),
                        attempts_table.c.outcome.in_([*UNKNOWN, AttemptOutcome.PROVEN_NO]),
                    ),
                )
            ).first()
            is not None
        )


def stay(db: sa.Connection, claimed: Claimed, now: datetime, **values: Any) -> sa.Row[Any]:
    """Let go of a claim whose invoice stays where it stands, or raise LateError."""
    row = write_fenced(
        db, claimed.id, claim=claimed.claim, now=now, claimed_until=None, claimed_by=None, **values
    )
    if row is None:
        raise LateError(claimed.id)
    return row


def learn_at_once(claimed: Claimed, tools: Tools, **facts: bool) -> None:
    """Remember what an answer taught, where it is news."""
    if any(getattr(claimed.connection, name) is not value for name, value in facts.items()):
        with tools.engine.begin() as db:
            learn(db, claimed, tools.clock.now(), **facts)


def learn(db: sa.Connection, claimed: Claimed, now: datetime, **facts: bool) -> None:
    """Remember what an answer taught of this provider; a bad habit, once seen, is never forgotten.

    `honours_id`: a stamp came under the Id that was asked for. `saves_only`: a save made no stamp.
    """
    news = {
        name: value
        for name, value in facts.items()
        if getattr(claimed.connection, name) is None or (getattr(claimed.connection, name) and not value)
    }
    if news:
        db.execute(
            sa.update(connections)
            .where(connections.c.account == claimed.account)
            .values(
                updated_at=now,
                **{
                    name: sa.func.coalesce(connections.c[name], sa.true()) if value else sa.false()
                    for name, value in news.items()
                },
            )
        )
