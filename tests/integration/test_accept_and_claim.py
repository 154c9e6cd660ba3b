"""Taken in and claimed in one commit: what came in a moment ago is stamped at once, and the account's limit holds."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from models.chain import CurrentState, HistoryEntry, breaks
from stamping import pipeline
from stamping.intake import submit
from stamping.intake.submit import Accepted, Settled
from stamping.outcome import Stamped
from tests.support.builders import a_concepto, an_invoice
from tests.support.harness import Harness, open_harness, sweep


@pytest.fixture
def harness(database_url: str, sandbox: Any) -> Iterator[Harness]:
    with open_harness(database_url, sandbox) as opened:
        yield opened


def come_in(harness: Harness, external_id: str = "OP-1", **changes: Any) -> Accepted | Settled:
    invoice = an_invoice(account=harness.account, external_id=external_id, **{"fecha": None, **changes})
    return submit.submit(invoice, harness.tools, claim=True)


def test_what_comes_in_is_claimed_in_the_same_commit(harness: Harness) -> None:
    """Its event says accepted, its history has both moves, and whoever took it in goes on with it."""
    taken = come_in(harness)

    assert isinstance(taken, Accepted)
    assert taken.claimed is not None
    row = harness.row(taken.invoice_id)
    assert (row.status, row.claim, row.version) == ("stamping", 1, 1)
    assert (harness.event_types()[-1], taken.enqueue) == ("invoice.accepted", False)
    (event,) = harness.all("SELECT data FROM events WHERE subject_id = :id", id=row.id)
    assert event.data["status"] == "accepted"
    assert isinstance(pipeline.stamp_claimed(taken.claimed, harness.tools), Stamped)

    stamped = harness.row(row.id)
    moves = [
        HistoryEntry(**each._mapping)
        for each in harness.all("SELECT * FROM history WHERE invoice_id = :id ORDER BY id", id=row.id)
    ]
    assert [(each.from_status, each.to_status) for each in moves] == [
        (None, "accepted"),
        ("accepted", "stamping"),
        ("stamping", "stamped"),
    ]
    as_it_is = CurrentState(stamped.status, stamped.reason, stamped.uuid, stamped.content_hash)
    assert breaks(row.id, as_it_is, moves) == []


def test_the_limit_of_an_account_is_exact_however_many_come_in_at_once(harness: Harness) -> None:
    """What is over it waits in the table, as accepted."""
    most, ready = 12, threading.Barrier(12)

    def one(number: int) -> Accepted | Settled:
        ready.wait(10)
        return come_in(harness, f"C-{number}")

    with ThreadPoolExecutor(most) as pool:
        taken = list(pool.map(one, range(most)))

    claimed = [each for each in taken if isinstance(each, Accepted) and each.claimed is not None]
    rows = harness.all("SELECT status FROM invoices")
    limit = harness.tools.policy.in_flight
    assert len(claimed) <= limit
    assert Counter(row.status for row in rows) == {
        "stamping": len(claimed),
        "accepted": most - len(claimed),
    }


def test_nothing_new_goes_before_what_waits(harness: Harness) -> None:
    """An invoice of the account that is due already is served first, by the table."""
    harness.submit("BEFORE")

    taken = come_in(harness)

    assert isinstance(taken, Accepted)
    assert (taken.claimed, harness.row(taken.invoice_id).status) == (None, "accepted")


@pytest.mark.parametrize("why", ["paused", "throttled_until", "disconnected", "rejected"])
def test_what_may_not_be_sent_is_not_claimed(harness: Harness, why: str) -> None:
    """An operator's pause, a 429, no connection, or data that is wrong: stored as always."""
    change = {
        "paused": "paused = true",
        "throttled_until": "throttled_until = now() + interval '1 hour'",
        "disconnected": "status = 'broken', reason = 'unreachable'",
        "rejected": "updated_at = updated_at",
    }[why]
    with harness.tools.engine.begin() as db:
        db.exec_driver_sql(f"UPDATE connections SET {change}")  # one of the four above

    wrong = {"conceptos": [a_concepto(clave_unidad="XXXX")]} if why == "rejected" else {}
    taken = come_in(harness, **wrong)

    assert not isinstance(taken, Accepted) or taken.claimed is None
    assert harness.all("SELECT 1 FROM invoices WHERE status = 'stamping'") == []


def test_a_worker_that_ends_right_after_the_commit_loses_nothing(harness: Harness) -> None:
    """The claim runs out, the sweep brings it back, and it is stamped once; the message that comes again changes
    nothing."""
    taken = come_in(harness)
    assert taken.invoice_id is not None
    assert isinstance(come_in(harness), Settled)
    harness.later(seconds=harness.tools.policy.lease.total_seconds() + 1)

    assert sweep.sweep(harness.tools).rescued == 1
    harness.stamp(taken.invoice_id)

    assert harness.row(taken.invoice_id).status == "stamped"
    assert (harness.stamps(), harness.duplicates()) == (1, 0)
