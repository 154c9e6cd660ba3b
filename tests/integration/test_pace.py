"""An account's calls in flight: halved by a 429 and by slowness, given back one by one, and nobody else's touched."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from stamping.limits import concurrency
from stamping.outcome import Later, Stamped
from tests.support.harness import Corridor, claims, open_corridor


@pytest.fixture
def corridor(database_url: str, sandbox: Any) -> Iterator[Corridor]:
    with open_corridor(database_url, sandbox) as opened:
        yield opened


def throttle(corridor: Corridor, name: str) -> None:
    """Have one invoice hear "too fast", and let the tap open again."""
    corridor.sandbox.play(
        "status_before", account=corridor.account, call="stamp", times=1, status=429, retry_after=3
    )
    assert isinstance(corridor.stamp(corridor.submit(name)), Later)
    corridor.later(seconds=4)


def test_a_429_halves_the_calls_in_flight_and_one_always_may_be(corridor: Corridor) -> None:
    """From the setting's four to two, to one, and no further."""
    caps = []
    for number in range(3):
        throttle(corridor, f"OP-{number}")
        caps.append(corridor.connection().cap)

    assert caps == [2, 1, 1]


def test_what_was_in_flight_together_halves_it_once(corridor: Corridor) -> None:
    """Four calls under one cap hear it together: that is one strain, not four."""
    seen = corridor.connection()
    with corridor.tools.engine.begin() as db:
        for _ in range(4):
            concurrency.slower(db, seen, corridor.tools, corridor.tools.clock.now())

    assert corridor.connection().cap == 2


def test_it_is_given_back_in_steps_while_all_goes_well(corridor: Corridor) -> None:
    """One call at once for each STEP without a complaint; at the setting's number nothing is kept any more."""
    throttle(corridor, "OP-slow")
    caps = []
    for number in range(3):
        assert isinstance(corridor.stamp(corridor.submit(f"OP-a{number}")), Stamped)
        before = corridor.connection().cap
        corridor.later(seconds=concurrency.STEP.total_seconds() + 1)
        assert isinstance(corridor.stamp(corridor.submit(f"OP-b{number}")), Stamped)
        caps.append((before, corridor.connection().cap))

    assert caps == [(2, 3), (3, None), (None, None)]


def test_an_answer_that_takes_very_long_halves_it_too(corridor: Corridor) -> None:
    """The stamp counts all the same; the next ones go more gently."""
    tools = corridor.tools
    hasty = replace(corridor, tools=replace(tools, policy=replace(tools.policy, slow=timedelta(seconds=0.2))))
    hasty.sandbox.play("latency", account=hasty.account, call="stamp", p50=0.3, p99=0.3)

    assert isinstance(hasty.stamp(hasty.submit()), Stamped)
    assert hasty.connection().cap == 2


def test_the_lowered_cap_is_kept_at_the_claim(corridor: Corridor) -> None:
    """Over it an invoice stays where it is, in the table."""
    throttle(corridor, "OP-slow")
    corridor.claim(corridor.submit("OP-1"))
    corridor.claim(corridor.submit("OP-2"))

    third = claims.take(corridor.submit("OP-3"), corridor.tools)

    assert third == claims.Unclaimed("full", corridor.account)


def test_an_account_at_its_full_pace_is_not_written(corridor: Corridor) -> None:
    """Nothing changes, so nothing is written."""
    corridor.stamped("OP-1")
    before = corridor.connection()
    with corridor.tools.engine.begin() as db:
        concurrency.went_well(db, before, corridor.tools, corridor.tools.clock.now())

    assert corridor.connection() == before
