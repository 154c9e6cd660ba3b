"""All workers go by the database's clock: a host whose own is wrong, or jumps, changes nothing."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from stamping.clock import Clock
from stamping.outcome import NotOurs, Stamped
from tests.support.harness import Harness, sweep

WRONG = [timedelta(hours=3), timedelta(hours=-3), timedelta(days=400)]


class Wall:
    """A host's wall clock, in the test's hand."""

    def __init__(self, off: timedelta) -> None:
        self.off = off

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.off


def the_databases(harness: Harness) -> datetime:
    with harness.tools.engine.connect() as db:
        database_now: datetime = db.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return database_now


@pytest.mark.parametrize("off", WRONG, ids=str)
def test_a_wrong_wall_clock_is_corrected_before_the_first_task(harness: Harness, off: timedelta) -> None:
    """The database is asked once, and the time is carried on from there."""
    clock = Clock(wall=Wall(off))
    assert abs(clock.now() - the_databases(harness)) > timedelta(hours=1)

    clock.keep(harness.tools.engine)

    assert abs(clock.now() - the_databases(harness)) < timedelta(seconds=1)


def test_a_wall_clock_that_jumps_is_not_even_read(harness: Harness) -> None:
    """Once anchored, only the monotonic clock carries the time on."""
    wall = Wall(timedelta())
    clock = Clock(wall=wall)
    clock.keep(harness.tools.engine)

    wall.off = timedelta(hours=-7)
    before = clock.now()
    clock.keep(harness.tools.engine)

    assert timedelta(0) <= clock.now() - before < timedelta(seconds=1)


def test_how_far_a_host_is_off_is_reported(harness: Harness) -> None:
    """`timbrado doctor` says it, since certificates and logs go by the host's clock all the same."""
    with harness.tools.engine.connect() as db:
        off = Clock(wall=Wall(timedelta(hours=3))).sync(db)

    assert abs(off - timedelta(hours=3)) < timedelta(seconds=1)


@pytest.mark.parametrize("off", WRONG, ids=str)
def test_a_worker_with_a_wrong_clock_takes_no_claim_from_another(harness: Harness, off: timedelta) -> None:
    """Its sweep ends no claim early, its own claims end in time, and its invoices are dated now."""
    clock = Clock(lambda: harness.shift[0], wall=Wall(off))
    clock.keep(harness.tools.engine)
    wrong = harness.another_worker(clock=clock)
    claimed = harness.submit("HELD")
    harness.claim(claimed)

    rescued = sweep.sweep(wrong.tools).rescued
    assert isinstance(wrong.stamp(claimed), NotOurs)
    mine = harness.submit("MINE")
    assert isinstance(wrong.stamp(mine), Stamped)

    row = harness.row(mine)
    assert rescued == 0
    assert abs(row.stamped_at - the_databases(harness)) < timedelta(seconds=30)
    assert abs(row.expires_at - the_databases(harness) - timedelta(hours=72)) < timedelta(minutes=3)
    assert harness.row(claimed).status == "stamping"


def test_an_invoice_that_ends_its_worker_each_time_waits_longer_each_time(harness: Harness) -> None:
    """A claim that ran out with nothing sent is a failed try: the first is made again at once, and then waits grow."""
    invoice_id = harness.submit("POISON")
    lease = harness.tools.policy.lease.total_seconds()
    waits = []
    for tries in range(1, 11):
        harness.claim(invoice_id)  # and its worker is gone
        harness.later(seconds=lease + 1)
        sweep.sweep(harness.tools)

        row = harness.row(invoice_id)
        assert (row.status, row.tries) == ("waiting", tries)
        waits.append(row.next_attempt_at - harness.tools.clock.now())
        harness.later(seconds=waits[-1].total_seconds() + 1)

    assert waits[0] <= timedelta(0) < min(waits[1:]), waits
    assert waits[-1] > timedelta(minutes=1), waits
    assert isinstance(harness.stamp(invoice_id), Stamped)
