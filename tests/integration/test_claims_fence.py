"""Claim and fence: one worker wins, under a number that grows, and whoever comes back late writes nothing."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog

from cfdi.faults import Fault
from contadigital.errors import ConnectionRefused, Refused
from models.vocabulary import Call, FailedReason
from stamping import claims, retries, settle
from stamping.attempts import Attempt
from stamping.claims import Claimed, LateError
from stamping.failpoints import Failpoints
from stamping.outcome import Later, NotOurs, Outcome, Stamped
from tests.support.harness import Harness, open_harness, sweep

AT_ONCE = 8


@pytest.fixture
def harness(database_url: str, sandbox: Any) -> Iterator[Harness]:
    with open_harness(database_url, sandbox) as opened:
        opened.stamped("CONTROL")  # teaches what saving does here, and can be looked up
        yield opened


def at_once(work: Callable[[int], Any]) -> list[Any]:
    """Do something in several threads that begin in the same moment."""
    ready = threading.Barrier(AT_ONCE)

    def one(number: int) -> Any:
        ready.wait(10)
        return work(number)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, range(AT_ONCE)))


def test_of_many_who_claim_one_invoice_one_wins(harness: Harness) -> None:
    """The others find nothing to do."""
    invoice_id = harness.submit()

    found = at_once(lambda _: claims.take(invoice_id, harness.tools))

    assert Counter(type(each) for each in found) == {Claimed: 1, claims.Unclaimed: AT_ONCE - 1}
    assert harness.row(invoice_id).claim == 1


def test_an_accounts_cap_is_exact_however_many_claim_at_once(harness: Harness) -> None:
    """What is over it stays where it is, in the table."""
    ids = [harness.submit(f"C-{number}") for number in range(AT_ONCE)]

    at_once(lambda number: claims.take(ids[number], harness.tools))

    status = Counter(harness.row(invoice_id).status for invoice_id in ids)
    assert status == {"stamping": harness.tools.policy.in_flight, "accepted": AT_ONCE - 4}


def test_a_claim_number_only_grows(harness: Harness) -> None:
    """Claimed, ended by the sweep, claimed again: never a number that somebody held before."""
    invoice_id = harness.submit()
    seen = []
    for _ in range(4):
        seen.append(harness.claim(invoice_id).claim)
        harness.later(seconds=harness.tools.policy.lease.total_seconds() + 1)
        sweep.sweep(harness.tools)
        seen.append(harness.row(invoice_id).claim)
        harness.later(minutes=10)

    assert seen == sorted(set(seen))


FAULT = Fault("timbrado.prueba", "total", "x", "y", "timbrado")
REFUSED = retries.decide(ConnectionRefused("key_rejected", "no"))


def of_stay(late: Attempt) -> None:
    with settle.one_commit(late) as (db, now):
        settle.stay(db, late, now, lookups=99)


def of_a_failed_list(late: Attempt) -> None:
    late.fails(Refused("no", call="utiles"))
    settle.later(late)


WRITES: dict[str, Callable[[Attempt], Any]] = {
    "begin a call": lambda late: late.ask(
        Call.STAMP, lambda: None, record_id=7, facts={"fecha": datetime(2020, 1, 1)}
    ),
    "reject": lambda late: settle.rejected(late, [FAULT]),
    "wait": lambda late: settle.later(late, is_throttled=True),
    "wait after a list": of_a_failed_list,
    "doubt": lambda late: settle.in_doubt(late, doubt=Call.STAMP),
    "hold": lambda late: settle.on_hold(late, REFUSED),
    "fail": lambda late: settle.failed(late, FailedReason.NEEDS_PERSON, [FAULT]),
    "end a doubt": lambda late: settle.proven_no(late),
    "stay": of_stay,
}


@pytest.mark.parametrize("status", ["waiting", "stamping"])
def test_a_claim_that_passed_to_another_writes_nothing(harness: Harness, status: str) -> None:
    """Every write names its claim; an older one changes no column, tells no event and breaks no connection."""
    claims_of = {}
    for number, write in enumerate(WRITES):
        claims_of[write] = harness.claim(harness.submit(f"F-{number}"))
        harness.later(seconds=harness.tools.policy.lease.total_seconds() + 1)
        sweep.sweep(harness.tools)
        if status == "stamping" and number % 4 == 0:  # as many as the account has places
            harness.claim(claims_of[write].id)

    for write, claimed in claims_of.items():
        before = everything(harness, claimed)
        with pytest.raises(LateError):
            WRITES[write](Attempt(claimed, harness.tools))
        assert everything(harness, claimed) == before, write
    assert harness.all("SELECT 1 FROM providers WHERE failures > 0") == []


def everything(harness: Harness, claims_of: Claimed) -> tuple[Any, ...]:
    """What a late write could have changed."""
    return (
        harness.row(claims_of.id),
        harness.connection(),
        harness.event_types(),
        harness.attempts(claims_of.id),
    )


# --- a worker that stands still while its lease runs out -----------------------------------------------------------


@dataclass
class Frozen:
    """A worker of its own that stands at one line of the harness until it is woken."""

    folder: Path
    place: str
    worker: Harness
    outcome: list[Outcome]
    thread: threading.Thread

    def wake(self) -> Outcome:
        (self.folder / self.place).unlink()
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self.outcome[0]


@pytest.fixture
def freeze(harness: Harness, tmp_path: Path) -> Callable[[UUID, str], Frozen]:
    def at(invoice_id: UUID, place: str) -> Frozen:
        (tmp_path / place).touch()
        worker = harness.another_worker(failpoints=Failpoints(str(tmp_path)))
        outcome: list[Outcome] = []
        thread = threading.Thread(target=lambda: outcome.append(worker.stamp(invoice_id)), daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not list(tmp_path.glob(f"{place}.*")):
            assert time.monotonic() < deadline, f"nobody came by {place}"
            time.sleep(0.01)
        return Frozen(tmp_path, place, worker, outcome, thread)

    return at


def take_over(harness: Harness, invoice_id: UUID) -> None:
    """What the other workers do once the lease is over: sweep, look up, stamp, until it is stamped."""
    harness.later(seconds=harness.tools.policy.lease.total_seconds() + 1)
    assert sweep.sweep(harness.tools).rescued == 1
    for _ in range(40):
        match harness.row(invoice_id).status:
            case "stamped":
                return
            case "in_doubt":
                harness.look(invoice_id)
            case _:
                harness.stamp(invoice_id)
    raise AssertionError(harness.row(invoice_id).status)


# What a doubt had already ended in (proven_no) stays: the late worker then met a record that was stamped.
FROZEN: dict[str, list[tuple[str, str]]] = {
    "after_claim": [("save", "done"), ("stamp", "done")],
    "after_prepare": [("save", "done"), ("stamp", "done")],
    "before_save": [("save", "proven_no"), ("save", "done"), ("stamp", "done")],
    "after_save": [("save", "proven_no"), ("save", "done"), ("stamp", "done")],
    "before_stamp": [("save", "done"), ("stamp", "proven_no"), ("stamp", "done")],
    "after_stamp": [("save", "done"), ("stamp", "late"), ("look_up", "done")],
    "after_store": [("save", "done"), ("stamp", "late"), ("look_up", "done")],
    "before_settle": [("save", "done"), ("stamp", "late"), ("look_up", "done")],
}


@pytest.mark.parametrize("place", FROZEN)
def test_a_worker_that_wakes_late_is_refused_and_says_so(
    harness: Harness, freeze: Callable[[UUID, str], Frozen], place: str
) -> None:
    """Wherever it stood still: one stamp, its answer written nowhere but on its attempt, and a line in the log."""
    invoice_id = harness.submit()
    frozen = freeze(invoice_id, place)
    take_over(harness, invoice_id)
    before = harness.row(invoice_id), harness.event_types()

    with structlog.testing.capture_logs() as logged:
        outcome = frozen.wake()

    assert isinstance(outcome, NotOurs)
    assert [line["invoice_id"] for line in logged if line["event"] == "late"] == [str(invoice_id)]
    assert (harness.row(invoice_id), harness.event_types()) == before
    assert (harness.stamps(), harness.duplicates()) == (2, 0)
    sends = [each for each in harness.attempts(invoice_id) if each[0] != "look_up" or each[1] == "done"]
    assert sends == FROZEN[place]
    documents = harness.all(
        "SELECT kind FROM documents WHERE invoice_id = :id AND quarantined_reason IS NULL", id=invoice_id
    )
    assert sorted(row.kind for row in documents) == ["pdf", "xml"]


def test_what_a_late_worker_could_not_believe_changes_nothing(
    harness: Harness, freeze: Callable[[UUID, str], Frozen]
) -> None:
    """Its XML was somebody else's; the one who took over looked up the right one, and that stands."""
    harness.sandbox.play("wrong_xml", account=harness.account, call="stamp", times=1, form="total")
    invoice_id = harness.submit()
    frozen = freeze(invoice_id, "after_store")
    take_over(harness, invoice_id)
    before = harness.row(invoice_id)

    assert isinstance(frozen.wake(), NotOurs)

    assert harness.row(invoice_id) == before
    assert harness.event_types().count("invoice.failed") == 0


