"""The pipeline: claim > prepare > save > stamp > keep > settle.

Read `stamp` from top to bottom and you have followed an invoice. What a newcomer would get wrong: no transaction is
open while ContaDigital is called, what is about to be sent is committed before it leaves, and a lost answer is never
answered by sending again: it ends the claim `in_doubt`, and reconcile.py looks it up.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import structlog
from sqlalchemy.exc import OperationalError

from cfdi.faults import Fault
from contadigital.errors import (
    AlreadyStamped,
    ConnectionRefused,
    ContaDigitalError,
    DocumentRejected,
    IdRefused,
    NotSent,
    Refused,
    Throttled,
    UnknownRecord,
)
from contadigital.records import Record
from models.vocabulary import AttemptOutcome, BrokenReason, Call, FailedReason
from stamping import attempts, settle
from stamping.attempts import NO_ATTEMPT, Ended
from stamping.claims import Claimed, LateError, Unclaimed, take, take_as_probe
from stamping.connections import suspend
from stamping.customers import NotReady, invalidate_customer
from stamping.outcome import Full, NotOurs, OnHold, Outcome, Stamped
from stamping.prepare import Expired, Prepared, forget, prepare
from stamping.tools import Tools
from stamping.verify import XmlMissing, keep
from storage import StorageUnavailable

log = structlog.get_logger(__name__)
T = TypeVar("T")

PATIENCE = 30.0  # seconds for which an answer in hand is offered to a database that is restarting


def stamp(invoice_id: UUID, tools: Tools) -> Outcome:
    """Take one invoice, or its account's most urgent one, as far as it goes now."""
    claimed = take(invoice_id, tools)
    match claimed:
        case Unclaimed(why="broken", account=account):
            return _not_usable(account, invoice_id, tools)
        case Unclaimed(why="full" | "closed", account=account):
            return Full(account or "")
        case Unclaimed():
            return NotOurs()
        case Claimed():
            pass
    tools.failpoints.reach("after_claim")
    return _under_claim(claimed, tools)


def stamp_as_probe(connection_id: UUID, tools: Tools) -> bool:
    """Send one held invoice of a connection that ran out of stamps; True when it was stamped."""
    claimed = take_as_probe(connection_id, tools)
    return claimed is not None and isinstance(_under_claim(claimed, tools), Stamped)


def _under_claim(claimed: Claimed, tools: Tools) -> Outcome:
    """Walk the pipeline; a claim that was lost on the way is told, and one that met a bug of ours is given back."""
    try:
        return _corridor(claimed, tools)
    except LateError:
        log.warning("late", invoice_id=str(claimed.id), claim=claimed.claim, worker=tools.worker)
        return NotOurs()
    except Exception as bug:
        log.error("bug", invoice_id=str(claimed.id), claim=claimed.claim, why=type(bug).__name__)
        with suppress(Exception):  # where that fails too, the claim runs out, and the sweep sees to it
            settle.after_a_bug(claimed, tools)
        raise


def _corridor(claimed: Claimed, tools: Tools) -> Outcome:
    try:
        prepared = prepare(claimed, tools)
    except ContaDigitalError as error:
        return _before_sending(claimed, tools, error)
    except Expired:
        return settle.failed(claimed, tools, FailedReason.EXPIRED, [EXPIRED])
    except NotReady as busy:
        return settle.later(claimed, tools, NO_ATTEMPT, wait=busy.wait, in_vain=False)
    tools.failpoints.reach("after_prepare")

    if prepared.is_saved:
        return _stamp(claimed, prepared, prepared.record_id, tools)
    if not prepared.record_id and claimed.claim > 1 and settle.was_ever_in_doubt(claimed, tools):
        # saved for another company or at another address: a second stamp would not meet the first one there
        return settle.failed(claimed, tools, FailedReason.NEEDS_PERSON, [LOST_RECORD])
    return _save_and_stamp(claimed, prepared, tools)


def _save_and_stamp(claimed: Claimed, prepared: Prepared, tools: Tools) -> Outcome:
    """Save without stamping, and keep ContaDigital's Id: the record that every doubt is later looked up by."""
    number = attempts.begin(claimed, Call.SAVE, tools, record_id=prepared.record_id, facts=prepared.fixed)
    tools.failpoints.reach("before_save")
    began = time.monotonic()
    try:
        record = tools.provider.save(prepared.credentials, prepared.body, prepared.record_id)
    except ContaDigitalError as error:
        ended = _ended(number, error, began)
        return _after_sending(claimed, prepared, tools, error, ended, prepared.record_id, doubt="save")
    tools.failpoints.reach("after_save")
    saved = _ended(number, record, began)
    _with_retry(lambda: settle.learn_at_once(claimed, tools, saves_only=not record.uuid))
    if record.uuid:  # this provider stamps on saving: take the stamp
        return _keep_and_settle(claimed, prepared, record, saved, tools, None)
    return _stamp(claimed, prepared, record.id, tools, saved=saved)


