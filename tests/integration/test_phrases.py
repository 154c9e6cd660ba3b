"""What Flower shows as a task's result: how the work ended and what it waits for, and nothing of anybody's."""

from typing import Any

import pytest
import sqlalchemy as sa

from stamping.intake import phrases
from tests.support.harness import Harness
from worker.redaction import HIDDEN, redacted


def shown(harness: Harness, invoice_id: Any) -> str:
    """How an attempt ends, as Flower would show it."""
    phrase = phrases.of_outcome(harness.stamp(invoice_id), harness.tools)
    event = redacted("task-succeeded", {"uuid": "1", "result": repr(str(phrase))})
    return str(event["result"]).strip("'")


def test_each_ending_says_what_is_waited_for(harness: Harness) -> None:
    """Stamped, in doubt, a rate limit, a provider that is down, a refused key."""
    assert shown(harness, harness.submit("S")) == "stamped"
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
    assert shown(harness, harness.submit("D")) == "in_doubt"
    play = harness.sandbox.play
    play("status_before", account=harness.account, call="save", times=1, status=429, retry_after=60)
    assert shown(harness, harness.submit("T")) == "waiting: throttled"
    harness.later(minutes=3)
    play("down", seconds=10**6)
    several = [harness.submit(f"P-{number}") for number in range(6)]
    assert [shown(harness, each) for each in several][-2:] == ["waiting: provider down"] * 2


def test_on_hold_says_why(harness: Harness) -> None:
    """The reason that its owner reads."""
    invoice_id = harness.submit()
    with harness.tools.engine.begin() as db:
        db.execute(sa.text("UPDATE connections SET status = 'broken', reason = 'key_rejected'"))

    assert shown(harness, invoice_id) == "on_hold: key_rejected"


@pytest.mark.parametrize(
    "result",
    ["ESCUELA KEMPER", "stamped: juan", "{'rfc': 'EKU9003173C9'}", "waiting: ", "stamped, and x more"],
)
def test_nothing_else_is_shown(result: str) -> None:
    """Whatever a task, or somebody else's, returns."""
    assert redacted("task-succeeded", {"uuid": "1", "result": repr(result)})["result"] == HIDDEN


@pytest.mark.parametrize(
    "result", ["stamped", "stamped, and 12 more", "enqueued: 200", "broken: ids_missing"]
)
def test_our_phrases_are(result: str) -> None:
    """A phrase of the product itself passes the redaction unchanged."""
    assert redacted("task-succeeded", {"uuid": "1", "result": repr(result)})["result"] == repr(result)
