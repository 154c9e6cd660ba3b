"""What can be seen to be wrong with PostgreSQL is named, and a connection that leads nowhere is let go."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from models.compiled import AtOnce, PlainSql
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


def test_a_primary_that_was_demoted_is_left_by_a_statement_of_its_own(
    engine: sa.Engine, database_url: str
) -> None:
    """The statements that every invoice takes go past SQLAlchemy's transactions, and leave it all the same."""
    name = sa.make_url(database_url).database
    at_once, write = AtOnce(engine), PlainSql(WRITE)
    assert write.run(at_once).rowcount == 1
    admin(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    engine.dispose()  # what is opened now can only read
    with pytest.raises(sa.exc.DBAPIError) as refused:
        write.run(at_once)
    with pytest.raises(sa.exc.DBAPIError) as in_a_transaction, engine.begin() as db:
        write.run(db)
    admin(database_url, f"ALTER DATABASE {name} RESET default_transaction_read_only")

    assert refused.value.connection_invalidated
    assert in_a_transaction.value.connection_invalidated
    assert write.run(at_once).rowcount == 1
    with engine.begin() as db:
        assert write.run(db).rowcount == 1


def test_one_statement_commits_by_itself_also_over_an_engine_of_transactions(database_url: str) -> None:
    """What it wrote is there for others, and a statement that fails leaves nothing open."""
    plain = sa.create_engine(database_url, pool_size=1)
    at_once = AtOnce(plain)
    PlainSql(WRITE).run(at_once)
    with pytest.raises(sa.exc.ProgrammingError):
        PlainSql("SELECT nothing FROM nowhere").run(at_once)
    with plain.begin() as db:
        written = db.execute(sa.text("SELECT count(*) FROM heartbeats WHERE name = 'written'")).scalar_one()
    plain.dispose()

    assert written == 1


def test_a_database_that_ends_a_connection_is_asked_over_a_new_one(
    engine: sa.Engine, database_url: str
) -> None:
    """The statement under way fails as one whose connection was lost; the next has another."""
    at_once, mine = AtOnce(engine), PlainSql("SELECT pg_backend_pid() AS pid")
    before = mine.run(at_once).scalar_one()
    admin(database_url, f"SELECT pg_terminate_backend({before})")

    with pytest.raises(sa.exc.OperationalError) as lost:
        mine.run(at_once)

    assert lost.value.connection_invalidated
    assert mine.run(at_once).scalar_one() != before


WRITE = """INSERT INTO heartbeats (name, at) VALUES ('written', clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET at = excluded.at"""


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
