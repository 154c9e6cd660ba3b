"""What a person decides: a stamp that differs is accepted, and what stands before a person is closed, either way.

A decision is written with its reason and who made it. It is refused where it would say what is not known: an XML that
proves no stamp of this invoice is not adopted, and nothing is closed while a worker is at it.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cfdi import document
from cfdi.amounts import compute
from cfdi.evidence import Expected, Report, examine
from cfdi.faults import Fault
from cfdi.issuer import Issuer
from cfdi.sat import zones
from models.tables import CONNECTION_COLUMNS, connections, documents, invoices
from models.tables import attempts as attempts_table
from models.transitions import advance
from models.vocabulary import SENDS, AttemptOutcome, FailedReason, InvoiceStatus
from stamping import notify, settle, store_documents
from stamping.cancellation.sat_status import SatStatus, StatusUnknown
from stamping.cancellation.substitutes import begin_for_substitute
from stamping.connections import providers
from stamping.connections.remembered import issuer_of
from stamping.intake import asked_about, untrusted
from stamping.recovery.audit import fecha_of
from stamping.recovery.sources import UnreadableSource, of_xml
from stamping.texts import SAME_UUID
from stamping.timeline import actions
from stamping.tools import Tools

OPEN_TO_A_PERSON = frozenset({InvoiceStatus.FAILED, InvoiceStatus.IN_DOUBT})


class NotDecidedError(Exception):
    """The decision was refused, and nothing changed; `faults` say what is wrong with an XML."""

    def __init__(self, why: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(why)
        self.faults = tuple(faults)


@dataclass(frozen=True)
class Decision:
    """What became of an invoice: its status, its UUID where it has one, and what differs from what was sent."""

    invoice_id: UUID
    status: str
    uuid: str | None = None
    differences: tuple[dict[str, Any], ...] = ()
    lets_account_go_on: bool = False
    """Whether its account stood still because its stamps differed, and is validated again for this decision."""
    at_the_sat: str | None = None
    """How the SAT has its CFDI, where its status service may be asked and answered."""


def accept(account: str, external_id: str, *, reason: str, actor: str, tools: Tools) -> Decision:
    """Accept a stamp that differs from what was sent: it is stamped. Raises NotDecidedError.

    An account that stopped because its stamps differed goes on once its connection is validated again.
    """
    _says_why(reason)
    now = tools.clock.now()
    with tools.engine.begin() as db:
        row = _locked(db, account, external_id)
        if row.status != InvoiceStatus.DIFFERS:
            raise NotDecidedError(f"there is nothing to accept: it is {row.status}")
        has_mail = any(each.strip() for each in row.content.get("send_to") or ())
        moved = advance(
            db,
            row.id,
            target=InvoiceStatus.STAMPED,
            source=InvoiceStatus.DIFFERS,
            now=now,
            version=invoices.c.version + 1,
            errors=[],
            mail_due_at=now if has_mail else None,
        )
        if moved is None:
            raise NotDecidedError("somebody else decided meanwhile")
        begin_for_substitute(db, row.id, now)
        stopped = providers.validate_stopped(db, now, connections.c.account == row.account)
        _note(db, row, "accept", reason, actor, tools, {"uuid": row.uuid, "differences": row.differences})
        notify.invoice(db, moved, tools, "invoice.stamped", documents=notify.stored_documents(db, row.id))
    return Decision(row.id, InvoiceStatus.STAMPED, row.uuid, tuple(row.differences or ()), bool(stopped))


def resolve(
    account: str, external_id: str, *, stamped_xml: bytes | None, reason: str, actor: str, tools: Tools
) -> Decision:
    """Close what stands before a person: stamped, by its XML, or (None) certainly not stamped. Raises NotDecidedError.

    The XML is examined as if ContaDigital had answered with it: it is adopted as stamped, or as differing. What is not
    stamped may be sent again.
    """
    _says_why(reason)
    if stamped_xml is None:
        return _not_stamped(account, external_id, reason, actor, tools)
    return _stamped(account, external_id, stamped_xml, reason, actor, tools)


def _stamped(account: str, external_id: str, xml: bytes, reason: str, actor: str, tools: Tools) -> Decision:
    now = tools.clock.now()
    at_the_sat = _xml_at_the_sat(xml, tools)
    if at_the_sat is not None and at_the_sat.is_cancelled:
        raise NotDecidedError("the SAT has this CFDI as cancelled: close its invoice as not stamped")
    with tools.engine.begin() as db:
        row = _open(db, account, external_id, tools)
        report, subject = _examined(db, row, xml, tools)
        other = db.execute(
            sa.select(invoices.c.external_id).where(invoices.c.uuid == report.uuid, invoices.c.id != row.id)
        ).scalar_one_or_none()
        if other is not None:
            raise NotDecidedError(f"this XML is the stamp of invoice {other!r}", [SAME_UUID])
        stored = store_documents.store_xml(subject, report, xml, tools)
        differs = bool(report.substantial)
        faults = notify.difference_faults(report)
        moved = advance(
            db,
            row.id,
            target=InvoiceStatus.DIFFERS if differs else InvoiceStatus.STAMPED,
            source=OPEN_TO_A_PERSON,
            now=now,
            version=invoices.c.version + 1,
            reason=None,
            uuid=report.uuid,
            serie=report.serie or row.serie,
            folio=report.folio,
            fecha_timbrado=report.fecha_timbrado,
            stamped_at=now,
            fecha=subject.fecha,
            expires_at=zones.deadline(subject.fecha, row.content["lugar_expedicion"]),
            differences=[each.as_dict() for each in report.differences] or None,
            errors=[fault.as_dict() for fault in faults],
            doubt=None,
            doubt_since=None,
            next_attempt_at=None,
            reminder_at=None,
            pdf_due_at=now if row.record_id is not None else None,
        )
        if moved is None:
            raise NotDecidedError("somebody else decided meanwhile")
        db.execute(sa.insert(documents).values(**stored, invoice_id=row.id, stored_at=now))
        if not differs:
            begin_for_substitute(db, row.id, now)
        estado = at_the_sat.estado if at_the_sat is not None else None
        noted = {"at_the_sat": estado} if estado is not None else {}
        _note(db, row, "resolve", reason, actor, tools, {"stamped": report.uuid, **noted})
        event = "invoice.differs" if differs else "invoice.stamped"
        notify.invoice(db, moved, tools, event, documents=[stored])
    differences = tuple(each.as_dict() for each in report.differences)
    return Decision(row.id, moved.status, report.uuid, differences, at_the_sat=estado)


def _xml_at_the_sat(xml: bytes, tools: Tools) -> SatStatus | None:
    """How the SAT has the CFDI of an XML, where it may be asked and answers."""
    if tools.sat_status is None:
        return None
    with suppress(UnreadableSource, StatusUnknown):
        issued = of_xml(xml, "the XML", keep_xml=False)
        return tools.sat_status.ask(issued.emisor, issued.receptor, issued.total, issued.uuid)
    return None


def _in_force(account: str, external_id: str, tools: Tools) -> str | None:
    """The UUID of an XML that was put aside for this invoice and that the SAT has in force; None where there is none.

    What was put aside may be damaged or another invoice's: the SAT is asked with the parties and the total of this one.
    """
    if tools.sat_status is None:
        return None
    with tools.engine.connect() as db:
        row = _locked(db, account, external_id)
        connection = db.execute(sa.select(connections.c.rfc).where(connections.c.account == account)).first()
        uuids = db.scalars(
            sa.select(documents.c.checks["uuid"].astext).where(
                documents.c.invoice_id == row.id, documents.c.quarantined_reason.is_not(None)
            )
        ).all()
    if connection is None:
        return None
    invoice = document.read(row.content)
    total = compute(invoice).total
    for uuid in filter(None, uuids):
        with suppress(StatusUnknown):
            found = tools.sat_status.ask(connection.rfc, invoice.receptor.rfc, total, uuid)
            if found.is_found and not found.is_cancelled:
                return str(uuid)
    return None


def _fecha_of(xml: bytes) -> datetime | None:
    """The XML's own Fecha."""
    with suppress(UnreadableSource):
        return of_xml(xml, "the XML", keep_xml=False).fecha
    return None


