"""What comes after the stamp and never touches it: the late PDF, and the mail to the customer.

A duty is a time on the invoice. Whoever takes it moves that time past its own lease, so that two at once never both
have it, and sets the next one when it is done. What a newcomer would get wrong: a refused key breaks the connection
here as anywhere; a duty that kept trying it alone could have the account locked.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cfdi.faults import Fault
from contadigital.errors import AnswerLost, ConnectionRefused, ContaDigitalError, NotSent
from models.tables import CONNECTION_COLUMNS, connections, documents, invoices
from models.tables import attempts as attempts_table
from models.vocabulary import (
    HAS_UUID,
    AttemptOutcome,
    BrokenReason,
    Call,
    ConnectionStatus,
    DocumentKind,
    InvoiceStatus,
)
from stamping import attempts, notify
from stamping.attempts import Ended
from stamping.claims import Claimed
from stamping.connections import suspend
from stamping.pipeline import detail_of
from stamping.prepare import prepare_lookup
from stamping.tools import Tools
from stamping.verify import Subject, is_known, store_pdf
from storage import StorageUnavailable

FIRST = timedelta(seconds=5)
CAP = timedelta(hours=6)
PDF_PATIENCE = timedelta(days=7)
"""For how long a PDF is asked for; after that the user is told, and `timbrado documents` can still fetch it."""
MAIL_TRIES = 6
"""Refusals of one address before it is given up: within some ten minutes, so that a misspelled one is soon known."""
MAIL_PATIENCE = timedelta(days=1)
"""For how long a mail is tried while ContaDigital does not answer."""
MAILS = InvoiceStatus.STAMPED, InvoiceStatus.CANCELLING
"""Statuses in which the documents are worth mailing: they stand for something."""


@dataclass(frozen=True)
class Duty:
    """A duty that is ours until its lease runs out."""

    claimed: Claimed
    due: sa.Column[Any]

    @property
    def row(self) -> sa.Row[Any]:
        """The invoice."""
        return self.claimed.invoice


def fetch_pdf(invoice_id: UUID, tools: Tools) -> bool:
    """Fetch a PDF that was late; True once it is stored. A failure only means: later."""
    duty = _take(invoice_id, invoices.c.pdf_due_at, tools)
    if duty is None:
        return False
    with tools.engine.begin() as db:
        if is_known(db, invoice_id, DocumentKind.PDF):
            _set(db, duty, None)
            return True
    tried = _Try(duty, Call.DOCUMENT, tools)
    try:
        stored = _fetched(duty, tools)
    except ConnectionRefused as error:
        _break(duty, tried.failed(error), error, tools)
        return False
    except (ContaDigitalError, StorageUnavailable) as error:
        return _no_pdf_yet(duty, tried.failed(error), tools)
    if stored is None:
        return _no_pdf_yet(duty, tried.ended(AttemptOutcome.NO, "no PDF yet"), tools)
    now = tools.clock.now()
    with tools.engine.begin() as db:
        _end(db, duty, tried.ended(AttemptOutcome.DONE), tools)
        if is_known(db, invoice_id, DocumentKind.PDF):
            _set(db, duty, None)
            return True
        db.execute(sa.insert(documents).values(**stored, invoice_id=invoice_id, stored_at=now))
        told = _set(db, duty, None, followup_tries=0, version=invoices.c.version + 1, updated_at=now)
        notify.invoice(
            db, told, tools, "invoice.documents_ready", documents=notify.stored_documents(db, invoice_id)
        )
    return True


def _fetched(duty: Duty, tools: Tools) -> dict[str, Any] | None:
    row = duty.row
    prepared = prepare_lookup(duty.claimed, tools)
    record = tools.provider.look_up(prepared.credentials, row.record_id)
    if record.uuid is not None and record.uuid != row.uuid.upper():
        return None  # at another address, say, the same Id is another invoice
    pdf = record.pdf
    if pdf is None and record.pdf_link:
        pdf = tools.provider.document(prepared.credentials, record.pdf_link)
    return store_pdf(Subject(row.account, row.id, row.fecha), row.uuid, pdf, tools) if pdf else None


def _no_pdf_yet(duty: Duty, ended: Ended, tools: Tools) -> bool:
    """Ask again later, ever less often; after a week say that ContaDigital gives none."""
    row, now = duty.row, tools.clock.now()
    with tools.engine.begin() as db:
        _end(db, duty, ended, tools)
        if now - row.stamped_at < PDF_PATIENCE:
            _set(db, duty, now + _wait(row.followup_tries), followup_tries=invoices.c.followup_tries + 1)
            return False
        told = _set(db, duty, None, followup_tries=0, version=invoices.c.version + 1, updated_at=now)
        notify.invoice(
            db,
            told,
            tools,
            _event_of(told),
            variant="pdf_missing",
            errors=[PDF_MISSING],
            documents=notify.stored_documents(db, row.id),
        )
    return False


def send_mail(invoice_id: UUID, tools: Tools) -> bool:
    """Have ContaDigital mail the documents to each address of `send_to`; a failure is told, and touches nothing.

    An address that has its mail is left alone while others are tried again. One whose answer was lost is tried again
    too: two mails are better than none.
    """
    duty = _take(invoice_id, invoices.c.mail_due_at, tools)
    if duty is None:
        return False
    row = duty.row
    if row.status not in MAILS:
        with tools.engine.begin() as db:
            _set(db, duty, None)
        return False
    prepared = prepare_lookup(duty.claimed, tools)
    failed: list[int] = []
    wait = timedelta(0)
    for place, address in addresses_of(row.content):
        mark = _mark(place, address)
        if _was_mailed(row, mark, tools):
            continue
        tried = _Try(duty, Call.MAIL, tools, detail=mark)
        try:
            tools.provider.send_mail(prepared.credentials, row.record_id, address)
        except ConnectionRefused as error:
            _break(duty, tried.failed(error, mark), error, tools)
            return False
        except ContaDigitalError as error:
            failed.append(place)
            wait = max(wait, error.retry_after or timedelta(0))
            ended = tried.failed(error, mark)
        else:
            ended = tried.ended(AttemptOutcome.DONE, mark)
        with tools.engine.begin() as db:
            _end(db, duty, ended, tools)
    return _mailed(duty, failed, wait, tools)


def _mailed(duty: Duty, failed: list[int], wait: timedelta, tools: Tools) -> bool:
    row, now = duty.row, tools.clock.now()
    with tools.engine.begin() as db:
        if not failed:
            _set(db, duty, None)
            return True
        tries, refusals = _vain(db, row)
        if refusals < MAIL_TRIES and now - row.stamped_at < MAIL_PATIENCE:
            _set(db, duty, now + max(_wait(tries - 1), wait))
            return False
        told = _set(db, duty, None, version=invoices.c.version + 1, updated_at=now)
        notify.invoice(
            db,
            told,
            tools,
            _event_of(told),
            variant="mail_failed",
            errors=[_not_mailed(place) for place in failed],
            documents=notify.stored_documents(db, row.id),
        )
    return False


def addresses_of(content: dict[str, Any]) -> list[tuple[int, str]]:
    """Return each address of `send_to` once, with its place there; case does not make two of one, blanks none."""
    found: dict[str, tuple[int, str]] = {}
    for place, address in enumerate(content.get("send_to") or ()):
        if not address.strip():
            continue
        found.setdefault(address.strip().casefold(), (place, address.strip()))
    return list(found.values())


def _not_mailed(place: int) -> Fault:
    return Fault(
        "timbrado.correo_no_enviado",
        f"send_to[{place}]",
        "ContaDigital no pudo enviar la factura a este correo.",
        "Descarga el XML y el PDF y envíalos tú, o revisa que el correo esté bien escrito.",
        "contadigital",
    )


def _event_of(row: sa.Row[Any]) -> str:
    """The event of an invoice that has its stamp, whatever became of it since."""
    return "invoice.cancelled" if row.status == InvoiceStatus.CANCELLED else "invoice.stamped"


# --- taking a duty, and letting go of it -----------------------------------------------------------------------------


def _take(invoice_id: UUID, due: sa.Column[Any], tools: Tools) -> Duty | None:
    """Take a duty that is due, under a lease; None where it is not, or its connection can't be used now."""
    now = tools.clock.now()
    with tools.engine.begin() as db:
        row = db.execute(
            sa.update(invoices)
            .where(invoices.c.id == invoice_id, due <= now, invoices.c.status.in_(sorted(HAS_UUID)))
            .values({due: now + tools.policy.lease, invoices.c.enqueued_at: None})
            .returning(*invoices.c)
        ).one_or_none()
        if row is None:
            return None
        connection = db.execute(
            sa.select(*CONNECTION_COLUMNS).where(
                connections.c.account == row.account, connections.c.status == ConnectionStatus.ACTIVE
            )
        ).one_or_none()
        if connection is None:  # nothing was tried, so nothing is counted
            _set(db, Duty(Claimed(row, row), due), now + suspend.CONNECTION_BACK)
            return None
    return Duty(Claimed(row, connection), due)


