"""Getting notices out: claim > send > settle, with no transaction open while the receiver is waited for.

What is promised: a subject never has two notices in flight over one channel, so that where the receiver is up
it gets them in order; an older notice that was never tried goes before a newer one, but one that waits in its
backoff holds nobody up (receivers go by `version`); and a notice is given up only after its whole schedule,
visible and replayable.

What a newcomer would get wrong: SKIP LOCKED alone does not keep a subject's notices apart. Two deliverers
whose statements overlap can each see the other's row unclaimed and take one each. So claims of one channel
queue up on an advisory lock; a claim takes about a millisecond, and sending happens outside it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from events import endpoints, queries
from events.delivery import Claimed, Delivered, Failed, Gone, Notice, Outcome
from events.schedule import SHORTEST_REPEAT, next_wait
from events.types import render
from models.tables import deliveries
from models.vocabulary import DeliveryStatus

LEASE = timedelta(seconds=60)
"""How long a notice belongs to who claimed it: a whole call is 15 s, waiting for a connection 5 s more."""

AT_ONCE = 8
"""Notices in flight over one channel, all processes together: a dead receiver ties up so many threads, no
more."""

_LONGEST_ERROR = 300


@dataclass(slots=True)
class Round:
    """What one call of `deliver_due` did; `more` when it stopped at its limit, so ring again."""

    delivered: int = 0
    failed: int = 0
    dead: int = 0
    gone: int = 0
    late: int = 0
    """Settled by nobody: the lease had ended, or the notice was replayed meanwhile."""
    more: bool = field(default=False)

    @property
    def tried(self) -> int:
        """How many notices were sent."""
        return self.delivered + self.failed + self.dead + self.gone + self.late


def deliver_due(
    engine: sa.Engine,
    channel: str,
    send: Callable[[Notice, datetime], Outcome],
    *,
    address: str,
    clock: Callable[[], datetime],
    chance: Callable[[], float],
    limit: int = 50,
    at_once: int = AT_ONCE,
    lease: timedelta = LEASE,
) -> Round:
    """Send what is due over one channel, one notice after another, until nothing is or `limit` were sent.

    `send` makes one try and says how it ended; what it raises is a bug, settled as a failure and raised
    again. `address` names the far end (a URL, a queue and task): when it changes, a switched-off endpoint is
    on again. Any number of processes and threads may call this at once.
    """
    done = Round()
    while done.tried < limit:
        now = clock()
        with engine.begin() as db:
            claimed = claim(db, channel, address=address, now=now, at_once=at_once, lease=lease)
        if claimed is None:
            return done
        try:
            outcome = send(claimed.notice, now)
        except Exception as error:
            failure = Failed(None, f"{type(error).__name__}: {error}", clock() - now)
            with engine.begin() as db:
                settle(db, claimed, failure, now=clock(), chance=chance())
            raise
        with engine.begin() as db:
            end = settle(db, claimed, outcome, now=clock(), chance=chance())
        setattr(done, end, getattr(done, end) + 1)
    done.more = True
    return done


def claim(
    db: sa.Connection,
    channel: str,
    *,
    address: str,
    now: datetime,
    at_once: int = AT_ONCE,
    lease: timedelta = LEASE,
) -> Claimed | None:
    """Take the one notice that has been due longest, or None: nothing due, enough in flight, or endpoint off.

    The transaction must begin with this: until it ends, no other claim of the channel runs.
    """
    db.execute(queries.QUEUE_UP, {"name": f"timbrado.deliveries.{channel}"})
    endpoint = endpoints.state_at(db, channel, address, now)
    if endpoint.disabled_at is not None or now < endpoint.may_send_at():
        return None
    if endpoint.moved:
        hasten(db, channel, now)
    room = 1 if endpoint.failures >= endpoints.FAILING else at_once
    at = {"on_channel": channel, "at": now}
    if db.execute(queries.IN_FLIGHT, at).scalar_one() >= room:
        return None
    taken = db.execute(queries.TAKE, {**at, "until": now + lease}).one_or_none()
    if taken is None:
        return None
    return Claimed(
        notice=Notice(taken.event_id, render(taken.type, taken.created_at, taken.data), taken.trace_id),
        channel=channel,
        subject_id=taken.subject_id,
        version=taken.version,
        claim=taken.claim,
        tries=taken.tries,
        due_from=taken.due_from,
        after_failures=endpoint.failures > 0,
    )


def settle(db: sa.Connection, claimed: Claimed, outcome: Outcome, *, now: datetime, chance: float) -> str:
    """Write how a try ended: `delivered`, `failed` (again later), `dead`, `gone`, or `late` when our claim is
    past.

    `chance` (0 to 1) spreads the waits.
    """
    values: dict[str, Any] = {"to_status": DeliveryStatus.PENDING, "next_at": now, "arrived_at": None}
    match outcome:
        case Delivered():
            end = "delivered"
            values |= {
                "to_status": DeliveryStatus.DELIVERED,
                "next_at": None,
                "arrived_at": now,
                "error": None,
            }
        case Failed():
            wait = next_wait(claimed.tries, now - claimed.due_from, chance, outcome.retry_after)
            if wait is None:
                end = "dead"
                values |= {"to_status": DeliveryStatus.DEAD, "next_at": None}
            else:
                end = "failed"
                values |= {"next_at": now + wait}
            values["error"] = " ".join(outcome.why.split())[:_LONGEST_ERROR]
        case Gone():
            end = "gone"
            values["error"] = "HTTP 410: the endpoint is switched off"
    written = db.execute(
        queries.SETTLE,
        {
            **values,
            "id": claimed.notice.id,
            "on_channel": claimed.channel,
            "fence": claimed.claim,
            "http_status": outcome.status,
            "took": round(outcome.latency.total_seconds() * 1000),
        },
    )
    if written.rowcount == 0:
        end = "late"
    match outcome:
        case Delivered():
            if claimed.after_failures and endpoints.answered(db, claimed.channel, now):
                hasten(db, claimed.channel, now)
        case Failed():
            endpoints.failed(db, claimed.channel, now)
        case Gone():
            endpoints.switch_off(db, claimed.channel, "it answered 410 Gone", now)
    return end


def enable(db: sa.Connection, channel: str, now: datetime) -> bool:
    """Send again to an endpoint that was switched off, what waited included; whether it was off."""
    enabled = endpoints.enable(db, channel, now)
    if enabled:
        hasten(db, channel, now)
    return enabled


def hasten(db: sa.Connection, channel: str, now: datetime) -> int:
    """Make what waits after failures due now, since the endpoint answers again or is another; how many.

    Gently: oldest first, as all due ones go; never more in flight than usual; and no notice sooner than five
    minutes after its own last try, since a receiver that is up may be refusing that very one.
    """
    at = sa.literal(now, sa.DateTime(timezone=True))
    soon = sa.func.greatest(at, deliveries.c.tried_at + SHORTEST_REPEAT)
    waiting = (
        sa.select(deliveries.c.event_id, soon.label("soon"))
        .where(
            deliveries.c.channel == channel,
            deliveries.c.status == queries.PENDING,
            deliveries.c.next_attempt_at > now,
            deliveries.c.next_attempt_at > soon,
            deliveries.c.tries > 0,
            deliveries.c.claimed_until.is_(None),
        )
        .with_for_update(
            skip_locked=True
        )  # whoever holds one settles it himself; waiting for him could deadlock
        .subquery()
    )
    # A microsecond apart, so that the oldest comes first without a sort at every claim (event ids grow with
    # time).
    place = sa.func.row_number().over(order_by=waiting.c.event_id)
    placed = sa.select(
        waiting.c.event_id, (waiting.c.soon + place * timedelta(microseconds=1)).label("soon")
    ).subquery()
    hastened = (
        sa.update(deliveries)
        .where(deliveries.c.channel == channel, deliveries.c.event_id == placed.c.event_id)
        .values(next_attempt_at=placed.c.soon)
    )
    return db.execute(hastened).rowcount
