"""Taken in and claimed in one commit: what came in a moment ago is stamped at once, and the account's limit holds."""

import select
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from models.chain import CurrentState, HistoryEntry, breaks
from stamping import pipeline
from stamping.intake import submit
from stamping.intake.seen_messages import Message
from stamping.intake.submit import Accepted, Settled
from stamping.outcome import Later, Stamped
from tests.support.builders import a_concepto, an_invoice
from tests.support.harness import Harness, sweep
from worker.database import open_engine


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


def test_a_save_that_needs_nothing_asked_is_begun_in_the_commit_that_takes_it_in(harness: Harness) -> None:
    """Its attempt and its date are there before the save leaves, and no other commit is made for them."""
    harness.stamped("OP-0")  # teaches customer, product and lists

    taken = come_in(harness)

    assert isinstance(taken, Accepted)
    assert taken.claimed is not None
    assert taken.prepared is not None
    row = harness.row(taken.invoice_id)
    assert (row.status, row.claim, row.calls) == ("stamping", 1, 1)
    assert row.fecha is not None
    assert row.expires_at is not None
    assert harness.attempts(row.id) == [("save", None)]
    assert isinstance(pipeline.stamp_claimed(taken.claimed, harness.tools, taken.prepared), Stamped)
    assert harness.attempts(row.id) == [("save", "done"), ("stamp", "done")]


def test_a_worker_that_ends_with_a_save_begun_leaves_a_doubt(harness: Harness) -> None:
    """The save may have left: it is looked up before anything is sent again, and stamped once."""
    harness.stamped("OP-0")
    taken = come_in(harness)
    assert taken.invoice_id is not None
    harness.later(seconds=harness.tools.policy.lease.total_seconds() + 1)

    assert sweep.sweep(harness.tools).rescued == 1

    row = harness.row(taken.invoice_id)
    assert (row.status, row.doubt) == ("in_doubt", "save")
    assert harness.attempts(taken.invoice_id) == [("save", "lost")]


def test_a_save_that_was_begun_long_ago_does_not_leave(harness: Harness) -> None:
    """A process may stand still after its commit: by then the claim may be another's."""
    harness.stamped("OP-0")
    taken = come_in(harness)
    assert isinstance(taken, Accepted)
    assert taken.claimed is not None
    harness.later(seconds=harness.tools.policy.lease.total_seconds() / 2 + 1)

    outcome = pipeline.stamp_claimed(taken.claimed, harness.tools, taken.prepared)

    assert isinstance(outcome, Later)
    assert harness.attempts(taken.claimed.id) == [("save", "not_sent")]
    assert harness.stamps() == 1


def test_what_comes_in_behind_others_waits_for_no_lock(harness: Harness) -> None:
    """An account's others go first: it is taken in while somebody holds the account's row, and claims nothing."""
    harness.stamped("OP-0")
    harness.submit("OP-1")
    with harness.tools.engine.begin() as other:
        other.execute(sa.text("SELECT FROM connections FOR NO KEY UPDATE"))

        taken = come_in(harness, "OP-2")

    assert isinstance(taken, Accepted)
    assert taken.claimed is None
    assert harness.row(taken.invoice_id).status == "accepted"


class AnswerLost:
    """Carries bytes between a worker and PostgreSQL; once armed it cuts the connection over which the server answers
    with `lost`, so that the worker does not get this answer."""

    def __init__(self, database: sa.URL) -> None:
        self.lost: bytes | None = None
        self._far = str(Path(str(database.query["host"])) / ".s.PGSQL.5432")
        self._near = socket.create_server(("127.0.0.1", 0))
        self.url = database.set(host="127.0.0.1", port=self._near.getsockname()[1], query={})
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._near.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._carry, args=(self._near.accept()[0],), daemon=True).start()

    def _carry(self, worker: socket.socket) -> None:
        with worker, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(self._far)
            while True:
                for ready in select.select([worker, server], [], [])[0]:
                    carried = ready.recv(65536)
                    if ready is server and self.lost is not None and self.lost in carried:
                        self.lost = None
                        return
                    if not carried:
                        return
                    (server if ready is worker else worker).sendall(carried)


def test_a_commit_whose_answer_is_lost_begins_a_doubt_and_sends_nothing_twice(
    harness: Harness, database_url: str
) -> None:
    """Accepted, claimed and its save begun in PostgreSQL, and the worker does not know: its message comes again."""
    relay = AnswerLost(sa.make_url(database_url))
    engine = open_engine(relay.url.render_as_string(hide_password=False))
    worker = harness.another_worker(engine=engine)
    worker.stamped("OP-0")  # teaches customer, product and lists
    invoice = an_invoice(account=harness.account, external_id="OP-1", fecha=None)
    message = Message("one-and-the-same", "stamping.submit_invoice", harness.tools.clock.now())
    relay.lost = b"begun"  # the outcome of the statement that takes it in

    with pytest.raises(sa.exc.OperationalError):
        submit.submit(invoice, worker.tools, message=message, claim=True)
    again = submit.submit(invoice, worker.tools, message=message, claim=True)

    assert isinstance(again, Settled)
    assert again.what == "known"
    (row,) = harness.all("SELECT * FROM invoices WHERE external_id = 'OP-1'")
    assert (row.status, harness.attempts(row.id)) == ("stamping", [("save", None)])
    harness.later(seconds=harness.tools.policy.lease.total_seconds() + 1)
    assert sweep.sweep(harness.tools).rescued == 1
    assert harness.row(row.id).doubt == "save"
    while harness.row(row.id).status != "stamped":
        harness.later(seconds=60)
        harness.go_on()
    assert (harness.stamps(), harness.duplicates()) == (2, 0)
    engine.dispose()
    relay.close()


REMEMBERED_WRONGLY = {
    "another key": "UPDATE connections SET key_fingerprint = 'another', updated_at = clock_timestamp()",
    "another id": "UPDATE provider_refs SET provider_id = provider_id + 1 WHERE kind = 'customer'",
    "other data": "UPDATE provider_refs SET fingerprint = '?' || fingerprint WHERE kind = 'customer'",
    "somebody at it": "UPDATE provider_refs SET claimed_until = now() + interval '1 hour' WHERE kind = 'customer'",
    "forgotten": "UPDATE provider_refs SET provider_id = NULL WHERE kind = 'product'",
}


@pytest.mark.parametrize("change", REMEMBERED_WRONGLY)
def test_what_a_process_remembers_is_not_believed_once_it_has_changed(harness: Harness, change: str) -> None:
    """The commit sees that a customer, a product or the connection is another by now: no save is begun with it."""
    harness.stamped("OP-0")
    begun = come_in(harness, "OP-1")
    assert isinstance(begun, Accepted)
    assert begun.prepared is not None
    with harness.tools.engine.begin() as db:
        db.exec_driver_sql(REMEMBERED_WRONGLY[change])  # one of the five above

    taken = come_in(harness, "OP-2")

    assert isinstance(taken, Accepted)
    assert taken.prepared is None
    assert harness.attempts(taken.invoice_id) == []
    assert harness.row(taken.invoice_id).fecha is None


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
