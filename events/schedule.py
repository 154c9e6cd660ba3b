"""When an event that was not delivered is tried again.

The published schedule counts from one try to the next: ten tries within three days and a few hours. A success
of the endpoint may shorten a wait (`dispatch` says how), and such extra tries must not use up the three days;
so an event is given up only when it has had its ten tries *and* its time.
"""

from datetime import timedelta

SCHEDULE: tuple[timedelta, ...] = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""The wait before each try, the first included: what Standard Webhooks recommends, and what our contract
publishes."""

LIFETIME: timedelta = sum(SCHEDULE, timedelta())
"""From the first try to the last when no wait was shortened: 75 h 35 min 5 s."""

LONGEST_WAIT = max(SCHEDULE)

SHORTEST_REPEAT = timedelta(minutes=5)
"""However alive the endpoint, one event that it keeps refusing is not tried again sooner than this."""

QUICK_REPEAT, QUICK_TRIES = timedelta(seconds=10), 2
"""After so few tries a success of the endpoint brings an event forward sooner: more likely it was away for a moment."""

JITTER = 0.1
"""Waits are up to a tenth longer or shorter, so that what failed together does not come back together."""


def next_wait(
    tries: int, age: timedelta, chance: float, retry_after: timedelta | None = None
) -> timedelta | None:
    """How long to wait after the failure of try number `tries`, or None to give up.

    `age` is the time since the event was first due, `chance` a number from 0 to 1, `retry_after` what the
    endpoint asked for: it can lengthen a wait up to 24 hours, never shorten one.
    """
    if tries < len(SCHEDULE):
        wait = SCHEDULE[tries] * (1 - JITTER + 2 * JITTER * chance)
    elif age < LIFETIME:
        wait = min(LONGEST_WAIT, max(SHORTEST_REPEAT, LIFETIME - age))
    else:
        return None
    if retry_after is not None:
        wait = max(wait, min(retry_after, LONGEST_WAIT))
    return wait
