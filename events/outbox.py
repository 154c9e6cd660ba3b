"""The outbox: an event is written in the commit that made it true, and leaves from here.

The one thing a newcomer would get wrong: `emit` sends nothing. It leaves a row per channel that is switched
on, and whoever delivers finds them after the commit, however often the process died in between.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
import uuid_utils.compat as uuids

from models.status import Channel, DeliveryStatus
from models.tables import deliveries, events


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to one subject; `data` is the object's `data`, as it will leave."""

    subject_kind: Literal["invoice", "connection", "message"]
    subject_id: UUID
    account: str
    external_id: str | None
    version: int
    type: str
    data: Mapping[str, Any]
    trace_id: str | None = None


def emit(
    db: sa.Connection, told: Sequence[Event], *, channels: Sequence[Channel], now: datetime
) -> list[UUID]:
    """Write events and what is to be delivered of them, inside the caller's commit; return their ids."""
    if not told:
        return []
    ids = [uuids.uuid7() for _ in told]
    db.execute(
        sa.insert(events),
        [
            {
                "id": event_id,
                "subject_kind": event.subject_kind,
                "subject_id": event.subject_id,
                "account": event.account,
                "external_id": event.external_id,
                "version": event.version,
                "type": str(event.type),
                "data": dict(event.data),
                "trace_id": event.trace_id,
                "created_at": now,
            }
            for event_id, event in zip(ids, told, strict=True)
        ],
    )
    if channels:
        db.execute(
            sa.insert(deliveries),
            [
                {
                    "event_id": event_id,
                    "channel": channel,
                    "subject_id": event.subject_id,
                    "version": event.version,
                    "status": DeliveryStatus.PENDING,
                    "next_attempt_at": now,
                    "created_at": now,
                }
                for event_id, event in zip(ids, told, strict=True)
                for channel in channels
            ],
        )
    return ids
