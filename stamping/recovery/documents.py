"""Documents that the store has lost, or holds changed: fetched again from ContaDigital, checked, and put back.

An XML is put back only if it is a good CFDI of the invoice's own UUID. What was changed is quarantined first. Where
other bytes come than were stored, as of a PDF that is rendered anew, Apunto learns it by an event, and the old hash
stays in the record of the act.
"""

import hashlib
from typing import Any

import sqlalchemy as sa

from cfdi.evidence import examine
from contadigital.errors import ContaDigitalError
from contadigital.records import Record
from models.tables import connections, documents, invoices
from models.vocabulary import ConnectionStatus, DocumentKind
from stamping import notify
from stamping.connections.credentials import credentials_of
from stamping.timeline import actions
from stamping.tools import Tools
from storage import Missing, StorageUnavailable, quarantine_key


class NotRefetched(Exception):  # named for what happened
    """A document could not be fetched again; its text says why, and what is left to do."""


def refetch(document_id: int, tools: Tools, *, actor: str) -> str:
    """Fetch one stored document again and put it back under its key, which is returned. Raises NotRefetched."""
    with tools.engine.connect() as db:
        row = db.execute(
            sa.select(documents, *_OF_INVOICE)
            .join(invoices, invoices.c.id == documents.c.invoice_id)
            .where(documents.c.id == document_id)
        ).one()
        connection = db.execute(
            sa.select(connections).where(connections.c.account == row.account)
        ).one_or_none()
    data, checks = _fetched(row, connection, tools)
    sha256 = hashlib.sha256(data).hexdigest()
    now = tools.clock.now()
    try:
        _quarantine_what_is_there(row, tools)
        tools.store.replace(row.key, data)
    except StorageUnavailable as error:
        raise NotRefetched(f"the store does not take it: {error.why}") from error
    with tools.engine.begin() as db:
        if sha256 != row.sha256:
            db.execute(
                sa.update(documents)
                .where(documents.c.id == document_id)
                .values(sha256=sha256, bytes=len(data), checks=checks, stored_at=now)
            )
            invoice = db.execute(
                sa.update(invoices)
                .where(invoices.c.id == row.invoice_id)
                .values(version=invoices.c.version + 1, updated_at=now)
                .returning(*invoices.c)
            ).one()
            stored = notify.stored_documents(db, row.invoice_id)
            notify.invoice(db, invoice, tools, "invoice.documents_ready", documents=stored)
        actions.note(
            db,
            "repair",
            actor=actor,
            at=now,
            subject_id=row.invoice_id,
            account=row.account,
            reason=f"its {row.kind} was lost or changed in the document store",
            detail={"key": row.key, "sha256": row.sha256, "sha256_now": sha256},
        )
    return str(row.key)


def _quarantine_what_is_there(row: Any, tools: Tools) -> None:
    try:
        there = tools.store.get(row.key)
    except Missing:
        return
    sha256 = hashlib.sha256(there).hexdigest()
    if sha256 != row.sha256:
        tools.store.put(quarantine_key(row.account, row.fecha, row.invoice_id, sha256, row.kind), there)


_OF_INVOICE = (
    invoices.c.account,
    invoices.c.uuid,
    invoices.c.fecha,
    invoices.c.record_id,
    invoices.c.record_empresa,
    invoices.c.record_base_url,
)


def _fetched(row: Any, connection: Any, tools: Tools) -> tuple[bytes, Any]:
    """Return a document as ContaDigital gives it now, with the report on it."""
    if row.quarantined_reason is not None or row.kind == DocumentKind.ACUSE:
        raise NotRefetched("ContaDigital does not give it again: put it back from a backup")
    if row.record_id is None:
        raise NotRefetched("it has no Id at ContaDigital: put it back from a backup")
    if connection is None or connection.status != ConnectionStatus.ACTIVE:
        raise NotRefetched("its account's connection is not active")
    if row.record_base_url not in (None, connection.base_url):
        raise NotRefetched(f"it was stamped at {row.record_base_url}, and the account is connected elsewhere")
    credentials = credentials_of(connection, tools, id_empresa=row.record_empresa)
    try:
        record = tools.provider.look_up(credentials, row.record_id)
        if (record.uuid or "").upper() != str(row.uuid).upper():
            raise NotRefetched(f"under its Id ContaDigital has {record.uuid or 'no stamp'} now")
        data, link = _part(record, row.kind)
        if data is None and link:
            data = tools.provider.document(credentials, link)
    except ContaDigitalError as error:
        raise NotRefetched(f"ContaDigital: {error.text}") from error
    if not data:
        raise NotRefetched("ContaDigital gives none")
    if row.kind == DocumentKind.PDF:
        if not data.startswith(b"%PDF-"):
            raise NotRefetched("what ContaDigital gives is no PDF")
        return data, None
    report = examine(
        data, None, known_pac_certificates=tools.pac_certificates, sat_authorities=tools.sat_authorities
    )
    if not report.ok or (report.uuid or "").upper() != str(row.uuid).upper():
        raise NotRefetched("what ContaDigital gives is no good CFDI of its UUID")
    return data, report.as_dict()


def _part(record: Record, kind: str) -> tuple[bytes | None, str | None]:
    return (record.pdf, record.pdf_link) if kind == DocumentKind.PDF else (record.xml, record.xml_link)
