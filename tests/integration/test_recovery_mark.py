"""A database that was set back is noticed by the mark outside it, and nothing is sent from it."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from models.tables import installation
from sandbox.serve import RunningSandbox
from stamping import sweep
from stamping.recovery import mark, restore
from storage import open_store
from tests.support.harness import Harness, open_harness


def set_mark(harness: Harness, **changes: object) -> None:
    """Write another mark into the database, as a backup would hold it."""
    with harness.tools.engine.begin() as db:
        value = db.execute(
            sa.select(installation.c.value).where(installation.c.name == mark.NAME)
        ).scalar_one()
        db.execute(
            sa.update(installation).where(installation.c.name == mark.NAME).values(value={**value, **changes})
        )


def test_a_database_that_was_never_set_back_is_well(database_url: str, sandbox: RunningSandbox) -> None:
    """A new installation has no mark; afterwards each sweep counts it up, at most once in twenty seconds."""
    with open_harness(database_url, sandbox) as harness:
        mark.begin(harness.tools)
        for _ in range(3):
            assert mark.note(harness.tools)
            harness.later(seconds=21)
        assert mark.note(harness.tools)
        assert mark.note(harness.tools)

        mark.begin(harness.tools)
        assert harness.one("SELECT value FROM installation WHERE name = 'restore_mark'").value["count"] == 4


def test_workers_that_start_together_on_a_new_database_begin_one_mark(
    database_url: str, sandbox: RunningSandbox
) -> None:
    """Whichever is first, the database and its document store hold the mark of one life."""
    with open_harness(database_url, sandbox) as harness:
        with ThreadPoolExecutor(6) as workers:
            list(workers.map(lambda _: mark.begin(harness.tools), range(6)))

        value = harness.one("SELECT value FROM installation WHERE name = 'restore_mark'").value
        outside = json.loads(harness.tools.store.read_mark() or b"{}")
        assert outside["epoch"] == value["epoch"]
        assert 1 <= outside["count"] <= value["count"]
        mark.begin(harness.tools)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"count": 1}, "its mark is 1 and the document store's is 3"),
        ({"epoch": "another"}, "another life"),
        ({"count": 3}, None),
        ({"count": 4}, None),
    ],
)
def test_a_count_behind_the_stores_is_a_restore(
    database_url: str, sandbox: RunningSandbox, changes: dict[str, object], why: str | None
) -> None:
    """Behind, or of another life: set back. The same or ahead (the store was away for a moment): not."""
    with open_harness(database_url, sandbox) as harness:
        for _ in range(3):
            mark.note(harness.tools)
            harness.later(seconds=21)
        set_mark(harness, **changes)

        found = mark.fault(harness.tools)

        assert (found is None) == (why is None)
        assert why is None or why in str(found)


def test_a_database_without_a_mark_beside_a_store_with_one_is_another(
    database_url: str, sandbox: RunningSandbox
) -> None:
    """An empty database in front of an old document store knows nothing of what was stamped."""
    with open_harness(database_url, sandbox) as harness:
        mark.note(harness.tools)
        harness.all("DELETE FROM installation RETURNING name")

        with pytest.raises(mark.DatabaseSetBack, match="recover --after-restore"):
            mark.begin(harness.tools)


@pytest.mark.parametrize(("synchronous", "is_well"), [(False, False), (True, True)])
def test_a_failover_is_a_restore_unless_each_commit_was_confirmed(
    database_url: str, sandbox: RunningSandbox, synchronous: bool, is_well: bool
) -> None:
    """Another timeline than the mark's: the last commits may be lost, but not behind a synchronous standby."""
    with open_harness(database_url, sandbox) as harness:
        mark.note(harness.tools)
        outside = mark.Mark("x", 1, "00000009", synchronous)
        set_mark(harness, **outside.as_dict())
        mark.copy(outside, harness.tools)

        assert (mark.fault(harness.tools) is None) == is_well
        assert mark.note(harness.tools) == is_well  # at once, however short ago the last one was


def test_a_running_installation_that_is_set_back_stops_sending(
    database_url: str, sandbox: RunningSandbox
) -> None:
    """The next sweep pauses every connection and keeps the reason; `recover` lets them go on, not what an operator
    had paused."""
    with open_harness(database_url, sandbox) as harness:
        for _ in range(3):
            mark.note(harness.tools)
            harness.later(seconds=21)
        set_mark(harness, count=1)
        invoice_id = harness.submit("OP-1")

        assert sweep.sweep(harness.tools).stamp == []
        harness.stamp(invoice_id)
        assert harness.row(invoice_id).status == "accepted"
        assert harness.connection().paused
        assert "its mark is 1" in str(mark.fault(harness.tools))

        done = restore.recover(harness.tools, actor="test", reason="a backup")

        assert done.resumed == [harness.account]
        assert not harness.connection().paused
        assert mark.fault(harness.tools) is None
        assert harness.stamps() == 0


def test_a_store_that_is_away_says_nothing(
    database_url: str, sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Without the mark outside nothing can be compared: the store's own check names that it is away."""
    with open_harness(database_url, sandbox) as harness:
        mark.note(harness.tools)
        home = tmp_path_factory.mktemp("gone")
        store = open_store(home.as_uri())
        shutil.rmtree(home)
        home.write_text("a file where the store's folder was")
        away = replace(harness.tools, store=store)
        harness.shift[0] += timedelta(seconds=30)

        assert mark.fault(away) is None
        assert mark.note(away)
