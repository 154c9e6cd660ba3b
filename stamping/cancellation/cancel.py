"""Cancelling a stamped invoice: asked for once, looked up when the answer is lost, told only when it is true.

"Requested" is not "cancelled": the receptor has three business days (RMF 2.7.1.34), so the invoice stands at
`cancelling` until ContaDigital says how it ended. What has been asked is read from the attempts: while one is
unanswered no second request leaves.
"""

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog
import uuid_utils.compat as uuids

from cfdi.faults import Fault
from contadigital.errors import (
    AnswerLost,
    ConnectionRefused,
    ContaDigitalError,
    DocumentRejected,
    NotSent,
    Refused,
    Throttled,
    UnknownRecord,
)
from models.tables import attempts as attempts_table
from models.tables import connections, documents, history, invoices
from models.transitions import advance
from models.vocabulary import HAS_UUID, AttemptOutcome, BrokenReason, Call, InvoiceStatus
from stamping import attempts, notify, settle
from stamping.attempts import NO_ATTEMPT, Ended
from stamping.cancellation import reasons
from stamping.cancellation.reasons import ANOTHER_RECORD, ASK_SUPPORT, NO_SUCH_INVOICE, RECEPTOR_REFUSED
from stamping.claims import Claimed, LateError, Unclaimed, claim_lookup
from stamping.connections import suspend
from stamping.intake import identity, untrusted
from stamping.intake.identity import Message
from stamping.limits.backoff import before_lookup, before_try
from stamping.pipeline import detail_of
from stamping.prepare import Prepared, prepare_lookup
from stamping.tools import Tools
from stamping.verify import store_acuse
from storage import StorageUnavailable

log = structlog.get_logger(__name__)

SAT_LAG = timedelta(hours=24)
"""For how long after the stamp "unknown UUID" (205) only means that the SAT has not heard of it yet."""
AGAIN_AFTER_205 = timedelta(minutes=3)
FIRST_POLL = timedelta(minutes=1)
POLL_CAP = timedelta(hours=1)

Row = sa.Row[Any]


# --- the request -----------------------------------------------------------------------------------------------------


def request(
    account: object,
    external_id: object,
    motivo: object,
    uuid_sustitucion: object,
    tools: Tools,
    *,
    message: Message | None = None,
    trace_id: str | None = None,
) -> UUID | None:
    """Take a request to cancel; return the invoice to ring for, or None where there is nothing to ask the SAT.

    Whatever came (a message may hold anything), the answer is told: as an event of the invoice, or of the message
    where it names none.
    """
    now = tools.clock.now()
    sustitucion = str(uuid_sustitucion).strip().upper() or None if uuid_sustitucion is not None else None
    about = untrusted.pair(account, external_id)
    with tools.engine.begin() as db:
        row = _locked(db, about) if about is not None else None
        is_new = identity.is_new(db, message, about[0] if about else None, now)
        if row is None:
            if not is_new:
                return None
            asked = {"account": account, "external_id": external_id}
            notify.not_found(db, uuids.uuid7(), asked, NO_SUCH_INVOICE, tools, now, trace_id)
            return None
        faults: tuple[Fault, ...] = ()
        if is_new and row.status == InvoiceStatus.STAMPED:
            faults = reasons.check(db, row, motivo, sustitucion)
            if faults:
                _tell_refused(db, _bump(db, row.id, tools), tools, faults)
                return None
            moved = advance(
                db,
                row.id,
                target=InvoiceStatus.CANCELLING,
                source=InvoiceStatus.STAMPED,
                now=now,
                motivo=motivo,
                uuid_sustitucion=sustitucion,
                next_attempt_at=now,
                lookups=0,
                tries=0,
                doubt=None,
                doubt_since=None,
                enqueued_at=None,
            )
            return row.id if moved is not None else None
        if is_new and row.status not in HAS_UUID:
            faults = (reasons.not_stamped(row.status),)
        connection = db.execute(
            sa.select(connections).where(connections.c.account == row.account)
        ).one_or_none()
        notify.status_again(db, _bump(db, row.id, tools), tools, connection=connection, errors=faults or None)
    return None