def _set(db: sa.Connection, duty: Duty, at: datetime | None, **values: Any) -> sa.Row[Any]:
    return db.execute(
        sa.update(invoices)
        .where(invoices.c.id == duty.row.id)
        .values({duty.due: at, invoices.c.enqueued_at: None, **{invoices.c[n]: v for n, v in values.items()}})
        .returning(*invoices.c)
    ).one()


def _wait(tries: int) -> timedelta:
    """Return the wait after so many failed tries (from 0): five seconds, then three times as long each time."""
    return min(CAP, FIRST * float(3 ** max(0, min(tries, 9))))


def _break(duty: Duty, ended: Ended, error: ConnectionRefused, tools: Tools) -> None:
    """The refusal concerns the account: its connection breaks, once, and the duty waits for it."""
    now = tools.clock.now()
    with tools.engine.begin() as db:
        _end(db, duty, ended, tools)
        _set(db, duty, now + suspend.CONNECTION_BACK)
        suspend.break_connection(
            db,
            duty.row.account,
            BrokenReason(error.reason),
            detail_of(error),
            tools,
            now,
            through=duty.claimed.connection,
        )
    suspend.put_on_hold(duty.row.account, tools)


# --- attempts --------------------------------------------------------------------------------------------------------


class _Try:
    """One call of a duty: written before it leaves, as all are. Duties have no claim; their lease is their time."""

    def __init__(self, duty: Duty, call: Call, tools: Tools, detail: str | None = None) -> None:
        self._duty, self._tools = duty, tools
        now = tools.clock.now()
        with tools.engine.begin() as db:
            counted = db.execute(
                sa.update(invoices)
                .where(invoices.c.id == duty.row.id)
                .values(calls=invoices.c.calls + 1)
                .returning(invoices.c.id, invoices.c.calls)
            ).one()
            attempts.write(
                db,
                counted,
                call,
                tools,
                now,
                claim=duty.row.claim,
                record_id=duty.row.record_id,
                detail=detail,
            )
        self._number: int = counted.calls
        self._began = time.monotonic()

    def ended(self, outcome: AttemptOutcome, detail: str | None = None) -> Ended:
        return Ended(self._number, outcome, latency_ms=self._ms(), detail=detail)

    def failed(self, error: ContaDigitalError | StorageUnavailable, mark: str | None = None) -> Ended:
        text = error.text if isinstance(error, ContaDigitalError) else str(error)
        detail = f"{mark}: {text}" if mark else text
        if not isinstance(error, ContaDigitalError):
            return Ended(self._number, AttemptOutcome.NO, latency_ms=self._ms(), detail=detail)
        outcome = {NotSent: AttemptOutcome.NOT_SENT, AnswerLost: AttemptOutcome.LOST}.get(
            type(error), AttemptOutcome.REFUSED
        )
        return Ended(self._number, outcome, error.http_status, error.codigo, self._ms(), detail)

    def _ms(self) -> int:
        return round((time.monotonic() - self._began) * 1000)


