"""Getting events out, in batches: claim many in one statement, send them, settle them in one; no transaction is open
while the receiver is waited for.

What is promised: a subject never has two events in flight over one channel, so that where the receiver is up it gets
them in order; an older event that was never tried goes before a newer one, but one that waits in its backoff delays no
other (receivers go by `version`); and an event is given up only after its whole schedule, visible and replayable.
SKIP LOCKED alone would not keep a subject's events apart (two statements that overlap each see the other's row
unclaimed), so claims of one channel queue up on an advisory lock.
"""

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from events import endpoints, queries
from events.delivery import ClaimedDelivery, Delivered, DeliveryFailed, Gone, Outcome, Outgoing
from events.schedule import QUICK_REPEAT, QUICK_TRIES, SHORTEST_REPEAT, next_wait
from events.types import render
from models.vocabulary import DeliveryStatus

LEASE = timedelta(seconds=60)
"""How long an event belongs to who claimed it: longer than a batch, which is `BUDGET` and one whole call of 20 s."""

BATCH = 50
"""Events claimed and settled in one statement."""

THREADS = 8
"""Events that one process sends at once over one channel: a dead or slow receiver occupies so many, no more."""

BUDGET = timedelta(seconds=1)
"""A batch begins no call after this; what it did not come to is released. So one slow receiver's batch of 50 never
outlives its lease, and a subject's next event waits for one call and not for fifty."""

SLOW = timedelta(milliseconds=20)
"""A receiver that takes longer is sent to by several threads; a faster one costs less CPU with one."""

FRESH = timedelta(minutes=1)
"""What became due within it has every second place of a batch, so that it does not wait behind a whole backlog."""

_LONGEST_ERROR = 300


@dataclass(slots=True)
class Round:
    """What one call of `deliver_due` did; `more` when it stopped at a limit, so that more may be due."""

    delivered: int = 0
    failed: int = 0
    dead: int = 0
    gone: int = 0
    late: int = 0
    """Settled by another: the lease had ended, or the event was replayed meanwhile."""
    more: bool = field(default=False)

    @property
    def tried(self) -> int:
        """How many events were sent."""
        return self.delivered + self.failed + self.dead + self.gone + self.late


Send = Callable[[Outgoing, datetime], Outcome]
Result = tuple[ClaimedDelivery, Outcome | None]
"""How a claimed event ended; None: it was not sent, and is released."""


def deliver_due(
    engine: sa.Engine,
    channel: str,
    send: Send,
    *,
    address: str,
    clock: Callable[[], datetime],
    chance: Callable[[], float],
    public_url: str | None = None,
    limit: int = 10 * BATCH,
    batches: int | None = None,
    threads: int = THREADS,
) -> Round:
    """Send what is due over one channel, batch by batch, until nothing is, or `limit` events or `batches` were sent.

    `send` makes one try and says how it ended; what it raises is a bug, settled as a failure and raised
    again. `address` names the far end (a URL, a queue and task): when it changes, a switched-off endpoint is
    on again. `public_url` is the HTTP API's, for the addresses of documents. Any number of processes and
    threads may call this at once.
    """
    done, count = Round(), 0
    while done.tried < limit and count != batches:
        count += 1
        with engine.begin() as db:
            batch, failures = claim(
                db,
                channel,
                address=address,
                now=clock(),
                public_url=public_url,
                limit=min(BATCH, limit - done.tried),
            )
        if not batch:
            return done
        sending = _Sending(batch, send, clock, failures)
        sending.run(threads)
        with engine.begin() as db:
            ends = settle(db, channel, sending.results, now=clock(), chance=chance, failures=failures)
        for end in ends:
            setattr(done, end, getattr(done, end) + 1)
        if sending.bug is not None:
            raise sending.bug
    done.more = True
    return done


def claim(
    db: sa.Connection,
    channel: str,
    *,
    address: str,
    now: datetime,
    public_url: str | None = None,
    limit: int = BATCH,
    lease: timedelta = LEASE,
) -> tuple[list[ClaimedDelivery], int]:
    """Take what is due, at most one event a subject, and the endpoint's failures in a row; an endpoint that fails is
    asked with one event at a time.

    The transaction must begin with this: until it ends, no other claim of the channel runs.
    """
    db.execute(queries.QUEUE_UP, {"channel": channel})
    endpoint = endpoints.state_at(db, channel, address, now)
    if endpoint.disabled_at is not None or not endpoint.may_send(now):
        return [], endpoint.failures
    if endpoint.moved:
        hasten(db, channel, now)
    at = {"channel": channel, "at": now}
    if endpoint.failures >= endpoints.FAILING:
        if db.execute(queries.IN_FLIGHT, at).scalar_one():
            return [], endpoint.failures
        limit = 1
    taken = db.execute(queries.CLAIM, {**at, "until": now + lease, "fresh_from": now - FRESH, "room": limit})
    return [
        ClaimedDelivery(
            outgoing=Outgoing(
                row.event_id, render(row.type, row.created_at, row.data, public_url=public_url), row.trace_id
            ),
            channel=channel,
            subject_id=row.subject_id,
            version=row.version,
            claim=row.claim,
            tries=row.tries,
            due_from=row.due_from,
        )
        for row in sorted(taken, key=lambda row: (row.place, row.kind))
    ], endpoint.failures


