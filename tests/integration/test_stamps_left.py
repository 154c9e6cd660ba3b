"""Stamps left: as the provider reports them, or counted down from what the user gave; a forecast once they are low."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from stamping.connections import connect, stamps_left, suspend
from stamping.outcome import OnHold, Stamped
from stamping.tools import Policy
from tests.support.builders import a_receptor
from tests.support.harness import Harness, open_harness, sweep


@pytest.fixture
def harness(database: str, sandbox: Any) -> Iterator[Harness]:
    """Reported low at three stamps."""
    policy = Policy(production_url=sandbox.url, allowed_hosts=frozenset({sandbox.url[7:]}), stamps_low_at=3)
    with open_harness(database, sandbox, policy=policy) as opened:
        yield opened


def has(harness: Harness, stamps: int, *, reports: bool = True) -> None:
    """The account has so many stamps; whether the provider tells them."""
    harness.sandbox.change(harness.account, stamps=stamps, behaviour={"reports_stamps": reports})
    connect.validate(harness.account, harness.tools)


def user_gives(harness: Harness, stamps: int) -> None:
    """What `timbrado connect --stamps` writes."""
    harness.all(
        "UPDATE connections SET stamps_left = :stamps, stamps_left_source = 'user', stamps_low_notified = false"
        " WHERE account = :account RETURNING id",
        stamps=stamps,
        account=harness.account,
    )


def low(harness: Harness) -> list[Any]:
    return harness.all(
        "SELECT * FROM events WHERE account = :account AND type = 'connection.stamps_low' ORDER BY version",
        account=harness.account,
    )


def probe_when_due(harness: Harness) -> bool:
    row = harness.connection()
    harness.later(seconds=max(0.0, (row.next_probe_at - harness.tools.clock.now()).total_seconds()) + 0.01)
    assert row.id in sweep.sweep(harness.tools).probes
    return connect.probe(row.id, harness.tools)


# --- few left --------------------------------------------------------------------------------------------------------


def test_few_stamps_are_reported_once_with_how_long_they_will_do(harness: Harness) -> None:
    """At the limit, and not with each stamp below it; the forecast is from the pace of the last days."""
    has(harness, 7)
    for number in range(6):
        harness.stamped(f"OP-{number}")
        harness.later(hours=12)

    (event,) = low(harness)
    assert event.data["stamps_left"] == 3
    assert "Te quedan 3 timbres" in event.data["message"]
    assert "alcanzan para 1.1 días" in event.data["message"]  # four in a day and a half
    assert harness.connection().stamps_left == 1
    assert event.version == event.data["version"] == 3


def test_stamps_bought_and_used_up_again_are_reported_again(harness: Harness) -> None:
    """Once for each time that they run low."""
    has(harness, 4)
    harness.stamped("OP-1")
    has(harness, 5)
    harness.stamped("OP-2")
    assert len(low(harness)) == 1
    harness.stamped("OP-3")

    assert [event.data["stamps_left"] for event in low(harness)] == [3, 3]


def test_what_the_user_gave_is_counted_down_where_nobody_reports(harness: Harness) -> None:
    """Only what was stamped counts; a rejected invoice costs no stamp."""
    user_gives(harness, 5)
    harness.stamped("OP-1")
    harness.submit("WRONG", receptor={**_receptor(), "domicilio_fiscal_receptor": "64000"})
    harness.stamp(
        harness.one("SELECT id FROM invoices WHERE external_id = 'WRONG' ORDER BY id DESC LIMIT 1").id
    )
    assert harness.connection().stamps_left == 4

    harness.stamped("OP-2")

    assert (harness.connection().stamps_left, harness.connection().stamps_left_source) == (3, "user")
    assert len(low(harness)) == 1


def _receptor() -> dict[str, Any]:
    return a_receptor()


def test_nothing_is_reported_where_nothing_is_known(harness: Harness) -> None:
    """No number, no warning."""
    harness.stamped("OP-1")

    assert harness.connection().stamps_left is None
    assert low(harness) == []


def test_a_number_that_became_unknown_meanwhile_is_not_taken_for_none(harness: Harness) -> None:
    """The stamp was asked for when the number was known, and came when it was not: no false alarm."""
    user_gives(harness, 50)
    connection = harness.connection()
    harness.all(
        "UPDATE connections SET stamps_left = NULL WHERE account = :a RETURNING id", a=harness.account
    )

    with harness.tools.engine.begin() as db:
        stamps_left.count_stamp(db, connection, None, harness.tools, harness.tools.clock.now())

    assert harness.connection().stamps_left is None
    assert low(harness) == []


def test_the_forecast_counts_the_days_that_there_were(harness: Harness) -> None:
    """Ten stamps on an account's first day are ten a day, not ten a week; cancelled ones were stamps too."""
    for number in range(10):
        harness.stamped(f"OP-{number}")
    harness.all(
        "UPDATE connections SET stamps_left = 20 WHERE account = :account RETURNING id",
        account=harness.account,
    )

    def forecast() -> float | None:
        with harness.tools.engine.begin() as db:
            return stamps_left.forecast(db, harness.connection(), harness.tools.clock.now())

    assert forecast() == 2.0
    harness.later(days=5)
    assert forecast() == pytest.approx(10.0, abs=0.1)
    harness.later(days=3)
    assert forecast() is None


