"""The story of one invoice, read back: who asked, what was tried, what came of it, and whose turn it is.

Nothing is decided here and nothing is written: everything told was committed by the pipeline as it happened. What a
newcomer would get wrong: doubts and look-ups are no table of their own. They are read out of moves and attempts, so
that the story can never say anything else than what happened.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from events.outbox import EventEntry, list_events
from models.tables import attempts, connections, documents, history, invoices, providers
from models.vocabulary import SENDS, AttemptOutcome, Call, ConnectionStatus, InvoiceStatus
from stamping import notify
from stamping.timeline.entries import Attempt, Checked, Document, Doubt, Link, Move, Notice, Story
from stamping.timeline.next_action import Standing, next_step, who_acts

MOST_EVENTS = 1_000

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """What the database holds of one invoice, row by row in order of time."""

    invoice: Row
    connection: Row | None = None
    provider: Row | None = None
    moves: Sequence[Row] = ()
    attempts: Sequence[Row] = ()
    documents: Sequence[Row] = ()
    notices: Sequence[EventEntry] = ()
    in_flight: int = 0
    """Invoices of the account whose call is under way."""
    broken_words: tuple[str, str] | None = field(default=None)
    """(message, fix) of a broken connection, for its owner."""


def read(
    db: sa.Connection, account: str, external_id: str, *, now: datetime, quarantine: timedelta
) -> Story | None:
    """Read one invoice's story; None where there is no such invoice. `quarantine` is the setting's."""
    rows = read_rows(db, account, external_id)
    return compose(rows, now=now, quarantine=quarantine) if rows is not None else None


def read_rows(db: sa.Connection, account: str, external_id: str) -> Rows | None:
    """Read what the database holds of one invoice, at one moment where the transaction sees to that."""
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
    told = list_events(db, subject_id=invoice.id, limit=MOST_EVENTS)
    return Rows(
        invoice=invoice._asdict(),
        connection=connection._asdict() if connection is not None else None,
        provider=provider._asdict() if provider is not None else None,
        moves=_of(db, history, invoice.id, history.c.id),
        attempts=_of(db, attempts, invoice.id, attempts.c.number),
        documents=_of(db, documents, invoice.id, documents.c.id),
        notices=list(reversed(told)),
        in_flight=in_flight,
        broken_words=(
            notify.broken_words(connection)
            if connection is not None and connection.status == ConnectionStatus.BROKEN
            else None
        ),
    )


def compose(rows: Rows, *, now: datetime, quarantine: timedelta) -> Story:
    """Make the story out of its rows."""
    row = rows.invoice
    content = row["content"] if isinstance(row["content"], dict) else {}
    receptor = content.get("receptor")
    receptor = receptor if isinstance(receptor, dict) else {}
    tried = tuple(Attempt(**{name: each[name] for name in Attempt.__slots__}) for each in rows.attempts)
    moves = _moves(rows.moves)
    link = _link(rows)
    standing = Standing(
        row=row,
        connection=rows.connection,
        provider=rows.provider,
        words=(link.message, link.fix) if link is not None and link.message and link.fix else None,
        in_flight=rows.in_flight,
        under_way=next(((each.call, each.number) for each in reversed(tried) if each.outcome is None), None),
        asked_to_cancel=_asked_to_cancel(moves, tried),
        dead=sum(each.status == "dead" for notice in rows.notices for each in notice.deliveries),
        quarantine=quarantine,
        now=now,
    )
    return Story(
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
        claim=row["claim"],
        claimed_by=row["claimed_by"],
        claimed_until=row["claimed_until"],
        tries=row["tries"],
        lookups=row["lookups"],
        moves=moves,
        attempts=tried,
        doubts=_doubts(moves, tried, row),
        documents=tuple(_document(each) for each in rows.documents),
        notices=tuple(_notice(each) for each in rows.notices),
        connection=link,
        next=next_step(standing),
        act=who_acts(standing),
        as_of=now,
    )


def _of(db: sa.Connection, table: sa.Table, invoice_id: UUID, order: sa.Column[Any]) -> list[Row]:
    rows = db.execute(sa.select(table).where(table.c.invoice_id == invoice_id).order_by(order))
    return [each._asdict() for each in rows]


def _moves(rows: Sequence[Row]) -> tuple[Move, ...]:
    found = []
    content: str | None = None
    for each in rows:
        found.append(
            Move(
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


def _doubts(moves: Sequence[Move], tried: Sequence[Attempt], row: Row) -> tuple[Doubt, ...]:
    """Return each stay at `in_doubt`, and the doubt of a cancellation, which has no status of its own.

    Whose look-ups are whose is told by the claims, which only grow: clocks of workers and of the database may differ.
    """
    found: list[Doubt] = []
    for place, move in enumerate(moves):
        if move.target != InvoiceStatus.IN_DOUBT or move.source == InvoiceStatus.IN_DOUBT:
            continue
        end = next((each for each in moves[place + 1 :] if each.target != InvoiceStatus.IN_DOUBT), None)
        until = end.at if end is not None else None
        before = [each for each in tried if each.call in SENDS and each.claim <= move.claim]
        last = end.claim if end is not None else math.inf
        looks = sum(each.call == Call.LOOK_UP and move.claim < each.claim <= last for each in tried)
        found.append(
            Doubt(
                since=move.at,
                until=until,
                lost=before[-1].call if before else None,
                lookups=looks,
                ended=end.target if end is not None else None,
            )
        )
    if row["doubt"] == Call.CANCEL and row["doubt_since"] is not None:
        since = row["doubt_since"]
        looks = sum(each.call == Call.LOOK_UP and each.started_at >= since for each in tried)
        found.append(Doubt(since, None, Call.CANCEL, looks, None))
    return tuple(found)


def _asked_to_cancel(moves: Sequence[Move], tried: Sequence[Attempt]) -> bool:
    """Whether the request of the cancellation at hand has left."""
    begun = [each.at for each in moves if each.target == InvoiceStatus.CANCELLING]
    refused = {AttemptOutcome.NOT_SENT, AttemptOutcome.REFUSED, AttemptOutcome.PROVEN_NO}
    asked = [each for each in tried if each.call == Call.CANCEL and begun and each.started_at >= begun[-1]]
    return bool(asked) and asked[-1].outcome not in refused


def _document(row: Row) -> Document:
    checks = (row["checks"] or {}).get("checks") if row["checks"] else None
    if checks is None:
        return Document(*_stored(row))
    failed = tuple(
        Checked(each["name"], each["result"], each.get("detail") or "")
        for each in checks
        if each["result"] in ("failed", "not_reached")
    )
    passed = sum(each["result"] == "passed" for each in checks)
    return Document(*_stored(row), passed=passed, asked=passed + len(failed), failed=failed)


def _stored(row: Row) -> tuple[str, str, str, int, datetime, str | None]:
    return (
        row["kind"],
        row["key"],
        row["sha256"],
        row["bytes"],
        row["stored_at"],
        row["quarantined_reason"],
    )


def _notice(entry: EventEntry) -> Notice:
    data = entry.event.get("data", {})
    return Notice(
        entry.id,
        entry.version,
        entry.type,
        entry.created_at,
        str(data.get("message") or ""),
        tuple(data.get("errors") or ()),
        entry.deliveries,
    )


def _link(rows: Rows) -> Link | None:
    connection = rows.connection
    if connection is None:
        return None
    message, fix = rows.broken_words or (None, None)
    return Link(
        connection["status"],
        connection["reason"],
        message,
        fix,
        connection["broken_at"],
        connection["next_probe_at"],
        connection["paused"],
        connection["throttled_until"],
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
