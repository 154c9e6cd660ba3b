"""The sandbox's clock: the machine's, moved by an offset when a test plays an hour in a second."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class SandboxClock:
    """The time; `offset` moves the calendar and the running seconds alike."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def now(self) -> datetime:
        """The instant, aware, in UTC."""
        return datetime.now(UTC) + self.offset

    def running(self) -> float:
        """Seconds that only grow, for rules with `for_seconds`."""
        return time.monotonic() + self.offset.total_seconds()
