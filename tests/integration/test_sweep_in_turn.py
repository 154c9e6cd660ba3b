"""The sweep serves accounts in turn, bounds the queues, and outlives a clock that was wrong."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from stamping import claims, deadlines, heartbeat, sweep
from stamping.sweep import Queued
from stamping.tools import Policy
from tests.support.harness import Harness, open_harness

ROOM = 20


@pytest.fixture
def harness(database_url: str, sandbox: Any) -> Iterator[Harness]:
    policy = Policy(production_url=sandbox.url, allowed_hosts=frozenset({sandbox.url[7:]}), queue_bound=ROOM)
    with open_harness(database_url, sandbox, policy=policy) as opened:
        yield opened


def fill(harness: Harness, accounts: int, each: int, *, prefix: str = "acc", hours: int = 1) -> None:
    """Copy the connection, and give each account so many invoices that wait, a minute younger from one to the next."""
    names = [column["name"] for column in sa.inspect(harness.tools.engine).get_columns("connections")]
    copied = ", ".join(
        {"id": "gen_random_uuid()", "account": "CAST(:prefix AS text) || '-' || lpad(g::text, 4, '0')"}.get(
            name, name
        )
        for name in names
    )
    with harness.tools.engine.begin() as db:
        db.execute(
            sa.text(
                f"INSERT INTO connections ({', '.join(names)}) SELECT {copied}"
                " FROM connections, generate_series(1, :accounts) g WHERE account = :source"
            ),
            {"accounts": accounts, "source": harness.account, "prefix": prefix},
        )
        db.execute(
            sa.text(
                """
                INSERT INTO invoices (id, account, external_id, status, version, content, content_hash, created_at,
                  updated_at, next_attempt_at)
                SELECT gen_random_uuid(), CAST(:prefix AS text) || '-' || lpad((1 + g % :accounts)::text, 4, '0'),
                  'L-' || g, 'waiting', 1, '{}', 'h', now() - interval '6 hours', now(),
                  now() - :hours * interval '1 hour' + g * interval '1 second' / :accounts
                FROM generate_series(1, :rows) g"""
            ),
            {"accounts": accounts, "rows": accounts * each, "prefix": prefix, "hours": hours},
        )


def served(harness: Harness, due: sweep.Due) -> list[str]:
    ids = [*due.stamp, *due.stamp_bulk]
    rows = harness.all("SELECT account FROM invoices WHERE id = ANY(:ids)", ids=ids)
    return [row.account for row in rows]


def done(harness: Harness, due: sweep.Due) -> None:
    """Play that the messages were taken and their invoices stamped."""
    with harness.tools.engine.begin() as db:
        db.execute(sa.text("SET LOCAL session_replication_role = replica"))
        db.execute(
            sa.text("DELETE FROM invoices WHERE id = ANY(:ids)"), {"ids": [*due.stamp, *due.stamp_bulk]}
        )


def test_every_account_is_served_once_before_any_is_served_again(harness: Harness) -> None:
    """60 accounts with ten invoices each, room for 20: three sweeps serve all of them, whatever their names."""
    fill(harness, accounts=60, each=10)
    rounds = []
    for _ in range(6):
        due = sweep.sweep(harness.tools)
        assert due.is_crowded
        rounds.append(served(harness, due))
        done(harness, due)
        harness.later(seconds=1)

    assert [len(each) for each in rounds] == [ROOM] * 6
    assert len({account for each in rounds[:3] for account in each}) == 60
    assert len({account for each in rounds[3:] for account in each}) == 60


def test_ten_thousand_due_hold_up_no_small_account(harness: Harness) -> None:
    """200 accounts with 50 each, and one behind them in the alphabet whose three wait longest: it is in the first turn,
    all have had theirs after as many sweeps as that takes, and none enqueues more than there is room for."""
    fill(harness, accounts=200, each=50)
    fill(harness, accounts=1, each=3, prefix="zz", hours=5)
    rounds = []
    for _ in range(201 // ROOM + 1):
        due = sweep.sweep(harness.tools)
        rounds.append(served(harness, due))
        done(harness, due)
        harness.later(seconds=1)

    assert "zz-0001" in rounds[0]
    assert len({account for each in rounds for account in each}) == 201
    assert max(map(len, rounds)) == ROOM


def test_what_has_little_time_left_goes_before_all_others(harness: Harness) -> None:
    """One of the last account has five hours left, and waits for a moment only: it is the first of the next sweep."""
    fill(harness, accounts=60, each=10)
    fecha = harness.tools.clock.now() - timedelta(hours=67)
    hurried = harness.submit("HURRIED", fecha=fecha.isoformat())

    assert sweep.sweep(harness.tools).stamp[0] == hurried


def test_a_lone_account_gets_all_its_places(harness: Harness) -> None:
    """Nobody else waits: as many as it may have in flight, and it goes on by itself."""
    fill(harness, accounts=1, each=30)

    due = sweep.sweep(harness.tools)

    assert len(served(harness, due)) == harness.tools.policy.in_flight
    assert not due.is_crowded


def test_an_invoice_whose_message_still_waits_gets_no_second_one(harness: Harness) -> None:
    """As long as the queue's oldest message is no younger than its own; once the queue is empty, it was lost."""
    invoice_id = harness.submit()
    now = harness.tools.clock.now()
    assert sweep.sweep(harness.tools).stamp == [invoice_id]
    harness.later(minutes=1)
    waits = {name: Queued(3, now - timedelta(seconds=1)) for name in ("stamp", "stamp.bulk")}
    passed = {name: Queued(3, now + timedelta(seconds=30)) for name in ("stamp", "stamp.bulk")}

    assert sweep.sweep(harness.tools, waits).stamp == []
    assert sweep.sweep(harness.tools, passed).stamp == [invoice_id]
    harness.later(minutes=1)
    assert sweep.sweep(harness.tools).stamp == [invoice_id]


