"""One invoice from its claim to its end: claim, prepare, save, stamp, verify and store, settle.

No transaction is open while ContaDigital is called; what is about to be sent is committed before it leaves; and a lost
answer is never answered by sending again: it ends the claim `in_doubt`, and reconcile.py looks it up.
"""

from contextlib import suppress
from typing import Any
from uuid import UUID

import structlog

from cfdi import document
from contadigital.errors import AlreadyStamped, ContaDigitalError
from contadigital.resolve_ids import GivenIds, given_and_refused, id_refused, ids_refused, is_of_the_account
from models.vocabulary import AttemptOutcome, Call, FailedReason
from stamping import claims, retries, saved_record, settle, store_documents
from stamping.attempts import Attempt
from stamping.claims import Claimed, LateError, Unclaimed
from stamping.connections import suspend
from stamping.customers import invalidate_customer, is_kept_otherwise
from stamping.deadlines import SECOND_LOOK
from stamping.limits.storage import takes_documents
from stamping.limits.throttle import BUSY
from stamping.outcome import Full, NotOurs, OnHold, Outcome, Stamped
from stamping.prepare import Expired, Prepared, forget, prepare
from stamping.provider_refs import NotReady
from stamping.retries import FAILED_CALL, Next
from stamping.texts import CALLED_STAMPED, EXPIRED, LOST_RECORD, UNKNOWN_REFUSAL
from stamping.tools import Tools

log = structlog.get_logger(__name__)


class RecordLostError(Exception):
    """A stamp of it may stand under an Id that can't be looked up any more: nothing safe is left to try."""


def stamp(invoice_id: UUID, tools: Tools) -> Outcome:
    """Take one invoice, or its account's most urgent one, as far as it goes now."""
    return stamp_taken(take(tools, invoice_id=invoice_id), tools)


def take(tools: Tools, *, invoice_id: UUID | None = None, account: str | None = None) -> Claimed | Unclaimed:
    """Claim an invoice, or an account's most urgent one; nothing while its XML could not be stored."""
    if not takes_documents(tools):
        return Unclaimed("closed", account or (suspend.account_of(invoice_id, tools) if invoice_id else None))
    if account is not None:
        return claims.take_of(account, tools)
    if invoice_id is None:
        raise ValueError("neither an invoice nor an account")
    return claims.take(invoice_id, tools)


def stamp_taken(taken: Claimed | Unclaimed, tools: Tools) -> Outcome:
    """Go on with what was claimed, or see to what kept it from being claimed."""
    if isinstance(taken, Unclaimed):
        return _nothing_claimed(taken, tools)
    return stamp_claimed(taken, tools)


def stamp_claimed(claimed: Claimed, tools: Tools, prepared: Prepared | None = None) -> Outcome:
    """Take a claimed invoice as far as it goes now; a claim that was lost on the way, or met a bug, is let go of.

    With `prepared` the commit that claimed it has said already that its save leaves.
    """
    attempt = Attempt(claimed, tools, begun=prepared)
    if prepared is None:
        tools.failpoints.reach("after_claim")
    try:
        return _run(attempt)
    except LateError:
        log.warning("late", invoice_id=str(claimed.id), claim=claimed.claim, worker=tools.worker)
        settle.note_second_stamp(attempt)
        return NotOurs()
    except Exception as bug:
        log.error("bug", invoice_id=str(claimed.id), claim=claimed.claim, why=type(bug).__name__)
        with suppress(Exception):  # where that fails too, the claim runs out, and the sweep ends it
            settle.after_a_bug(attempt)
        raise


def _run(attempt: Attempt) -> Outcome:
    """Walk the steps; every ending is committed before this returns."""
    try:
        if not attempt.is_begun:
            attempt.prepared = prepare(attempt.claimed, attempt.tools)
            attempt.tools.failpoints.reach("after_prepare")
        if not attempt.prepared.is_saved:
            save(attempt)
        if attempt.record is None:  # some providers stamp on saving
            stamp_saved(attempt)
        verified = verify_and_store(attempt)
        return settle.stamp_found(attempt, verified, asked_id=attempt.asked_id)
    except Expired as over:
        if over.fault == EXPIRED:  # by this look at the clock: stamping/deadlines.py takes a second one
            return settle.later(attempt, wait=SECOND_LOOK, in_vain=False)
        return settle.failed(attempt, FailedReason.EXPIRED, [over.fault])
    except NotReady as busy:
        return settle.later(attempt, wait=busy.wait, in_vain=False)
    except RecordLostError:
        return settle.failed(attempt, FailedReason.NEEDS_PERSON, [LOST_RECORD])
    except FAILED_CALL as error:
        return _call_failed(attempt, error)


