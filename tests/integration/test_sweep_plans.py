"""Each query of the sweep goes by its index, however many invoices lie in the table: PostgreSQL says so itself."""

import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from psycopg import sql

from stamping import attempts, expired_claims, sweep
from stamping.tools import Tools
from tests.support.harness import Harness, open_harness

ROWS = 21_000  # settled invoices of a year; what is due drowns in them
"""More than 20,000, so that a sequential scan would be the dearer plan by far."""


@pytest.fixture(scope="module")
def crowded(make_database: Callable[[], str], sandbox: Any) -> Iterator[Harness]:
    """A database with a year's invoices of 300 accounts, 600 that are open in every way, and statistics of it."""
    with open_harness(make_database(), sandbox) as harness:
        with harness.tools.engine.begin() as db:
            db.execute(sa.text("ALTER TABLE invoices DISABLE TRIGGER USER"))  # history, row by row
            fill(db)
            db.execute(sa.text("ALTER TABLE invoices ENABLE TRIGGER USER"))
        with harness.tools.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
            db.execute(sa.text("ANALYZE"))
        yield harness


def fill(db: sa.Connection) -> None:
    """Fill the tables by SQL: what stands in the rows does not matter, only how many stand where."""
    db.execute(
        sa.text(
            """
            INSERT INTO connections (id, account, status, rfc, razon_social, codigo_postal, base_url, key_encrypted,
              id_empresa, catalogs, created_at, updated_at)
            SELECT gen_random_uuid(), 'a' || n, 'active', 'EKU9003173C9', 'X', '42501', 'http://127.0.0.1:1', 'k',
              n, '{}', now(), now() FROM generate_series(1, 300) n"""
        )
    )
    columns = (
        "id, account, external_id, status, version, content, content_hash, created_at, updated_at, "
        "uuid, stamped_at, id_honoured, record_empresa, record_id, next_attempt_at, claim, claimed_until, doubt, "
        "doubt_since, fecha, expires_at, reminder_at, pdf_due_at, mail_due_at, motivo"
    )
    db.execute(
        sa.text(
            f"""
            INSERT INTO invoices ({columns})
            SELECT gen_random_uuid(), 'a' || (n % 300 + 1), 's' || n, 'stamped', 2, '{{}}', 'h',
              now() - n * interval '10 minutes', now(), upper(gen_random_uuid()::text),
              now() - n * interval '10 minutes', true, 1, n, NULL, 1, NULL, NULL, NULL,
              now(), now(), NULL,
              CASE WHEN n % 900 = 0 THEN now() END, CASE WHEN n % 900 = 1 THEN now() END, NULL
            FROM generate_series(1, :rows) n"""
        ),
        {"rows": ROWS},
    )
    db.execute(
        sa.text(
            f"""
            INSERT INTO invoices ({columns})
            SELECT gen_random_uuid(), 'a' || (n % 300 + 1), 'o' || n,
              (ARRAY['accepted', 'waiting', 'in_doubt', 'on_hold', 'stamping', 'rejected'])[n % 6 + 1],
              1, '{{}}', 'h', now(), now(), NULL, NULL, NULL, NULL, NULL,
              CASE WHEN n % 6 IN (0, 1, 2) THEN now() - interval '1 second' END, 1,
              CASE WHEN n % 6 = 4 THEN now() - interval '1 second' END,
              CASE WHEN n % 6 = 2 THEN 'stamp' END, CASE WHEN n % 6 = 2 THEN now() END,
              now(), now() + interval '70 hours', CASE WHEN n % 6 < 4 THEN now() - interval '1 second' END,
              NULL, NULL, NULL
            FROM generate_series(1, 600) n WHERE n % 6 <> 5"""
        )
    )
    db.execute(
        sa.text(
            """
            INSERT INTO timbrado_inbox (id, kind, payload, created_at, taken_at)
            SELECT gen_random_uuid(), 'submit', '{}', now(), CASE WHEN n % 500 <> 0 THEN now() END
            FROM generate_series(1, :rows) n"""
        ),
        {"rows": ROWS},
    )
    db.execute(
        sa.text(
            """
            INSERT INTO events (id, subject_kind, subject_id, account, version, type, data, created_at)
            SELECT gen_random_uuid(), 'invoice', gen_random_uuid(), 'a1', 1, 'invoice.stamped', '{}', now()
            FROM generate_series(1, :rows) n"""
        ),
        {"rows": ROWS},
    )
    db.execute(
        sa.text(
            """
            INSERT INTO deliveries (event_id, channel, subject_id, version, status, next_attempt_at, delivered_at,
              created_at)
            SELECT id, 'webhook', subject_id, 1, CASE WHEN n % 500 = 0 THEN 'pending' ELSE 'delivered' END,
              CASE WHEN n % 500 = 0 THEN now() END, CASE WHEN n % 500 <> 0 THEN now() END, now()
            FROM (SELECT id, subject_id, row_number() OVER () n FROM events) numbered"""
        )
    )
    db.execute(
        sa.text(
            """
            INSERT INTO attempts (invoice_id, number, call, claim, started_at, finished_at, outcome)
            SELECT id, 1, 'stamp', 1, now(), CASE WHEN status <> 'stamping' THEN now() END,
              CASE WHEN status <> 'stamping' THEN 'done' END FROM invoices"""
        )
    )