def _stamp(
    claimed: Claimed, prepared: Prepared, record_id: int, tools: Tools, *, saved: Ended | None = None
) -> Outcome:
    """Stamp the saved record; where it was saved just now, its Id is kept in the very commit that says so."""
    verified: dict[str, Any] = {}
    if saved is not None:
        verified = {
            "record_id": record_id,
            "record_empresa": prepared.id_empresa,
            "record_hash": claimed.invoice.content_hash,
        }

    def begin() -> int:
        return attempts.begin(
            claimed, Call.STAMP, tools, record_id=record_id, after=saved, facts=verified or prepared.fixed
        )

    number = begin() if saved is None else _with_retry(begin)  # with an Id in hand that nobody else knows
    tools.failpoints.reach("before_stamp")
    began = time.monotonic()
    try:
        record = tools.provider.stamp(prepared.credentials, prepared.body, record_id)
    except ContaDigitalError as error:
        ended = _ended(number, error, began)
        return _after_sending(claimed, prepared, tools, error, ended, record_id, doubt="stamp")
    tools.failpoints.reach("after_stamp")
    return _keep_and_settle(claimed, prepared, record, _ended(number, record, began), tools, record_id)


def _keep_and_settle(
    claimed: Claimed, prepared: Prepared, record: Record, ended: Ended, tools: Tools, asked_id: int | None
) -> Outcome:
    """Take the stamp that an answer tells of. Whatever becomes of its documents, it is never taken for unstamped."""
    if asked_id and record.id != asked_id:
        _with_retry(lambda: settle.learn_at_once(claimed, tools, honours_id=False))
    told = _called_stamped(prepared, record.id)
    try:
        xml = record.xml or _linked_xml(prepared, record, tools)
        verified = keep(prepared.subject, record, xml, prepared.expected(record.uuid), tools)
    except (XmlMissing, StorageUnavailable, ContaDigitalError) as error:
        # stamped, most likely, but its XML is not safe: that is a doubt, and a look-up ends it
        log.warning("not_kept", invoice_id=str(claimed.id), why=type(error).__name__)
        ended = Ended(
            ended.number, AttemptOutcome.LOST, ended.http_status, ended.codigo, ended.latency_ms, str(error)
        )
        return _with_retry(lambda: settle.in_doubt(claimed, tools, ended, doubt="stamp", facts=told))
    tools.failpoints.reach("after_keep")
    if not verified.is_believed:
        return _with_retry(lambda: settle.quarantined(claimed, tools, verified, ended, facts=told))
    return _with_retry(lambda: settle.stamped(claimed, tools, verified, ended, asked_id=asked_id))


def _called_stamped(prepared: Prepared, record_id: int) -> dict[str, Any]:
    """What is kept of a record that ContaDigital calls stamped: its Id, and no draft of ours under it any more."""
    return {"record_id": record_id, "record_empresa": prepared.id_empresa, "record_hash": None}


def _linked_xml(prepared: Prepared, record: Record, tools: Tools) -> bytes | None:
    return tools.provider.document(prepared.credentials, record.xml_link) if record.xml_link else None


def _before_sending(claimed: Claimed, tools: Tools, error: ContaDigitalError) -> Outcome:
    """Whatever went wrong with the token, a catalogue, a customer or a product: nothing of the invoice had left."""
    match error:
        case ConnectionRefused(reason=reason):
            return settle.on_hold(
                claimed, tools, NO_ATTEMPT, reason=BrokenReason(reason), detail=detail_of(error)
            )
        case DocumentRejected(faults=faults):
            return settle.rejected(claimed, tools, faults, NO_ATTEMPT)
        case Throttled(retry_after=wait):
            return settle.later(claimed, tools, NO_ATTEMPT, wait=wait or BUSY, throttle=True)
        case IdRefused(what=what):
            forget(claimed, what, tools)
            return settle.later(claimed, tools, NO_ATTEMPT)
        case _:
            return settle.later(claimed, tools, NO_ATTEMPT)


def _after_sending(
    claimed: Claimed,
    prepared: Prepared,
    tools: Tools,
    error: ContaDigitalError,
    ended: Ended,
    asked_id: int,
    *,
    doubt: str,
) -> Outcome:
    """Cut a failed save or stamp by what comes next: send again, look it up, or stop."""
    match error:
        case NotSent():
            never_sent = doubt == "save" and not asked_id  # a draft that was saved before bears its date
            return settle.later(claimed, tools, ended, never_sent=never_sent)
        case Throttled() if _makes_another(claimed, doubt):
            # a gateway may say "too fast" after the stamp, and this provider would stamp a second record
            return _with_retry(lambda: settle.in_doubt(claimed, tools, ended, doubt=doubt))
        case Throttled(retry_after=wait):
            return settle.later(claimed, tools, ended, wait=wait or BUSY, throttle=True)
        case DocumentRejected(faults=faults):
            if any(fault.field.startswith("receptor") for fault in faults):
                invalidate_customer(claimed, prepared.invoice.receptor.rfc, tools)
            return _with_retry(lambda: settle.rejected(claimed, tools, faults, ended))
        case ConnectionRefused(reason=reason):
            detail = detail_of(error)
            return _with_retry(
                lambda: settle.on_hold(claimed, tools, ended, reason=BrokenReason(reason), detail=detail)
            )
        case AlreadyStamped(record=record) if record is not None and record.uuid and record.xml:
            return _keep_and_settle(claimed, prepared, record, ended, tools, asked_id)
        case AlreadyStamped(record=record):
            record_id = record.id if record is not None and record.uuid else asked_id
            return _called_so(claimed, prepared, tools, ended, record_id)
        case IdRefused(what=what):
            forget(claimed, what, tools)
            return settle.later(claimed, tools, ended)
        case UnknownRecord() if asked_id:
            return _record_is_gone(claimed, tools, ended)
        case Refused():
            fault = Fault("contadigital", "", error.text, UNKNOWN_REFUSAL, "contadigital")
            return _with_retry(lambda: settle.rejected(claimed, tools, [fault], ended))
        case _:
            return _with_retry(lambda: settle.in_doubt(claimed, tools, ended, doubt=doubt))


