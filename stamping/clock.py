"""The time, as all workers see it: the database's clock, carried on by this process's monotonic one.

A host whose wall clock is wrong or jumps would let claims run out early and break the 72 hours. So a process asks
the database once, counts on from there with a clock that never jumps, and asks again now and then.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa


class Clock:
    """An aware UTC clock, anchored to the database by `sync`."""

    def __init__(self, shift: Callable[[], timedelta] = timedelta) -> None:
        """`shift` moves the clock in the test runtime; in production it is always zero."""
        self._shift = shift
        self._anchor = datetime.now(UTC)
        self._mark = time.monotonic()

    def now(self) -> datetime:
        """Return the current instant."""
        return self._anchor + timedelta(seconds=time.monotonic() - self._mark) + self._shift()

    def sync(self, connection: sa.Connection) -> timedelta:
        """Anchor to the database's clock; return how far this host's wall clock stands from it."""
        before = time.monotonic()
        told: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        after = time.monotonic()
        self._anchor, self._mark = told, (before + after) / 2
        return datetime.now(UTC) - told