def test_a_queue_that_nobody_reads_is_not_filled(harness: Harness) -> None:
    """Bounded to a few times the threads, whatever waits in the table."""
    fill(harness, accounts=60, each=10)
    full = {name: Queued(ROOM) for name in ("stamp", "stamp.bulk", "upkeep")}
    nearly = {name: Queued(ROOM - 3) for name in ("stamp", "stamp.bulk")}

    due = sweep.sweep(harness.tools, full)
    assert (served(harness, due), due.is_crowded, due.probes, due.out_of_step) == ([], True, [], [])
    assert len(served(harness, sweep.sweep(harness.tools, nearly))) == 3


def test_the_end_of_a_sweep_is_noted_by_the_databases_clock(harness: Harness) -> None:
    """However this host's clock stands: that is what health, metrics and doctor read."""

    def age() -> float | None:
        with harness.tools.engine.begin() as db:
            return heartbeat.age_of(db, heartbeat.SWEEP)

    assert age() is None
    harness.later(hours=5)
    sweep.sweep(harness.tools)

    seen = age()
    assert seen is not None
    assert 0 <= seen < 60


def test_two_sweeps_do_not_begin_at_once(harness: Harness) -> None:
    """However many messages ask for one."""
    apart = timedelta(minutes=10)

    assert [heartbeat.may_begin(harness.tools, apart) for _ in range(3)] == [True, False, False]
    assert heartbeat.may_begin(harness.tools, timedelta(0))


def test_nothing_stands_after_the_clock_was_wrong(harness: Harness) -> None:
    """The database's clock 73 hours ahead for a minute: what was claimed, put off, throttled and looked at in that
    minute goes on within an hour of the right time, and nothing was given up."""
    harness.stamped("CONTROL")
    fecha = harness.tools.clock.now().isoformat(timespec="seconds")
    dated = harness.submit("DATED", fecha=fecha)
    others = [harness.submit(f"W-{number}") for number in range(6)]
    harness.later(hours=73)
    for each in sweep.sweep(harness.tools).reminders:
        deadlines.remind(each, harness.tools)
    harness.sandbox.play("drop_before", account=harness.account, call="save", times=2)
    for each in others[:2]:
        harness.stamp(each)
    harness.sandbox.calm()
    for each in others[2:4]:
        assert isinstance(claims.take(each, harness.tools), claims.Claimed)
    with harness.tools.engine.begin() as db:
        db.execute(
            sa.text("UPDATE connections SET throttled_until = :at"),
            {"at": harness.tools.clock.now() + timedelta(minutes=30)},
        )
    harness.later(hours=-73)

    for _ in range(60):
        harness.later(minutes=1)
        harness.go_on()

    assert [harness.row(each).status for each in (dated, *others)] == ["stamped"] * 7
    assert harness.duplicates() == 0