def plan_of(db: sa.Connection, statement: Any, times: int) -> list[tuple[str, str, str]]:
    """Return (node, table, index) of each node of the plan that a statement has after it ran so many times."""
    compiled = statement.compile(dialect=db.dialect, compile_kwargs={"render_postcompile": True})
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    text = re.sub(r"%\((\w+)\)s", number, str(compiled)).replace("%%", "%")
    values = compiled.construct_params()
    literals = sql.SQL(", ").join(sql.Literal(values[name]) for name in names)
    raw: Any = db.connection.driver_connection
    raw.execute(sql.SQL("PREPARE looked_at AS ") + sql.SQL(text))
    execute = sql.SQL("EXECUTE looked_at") + (sql.SQL("({})").format(literals) if names else sql.SQL(""))
    for _ in range(times):
        raw.execute(execute)
    ((plan,),) = raw.execute(sql.SQL("EXPLAIN (FORMAT JSON) ") + execute).fetchall()
    raw.execute("DEALLOCATE looked_at")
    return list(nodes(plan[0]["Plan"]))


def nodes(plan: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield plan["Node Type"], plan.get("Relation Name", ""), plan.get("Index Name", "")
    for below in plan.get("Plans", []):
        yield from nodes(below)


NOW = datetime.now(UTC) + timedelta(seconds=5)


def look(tools: Tools) -> sweep.Look:
    return sweep.Look(tools, NOW, sweep.EMPTY)


QUERIES: dict[str, tuple[Callable[[Tools], Any], str]] = {
    "ringing": (lambda tools: look(tools).mark("stamp", sweep.these([uuid.uuid4()])), "pk_invoices"),
    "claims that ran out": (lambda tools: expired_claims.expired(tools, NOW), "ix_invoices_claims"),
    "attempts of such a claim": (
        lambda _: attempts.begun(uuid.uuid4(), 1),
        "uq_attempts_invoice_id_number",
    ),
    "due to be stamped": (lambda tools: sweep.due_to_stamp(look(tools), 200), "ix_invoices_due"),
    "places taken": (lambda tools: sweep.due_to_stamp(look(tools), 200), "ix_invoices_in_flight"),
    "little time left": (lambda tools: sweep.urgent(look(tools)), "ix_invoices_"),
    "look-ups": (
        lambda tools: look(tools).mark("stamp", sweep.look_ups(NOW)),
        "ix_invoices_look_ups",
    ),
    "missing PDFs": (
        lambda tools: look(tools).mark("stamp.bulk", sweep.lacking_documents(NOW)),
        "ix_invoices_pdf_due",
    ),
    "unsent mail": (
        lambda tools: look(tools).mark("stamp.bulk", sweep.unsent_mail(NOW)),
        "ix_invoices_mail_due",
    ),
    "reminders": (lambda tools: look(tools).mark("upkeep", sweep.reminders(NOW)), "ix_invoices_reminder"),
    "connections to probe": (lambda _: sweep.probes(NOW), ""),
    "out of step": (lambda _: sweep.out_of_step(), "ix_invoices_"),
    "the inbox": (lambda _: sweep.waiting_inbox(), "ix_timbrado_inbox_waiting"),
}


@pytest.mark.parametrize("times", [0, 8], ids=["the first time", "the ninth time"])
@pytest.mark.parametrize("what", QUERIES)
def test_each_query_of_the_sweep_goes_by_its_index(crowded: Harness, what: str, times: int) -> None:
    """Also in a process that has prepared it, where PostgreSQL may keep one plan for all values: none reads a large
    table from end to end."""
    build, index = QUERIES[what]

    with crowded.tools.engine.connect() as db:
        plan = plan_of(db, build(crowded.tools), times)
        db.rollback()

    assert {read for node, read, _ in plan if node == "Seq Scan"} <= {"connections"}, plan
    assert any(used.startswith(index) for _, _, used in plan), plan
