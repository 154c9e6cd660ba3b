"""Faults come when they are asked for, and chance repeats itself."""

import statistics
from typing import Any

import pytest
from pydantic import ValidationError

from sandbox import faults
from sandbox.faults import FAULTS, Burst, FaultRule, Scenario, Scenarios, chaos


def fired(
    rule: FaultRule, calls: int, *, call: str = "stamp", account: str = "demo", step: float = 0.0
) -> list[int]:
    """The numbers (from 1) of the calls at which a rule alone fires."""
    playing = Scenarios(seed=7)
    playing.add([rule], 100.0)
    return [n for n in range(1, calls + 1) if playing.plan(call, account, 100.0 + n * step).get(rule.fault)]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"times": 1}, [1]),
        ({"times": 2, "after": 3}, [4, 5]),
        ({"after": 4}, [5, 6]),
        ({"call": "save"}, []),
        ({"call": "stamp", "times": 1}, [1]),
        ({"account": "acme"}, []),
        ({"account": "demo", "after": 5}, [6]),
        ({"probability": 0.0}, []),
        ({"probability": 1.0, "times": 3}, [1, 2, 3]),
    ],
)
def test_a_rule_fires_exactly_when_it_says(rule: dict[str, Any], wanted: list[int]) -> None:
    """`after` lets calls pass, `times` counts, `call` and `account` choose."""
    assert fired(FaultRule(fault="drop_after", **rule), 6) == wanted


def test_calls_that_do_not_match_are_not_counted() -> None:
    """`after: 1` on stamps means the second stamp, however many saves come between."""
    playing = Scenarios()
    playing.add([FaultRule(fault="drop_after", call="stamp", after=1, times=1)], 0.0)
    calls = ["save", "stamp", "save", "look_up", "stamp", "stamp"]

    assert [bool(playing.plan(call, "demo", 0.0).get("drop_after")) for call in calls] == [
        False,
        False,
        False,
        False,
        True,
        False,
    ]


def test_for_seconds_ends_a_rule() -> None:
    """Counted from when it was added."""
    assert fired(FaultRule(fault="status_before", for_seconds=3), 6, step=1.0) == [1, 2]


def test_the_same_seed_gives_the_same_faults() -> None:
    """And about as many as the probability says."""
    first = fired(FaultRule(fault="drop_before", probability=0.1), 2000)

    assert first == fired(FaultRule(fault="drop_before", probability=0.1), 2000)
    assert 150 < len(first) < 250


def test_a_burst_comes_in_waves() -> None:
    """Faults stand together: most calls after a fault fail too, though few fail overall."""
    rule = FaultRule(fault="status_before", burst=Burst(every=60, lasting=5))
    hit = set(fired(rule, 20_000, step=0.1))
    after_a_fault = statistics.mean(number + 1 in hit for number in hit)

    assert 0.02 < len(hit) / 20_000 < 0.2
    assert after_a_fault > 0.9


def test_latency_has_the_median_and_the_tail_it_was_given() -> None:
    """Lognormal, by p50 and p99."""
    playing = Scenarios(seed=1)
    playing.add([FaultRule(fault="latency", p50=0.2, p99=2.0)], 0.0)
    delays = sorted(playing.plan("stamp", "demo", 0.0).delay for _ in range(5000))

    assert 0.18 < delays[2500] < 0.22
    assert 1.6 < delays[4950] < 2.5


def test_a_spread_lag_is_each_records_own() -> None:
    """Between nothing and `seconds`, always the same for the same UUID."""
    rule = FaultRule(fault="deny", seconds=10, spread=True)
    lags = [faults.lag(rule, f"uuid-{number}") for number in range(500)]

    assert lags == [faults.lag(rule, f"uuid-{number}") for number in range(500)]
    assert 0 <= min(lags) < 1 < 9 < max(lags) <= 10
    assert faults.lag(FaultRule(fault="deny", seconds=10), "uuid") == 10


def test_an_outage_without_conditions_begins_at_once() -> None:
    """And ends when the scenario is cleared; one with conditions begins at its call."""
    seconds: list[float] = []
    playing = Scenarios()
    playing.on_outage = seconds.append
    playing.add([FaultRule(fault="down", seconds=9)], 0.0)
    playing.add([FaultRule(fault="down", seconds=3, call="stamp", after=1, times=1)], 0.0)
    playing.plan("stamp", "demo", 0.0)
    playing.plan("stamp", "demo", 0.0)
    playing.clear()

    assert seconds == [9, 3, 0]


@pytest.mark.parametrize(
    "rule", [{"fault": "earthquake"}, {"fault": "html", "tiems": 1}, {"fault": "html", "call": "x"}]
)
def test_a_misspelled_rule_is_refused(rule: dict[str, Any]) -> None:
    """A fault that is not played would be a test that cannot fail."""
    with pytest.raises(ValidationError):
        FaultRule.model_validate(rule)


def test_every_fault_of_the_chaos_is_one_of_the_faults() -> None:
    """And its rates grow with the factor."""
    calm, wild = chaos(1, 1), chaos(1, 10)
    rates = [
        (rule.probability or 0, other.probability or 0)
        for rule, other in zip(calm.rules, wild.rules, strict=True)
    ]

    assert {rule.fault for rule in calm.rules} <= FAULTS.keys()
    assert all(low <= high for low, high in rates)
    assert Scenario.model_validate_json(wild.model_dump_json()) == wild