def _locked(db: sa.Connection, about: tuple[str, str]) -> Row | None:
    account, external_id = about
    return db.execute(
        sa.select(invoices)
        .where(invoices.c.account == account, invoices.c.external_id == external_id)
        .with_for_update()
    ).one_or_none()


def _bump(db: sa.Connection, invoice_id: UUID, tools: Tools) -> Row:
    return db.execute(
        sa.update(invoices)
        .where(invoices.c.id == invoice_id)
        .values(version=invoices.c.version + 1, updated_at=tools.clock.now())
        .returning(*invoices.c)
    ).one()


# --- what comes of it ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """The last request of the cancellation at hand."""

    attempt: Row
    is_first: bool
    """Whether this invoice was never asked to be cancelled before; what is told may else be of another request."""

    @property
    def has_failed(self) -> bool:
        """Whether it certainly did nothing, so that the SAT may be asked (again)."""
        return self.attempt.outcome in {
            AttemptOutcome.NOT_SENT,
            AttemptOutcome.REFUSED,
            AttemptOutcome.PROVEN_NO,
        }

    @property
    def in_doubt(self) -> bool:
        """Whether its answer was lost, or its worker never came back."""
        return not self.has_failed and self.attempt.outcome != AttemptOutcome.DONE

    @property
    def is_settled(self) -> bool:
        """Whether it is known that the SAT has it."""
        return bool(self.attempt.outcome == AttemptOutcome.DONE and self.attempt.detail != UNKNOWN)


UNKNOWN = "unknown"
"""`Cancellation.state` of an answer that did not say what became of the request."""


def settle_cancellation(invoice_id: UUID, tools: Tools) -> None:
    """Take one cancellation a step on: ask the SAT, or ask how it stands."""
    claimed = claim_lookup(invoice_id, InvoiceStatus.CANCELLING, tools)
    match claimed:
        case Unclaimed(why="broken", account=account):
            suspend.wait_for_connection(invoice_id, account or "", tools)
            return
        case Unclaimed():
            return
        case Claimed():
            pass
    try:
        asked = _last_request(claimed, tools)
        if asked is None or asked.has_failed:
            _ask(claimed, tools)
        else:
            _look(claimed, asked, tools)
    except LateError:
        log.warning("late", invoice_id=str(claimed.id), claim=claimed.claim, worker=tools.worker)


def _last_request(claimed: Claimed, tools: Tools) -> Asked | None:
    """Return the last request of this cancellation; one without an outcome began and was never heard of again.

    Requests at or before the claim at which the invoice last came to `cancelling` belong to a cancellation that was
    refused.
    """
    begun = history.c.invoice_id == claimed.id, history.c.to_status == InvoiceStatus.CANCELLING
    with tools.engine.begin() as db:
        cycles, since = db.execute(
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.max(history.c.claim), 0)).where(*begun)
        ).one()
        attempt = db.execute(
            sa.select(attempts_table)
            .where(
                attempts_table.c.invoice_id == claimed.id,
                attempts_table.c.call == Call.CANCEL,
                attempts_table.c.claim > since,
            )
            .order_by(attempts_table.c.number.desc())
            .limit(1)
        ).one_or_none()
    return Asked(attempt, is_first=cycles <= 1) if attempt is not None else None


def _ask(claimed: Claimed, tools: Tools) -> None:
    row = claimed.invoice
    prepared = prepare_lookup(claimed, tools)
    if not _is_still_ours(claimed, prepared, tools):
        return
    number = attempts.begin(claimed, Call.CANCEL, tools, record_id=row.record_id)
    tools.failpoints.reach("before_cancel")
    began = time.monotonic()
    try:
        answer = tools.provider.cancel(prepared.credentials, row.record_id, row.motivo, row.uuid_sustitucion)
    except ContaDigitalError as error:
        _not_done(claimed, tools, error, number, began)
        return
    tools.failpoints.reach("after_cancel")
    ended = Ended(number, AttemptOutcome.DONE, 200, None, _ms(began), answer.state)
    acuse = _acuse(prepared, row.uuid, answer.acuse, tools)
    match answer.state:
        case "cancelled":
            _cancelled(claimed, tools, ended, acuse=acuse)
        case "requested":
            _stay(claimed, tools, ended, FIRST_POLL, acuse=acuse, news=True)
        case _:
            _stay(claimed, tools, ended, before_lookup(0), acuse=acuse)