def stamp_as_probe(connection_id: UUID, tools: Tools) -> bool:
    """Send one invoice on hold of a connection that ran out of stamps; True when it was stamped."""
    claimed = claims.take_as_probe(connection_id, tools) if takes_documents(tools) else None
    return claimed is not None and isinstance(stamp_claimed(claimed, tools), Stamped)


# --- the steps --------------------------------------------------------------------------------------------------------


def save(attempt: Attempt) -> None:
    """Save without stamping, and keep ContaDigital's Id: the record that every doubt is later looked up by."""
    prepared = attempt.prepared
    if not prepared.record_id and attempt.claimed.claim > 1 and settle.was_ever_in_doubt(attempt):
        # saved for another company or at another address: a second stamp would not meet the first one there
        raise RecordLostError
    record = attempt.ask(
        Call.SAVE,
        lambda: attempt.tools.provider.save(prepared.credentials, prepared.body, prepared.record_id),
        record_id=prepared.record_id,
        facts=prepared.fixed | _where_it_is_saved(prepared),
    )
    settle.learn_now(attempt, saves_only=not record.uuid)
    attempt.saved_id = record.id
    if record.uuid:
        attempt.record, attempt.asked_id = record, None
        return
    saved_record.compare(attempt, record, _saved_facts(attempt, record.id))


def _where_it_is_saved(prepared: Prepared) -> dict[str, Any]:
    """Return what is written of a save before it leaves: its address.

    What another address does with a save says nothing of one whose answer was lost here; and the Id of a draft
    elsewhere is another invoice's here.
    """
    address = {"record_base_url": prepared.credentials.base_url}
    if prepared.record_id:
        return address
    return address | {"record_id": None, "record_empresa": None, "record_hash": None}


def stamp_saved(attempt: Attempt) -> None:
    """Stamp the saved record; where it was saved just now, its Id is kept in the very commit that says so."""
    prepared = attempt.prepared
    facts: dict[str, Any] = prepared.fixed
    record_id = prepared.record_id
    if attempt.saved_id is not None:
        record_id = attempt.saved_id
        facts = _saved_facts(attempt, record_id)
    attempt.record = attempt.ask(
        Call.STAMP,
        lambda: attempt.tools.provider.stamp(prepared.credentials, prepared.body, record_id),
        record_id=record_id,
        facts=facts,
    )


def _saved_facts(attempt: Attempt, record_id: int) -> dict[str, Any]:
    return {
        "record_id": record_id,
        "record_empresa": attempt.prepared.id_empresa,
        "record_base_url": attempt.prepared.credentials.base_url,
        "record_hash": attempt.invoice.content_hash,
    }


def verify_and_store(attempt: Attempt) -> store_documents.Verified:
    """Examine the XML of a stamp and store what came with it. Raises what leaves it unsafe: then it is looked up."""
    record, prepared, tools = attempt.record, attempt.prepared, attempt.tools
    if record is None:
        raise ValueError("nothing was stamped")
    if attempt.asked_id and record.id != attempt.asked_id:
        settle.learn_now(attempt, honours_id=False)
    xml = record.xml
    if xml is None and record.xml_link:
        xml = tools.provider.document(prepared.credentials, record.xml_link)
    verified = store_documents.examine_and_store(
        prepared.subject, record, xml, prepared.expected(record.uuid), tools
    )
    tools.failpoints.reach("after_store")
    return verified


# --- when a step fails ------------------------------------------------------------------------------------------------


