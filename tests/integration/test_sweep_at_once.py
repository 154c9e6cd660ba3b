"""The sweep finds all that is due, ends the claims that ran out, and does no harm when two run at once."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from models.vocabulary import Call, InvoiceStatus
from stamping import attempts, claims, deadlines
from stamping.followups import mail
from stamping.outcome import InDoubt, Stamped
from tests.support.harness import Harness, sweep

AT_ONCE = 6
KINDS = ("stamp", "stamp_bulk", "look_up", "cancel", "documents", "mail", "reminders")


def sweeps_at_once(harness: Harness) -> list[sweep.Due]:
    """Run several sweeps that all begin in the same moment."""
    ready = threading.Barrier(AT_ONCE)

    def one(_: int) -> sweep.Due:
        ready.wait(10)
        return sweep.sweep(harness.tools)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, range(AT_ONCE)))


def test_sweeps_at_once_enqueue_each_once(harness: Harness) -> None:
    """Whatever is due is enqueued by one of them: invoices, doubts, missing PDFs, mail, reminders."""
    harness.sandbox.play("pdf_late", account=harness.account, seconds=10_000)
    late = harness.stamped("LATE-PDF")
    mailed = harness.submit("MAIL", send_to=["cliente@ejemplo.mx"])
    assert isinstance(harness.stamp(mailed), Stamped)
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=3)
    doubts = [harness.submit(f"D-{number}") for number in range(3)]
    assert all(isinstance(harness.stamp(each), InDoubt) for each in doubts)
    waiting = [harness.submit(f"W-{number}") for number in range(9)]
    harness.later(minutes=30)

    first = enqueued(sweeps_at_once(harness))
    for invoice_id in first["reminders"]:
        deadlines.remind(invoice_id, harness.tools)
    assert mail.send_mail(mailed, harness.tools)
    second = enqueued(sweeps_at_once(harness))

    assert set(first["reminders"]) == {*waiting, *doubts}
    assert (set(first["mail"]), set(first["documents"])) == ({mailed}, {late})
    assert set(second["look_up"]) == set(doubts)
    assert set(second["documents"]) == {mailed}
    assert len(second["stamp"] | second["stamp_bulk"]) == harness.tools.policy.in_flight
    assert {times for each in (first, second) for counted in each.values() for times in counted.values()} == {
        1
    }


def enqueued(found: list[sweep.Due]) -> dict[str, Counter[UUID]]:
    """How often each was enqueued, by kind."""
    return {kind: Counter(each for due in found for each in getattr(due, kind)) for kind in KINDS}


def test_an_invoice_that_is_always_due_is_still_reported(harness: Harness) -> None:
    """While nothing can be sent it is due all the time, and enqueued in vain; its reminders have their turn."""
    invoice_id = harness.submit()
    rounds = []
    for _ in range(30):
        harness.later(seconds=21)  # each time long enough to be enqueued again
        rounds.append(sweep.sweep(harness.tools))

    assert any(due.stamp == [invoice_id] for due in rounds[:5])
    assert any(due.reminders == [invoice_id] for due in rounds)


def test_sweeps_at_once_end_a_claim_once(harness: Harness) -> None:
    """One of them moves it, emits that, and counts it."""
    harness.stamped("CONTROL")  # an account that never stamped has fewer places
    ids = [harness.submit(f"C-{number}") for number in range(4)]
    for invoice_id in ids:
        begin(harness, harness.claim(invoice_id), Call.STAMP, record_id=7)
    before = [harness.row(invoice_id).claim for invoice_id in ids]
    harness.later(seconds=harness.tools.policy.lease.total_seconds() + 1)

    found = sweeps_at_once(harness)

    assert sum(due.rescued for due in found) == 4
    assert [harness.row(invoice_id).claim for invoice_id in ids] == [claim + 1 for claim in before]
    assert harness.event_types().count("invoice.in_doubt") == 4


def test_what_was_enqueued_is_enqueued_again_when_nobody_came(harness: Harness) -> None:
    """A lost message costs twenty seconds; one that arrived costs nothing more."""
    lost, taken = harness.submit("LOST"), harness.submit("HEARD")
    first = sweep.sweep(harness.tools).stamp
    harness.stamp(taken)
    at_once = sweep.sweep(harness.tools).stamp
    harness.later(seconds=harness.tools.policy.requeue_after.total_seconds() + 1)

    again = sweep.sweep(harness.tools).stamp

    assert (set(first), at_once, again) == ({lost, taken}, [], [lost])


def begin(harness: Harness, claimed: claims.Claimed, call: Call, *, record_id: int | None) -> None:
    """Commit that a call begins, as a worker that then dies."""
    attempts.Attempt(claimed, harness.tools)._begin(call, record_id, None)


BEGUN: dict[str, tuple[Call | None, str, str | None]] = {
    "nothing was begun": (None, "waiting", None),
    "a save was begun": (Call.SAVE, "in_doubt", "save"),
    "a stamp was begun": (Call.STAMP, "in_doubt", "stamp"),
}


@pytest.mark.parametrize("begun", BEGUN)
def test_a_claim_that_ran_out_ends_by_what_was_begun(harness: Harness, begun: str) -> None:
    """Only what may have left this machine is a doubt; the rest goes back to wait, due at once."""
    call, status, doubt = BEGUN[begun]
    invoice_id = harness.submit()
    claimed = harness.claim(invoice_id)
    if call is not None:
        begin(harness, claimed, call, record_id=7)
    assert sweep.sweep(harness.tools).rescued == 0
    harness.later(seconds=harness.tools.policy.lease.total_seconds() + 1)

    rescued = sweep.sweep(harness.tools).rescued

    row = harness.row(invoice_id)
    assert (rescued, row.status, row.doubt) == (1, status, doubt)
    assert row.claim == claimed.claim + 1
    assert (row.claimed_until, row.claimed_by) == (None, None)
    assert row.next_attempt_at - harness.tools.clock.now() < timedelta(seconds=5)
    assert harness.attempts(invoice_id) == ([] if call is None else [(call, "lost")])


def test_a_look_up_that_never_ended_is_looked_up_again(harness: Harness) -> None:
    """The doubt stays as it is, with its beginning and its count; the call is recorded as lost, not as under way."""
    invoice_id = harness.submit()
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
    harness.stamp(invoice_id)
    doubt = harness.row(invoice_id)
    harness.later(seconds=10)
    lookup = claims.claim_lookup(invoice_id, InvoiceStatus.IN_DOUBT, harness.tools)
    assert isinstance(lookup, claims.Claimed)
    begin(harness, lookup, Call.LOOK_UP, record_id=doubt.record_id)
    harness.later(seconds=harness.tools.policy.lease.total_seconds() + 1)

    due = sweep.sweep(harness.tools)

    row = harness.row(invoice_id)
    assert due.rescued == 1
    assert due.look_up == [invoice_id]
    assert (row.status, row.doubt_since, row.lookups) == ("in_doubt", doubt.doubt_since, doubt.lookups)
    assert harness.attempts(invoice_id)[-1] == ("look_up", "lost")
    harness.look(invoice_id)
    assert harness.row(invoice_id).status == "stamped"


def test_a_sweep_does_not_wait_for_a_row_in_other_hands(harness: Harness) -> None:
    """SKIP LOCKED: one slow transaction on one invoice holds no other message up."""
    ids: list[UUID] = [harness.submit(f"L-{number}") for number in range(3)]

    with harness.tools.engine.begin() as db:
        db.execute(sa.text("SELECT 1 FROM invoices WHERE id = :id FOR UPDATE"), {"id": ids[0]})
        found = sweep.sweep(harness.tools)
    later = sweep.sweep(harness.tools)

    assert set(found.stamp) == set(ids[1:])
    assert later.stamp == ids[:1]
