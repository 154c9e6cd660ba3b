"""How a doubt ends: by a look-up that finds the stamp, by a proven no, or by a person. No timer ever ends one.

"Not found" and "no UUID" are not proof: providers deny real stamps for seconds, one for 29 minutes. A no counts only
after a whole quarantine of them, with a control look-up of a known stamp answering in the same breath, and only where
this provider has been seen to stamp the very Id that it was asked for. Then the *same* Id is stamped again. What
ContaDigital itself has called stamped is looked up until it shows its stamp: no number of noes outweighs that.
"""

import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog

from cfdi.faults import Fault
from contadigital.errors import (
    AnswerLost,
    ConnectionRefused,
    ContaDigitalError,
    NotSent,
    Throttled,
    UnknownRecord,
)
from contadigital.records import Record
from models.tables import attempts as attempts_table
from models.tables import invoices
from models.vocabulary import DUE, AttemptOutcome, BrokenReason, Call, FailedReason, InvoiceStatus
from stamping import attempts, settle
from stamping.attempts import NO_ATTEMPT, Ended
from stamping.claims import Claimed, LateError, Unclaimed, claim_lookup
from stamping.connections import suspend
from stamping.limits.backoff import LOOKUP_CAP, before_lookup, before_try
from stamping.outcome import InDoubt, NotOurs, Outcome
from stamping.pipeline import detail_of
from stamping.prepare import Prepared, prepare_lookup
from stamping.tools import Tools
from stamping.verify import XmlMissing, keep
from storage import StorageUnavailable

log = structlog.get_logger(__name__)


def reconcile(invoice_id: UUID, tools: Tools) -> Outcome:
    """Look one invoice in doubt up, once, and take it as far as the answer allows."""
    claimed = claim_lookup(invoice_id, InvoiceStatus.IN_DOUBT, tools)
    match claimed:
        case Unclaimed(why="broken", account=account):
            suspend.wait_for_connection(invoice_id, account or "", tools)
            return InDoubt(account or "", suspend.CONNECTION_BACK)
        case Unclaimed():
            return NotOurs()
        case Claimed():
            pass
    try:
        return _look(claimed, tools)
    except LateError:
        log.warning("late", invoice_id=str(claimed.id), claim=claimed.claim, worker=tools.worker)
        return NotOurs()


RESTORED = timedelta(hours=1)
"""How often an invoice is looked at that a restore put in doubt without an Id: `timbrado audit` or a person ends it."""


def _look(claimed: Claimed, tools: Tools) -> Outcome:
    if claimed.invoice.doubt == "restore":
        return _again(claimed, tools, NO_ATTEMPT, counted=False, wait=RESTORED)
    if claimed.invoice.record_id is None or (
        claimed.invoice.doubt == "save" and claimed.connection.saves_only
    ):
        return _lost_save(claimed, tools)
    prepared = prepare_lookup(claimed, tools)
    number = attempts.begin(claimed, Call.LOOK_UP, tools, record_id=claimed.invoice.record_id)
    tools.failpoints.reach("before_look_up")
    began = time.monotonic()
    try:
        record = tools.provider.look_up(prepared.credentials, claimed.invoice.record_id)
    except UnknownRecord as error:
        return _no(claimed, prepared, tools, _answered(number, began, error))
    except ConnectionRefused as error:
        return _connection_refused(claimed, tools, error, _unanswered(number, began, error))
    except ContaDigitalError as error:
        wait = error.retry_after if isinstance(error, Throttled) else None
        return _again(claimed, tools, _unanswered(number, began, error), counted=False, wait=wait)
    tools.failpoints.reach("after_look_up")
    if record.uuid:
        return _adopt(
            claimed,
            prepared,
            record,
            Ended(number, AttemptOutcome.DONE, 200, record.codigo, _ms(began)),
            tools,
        )
    return _no(claimed, prepared, tools, Ended(number, AttemptOutcome.NO, 200, record.codigo, _ms(began)))


