"""Cancelling a stamped invoice: asked for once, looked up when the answer is lost, told only when it is true.

"Requested" is not "cancelled": the receptor has three business days (RMF 2.7.1.34), so the invoice stands at
`cancelling` until ContaDigital says how it ended. What has been asked is read from the attempts: while one is
unanswered no second request leaves.
"""

import re
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
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
from contadigital.records import Cancellation
from models.status import HAS_UUID, AttemptOutcome, BrokenReason, Call, DocumentKind, InvoiceStatus
from models.tables import attempts as attempts_table
from models.tables import connections, documents, history, invoices
from models.transitions import advance
from stamping import attempts, hold, settle, tell
from stamping.attempts import Ended
from stamping.backoff import before_look, before_try
from stamping.claims import Claimed, LateError, Unclaimed, take_to_look
from stamping.keep import is_known, store_acuse
from stamping.pipeline import detail_of
from stamping.prepare import prepare_to_look
from stamping.tools import Tools
from storage import StorageUnavailable

MOTIVOS = frozenset({"01", "02", "03", "04"})
SAT_LAG = timedelta(hours=24)
"""For how long after the stamp "unknown UUID" (205) only means that the SAT has not heard of it yet."""
AGAIN_AFTER_205 = timedelta(minutes=3)
FIRST_POLL = timedelta(minutes=1)
POLL_CAP = timedelta(hours=1)
_UUID = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")


def request(
    account: str,
    external_id: str,
    motivo: str,
    uuid_sustitucion: str | None,
    tools: Tools,
    *,
    trace_id: str | None = None,
) -> UUID | None:
    """Take a request to cancel; return the invoice to ring for, or None where there is nothing to ask the SAT."""
    now = tools.clock.now()
    sustitucion = (uuid_sustitucion or "").strip().upper() or None
    with tools.engine.begin() as db:
        row = db.execute(
            sa.select(invoices)
            .where(invoices.c.account == account, invoices.c.external_id == external_id)
            .with_for_update()
        ).one_or_none()
        if row is None:
            named = {"account": account, "external_id": external_id}
            tell.unreadable(db, uuids.uuid7(), named, [NO_SUCH_INVOICE.as_dict()], tools, now, trace_id)
            return None
        connection = db.execute(sa.select(connections).where(connections.c.account == account)).one_or_none()
        faults: tuple[Fault, ...] = ()
        if row.status == InvoiceStatus.STAMPED:
            faults = _faults(db, row, motivo, sustitucion)
        elif row.status not in HAS_UUID:
            faults = (NOT_STAMPED,)
        if faults or row.status != InvoiceStatus.STAMPED:
            again = _bump(db, row.id, tools)
            if row.status == InvoiceStatus.STAMPED:
                _tell_refused(db, again, tools, faults)
            else:
                tell.status_again(db, again, tools, connection=connection, errors=faults or None)
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
            looks=0,
            tries=0,
            doubt=None,
            doubt_since=None,
            rung_at=None,
        )
    return row.id if moved is not None else None


def _faults(db: sa.Connection, row: sa.Row[Any], motivo: str, sustitucion: str | None) -> tuple[Fault, ...]:
    """Check the motivo and its substitution (cfdi rules, section 6): 01 wants one that is stamped here and related."""
    if motivo not in MOTIVOS:
        return (
            _fault(
                "motivo",
                f"El motivo de cancelación «{str(motivo)[:10]}» no existe.",
                "Usa 01, 02, 03 o 04.",
                "CANC207",
            ),
        )
    if motivo != "01":
        if sustitucion is None:
            return ()
        return (
            _fault(
                "uuid_sustitucion",
                f"El motivo {motivo} no lleva folio fiscal de sustitución.",
                "Quita el folio de sustitución, o usa el motivo 01 si otra factura la sustituye.",
                "CANC209",
            ),
        )
    if sustitucion is None or not _UUID.fullmatch(sustitucion):
        return (
            _fault(
                "uuid_sustitucion",
                "El motivo 01 necesita el folio fiscal (UUID) de la factura que la sustituye.",
                "Timbra primero la factura que la sustituye, con relación 04 a esta, y envía su folio fiscal.",
                "CANC208",
            ),
        )
    other = db.execute(
        sa.select(invoices.c.content, invoices.c.status).where(
            invoices.c.uuid == sustitucion,
            invoices.c.account == row.account,
            invoices.c.status == InvoiceStatus.STAMPED,
        )
    ).one_or_none()
    if other is None:
        return (
            _fault(
                "uuid_sustitucion",
                f"La factura {sustitucion} no está timbrada en esta cuenta, así que no puede sustituir a esta.",
                "Timbra primero la factura que la sustituye y envía su folio fiscal.",
                "CANC208",
            ),
        )
    related = other.content.get("cfdi_relacionados") or {}
    uuids_related = {str(each).upper() for each in related.get("uuids") or ()}
    if related.get("tipo_relacion") != "04" or row.uuid not in uuids_related:
        return (
            _fault(
                "uuid_sustitucion",
                f"La factura {sustitucion} no está relacionada con esta como sustitución (tipo de relación 04).",
                "Emite la factura que la sustituye con tipo de relación 04 y el folio fiscal de esta.",
                "CANC208",
            ),
        )
    return ()


