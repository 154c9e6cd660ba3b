"""The outbox: an event is written in the commit that made it true, and leaves from here.

`emit` sends nothing. A trigger gives each event a delivery over every channel of the installation, whichever process
wrote it; `dispatch` finds them after the commit, however often a process died in between.

`list_events`, `show` and `replay` are for people: nothing that was emitted is ever only in a log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
import uuid_utils.compat as uuids
from sqlalchemy.dialects.postgresql import insert

from events.types import render
from models.compiled import Compiled, param
from models.tables import deliveries, events
from models.vocabulary import Channel, DeliveryStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to one subject; `data` is the object's `data`, as it will leave."""

    subject_kind: Literal["invoice", "connection", "message", "provider"]
    subject_id: UUID
    account: str
    external_id: str | None
    version: int
    type: str
    data: Mapping[str, Any]
    trace_id: str | None = None


def emit(db: sa.Connection, several: Sequence[Event], *, now: datetime) -> list[UUID]:
    """Write events inside the caller's commit; return their ids."""
    ids = [uuids.uuid7() for _ in several]
    for event_id, event in zip(ids, several, strict=True):
        _EVENT.run(
            db,
            id=event_id,
            subject_kind=event.subject_kind,
            subject_id=event.subject_id,
            account=event.account,
            external_id=event.external_id,
            version=event.version,
            type=str(event.type),
            data=dict(event.data),
            trace_id=event.trace_id,
            created_at=now,
        )
    return ids


def _insert_into(table: sa.Table, *names: str) -> Compiled:
    return Compiled(lambda: sa.insert(table).values({name: param(name) for name in names}))