# --- none left -------------------------------------------------------------------------------------------------------


def ended(harness: Harness, *, reports: bool) -> list[UUID]:
    """Three invoices of an account whose stamps have just ended: all are held."""
    harness.sandbox.change(harness.account, stamps=0, behaviour={"reports_stamps": reports})
    ids = [harness.submit(f"OP-{number}") for number in range(3)]
    assert isinstance(harness.stamp(ids[0]), OnHold)
    suspend.put_on_hold(harness.account, harness.tools)
    assert harness.connection().reason == "no_stamps"
    return ids


def test_where_the_provider_does_not_report_one_invoice_on_hold_goes_ahead_to_see(harness: Harness) -> None:
    """Refused, it is held again without a word; stamped, all go on, and none was spent twice."""
    ids = ended(harness, reports=False)
    versions = {each: harness.row(each).version for each in ids}
    for _ in range(2):
        assert not probe_when_due(harness)
    assert {harness.row(each).status for each in ids} == {"on_hold"}
    assert {each: harness.row(each).version for each in ids} == versions
    harness.sandbox.change(harness.account, stamps=100)

    assert probe_when_due(harness)

    assert sorted(harness.row(each).status for each in ids) == ["stamped", "waiting", "waiting"]
    harness.later(seconds=1)
    for each in ids:
        harness.stamp(each)
    assert {harness.row(each).status for each in ids} == {"stamped"}
    assert (harness.stamps(), harness.duplicates()) == (3, 0)
    emitted = [kind for kind in harness.event_types() if kind.startswith("connection")]
    assert emitted == ["connection.active", "connection.broken", "connection.active"]


def test_where_the_provider_reports_no_invoice_is_spent_to_see(harness: Harness) -> None:
    """Its lists say when there are stamps again."""
    ids = ended(harness, reports=True)
    attempts = [harness.attempts(each) for each in ids]
    assert not probe_when_due(harness)
    harness.sandbox.change(harness.account, stamps=100)

    assert probe_when_due(harness)

    assert [harness.attempts(each) for each in ids] == attempts
    assert {harness.row(each).status for each in ids} == {"waiting"}
    assert harness.connection().stamps_left == 100


def test_a_key_revoked_meanwhile_is_reported_and_not_tried_with_each_probe(harness: Harness) -> None:
    """The probe finds a refused key instead of stamps: that is what is wrong now, and it is asked no more."""
    ended(harness, reports=False)
    harness.sandbox.revoke_key(harness.account)

    assert not probe_when_due(harness)

    row = harness.connection()
    assert (row.reason, row.next_probe_at) == ("key_rejected", None)
    harness.later(hours=5)
    assert not connect.probe(row.id, harness.tools)
    refused = harness.sandbox.ledger(harness.account)["calls"][harness.account]["conectar"]
    assert sum(times for result, times in refused.items() if result.startswith("refused")) == 1


def test_an_account_with_nothing_on_hold_is_fixed_by_the_first_that_comes(harness: Harness) -> None:
    """Nothing to see with means waiting for something; a new invoice is held, and then goes ahead."""
    ids = ended(harness, reports=False)
    harness.all(
        "UPDATE invoices SET status = 'failed', reason = 'expired' WHERE account = :a RETURNING id",
        a=harness.account,
    )
    assert not probe_when_due(harness)
    harness.sandbox.change(harness.account, stamps=100)
    new = harness.submit("NEW")
    assert harness.row(new).status == "on_hold"

    assert probe_when_due(harness)

    assert harness.row(new).status == "stamped"
    assert harness.stamps() == 1
    assert len(ids) == 3


def test_a_person_who_bought_stamps_need_not_wait_for_the_probe(harness: Harness) -> None:
    """`validate_connection` believes him; should there be none, the first refusal says so."""
    ids = ended(harness, reports=False)
    harness.sandbox.change(harness.account, stamps=100)

    assert connect.validate(harness.account, harness.tools).status == "active"

    harness.later(seconds=1)
    assert all(isinstance(harness.stamp(each), Stamped) for each in ids)
    assert harness.connection().broken_at is None


def test_the_probe_waits_longer_each_time(harness: Harness) -> None:
    """An account without stamps for days is asked twice an hour, with one invoice."""
    ended(harness, reports=False)
    waits = []
    for _ in range(7):
        row = harness.connection()
        waits.append(round((row.next_probe_at - harness.tools.clock.now()) / timedelta(minutes=1)))
        probe_when_due(harness)

    assert waits == [1, 2, 4, 8, 16, 30, 30]
