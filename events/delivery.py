"""One event on its way over one channel, and the three ways a try can end."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from events.types import body


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What a channel is given to send: `event` is the whole object, `id` is the same at every retry."""

    id: UUID
    event: Mapping[str, Any]
    trace_id: str | None = None

    @property
    def body(self) -> str:
        """The text that is signed and sent."""
        return body(self.event)


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """An event that this process alone may send until its lease ends; `claim` is its fence."""

    outgoing: Outgoing
    channel: str
    subject_id: UUID
    version: int
    claim: int
    tries: int
    """This one included."""
    due_from: datetime
    """Since when it has been on its schedule: when it was written, or last replayed."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it (2xx)."""

    status: int | None
    latency: timedelta


@dataclass(frozen=True, slots=True)
class DeliveryFailed:
    """It may not have it: try again. `status` is None where no answer came; `why` is one line for
    operators."""

    status: int | None
    why: str
    latency: timedelta
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """The receiver says 410: the endpoint is switched off; the event waits."""

    latency: timedelta
    status: int = 410


Outcome = Delivered | DeliveryFailed | Gone