_EVENT = _insert_into(
    events, "id", "subject_kind", "subject_id", "account", "external_id", "version", "type", "data", "trace_id",
    "created_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeliveryEntry:
    """How one event fares over one channel."""

    channel: str
    status: str
    tries: int
    tried_at: datetime | None
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    last_status: int | None
    last_error: str | None
    latency_ms: int | None
    in_flight: bool


@dataclass(frozen=True, slots=True)
class EventEntry:
    """One event and how it fares; `event` is the whole object as it leaves."""

    id: UUID
    type: str
    subject_kind: str
    subject_id: UUID
    account: str
    external_id: str | None
    version: int
    created_at: datetime
    trace_id: str | None
    event: Mapping[str, Any]
    deliveries: tuple[DeliveryEntry, ...]


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many deliveries of a channel stand at a status, and since when the oldest of them does."""

    channel: str
    status: str
    count: int
    oldest_at: datetime


def list_events(
    db: sa.Connection,
    *,
    account: str | None = None,
    external_id: str | None = None,
    subject_id: UUID | None = None,
    type_: str | None = None,
    status: str | None = None,
    channel: str | None = None,
    before: datetime | None = None,
    before_id: UUID | None = None,
    which: sa.ColumnElement[bool] | None = None,
    limit: int = 50,
) -> list[EventEntry]:
    """Events, the newest first; `status` and `channel` ask for those with such a delivery, `before_id` for what is
    older than an event."""
    query = sa.select(events).order_by(events.c.position.desc(), events.c.id.desc()).limit(limit)
    for column, wanted in (
        (events.c.account, account),
        (events.c.external_id, external_id),
        (events.c.subject_id, subject_id),
        (events.c.type, type_),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    if before is not None:
        query = query.where(events.c.created_at < before)
    if before_id is not None:
        place = sa.select(events.c.position, events.c.id).where(events.c.id == before_id).scalar_subquery()
        query = query.where(sa.tuple_(events.c.position, events.c.id) < place)
    if which is not None:
        query = query.where(which)
    if status is not None or channel is not None:
        such = sa.select(sa.literal(1)).where(deliveries.c.event_id == events.c.id)
        if status is not None:
            such = such.where(deliveries.c.status == status)
        if channel is not None:
            such = such.where(deliveries.c.channel == channel)
        query = query.where(such.exists())
    return _entries(db, db.execute(query).all())


def show(db: sa.Connection, event_id: UUID) -> EventEntry | None:
    """One event with all that is known of its deliveries; None when there is none of that id."""
    return next(iter(_entries(db, db.execute(sa.select(events).where(events.c.id == event_id)).all())), None)


def replay(db: sa.Connection, event_id: UUID, *, channels: Sequence[Channel], now: datetime) -> bool:
    """Send one event again over these channels, with its old id, from the start of the schedule; False: no
    such event.

    Also one that was delivered, or written while the channel was off. A try in flight is no longer waited
    for.
    """
    event = db.execute(sa.select(events).where(events.c.id == event_id)).one_or_none()
    if event is None:
        return False
    for channel in channels:
        again = insert(deliveries).values(
            event_id=event.id,
            channel=channel,
            subject_id=event.subject_id,
            version=event.version,
            status=DeliveryStatus.PENDING,
            next_attempt_at=now,
            created_at=now,
        )
        db.execute(again.on_conflict_do_update(index_elements=["event_id", "channel"], set_=_anew(now)))
    return True


def replay_dead(db: sa.Connection, channel: Channel, *, now: datetime, since: datetime | None = None) -> int:
    """Send again everything that was given up over a channel (written at or after `since`); how many."""
    dead = sa.select(deliveries.c.event_id).where(
        deliveries.c.channel == channel, deliveries.c.status == DeliveryStatus.DEAD
    )
    if since is not None:
        dead = dead.join(events, events.c.id == deliveries.c.event_id).where(events.c.created_at >= since)
    return db.execute(
        sa.update(deliveries)
        .where(deliveries.c.channel == channel, deliveries.c.event_id.in_(dead))
        .values(_anew(now))
    ).rowcount


def backlogs(db: sa.Connection) -> list[Backlog]:
    """Per channel, what waits and what was given up: for metrics, `doctor` and alerts."""
    found = []
    for status in (DeliveryStatus.DEAD, DeliveryStatus.PENDING):
        counted = (
            sa.select(deliveries.c.channel, sa.func.count(), sa.func.min(deliveries.c.created_at))
            # spelled out, or a prepared plan misses the index that holds these few of millions
            .where(deliveries.c.status == sa.literal_column(f"'{status}'"))
            .group_by(deliveries.c.channel)
            .order_by(deliveries.c.channel)
        )
        found += [Backlog(channel, status, count, oldest) for channel, count, oldest in db.execute(counted)]
    return found


def _anew(now: datetime) -> dict[str, Any]:
    """The columns of a delivery that starts over.

    The claim grows, so a try in flight settles nothing; its lease stays, so the next try waits for its end.
    """
    return {
        "status": DeliveryStatus.PENDING,
        "tries": 0,
        "next_attempt_at": now,
        "created_at": now,
        "delivered_at": None,
        "claim": deliveries.c.claim + 1,
    }


def _entries(db: sa.Connection, rows: Sequence[sa.Row[Any]]) -> list[EventEntry]:
    found: dict[UUID, list[DeliveryEntry]] = {row.id: [] for row in rows}
    if found:
        query = sa.select(deliveries).where(deliveries.c.event_id.in_(found)).order_by(deliveries.c.channel)
        for each in db.execute(query):
            found[each.event_id].append(
                DeliveryEntry(
                    channel=each.channel,
                    status=each.status,
                    tries=each.tries,
                    tried_at=each.tried_at,
                    next_attempt_at=each.next_attempt_at,
                    delivered_at=each.delivered_at,
                    last_status=each.last_status,
                    last_error=each.last_error,
                    latency_ms=each.latency_ms,
                    in_flight=each.claimed_until is not None,
                )
            )
    return [
        EventEntry(
            id=row.id,
            type=row.type,
            subject_kind=row.subject_kind,
            subject_id=row.subject_id,
            account=row.account,
            external_id=row.external_id,
            version=row.version,
            created_at=row.created_at,
            trace_id=row.trace_id,
            event=render(row.type, row.created_at, row.data),
            deliveries=tuple(found[row.id]),
        )
        for row in rows
    ]
