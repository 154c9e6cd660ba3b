"""Cancelling a stamped invoice: asked for once, looked up when the answer is lost, reported only when it is true.

"Requested" is not "cancelled": the receptor has three business days (RMF 2.7.1.34), so the invoice stands at
`cancelling` until ContaDigital says how it ended, or so much time has passed that somebody must look. What has been
asked is read from the attempts: while one is unanswered no second request leaves.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog

from cfdi.amounts import compute
from cfdi.faults import Fault
from contadigital.errors import ContaDigitalError
from models.tables import attempts as attempts_table
from models.tables import documents, history, invoices
from models.vocabulary import HAS_UUID, AttemptOutcome, Call, InvoiceStatus
from stamping import notify, retries, settle
from stamping.attempts import Attempt
from stamping.cancellation import reasons
from stamping.cancellation.begin import CANCELLABLE, begin
from stamping.cancellation.reasons import (
    ANOTHER_RECORD,
    ASK_SUPPORT,
    NOT_ASKED,
    NOT_CANCELABLE,
    RECEPTOR_REFUSED,
    SUBSTITUTED,
    UNCONFIRMED,
)
from stamping.cancellation.sat_status import SatStatus, StatusUnknown
from stamping.claims import LateError, Unclaimed, claim_lookup
from stamping.connections import suspend
from stamping.intake import asked_about
from stamping.intake.seen_messages import Message
from stamping.prepare import prepare_lookup
from stamping.reconcile import look_up
from stamping.retries import Next, before_lookup, before_try
from stamping.store_documents import store_acuse
from stamping.tools import Tools
from storage import StorageUnavailable

log = structlog.get_logger(__name__)

SAT_LAG = timedelta(hours=24)
"""For how long after the stamp "unknown UUID" (205) only means that the SAT does not know it yet."""
AGAIN_AFTER_205 = timedelta(minutes=3)
FIRST_POLL = timedelta(minutes=1)
POLL_CAP = timedelta(hours=1)
LONGEST = timedelta(days=7)
"""How long a cancellation may stand without an end: three business days and a long weekend, and then a person looks."""
MOST_REQUESTS = 5
"""How often the SAT is asked where no answer and no look-up ever says what became of it."""

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
    """Take a request to cancel; return the invoice to go on with, or None where there is nothing to ask the SAT.

    Whatever came (a message may hold anything), the answer is an event: of the invoice, or of the message where it
    names none.
    """
    sustitucion = str(uuid_sustitucion).strip().upper() or None if uuid_sustitucion is not None else None
    with tools.engine.begin() as db:
        row, is_new = asked_about.find(db, account, external_id, message, tools, trace_id)
        if row is None:
            return None
        faults: tuple[Fault, ...] = ()
        if is_new and row.status in CANCELLABLE:
            faults = reasons.check(db, row, motivo, sustitucion)
            if faults:
                _notify_refused(db, asked_about.next_version(db, row, tools), tools, faults)
                return None
            return begin(db, row.id, str(motivo), sustitucion, tools.clock.now())
        if is_new and row.status not in HAS_UUID:
            faults = (reasons.not_stamped(row.status, row.reason),)
        asked_about.repeat_status(db, row, tools, *faults)
    return None


# --- what comes of it ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """What the cancellation at hand has come to: when it began, from which status, and its last request."""

    since: datetime
    origin: InvoiceStatus
    """`stamped` or `differs`: where a refusal takes the invoice back to."""
    is_first: bool
    """Whether it was never asked to be cancelled before; what a look-up says may else be of another request."""
    requests: int = 0
    attempt: Row | None = None

    @property
    def may_be_asked(self) -> bool:
        """Whether no request was made, or the last certainly did nothing, so that the SAT may be asked (again)."""
        return self.attempt is None or self.attempt.outcome in {
            AttemptOutcome.NOT_SENT,
            AttemptOutcome.REFUSED,
            AttemptOutcome.PROVEN_NO,
        }

    @property
    def is_settled(self) -> bool:
        """Whether it is known that the SAT has it."""
        attempt = self.attempt
        return attempt is not None and attempt.outcome == AttemptOutcome.DONE and attempt.detail != UNKNOWN

    @property
    def in_doubt(self) -> bool:
        """Whether its answer was lost or said nothing, or its worker never came back."""
        return not self.may_be_asked and not self.is_settled


UNKNOWN = "unknown"
"""`Cancellation.state` of an answer that did not say what became of the request."""


def settle_cancellation(invoice_id: UUID, tools: Tools) -> None:
    """Take one cancellation a step on: ask the SAT, ask how it stands, or say that nobody answers."""
    claimed = claim_lookup(invoice_id, InvoiceStatus.CANCELLING, tools)
    if isinstance(claimed, Unclaimed):
        if claimed.why == "broken":
            suspend.wait_for_connection(invoice_id, claimed.account or "", tools)
        return
    attempt = Attempt(claimed, tools)
    attempt.prepared = prepare_lookup(claimed, tools)
    try:
        asked = _asked(attempt)
        is_over = tools.clock.now() - asked.since >= LONGEST
        if asked.may_be_asked:
            if is_over:
                _refused(attempt, asked, (NOT_ASKED,))
            elif asked.requests >= MOST_REQUESTS:
                _refused(attempt, asked, (UNCONFIRMED,))
            else:
                _ask(attempt, asked)
        else:
            _look(attempt, asked, is_over=is_over)
    except LateError:
        log.warning("late", invoice_id=str(claimed.id), claim=claimed.claim, worker=tools.worker)


def _asked(attempt: Attempt) -> Asked:
    """Read what was asked; a request without an outcome began, and its end was never learnt.

    Requests at or before the claim at which the invoice last came to `cancelling` belong to a cancellation that was
    refused.
    """
    invoice_id = attempt.claimed.id
    with attempt.tools.engine.begin() as db:
        begun = db.execute(
            sa.select(history.c.at, history.c.claim, history.c.from_status)
            .where(history.c.invoice_id == invoice_id, history.c.to_status == InvoiceStatus.CANCELLING)
            .order_by(history.c.id.desc())
        ).all()
        requests = db.execute(
            sa.select(attempts_table)
            .where(
                attempts_table.c.invoice_id == invoice_id,
                attempts_table.c.call == Call.CANCEL,
                attempts_table.c.claim > begun[0].claim,
            )
            .order_by(attempts_table.c.number.desc())
        ).all()
    unanswered = [
        each
        for each in requests
        if each.outcome in {None, AttemptOutcome.LOST, AttemptOutcome.UNUSABLE, AttemptOutcome.PROVEN_NO}
    ]
    return Asked(
        since=begun[0].at,
        origin=InvoiceStatus(begun[0].from_status),
        is_first=len(begun) == 1,
        requests=len(unanswered),
        attempt=requests[0] if requests else None,
    )


def _ask(attempt: Attempt, asked: Asked) -> None:
    row = attempt.invoice
    if not _is_still_ours(attempt, asked):
        return
    sat = _at_the_sat(attempt)
    if sat is not None and sat.is_cancelled:  # by somebody else, or by a request whose answer was lost
        _cancelled(attempt)
        return
    # With motivo 01 its substitute is related to it, which alone makes the SAT say so.
    if sat is not None and not sat.is_cancelable and row.motivo != SUBSTITUTED:
        _refused(attempt, asked, (NOT_CANCELABLE,))
        return
    try:
        answer = attempt.ask(
            Call.CANCEL,
            lambda: attempt.tools.provider.cancel(
                attempt.prepared.credentials, row.record_id, row.motivo, row.uuid_sustitucion
            ),
            record_id=row.record_id,
        )
    except ContaDigitalError as error:
        _not_done(attempt, asked, error)
        return
    attempt.note(answer.state)
    acuse = _acuse(attempt, answer.acuse) if answer.state != UNKNOWN else None
    match answer.state:
        case "cancelled":
            _cancelled(attempt, acuse=acuse)
        case "requested":
            _stay(attempt, FIRST_POLL, acuse=acuse, news=True)
        case _:
            _stay(attempt, before_lookup(0))


def _is_still_ours(attempt: Attempt, asked: Asked) -> bool:
    """Whether the record to be cancelled bears this invoice's UUID; where not, wait, or say why it can't be asked for.

    The account may be connected to another address since, where the same Id is another invoice; and nobody takes a
    cancellation back. So a look-up comes before each request.
    """
    row, tools = attempt.invoice, attempt.tools
    if attempt.is_elsewhere:
        _refused(attempt, asked, (ANOTHER_RECORD,))
        return False
    try:
        uuid = tools.provider.look_up(attempt.prepared.credentials, row.record_id).uuid
    except ContaDigitalError as error:
        failure = retries.decide(error)
        if failure.next is Next.HOLD:
            settle.look_up_refused(attempt, failure)
            return False
        if failure.next is not Next.GONE:
            _stay(attempt, max(before_try(row.tries + 1), failure.wait or timedelta(0)))
            return False
        uuid = None
    if uuid == row.uuid:
        return True
    if uuid is None and tools.clock.now() - row.stamped_at < SAT_LAG:  # look-ups deny what is new for a while
        _stay(attempt, AGAIN_AFTER_205)
    else:
        _refused(attempt, asked, (ANOTHER_RECORD,))
    return False


def _not_done(attempt: Attempt, asked: Asked, error: ContaDigitalError) -> None:
    """Cut a request that was not done by what comes next: ask again, look it up, or stop."""
    failure = retries.decide(error)
    again = max(before_try(attempt.invoice.tries + 1), failure.wait or timedelta(0))
    match failure.next:
        case Next.LOOK_UP:
            _stay(attempt, before_lookup(0), doubt=True)
        case Next.AGAIN | Next.SLOW_DOWN:
            _stay(attempt, again)
        case Next.HOLD:
            settle.look_up_refused(attempt, failure)
        case Next.GONE if attempt.tools.clock.now() - attempt.invoice.stamped_at < SAT_LAG:
            _stay(attempt, AGAIN_AFTER_205)
        case _:
            attempt.note(outcome=AttemptOutcome.REFUSED)
            _refused(attempt, asked, failure.faults_or(ASK_SUPPORT))


def _look(attempt: Attempt, asked: Asked, *, is_over: bool) -> None:
    """Ask how a request stands that was made, or whose answer was lost."""
    row = attempt.invoice
    failure: retries.Failure | None = None
    state: str | None = None
    if attempt.is_elsewhere:  # what became of ours can't be asked of ContaDigital from here
        if _state_at_the_sat(attempt, asked) == "cancelled":
            _cancelled(attempt, asked=asked)
        else:
            _refused(attempt, asked, (ANOTHER_RECORD,))
        return
    try:
        record = look_up(attempt)
    except ContaDigitalError as error:
        failure = retries.decide(error)
        if failure.next is Next.HOLD:
            settle.look_up_refused(attempt, failure)
            return
    else:
        if record.uuid is not None and record.uuid != row.uuid:
            attempt.note("it is another invoice's record", AttemptOutcome.NO)
            _refused(attempt, asked, (ANOTHER_RECORD,))
            return
        state = record.cancellation
        if state == "rejected" and asked.in_doubt and not asked.is_first:
            state = None  # what the receptor refused may be the request before this one
        attempt.note(state or "not asked for", AttemptOutcome.NO if state is None else AttemptOutcome.DONE)
    if state not in {"cancelled", "rejected"}:
        state = _state_at_the_sat(attempt, asked) or state
    match state:
        case "cancelled":
            _cancelled(attempt, asked=asked)
        case "rejected":
            _refused(attempt, asked, (RECEPTOR_REFUSED,))
        case _ if is_over:
            _refused(attempt, asked, (UNCONFIRMED,))
        case "requested":
            _stay(attempt, _next_poll(row.lookups), asked=asked, news=not asked.is_settled)
        case _ if failure is not None:
            wait = max(before_lookup(row.lookups + 1), failure.wait or timedelta(0))
            _stay(attempt, wait, doubt=asked.in_doubt)
        case _ if asked.is_settled:
            _stay(attempt, _next_poll(row.lookups))
        case _ if _denied_for(attempt, asked) >= attempt.tools.policy.quarantine:
            _never_asked(attempt, asked)
        case _:
            _stay(attempt, before_lookup(row.lookups + 1), doubt=True)


def _at_the_sat(attempt: Attempt) -> SatStatus | None:
    """Return how the SAT has it; None where it is not to be asked, gives no answer, or does not know it (yet)."""
    service, prepared = attempt.tools.sat_status, attempt.prepared
    if service is None:
        return None
    total, receptor = compute(prepared.invoice).total, prepared.invoice.receptor.rfc

    def ask() -> SatStatus | None:
        try:
            return service.ask(prepared.issuer.rfc, receptor, total, attempt.invoice.uuid)
        except StatusUnknown:
            return None

    found = attempt.ask(Call.SAT_STATUS, ask, record_id=None)
    if found is None:
        attempt.note("no usable answer", AttemptOutcome.UNUSABLE)
        attempt.ended = replace(attempt.ended, http_status=None)
        return None
    attempt.note(
        " / ".join(filter(None, (found.estado, found.es_cancelable, found.estatus_cancelacion)))[:100]
    )
    return found if found.is_found else None


def _state_at_the_sat(attempt: Attempt, asked: Asked) -> str | None:
    """Return what became of the request by the SAT's word, as `Cancellation.state`; None where it says nothing."""
    found = _at_the_sat(attempt)
    if found is None:
        return None
    if found.is_cancelled:
        return "cancelled"
    if found.is_refused:  # of the request before this one, perhaps: the SAT keeps it until it has the new one
        is_old = not asked.is_first and attempt.tools.clock.now() - asked.since < SAT_LAG
        return None if is_old or asked.in_doubt else "rejected"
    return "requested" if found.is_in_process else None


