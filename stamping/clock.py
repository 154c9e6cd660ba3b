"""The time, as all workers see it: the database's clock, carried on by this host's time since boot.

A host whose wall clock is wrong or jumps would let claims run out early and break the 72 hours. So a process asks
the database before its first task, counts on from there with a clock that never jumps, and asks again now and then.
That clock also counts while the machine is suspended, which `time.monotonic` does not.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

GOOD_FOR = 30.0  # seconds; a monotonic clock drifts by less than a millisecond in that time
PROMPT = 0.1  # seconds; two workers whose clocks are further apart take each other's messages for too early


def _wall() -> datetime:
    return datetime.now(UTC)


def _since_boot() -> float:
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return (
        time.monotonic()
    )  # where there is no such clock (macOS), this one counts on in sleep or nothing does


class Clock:
    """An aware UTC clock, anchored to the database by `keep` and `sync`."""

    def __init__(
        self, shift: Callable[[], timedelta] = timedelta, *, wall: Callable[[], datetime] = _wall
    ) -> None:
        """`shift` moves the clock in the test runtime; in production it is always zero. `wall` is the host's own
        clock, believed only until the database is first asked."""
        self._shift = shift
        self._wall = wall
        self._anchor = (wall(), _since_boot())  # one value, so that no thread reads half of a new one
        self._ask_at = 0.0

    def now(self) -> datetime:
        """Return the current instant."""
        at, mark = self._anchor
        return at + timedelta(seconds=_since_boot() - mark) + self._shift()

    def elapsed(self) -> float:
        """Return the seconds of a count that only grows, a suspended machine's included; for durations."""
        return _since_boot() + self._shift().total_seconds()

    def keep(self, engine: sa.Engine) -> None:
        """Ask the database again where that was long ago, or never: called before each piece of work."""
        if _since_boot() >= self._ask_at:
            with (
                engine.begin() as connection
            ):  # committed: with a rollback psycopg drops what it has prepared
                self.sync(connection)

    def sync(self, connection: sa.Connection) -> timedelta:
        """Anchor to the database's clock; return how far this host's wall clock stands from it."""
        before = _since_boot()
        at: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        after = _since_boot()
        self._anchor = (at, (before + after) / 2)
        # an answer that was long on its way gives the time only roughly
        self._ask_at = after + (GOOD_FOR if after - before < PROMPT else PROMPT)
        return self._wall() - at


class test_shift:  # noqa: N801  # reads as a function where it is used
    """The clock's offset in the test runtime: the seconds that a file holds, read again when it changes."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, timedelta] = (0, timedelta(0))

    def __call__(self) -> timedelta:
        """Return the offset; zero without a file."""
        if self._path is None:
            return timedelta(0)
        try:
            changed = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return timedelta(0)
        if changed != self._seen[0]:
            self._seen = (changed, timedelta(seconds=float(self._path.read_text() or 0)))
        return self._seen[1]
