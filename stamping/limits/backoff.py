"""How long to wait: exponential with full jitter for tries, growing steps for look-ups."""

import random
from datetime import timedelta

BASE = timedelta(seconds=2)
CAP = timedelta(minutes=10)
FIRST_LOOKUP = timedelta(seconds=2)
LOOKUP_CAP = timedelta(minutes=2)
LATE_LOOKUP_CAP = timedelta(minutes=15)
BUSY = timedelta(seconds=30)
"""After a 429 that names no time."""


def before_try(tries: int, chance: random.Random | None = None) -> timedelta:
    """Return the wait before the next try, after `tries` failed ones (from 1): full jitter, at most ten minutes.

    Never below a fifth of the step, so that a storm is spread and yet nobody comes back at once.
    """
    step = min(CAP, BASE * float(2 ** min(tries - 1, 16)))
    return step * _between(chance, 0.2, 1.0)


def before_lookup(
    lookups: int, *, past_quarantine: bool = False, chance: random.Random | None = None
) -> timedelta:
    """Return the wait before look-up number `lookups` + 1: two seconds, then twice as long each time."""
    cap = LATE_LOOKUP_CAP if past_quarantine else LOOKUP_CAP
    step = min(cap, FIRST_LOOKUP * float(2 ** min(lookups, 12)))
    return step * _between(chance, 0.8, 1.2)


def _between(chance: random.Random | None, low: float, high: float) -> float:
    return chance.uniform(low, high) if chance is not None else random.uniform(low, high)