def test_a_worker_that_is_merely_slow_keeps_its_claim(
    harness: Harness, freeze: Callable[[UUID, str], Frozen]
) -> None:
    """The lease is renewed before each call: preparing and saving do not eat into the time of the stamp. What stood
    still for less than half of it after that may still be sent."""
    invoice_id = harness.submit()
    frozen = freeze(invoice_id, "after_prepare")
    lease = harness.tools.policy.lease
    harness.later(seconds=lease.total_seconds() - 1)
    (frozen.folder / "before_stamp").touch()
    (frozen.folder / "after_prepare").unlink()
    deadline = time.monotonic() + 20
    while not list(frozen.folder.glob("before_stamp.*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    harness.later(seconds=lease.total_seconds() / 2 - 1)

    assert sweep.sweep(harness.tools).rescued == 0
    (frozen.folder / "before_stamp").unlink()
    frozen.thread.join(20)

    assert isinstance(frozen.outcome[0], Stamped)
    assert harness.row(invoice_id).claimed_until is None


def test_a_worker_that_stood_still_for_too_long_sends_nothing(
    harness: Harness, freeze: Callable[[UUID, str], Frozen]
) -> None:
    """Between its commit and the call more than half the lease went by: not a byte leaves, though no sweep came yet."""
    invoice_id = harness.submit()
    frozen = freeze(invoice_id, "before_stamp")
    harness.later(seconds=harness.tools.policy.lease.total_seconds() / 2 + 1)

    assert isinstance(frozen.wake(), Later)

    assert harness.attempts(invoice_id) == [("save", "done"), ("stamp", "not_sent")]
    assert (harness.row(invoice_id).status, harness.stamps()) == ("waiting", 1)


def test_a_frozen_worker_makes_no_second_stamp_where_ids_are_ignored(
    harness: Harness, freeze: Callable[[UUID, str], Frozen]
) -> None:
    """Frozen past lease and quarantine at a provider that stamps each time anew, which nobody has learnt yet."""
    invoice_id = harness.submit()
    frozen = freeze(invoice_id, "before_stamp")
    harness.sandbox.play("ignores_id", account=harness.account, call="stamp")
    take_over(harness, invoice_id)

    assert isinstance(frozen.wake(), NotOurs)

    assert (harness.stamps(), harness.duplicates()) == (2, 0)


def test_a_late_stamp_under_another_uuid_is_stored_and_counted(
    harness: Harness, freeze: Callable[[UUID, str], Frozen]
) -> None:
    """A provider that stamps each time anew, which nobody had learnt: the second stamp is among its documents."""
    harness.sandbox.play("ignores_id", account=harness.account, call="stamp")
    invoice_id = harness.submit()
    frozen = freeze(invoice_id, "after_stamp")
    take_over(harness, invoice_id)

    with structlog.testing.capture_logs() as logged:
        assert isinstance(frozen.wake(), NotOurs)

    row = harness.row(invoice_id)
    (other,) = harness.all(
        "SELECT * FROM documents WHERE invoice_id = :id AND quarantined_reason LIKE 'a second stamp%'",
        id=invoice_id,
    )
    (line,) = [each for each in logged if each["event"] == "second_stamp"]
    assert line["uuid"] != row.uuid
    assert line["uuid"].encode() in harness.tools.store.get(other.key)
    assert row.status == "stamped"
