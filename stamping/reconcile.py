"""How a doubt ends: by a look-up that finds the stamp, by a proven no, or by a person. No timer ever ends one.

"Not found" and "no UUID" are not proof: providers deny real stamps for seconds, one for 29 minutes. A no counts only
after a whole quarantine of them, with a control look-up of a known stamp answering in the same breath, and only where
this provider has been seen to stamp the very Id that it was asked for. Then the *same* Id is stamped again. What
ContaDigital itself has called stamped is looked up until it shows its stamp: no number of noes outweighs that.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog

from contadigital.errors import ContaDigitalError
from contadigital.records import Record
from models.tables import attempts as attempts_table
from models.tables import invoices
from models.vocabulary import DUE, AttemptOutcome, Call, FailedReason, InvoiceStatus
from stamping import retries, settle, store_documents
from stamping.attempts import Attempt
from stamping.claims import LateError, Unclaimed, claim_lookup
from stamping.connections import suspend
from stamping.limits.storage import takes_documents
from stamping.outcome import InDoubt, NotOurs, Outcome
from stamping.prepare import prepare_lookup
from stamping.recovery import mark
from stamping.retries import FAILED_CALL, LOOKUP_CAP, Next, before_lookup, before_try
from stamping.texts import CANNOT_KNOW, MOVED
from stamping.tools import Tools

log = structlog.get_logger(__name__)

RESTORED_AGAIN = timedelta(hours=1)
"""How often an invoice is looked at that a restore put in doubt without an Id: `timbrado audit` or a person ends it."""
STILL_TO_SAVE = DUE | {InvoiceStatus.STAMPING, InvoiceStatus.ON_HOLD}
"""Statuses of an invoice whose save will yet show what a save does here."""


def reconcile(invoice_id: UUID, tools: Tools) -> Outcome:
    """Look one invoice in doubt up, once, and take it as far as the answer allows."""
    if not takes_documents(tools):  # a stamp that is found could not be kept: the sweep asks again
        return NotOurs()
    claimed = claim_lookup(invoice_id, InvoiceStatus.IN_DOUBT, tools)
    if isinstance(claimed, Unclaimed):
        if claimed.why != "broken":
            return NotOurs()
        suspend.wait_for_connection(invoice_id, claimed.account or "", tools)
        return InDoubt(claimed.account or "", suspend.CONNECTION_BACK)
    attempt = Attempt(claimed, tools)
    attempt.prepared = prepare_lookup(claimed, tools)
    try:
        return _look(attempt)
    except LateError:
        log.warning("late", invoice_id=str(claimed.id), claim=claimed.claim, worker=tools.worker)
        return NotOurs()


def _look(attempt: Attempt) -> Outcome:
    row = attempt.invoice
    if attempt.is_elsewhere:
        return _moved(attempt)
    if row.doubt == mark.DOUBT:
        return _again(attempt, counted=False, wait=RESTORED_AGAIN)
    if row.record_id is None or (row.doubt == Call.SAVE and attempt.connection.saves_only):
        return _lost_save(attempt)
    try:
        record = look_up(attempt)
    except ContaDigitalError as error:
        return _look_up_failed(attempt, error)
    if record.uuid is None:
        attempt.note(outcome=AttemptOutcome.NO)
        return _no(attempt)
    return _adopt(attempt, record)


def look_up(attempt: Attempt) -> Record:
    """Ask how the saved record of a claimed invoice stands."""
    record_id = attempt.invoice.record_id
    return attempt.ask(
        Call.LOOK_UP,
        lambda: attempt.tools.provider.look_up(attempt.prepared.credentials, record_id),
        record_id=record_id,
    )


def _look_up_failed(attempt: Attempt, error: ContaDigitalError) -> Outcome:
    failure = retries.decide(error)
    match failure.next:
        case Next.GONE:
            attempt.note(outcome=AttemptOutcome.NO)
            return _no(attempt)
        case Next.HOLD:  # the doubt stays, and is looked up once the connection is back
            settle.look_up_refused(attempt, failure)
            return InDoubt(attempt.account, suspend.CONNECTION_BACK)
        case _:
            return _again(attempt, counted=False, wait=failure.wait)


def _adopt(attempt: Attempt, record: Record) -> Outcome:
    """A stamp was found: take it, once its evidence holds."""
    tools, prepared = attempt.tools, attempt.prepared
    try:
        xml = record.xml
        if xml is None and record.xml_link:
            xml = tools.provider.document(prepared.credentials, record.xml_link)
        verified = store_documents.examine_and_store(
            prepared.subject, record, xml, prepared.expected(record.uuid), tools
        )
    except FAILED_CALL as error:
        attempt.note(f"stamped, but its XML is not safe yet: {error}"[:500])
        return _again(attempt, counted=False)
    asked_id = None if _is_called_stamped(attempt.invoice) else attempt.invoice.record_id
    return settle.stamp_found(attempt, verified, asked_id=asked_id)


def _is_called_stamped(invoice: sa.Row[Any]) -> bool:
    """Whether ContaDigital has said that it is stamped; its Id may then be another than the one that was asked for."""
    return invoice.record_hash is None and invoice.record_id is not None


def _no(attempt: Attempt) -> Outcome:
    """The look-up says no. Believe it only after a whole quarantine, and only with proof that looking up works."""
    if attempt.doubted_for < attempt.tools.policy.quarantine or _is_called_stamped(attempt.invoice):
        return _again(attempt, counted=True)
    if attempt.connection.honours_id is False:
        # this provider stamps under Ids of its own: a no about ours says nothing
        return settle.failed(attempt, FailedReason.NEEDS_PERSON, [CANNOT_KNOW])
    control = _control(attempt)
    if control is None:
        return _again(attempt, counted=True)
    if not _answers(control, attempt):
        return _again(attempt, counted=True, most=LOOKUP_CAP)
    return settle.proven_no(attempt)


def _control(attempt: Attempt) -> sa.Row[Any] | None:
    """Return a stamp of this account that is known to stand under the Id that was asked for; None where there is none.

    The first since the doubt began, else the last before it. A provider that shows one newer than ours can be would
    show ours. The newest of all proves no more, and is what a provider denies for a while: with a new one every few
    seconds, no doubt would ever end.
    """
    stamped_at = invoices.c.stamped_at
    known: sa.Select[Any] = sa.select(invoices.c.record_id, invoices.c.uuid).where(
        invoices.c.account == attempt.account,
        invoices.c.status == InvoiceStatus.STAMPED,
        invoices.c.id_honoured,
        invoices.c.record_empresa == attempt.invoice.record_empresa,
    )
    began = attempt.invoice.doubt_since
    since = known.where(stamped_at >= began).order_by(stamped_at).limit(1)
    before = known.where(stamped_at < began).order_by(stamped_at.desc()).limit(1)
    with attempt.tools.engine.begin() as db:
        return db.execute(since).one_or_none() or db.execute(before).one_or_none()


def _answers(control: sa.Row[Any], attempt: Attempt) -> bool:
    """Whether a look-up, in the same breath, shows a stamp that is there."""
    try:
        record = attempt.tools.provider.look_up(attempt.prepared.credentials, control.record_id)
    except ContaDigitalError:
        return False
    return (record.uuid or "").upper() == str(control.uuid)


def _moved(attempt: Attempt) -> Outcome:
    """The account is connected to another address than the one that issued the Id: connected back, it is looked up."""
    if attempt.doubted_for >= attempt.tools.policy.quarantine:
        return settle.failed(attempt, FailedReason.NEEDS_PERSON, [MOVED])
    return _again(attempt, counted=False)


def _lost_save(attempt: Attempt) -> Outcome:
    """The answer to a save was lost, so there is no Id to look up. A save makes no stamp: where that has been *seen*
    of this account, saving anew is safe. Where the opposite has been seen, or nothing for a whole quarantine and no
    other invoice is on its way to show it, a person decides."""
    saves_only = attempt.connection.saves_only
    if saves_only is True:
        return settle.proven_no(attempt, wait=_before_saving_anew(attempt))
    is_hopeless = attempt.doubted_for >= attempt.tools.policy.quarantine and not _another_will_show(attempt)
    if saves_only is False or is_hopeless:
        return settle.failed(attempt, FailedReason.NEEDS_PERSON, [CANNOT_KNOW])
    return _again(attempt, counted=True, most=LOOKUP_CAP)


def _another_will_show(attempt: Attempt) -> bool:
    """Whether another invoice of the account is still to be saved: its answer shows what a save does here.

    After an outage they wait for it together, and this one must not be given up before they had their turn. Its own 72
    hours end that: an account that is paused for longer shows nothing.
    """
    expires_at = attempt.invoice.expires_at
    if expires_at is not None and attempt.tools.clock.now() >= expires_at:
        return False
    other = sa.select(invoices.c.id).where(
        invoices.c.account == attempt.account, invoices.c.status.in_(sorted(STILL_TO_SAVE))
    )
    with attempt.tools.engine.begin() as db:
        return db.execute(other.limit(1)).first() is not None


def _before_saving_anew(attempt: Attempt) -> timedelta:
    """How long to wait: at first not at all, and ever longer where the answer to saving this one is always lost."""
    saves = attempts_table.c.invoice_id == attempt.claimed.id, attempts_table.c.call == Call.SAVE
    with attempt.tools.engine.begin() as db:
        lost = db.execute(
            sa.select(sa.func.count()).where(*saves, attempts_table.c.outcome != AttemptOutcome.DONE)
        ).scalar_one()
    return before_try(lost - 1) if lost > 1 else timedelta(0)


def _again(
    attempt: Attempt, *, counted: bool, wait: timedelta | None = None, most: timedelta | None = None
) -> Outcome:
    """Look it up again, ever less often: the more look-ups said no, or the more in a row went unanswered.

    `wait` is the least, where ContaDigital named a time, and `most` the most.
    """
    row, quarantine = attempt.invoice, attempt.tools.policy.quarantine
    past = attempt.doubted_for >= quarantine
    in_vain = 0 if counted else row.tries + 1
    delay = before_lookup(row.lookups + 1 if counted else in_vain, past_quarantine=past)
    delay = max(min(delay, most or delay), wait or timedelta(0))
    if not past:  # be there when the quarantine ends, rather than a long step later
        left = quarantine - attempt.doubted_for
        delay = min(delay, max(left, timedelta(seconds=1)))
    with settle.one_commit(attempt) as (db, now):
        settle.stay(
            db,
            attempt,
            now,
            next_attempt_at=now + delay,
            lookups=invoices.c.lookups + (1 if counted else 0),
            tries=in_vain,
        )
    return InDoubt(attempt.account, delay)