def _makes_another(claimed: Claimed, doubt: str) -> bool:
    """Whether this provider was seen to stamp a new record where the same thing is sent once more."""
    seen = claimed.connection
    return (seen.honours_id if doubt == "stamp" else seen.saves_only) is False


def _called_so(claimed: Claimed, prepared: Prepared, tools: Tools, ended: Ended, record_id: int) -> Outcome:
    """ContaDigital calls it stamped and did not bring the stamp: it is looked up, where it has an Id to be found by."""
    if not record_id:
        return _with_retry(
            lambda: settle.failed(claimed, tools, FailedReason.NEEDS_PERSON, [CALLED_STAMPED], ended)
        )
    told = _called_stamped(prepared, record_id)
    return _with_retry(lambda: settle.in_doubt(claimed, tools, ended, doubt="stamp", facts=told))


def _record_is_gone(claimed: Claimed, tools: Tools, ended: Ended) -> Outcome:
    """ContaDigital does not know the Id that we saved under (another company after a new key, or a draft removed).

    Where no answer was ever lost for it, it is certainly not stamped, and is saved anew. Where one was, the stamp
    might exist under an Id that nobody can look up: a person decides.
    """
    if settle.was_ever_in_doubt(claimed, tools):
        return settle.failed(claimed, tools, FailedReason.NEEDS_PERSON, [LOST_RECORD], ended)
    return settle.later(claimed, tools, ended, forget_record=True)


def _not_usable(account: str | None, invoice_id: UUID, tools: Tools) -> Outcome:
    """The account has no connection that works: hold what it has due."""
    if account is None:
        account = suspend.account_of(invoice_id, tools)
    if account is None:
        return NotOurs()
    suspend.put_on_hold(account, tools)
    return OnHold(account)


def _ended(number: int, answer: Record | ContaDigitalError, began: float) -> Ended:
    latency_ms = round((time.monotonic() - began) * 1000)
    match answer:
        case Record():
            return Ended(number, AttemptOutcome.DONE, 200, answer.codigo, latency_ms)
        case NotSent():
            outcome = AttemptOutcome.NOT_SENT
        case AlreadyStamped():
            outcome = AttemptOutcome.LOST  # there is a stamp, and this answer did not bring it
        case Refused():
            outcome = AttemptOutcome.REFUSED
        case _:
            outcome = AttemptOutcome.LOST
    return Ended(number, outcome, answer.http_status, answer.codigo, latency_ms, answer.text)


def _with_retry(commit: Callable[[], T]) -> T:
    """Commit what an answer taught, also while PostgreSQL restarts; the fence makes a second try harmless."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return commit()
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def detail_of(error: ConnectionRefused) -> dict[str, str]:
    """Return what a connection keeps of the refusal that broke it."""
    return {"cause": error.cause, "text": error.detail, "message": error.message, "fix": error.fix}


BUSY = timedelta(seconds=30)  # after a 429 that names no time

UNKNOWN_REFUSAL = (
    "Revisa el mensaje de ContaDigital; si no queda claro qué corregir, envíaselo al soporte de Apunto."
)
EXPIRED = Fault(
    "timbrado.plazo_vencido",
    "fecha",
    "Pasaron las 72 horas que da el SAT desde la fecha de la factura, y no se timbró.",
    "Envíala de nuevo con una fecha actual.",
    "timbrado",
)
CALLED_STAMPED = Fault(
    "timbrado.requiere_revision",
    "",
    "ContaDigital dice que esta factura ya está timbrada, pero no dice con qué folio fiscal.",
    "Busca la factura en ContaDigital antes de emitirla de nuevo, o contacta a soporte.",
    "timbrado",
)
LOST_RECORD = Fault(
    "timbrado.requiere_revision",
    "",
    "Se perdió una respuesta de ContaDigital y la factura guardada ya no aparece ahí: no se sabe si se timbró.",
    "Busca la factura en ContaDigital antes de emitirla de nuevo, o contacta a soporte.",
    "timbrado",
)
