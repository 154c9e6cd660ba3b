"""The inbox: what clients wrote in their own transactions is taken in, whatever else lies there."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from stamping.intake import inbox, submit
from tests.support.builders import an_invoice
from tests.support.harness import Harness, sweep

INSERT = "INSERT INTO timbrado_inbox (id, kind, payload) VALUES (gen_random_uuid(), :kind, CAST(:payload AS jsonb))"


def write(harness: Harness, kind: str, payload: Any) -> None:
    """What `submit_in` and its like write; any language can."""
    harness.all(
        f"{INSERT} RETURNING id",
        kind=kind,
        payload=json.dumps(payload),
    )


def alter(harness: Harness, how: str) -> None:
    with harness.tools.engine.begin() as db:
        db.execute(sa.text(f"ALTER TABLE {how}"))


def invoice_of(harness: Harness, external_id: str, **changes: Any) -> dict[str, Any]:
    return an_invoice(account=harness.account, external_id=external_id, fecha=None, **changes)


def left(harness: Harness) -> int:
    return len(harness.all("SELECT 1 FROM timbrado_inbox WHERE taken_at IS NULL"))


def test_submissions_cancellations_and_retries_are_taken_in(harness: Harness) -> None:
    """In the order in which they were written; what becomes of them is reported as if a message had brought them."""
    stamped = harness.stamped("STAMPED")
    write(harness, "submit", invoice_of(harness, "NEW"))
    write(harness, "cancel", {"account": harness.account, "external_id": "STAMPED", "motivo": "02"})
    write(harness, "retry", {"account": harness.account, "external_id": "NEW"})

    taken = list(inbox.take(harness.tools))

    assert [type(each).__name__ for each in taken] == ["Accepted", "Settled", "Settled"]
    assert harness.row(stamped).status == "cancelling"
    assert stamped in sweep.sweep(harness.tools).cancel
    assert left(harness) == 0
    assert list(inbox.take(harness.tools)) == []


def test_rows_of_one_transaction_are_taken_in_the_order_in_which_they_were_written(harness: Harness) -> None:
    """An invoice, its correction and that it is taken back: it ends taken back, however many were written with it."""
    names = [f"IN-{each}" for each in range(8)]
    with harness.tools.engine.begin() as db:
        for external_id in names:
            sent = [("submit", invoice_of(harness, external_id, total="1.00"))]
            sent += [("submit", invoice_of(harness, external_id))]
            sent += [("withdraw", {"account": harness.account, "external_id": external_id})]
            for kind, payload in sent:
                values = {"kind": kind, "payload": json.dumps(payload)}
                db.execute(sa.text(INSERT), values)

    assert len({row.created_at for row in harness.all("SELECT created_at FROM timbrado_inbox")}) == 3 * len(
        names
    )
    assert len(list(inbox.take(harness.tools))) == 3 * len(names)
    assert {row.status for row in harness.all("SELECT status FROM invoices")} == {"withdrawn"}
    assert "request.refused" not in harness.event_types()


def test_two_workers_take_the_rows_of_one_invoice_in_their_order(harness: Harness) -> None:
    """While one worker is at a row, no other takes a later row of the same invoice; others it does take."""
    for external_id in ("IN-1", "IN-2"):
        write(harness, "submit", invoice_of(harness, external_id))
        write(harness, "withdraw", {"account": harness.account, "external_id": external_id})
    first = "SELECT id FROM timbrado_inbox ORDER BY created_at LIMIT 1 FOR UPDATE"
    with harness.tools.engine.begin() as busy:
        busy.execute(sa.text(first))

        assert len(list(inbox.take(harness.another_worker().tools))) == 2

    assert [row.external_id for row in harness.all("SELECT external_id FROM invoices")] == ["IN-2"]
    assert len(list(inbox.take(harness.tools))) == 2
    assert {row.status for row in harness.all("SELECT status FROM invoices")} == {"withdrawn"}


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("submit", "no object"),
        ("submit", [1, 2]),
        ("submit", {"account": "\\u0000", "external_id": None}),
        ("cancel", "no object"),
        ("cancel", {"account": {"x": 1}, "external_id": ["y"], "motivo": {"z": 1}}),
        ("cancel", {"account": 7}),
        ("retry", None),
    ],
    ids=["a text", "a list", "no names", "a text to cancel", "objects for names", "a number", "null"],
)
def test_a_row_that_says_nothing_holds_up_no_other(harness: Harness, kind: str, payload: Any) -> None:
    """It is reported or becomes a dead letter, marked as taken, and what lies behind it comes in."""
    write(harness, kind, payload)
    write(harness, "submit", invoice_of(harness, "BEHIND"))

    taken = list(inbox.take(harness.tools))

    assert isinstance(taken[-1], submit.Accepted)
    assert left(harness) == 0
    assert [row.type for row in harness.all("SELECT type FROM events WHERE subject_kind = 'message'")] == [
        "request.refused"
    ]


def test_a_row_that_the_tables_refuse_holds_up_no_other(harness: Harness) -> None:
    """A bug of ours keeps the row aside, where an operator finds it."""
    alter(harness, "invoices ADD CONSTRAINT no_crash CHECK (external_id <> 'CRASH')")
    write(harness, "submit", invoice_of(harness, "CRASH"))
    write(harness, "submit", invoice_of(harness, "BEHIND"))

    taken = list(inbox.take(harness.tools))

    assert [type(each).__name__ for each in taken] == ["Settled", "Accepted"]
    (kept,) = harness.all("SELECT message, errors FROM dead_letters")
    assert kept.message["external_id"] == "CRASH"
    assert kept.errors[0]["code"] == "timbrado.error_interno"
    assert left(harness) == 0


def test_while_our_tables_are_away_nothing_is_taken_and_nothing_lost(harness: Harness) -> None:
    """The rows stay where they are, in the caller's own database, until we can keep them."""
    write(harness, "submit", invoice_of(harness, "LATER"))
    alter(harness, "invoices RENAME TO elsewhere")
    with pytest.raises(sa.exc.ProgrammingError):
        list(inbox.take(harness.tools))
    alter(harness, "elsewhere RENAME TO invoices")

    assert left(harness) == 1
    assert [type(each).__name__ for each in inbox.take(harness.tools)] == ["Accepted"]


def test_an_inbox_in_the_callers_own_database_is_read_there(
    harness: Harness, make_database: Callable[[], str]
) -> None:
    """TIMBRADO_INBOX_URL: rows lie in one database, invoices in another; two workers do not take the same row."""
    theirs = sa.create_engine(make_database())
    elsewhere = replace(harness, tools=replace(harness.tools, inbox=theirs))
    with theirs.begin() as db:
        for number in range(30):
            db.execute(
                sa.text(
                    "INSERT INTO timbrado_inbox (id, payload) VALUES (gen_random_uuid(), CAST(:payload AS jsonb))"
                ),
                {"payload": json.dumps(invoice_of(harness, f"OP-{number}"))},
            )

    with ThreadPoolExecutor(3) as pool:
        taken = [
            each
            for found in pool.map(lambda _: list(inbox.take(elsewhere.tools)), range(3))
            for each in found
        ]

    assert len(taken) == 30
    assert all(isinstance(each, submit.Accepted) for each in taken)
    assert len(harness.all("SELECT 1 FROM invoices WHERE account = :a", a=harness.account)) == 30
    assert left(harness) == 0
    theirs.dispose()
