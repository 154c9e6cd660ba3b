"""Events, written in the commit that made them true.

Each function takes rows that the same transaction has just written (their `version` already grown) and leaves their
events in the outbox. Nothing is sent from here.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import sqlalchemy as sa

from cfdi.evidence import Report, Result
from cfdi.faults import Fault, no_users
from contadigital.reasons import Reason, Words, explain
from events import outbox
from events.messages import message
from events.types import TYPE_OF_STATUS, ConnectionData, DocumentRef, EventType, InvoiceData
from models.tables import connections
from models.tables import documents as documents_table
from models.vocabulary import ConnectionStatus, FailedReason, InvoiceStatus
from stamping.intake.untrusted import MAX_ID, storable
from stamping.texts import CONNECT_AGAIN, CONNECTION_DISCONNECTED, CONNECTION_PENDING
from stamping.tools import Tools


def invoice(
    db: sa.Connection,
    row: sa.Row[Any],
    tools: Tools,
    kind: str,
    *,
    connection: sa.Row[Any] | None = None,
    documents: Sequence[dict[str, Any]] | None = None,
    errors: Sequence[Fault] | None = None,
    variant: str | None = None,
    **facts: Any,
) -> None:
    """Emit an event of one invoice."""
    invoices(
        db,
        [row],
        tools,
        kind,
        connection=connection,
        documents=documents,
        errors=errors,
        variant=variant,
        **facts,
    )


def invoices(
    db: sa.Connection,
    rows: Sequence[sa.Row[Any]],
    tools: Tools,
    kind: str,
    *,
    connection: sa.Row[Any] | None = None,
    documents: Sequence[dict[str, Any]] | None = None,
    errors: Sequence[Fault] | None = None,
    variant: str | None = None,
    **facts: Any,
) -> None:
    """Emit an event of each of many invoices of one account."""
    made = [
        invoice_event(
            row, kind, connection=connection, documents=documents, errors=errors, variant=variant, **facts
        )
        for row in rows
    ]
    outbox.emit(db, made, now=tools.clock.now())


def invoice_event(
    row: Any,
    kind: str,
    *,
    connection: sa.Row[Any] | None = None,
    documents: Sequence[dict[str, Any]] | None = None,
    errors: Sequence[Fault] | None = None,
    variant: str | None = None,
    **facts: Any,
) -> outbox.Event:
    """Return what is to be emitted of an invoice; `row` has the columns of EVENT_COLUMNS."""
    event = EventType(kind)
    if event is EventType.INVOICE_ON_HOLD:
        why, more = on_hold_words(connection)
        variant, facts = variant or why, {**more, **facts}
    elif event is EventType.INVOICE_STAMPED and documents is not None and variant is None:
        variant = "" if any(each["kind"] == "pdf" for each in documents) else "pdf_late"
    shown = [fault.as_dict() for fault in errors] if errors is not None else row.errors
    return outbox.Event(
        subject_kind="invoice",
        subject_id=row.id,
        account=row.account,
        external_id=row.external_id,
        version=row.version,
        type=event,
        data=InvoiceData(
            account=row.account,
            external_id=row.external_id,
            invoice_id=row.id,
            version=row.version,
            status=row.status,
            message=message(event, _variant(event, row, shown, variant), count=len(row.errors), **facts),
            errors=shown,
            warnings=row.warnings or (),
            uuid=row.uuid,
            serie=row.serie if row.uuid else None,
            folio=row.folio,
            fecha_timbrado=row.fecha_timbrado,
            documents=_refs(documents or ()),
        ).as_dict(),
        trace_id=row.trace_id,
    )


def _variant(event: EventType, row: Any, errors: Sequence[Mapping[str, Any]], variant: str | None) -> str:
    if variant is not None:
        return variant
    if event is EventType.INVOICE_ACCEPTED and row.warnings:
        return "warnings"
    if event is EventType.INVOICE_REJECTED and no_users(errors):
        return "not_a_users"
    if event is EventType.INVOICE_FAILED and row.reason == FailedReason.EXPIRED and no_users(errors):
        return "never_sent"
    if event is EventType.INVOICE_FAILED:
        return row.reason or ""
    if event is EventType.INVOICE_IN_DOUBT and row.doubt == "cancel":
        return "cancel"
    return ""


def on_hold_words(connection: sa.Row[Any] | None) -> tuple[str, dict[str, str]]:
    """Return the variant of the on-hold message, and the facts of the connection's break."""
    if connection is None or connection.status == ConnectionStatus.DISCONNECTED:
        return "disconnected", {}
    if connection.status == ConnectionStatus.PENDING:
        return "pending", {}
    if connection.status == ConnectionStatus.BROKEN:
        words = broken_words(connection)
        return "", {"why": words.message, "fix": words.fix}
    return "paused", {}


