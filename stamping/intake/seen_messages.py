"""Which message a request came in, so that each is done once, and an older one never undoes what a newer one did.

A broker hands a message out again after a worker was killed, after a requeue, and from an old append-only file.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.compiled import Compiled, param
from models.tables import seen_messages

REMEMBERED = timedelta(days=60)
"""How long an id is remembered: longer than a message lies in any queue, or in a broker's backup that is restored."""
FORGET_AT_ONCE = 2_000
"""Ids that one sweep forgets."""


@dataclass(frozen=True)
class Message:
    """One message as it came in: its id, the task it names, and when it was sent."""

    id: str
    task: str
    sent_at: datetime

    def is_older_than(self, instant: datetime | None) -> bool:
        """Whether it was sent before what came at this instant."""
        return instant is not None and self.sent_at < instant


def sent_at(message: Message | None, now: datetime) -> datetime:
    """Return when a request was made: when its message was sent, and now where it came in none."""
    return message.sent_at if message is not None else now


AHEAD = timedelta(minutes=1)
"""Further ahead of now than processes see the database's clock apart: such an instant was written while a clock was
wrong, and nothing that is sent now is older than it."""


def is_superseded(sent_at: datetime, by: datetime | None, now: datetime) -> bool:
    """Whether a newer request than one that was sent then has been done."""
    return by is not None and sent_at < by <= now + AHEAD


_NOTE = Compiled(
    lambda: (
        insert(seen_messages)
        .values(**{name: param(name) for name in ("message_id", "task", "account", "sent_at", "received_at")})
        .on_conflict_do_nothing(index_elements=[seen_messages.c.message_id])
        .returning(seen_messages.c.message_id)
    )
)


def is_new(db: sa.Connection, message: Message | None, account: str | None, now: datetime) -> bool:
    """Note a message in the transaction that does what it asks for; False where that was done before.

    A request that came in no message is new each time.
    """
    if message is None:
        return True
    noted = _NOTE.run(
        db,
        message_id=message.id,
        task=message.task,
        account=account,
        sent_at=message.sent_at,
        received_at=now,
    )
    return noted.one_or_none() is not None


def forget_old(db: sa.Connection, now: datetime) -> None:
    """Forget ids that no message comes with any more (ix_seen_messages_received_at)."""
    old = (
        sa.select(seen_messages.c.message_id)
        .where(seen_messages.c.received_at < now - REMEMBERED)
        .limit(FORGET_AT_ONCE)
    )
    db.execute(sa.delete(seen_messages).where(seen_messages.c.message_id.in_(old)))
