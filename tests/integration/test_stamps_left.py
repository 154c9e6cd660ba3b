"""Stamps left: as the provider tells them, or counted down from what the user gave; told low once, with a forecast."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from stamping.connections import connect, suspend
from stamping.outcome import OnHold, Stamped
from stamping.tools import Policy
from tests.support.harness import Corridor, open_corridor, sweep


@pytest.fixture(scope="module")
def database(make_database: Callable[[], str]) -> str:
    """One database for this file: each test has an account of its own in it."""
    return make_database()


@pytest.fixture
def corridor(database: str, sandbox: Any) -> Iterator[Corridor]:
    """Told low at three stamps."""
    policy = Policy(production_url=sandbox.url, allowed_hosts=frozenset({sandbox.url[7:]}), stamps_low_at=3)
    with open_corridor(database, sandbox, policy=policy) as opened:
        yield opened


def has(corridor: Corridor, stamps: int, *, tells: bool = True) -> None:
    """The account has so many stamps; whether the provider tells them."""
    corridor.sandbox.change(corridor.account, stamps=stamps, behaviour={"reports_stamps": tells})
    connect.validate(corridor.account, corridor.tools)


def user_gives(corridor: Corridor, stamps: int) -> None:
    """What `timbrado connect --stamps` writes."""
    corridor.all(
        "UPDATE connections SET stamps_left = :stamps, stamps_told_by = 'user', stamps_low_told = false"
        " WHERE account = :account RETURNING id",
        stamps=stamps,
        account=corridor.account,
    )


def low(corridor: Corridor) -> list[Any]:
    return corridor.all(
        "SELECT * FROM events WHERE account = :account AND type = 'connection.stamps_low' ORDER BY version",
        account=corridor.account,
    )


def probe_when_due(corridor: Corridor) -> bool:
    row = corridor.connection()
    corridor.later(seconds=max(0.0, (row.next_probe_at - corridor.tools.clock.now()).total_seconds()) + 0.01)
    assert row.id in sweep.sweep(corridor.tools).probes
    return connect.probe(row.id, corridor.tools)


# --- few left --------------------------------------------------------------------------------------------------------


def test_few_stamps_are_told_once_with_how_long_they_will_do(corridor: Corridor) -> None:
    """At the limit, and not with each stamp below it; the forecast is from the pace of the last days."""
    has(corridor, 7)
    for number in range(6):
        corridor.stamped(f"OP-{number}")
        corridor.later(hours=12)

    (event,) = low(corridor)
    assert event.data["stamps_left"] == 3
    assert "Te quedan 3 timbres" in event.data["message"]
    assert "alcanzan para 1.1 días" in event.data["message"]  # four in a day and a half
    assert corridor.connection().stamps_left == 1
    assert event.version == event.data["version"] == 3


def test_stamps_bought_and_used_up_again_are_told_again(corridor: Corridor) -> None:
    """Once for each time that they run low."""
    has(corridor, 4)
    corridor.stamped("OP-1")
    has(corridor, 5)
    corridor.stamped("OP-2")
    assert len(low(corridor)) == 1
    corridor.stamped("OP-3")

    assert [event.data["stamps_left"] for event in low(corridor)] == [3, 3]


def test_what_the_user_gave_is_counted_down_where_nobody_tells(corridor: Corridor) -> None:
    """Only what was stamped counts; a rejected invoice costs no stamp."""
    user_gives(corridor, 5)
    corridor.stamped("OP-1")
    corridor.submit("WRONG", receptor={**_receptor(), "domicilio_fiscal_receptor": "64000"})
    corridor.stamp(
        corridor.one("SELECT id FROM invoices WHERE external_id = 'WRONG' ORDER BY id DESC LIMIT 1").id
    )
    assert corridor.connection().stamps_left == 4

    corridor.stamped("OP-2")

    assert (corridor.connection().stamps_left, corridor.connection().stamps_told_by) == (3, "user")
    assert len(low(corridor)) == 1


def _receptor() -> dict[str, Any]:
    from tests.support.builders import a_receptor

    return a_receptor()


def test_nothing_is_said_where_nothing_is_known(corridor: Corridor) -> None:
    """No number, no warning."""
    corridor.stamped("OP-1")

    assert corridor.connection().stamps_left is None
    assert low(corridor) == []


def test_a_number_that_became_unknown_meanwhile_is_not_taken_for_none(corridor: Corridor) -> None:
    """The stamp was asked for when the number was known, and came when it was not: no false alarm."""
    user_gives(corridor, 50)
    connection = corridor.connection()
    corridor.all(
        "UPDATE connections SET stamps_left = NULL WHERE account = :a RETURNING id", a=corridor.account
    )

    with corridor.tools.engine.begin() as db:
        suspend.count_stamp(db, connection, None, corridor.tools, corridor.tools.clock.now())

    assert corridor.connection().stamps_left is None
    assert low(corridor) == []


def test_the_forecast_counts_the_days_that_there_were(corridor: Corridor) -> None:
    """Ten stamps on an account's first day are ten a day, not ten a week; cancelled ones were stamps too."""
    for number in range(10):
        corridor.stamped(f"OP-{number}")
    corridor.all(
        "UPDATE connections SET stamps_left = 20 WHERE account = :account RETURNING id",
        account=corridor.account,
    )

    def forecast() -> float | None:
        with corridor.tools.engine.begin() as db:
            return suspend.forecast(db, corridor.connection(), corridor.tools.clock.now())

    assert forecast() == 2.0
    corridor.later(days=5)
    assert forecast() == pytest.approx(10.0, abs=0.1)
    corridor.later(days=3)
    assert forecast() is None