def broken_words(connection: sa.Row[Any]) -> Words:
    """Return why a connection is broken and what to do, in its owner's language, and who can do it."""
    return words_of(connection.reason, connection.detail)


def words_of(reason: Reason, detail: Mapping[str, Any] | None) -> Words:
    """Return the same by the reason and the facts behind it."""
    detail = detail or {}
    words = explain(reason, detail.get("cause", ""))
    return Words(detail.get("message") or words.message, detail.get("fix") or words.fix, words.whose)


def connection_words(connection: sa.Row[Any]) -> tuple[str, str | None]:
    """Return (message, fix) of a connection, whatever its status."""
    match ConnectionStatus(connection.status):
        case ConnectionStatus.BROKEN:
            words = broken_words(connection)
            return words.message, words.fix
        case ConnectionStatus.ACTIVE:
            return message(EventType.CONNECTION_ACTIVE, ""), None
        case ConnectionStatus.PENDING:
            return CONNECTION_PENDING, None
        case ConnectionStatus.DISCONNECTED:
            return CONNECTION_DISCONNECTED, CONNECT_AGAIN


def status_again(
    db: sa.Connection,
    row: sa.Row[Any],
    tools: Tools,
    *,
    errors: Sequence[Fault] | None = None,
) -> None:
    """Emit where an invoice stands, for whoever sent it again."""
    status = InvoiceStatus(row.status)
    event = TYPE_OF_STATUS[status] or (
        EventType.INVOICE_STAMPED if status is InvoiceStatus.CANCELLING else EventType.INVOICE_ACCEPTED
    )
    believed = stored_documents(db, row.id) if row.uuid else None
    variant = "cancelling" if status is InvoiceStatus.CANCELLING else None
    connection = None
    if status is InvoiceStatus.ON_HOLD:
        connection = db.execute(
            sa.select(connections).where(connections.c.account == row.account)
        ).one_or_none()
    invoice(db, row, tools, event, connection=connection, documents=believed, errors=errors, variant=variant)


def stored_documents(db: sa.Connection, invoice_id: UUID) -> list[dict[str, Any]]:
    """Return the documents of an invoice that are believed."""
    rows = db.execute(
        sa.select(documents_table)
        .where(documents_table.c.invoice_id == invoice_id, documents_table.c.quarantined_reason.is_(None))
        .order_by(documents_table.c.id)
    )
    return [dict(row._mapping) for row in rows]


def _refs(rows: Sequence[dict[str, Any]]) -> list[DocumentRef]:
    return [
        DocumentRef(row["kind"], row["key"], row["sha256"], row["bytes"])
        for row in rows
        if row["quarantined_reason"] is None
    ]


def connection(
    db: sa.Connection,
    row: sa.Row[Any],
    tools: Tools,
    kind: str,
    *,
    variant: str = "",
    forecast: float | None = None,
    corrections: Sequence[str] = (),
) -> None:
    """Emit an event of a connection; `corrections` are what was corrected in what the user pasted."""
    event = EventType(kind)
    facts: dict[str, Any] = {"stamps_left": row.stamps_left}
    fix = None
    if event is EventType.CONNECTION_BROKEN:
        words = broken_words(row)
        facts["why"], fix = words.message, words.fix
    text = " ".join([message(event, variant, **facts), *corrections])
    if forecast is not None:
        text += f" Al ritmo de los últimos días alcanzan para {forecast:g} días."
    outbox.emit(
        db,
        [
            outbox.Event(
                subject_kind="connection",
                subject_id=row.id,
                account=row.account,
                external_id=None,
                version=row.version,
                type=event,
                data=ConnectionData(
                    account=row.account,
                    connection_id=row.id,
                    version=row.version,
                    status=row.status,
                    reason=row.reason,
                    message=text,
                    fix=fix,
                    errors=(row.detail or {}).get("faults", ()) if row.reason else (),
                    invoices=(row.detail or {}).get("invoices", ()) if row.reason else (),
                    stamps_left=row.stamps_left,
                ).as_dict(),
                trace_id=None,
            )
        ],
        now=tools.clock.now(),
    )