def _adopt(claimed: Claimed, prepared: Prepared, record: Record, ended: Ended, tools: Tools) -> Outcome:
    """A stamp was found: take it, once its evidence holds."""
    try:
        xml = record.xml
        if xml is None and record.xml_link:
            xml = tools.provider.document(prepared.credentials, record.xml_link)
        verified = keep(prepared.subject, record, xml, prepared.expected(record.uuid), tools)
    except (XmlMissing, StorageUnavailable, ContaDigitalError) as error:
        detail = f"stamped, but its XML is not safe yet: {error}"[:500]
        ended = Ended(ended.number, ended.outcome, ended.http_status, ended.codigo, ended.latency_ms, detail)
        return _again(claimed, tools, ended, counted=False)
    if not verified.is_believed:
        return settle.quarantined(claimed, tools, verified, ended, facts={"record_hash": None})
    asked_id = None if _is_called_stamped(claimed.invoice) else claimed.invoice.record_id
    return settle.stamped(claimed, tools, verified, ended, asked_id=asked_id)


def _is_called_stamped(invoice: sa.Row[Any]) -> bool:
    """Whether ContaDigital has said that it is stamped; its Id may then be another than the one that was asked for."""
    return invoice.record_hash is None and invoice.record_id is not None


def _no(claimed: Claimed, prepared: Prepared, tools: Tools, ended: Ended) -> Outcome:
    """The look-up says no. Believe it only after a whole quarantine, and only with proof that looking up works."""
    waited = tools.clock.now() - claimed.invoice.doubt_since
    if waited < tools.policy.quarantine or _is_called_stamped(claimed.invoice):
        return _again(claimed, tools, ended, counted=True)
    if claimed.connection.honours_id is False:
        # this provider stamps under Ids of its own: a no about ours says nothing
        return settle.failed(claimed, tools, FailedReason.NEEDS_PERSON, [CANNOT_KNOW], ended)
    control = _control(claimed, tools)
    if control is None:
        return _again(claimed, tools, ended, counted=True)
    if not _answers(control, prepared, tools):
        return _again(claimed, tools, ended, counted=True, most=LOOKUP_CAP)
    return settle.proven_no(claimed, tools, ended)


def _control(claimed: Claimed, tools: Tools) -> sa.Row[Any] | None:
    """Return a stamp of this account that is known to stand under the Id that was asked for; None where there is none.

    The first since the doubt began, else the last before it. Whoever tells of one that is newer than ours can be would
    tell of ours. The newest of all proves no more, and is what a provider denies for a while: with a new one every few
    seconds, no doubt would ever end.
    """
    stamped_at = invoices.c.stamped_at
    known: sa.Select[Any] = sa.select(invoices.c.record_id, invoices.c.uuid).where(
        invoices.c.account == claimed.account,
        invoices.c.status == InvoiceStatus.STAMPED,
        invoices.c.id_honoured,
        invoices.c.record_empresa == claimed.invoice.record_empresa,
    )
    began = claimed.invoice.doubt_since
    since = known.where(stamped_at >= began).order_by(stamped_at).limit(1)
    before = known.where(stamped_at < began).order_by(stamped_at.desc()).limit(1)
    with tools.engine.begin() as db:
        return db.execute(since).one_or_none() or db.execute(before).one_or_none()


def _answers(control: sa.Row[Any], prepared: Prepared, tools: Tools) -> bool:
    """Whether a look-up, in the same breath, tells of a stamp that is there."""
    try:
        record = tools.provider.look_up(prepared.credentials, control.record_id)
    except ContaDigitalError:
        return False
    return (record.uuid or "").upper() == str(control.uuid)


def _lost_save(claimed: Claimed, tools: Tools) -> Outcome:
    """The answer to a save was lost, so there is no Id to look up. A save makes no stamp: where that has been *seen*
    of this account, saving anew is safe. Where the opposite has been seen, or nothing for a whole quarantine and no
    other invoice is on its way to show it, a person decides."""
    saves_only = claimed.connection.saves_only
    if saves_only is True:
        return settle.proven_no(claimed, tools, NO_ATTEMPT, wait=_before_saving_anew(claimed, tools))
    waited = tools.clock.now() - claimed.invoice.doubt_since
    is_hopeless = waited >= tools.policy.quarantine and not _another_will_show(claimed, tools)
    if saves_only is False or is_hopeless:
        return settle.failed(claimed, tools, FailedReason.NEEDS_PERSON, [CANNOT_KNOW])
    return _again(claimed, tools, NO_ATTEMPT, counted=True, most=LOOKUP_CAP)


