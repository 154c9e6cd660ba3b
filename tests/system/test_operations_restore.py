"""A database that went back in time stamps nothing twice, where deploy/postgres/after_restore.sql is run first."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from sandbox.serve import RunningSandbox
from stamping import pipeline, reconcile, retry, sweep
from tests.corridor import Corridor, open_corridor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]
AFTER_RESTORE = Path(__file__).parents[2] / "deploy/postgres/after_restore.sql"


def copy_of(url: sa.URL, engine: sa.Engine) -> sa.URL:
    """A copy of the database as it stands now: what a backup would hold."""
    engine.dispose()
    name = f"{url.database}_backup"
    admin = sa.create_engine(
        url.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    with admin.connect() as db:
        db.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        db.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {url.database}"))
    return url.set(database=name)


def restored(corridor: Corridor, url: sa.URL) -> Corridor:
    """The same house over the backup, with after_restore.sql run."""
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(AFTER_RESTORE.read_text())
    return corridor.another_worker(engine=sa.create_engine(url))


def carry_on(corridor: Corridor) -> None:
    """What workers and beat would do."""
    due = sweep.sweep(corridor.tools)
    for each in [*due.stamp, *due.stamp_bulk]:
        pipeline.stamp(each, corridor.tools)
    for each in due.look_up:
        reconcile.reconcile(each, corridor.tools)


def test_what_was_stamped_since_the_backup_is_not_stamped_again(
    database_url: str, sandbox: RunningSandbox
) -> None:
    """One had an Id of ContaDigital and is taken over by a look-up; one had none, and `retry` refuses to send it."""
    with open_corridor(database_url, sandbox) as corridor:
        known = corridor.stamped("OP-KNOWN")
        fresh = corridor.submit("OP-FRESH")
        saved = corridor.submit("OP-SAVED")
        sandbox.play(
            "status_before", account=corridor.account, call="stamp", status=429, retry_after=1, times=1
        )
        corridor.stamp(saved)
        assert corridor.row(saved).status == "waiting"
        assert corridor.row(saved).record_id is not None

        backup = copy_of(sa.make_url(database_url), corridor.tools.engine)
        corridor.later(minutes=11)
        for each in (fresh, saved):
            corridor.stamp(each)
            assert corridor.row(each).status == "stamped"
        uuid = corridor.row(saved).uuid

        after = restored(corridor, backup)
        try:
            assert_nothing_is_sent(after, known, fresh, saved)
            assert after.row(saved).version > 1000

            assert retry.retry(after.account, "OP-SAVED", after.tools).done
            after.look_until(saved, "stamped", most=1)
            refused: Any = retry.retry(after.account, "OP-FRESH", after.tools)
            assert after.row(saved).uuid == uuid
        finally:
            after.tools.engine.dispose()

        assert not refused.done
        assert "FolioOriginal" in refused.said
        assert (corridor.stamps(), corridor.twins()) == (3, 0)


def assert_nothing_is_sent(corridor: Corridor, known: Any, *opened: Any) -> None:
    before = corridor.stamps()
    for _ in range(3):
        corridor.later(minutes=5)
        carry_on(corridor)
    assert corridor.stamps() == before
    assert corridor.row(known).status == "stamped"
    assert {(corridor.row(each).status, corridor.row(each).reason) for each in opened} == {
        ("failed", "needs_person")
    }
