"""How long to wait: full jitter between tries, growing steps between look-ups, and each with a cap."""

import random
from datetime import timedelta

import pytest

from stamping.retries import (
    BASE,
    CAP,
    FIRST_LOOKUP,
    LATE_LOOKUP_CAP,
    LOOKUP_CAP,
    before_lookup,
    before_try,
)

MANY = 400


class Edge(random.Random):
    """Chance at one of its ends."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self.at = at

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.at


LOWEST, HIGHEST = Edge(0.0), Edge(1.0)


@pytest.mark.parametrize(
    ("tries", "step"),
    [(1, 2), (2, 4), (3, 8), (4, 16), (8, 256), (9, 512), (10, 600), (11, 600), (10_000, 600)],
)
def test_a_step_doubles_until_its_cap(tries: int, step: int) -> None:
    """Two seconds, then twice as long each time, ten minutes at most, however many tries there were."""
    assert before_try(tries, HIGHEST) == timedelta(seconds=step)
    assert before_try(tries, LOWEST) == timedelta(seconds=step) / 5


@pytest.mark.parametrize("tries", [1, 4, 30])
def test_a_storm_is_spread_over_the_whole_step(tries: int) -> None:
    """Full jitter: those who failed together come back one by one, and each tenth of the step has its share."""
    chance = random.Random(7)
    step = min(CAP, BASE * 2.0 ** min(tries - 1, 16))

    waits = [before_try(tries, chance) for _ in range(MANY)]
    tenths = [
        sum(step * part / 10 <= wait < step * (part + 1) / 10 for wait in waits) for part in range(2, 10)
    ]

    assert step / 5 <= min(waits) <= max(waits) <= step
    assert min(tenths) > MANY / 8 / 3


def test_two_invoices_do_not_wait_alike() -> None:
    """Without a given chance it is the process's own."""
    assert len({before_try(6) for _ in range(20)}) > 10


@pytest.mark.parametrize(
    ("lookups", "step"), [(0, 2), (1, 4), (2, 8), (5, 64), (6, 120), (7, 120), (50, 120)]
)
def test_look_ups_come_at_growing_intervals(lookups: int, step: int) -> None:
    """Two seconds, then twice as long each time, two minutes at most while the quarantine lasts."""
    assert before_lookup(lookups, chance=HIGHEST) == timedelta(seconds=step) * 1.2
    assert before_lookup(lookups, chance=LOWEST) == timedelta(seconds=step) * 0.8


def test_a_doubt_older_than_its_quarantine_is_looked_up_less_often() -> None:
    """A quarter of an hour between look-ups at most: it never ends by itself, so it is asked for days if need be."""
    assert before_lookup(30, past_quarantine=True, chance=HIGHEST) == LATE_LOOKUP_CAP * 1.2
    assert before_lookup(0, past_quarantine=True, chance=HIGHEST) == FIRST_LOOKUP * 1.2
    assert LOOKUP_CAP < LATE_LOOKUP_CAP


def test_a_quarantine_of_a_quarter_hour_takes_a_dozen_look_ups() -> None:
    """What a user waits for is not what a provider is troubled with."""
    waited, lookups = timedelta(), 0
    while waited < timedelta(minutes=15):
        waited += before_lookup(lookups, chance=Edge(0.5))
        lookups += 1

    assert 10 <= lookups <= 15
