"""What comes after the stamp and never touches it: the late PDF, and the mail to the customer."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog

from cfdi.faults import Fault
from contadigital.errors import ContaDigitalError
from models.status import HAS_UUID, AttemptOutcome, Call, ConnectionStatus, DocumentKind
from models.tables import attempts as attempts_table
from models.tables import connections, documents, invoices
from stamping import attempts, tell
from stamping.attempts import Ended
from stamping.claims import CONNECTION_COLUMNS, Claimed
from stamping.keep import Subject, is_known, store_pdf
from stamping.prepare import prepare_to_look
from stamping.tools import Tools
from storage import StorageUnavailable

log = structlog.get_logger(__name__)

FIRST = timedelta(seconds=5)
CAP = timedelta(hours=1)
MAIL_TRIES = 6


def fetch_pdf(invoice_id: UUID, tools: Tools) -> bool:
    """Fetch a PDF that was late; True once it is stored. A failure only means: later."""
    found = _take(invoice_id, invoices.c.pdf_due_at, tools)
    if found is None:
        return False
    row, claimed = found
    with tools.engine.begin() as db:
        if is_known(db, invoice_id, DocumentKind.PDF):
            _done(db, invoice_id, pdf_due_at=None)
            return True
    number = _begin(row, Call.DOCUMENT, tools)
    try:
        prepared = prepare_to_look(claimed, tools)
        record = tools.provider.look_up(prepared.door, row.record_id)
        pdf = record.pdf
        if pdf is None and record.pdf_link:
            pdf = tools.provider.document(prepared.door, record.pdf_link)
        subject = Subject(row.account, row.id, row.fecha)
        stored = store_pdf(subject, row.uuid, pdf, tools) if pdf else None
    except (ContaDigitalError, StorageUnavailable) as error:
        _end(row, number, AttemptOutcome.LOST, tools, str(error))
        return False
    now = tools.clock.now()
    with tools.engine.begin() as db:
        if stored is None:
            _close(db, row, number, AttemptOutcome.NO, tools, "no PDF yet")
            return False
        _close(db, row, number, AttemptOutcome.DONE, tools, None)
        if is_known(db, invoice_id, DocumentKind.PDF):
            _done(db, invoice_id, pdf_due_at=None)
            return True
        db.execute(sa.insert(documents).values(**stored, invoice_id=invoice_id, stored_at=now))
        told = _done(db, invoice_id, pdf_due_at=None, version=invoices.c.version + 1, updated_at=now)
        tell.invoice(
            db, told, tools, "invoice.documents_ready", documents=tell.stored_documents(db, invoice_id)
        )
    return True


def send_mail(invoice_id: UUID, tools: Tools) -> bool:
    """Have ContaDigital mail the documents to each address of `send_to`; a failure is told, and touches nothing."""
    found = _take(invoice_id, invoices.c.mail_due_at, tools)
    if found is None:
        return False
    row, claimed = found
    prepared = prepare_to_look(claimed, tools)
    failed: list[str] = []
    for address in dict.fromkeys(row.content.get("send_to") or ()):
        if _was_mailed(row, address, tools):
            continue
        number = _begin(row, Call.MAIL, tools, detail=_mark(address))
        try:
            tools.provider.send_mail(prepared.door, row.record_id, address)
        except ContaDigitalError as error:
            failed.append(address)
            _end(row, number, AttemptOutcome.REFUSED, tools, f"{_mark(address)}: {error.text}")
        else:
            _end(row, number, AttemptOutcome.DONE, tools, _mark(address))
    now = tools.clock.now()
    with tools.engine.begin() as db:
        if not failed:
            _done(db, invoice_id, mail_due_at=None, duty_tries=0)
            return True
        if row.duty_tries + 1 < MAIL_TRIES:
            return False  # `_take` has set when it is due again
        told = _done(
            db, invoice_id, mail_due_at=None, duty_tries=0, version=invoices.c.version + 1, updated_at=now
        )
        fault = Fault(
            "timbrado.correo_no_enviado",
            "send_to",
            "ContaDigital no pudo enviar la factura por correo.",
            "Descarga el XML y el PDF y envíalos tú, o revisa que el correo esté bien escrito.",
            "contadigital",
        )
        tell.invoice(
            db,
            told,
            tools,
            "invoice.stamped",
            variant="mail_failed",
            errors=[fault],
            documents=tell.stored_documents(db, invoice_id),
        )
    return False


def _take(invoice_id: UUID, due: sa.Column[Any], tools: Tools) -> tuple[sa.Row[Any], Claimed] | None:
    """Take a duty that is due, by moving its time on: two at once never both have it."""
    now = tools.clock.now()
    with tools.engine.begin() as db:
        row = db.execute(
            sa.update(invoices)
            .where(invoices.c.id == invoice_id, due <= now, invoices.c.status.in_(sorted(HAS_UUID)))
            .values(
                {
                    due: now
                    + sa.func.least(
                        sa.literal(FIRST) * sa.func.power(3, sa.func.least(invoices.c.duty_tries, 8)), CAP
                    ),
                    invoices.c.duty_tries: invoices.c.duty_tries + 1,
                    invoices.c.rung_at: None,
                }
            )
            .returning(*invoices.c)
        ).one_or_none()
        if row is None:
            return None
        connection = db.execute(
            sa.select(*CONNECTION_COLUMNS).where(
                connections.c.account == row.account, connections.c.status == ConnectionStatus.ACTIVE
            )
        ).one_or_none()
        if connection is None:
            return None
    return row, Claimed(row, connection)


def _begin(row: sa.Row[Any], call: Call, tools: Tools, detail: str | None = None) -> int:
    now = tools.clock.now()
    with tools.engine.begin() as db:
        counted = db.execute(
            sa.update(invoices)
            .where(invoices.c.id == row.id)
            .values(calls=invoices.c.calls + 1)
            .returning(invoices.c.id, invoices.c.calls)
        ).one()
        attempts.write(db, counted, call, tools, now, claim=row.claim, record_id=row.record_id, detail=detail)
    return counted.calls  # type: ignore[no-any-return]  # integer column


def _end(row: sa.Row[Any], number: int, outcome: AttemptOutcome, tools: Tools, detail: str) -> None:
    with tools.engine.begin() as db:
        _close(db, row, number, outcome, tools, detail)


def _close(
    db: sa.Connection,
    row: sa.Row[Any],
    number: int,
    outcome: AttemptOutcome,
    tools: Tools,
    detail: str | None,
) -> None:
    ended = Ended(number, outcome, detail=detail)
    attempts.end(db, row.id, ended, tools, tools.clock.now(), trace_id=row.trace_id)


def _done(db: sa.Connection, invoice_id: UUID, **values: Any) -> sa.Row[Any]:
    return db.execute(
        sa.update(invoices)
        .where(invoices.c.id == invoice_id)
        .values(rung_at=None, **values)
        .returning(*invoices.c)
    ).one()


def _mark(address: str) -> str:
    """Name an address in the story without writing it down: `c***@ejemplo.mx`."""
    name, _, host = address.partition("@")
    return f"{name[:1]}***@{host}"


def _was_mailed(row: sa.Row[Any], address: str, tools: Tools) -> bool:
    with tools.engine.begin() as db:
        return (
            db.execute(
                sa.select(attempts_table.c.id).where(
                    attempts_table.c.invoice_id == row.id,
                    attempts_table.c.call == Call.MAIL,
                    attempts_table.c.outcome == AttemptOutcome.DONE,
                    attempts_table.c.detail == _mark(address),
                )
            ).first()
            is not None
        )