def _call_failed(attempt: Attempt, error: Exception) -> Outcome:
    """Cut what failed by what comes next: send again, look it up, or stop."""
    if (
        attempt.record is not None
    ):  # stamped, most likely, but its XML is not safe: a doubt, and a look-up ends it
        log.warning("not_stored", invoice_id=str(attempt.claimed.id), why=type(error).__name__)
        attempt.note(str(error), AttemptOutcome.LOST)
        facts = settle.called_stamped(attempt, attempt.record.id)
        return settle.in_doubt(attempt, doubt=Call.STAMP, facts=facts)
    failure = retries.decide(error)
    sent = attempt.call
    if sent is None and isinstance(error, ContaDigitalError):
        attempt.fails(error)
    match failure.next:
        case Next.HOLD:
            return settle.on_hold(attempt, failure)
        case Next.LEARN_AGAIN:
            return _id_refused(attempt, error, failure)
        case Next.SLOW_DOWN if sent is None or not _makes_another(attempt, sent):
            return settle.later(attempt, wait=failure.wait or BUSY, is_throttled=True)
        case Next.REFUSE if failure.faults or sent is not None:
            if sent is not None and any(fault.field.startswith("receptor") for fault in failure.faults):
                invalidate_customer(attempt.claimed, attempt.prepared.invoice.receptor.rfc, attempt.tools)
                if attempt.invoice.tries < MOST_REPAIRS and is_kept_otherwise(
                    attempt.prepared.credentials, attempt.prepared.invoice.receptor, attempt.tools
                ):
                    return settle.later(attempt)  # refused for ContaDigital's record, and not for the invoice
            return settle.rejected(attempt, failure.faults_or(UNKNOWN_REFUSAL))
        case _ if sent is None:  # a token, a list, a customer or a product: nothing of the invoice had left
            return settle.later(attempt)
        case Next.AGAIN:
            # a draft that was saved before bears its date
            return settle.later(attempt, never_sent=sent is Call.SAVE and not attempt.asked_id)
        case Next.ADOPT:
            return _adopt(attempt, error)
        case Next.GONE if attempt.asked_id:
            return _record_is_gone(attempt)
        case Next.GONE:
            return settle.rejected(attempt, failure.faults_or(UNKNOWN_REFUSAL))
        case _:  # lost; or a gateway said "too fast" after it was done, where this provider would make a second one
            return settle.in_doubt(attempt, doubt=sent)


MOST_REPAIRS = 3
"""Tries after which what is refused is not repaired once more: ContaDigital does not keep what it is given, or refuses
its own ids."""


def _id_refused(attempt: Attempt, error: Exception, failure: retries.Failure) -> Outcome:
    """An id is refused: one that was given by hand is named; another is learnt again, and not for ever."""
    connection, invoice = attempt.connection, document.read(attempt.invoice.content)
    given = GivenIds.read(connection.ids)
    names = given_and_refused(failure.text, invoice, given)
    of_the_account = [name for name in names if is_of_the_account(name, connection.codigo_postal)]
    if of_the_account:
        return settle.on_hold(attempt, retries.decide(ids_refused(of_the_account, given, failure.text)))
    if names:
        return settle.rejected(attempt, [id_refused(names, given, failure.text)])
    if attempt.invoice.tries >= MOST_REPAIRS:
        return settle.rejected(attempt, failure.faults_or(UNKNOWN_REFUSAL))
    forget(attempt.claimed, getattr(error, "what", "catalogs"), attempt.tools)
    return settle.later(attempt)


def _makes_another(attempt: Attempt, call: Call) -> bool:
    """Whether this provider was seen to stamp a new record where the same thing is sent once more."""
    seen = attempt.connection
    return (seen.honours_id if call is Call.STAMP else seen.saves_only) is False


def _adopt(attempt: Attempt, error: Exception) -> Outcome:
    """ContaDigital calls it stamped: take the stamp where it came along, else look it up where it has an Id."""
    record = error.record if isinstance(error, AlreadyStamped) else None
    if record is not None and record.uuid and record.xml:
        attempt.record = record
        try:
            return settle.stamp_found(attempt, verify_and_store(attempt), asked_id=attempt.asked_id)
        except FAILED_CALL as unsafe:
            return _call_failed(attempt, unsafe)
    record_id = record.id if record is not None and record.uuid else attempt.asked_id
    if not record_id:
        return settle.failed(attempt, FailedReason.NEEDS_PERSON, [CALLED_STAMPED])
    return settle.in_doubt(attempt, doubt=Call.STAMP, facts=settle.called_stamped(attempt, record_id))


def _record_is_gone(attempt: Attempt) -> Outcome:
    """ContaDigital does not know the Id that we saved under (another company after a new key, or a draft removed).

    Where no answer was ever lost for it, it is certainly not stamped, and is saved anew. Where one was, the stamp
    might exist under an Id that nobody can look up: a person decides.
    """
    if settle.was_ever_in_doubt(attempt):
        return settle.failed(attempt, FailedReason.NEEDS_PERSON, [LOST_RECORD])
    return settle.later(attempt, forget_record=True)


def _nothing_claimed(unclaimed: Unclaimed, tools: Tools) -> Outcome:
    """Nothing was claimed: an account without a connection that works has what is due put on hold."""
    if unclaimed.why in {"full", "closed"}:
        return Full(unclaimed.account or "")
    if unclaimed.why != "broken":
        return NotOurs()
    account = unclaimed.account
    if account is None and unclaimed.invoice_id is not None:
        account = suspend.account_of(unclaimed.invoice_id, tools)
    if account is None:
        return NotOurs()
    suspend.put_on_hold(account, tools)
    return OnHold(account)