def _end(db: sa.Connection, duty: Duty, ended: Ended, tools: Tools) -> None:
    attempts.end(db, duty.row.id, ended, tools, tools.clock.now(), trace_id=duty.row.trace_id)


def _mark(place: int, address: str) -> str:
    """Name an address in the story without writing it down: `send_to[0] c***@ejemplo.mx`."""
    name, _, host = address.partition("@")
    return f"send_to[{place}] {name[:1]}***@{host}"


def _was_mailed(row: sa.Row[Any], mark: str, tools: Tools) -> bool:
    with tools.engine.begin() as db:
        return (
            db.execute(
                sa.select(attempts_table.c.id).where(
                    attempts_table.c.invoice_id == row.id,
                    attempts_table.c.call == Call.MAIL,
                    attempts_table.c.outcome == AttemptOutcome.DONE,
                    attempts_table.c.detail == mark,
                )
            ).first()
            is not None
        )


def _vain(db: sa.Connection, row: sa.Row[Any]) -> tuple[int, int]:
    """Return how often the address that failed most was tried in vain, and how often one was refused."""
    tries = sa.func.count()
    refusals = sa.func.count().filter(attempts_table.c.outcome == AttemptOutcome.REFUSED)
    counted = (
        sa.select(tries.label("tries"), refusals.label("refusals"))
        .where(
            attempts_table.c.invoice_id == row.id,
            attempts_table.c.call == Call.MAIL,
            sa.or_(attempts_table.c.outcome.is_(None), attempts_table.c.outcome != AttemptOutcome.DONE),
        )
        .group_by(sa.func.split_part(attempts_table.c.detail, " ", 1))
        .subquery()
    )
    found = db.execute(sa.select(sa.func.max(counted.c.tries), sa.func.max(counted.c.refusals))).one()
    return found[0] or 0, found[1] or 0


PDF_MISSING = Fault(
    "timbrado.pdf_no_disponible",
    "",
    "ContaDigital no entregó el PDF de esta factura. El XML, que es el comprobante fiscal, está guardado.",
    "Descarga el PDF directamente en ContaDigital si lo necesitas.",
    "contadigital",
)