def settle_cancellation(invoice_id: UUID, tools: Tools) -> None:
    """Take one cancellation a step on: ask the SAT, or ask how it stands."""
    claimed = take_to_look(invoice_id, InvoiceStatus.CANCELLING, tools)
    if isinstance(claimed, Unclaimed):
        return
    try:
        asked = _last_request(claimed, tools)
        if asked is None or asked.outcome in {
            AttemptOutcome.NOT_SENT,
            AttemptOutcome.REFUSED,
            AttemptOutcome.PROVEN_NO,
        }:
            _ask(claimed, tools)
        else:
            _look(claimed, asked, tools)
    except LateError:
        return


def _last_request(claimed: Claimed, tools: Tools) -> sa.Row[Any] | None:
    """Return the last request of this cancellation; one without an outcome began and was never heard of again."""
    with tools.engine.begin() as db:
        return db.execute(
            sa.select(attempts_table)
            .where(
                attempts_table.c.invoice_id == claimed.id,
                attempts_table.c.call == Call.CANCEL,
                attempts_table.c.claim > _begun_at_claim(claimed),
            )
            .order_by(attempts_table.c.number.desc())
            .limit(1)
        ).one_or_none()


def _begun_at_claim(claimed: Claimed) -> sa.ScalarSelect[Any]:
    """The claim number at which this cancellation was asked for: requests before it belong to one that was refused."""
    return (
        sa.select(sa.func.coalesce(sa.func.max(history.c.claim), 0))
        .where(history.c.invoice_id == claimed.id, history.c.to_status == InvoiceStatus.CANCELLING)
        .scalar_subquery()
    )


def _ask(claimed: Claimed, tools: Tools) -> None:
    row = claimed.invoice
    prepared = prepare_to_look(claimed, tools)
    number = attempts.begin(claimed, Call.CANCEL, tools, record_id=row.record_id)
    began = time.monotonic()
    try:
        answer = tools.provider.cancel(prepared.door, row.record_id, row.motivo, row.uuid_sustitucion)
    except ContaDigitalError as error:
        _not_done(claimed, tools, error, number, began)
        return
    ended = Ended(number, AttemptOutcome.DONE, 200, None, _ms(began), answer.state)
    acuse = _acuse(claimed, answer, tools)
    if answer.state == "cancelled":
        _cancelled(claimed, tools, ended, acuse)
    else:
        _stay(claimed, tools, ended, FIRST_POLL if answer.state == "requested" else before_look(0), acuse)


