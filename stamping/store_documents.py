"""What comes back is examined before it is believed, and stored before anyone says "stamped".

A document that can't be believed is stored too, in quarantine and with the reason: nothing that ContaDigital ever gave
us is thrown away. A good CFDI that says something else than what was sent is believed: it exists.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cfdi.evidence import Expected, Report, examine
from contadigital.records import Record
from models.tables import documents
from models.vocabulary import DocumentKind
from stamping.tools import Tools
from storage import KeyTaken, Stored, document_key, quarantine_key


class XmlMissing(Exception):  # named for what happened, like the errors of the other packages
    """ContaDigital says stamped and gave no XML: look the record up until it does."""


@dataclass(frozen=True)
class Verified:
    """An answer whose bytes are safe: the report on its XML, and the rows that say where each file lies."""

    record: Record
    report: Report
    documents: tuple[dict[str, Any], ...]
    lacks_pdf: bool

    @property
    def is_believed(self) -> bool:
        """Whether the XML proves a stamp of this invoice's parties, whatever else it says."""
        return self.report.is_good_cfdi

    @property
    def differs(self) -> bool:
        """Whether somebody has to decide about what it says otherwise than what was sent."""
        return bool(self.report.substantial)


@dataclass(frozen=True)
class Subject:
    """Whose documents they are: what their keys are made of."""

    account: str
    invoice_id: UUID
    fecha: datetime


def examine_and_store(
    subject: Subject, record: Record, xml: bytes | None, expected: Expected, tools: Tools
) -> Verified:
    """Examine and store what came back. Raises XmlMissing, or StorageUnavailable when it can't be made safe."""
    if not xml:
        raise XmlMissing("stamped, and its XML has not come")
    report = examine(
        xml, expected, known_pac_certificates=tools.pac_certificates, sat_authorities=tools.sat_authorities
    )
    if not report.is_good_cfdi:
        return Verified(
            record, report, (_quarantined(subject, xml, "xml", _why(report), tools, report),), lacks_pdf=True
        )
    uuid = report.uuid or ""
    xml_key, pdf_key = (document_key(subject.account, subject.fecha, uuid, kind) for kind in ("xml", "pdf"))
    pdf = record.pdf if record.pdf and _is_pdf(subject, record.pdf, tools) else None
    put = tools.store.put_all({xml_key: xml} if pdf is None else {xml_key: xml, pdf_key: pdf})
    stored, rows = put[xml_key], []
    if not isinstance(stored, KeyTaken):
        rows.append(_row("xml", xml_key, stored.sha256, stored.size, report))
    else:
        first = tools.store.get(xml_key)  # written by a worker that ended before it could commit
        of_first = examine(
            first,
            expected,
            known_pac_certificates=tools.pac_certificates,
            sat_authorities=tools.sat_authorities,
        )
        if report.ok and not of_first.ok:  # what was sent has come after something else under the same UUID
            rows.append(_beside(xml_key, xml, tools, report))
        else:
            rows.append(_quarantined(subject, xml, "xml", "other bytes came first", tools, report))
            report = of_first
            if not report.is_good_cfdi:
                return Verified(record, report, tuple(rows), lacks_pdf=True)
            rows.append(_row("xml", xml_key, stored.stored_sha256, len(first), report))
    if pdf is not None:
        rows.append(_row_of_a_pdf(put[pdf_key], tools))
    return Verified(record, report, tuple(rows), lacks_pdf=pdf is None)


def quarantine_xml(subject: Subject, xml: bytes, why: str, tools: Tools) -> dict[str, Any]:
    """Store an XML that is not this invoice's own, and return its row."""
    return _quarantined(subject, xml, "xml", why, tools, None)


def store_xml(subject: Subject, report: Report, xml: bytes, tools: Tools) -> dict[str, Any]:
    """Store an XML that is believed and return its row; beside what came first under its UUID, where that is other."""
    key = document_key(subject.account, subject.fecha, report.uuid or "", "xml")
    try:
        stored = tools.store.put(key, xml)
    except KeyTaken:
        return _beside(key, xml, tools, report)
    return _row("xml", key, stored.sha256, stored.size, report)


def store_pdf(subject: Subject, uuid: str, pdf: bytes, tools: Tools) -> dict[str, Any] | None:
    """Store a PDF and return its row; None for bytes that are no PDF (quarantined, and asked for again)."""
    if not _is_pdf(subject, pdf, tools):
        return None
    key = document_key(subject.account, subject.fecha, uuid, "pdf")
    return _row_of_a_pdf(tools.store.put_all({key: pdf})[key], tools)


def _is_pdf(subject: Subject, pdf: bytes, tools: Tools) -> bool:
    if pdf.startswith(b"%PDF-"):
        return True
    _quarantined(subject, pdf, "pdf", "not a PDF", tools, None)
    return False


def _row_of_a_pdf(stored: Stored | KeyTaken, tools: Tools) -> dict[str, Any]:
    if isinstance(stored, KeyTaken):  # providers render it anew each time: the first one stays
        return _row("pdf", stored.key, stored.stored_sha256, len(tools.store.get(stored.key)), None)
    return _row("pdf", stored.key, stored.sha256, stored.size, None)


def store_acuse(subject: Subject, uuid: str, acuse: bytes, tools: Tools) -> dict[str, Any]:
    """Store the SAT's acknowledgement of a cancellation and return its row.

    A second request, after the receptor refused the first, has an acuse of its own: it goes into quarantine.
    """
    key = document_key(subject.account, subject.fecha, uuid, "acuse")
    try:
        stored = tools.store.put(key, acuse)
    except KeyTaken:
        return _quarantined(subject, acuse, "acuse", "the acuse of a later request", tools, None)
    return _row("acuse", key, stored.sha256, stored.size, None)


def is_known(db: sa.Connection, invoice_id: UUID, kind: DocumentKind) -> bool:
    """Whether this document of an invoice is already stored and believed."""
    return (
        db.execute(
            sa.select(documents.c.id).where(
                documents.c.invoice_id == invoice_id,
                documents.c.kind == kind,
                documents.c.quarantined_reason.is_(None),
            )
        ).first()
        is not None
    )


def _why(report: Report) -> str:
    return "failed: " + ", ".join(check.name for check in report.failed[:6])


def _row(kind: str, key: str, sha256: str, size: int, report: Report | None) -> dict[str, Any]:
    return {
        "kind": kind,
        "key": key,
        "sha256": sha256,
        "bytes": size,
        "checks": report.as_dict() if report is not None else None,
        "quarantined_reason": None,
    }


def _beside(key: str, xml: bytes, tools: Tools, report: Report) -> dict[str, Any]:
    """Store an XML under a name of its own, where its own key holds other bytes."""
    sha256 = hashlib.sha256(xml).hexdigest()
    stored = tools.store.put(f"{key.removesuffix('.xml')}.{sha256[:12]}.xml", xml)
    return _row("xml", stored.key, stored.sha256, stored.size, report)


def _quarantined(
    subject: Subject, data: bytes, kind: Any, why: str, tools: Tools, report: Report | None
) -> dict[str, Any]:
    sha256 = hashlib.sha256(data).hexdigest()
    key = quarantine_key(subject.account, subject.fecha, subject.invoice_id, sha256, kind)
    tools.store.put(key, data)
    return {**_row(kind, key, sha256, len(data), report), "quarantined_reason": why}
