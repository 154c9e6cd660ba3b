"""How a claim ends: the new status, the call that led there and the event, in one commit.

Every function here names the claim. When the claim has passed to another worker it writes nothing of the invoice,
marks the call `late`, and raises LateError: whoever holds the claim now finds out the truth by looking it up.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache, wraps
from types import SimpleNamespace
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
import structlog
import uuid_utils.compat as uuids
from psycopg.types.json import Jsonb

from cfdi.faults import Fault
from models.compiled import Compiled, param
from models.tables import attempts as attempts_table
from models.tables import connections, documents, invoices
from models.transitions import advance, write_fenced
from models.vocabulary import (
    SENDS,
    AttemptOutcome,
    Call,
    ConnectionStatus,
    FailedReason,
    InvoiceStatus,
)
from stamping import attempts, notify
from stamping.attempts import Attempt, Ended
from stamping.cancellation.substitutes import begin_for_substitute
from stamping.claims import LateError
from stamping.connections import stamps_left, suspend
from stamping.deadlines import reminder_of_a_doubt
from stamping.limits import concurrency, throttle
from stamping.outcome import Differs, Failed, InDoubt, Later, OnHold, Outcome, Rejected, Stamped
from stamping.retries import Failure, before_lookup, before_try
from stamping.sql import statement
from stamping.store_documents import Verified, quarantine_xml
from stamping.texts import SAME_UUID
from stamping.tools import Tools

log = structlog.get_logger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


def _offered_again(ending: Callable[Concatenate[Attempt, P], T]) -> Callable[Concatenate[Attempt, P], T]:
    """Have an ending tried again while PostgreSQL restarts: nobody else knows what was answered."""

    @wraps(ending)
    def retried(attempt: Attempt, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return attempts.with_retry(lambda: ending(attempt, *args, **kwargs))

    return retried


@contextmanager
def one_commit(attempt: Attempt) -> Iterator[tuple[sa.Connection, datetime]]:
    """Open the commit in which a claim ends, with its last call closed in it; a late one leaves only that mark."""
    tools = attempt.tools
    now = tools.clock.now()
    tools.failpoints.reach("before_settle")
    try:
        with tools.engine.begin() as db:
            attempts.close(db, attempt, now)
            yield db, now
    except LateError:
        attempts.came_late(attempt.claimed, attempt.ended, tools)
        raise
    tools.failpoints.reach("after_settle")


def move(
    db: sa.Connection, attempt: Attempt, target: InvoiceStatus, now: datetime, **values: Any
) -> sa.Row[Any]:
    """Move the invoice under our claim, or raise LateError."""
    claimed = attempt.claimed
    row = advance(db, claimed.id, target=target, claim=claimed.claim, now=now, **values)
    if row is None:
        raise LateError(claimed.id)
    return row


_INSTANT = sa.DateTime(timezone=True)
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


def stamp_found(attempt: Attempt, verified: Verified, *, asked_id: int | None) -> Outcome:
    """End an attempt by the stamp that an answer brought: stamped, or `differs`, or in quarantine before a person.

    `asked_id` is the saved Id that was stamped or looked up, where that Id can be expected to stand in the answer.
    """
    if not verified.is_believed:
        return quarantined(attempt, verified, notify.evidence_faults(verified.report))
    try:
        return _exists(attempt, verified, asked_id)
    except sa.exc.IntegrityError as error:
        if "uq_invoices_uuid" not in str(error.orig):
            raise
        return quarantined(attempt, verified, [SAME_UUID])


@_offered_again
def _exists(attempt: Attempt, verified: Verified, asked_id: int | None) -> Outcome:
    """The CFDI exists and its XML is safe: say so, and whether it is what was sent."""
    report, record, tools = verified.report, verified.record, attempt.tools
    claimed, ended, differs = attempt.claimed, attempt.ended, verified.differs
    faults = [fault.as_dict() for fault in notify.difference_faults(report)]
    wants_mail = any(each.strip() for each in claimed.invoice.content.get("send_to") or ()) and not differs
    honoured = asked_id == record.id if asked_id else None
    now = tools.clock.now()
    facts = {
        "status": str(InvoiceStatus.DIFFERS if differs else InvoiceStatus.STAMPED),
        "uuid": report.uuid,
        "serie": report.serie or record.serie or claimed.invoice.serie,
        "folio": report.folio or record.folio,
        "fecha_timbrado": report.fecha_timbrado,
        "errors": faults,
    }
    event = notify.invoice_event(
        SimpleNamespace(**{**claimed.invoice._asdict(), **facts}),
        "invoice.differs" if differs else "invoice.stamped",
        documents=verified.documents,
    )
    parameters = {
        **facts,
        **attempts.ending(ended, now),
        "documents": Jsonb([{name: each[name] for name in _OF_A_DOCUMENT} for each in verified.documents]),
        "errors": Jsonb(faults),
        "differences": Jsonb([each.as_dict() for each in report.differences]) if report.differences else None,
        "invoice_id": claimed.id,
        "claim": claimed.claim,
        "now": now,
        "number": ended.number,
        "record_id": record.id,
        "id_honoured": honoured,
        "pdf_due_at": now if verified.lacks_pdf else None,
        "mail_due_at": now if wants_mail else None,
        "event_id": uuids.uuid7(),
        "event_type": str(event.type),
        "event_data": Jsonb(dict(event.data)),
    }
    tools.failpoints.reach("before_settle")
    taught = _taught(attempt, verified, honoured)
    if not taught:
        settled = statement("settle").run(tools.at_once, **parameters).one_or_none()
    else:
        with tools.engine.begin() as db:
            settled = statement("settle").run(db, **parameters).one_or_none()
            for each in taught if settled is not None else ():
                each(db, now)
    if settled is None:
        attempts.came_late(claimed, ended, tools)
        raise LateError(claimed.id)
    if settled.call is not None:
        attempts.log_ending(tools, claimed.id, ended, settled.call, claimed.claim, claimed.invoice.trace_id)
    tools.failpoints.reach("after_settle")
    if differs:
        return Differs(attempt.account, report.uuid or "")
    return Stamped(attempt.account, report.uuid or "", lacks_pdf=verified.lacks_pdf, mail=wants_mail)


def note_second_stamp(attempt: Attempt) -> None:
    """Keep a stamp that came when the claim had passed, where its invoice has another one: a duplicate is never silent.

    Its XML goes into quarantine beside the invoice's own, and an operator learns of it: it has to be cancelled.
    """
    record, tools = attempt.record, attempt.tools
    if record is None or record.uuid is None:
        return
    with tools.engine.begin() as db:
        uuid = db.execute(sa.select(invoices.c.uuid).where(invoices.c.id == attempt.claimed.id)).scalar_one()
        if uuid is None or uuid == record.uuid:
            return
        log.error("second_stamp", invoice_id=str(attempt.claimed.id), uuid=record.uuid)
        tools.meter.second_stamp()
        if record.xml is None:
            return
        subject, why = attempt.prepared.subject, f"a second stamp of this invoice: {record.uuid}"
        row = quarantine_xml(subject, record.xml, why, tools)
        write_documents(db, attempt, [row], tools.clock.now())


def _taught(
    attempt: Attempt, verified: Verified, honoured: bool | None
) -> list[Callable[[sa.Connection, datetime], object]]:
    """Return what else a stamp changes, to be written in its commit; nothing for the usual one."""
    connection, tools = attempt.connection, attempt.tools
    reported = verified.record.stamps_left
    taught: list[Callable[[sa.Connection, datetime], object]] = []
    if honoured is not None and connection.honours_id is not honoured:
        taught.append(lambda db, now: learn(db, attempt, now, honours_id=honoured))
    if reported is not None or connection.stamps_left is not None:
        taught.append(lambda db, now: stamps_left.count_stamp(db, connection, reported, tools, now))
    if concurrency.is_slow(attempt.ended.latency_ms, tools):
        taught.append(lambda db, now: concurrency.decrease(db, connection, tools, now))
    elif connection.concurrency_limit is not None:
        taught.append(lambda db, now: concurrency.increase(db, connection, tools, now))
    if verified.differs:
        faults = notify.difference_faults(verified.report)
        taught.append(lambda db, now: suspend.after_a_difference(db, attempt.claimed, faults, tools, now))
    elif attempt.invoice.replaces_id is not None:
        taught.append(lambda db, now: begin_for_substitute(db, attempt.claimed.id, now))
    return taught


def write_documents(
    db: sa.Connection, attempt: Attempt, rows: Sequence[dict[str, Any]], now: datetime
) -> None:
    """Write where the documents of an answer lie."""
    values = {
        f"{name}_{place}": document[name] for place, document in enumerate(rows) for name in _OF_A_DOCUMENT
    }
    _documents(len(rows)).run(db, invoice_id=attempt.claimed.id, stored_at=now, **values)


@_offered_again
def quarantined(attempt: Attempt, verified: Verified, faults: Sequence[Fault]) -> Outcome:
    """What came back can't be believed: it is in quarantine, a person must look, and nothing is sent again.

    The Id that it is looked up by is kept, where a person asks for that.
    """
    facts = called_stamped(attempt, verified.record.id)
    quarantined_rows = [each for each in verified.documents if each["quarantined_reason"] is not None]
    with one_commit(attempt) as (db, now):
        _fail(db, attempt, now, FailedReason.NEEDS_PERSON, faults, **facts)
        if quarantined_rows:
            write_documents(db, attempt, quarantined_rows, now)
    return Failed(attempt.account)


def called_stamped(attempt: Attempt, record_id: int) -> dict[str, Any]:
    """Return what is kept of a record that ContaDigital calls stamped: its Id, and no draft of ours under it now."""
    return {
        "record_id": record_id,
        "record_empresa": attempt.prepared.id_empresa,
        "record_base_url": attempt.prepared.credentials.base_url,
        "record_hash": None,
    }


@_offered_again
def rejected(attempt: Attempt, faults: Sequence[Fault]) -> Outcome:
    """Its data is wrong, in our word, ContaDigital's or the SAT's: the user corrects it and sends it again."""
    with one_commit(attempt) as (db, now):
        row = move(
            db,
            attempt,
            InvoiceStatus.REJECTED,
            now,
            version=invoices.c.version + 1,
            errors=[fault.as_dict() for fault in faults],
            next_attempt_at=None,
            reminder_at=None,
            tries=0,
        )
        if not withdraw_if_asked(db, row, attempt.tools, now):
            notify.invoice(db, row, attempt.tools, "invoice.rejected")
    return Rejected(attempt.account)


@_offered_again
def later(
    attempt: Attempt,
    *,
    wait: timedelta | None = None,
    is_throttled: bool = False,
    forget_record: bool = False,
    in_vain: bool = True,
    never_sent: bool = False,
) -> Outcome:
    """Certainly not stamped, and worth another try: wait, by the table and not by the broker.

    One that only had to let another go first (not `in_vain`) has failed at nothing, and waits no longer each time.
    Where nothing of it has ever left (`never_sent`), the date that it was given for this try is taken back.
    """
    invoice, tools = attempt.invoice, attempt.tools
    tries = invoice.tries + (1 if in_vain else 0)
    changes: dict[str, Any] = {}
    if forget_record:
        changes = {"record_id": None, "record_empresa": None, "record_base_url": None, "record_hash": None}
    delay = before_try(max(tries, 1))
    if wait is not None:
        delay = max(delay, wait)
    with one_commit(attempt) as (db, now):
        if never_sent and invoice.fecha is None:
            changes |= {"fecha": None, "expires_at": None, "reminder_at": _reminder(attempt, now)}
        row = move(
            db, attempt, InvoiceStatus.WAITING, now, next_attempt_at=now + delay, tries=tries, **changes
        )
        if is_throttled:
            throttle.slow_down(db, attempt.connection, wait or delay, tools, now)
        withdraw_if_asked(db, row, tools, now)
    return Later(attempt.account, delay)


def withdraw_if_asked(db: sa.Connection, row: sa.Row[Any], tools: Tools, now: datetime) -> bool:
    """Take it back where that was asked for while its outcome was unknown: it is certainly not stamped."""
    if row.withdraw_asked_at is None:
        return False
    withdrawn = advance(
        db,
        row.id,
        target=InvoiceStatus.WITHDRAWN,
        now=now,
        reason=None,
        version=invoices.c.version + 1,
        next_attempt_at=None,
        reminder_at=None,
    )
    if withdrawn is not None:
        notify.invoice(db, withdrawn, tools, "invoice.withdrawn")
    return withdrawn is not None


def _reminder(attempt: Attempt, now: datetime) -> datetime | None:
    """When the user must learn that it takes long; None where that was said."""
    if attempt.invoice.last_reminder is not None:
        return None
    at: datetime = attempt.invoice.created_at + attempt.tools.policy.delayed_after
    return max(at, now)


@_offered_again
def in_doubt(attempt: Attempt, *, doubt: Call, facts: dict[str, Any] | None = None) -> Outcome:
    """An answer was lost: it may be stamped. It is looked up, and not sent again before that has an end.

    `facts` are written with it: the Id to look it up by, where that is known only now.
    """
    tools = attempt.tools
    delay = before_lookup(0)
    with one_commit(attempt) as (db, now):
        row = move(
            db,
            attempt,
            InvoiceStatus.IN_DOUBT,
            now,
            version=invoices.c.version + 1,
            doubt=doubt,
            doubt_since=now,
            lookups=0,
            tries=0,
            next_attempt_at=now + delay,
            reminder_at=reminder_of_a_doubt(now),
            **(facts or {}),
        )
        notify.invoice(db, row, tools, "invoice.in_doubt")
        if concurrency.is_slow(attempt.ended.latency_ms, tools):
            concurrency.decrease(db, attempt.connection, tools, now)
    return InDoubt(attempt.account, delay)


def after_a_bug(attempt: Attempt) -> None:
    """Give the claim back in the middle of the work: in doubt where something may have left, else as a failed try."""
    claimed = attempt.claimed
    with attempt.tools.engine.begin() as db:
        begun = db.execute(attempts.begun(claimed.id, claimed.claim)).one_or_none()
    if begun is None:
        attempt.ended = attempts.NO_CALL
        later(attempt)
        return
    attempt.ended = Ended(begun.number, AttemptOutcome.LOST, detail="a bug of ours: the log has it")
    in_doubt(attempt, doubt=Call(begun.call))


@_offered_again
def on_hold(attempt: Attempt, failure: Failure) -> Outcome:
    """The refusal concerns the account: break the connection, once, and hold this invoice without spending it."""
    claimed, tools = attempt.claimed, attempt.tools
    with one_commit(attempt) as (db, now):
        row = move(
            db,
            attempt,
            InvoiceStatus.ON_HOLD,
            now,
            version=invoices.c.version + (0 if claimed.is_probe else 1),
            next_attempt_at=None,
            tries=0,
        )
        broken = suspend.break_for(db, claimed, failure, tools, now)
        connection = (
            broken or db.execute(sa.select(connections).where(connections.c.account == claimed.account)).one()
        )
        is_over = withdraw_if_asked(db, row, tools, now)
        if claimed.is_probe:
            return OnHold(claimed.account)
        if connection.status == ConnectionStatus.ACTIVE:
            # repaired while our call was under way: what we were refused for is no longer true
            if not is_over:
                advance(db, claimed.id, target=InvoiceStatus.WAITING, now=now, next_attempt_at=now)
            return Later(claimed.account, timedelta(0))
        if not is_over:
            notify.invoice(db, row, tools, "invoice.on_hold", connection=connection)
    return OnHold(claimed.account)


@_offered_again
def look_up_refused(attempt: Attempt, failure: Failure) -> None:
    """The refusal of a look-up concerns the account: break the connection. What was asked after stays as it is, and is
    asked after again once the connection is back."""
    with one_commit(attempt) as (db, now):
        stay(db, attempt, now, next_attempt_at=now + suspend.CONNECTION_BACK)
        suspend.break_for(db, attempt.claimed, failure, attempt.tools, now)
    suspend.put_on_hold(attempt.account, attempt.tools)


@_offered_again
def failed(attempt: Attempt, reason: FailedReason, faults: Sequence[Fault]) -> Outcome:
    """Given up, with a reason that a person can read."""
    with one_commit(attempt) as (db, now):
        _fail(db, attempt, now, reason, faults)
    return Failed(attempt.account)


def _fail(
    db: sa.Connection,
    attempt: Attempt,
    now: datetime,
    reason: FailedReason,
    faults: Sequence[Fault],
    **values: Any,
) -> None:
    row = move(
        db,
        attempt,
        InvoiceStatus.FAILED,
        now,
        version=invoices.c.version + 1,
        reason=reason,
        errors=[fault.as_dict() for fault in faults],
        next_attempt_at=None,
        reminder_at=None,
        **values,
    )
    if reason == FailedReason.NEEDS_PERSON or not withdraw_if_asked(db, row, attempt.tools, now):
        notify.invoice(db, row, attempt.tools, "invoice.failed")


@_offered_again
def proven_no(attempt: Attempt, *, wait: timedelta = timedelta(0)) -> Outcome:
    """The doubt ended in a no that can be believed: the same Id may be stamped again (or, a save, made again)."""
    with one_commit(attempt) as (db, now):
        db.execute(
            sa.update(attempts_table)
            .where(
                attempts_table.c.invoice_id == attempt.claimed.id,
                attempts_table.c.call.in_(sorted(SENDS)),
                sa.or_(attempts_table.c.outcome.is_(None), attempts_table.c.outcome.in_(UNKNOWN)),
            )
            .values(
                outcome=AttemptOutcome.PROVEN_NO,
                finished_at=sa.func.coalesce(attempts_table.c.finished_at, now),
            )
        )
        row = move(
            db,
            attempt,
            InvoiceStatus.WAITING,
            now,
            next_attempt_at=now + wait,
            reminder_at=suspend.watched_again(attempt.tools, now),
            doubt=None,
            doubt_since=None,
            lookups=0,
            tries=0,
        )
        withdraw_if_asked(db, row, attempt.tools, now)
    return Later(attempt.account, wait)


UNKNOWN = (AttemptOutcome.LOST, AttemptOutcome.LATE, AttemptOutcome.UNUSABLE)
"""Endings of a save or stamp that may hide a stamp."""


def was_ever_in_doubt(attempt: Attempt) -> bool:
    """Whether a stamp of it was ever sent and its end not learnt, also where look-ups said no in the end.

    Asked when ContaDigital does not know the record any more: then those look-ups may have been about nothing.
    """
    with attempt.tools.engine.begin() as db:
        return (
            db.execute(
                sa.select(attempts_table.c.id).where(
                    attempts_table.c.invoice_id == attempt.claimed.id,
                    attempts_table.c.call == Call.STAMP,
                    attempts_table.c.claim < attempt.claimed.claim,
                    sa.or_(
                        attempts_table.c.outcome.is_(None),
                        attempts_table.c.outcome.in_([*UNKNOWN, AttemptOutcome.PROVEN_NO]),
                    ),
                )
            ).first()
            is not None
        )


def stay(db: sa.Connection, attempt: Attempt, now: datetime, **values: Any) -> sa.Row[Any]:
    """Let go of a claim whose invoice stays where it stands, or raise LateError."""
    claimed = attempt.claimed
    row = write_fenced(
        db, claimed.id, claim=claimed.claim, now=now, claimed_until=None, claimed_by=None, **values
    )
    if row is None:
        raise LateError(claimed.id)
    return row


def learn_now(attempt: Attempt, **facts: bool) -> None:
    """Remember what an answer taught of this provider, where it is news, in a commit of its own."""
    if any(getattr(attempt.connection, name) is not value for name, value in facts.items()):

        def commit() -> None:
            with attempt.tools.engine.begin() as db:
                learn(db, attempt, attempt.tools.clock.now(), **facts)

        attempts.with_retry(commit)


def learn(db: sa.Connection, attempt: Attempt, now: datetime, **facts: bool) -> None:
    """Remember what an answer taught of this provider; a bad habit, once seen, is never forgotten.

    `honours_id`: a stamp came under the Id that was asked for. `saves_only`: a save made no stamp.
    """
    known = attempt.connection
    news = {
        name: value
        for name, value in facts.items()
        if getattr(known, name) is None or (getattr(known, name) and not value)
    }
    if news:
        db.execute(
            sa.update(connections)
            .where(connections.c.account == attempt.account)
            .values(
                updated_at=now,
                **{
                    name: sa.func.coalesce(connections.c[name], sa.true()) if value else sa.false()
                    for name, value in news.items()
                },
            )
        )