def _is_still_ours(claimed: Claimed, prepared: Prepared, tools: Tools) -> bool:
    """Whether the record to be cancelled bears this invoice's UUID; where not, wait, or say why it can't be asked for.

    The account may be connected to another address since, where the same Id is another invoice; and nobody takes a
    cancellation back. So a look-up comes before each request.
    """
    row = claimed.invoice
    try:
        uuid = tools.provider.look_up(prepared.credentials, row.record_id).uuid
    except ConnectionRefused as error:
        _break(claimed, tools, error, NO_ATTEMPT)
        return False
    except UnknownRecord:
        uuid = None
    except ContaDigitalError as error:
        again = max(before_try(row.tries + 1), error.retry_after or timedelta(0))
        _stay(claimed, tools, NO_ATTEMPT, again)
        return False
    if uuid == row.uuid:
        return True
    if uuid is None and tools.clock.now() - row.stamped_at < SAT_LAG:  # look-ups deny what is new for a while
        _stay(claimed, tools, NO_ATTEMPT, AGAIN_AFTER_205)
    else:
        _refused(claimed, tools, NO_ATTEMPT, (ANOTHER_RECORD,))
    return False


def _not_done(claimed: Claimed, tools: Tools, error: ContaDigitalError, number: int, began: float) -> None:
    """Cut a request that was not done by what comes next: ask again, look it up, or stop."""
    again = before_try(claimed.invoice.tries + 1)
    refused = _ended(number, AttemptOutcome.REFUSED, error, began)
    match error:
        case AnswerLost():
            lost = _ended(number, AttemptOutcome.LOST, error, began)
            _stay(claimed, tools, lost, before_lookup(0), doubt=True)
        case NotSent():
            _stay(claimed, tools, _ended(number, AttemptOutcome.NOT_SENT, error, began), again)
        case Throttled(retry_after=wait):
            _stay(claimed, tools, refused, max(wait or timedelta(0), again))
        case ConnectionRefused():
            _break(claimed, tools, error, refused)
        case UnknownRecord() if tools.clock.now() - claimed.invoice.stamped_at < SAT_LAG:
            _stay(claimed, tools, refused, AGAIN_AFTER_205)
        case DocumentRejected(faults=faults):
            _refused(claimed, tools, refused, faults)
        case _:
            fault = Fault("contadigital", "", error.text, ASK_SUPPORT, "contadigital")
            _refused(claimed, tools, refused, (fault,))