def _not_done(claimed: Claimed, tools: Tools, error: ContaDigitalError, number: int, began: float) -> None:
    def ended(outcome: AttemptOutcome) -> Ended:
        return Ended(number, outcome, error.http_status, error.codigo, _ms(began), error.text)

    match error:
        case AnswerLost():
            _stay(claimed, tools, ended(AttemptOutcome.LOST), before_look(0), doubt=True)
        case NotSent():
            _stay(claimed, tools, ended(AttemptOutcome.NOT_SENT), before_try(claimed.invoice.tries + 1))
        case Throttled(retry_after=wait):
            wait = max(wait or timedelta(0), before_try(claimed.invoice.tries + 1))
            _stay(claimed, tools, ended(AttemptOutcome.REFUSED), wait)
        case ConnectionRefused():
            _break(claimed, tools, error, ended(AttemptOutcome.REFUSED))
        case UnknownRecord() if tools.clock.now() - claimed.invoice.stamped_at < SAT_LAG:
            _stay(claimed, tools, ended(AttemptOutcome.REFUSED), AGAIN_AFTER_205)
        case DocumentRejected(faults=faults):
            _refused(claimed, tools, ended(AttemptOutcome.REFUSED), faults)
        case _:
            fault = Fault("contadigital", "", error.text, ASK_SUPPORT, "contadigital")
            _refused(claimed, tools, ended(AttemptOutcome.REFUSED), (fault,))


def _look(claimed: Claimed, asked: sa.Row[Any], tools: Tools) -> None:
    """Ask how a request stands that was made, or whose answer was lost."""
    row = claimed.invoice
    in_doubt = asked.outcome != AttemptOutcome.DONE
    prepared = prepare_to_look(claimed, tools)
    number = attempts.begin(claimed, Call.LOOK_UP, tools, record_id=row.record_id)
    began = time.monotonic()
    try:
        record = tools.provider.look_up(prepared.door, row.record_id)
    except ConnectionRefused as error:
        ended = Ended(number, AttemptOutcome.REFUSED, error.http_status, error.codigo, _ms(began), error.text)
        _break(claimed, tools, error, ended)
        return
    except ContaDigitalError as error:
        outcome = AttemptOutcome.REFUSED if isinstance(error, Refused) else AttemptOutcome.LOST
        ended = Ended(number, outcome, error.http_status, error.codigo, _ms(began), error.text)
        _stay(claimed, tools, ended, before_look(row.looks + 1), doubt=in_doubt)
        return
    state = record.cancellation
    found = AttemptOutcome.NO if state is None else AttemptOutcome.DONE
    ended = Ended(number, found, 200, record.codigo, _ms(began), state or "not asked for")
    if state == "cancelled":
        _cancelled(claimed, tools, ended, None)
    elif state == "rejected":
        _refused(claimed, tools, ended, (RECEPTOR_REFUSED,))
    elif state == "requested" or not in_doubt:
        _stay(claimed, tools, ended, _next_poll(row.looks), request=asked if in_doubt else None)
    elif tools.clock.now() - _doubt_since(claimed, asked) >= tools.policy.quarantine:
        # a whole quarantine of answers says that nobody asked: ask anew (the SAT takes a second request as the first)
        _stay(claimed, tools, ended, timedelta(0), request=asked, proven_no=True)
    else:
        _stay(claimed, tools, ended, before_look(row.looks + 1), doubt=True)


def _doubt_since(claimed: Claimed, asked: sa.Row[Any]) -> Any:
    return claimed.invoice.doubt_since or asked.started_at


def _next_poll(looks: int) -> timedelta:
    return min(POLL_CAP, FIRST_POLL * float(2 ** min(looks, 6)))


def _acuse(claimed: Claimed, answer: Cancellation, tools: Tools) -> dict[str, Any] | None:
    """Store the acuse; where that can't be done now, the status does not wait for it."""
    if not answer.acuse:
        return None
    prepared = prepare_to_look(claimed, tools)
    try:
        return store_acuse(prepared.subject, claimed.invoice.uuid, answer.acuse, tools)
    except StorageUnavailable:
        return None


def _write_acuse(db: sa.Connection, claimed: Claimed, acuse: dict[str, Any] | None, tools: Tools) -> None:
    if acuse is not None and not is_known(db, claimed.id, DocumentKind.ACUSE):
        db.execute(sa.insert(documents).values(**acuse, invoice_id=claimed.id, stored_at=tools.clock.now()))


def _cancelled(claimed: Claimed, tools: Tools, ended: Ended, acuse: dict[str, Any] | None) -> None:
    with settle.one_commit(claimed, tools, ended) as (db, now):
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
        )
        tell.invoice(db, row, tools, "invoice.cancelled", documents=tell.stored_documents(db, claimed.id))


