"""What can be seen to be wrong with PostgreSQL is named, and a connection that leads nowhere is let go."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from tests.support.pooler import pooler_of_transactions
from worker import database


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    opened = database.open_engine(database_url, pool_size=2, timeout=2)
    yield opened
    opened.dispose()


def admin(database_url: str, statement: str) -> None:
    other = sa.create_engine(database_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with other.connect() as db:
        db.execute(sa.text("SET default_transaction_read_only = off"))
        db.execute(sa.text(statement))


def test_every_connection_has_its_limits(engine: sa.Engine) -> None:
    """Set once it is open, since a pooler drops what a start-up packet asks for; the doctor reads them back."""
    with engine.connect() as db:
        assert database.limits_in_force(db) == database.LIMITS


def test_a_primary_that_was_demoted_is_left(engine: sa.Engine, database_url: str) -> None:
    """Open sessions answer 25006 for ever, new ones can write: what follows such an answer is on a new one."""
    name = sa.make_url(database_url).database
    admin(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert database.write_fault(engine) == f"{database.MEANING['25006']} (25006)"
    admin(database_url, f"ALTER DATABASE {name} RESET default_transaction_read_only")

    assert database.write_fault(engine) is None


def test_a_table_that_is_locked_is_no_dead_database(engine: sa.Engine, database_url: str) -> None:
    """The row can't be written within the time, and who holds it is named with its program and query."""
    holder = sa.create_engine(database_url, connect_args={"application_name": "a migration"})
    assert database.write_fault(engine) is None
    with holder.connect() as session:
        session.execute(sa.text("LOCK TABLE heartbeats"))
        found: list[str | None] = []
        waits = threading.Thread(target=lambda: found.append(database.write_fault(engine, seconds=2)))
        waits.start()
        names = until(lambda: seen(engine))
        waits.join()
        session.rollback()
    holder.dispose()

    assert found == [f"{database.MEANING['57014']} (57014)"]
    assert names == [("a migration", "LOCK TABLE heartbeats", 1)]


def seen(engine: sa.Engine) -> list[tuple[str, str, int]]:
    with engine.connect() as db:
        return [(each.application, each.query, each.waiting) for each in database.blockers(db)]


def until(look: Callable[[], list[tuple[str, str, int]]]) -> list[tuple[str, str, int]]:
    for _ in range(100):
        if names := look():
            return names
        time.sleep(0.01)
    raise AssertionError("nobody was seen to block")


def test_nothing_listens(database_url: str) -> None:
    """A server that is not there is said not to answer."""
    nowhere = sa.make_url(database_url).set(host="/nowhere")
    engine = database.open_engine(nowhere.render_as_string(hide_password=False))

    assert database.write_fault(engine) == "it does not answer"


def test_prepared_statements_outlive_their_transaction(engine: sa.Engine) -> None:
    """Without a pooler of transactions in between they do."""
    assert database.prepares(engine)


def test_a_pooler_of_transactions_is_recognised(database_url: str) -> None:
    """It hands each transaction to another session: limits are dropped, and prepared statements are gone."""
    with pooler_of_transactions(database_url) as pooled:
        engine = database.open_engine(pooled, pool_size=2, timeout=2)
        with engine.connect() as db:
            db.rollback()
            found = [each.found for each in database.unsafe(db) if "pooler" in each.found]
        prepares = database.prepares(engine)
        engine.dispose()

    assert [each.split(" is ")[0] for each in found] == sorted(
        database.LIMITS, key=list(database.LIMITS).index
    )
    assert not prepares


def test_a_server_that_confirms_too_early_is_asked_not_to(engine: sa.Engine, database_url: str) -> None:
    """`synchronous_commit = off` for all sessions is not believed for ours; `fsync = off` can only be reported."""
    name = sa.make_url(database_url).database
    admin(database_url, f"ALTER DATABASE {name} SET synchronous_commit = off")
    with engine.connect() as db:
        ours = db.execute(sa.text("SHOW synchronous_commit")).scalar_one()
        found = [each.found for each in database.unsafe(db)]
    admin(database_url, f"ALTER DATABASE {name} RESET synchronous_commit")

    assert ours == "on"
    assert [each.split(":")[0] for each in found] == ["fsync is off"]  # as the servers of tests are started
