"""The time, as all workers see it: the database's clock, carried on by this process's monotonic one.

A host whose wall clock is wrong or jumps would let claims run out early and break the 72 hours. So a process asks
the database before its first task, counts on from there with a clock that never jumps, and asks again now and then.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

GOOD_FOR = 30.0  # seconds; a monotonic clock drifts by less than a millisecond in that time
PROMPT = 0.1  # seconds; two workers whose clocks are further apart take each other's bells for too early


def _wall() -> datetime:
    return datetime.now(UTC)


class Clock:
    """An aware UTC clock, anchored to the database by `keep` and `sync`."""

    def __init__(
        self, shift: Callable[[], timedelta] = timedelta, *, wall: Callable[[], datetime] = _wall
    ) -> None:
        """`shift` moves the clock in the test runtime; in production it is always zero. `wall` is the host's own
        clock, believed only until the database is first asked."""
        self._shift = shift
        self._wall = wall
        self._anchor = (wall(), time.monotonic())  # one value, so that no thread reads half of a new one
        self._ask_at = 0.0

    def now(self) -> datetime:
        """Return the current instant."""
        told, mark = self._anchor
        return told + timedelta(seconds=time.monotonic() - mark) + self._shift()

    def keep(self, engine: sa.Engine) -> None:
        """Ask the database again where that was long ago, or never: called before each piece of work."""
        if time.monotonic() >= self._ask_at:
            with engine.connect() as connection:
                self.sync(connection)

    def sync(self, connection: sa.Connection) -> timedelta:
        """Anchor to the database's clock; return how far this host's wall clock stands from it."""
        before = time.monotonic()
        told: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        after = time.monotonic()
        self._anchor = (told, (before + after) / 2)
        # an answer that was long on its way tells the time only roughly
        self._ask_at = after + (GOOD_FOR if after - before < PROMPT else PROMPT)
        return self._wall() - told