def _refused(claimed: Claimed, tools: Tools, ended: Ended, faults: tuple[Fault, ...]) -> None:
    """The SAT, the receptor or ContaDigital said no: the invoice stays stamped, and the user is told why."""
    with settle.one_commit(claimed, tools, ended) as (db, now):
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


def _tell_refused(db: sa.Connection, row: sa.Row[Any], tools: Tools, faults: tuple[Fault, ...]) -> None:
    tell.invoice(
        db,
        row,
        tools,
        "invoice.stamped",
        variant="cancel_refused",
        errors=faults,
        documents=tell.stored_documents(db, row.id),
    )


def _stay(
    claimed: Claimed,
    tools: Tools,
    ended: Ended,
    delay: timedelta,
    acuse: dict[str, Any] | None = None,
    *,
    doubt: bool = False,
    request: sa.Row[Any] | None = None,
    proven_no: bool = False,
) -> None:
    """Stay at `cancelling` and look again after `delay`; `request` is one whose outcome is known by now."""
    newly = doubt and claimed.invoice.doubt is None
    with settle.one_commit(claimed, tools, ended) as (db, now):
        _write_acuse(db, claimed, acuse, tools)
        if request is not None:
            outcome = AttemptOutcome.PROVEN_NO if proven_no else AttemptOutcome.DONE
            db.execute(
                sa.update(attempts_table)
                .where(attempts_table.c.id == request.id)
                .values(outcome=outcome, finished_at=sa.func.coalesce(attempts_table.c.finished_at, now))
            )
        values: dict[str, Any] = {
            "next_attempt_at": now + delay,
            "looks": 0 if newly or request is not None else invoices.c.looks + 1,
            "tries": invoices.c.tries + 1,
        }
        if doubt:
            values |= {"doubt": "cancel", "doubt_since": claimed.invoice.doubt_since or now}
        elif request is not None:
            values |= {"doubt": None, "doubt_since": None}
        if newly:
            values["version"] = invoices.c.version + 1
        row = settle.stay(db, claimed, now, **values)
        if newly:
            tell.invoice(db, row, tools, "invoice.in_doubt", variant="cancel")


def _break(claimed: Claimed, tools: Tools, error: ConnectionRefused, ended: Ended) -> None:
    with settle.one_commit(claimed, tools, ended) as (db, now):
        settle.stay(db, claimed, now, next_attempt_at=now + timedelta(minutes=10))
        hold.break_connection(
            db,
            claimed.account,
            BrokenReason(error.reason),
            detail_of(error),
            tools,
            now,
            key_fingerprint=claimed.connection.key_fingerprint,
        )
    hold.hold_open(claimed.account, tools)


def _bump(db: sa.Connection, invoice_id: UUID, tools: Tools) -> sa.Row[Any]:
    return db.execute(
        sa.update(invoices)
        .where(invoices.c.id == invoice_id)
        .values(version=invoices.c.version + 1, updated_at=tools.clock.now())
        .returning(*invoices.c)
    ).one()


def _ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


def _fault(field: str, message: str, fix: str, code: str) -> Fault:
    return Fault(code, field, message, fix, "timbrado")


ASK_SUPPORT = (
    "Revisa el mensaje de ContaDigital; si no queda claro qué hacer, envíaselo al soporte de Apunto."
)
NO_SUCH_INVOICE = Fault(
    "timbrado.no_existe",
    "external_id",
    "No hay ninguna factura con este identificador en esta cuenta.",
    "Revisa la cuenta y el identificador de la factura.",
    "timbrado",
)
NOT_STAMPED = Fault(
    "timbrado.no_timbrada",
    "external_id",
    "Esta factura no está timbrada, así que no hay nada que cancelar ante el SAT.",
    "Espera a que se timbre, o corrígela si fue rechazada.",
    "timbrado",
)
RECEPTOR_REFUSED = Fault(
    "timbrado.cancelacion_rechazada",
    "",
    "Tu cliente rechazó la cancelación, así que la factura sigue vigente.",
    "Habla con tu cliente y, si está de acuerdo, solicita la cancelación de nuevo.",
    "sat",
)