def _look(claimed: Claimed, asked: Asked, tools: Tools) -> None:
    """Ask how a request stands that was made, or whose answer was lost."""
    row = claimed.invoice
    prepared = prepare_lookup(claimed, tools)
    number = attempts.begin(claimed, Call.LOOK_UP, tools, record_id=row.record_id)
    began = time.monotonic()
    try:
        record = tools.provider.look_up(prepared.credentials, row.record_id)
    except ConnectionRefused as error:
        _break(claimed, tools, error, _ended(number, AttemptOutcome.REFUSED, error, began))
        return
    except ContaDigitalError as error:
        outcome = AttemptOutcome.REFUSED if isinstance(error, Refused) else AttemptOutcome.LOST
        wait = max(before_lookup(row.lookups + 1), error.retry_after or timedelta(0))
        _stay(claimed, tools, _ended(number, outcome, error, began), wait, doubt=asked.in_doubt)
        return
    if record.uuid is not None and record.uuid != row.uuid:  # what became of ours can't be asked from here
        ended = Ended(
            number, AttemptOutcome.NO, 200, record.codigo, _ms(began), "it is another invoice's record"
        )
        _refused(claimed, tools, ended, (ANOTHER_RECORD,), asked=asked)
        return
    state = record.cancellation
    if state == "rejected" and asked.in_doubt and not asked.is_first:
        state = None  # what the receptor refused may be the request before this one
    found = AttemptOutcome.NO if state is None else AttemptOutcome.DONE
    ended = Ended(number, found, 200, record.codigo, _ms(began), state or "not asked for")
    match state:
        case "cancelled":
            _cancelled(claimed, tools, ended, asked=asked)
        case "rejected":
            _refused(claimed, tools, ended, (RECEPTOR_REFUSED,), asked=asked)
        case "requested":
            _stay(claimed, tools, ended, _next_poll(row.lookups), asked=asked, news=not asked.is_settled)
        case _ if not asked.in_doubt:
            _stay(claimed, tools, ended, _next_poll(row.lookups))
        case _ if _denied_for(claimed, asked, tools) >= tools.policy.quarantine:
            _never_asked(claimed, tools, ended, asked)
        case _:
            _stay(claimed, tools, ended, before_lookup(row.lookups + 1), doubt=True)


def _denied_for(claimed: Claimed, asked: Asked, tools: Tools) -> timedelta:
    """Return for how long look-ups have been answering that nobody asked for this cancellation."""
    with tools.engine.begin() as db:
        first = db.execute(
            sa.select(sa.func.min(attempts_table.c.started_at)).where(
                attempts_table.c.invoice_id == claimed.id,
                attempts_table.c.call == Call.LOOK_UP,
                attempts_table.c.outcome == AttemptOutcome.NO,
                attempts_table.c.number > asked.attempt.number,
            )
        ).scalar_one_or_none()
    return tools.clock.now() - first if first is not None else timedelta(0)


def _next_poll(looks: int) -> timedelta:
    return min(POLL_CAP, FIRST_POLL * float(2 ** min(looks, 6)))


# --- how a step ends -------------------------------------------------------------------------------------------------


def _cancelled(
    claimed: Claimed,
    tools: Tools,
    ended: Ended,
    *,
    asked: Asked | None = None,
    acuse: dict[str, Any] | None = None,
) -> None:
    with settle.one_commit(claimed, tools, ended) as (db, now):
        _close(db, asked, AttemptOutcome.DONE, tools)
        _write_acuse(db, claimed, acuse, tools)
        row = settle.move(
            db,
            claimed,
            InvoiceStatus.CANCELLED,
            now,
            version=invoices.c.version + 1,
            cancelled_at=now,
            next_attempt_at=None,
            doubt=None,
            doubt_since=None,
            mail_due_at=None,  # nobody wants a cancelled invoice by mail
        )
        notify.invoice(db, row, tools, "invoice.cancelled", documents=notify.stored_documents(db, claimed.id))


def _refused(
    claimed: Claimed, tools: Tools, ended: Ended, faults: tuple[Fault, ...], *, asked: Asked | None = None
) -> None:
    """The SAT, the receptor or ContaDigital said no: the invoice stays stamped, and the user is told why."""
    with settle.one_commit(claimed, tools, ended) as (db, now):
        _close(db, asked, AttemptOutcome.DONE, tools)
        row = settle.move(
            db,
            claimed,
            InvoiceStatus.STAMPED,
            now,
            version=invoices.c.version + 1,
            next_attempt_at=None,
            doubt=None,
            doubt_since=None,
        )
        _tell_refused(db, row, tools, faults)


def _tell_refused(db: sa.Connection, row: Row, tools: Tools, faults: tuple[Fault, ...]) -> None:
    notify.invoice(
        db,
        row,
        tools,
        "invoice.stamped",
        variant="cancel_refused",
        errors=faults,
        documents=notify.stored_documents(db, row.id),
    )


