"""Reads the timeline of one invoice: who asked, each attempt, the result, what comes next and who must act.

Nothing is decided or written here. Doubts and look-ups have no table of their own: they are derived from status changes
and attempts, so that the timeline cannot contradict them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from contadigital.reasons import Words
from events.outbox import DeliveryEntry
from events.types import render
from models.compiled import Compiled, constant, param, part_of, text_of
from models.tables import (
    actions,
    attempts,
    connections,
    deliveries,
    documents,
    events,
    heartbeats,
    history,
    invoices,
    providers,
)
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
    events: Sequence[SentEvent] = ()
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
    """Read what the database holds of one invoice, all of it at one moment."""
    found = _ALL.run(db, account=account, external_id=external_id).one_or_none()
    if found is None:
        return None
    row = found._asdict()
    connection = provider = broken = None
    if row["connection_status"] is not None:
        connection = {name: row[f"connection_{name}"] for name in _CONNECTION}
        provider = {name: row[f"provider_{name}"] for name in _PROVIDER}
        if connection["status"] == ConnectionStatus.BROKEN:
            broken = notify.words_of(connection["reason"], connection["detail"])
    return TimelineRows(
        invoice=row,
        connection=connection,
        provider=provider,
        changes=_CHANGES.read(row["changes"]),
        attempts=_ATTEMPTS.read(row["attempts"]),
        documents=_DOCUMENTS.read(row["documents"]),
        events=[_sent_event(each) for each in reversed(_EVENTS.read(row["events"]))],
        actions=_ACTIONS.read(row["actions"]),
        in_flight=row["in_flight"],
        broken=broken,
        store_fault=row["store_fault"],
    )


STORE_REFUSED = timedelta(seconds=60)
"""How long a worker's word counts that documents can't be stored; while it lasts a worker repeats it."""


class _Aggregate:
    """Rows of a table as one JSON value, so that one statement reads all that belongs to an invoice."""

    def __init__(self, table: sa.Table, names: Sequence[str], *more: sa.ColumnElement[Any]) -> None:
        self._table, self._columns = table, [*(table.c[name] for name in names), *more]
        self._from_json = [
            (each.name, kind)
            for each in self._columns
            if (kind := _FROM_JSON.get(type(each.type))) is not None
        ]

    def of(
        self, which: sa.ColumnElement[bool], *order: sa.ColumnElement[Any], most: int | None = None
    ) -> sa.ScalarSelect[Any]:
        """Return the expression that reads them."""
        rows = sa.select(*self._columns).where(which).order_by(*order).limit(most)
        return sa.select(
            sa.func.json_agg(rows.correlate_except(self._table).subquery().table_valued())
        ).scalar_subquery()

    def read(self, found: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
        """Return what it found, each value as its column has it."""
        for each in found or ():
            for name, kind in self._from_json:
                if each[name] is not None:
                    each[name] = kind(each[name])
        return found or []


_FROM_JSON: Mapping[type, Callable[[str], Any]] = {sa.DateTime: datetime.fromisoformat, sa.Uuid: UUID}
_CONNECTION = ("status", "reason", "detail", "broken_at", "next_probe_at", "paused", "throttled_until")
_PROVIDER = ("opened_at", "next_probe_at")
_UNREAD = frozenset(
    {
        "content", "content_hash", "sent_at", "record_empresa", "record_base_url", "id_honoured", "enqueued_at",
        "calls", "followup_tries", "reminder_at", "last_reminder",
    }
)  # fmt: skip
"""Columns that no timeline shows: psycopg parses a statement of more than 4,096 letters each time."""
_CONTENT = ("tipo_de_comprobante", "receptor", "total", "moneda", "lugar_expedicion")
"""What a timeline shows of what was sent; its lines, which may be thousands, are not read."""
_CHANGES = _Aggregate(history, ("at", "from_status", "to_status", "reason", "uuid", "claim", "content_hash"))
_ATTEMPTS = _Aggregate(attempts, AttemptEntry.__slots__)
_DOCUMENTS = _Aggregate(
    documents, ("kind", "key", "sha256", "bytes", "stored_at", "quarantined_reason", "checks")
)
_ACTIONS = _Aggregate(actions, ActionEntry.__slots__)
_DELIVERIES = _Aggregate(
    deliveries,
    [name for name in DeliveryEntry.__slots__ if name != "in_flight"],
    deliveries.c.claimed_until.is_not(None).label("in_flight"),
)
_EVENTS = _Aggregate(
    events,
    ("id", "version", "type", "created_at"),
    *(part_of(events.c.data, name).label(name) for name in ("message", "errors")),
    _DELIVERIES.of(deliveries.c.event_id == events.c.id, deliveries.c.channel).label("deliveries"),
)


def _all() -> sa.Select[Any]:
    one, others = invoices.alias("i"), invoices.alias("o")
    content = (part for name in _CONTENT for part in (constant(name), part_of(one.c.content, name)))
    return (
        sa.select(
            *(each for each in one.c if each.name not in _UNREAD),
            sa.func.jsonb_build_object(*content).label("content"),
            *(connections.c[name].label(f"connection_{name}") for name in _CONNECTION),
            *(providers.c[name].label(f"provider_{name}") for name in _PROVIDER),
            _CHANGES.of(history.c.invoice_id == one.c.id, history.c.id).label("changes"),
            _ATTEMPTS.of(attempts.c.invoice_id == one.c.id, attempts.c.number).label("attempts"),
            _DOCUMENTS.of(documents.c.invoice_id == one.c.id, documents.c.id).label("documents"),
            _EVENTS.of(
                events.c.subject_id == one.c.id,
                events.c.position.desc(),
                events.c.id.desc(),
                most=MOST_EVENTS,
            ).label("events"),
            _ACTIONS.of(actions.c.subject_id == one.c.id, actions.c.id).label("actions"),
            sa.select(sa.func.count())
            .where(
                others.c.account == one.c.account,
                others.c.status == constant(InvoiceStatus.STAMPING),
            )
            .scalar_subquery()
            .label("in_flight"),
            sa.select(text_of(heartbeats.c.detail, "why"))
            .where(
                heartbeats.c.name == constant(heartbeat.STORE),
                heartbeats.c.at > sa.func.clock_timestamp() - STORE_REFUSED,
            )
            .scalar_subquery()
            .label("store_fault"),
        )
        .outerjoin(connections, connections.c.account == one.c.account)
        .outerjoin(providers, providers.c.base_url == connections.c.base_url)
        .where(one.c.account == param("account"), one.c.external_id == param("external_id"))
    )


_ALL = Compiled(_all)


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
        events=tuple(rows.events),
        actions=tuple(
            ActionEntry(**{name: each[name] for name in ActionEntry.__slots__}) for each in rows.actions
        ),
        connection=connection,
        next=next_step(snapshot),
        act=who_must_act(snapshot),
        as_of=now,
    )


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


def _sent_event(row: Row) -> SentEvent:
    data = render(row["type"], row["created_at"], {"errors": row["errors"]})["data"]
    return SentEvent(
        row["id"],
        row["version"],
        row["type"],
        row["created_at"],
        str(row["message"] or ""),
        tuple(data["errors"] or ()),
        tuple(DeliveryEntry(**each) for each in _DELIVERIES.read(row["deliveries"])),
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
