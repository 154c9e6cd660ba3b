"""A page of invoices or of events costs the same wherever it is in the list, and each filter goes by an index."""

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from api import queries
from api.keys import Key
from api.live import kinds_of
from events import feed, outbox
from tests.support.harness import Harness, open_harness, statements
from worker.database import open_engine

ROWS = 21_000
"""More than 20,000, so that reading all of them is the dearer plan by far."""
MOST = 400
"""Blocks that one page may touch: 51 rows, each on a block of its own, by a few indexes, and what belongs to them."""
COMMON = {"q": "EMPRESA"}
"""A word of every name: the rows that show that it is one are read too, as many as `queries.FEW`."""
ALL = Key(uuid.UUID(int=1), "all", False, None, frozenset({"read"}), None)
ONE = Key(uuid.UUID(int=2), "one", False, None, frozenset({"read"}), "a7")
NOBODY = Key(uuid.UUID(int=3), "nobody", False, None, frozenset({"read"}), "zz")


@pytest.fixture(scope="module")
def crowded(make_database: Callable[[], str], sandbox: Any) -> Iterator[Harness]:
    """Stamped invoices of 30 accounts, and statistics of them."""
    database = make_database()
    with open_harness(database, sandbox) as harness:
        with harness.tools.engine.begin() as db:
            db.execute(sa.text("ALTER TABLE invoices DISABLE TRIGGER USER"))  # history, row by row
            db.execute(
                sa.text(
                    """
                    INSERT INTO invoices (id, account, external_id, status, version, content, content_hash, created_at,
                      updated_at, uuid, serie, folio, stamped_at, id_honoured, record_empresa, record_id, claim, fecha,
                      expires_at, fecha_timbrado)
                    SELECT gen_random_uuid(), 'a' || n % 30, 'OP-' || n, 'stamped', 2,
                      jsonb_build_object('receptor', jsonb_build_object('rfc', 'XIA' || lpad((n % 700)::text, 6, '0') ||
                        'J61', 'nombre', 'EMPRESA NUMERO ' || (n % 700))),
                      'h', now() - n * interval '10 minutes', now(), upper(gen_random_uuid()::text), 'A', n::text,
                      now(), true, 1, n, 1, now(), now(), now()
                    FROM generate_series(1, :rows) n"""
                ),
                {"rows": ROWS},
            )
            db.execute(sa.text("ALTER TABLE invoices ENABLE TRIGGER USER"))
            db.execute(  # of `still` the first three alone, and of `a29x` the last 500
                sa.text(
                    """
                    INSERT INTO events (id, subject_kind, subject_id, account, version, type, data, created_at,
                      position)
                    SELECT gen_random_uuid(), 'invoice', gen_random_uuid(), CASE WHEN n <= 3 THEN 'still'
                      WHEN n > :rows - 500 THEN 'a29x' ELSE 'a' || n % 30 END, 1, 'invoice.accepted',
                      jsonb_build_object('message', repeat('Recibida. ', 20)), now(), n / 2
                    FROM generate_series(1, :rows) n"""
                ),
                {"rows": ROWS},
            )
        with harness.tools.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
            db.execute(sa.text("VACUUM ANALYZE invoices, events"))
        engine = open_engine(database)  # as a process opens it: plans are made once, without parameters
        yield replace(harness, tools=replace(harness.tools, engine=engine))
        engine.dispose()


def cost(harness: Harness, key: Key = ALL, **filters: Any) -> tuple[int, list[dict[str, Any]]]:
    """Blocks that the statements of a page of invoices touch, and what it shows."""
    blocks, (items, _) = blocks_of(
        harness, "FROM invoices", lambda db: queries.page(db, key, url_of=lambda *_: "", **filters)
    )
    return blocks, items


def blocks_of(harness: Harness, of: str, read: Callable[[sa.Connection], Any]) -> tuple[int, Any]:
    """Blocks that the statements that hold a text touch, and what they found.

    By the plans with which they ran, which were made without their parameters.
    """
    blocks = 0
    with statements(harness.tools.engine) as asked, harness.tools.engine.connect() as db:
        found = read(db)
        raw: Any = db.connection.driver_connection
        with psycopg.Cursor(raw) as cursor, psycopg.ClientCursor(raw) as written:
            cursor.execute("SELECT statement, name FROM pg_prepared_statements", prepare=False)
            prepared = dict(cursor.fetchall())
            for statement, parameters in [each for each in asked if of in each[0]]:
                sent, names = numbered(statement)
                values = ", ".join(written.mogrify("%s", [parameters[name]]) for name in names)
                run = f'EXECUTE "{prepared[sent]}"' + (f" ({values})" if values else "")
                cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) {run}", prepare=False)
                plan = "\n".join(line for (line,) in cursor)
                touched = re.search(r"Buffers: shared(?: hit=(\d+))?(?: read=(\d+))?", plan)
                blocks += sum(int(each or 0) for each in touched.groups()) if touched else 0
    assert blocks, "nothing was measured"
    return blocks, found


