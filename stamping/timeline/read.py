"""Reads the timeline of one invoice: who asked, each attempt, the result, what comes next and who must act.

Nothing is decided or written here. Doubts and look-ups have no table of their own: they are derived from status changes
and attempts, so that the timeline cannot contradict them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from contadigital.reasons import Words
from events.outbox import EventEntry, list_events
from models.tables import actions, attempts, connections, documents, history, invoices, providers
from models.vocabulary import SENDS, AttemptOutcome, Call, ConnectionStatus, InvoiceStatus
from stamping import heartbeat, notify
from stamping.timeline.entries import (
    ActionEntry,
    AttemptEntry,
    CheckEntry,
    ConnectionEntry,
    DocumentEntry,
    DoubtEntry,
    SentEvent,
    StatusEntry,
    Timeline,
)
from stamping.timeline.next_action import InvoiceSnapshot, next_step, who_must_act
from storage import DocumentStore, StorageUnavailable

MOST_EVENTS = 1_000

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TimelineRows:
    """What the database holds of one invoice, row by row in order of time."""

    invoice: Row
    connection: Row | None = None
    provider: Row | None = None
    changes: Sequence[Row] = ()
    attempts: Sequence[Row] = ()
    documents: Sequence[Row] = ()
    events: Sequence[EventEntry] = ()
    actions: Sequence[Row] = ()
    in_flight: int = 0
    """Invoices of the account whose call is under way."""
    broken: Words | None = field(default=None)
    """(message, fix) of a broken connection, for its owner."""
    store_fault: str | None = None
    """Why documents can't be stored, by a worker's word."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """How each document lies in the store, by its key; empty where nobody looked."""


def read(
    db: sa.Connection,
    account: str,
    external_id: str,
    *,
    now: datetime,
    quarantine: timedelta,
    store: DocumentStore | None = None,
) -> Timeline | None:
    """Read one invoice's timeline; None where there is no such invoice. `quarantine` is the setting's.

    With a `store` each of its documents is read, too: is it there, and are its bytes those that were stored?
    """
    rows = read_rows(db, account, external_id)
    if rows is not None and store is not None:
        rows = replace(rows, conditions={each["key"]: _condition(each, store) for each in rows.documents})
    return compose(rows, now=now, quarantine=quarantine) if rows is not None else None


def read_rows(db: sa.Connection, account: str, external_id: str) -> TimelineRows | None:
    """Read what the database holds of one invoice, at one moment where the transaction is a snapshot."""
    invoice = db.execute(
        sa.select(invoices).where(invoices.c.account == account, invoices.c.external_id == external_id)
    ).one_or_none()
    if invoice is None:
        return None
    connection = db.execute(
        sa.select(*(column for column in connections.c if column.name != "catalogs")).where(
            connections.c.account == account
        )
    ).one_or_none()
    provider = None
    if connection is not None:
        provider = db.execute(
            sa.select(providers).where(providers.c.base_url == connection.base_url)
        ).one_or_none()
    in_flight = db.execute(
        sa.select(sa.func.count())
        .select_from(invoices)
        .where(invoices.c.account == account, invoices.c.status == InvoiceStatus.STAMPING)
    ).scalar_one()
    found = list_events(db, subject_id=invoice.id, limit=MOST_EVENTS)
    refusal = heartbeat.last(db, heartbeat.STORE)
    return TimelineRows(
        invoice=invoice._asdict(),
        connection=connection._asdict() if connection is not None else None,
        provider=provider._asdict() if provider is not None else None,
        changes=_of(db, history, invoice.id, history.c.id),
        attempts=_of(db, attempts, invoice.id, attempts.c.number),
        documents=_of(db, documents, invoice.id, documents.c.id),
        events=list(reversed(found)),
        actions=_of(db, actions, invoice.id, actions.c.id, column=actions.c.subject_id),
        in_flight=in_flight,
        broken=(
            notify.broken_words(connection)
            if connection is not None and connection.status == ConnectionStatus.BROKEN
            else None
        ),
        store_fault=(
            str(refusal.detail.get("why")) if refusal is not None and refusal.age < STORE_REFUSED else None
        ),
    )


STORE_REFUSED = 60.0
"""Seconds for which a worker's word counts that documents can't be stored; while it lasts a worker repeats it."""


def _condition(row: Row, store: DocumentStore) -> str:
    try:
        return store.verify(row["key"], row["sha256"])
    except StorageUnavailable:
        return "unreadable"


def compose(rows: TimelineRows, *, now: datetime, quarantine: timedelta) -> Timeline:
    """Make the timeline out of its rows."""
    row = rows.invoice
    content = row["content"] if isinstance(row["content"], dict) else {}
    receptor = content.get("receptor")
    receptor = receptor if isinstance(receptor, dict) else {}
    tried = tuple(
        AttemptEntry(**{name: each[name] for name in AttemptEntry.__slots__}) for each in rows.attempts
    )
    changes = _changes(rows.changes)
    connection = _connection(rows)
    snapshot = InvoiceSnapshot(
        row=row,
        connection=rows.connection,
        provider=rows.provider,
        broken=rows.broken,
        in_flight=rows.in_flight,
        under_way=next(((each.call, each.number) for each in reversed(tried) if each.outcome is None), None),
        asked_to_cancel=_asked_to_cancel(changes, tried),
        dead=sum(each.status == "dead" for event in rows.events for each in event.deliveries),
        quarantine=quarantine,
        now=now,
        store_fault=rows.store_fault,
        lost=tuple(
            each["kind"]
            for each in rows.documents
            if rows.conditions.get(each["key"]) in {"missing", "changed"}
        ),
    )
    return Timeline(
        id=row["id"],
        account=row["account"],
        external_id=row["external_id"],
        status=row["status"],
        reason=row["reason"],
        version=row["version"],
        trace_id=row["trace_id"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        tipo_de_comprobante=_text(content.get("tipo_de_comprobante")),
        receptor_rfc=_text(receptor.get("rfc")),
        receptor_nombre=_text(receptor.get("nombre")),
        total=_text(content.get("total")),
        moneda=_text(content.get("moneda")),
        lugar_expedicion=_text(content.get("lugar_expedicion")),
        fecha=row["fecha"],
        expires_at=row["expires_at"],
        record_id=row["record_id"],
        serie=row["serie"],
        folio=row["folio"],
        uuid=row["uuid"],
        fecha_timbrado=row["fecha_timbrado"],
        stamped_at=row["stamped_at"],
        cancelled_at=row["cancelled_at"],
        motivo=row["motivo"],
        uuid_sustitucion=row["uuid_sustitucion"],
        errors=tuple(row["errors"] or ()),
        warnings=tuple(row["warnings"] or ()),
        differences=tuple(row["differences"] or ()),
        replaces_id=row["replaces_id"],
        withdraw_asked_at=row["withdraw_asked_at"],
        claim=row["claim"],
        claimed_by=row["claimed_by"],
        claimed_until=row["claimed_until"],
        tries=row["tries"],
        lookups=row["lookups"],
        changes=changes,
        attempts=tried,
        doubts=_doubts(changes, tried, row),
        documents=tuple(
            replace(_document(each), condition=rows.conditions.get(each["key"])) for each in rows.documents
        ),
        events=tuple(_sent_event(each) for each in rows.events),
        actions=tuple(
            ActionEntry(**{name: each[name] for name in ActionEntry.__slots__}) for each in rows.actions
        ),
        connection=connection,
        next=next_step(snapshot),
        act=who_must_act(snapshot),
        as_of=now,
    )


def _of(
    db: sa.Connection,
    table: sa.Table,
    invoice_id: UUID,
    order: sa.Column[Any],
    *,
    column: sa.Column[Any] | None = None,
) -> list[Row]:
    of = table.c.invoice_id if column is None else column
    rows = db.execute(sa.select(table).where(of == invoice_id).order_by(order))
    return [each._asdict() for each in rows]


def _changes(rows: Sequence[Row]) -> tuple[StatusEntry, ...]:
    found = []
    content: str | None = None
    for each in rows:
        found.append(
            StatusEntry(
                each["at"],
                each["from_status"],
                each["to_status"],
                each["reason"],
                each["uuid"],
                each["claim"],
                corrected=content is not None and content != each["content_hash"],
            )
        )
        content = each["content_hash"]
    return tuple(found)


def _doubts(
    changes: Sequence[StatusEntry], tried: Sequence[AttemptEntry], row: Row
) -> tuple[DoubtEntry, ...]:
    """Return each time at `in_doubt`, and the doubt of a cancellation, which has no status of its own.

    A look-up belongs to a doubt by its claim number, which only grows: a worker's clock may differ from the database's.
    """
    found: list[DoubtEntry] = []
    for index, change in enumerate(changes):
        if change.target != InvoiceStatus.IN_DOUBT or change.source == InvoiceStatus.IN_DOUBT:
            continue
        end = next((each for each in changes[index + 1 :] if each.target != InvoiceStatus.IN_DOUBT), None)
        until = end.at if end is not None else None
        before = [each for each in tried if each.call in SENDS and each.claim <= change.claim]
        last = end.claim if end is not None else math.inf
        lookups = sum(each.call == Call.LOOK_UP and change.claim < each.claim <= last for each in tried)
        found.append(
            DoubtEntry(
                since=change.at,
                until=until,
                lost=before[-1].call if before else None,
                lookups=lookups,
                ended=end.target if end is not None else None,
            )
        )
    if row["doubt"] == Call.CANCEL and row["doubt_since"] is not None:
        since = row["doubt_since"]
        lookups = sum(each.call == Call.LOOK_UP and each.started_at >= since for each in tried)
        found.append(DoubtEntry(since, None, Call.CANCEL, lookups, None))
    return tuple(found)


def _asked_to_cancel(changes: Sequence[StatusEntry], tried: Sequence[AttemptEntry]) -> bool:
    """Whether the cancellation was sent."""
    begun = [each.at for each in changes if each.target == InvoiceStatus.CANCELLING]
    refused = {AttemptOutcome.NOT_SENT, AttemptOutcome.REFUSED, AttemptOutcome.PROVEN_NO}
    asked = [each for each in tried if each.call == Call.CANCEL and begun and each.started_at >= begun[-1]]
    return bool(asked) and asked[-1].outcome not in refused


def _document(row: Row) -> DocumentEntry:
    checks = (row["checks"] or {}).get("checks") if row["checks"] else None
    if checks is None:
        return DocumentEntry(*_stored(row))
    failed = tuple(
        CheckEntry(each["name"], each["result"], each.get("detail") or "")
        for each in checks
        if each["result"] in ("failed", "not_reached")
    )
    passed = sum(each["result"] == "passed" for each in checks)
    not_asked = tuple(each["name"] for each in checks if each["result"] == "not_asked")
    return DocumentEntry(
        *_stored(row), passed=passed, asked=passed + len(failed), failed=failed, not_asked=not_asked
    )


def _stored(row: Row) -> tuple[str, str, str, int, datetime, str | None]:
    return (
        row["kind"],
        row["key"],
        row["sha256"],
        row["bytes"],
        row["stored_at"],
        row["quarantined_reason"],
    )


def _sent_event(entry: EventEntry) -> SentEvent:
    data = entry.event.get("data", {})
    return SentEvent(
        entry.id,
        entry.version,
        entry.type,
        entry.created_at,
        str(data.get("message") or ""),
        tuple(data.get("errors") or ()),
        entry.deliveries,
    )


def _connection(rows: TimelineRows) -> ConnectionEntry | None:
    connection = rows.connection
    if connection is None:
        return None
    words = rows.broken
    return ConnectionEntry(
        connection["status"],
        connection["reason"],
        words.message if words is not None else None,
        words.fix if words is not None else None,
        connection["broken_at"],
        connection["next_probe_at"],
        connection["paused"],
        connection["throttled_until"],
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
