"""The sweep finds all that is due, ends the claims that ran out, and does no harm when two run at once."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from models.vocabulary import Call, InvoiceStatus
from stamping import attempts, claims, reminders
from stamping.followups import duties
from stamping.outcome import InDoubt, Stamped
from tests.support.harness import Corridor, open_corridor, sweep

AT_ONCE = 6
KINDS = ("stamp", "stamp_bulk", "look_up", "cancel", "documents", "mail", "notices")


@pytest.fixture
def corridor(database_url: str, sandbox: Any) -> Iterator[Corridor]:
    with open_corridor(database_url, sandbox) as opened:
        yield opened


def sweeps_at_once(corridor: Corridor) -> list[sweep.Due]:
    """Run several sweeps that all begin in the same moment."""
    ready = threading.Barrier(AT_ONCE)

    def one(_: int) -> sweep.Due:
        ready.wait(10)
        return sweep.sweep(corridor.tools)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, range(AT_ONCE)))


def test_sweeps_at_once_ring_once_for_each(corridor: Corridor) -> None:
    """Whatever is due is rung for by one of them: invoices, doubts, missing PDFs, mail, notices."""
    corridor.sandbox.play("pdf_late", account=corridor.account, seconds=10_000)
    late = corridor.stamped("LATE-PDF")
    mailed = corridor.submit("MAIL", send_to=["cliente@ejemplo.mx"])
    assert isinstance(corridor.stamp(mailed), Stamped)
    corridor.sandbox.play("drop_after", account=corridor.account, call="stamp", times=3)
    doubts = [corridor.submit(f"D-{number}") for number in range(3)]
    assert all(isinstance(corridor.stamp(each), InDoubt) for each in doubts)
    waiting = [corridor.submit(f"W-{number}") for number in range(9)]
    corridor.later(minutes=30)

    first = rung(sweeps_at_once(corridor))
    for invoice_id in first["notices"]:
        reminders.notice(invoice_id, corridor.tools)
    assert duties.send_mail(mailed, corridor.tools)
    second = rung(sweeps_at_once(corridor))

    assert set(first["notices"]) == {*waiting, *doubts}
    assert (set(first["mail"]), set(first["documents"])) == ({mailed}, {late})
    assert set(second["look_up"]) == set(doubts)
    assert set(second["documents"]) == {mailed}
    assert len(second["stamp"] | second["stamp_bulk"]) == corridor.tools.policy.in_flight
    assert {times for each in (first, second) for counted in each.values() for times in counted.values()} == {
        1
    }


def rung(found: list[sweep.Due]) -> dict[str, Counter[UUID]]:
    """How often each was rung for, by kind."""
    return {kind: Counter(each for due in found for each in getattr(due, kind)) for kind in KINDS}


def test_an_invoice_that_is_always_due_is_still_told_of(corridor: Corridor) -> None:
    """While nothing can be sent it is due all the time, and rung for in vain; its notices have their turn."""
    invoice_id = corridor.submit()
    rounds = []
    for _ in range(30):
        corridor.later(seconds=21)  # each time long enough to be rung for again
        rounds.append(sweep.sweep(corridor.tools))

    assert any(due.stamp == [invoice_id] for due in rounds[:5])
    assert any(due.notices == [invoice_id] for due in rounds)


def test_sweeps_at_once_end_a_claim_once(corridor: Corridor) -> None:
    """One of them moves it, tells of it, and counts it."""
    ids = [corridor.submit(f"C-{number}") for number in range(4)]
    for invoice_id in ids:
        attempts.begin(corridor.claim(invoice_id), Call.STAMP, corridor.tools, record_id=7)
    before = [corridor.row(invoice_id).claim for invoice_id in ids]
    corridor.later(seconds=corridor.tools.policy.lease.total_seconds() + 1)

    found = sweeps_at_once(corridor)

    assert sum(due.rescued for due in found) == 4
    assert [corridor.row(invoice_id).claim for invoice_id in ids] == [claim + 1 for claim in before]
    assert corridor.told().count("invoice.in_doubt") == 4


def test_what_was_rung_for_is_rung_for_again_when_nobody_came(corridor: Corridor) -> None:
    """A lost bell costs twenty seconds; one that was heard costs nothing more."""
    lost, heard = corridor.submit("LOST"), corridor.submit("HEARD")
    first = sweep.sweep(corridor.tools).stamp
    corridor.stamp(heard)
    at_once = sweep.sweep(corridor.tools).stamp
    corridor.later(seconds=corridor.tools.policy.rings_again.total_seconds() + 1)

    again = sweep.sweep(corridor.tools).stamp

    assert (set(first), at_once, again) == ({lost, heard}, [], [lost])


BEGUN: dict[str, tuple[Call | None, str, str | None]] = {
    "nothing was begun": (None, "waiting", None),
    "a save was begun": (Call.SAVE, "in_doubt", "save"),
    "a stamp was begun": (Call.STAMP, "in_doubt", "stamp"),
}


@pytest.mark.parametrize("begun", BEGUN)
def test_a_claim_that_ran_out_ends_by_what_was_begun(corridor: Corridor, begun: str) -> None:
    """Only what may have left this machine is a doubt; the rest goes back to wait, due at once."""
    call, status, doubt = BEGUN[begun]
    invoice_id = corridor.submit()
    claimed = corridor.claim(invoice_id)
    if call is not None:
        attempts.begin(claimed, call, corridor.tools, record_id=7)
    assert sweep.sweep(corridor.tools).rescued == 0
    corridor.later(seconds=corridor.tools.policy.lease.total_seconds() + 1)

    rescued = sweep.sweep(corridor.tools).rescued

    row = corridor.row(invoice_id)
    assert (rescued, row.status, row.doubt) == (1, status, doubt)
    assert row.claim == claimed.claim + 1
    assert (row.claimed_until, row.claimed_by) == (None, None)
    assert row.next_attempt_at - corridor.tools.clock.now() < timedelta(seconds=5)
    assert corridor.attempts(invoice_id) == ([] if call is None else [(call, "lost")])


def test_a_look_up_that_never_ended_is_looked_up_again(corridor: Corridor) -> None:
    """The doubt stays as it is, with its beginning and its count; the call is told as lost, not as under way."""
    invoice_id = corridor.submit()
    corridor.sandbox.play("drop_after", account=corridor.account, call="stamp", times=1)
    corridor.stamp(invoice_id)
    doubt = corridor.row(invoice_id)
    corridor.later(seconds=10)
    held = claims.take_to_look(invoice_id, InvoiceStatus.IN_DOUBT, corridor.tools)
    assert isinstance(held, claims.Claimed)
    attempts.begin(held, Call.LOOK_UP, corridor.tools, record_id=doubt.record_id)
    corridor.later(seconds=corridor.tools.policy.lease.total_seconds() + 1)

    due = sweep.sweep(corridor.tools)

    row = corridor.row(invoice_id)
    assert due.rescued == 1
    assert due.look_up == [invoice_id]
    assert (row.status, row.doubt_since, row.looks) == ("in_doubt", doubt.doubt_since, doubt.looks)
    assert corridor.attempts(invoice_id)[-1] == ("look_up", "lost")
    corridor.look(invoice_id)
    assert corridor.row(invoice_id).status == "stamped"


def test_a_sweep_does_not_wait_for_a_row_in_other_hands(corridor: Corridor) -> None:
    """SKIP LOCKED: one slow transaction on one invoice holds nobody else's bell up."""
    ids: list[UUID] = [corridor.submit(f"L-{number}") for number in range(3)]

    with corridor.tools.engine.begin() as db:
        db.execute(sa.text("SELECT 1 FROM invoices WHERE id = :id FOR UPDATE"), {"id": ids[0]})
        found = sweep.sweep(corridor.tools)
    later = sweep.sweep(corridor.tools)

    assert set(found.stamp) == set(ids[1:])
    assert later.stamp == ids[:1]