class _Sending:
    """One batch on its way: sent by the caller's thread, and by more where the receiver is slow."""

    def __init__(
        self, batch: Sequence[ClaimedDelivery], send: Send, clock: Callable[[], datetime], failures: int
    ) -> None:
        self.results: list[Result] = []
        """In the order in which they ended; what was not sent comes last."""
        self.bug: Exception | None = None
        self._left = list(reversed(batch))
        self._send = send
        self._clock = clock
        self._ends_at = clock() + BUDGET
        self._failures = failures
        self._is_stopped = False
        self._lock = threading.Lock()

    def run(self, threads: int) -> None:
        """Send all of it, or what the budget and the endpoint allow."""
        latency = self._one()
        more = min(threads, len(self._left)) - 1
        if latency > SLOW and more > 0:
            with ThreadPoolExecutor(more, "deliverer") as pool:
                for _ in range(more):
                    pool.submit(self._all)
                self._all()
        else:
            self._all()
        self.results += [(each, None) for each in reversed(self._left)]

    def _all(self) -> None:
        while self._left and not self._is_stopped and self._clock() < self._ends_at:
            self._one()

    def _one(self) -> timedelta:
        with self._lock:
            if not self._left:
                return timedelta()
            claimed = self._left.pop()
        began = self._clock()
        try:
            outcome = self._send(claimed.outgoing, began)
        except Exception as error:  # noqa: BLE001  # settled as a failure, and raised by deliver_due
            outcome = DeliveryFailed(None, f"{type(error).__name__}: {error}", self._clock() - began)
            self.bug = error
        with self._lock:
            self.results.append((claimed, outcome))
            self._failures = 0 if isinstance(outcome, Delivered) else self._failures + 1
            if self._failures >= endpoints.FAILING or isinstance(outcome, Gone) or self.bug is not None:
                self._is_stopped = True
        return outcome.latency


def settle(
    db: sa.Connection,
    channel: str,
    results: Sequence[Result],
    *,
    now: datetime,
    chance: Callable[[], float],
    failures: int,
) -> list[str]:
    """Write how a batch ended; each event that was sent is `delivered`, `failed` (again later), `dead`, `gone`, or
    `late` when our claim is past.

    `failures` are the endpoint's at the claim, `chance` (0 to 1) spreads the waits.
    """
    ends, rows = [], []
    for claimed, outcome in results:
        end, row = _settled(claimed, outcome, now, chance)
        ends.append((claimed, end))
        rows.append(row)
    db.execute(queries.WITHOUT_FLUSH)
    settled = db.execute(queries.SETTLE, {"channel": channel, "settled": json.dumps(rows)}).scalars()
    written = set(settled)
    _note_endpoint(db, channel, [outcome for _, outcome in results if outcome is not None], now, failures)
    return [end if claimed.outgoing.id in written else "late" for claimed, end in ends if end is not None]


def _settled(
    claimed: ClaimedDelivery, outcome: Outcome | None, now: datetime, chance: Callable[[], float]
) -> tuple[str | None, dict[str, Any]]:
    """Return what became of one event, and its row of the statement."""
    row: dict[str, Any] = {
        "id": str(claimed.outgoing.id),
        "fence": claimed.claim,
        "status": str(DeliveryStatus.PENDING),
        "next_at": now.isoformat(),
        "delivered_at": None,
        "sent": outcome is not None,
        "error": None,
    }
    if outcome is None:
        return None, row
    row["http_status"] = outcome.status
    row["latency_ms"] = round(outcome.latency.total_seconds() * 1000)
    match outcome:
        case Delivered():
            delivered = {
                "status": str(DeliveryStatus.DELIVERED),
                "next_at": None,
                "delivered_at": row["next_at"],
            }
            return "delivered", {**row, **delivered}
        case DeliveryFailed():
            row["error"] = " ".join(outcome.why.split())[:_LONGEST_ERROR].replace("\0", "")
            wait = next_wait(claimed.tries, now - claimed.due_from, chance(), outcome.retry_after)
            if wait is None:
                return "dead", {**row, "status": str(DeliveryStatus.DEAD), "next_at": None}
            return "failed", {**row, "next_at": (now + wait).isoformat()}
        case Gone():
            return "gone", {**row, "error": "HTTP 410: the endpoint is switched off"}


def _note_endpoint(
    db: sa.Connection, channel: str, outcomes: Sequence[Outcome], now: datetime, failures: int
) -> None:
    """Keep how the endpoint answers; the first success after failures brings what waits for it forward."""
    if any(isinstance(each, Gone) for each in outcomes):
        endpoints.switch_off(db, channel, "it answered 410 Gone", now)
        return
    answered = [isinstance(each, Delivered) for each in outcomes]
    if not any(answered):
        if outcomes:
            endpoints.failed(db, channel, now, times=len(outcomes))
        return
    last = len(answered) - 1 - answered[::-1].index(True)
    endpoints.answered(db, channel, now, failures_since=len(answered) - 1 - last)
    if failures or not all(answered[:last]):
        hasten(db, channel, now)


def enable(db: sa.Connection, channel: str, now: datetime) -> bool:
    """Send again to an endpoint that was switched off, what waited included; whether it was off."""
    enabled = endpoints.enable(db, channel, now)
    if enabled:
        hasten(db, channel, now)
    return enabled


def correct_instants(db: sa.Connection, now: datetime) -> None:
    """Make due what was claimed, or became due, while the clock was ahead."""
    db.execute(queries.CLAIMED_AHEAD, {"at": now, "far": now + 2 * LEASE})
    db.execute(queries.DUE_AHEAD, {"at": now, "far": now + LEASE})


def hasten(db: sa.Connection, channel: str, now: datetime) -> int:
    """Make what waits after failures due soon, since the endpoint answers again or is another; how many.

    Its place is that of its age, so the oldest goes first. It comes after `QUICK_REPEAT` at its first tries, and later
    only `SHORTEST_REPEAT` after its own last one: a receiver that is up may be refusing that very event.
    """
    waits = {"quick": QUICK_REPEAT, "quick_tries": QUICK_TRIES, "slow": SHORTEST_REPEAT}
    return db.execute(queries.HASTEN, {"channel": channel, "at": now, **waits}).rowcount