def _denied_for(attempt: Attempt, asked: Asked) -> timedelta:
    """Return for how long look-ups have been answering that nobody asked for this cancellation."""
    last = asked.attempt.number if asked.attempt is not None else 0
    with attempt.tools.engine.begin() as db:
        first = db.execute(
            sa.select(sa.func.min(attempts_table.c.started_at)).where(
                attempts_table.c.invoice_id == attempt.claimed.id,
                attempts_table.c.call == Call.LOOK_UP,
                attempts_table.c.outcome == AttemptOutcome.NO,
                attempts_table.c.number > last,
            )
        ).scalar_one_or_none()
    return attempt.tools.clock.now() - first if first is not None else timedelta(0)


def _next_poll(lookups: int) -> timedelta:
    return min(POLL_CAP, FIRST_POLL * float(2 ** min(lookups, 6)))


# --- how a step ends -------------------------------------------------------------------------------------------------


def _cancelled(attempt: Attempt, *, asked: Asked | None = None, acuse: dict[str, Any] | None = None) -> None:
    with settle.one_commit(attempt) as (db, now):
        _close(db, asked, AttemptOutcome.DONE, attempt.tools)
        _write_acuse(db, attempt, acuse)
        row = settle.move(
            db,
            attempt,
            InvoiceStatus.CANCELLED,
            now,
            version=invoices.c.version + 1,
            cancelled_at=now,
            next_attempt_at=None,
            doubt=None,
            doubt_since=None,
            errors=[],  # what differed asks for a decision no more
            mail_due_at=None,  # nobody wants a cancelled invoice by mail
        )
        stored = notify.stored_documents(db, row.id)
        notify.invoice(db, row, attempt.tools, "invoice.cancelled", documents=stored)