def numbered(statement: str) -> tuple[str, list[str]]:
    """A statement as psycopg sends it, and the names of its parameters in their order."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    for number, name in enumerate(names, 1):
        statement = statement.replace(f"%({name})s", f"${number}")
    return statement.replace("%%", "%"), names


def at(harness: Harness, place: int) -> uuid.UUID:
    """The cursor of the page after so many invoices."""
    query = "SELECT id FROM invoices ORDER BY created_at DESC, id DESC OFFSET :place LIMIT 1"
    found: uuid.UUID = harness.one(query, place=place).id
    return found


def test_the_first_the_middle_and_the_last_page_cost_the_same(crowded):
    """By the order of time and the cursor, never by counting what comes before."""
    costs = [
        cost(crowded, cursor=at(crowded, place) if place else None)[0] for place in (0, ROWS // 2, ROWS - 60)
    ]

    assert max(costs) < MOST
    assert max(costs) <= min(costs) + 20


@pytest.mark.parametrize(
    ("key", "filters", "expected"),
    [
        (ALL, {"account": "a7"}, 50),
        (ONE, {}, 50),
        (NOBODY, {}, 0),
        (ALL, {"statuses": ["failed"]}, 0),
        (ALL, {"q": "XIA000123J61"}, 30),
        (ALL, {"q": "XIA999999J61"}, 0),
        (ALL, {"q": "12345"}, 1),
        (ALL, {"q": "A-12345"}, 1),
        (ALL, {"q": "B-12345"}, 0),
        (ALL, {"q": "OP-12345"}, 1),
        (ALL, {"q": "numero 123"}, 30),
        (ALL, {"q": "Nobody"}, 0),
        (ALL, COMMON, 50),
    ],
    ids=str,
)
def test_each_filter_goes_by_an_index(crowded, key, filters, expected):
    """What nothing is found of costs no more than what is."""
    blocks, items = cost(crowded, key, **filters)

    assert len(items) == expected
    assert blocks < (4 * MOST if filters == COMMON else MOST)
    assert crowded.one("SELECT relpages FROM pg_class WHERE relname = 'invoices'").relpages > 2 * MOST


def test_a_folio_fiscal_and_an_id_are_found_at_once(crowded):
    """In capitals or not."""
    row = crowded.one("SELECT id, uuid FROM invoices WHERE folio = '777'")
    for text in (row.uuid, row.uuid.lower(), str(row.id)):
        blocks, items = cost(crowded, q=text)
        assert [each["uuid"] for each in items] == [row.uuid]
        assert blocks < 50


STILL = Key(uuid.UUID(int=4), "still", False, None, frozenset({"read"}), "still")
STILL_ONES = Key(uuid.UUID(int=5), "still-ones", False, None, frozenset({"read"}), "sti*")
LATE = Key(uuid.UUID(int=6), "late", False, None, frozenset({"read"}), "a29x")


@pytest.mark.parametrize("place", [0, ROWS // 4], ids=["beginning", "middle"])
@pytest.mark.parametrize(
    ("key", "account", "several"),
    [
        (ALL, None, True),
        (ALL, "a7", True),
        (ONE, None, True),
        (ALL, "still", False),
        (STILL, None, False),
        (STILL_ONES, None, False),
        (NOBODY, None, False),
        (LATE, None, True),
        (ALL, "a29x", True),
    ],
    ids=lambda each: each.name if isinstance(each, Key) else str(each),
)
def test_events_are_read_on_by_an_index_also_of_an_account_in_which_nothing_happens(
    crowded, place, key, account, several
):
    """A page of a hundred at most, from the beginning or from the middle; the table is larger than what it touches."""
    blocks, found = blocks_of(
        crowded,
        "FROM events",
        lambda db: feed.after(db, (place, uuid.UUID(int=0)), which=kinds_of(key, account), limit=100),
    )

    assert len(found) == (100 if several else 3 if place == 0 and key is not NOBODY else 0)
    assert all(each.account == account or account is None for each in found)
    assert [each.place for each in found] == sorted(each.place for each in found)
    assert blocks < MOST
    assert crowded.one("SELECT relpages FROM pg_class WHERE relname = 'events'").relpages > 2 * MOST


@pytest.mark.parametrize("account", ["a7", "still", "a29x", "nobody", None])
def test_the_newest_events_of_an_account_are_listed_by_an_index(crowded, account):
    """As the panel and the command line list them."""
    blocks, found = blocks_of(
        crowded, "FROM events", lambda db: outbox.list_events(db, account=account, limit=51)
    )

    assert len(found) == {"still": 3, "nobody": 0}.get(account, 51)
    assert blocks < MOST
