"""Whether a process lives and can work: what `/healthz` and `/readyz` of a worker and of beat answer from."""

import math
import threading
import time
from collections.abc import Callable

import sqlalchemy as sa
from redis import Redis
from redis.exceptions import RedisError

from net import descriptors
from storage import DocumentStore
from worker import database

MOST_SECONDS = 2.0  # for all that is read in one scrape
STALE = 60.0  # seconds without a sign of life after which a process is not healthy
REFUSED = 30.0
"""Seconds for which a process is not ready after something of its work was refused: a full disk still takes one row."""


class _Refused:
    """What kept this process's work from being taken the last time, and when."""

    def __init__(self) -> None:
        self._last: tuple[str, float] = ("", -math.inf)

    def note(self, why: str) -> None:
        """Note that something was refused now."""
        self._last = (why, time.monotonic())

    def since(self, seconds: float) -> str | None:
        """Return why, where that was no longer ago."""
        why, at = self._last
        return why if why and time.monotonic() - at <= seconds else None


by_database, by_broker = _Refused(), _Refused()


def within(seconds: float, check: Callable[[], str | None]) -> str | None:
    """Return what a check found; where it takes longer than this, that is what is wrong."""
    found: list[str | None] = []

    def run() -> None:
        found.append(check())

    thread = threading.Thread(target=run, name="check", daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else f"no answer in {seconds:g} s"


def store_fault(store: DocumentStore) -> str | None:
    """Write and read a small object, and say what kept it from being written."""
    try:
        store.probe()
    except Exception as error:  # noqa: BLE001  # whatever a store says, it is not ready
        return descriptors.fault_of(error) or f"the document store takes nothing: {error}"
    return None


class Health:
    """What /healthz and /readyz answer from."""

    def __init__(
        self,
        engine: sa.Engine,
        redis: Redis | None,
        *,
        store: DocumentStore | None,
        broker_answers: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`store` is None for beat, which has no business with documents."""
        self._engine, self._redis, self._store = engine, redis, store
        self._broker_answers, self._clock = broker_answers, clock
        self._beat_at = clock()

    def beat(self) -> None:
        """Note that the process's loop went round: a worker's heartbeat was sent, or beat enqueued."""
        self._beat_at = self._clock()

    def faults_of_life(self) -> list[str]:
        """Why this process should be restarted; nothing while it lives.

        While the broker is away the loop stands still, waiting for it. A restart would fix nothing, and cut the calls
        that are under way: so that is no fault, and once the broker is back the loop has its time again.
        """
        age = self._clock() - self._beat_at
        if age > STALE and not self._broker_answers():
            self.beat()
            return []
        return [f"no sign of life for {age:.0f} s"] if age > STALE else []

    def faults_of_readiness(self) -> list[str]:
        """What it can't work without and can't use now: each is asked for two seconds at most."""
        checks = [descriptors.fault, self._database, self._broker]
        if self._store is not None:
            checks.append(self._documents)
        return [
            *self.faults_of_life(),
            *(fault for each in checks if (fault := within(MOST_SECONDS + 1, each))),
        ]

    def _database(self) -> str | None:
        fault = database.write_fault(self._engine) or by_database.since(REFUSED)
        return f"PostgreSQL: {fault}" if fault else None

    def _broker(self) -> str | None:
        if self._redis is None:
            return None if self._broker_answers() else "the broker does not answer"
        try:
            self._redis.ping()
        except RedisError as error:
            return descriptors.fault_of(error) or "Redis does not answer"
        return by_broker.since(REFUSED)

    def _documents(self) -> str | None:
        return store_fault(self._store) if self._store is not None else None
