"""When somebody must be told that it takes long.

The SAT's 72 hours are a budget of each invoice: known from its `fecha`, warned about at 24, 6 and 1 hours left.
"""

from datetime import datetime, timedelta

BUDGET = timedelta(hours=72)
WARNINGS = (timedelta(hours=24), timedelta(hours=6), timedelta(hours=1))


def next_notice(
    *, now: datetime, expires_at: datetime | None, delayed_at: datetime | None = None
) -> datetime | None:
    """Return the next instant at which to look: the delay (where not yet told), a warning, the end of the 72 hours."""
    times = [delayed_at] if delayed_at is not None else []
    if expires_at is not None:
        times += [expires_at - left for left in WARNINGS]
        times.append(expires_at)
    return min((time for time in times if time > now), default=None)


def hours_left(expires_at: datetime, now: datetime) -> int:
    """Return how many of the 72 hours are left, rounded to the next whole hour."""
    return max(0, -(-int((expires_at - now).total_seconds()) // 3600))