def _stay(
    claimed: Claimed,
    tools: Tools,
    ended: Ended,
    delay: timedelta,
    *,
    acuse: dict[str, Any] | None = None,
    asked: Asked | None = None,
    doubt: bool = False,
    news: bool = False,
) -> None:
    """Stay at `cancelling` and go on after `delay`.

    `doubt` says that the request may or may not have been made: told once. `news` says that the SAT is now known to
    have it (`asked`, where a look-up found that out): told, since a user who asked should not wait in silence for
    three business days.
    """
    newly = doubt and claimed.invoice.doubt is None
    with settle.one_commit(claimed, tools, ended) as (db, now):
        _write_acuse(db, claimed, acuse, tools)
        values: dict[str, Any] = {
            "next_attempt_at": now + delay,
            "lookups": 0 if newly or news else invoices.c.lookups + 1,
            "tries": invoices.c.tries + 1,
        }
        if doubt:
            values |= {"doubt": "cancel", "doubt_since": claimed.invoice.doubt_since or now}
        if news:
            _close(db, asked, AttemptOutcome.DONE, tools, detail="requested")
            values |= {"doubt": None, "doubt_since": None}
        if newly or news:
            values["version"] = invoices.c.version + 1
        row = settle.stay(db, claimed, now, **values)
        if newly:
            notify.invoice(db, row, tools, "invoice.in_doubt", variant="cancel")
        if news:
            notify.status_again(db, row, tools, connection=None)


def _never_asked(claimed: Claimed, tools: Tools, ended: Ended, asked: Asked) -> None:
    """Look-ups have denied the request for a whole quarantine: ask anew (the SAT takes a second one as the first)."""
    with settle.one_commit(claimed, tools, ended) as (db, now):
        _close(db, asked, AttemptOutcome.PROVEN_NO, tools)
        settle.stay(db, claimed, now, next_attempt_at=now, doubt=None, doubt_since=None, lookups=0)


def _break(claimed: Claimed, tools: Tools, error: ConnectionRefused, ended: Ended) -> None:
    reason, detail = BrokenReason(error.reason), detail_of(error)
    settle.on_hold_as_it_stands(claimed, tools, ended, reason=reason, detail=detail)


def _close(
    db: sa.Connection,
    asked: Asked | None,
    outcome: AttemptOutcome,
    tools: Tools,
    *,
    detail: str | None = None,
) -> None:
    """Write what a look-up found out about a request: it was made, or it certainly was not."""
    if asked is None or asked.is_settled:
        return
    now = tools.clock.now()
    values: dict[str, Any] = {"detail": detail} if detail is not None else {}
    db.execute(
        sa.update(attempts_table)
        .where(attempts_table.c.id == asked.attempt.id)
        .values(outcome=outcome, finished_at=sa.func.coalesce(attempts_table.c.finished_at, now), **values)
    )


def _acuse(prepared: Prepared, uuid: str, acuse: bytes | None, tools: Tools) -> dict[str, Any] | None:
    """Store the acuse; where that can't be done now, the status does not wait for it."""
    if not acuse:
        return None
    try:
        return store_acuse(prepared.subject, uuid, acuse, tools)
    except StorageUnavailable as error:
        log.warning("acuse_not_stored", invoice_id=str(prepared.subject.invoice_id), why=type(error).__name__)
        return None


def _write_acuse(db: sa.Connection, claimed: Claimed, acuse: dict[str, Any] | None, tools: Tools) -> None:
    """Write where the acuse lies; once, also when the same one came a second time."""
    if acuse is None:
        return
    known = db.execute(
        sa.select(documents.c.id).where(documents.c.invoice_id == claimed.id, documents.c.key == acuse["key"])
    ).first()
    if known is None:
        db.execute(sa.insert(documents).values(**acuse, invoice_id=claimed.id, stored_at=tools.clock.now()))


def _ended(number: int, outcome: AttemptOutcome, error: ContaDigitalError, began: float) -> Ended:
    return Ended(number, outcome, error.http_status, error.codigo, _ms(began), error.text)


def _ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
