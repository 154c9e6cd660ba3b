"""Over which channels events leave: a fact of the installation, kept in its table, never of the process that happens to
write an event.

A worker writes it when it starts (its settings decide), and the trigger of `events` reads it: whatever a command line,
the HTTP API or plain SQL writes is delivered like everything else.
"""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables import deliveries, events, installation
from models.vocabulary import Channel, DeliveryStatus

NAME = "channels"


def current(db: sa.Connection) -> tuple[Channel, ...]:
    """Return the channels of the installation; none before its first worker started."""
    return _read(db) or ()


def set_current(db: sa.Connection, channels: Sequence[Channel], now: datetime) -> tuple[Channel, ...] | None:
    """Set the channels from now on; return what they were before, None where nobody had set them.

    What was written before any worker ran is delivered over them too.
    """
    before = _read(db)
    if before == tuple(channels):
        return before
    row = {"name": NAME, "value": [str(each) for each in channels], "updated_at": now}
    db.execute(insert(installation).values(row).on_conflict_do_update(index_elements=["name"], set_=row))
    if before is None:
        for channel in channels:
            db.execute(_deliver_all_over(channel, now))
    return before


def _read(db: sa.Connection) -> tuple[Channel, ...] | None:
    found = db.execute(sa.select(installation.c.value).where(installation.c.name == NAME)).one_or_none()
    return None if found is None else tuple(Channel(each) for each in found.value)


def _deliver_all_over(channel: Channel, now: datetime) -> sa.Insert:
    columns = ("event_id", "channel", "subject_id", "version", "status", "next_attempt_at", "created_at")
    found = sa.select(
        events.c.id,
        sa.literal(str(channel)),
        events.c.subject_id,
        events.c.version,
        sa.literal(str(DeliveryStatus.PENDING)),
        events.c.created_at,
        sa.literal(now, sa.DateTime(timezone=True)),
    )
    return insert(deliveries).from_select(list(columns), found).on_conflict_do_nothing()