def _refused(attempt: Attempt, asked: Asked, faults: tuple[Fault, ...]) -> None:
    """The SAT, the receptor or ContaDigital said no, or nobody says anything: the invoice stands where it stood."""
    with settle.one_commit(attempt) as (db, now):
        _close(db, asked, AttemptOutcome.DONE, attempt.tools)
        row = settle.move(
            db,
            attempt,
            asked.origin,
            now,
            version=invoices.c.version + 1,
            next_attempt_at=None,
            doubt=None,
            doubt_since=None,
        )
        _notify_refused(db, row, attempt.tools, faults)


def _notify_refused(db: sa.Connection, row: Row, tools: Tools, faults: tuple[Fault, ...]) -> None:
    notify.invoice(
        db,
        row,
        tools,
        "invoice.cancel_refused",
        variant="unconfirmed" if UNCONFIRMED in faults else "",
        errors=faults,
        documents=notify.stored_documents(db, row.id),
    )


def _stay(
    attempt: Attempt,
    delay: timedelta,
    *,
    acuse: dict[str, Any] | None = None,
    asked: Asked | None = None,
    doubt: bool = False,
    news: bool = False,
) -> None:
    """Stay at `cancelling` and go on after `delay`.

    `doubt` says that the request may or may not have been made: an event, once. `news` says that the SAT is now known
    to have it (`asked`, where a look-up found that out): an event, since a user who asked should not wait in silence
    for three business days.
    """
    tools, invoice = attempt.tools, attempt.invoice
    newly = doubt and invoice.doubt is None
    with settle.one_commit(attempt) as (db, now):
        _write_acuse(db, attempt, acuse)
        values: dict[str, Any] = {
            "next_attempt_at": now + delay,
            "lookups": 0 if newly or news else invoices.c.lookups + 1,
            "tries": invoices.c.tries + 1,
        }
        if doubt:
            values |= {"doubt": "cancel", "doubt_since": invoice.doubt_since or now}
        if news:
            _close(db, asked, AttemptOutcome.DONE, tools, detail="requested")
            values |= {"doubt": None, "doubt_since": None}
        if newly or news:
            values["version"] = invoices.c.version + 1
        row = settle.stay(db, attempt, now, **values)
        if newly:
            notify.invoice(db, row, tools, "invoice.in_doubt", variant="cancel")
        if news:
            notify.status_again(db, row, tools)