def _examined(
    db: sa.Connection, row: sa.Row[Any], xml: bytes, tools: Tools
) -> tuple[Report, store_documents.Subject]:
    """Examine an XML that a person brings. Raises NotDecidedError where it proves no stamp of this invoice."""
    connection = db.execute(
        sa.select(*CONNECTION_COLUMNS).where(connections.c.account == row.account)
    ).one_or_none()
    issuer = issuer_of(connection)
    if issuer is None:
        raise NotDecidedError("its account was never connected, so nobody knows whose CFDI it would be")
    invoice = document.read(row.content)
    fecha = fecha_of(row, _fecha_of(xml)) or zones.local(tools.clock.now(), invoice.lugar_expedicion)
    report = examine(
        xml,
        Expected(
            invoice, Issuer(issuer.rfc, issuer.nombre, issuer.regimen_fiscal, issuer.serie), fecha, None
        ),
        known_pac_certificates=tools.pac_certificates,
    )
    if not report.is_good_cfdi:
        raise NotDecidedError("this XML proves no stamp of this invoice", notify.evidence_faults(report))
    return report, store_documents.Subject(row.account, row.id, fecha)


def _not_stamped(account: str, external_id: str, reason: str, actor: str, tools: Tools) -> Decision:
    now = tools.clock.now()
    uuid = _in_force(account, external_id, tools)
    if uuid is not None:
        raise NotDecidedError(f"it is stamped: the SAT has a CFDI of it in force, {uuid}")
    with tools.engine.begin() as db:
        row = _open(db, account, external_id, tools)
        db.execute(
            sa.update(attempts_table)
            .where(
                attempts_table.c.invoice_id == row.id,
                attempts_table.c.call.in_(sorted(SENDS)),
                attempts_table.c.outcome.in_(
                    [
                        AttemptOutcome.LOST,
                        AttemptOutcome.LATE,
                        AttemptOutcome.UNUSABLE,
                        AttemptOutcome.PROVEN_NO,
                    ]
                ),
            )
            .values(outcome=AttemptOutcome.NO)
        )
        moved = advance(
            db,
            row.id,
            target=InvoiceStatus.FAILED,
            source=OPEN_TO_A_PERSON,
            now=now,
            version=invoices.c.version + 1,
            reason=FailedReason.NOT_STAMPED,
            errors=[],
            record_id=None,
            record_empresa=None,
            record_base_url=None,
            record_hash=None,
            fecha=None,
            expires_at=None,
            doubt=None,
            doubt_since=None,
            next_attempt_at=None,
            reminder_at=None,
        )
        if moved is None:
            raise NotDecidedError("somebody else decided meanwhile")
        _note(db, row, "resolve", reason, actor, tools, {"stamped": None})
        if settle.withdraw_if_asked(db, moved, tools, now):
            return Decision(row.id, InvoiceStatus.WITHDRAWN)
        notify.invoice(db, moved, tools, "invoice.failed")
    return Decision(row.id, InvoiceStatus.FAILED)


