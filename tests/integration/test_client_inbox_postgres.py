"""The inbox table on a real PostgreSQL: whose transaction it is, and that the worker reads what is written."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from timbrado_client import cancel_in, inbox, retry_in, submit_in

from models.tables import inbox as table
from tests.support.builders import an_invoice

ASKED = "CREATE TABLE orders (name text)"
OWN = "INSERT INTO orders VALUES ('OP-1')"


@pytest.fixture
def theirs(database_url: str) -> Iterator[sa.Engine]:
    """The application's database: a table of its own, and the inbox as the client's DDL makes it."""
    engine = sa.create_engine(database_url)
    with engine.begin() as db:
        db.exec_driver_sql(f"DROP TABLE timbrado_inbox; {ASKED}")
        db.exec_driver_sql(inbox.DDL)
    yield engine
    engine.dispose()


@pytest.fixture
def dsn(theirs: sa.Engine) -> str:
    return theirs.url.set(drivername="postgresql").render_as_string(hide_password=False)


def rows(engine: sa.Engine) -> list[Any]:
    """What is waiting, as the worker sees it."""
    with engine.begin() as db:
        return list(
            db.execute(sa.select(table).where(table.c.taken_at.is_(None)).order_by(table.c.created_at))
        )


def orders(engine: sa.Engine) -> int:
    with engine.begin() as db:
        return db.exec_driver_sql("SELECT count(*) FROM orders").scalar_one()


def test_the_client_s_table_is_the_worker_s(theirs: sa.Engine) -> None:
    """Column by column, with types and what may be null, and its index; and the DDL can run again."""
    with theirs.begin() as db:
        db.exec_driver_sql(inbox.DDL)
        found = {
            column["name"]: (str(column["type"]), column["nullable"])
            for column in sa.inspect(db).get_columns("timbrado_inbox")
        }
        indexes = {
            index["name"]: index["column_names"] for index in sa.inspect(db).get_indexes("timbrado_inbox")
        }

    dialect = theirs.dialect
    assert found == {
        column.name: (column.type.compile(dialect).removesuffix(" WITH TIME ZONE"), column.nullable)
        for column in table.columns
    }
    assert indexes == {index.name: [column.name for column in index.columns] for index in table.indexes}


# --- every kind of transaction --------------------------------------------------------------------------

Way = Callable[[Any, str, bool], None]


def by_session(engine: sa.Engine, dsn: str, commits: bool) -> None:
    with Session(engine) as session:
        session.execute(sa.text(OWN))
        submit_in(session, an_invoice())
        session.commit() if commits else session.rollback()


def by_scoped_session(engine: sa.Engine, dsn: str, commits: bool) -> None:
    session = scoped_session(sessionmaker(engine))
    session.execute(sa.text(OWN))
    submit_in(session, an_invoice())
    session.commit() if commits else session.rollback()
    session.remove()


def by_sqlalchemy_connection(engine: sa.Engine, dsn: str, commits: bool) -> None:
    with engine.connect() as db:
        db.execute(sa.text(OWN))
        submit_in(db, an_invoice())
        db.commit() if commits else db.rollback()


def by_pooled_connection(engine: sa.Engine, dsn: str, commits: bool) -> None:
    with closing(engine.raw_connection()) as db:
        db.cursor().execute(OWN)
        submit_in(db, an_invoice())
        db.commit() if commits else db.rollback()


def by_psycopg(engine: sa.Engine, dsn: str, commits: bool) -> None:
    with closing(psycopg.connect(dsn)) as db:
        db.execute(OWN)
        submit_in(db, an_invoice())
        db.commit() if commits else db.rollback()


def by_cursor(engine: sa.Engine, dsn: str, commits: bool) -> None:
    with closing(psycopg.connect(dsn)) as db, db.cursor() as cursor:
        cursor.execute(OWN)
        submit_in(cursor, an_invoice())
        db.commit() if commits else db.rollback()


WAYS = (by_session, by_scoped_session, by_sqlalchemy_connection, by_pooled_connection, by_psycopg, by_cursor)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_is_committed_waits_for_the_worker(way: Way, theirs: sa.Engine, dsn: str) -> None:
    """The order and its invoice become visible together."""
    way(theirs, dsn, True)

    (row,) = rows(theirs)
    assert (row.kind, row.payload, row.trace_id) == ("submit", an_invoice(), None)
    assert orders(theirs) == 1


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_is_rolled_back_never_was(way: Way, theirs: sa.Engine, dsn: str) -> None:
    """Neither the order nor its invoice."""
    way(theirs, dsn, False)

    assert rows(theirs) == []
    assert orders(theirs) == 0


def test_nothing_is_seen_before_the_commit(theirs: sa.Engine) -> None:
    """submit_in itself commits nothing: another connection sees no row until the caller does."""
    with Session(theirs) as session:
        submit_in(session, an_invoice())
        before = rows(theirs)
        session.commit()

    assert before == []
    assert len(rows(theirs)) == 1


def test_a_savepoint_rolled_back_takes_its_invoice_with_it(theirs: sa.Engine) -> None:
    """As any other row of the caller's."""
    with Session(theirs) as session:
        submit_in(session, an_invoice(external_id="committed"))
        savepoint = session.begin_nested()
        submit_in(session, an_invoice(external_id="dropped"))
        savepoint.rollback()
        session.commit()

    assert [row.payload["external_id"] for row in rows(theirs)] == ["committed"]


def test_an_asynchronous_driver_executes_the_entry_itself(theirs: sa.Engine, dsn: str) -> None:
    """It is refused with what to do instead: execute INSERT with the entry's values. That works."""

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as db:
            with pytest.raises(TypeError, match=r"inbox\.INSERT"):
                submit_in(db, an_invoice())
            await db.execute(inbox.INSERT, inbox.submission(an_invoice()).values)

    asyncio.run(run())

    assert len(rows(theirs)) == 1


def test_every_kind_is_one_that_the_worker_takes(theirs: sa.Engine, dsn: str) -> None:
    """Cancel and retry, with their trace."""
    with psycopg.connect(dsn) as db:
        cancel_in(db, "acme", "OP-1", "02", trace_id="t-2")
        retry_in(db, "acme", "OP-1")

    assert [(row.kind, row.payload, row.trace_id) for row in rows(theirs)] == [
        ("cancel", {"account": "acme", "external_id": "OP-1", "motivo": "02"}, "t-2"),
        ("retry", {"account": "acme", "external_id": "OP-1"}, None),
    ]


def test_plain_sql_needs_only_a_payload(theirs: sa.Engine, dsn: str) -> None:
    """What docs/inbox.md says to other languages: id and kind have defaults in the client's table."""
    with psycopg.connect(dsn) as db:
        db.execute("INSERT INTO timbrado_inbox (payload) VALUES (%s)", (json.dumps(an_invoice()),))

    (row,) = rows(theirs)
    assert (row.kind, row.payload) == ("submit", an_invoice())