def _never_asked(attempt: Attempt, asked: Asked) -> None:
    """Look-ups have denied the request for a whole quarantine: ask anew (the SAT takes a second one as the first)."""
    with settle.one_commit(attempt) as (db, now):
        _close(db, asked, AttemptOutcome.PROVEN_NO, attempt.tools)
        settle.stay(db, attempt, now, next_attempt_at=now, doubt=None, doubt_since=None, lookups=0)


def _close(
    db: sa.Connection,
    asked: Asked | None,
    outcome: AttemptOutcome,
    tools: Tools,
    *,
    detail: str | None = None,
) -> None:
    """Write what a look-up found out about a request: it was made, or it certainly was not."""
    if asked is None or asked.attempt is None or not asked.in_doubt:
        return
    now = tools.clock.now()
    values: dict[str, Any] = {"detail": detail} if detail is not None else {}
    db.execute(
        sa.update(attempts_table)
        .where(attempts_table.c.id == asked.attempt.id)
        .values(outcome=outcome, finished_at=sa.func.coalesce(attempts_table.c.finished_at, now), **values)
    )


def _acuse(attempt: Attempt, acuse: bytes | None) -> dict[str, Any] | None:
    """Store the acuse; where that can't be done now, the status does not wait for it."""
    if not acuse:
        return None
    try:
        return store_acuse(attempt.prepared.subject, attempt.invoice.uuid, acuse, attempt.tools)
    except StorageUnavailable as error:
        log.warning("acuse_not_stored", invoice_id=str(attempt.claimed.id), why=type(error).__name__)
        return None


def _write_acuse(db: sa.Connection, attempt: Attempt, acuse: dict[str, Any] | None) -> None:
    """Write where the acuse lies; once, also when the same one came a second time."""
    if acuse is None:
        return
    invoice_id = attempt.claimed.id
    known = db.execute(
        sa.select(documents.c.id).where(documents.c.invoice_id == invoice_id, documents.c.key == acuse["key"])
    ).first()
    if known is None:
        settle.write_documents(db, attempt, [acuse], attempt.tools.clock.now())