def _says_why(reason: str) -> None:
    if not reason.strip():
        raise NotDecidedError("a decision needs its reason")


def _locked(db: sa.Connection, account: str, external_id: str) -> sa.Row[Any]:
    row = asked_about.lock(db, account, external_id)
    if row is None:
        raise NotDecidedError(f"there is no invoice {external_id!r} in account {account!r}")
    return row


def _open(db: sa.Connection, account: str, external_id: str, tools: Tools) -> sa.Row[Any]:
    """Return an invoice that a person may close, locked. Raises NotDecidedError for any other."""
    row = _locked(db, account, external_id)
    needs_person = row.status == InvoiceStatus.FAILED and row.reason == FailedReason.NEEDS_PERSON
    if not needs_person and row.status != InvoiceStatus.IN_DOUBT:
        raise NotDecidedError(f"nothing is open about it: it is {row.status}")
    if row.claimed_until is not None and row.claimed_until > tools.clock.now():
        raise NotDecidedError("a worker is looking it up at this moment: try again in a minute")
    return row


def _note(
    db: sa.Connection,
    row: sa.Row[Any],
    action: str,
    reason: str,
    actor: str,
    tools: Tools,
    detail: dict[str, Any],
) -> None:
    now, kept = tools.clock.now(), untrusted.storable(reason)[:1000]
    actions.note(
        db, action, actor=actor, at=now, subject_id=row.id, account=row.account, reason=kept, detail=detail
    )