def _another_will_show(claimed: Claimed, tools: Tools) -> bool:
    """Whether another invoice of the account is still to be saved: its answer shows what a save does here.

    After an outage they wait for it together, and this one must not be given up before they had their turn. Its own 72
    hours end that: an account that is held for longer shows nothing.
    """
    expires_at = claimed.invoice.expires_at
    if expires_at is not None and tools.clock.now() >= expires_at:
        return False
    other = sa.select(invoices.c.id).where(
        invoices.c.account == claimed.account, invoices.c.status.in_(sorted(STILL_TO_SAVE))
    )
    with tools.engine.begin() as db:
        return db.execute(other.limit(1)).first() is not None


STILL_TO_SAVE = DUE | {InvoiceStatus.STAMPING, InvoiceStatus.ON_HOLD}


def _before_saving_anew(claimed: Claimed, tools: Tools) -> timedelta:
    """How long to wait: at first not at all, and ever longer where the answer to saving this one is always lost."""
    saves = attempts_table.c.invoice_id == claimed.id, attempts_table.c.call == Call.SAVE
    with tools.engine.begin() as db:
        lost = db.execute(
            sa.select(sa.func.count()).where(*saves, attempts_table.c.outcome != AttemptOutcome.DONE)
        ).scalar_one()
    return before_try(lost - 1) if lost > 1 else timedelta(0)


def _again(
    claimed: Claimed,
    tools: Tools,
    ended: Ended,
    *,
    counted: bool,
    wait: timedelta | None = None,
    most: timedelta | None = None,
) -> Outcome:
    """Look it up again, ever less often: the more look-ups said no, or the more in a row nobody answered.

    `wait` is the least, where ContaDigital named a time, and `most` the most.
    """
    row = claimed.invoice
    past = tools.clock.now() - row.doubt_since >= tools.policy.quarantine
    in_vain = 0 if counted else row.tries + 1
    delay = before_lookup(row.lookups + 1 if counted else in_vain, past_quarantine=past)
    delay = max(min(delay, most or delay), wait or timedelta(0))
    if not past:  # be there when the quarantine ends, rather than a long step later
        left = claimed.invoice.doubt_since + tools.policy.quarantine - tools.clock.now()
        delay = min(delay, max(left, timedelta(seconds=1)))
    with settle.one_commit(claimed, tools, ended) as (db, now):
        settle.stay(
            db,
            claimed,
            now,
            next_attempt_at=now + delay,
            lookups=invoices.c.lookups + (1 if counted else 0),
            tries=in_vain,
        )
    return InDoubt(claimed.account, delay)


def _connection_refused(claimed: Claimed, tools: Tools, error: ConnectionRefused, ended: Ended) -> Outcome:
    """The connection broke: the doubt stays, and is looked up once it is back."""
    reason, detail = BrokenReason(error.reason), detail_of(error)
    settle.on_hold_as_it_stands(claimed, tools, ended, reason=reason, detail=detail)
    return InDoubt(claimed.account, suspend.CONNECTION_BACK)


def _answered(number: int, began: float, error: ContaDigitalError) -> Ended:
    return Ended(number, AttemptOutcome.NO, error.http_status, error.codigo, _ms(began), error.text)


def _unanswered(number: int, began: float, error: ContaDigitalError) -> Ended:
    outcome = {NotSent: AttemptOutcome.NOT_SENT, AnswerLost: AttemptOutcome.LOST}.get(
        type(error), AttemptOutcome.REFUSED
    )
    return Ended(number, outcome, error.http_status, error.codigo, _ms(began), error.text)


def _ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


CANNOT_KNOW = Fault(
    "timbrado.requiere_revision",
    "",
    "Se perdió una respuesta de ContaDigital y no hay forma segura de saber si la factura se timbró.",
    "Busca la factura en ContaDigital antes de emitirla de nuevo, o contacta a soporte.",
    "timbrado",
)