def unreadable(
    db: sa.Connection,
    message_id: UUID,
    raw: Any,
    errors: Sequence[dict[str, Any]],
    tools: Tools,
    now: datetime,
    trace_id: str | None,
) -> None:
    """Emit that no invoice could be read in a message."""
    _of_a_message(db, message_id, raw, errors, tools, now, trace_id, variant="unreadable")


def not_found(
    db: sa.Connection,
    message_id: UUID,
    asked: dict[str, Any],
    fault: Fault,
    tools: Tools,
    now: datetime,
    trace_id: str | None,
) -> None:
    """Emit that a request is about an invoice that there is none of."""
    _of_a_message(db, message_id, asked, [fault.as_dict()], tools, now, trace_id, variant="not_found")


def _of_a_message(
    db: sa.Connection,
    message_id: UUID,
    raw: Any,
    errors: Sequence[dict[str, Any]],
    tools: Tools,
    now: datetime,
    trace_id: str | None,
    *,
    variant: str,
) -> None:
    """Emit an event of a message that belongs to no invoice; of what it names, only what is text can be said."""
    named = raw if isinstance(raw, dict) else {}
    account, external_id = (
        storable(value)[:MAX_ID] if isinstance(value := named.get(name), str) else None
        for name in ("account", "external_id")
    )
    outbox.emit(
        db,
        [
            outbox.Event(
                subject_kind="message",
                subject_id=message_id,
                account=account or "",
                external_id=external_id or None,
                version=1,
                type=EventType.REQUEST_REFUSED,
                data=InvoiceData(
                    account=account or "",
                    external_id=external_id or None,
                    invoice_id=None,
                    version=1,
                    status=InvoiceStatus.REJECTED,
                    message=message(EventType.REQUEST_REFUSED, variant),
                    errors=errors,
                ).as_dict(),
                trace_id=trace_id,
            )
        ],
        now=now,
    )


def provider(db: sa.Connection, row: sa.Row[Any], kind: EventType, now: datetime) -> None:
    """Emit that ContaDigital does not answer, or answers again: once each way, for everybody."""
    outbox.emit(
        db,
        [
            outbox.Event(
                subject_kind="provider",
                subject_id=uuid5(NAMESPACE_URL, row.base_url),
                account="",
                external_id=None,
                version=row.version,
                type=kind,
                data={
                    "version": row.version,
                    "status": kind.partition(".")[2],
                    "message": message(kind),
                    "since": now.isoformat(),
                },
            )
        ],
        now=now,
    )


EVIDENCE = {
    **dict.fromkeys(
        ("size", "parse", "comprobante"),
        "El XML que devolvió ContaDigital llegó incompleto o no se puede leer, así que lo apartamos.",
    ),
    **dict.fromkeys(
        ("uuid", "partes"), "El XML que devolvió ContaDigital es de otra factura, así que lo apartamos."
    ),
    "": "El XML que devolvió ContaDigital no es un CFDI válido, así que lo apartamos.",
}
"""What a user reads of a returned XML by the check it did not pass; "" is any other."""


def evidence_faults(report: Report) -> list[Fault]:
    """Say what is wrong with a returned XML, once in a user's words; the checks it did not pass are the `detail`."""
    failed = [
        check for check in report.checks if check.result is Result.FAILED
    ]  # what they left out says nothing
    by_message: dict[str, list[str]] = {}
    for check in failed:
        message = EVIDENCE.get(check.name, EVIDENCE[""])
        by_message.setdefault(message, []).append(f"{check.name}: {check.detail}")
    return [
        Fault(
            "timbrado.evidencia",
            "",
            message,
            "No la envíes de nuevo: soporte la revisa en ContaDigital.",
            "timbrado",
            detail="; ".join(details),
        )
        for message, details in by_message.items()
    ]


def difference_faults(report: Report) -> list[Fault]:
    """Say what a CFDI says otherwise than the invoice that was sent, for whoever accepts or cancels it."""
    return [
        Fault(
            "timbrado.difiere",
            each.field,
            each.message,
            "Si el CFDI está bien así, acéptalo; si no, cancélalo y haz una factura nueva.",
            "timbrado",
        )
        for each in report.substantial
    ]