# --- none left -------------------------------------------------------------------------------------------------------


def ended(corridor: Corridor, *, tells: bool) -> list[UUID]:
    """Three invoices of an account whose stamps have just ended: all are held."""
    corridor.sandbox.change(corridor.account, stamps=0, behaviour={"reports_stamps": tells})
    ids = [corridor.submit(f"OP-{number}") for number in range(3)]
    assert isinstance(corridor.stamp(ids[0]), OnHold)
    suspend.hold_open(corridor.account, corridor.tools)
    assert corridor.connection().reason == "no_stamps"
    return ids


def test_where_the_provider_does_not_tell_one_held_invoice_goes_ahead_to_see(corridor: Corridor) -> None:
    """Refused, it is held again without a word; stamped, all go on, and none was spent twice."""
    ids = ended(corridor, tells=False)
    versions = {each: corridor.row(each).version for each in ids}
    for _ in range(2):
        assert not probe_when_due(corridor)
    assert {corridor.row(each).status for each in ids} == {"on_hold"}
    assert {each: corridor.row(each).version for each in ids} == versions
    corridor.sandbox.change(corridor.account, stamps=100)

    assert probe_when_due(corridor)

    assert sorted(corridor.row(each).status for each in ids) == ["stamped", "waiting", "waiting"]
    corridor.later(seconds=1)
    for each in ids:
        corridor.stamp(each)
    assert {corridor.row(each).status for each in ids} == {"stamped"}
    assert (corridor.stamps(), corridor.duplicates()) == (3, 0)
    told = [kind for kind in corridor.told() if kind.startswith("connection")]
    assert told == ["connection.active", "connection.broken", "connection.active"]


def test_where_the_provider_tells_no_invoice_is_spent_to_see(corridor: Corridor) -> None:
    """Its lists say when there are stamps again."""
    ids = ended(corridor, tells=True)
    attempts = [corridor.attempts(each) for each in ids]
    assert not probe_when_due(corridor)
    corridor.sandbox.change(corridor.account, stamps=100)

    assert probe_when_due(corridor)

    assert [corridor.attempts(each) for each in ids] == attempts
    assert {corridor.row(each).status for each in ids} == {"waiting"}
    assert corridor.connection().stamps_left == 100


def test_a_key_revoked_meanwhile_is_told_and_not_tried_with_each_probe(corridor: Corridor) -> None:
    """The probe finds a refused key instead of stamps: that is what is wrong now, and it is asked no more."""
    ended(corridor, tells=False)
    corridor.sandbox.revoke_key(corridor.account)

    assert not probe_when_due(corridor)

    row = corridor.connection()
    assert (row.reason, row.next_probe_at) == ("key_rejected", None)
    corridor.later(hours=5)
    assert not connect.probe(row.id, corridor.tools)
    refused = corridor.sandbox.ledger(corridor.account)["calls"][corridor.account]["conectar"]
    assert sum(times for result, times in refused.items() if result.startswith("refused")) == 1


def test_an_account_with_nothing_on_hold_is_mended_by_the_first_that_comes(corridor: Corridor) -> None:
    """Nothing to see with means waiting for something; a new invoice is held, and then goes ahead."""
    ids = ended(corridor, tells=False)
    corridor.all(
        "UPDATE invoices SET status = 'failed', reason = 'expired' WHERE account = :a RETURNING id",
        a=corridor.account,
    )
    assert not probe_when_due(corridor)
    corridor.sandbox.change(corridor.account, stamps=100)
    new = corridor.submit("NEW")
    assert corridor.row(new).status == "on_hold"

    assert probe_when_due(corridor)

    assert corridor.row(new).status == "stamped"
    assert corridor.stamps() == 1
    assert len(ids) == 3


def test_a_person_who_bought_stamps_need_not_wait_for_the_probe(corridor: Corridor) -> None:
    """`validate_connection` believes him; should there be none, the first refusal says so."""
    ids = ended(corridor, tells=False)
    corridor.sandbox.change(corridor.account, stamps=100)

    assert connect.validate(corridor.account, corridor.tools).status == "active"

    corridor.later(seconds=1)
    assert all(isinstance(corridor.stamp(each), Stamped) for each in ids)
    assert corridor.connection().broken_at is None


def test_the_probe_waits_longer_each_time(corridor: Corridor) -> None:
    """An account without stamps for days is asked twice an hour, with one invoice."""
    ended(corridor, tells=False)
    waits = []
    for _ in range(7):
        row = corridor.connection()
        waits.append(round((row.next_probe_at - corridor.tools.clock.now()) / timedelta(minutes=1)))
        probe_when_due(corridor)

    assert waits == [1, 2, 4, 8, 16, 30, 30]
