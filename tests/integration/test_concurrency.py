"""An account's calls in flight: halved by a 429 and by slowness, given back one by one, and nobody else's touched."""

from dataclasses import replace
from datetime import timedelta

from stamping.limits import concurrency
from stamping.outcome import Later, Stamped
from tests.support.harness import Harness, claims


def throttle(harness: Harness, name: str) -> None:
    """Have one invoice refused as "too fast", and let the throttle end."""
    harness.sandbox.play(
        "status_before", account=harness.account, call="stamp", times=1, status=429, retry_after=3
    )
    assert isinstance(harness.stamp(harness.submit(name)), Later)
    harness.later(seconds=4)


def test_a_429_halves_the_calls_in_flight_and_one_always_may_be(harness: Harness) -> None:
    """From the setting's four to two, to one, and no further."""
    caps = []
    for number in range(3):
        throttle(harness, f"OP-{number}")
        caps.append(harness.connection().concurrency_limit)

    assert caps == [2, 1, 1]


def test_what_was_in_flight_together_halves_it_once(harness: Harness) -> None:
    """Four calls under one cap hear it together: that is one strain, not four."""
    seen = harness.connection()
    with harness.tools.engine.begin() as db:
        for _ in range(4):
            concurrency.decrease(db, seen, harness.tools, harness.tools.clock.now())

    assert harness.connection().concurrency_limit == 2


def test_it_is_given_back_in_steps_while_all_goes_well(harness: Harness) -> None:
    """One call at once for each STEP without a complaint; at the setting's number nothing is kept any more."""
    throttle(harness, "OP-slow")
    caps = []
    for number in range(3):
        assert isinstance(harness.stamp(harness.submit(f"OP-a{number}")), Stamped)
        before = harness.connection().concurrency_limit
        harness.later(seconds=concurrency.STEP.total_seconds() + 1)
        assert isinstance(harness.stamp(harness.submit(f"OP-b{number}")), Stamped)
        caps.append((before, harness.connection().concurrency_limit))

    assert caps == [(2, 3), (3, None), (None, None)]


def test_an_answer_that_takes_very_long_halves_it_too(harness: Harness) -> None:
    """The stamp counts all the same; the next ones go more gently."""
    tools = harness.tools
    hasty = replace(harness, tools=replace(tools, policy=replace(tools.policy, slow=timedelta(seconds=0.2))))
    hasty.sandbox.play("latency", account=hasty.account, call="stamp", p50=0.3, p99=0.3)

    assert isinstance(hasty.stamp(hasty.submit()), Stamped)
    assert hasty.connection().concurrency_limit == 2


def test_the_lowered_cap_is_kept_at_the_claim(harness: Harness) -> None:
    """Over it an invoice stays where it is, in the table."""
    throttle(harness, "OP-slow")
    harness.claim(harness.submit("OP-1"))
    harness.claim(harness.submit("OP-2"))

    third = claims.take(harness.submit("OP-3"), harness.tools)

    assert third == claims.Unclaimed("full", harness.account)


def test_an_account_at_its_full_concurrency_is_not_written(harness: Harness) -> None:
    """Nothing changes, so nothing is written."""
    harness.stamped("OP-1")
    before = harness.connection()
    with harness.tools.engine.begin() as db:
        concurrency.increase(db, before, harness.tools, harness.tools.clock.now())

    assert harness.connection() == before
