"""Nothing is stamped twice and nothing is lost, whatever dies, vanishes or stands still in mid-load."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from cfdi.rules.comprobante import MARGIN
from stamping.deadlines import OVER, SECOND_LOOK
from tests.support.apunto import Apunto, invoices_of
from tests.support.breakable_stack import LEASE, Wreck, open_wreck, until
from tests.support.builders import an_invoice

ROOT = Path(__file__).parents[2]
MANY = 200
pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def wreck() -> Iterator[Wreck]:
    with open_wreck() as opened:
        yield opened


@pytest.fixture
def apunto(wreck: Wreck) -> Iterator[Apunto]:
    wreck.all_up()
    with Apunto(wreck) as client:
        yield client
    wreck.sandbox.calm()


@pytest.fixture
def account(apunto: Apunto) -> str:
    """An account with one stamp, which taught what this provider does and can be looked up."""
    name = apunto.open_account()
    apunto.submit(invoices_of(name, 1))
    apunto.until(name, {"stamped"}, 1)
    return name


def under_way(apunto: Apunto, account: str, count: int) -> None:
    """Submit, and wait until all are stored and some are stamped: what follows hits them in the middle."""
    apunto.submit(invoices_of(account, count))
    until(lambda: len(apunto.rows(account)) == count + 1, 60)
    until(lambda: statuses(apunto, account)["stamped"] > min(10, count // 5), 60)


def statuses(apunto: Apunto, account: str) -> Counter[str]:
    found = apunto.query(
        "SELECT status, count(*) AS n FROM invoices WHERE account = :a GROUP BY 1", a=account
    )
    return Counter({row.status: row.n for row in found})


def all_stamped(apunto: Apunto, account: str, count: int) -> Callable[[], bool]:
    """Whether all are stamped, the control included."""
    return lambda: statuses(apunto, account) == {"stamped": count + 1}


def assert_each_stamped_once(wreck: Wreck, apunto: Apunto, account: str, count: int) -> None:
    """The sandbox's ledger and our table tell the same: each FolioOriginal has one UUID, and its XML is stored."""
    ledger = wreck.sandbox.ledger(account)
    rows = apunto.rows(account)
    stored = apunto.query(
        "SELECT d.key FROM documents d JOIN invoices i ON i.id = d.invoice_id"
        " WHERE i.account = :a AND d.kind = 'xml' AND d.quarantined_reason IS NULL",
        a=account,
    )
    assert (ledger["stamps"], ledger["duplicates"]) == (count + 1, 0)
    assert ledger["folios"][account] == {name: [row.uuid] for name, row in rows.items()}
    assert sum((wreck.documents / row.key).is_file() for row in stored) == count + 1


# --- workers -------------------------------------------------------------------------------------------------------


def test_a_frozen_worker_wakes_to_a_refusal(wreck: Wreck, apunto: Apunto, account: str) -> None:
    """SIGSTOP between the answer and the write: the other worker adopts the stamp by looking it up; the first one's
    late write is refused, said so in its log, and marked on the attempt."""
    wreck.arm("after_store")
    (invoice,) = invoices_of(account, 1)
    apunto.submit([invoice])
    frozen = wreck.who_stands_at("after_store")
    wreck.runtime.kill(frozen, signal.SIGSTOP)
    wreck.disarm("after_store")
    wreck.pass_time(LEASE + 1)
    try:
        # a message that Redis gave to the frozen one is sent again after twenty seconds
        wreck.run_ahead(lambda: stamped(apunto, account, invoice["external_id"]), 60, step=8)
        row = stamped(apunto, account, invoice["external_id"])
        adopted = calls(apunto, row.id)
    finally:
        wreck.runtime.kill(frozen, signal.SIGCONT)
    until(lambda: wreck.logged("] late ", str(row.id)), 30)

    assert adopted == [("save", "done"), ("stamp", "lost"), ("look_up", "done")]
    assert calls(apunto, row.id) == [("save", "done"), ("stamp", "late"), ("look_up", "done")]
    assert apunto.rows(account)[invoice["external_id"]] == row
    assert_each_stamped_once(wreck, apunto, account, 1)


def stamped(apunto: Apunto, account: str, external_id: str) -> Any:
    row = apunto.rows(account).get(external_id)
    return row if row is not None and row.status == "stamped" else None


def calls(apunto: Apunto, invoice_id: Any) -> list[tuple[str, str]]:
    found = apunto.query(
        "SELECT call, outcome FROM attempts WHERE invoice_id = :i ORDER BY number", i=invoice_id
    )
    return [(row.call, row.outcome) for row in found]


def test_kill_minus_nine_in_mid_load_loses_nothing(wreck: Wreck, apunto: Apunto, account: str) -> None:
    """Both workers are killed, one after the other, with calls of theirs in the air."""
    under_way(apunto, account, MANY)
    for name in wreck.workers:
        wreck.runtime.kill(name)
        time.sleep(0.7)

    wreck.run_ahead(all_stamped(apunto, account, MANY), 120)

    assert_each_stamped_once(wreck, apunto, account, MANY)


# --- servers -------------------------------------------------------------------------------------------------------


def test_a_redis_that_is_a_replica_for_a_while_ends_no_worker(
    wreck: Wreck, apunto: Apunto, account: str
) -> None:
    """It refuses what was waited for, and every write; once it is the master again the same processes go on."""
    before = wreck.runtime.pids
    with redis.Redis.from_url(wreck.runtime.redis_url) as server:
        server.execute_command("REPLICAOF", "127.0.0.1", "1")
        time.sleep(3)
        server.execute_command("REPLICAOF", "NO", "ONE")
    apunto.submit(invoices_of(account, 2))

    apunto.until(account, {"stamped"}, 3)
    assert wreck.runtime.pids == before
    assert wreck.sandbox.ledger(account)["duplicates"] == 0


def test_a_wiped_redis_goes_unnoticed(wreck: Wreck, apunto: Apunto, account: str) -> None:
    """FLUSHALL with messages in it: the sweep enqueues again, and all is done within a minute without a hand."""
    under_way(apunto, account, MANY)
    left = statuses(apunto, account)
    wreck.flush()

    until(all_stamped(apunto, account, MANY), 60)

    assert left["stamped"] < MANY
    assert_each_stamped_once(wreck, apunto, account, MANY)


def test_servers_come_and_go_twice(wreck: Wreck, apunto: Apunto, account: str) -> None:
    """Redis killed with -9, PostgreSQL restarted, and both again, in mid-load."""
    under_way(apunto, account, MANY)
    for _ in range(2):
        wreck.outage_of("redis", 0.5, signal.SIGKILL)
        wreck.outage_of("postgres", 0.5)
        time.sleep(0.5)

    wreck.run_ahead(all_stamped(apunto, account, MANY), 120)

    assert_each_stamped_once(wreck, apunto, account, MANY)


# --- the provider --------------------------------------------------------------------------------------------------


def test_every_first_answer_lost_is_still_one_stamp_each(wreck: Wreck, apunto: Apunto, account: str) -> None:
    """Half of them were stamped and half were not. Each ends stamped once, and `timbrado status` tells of its look-ups
    and of the time that it took."""
    wreck.sandbox.play("drop_before", account=account, call="stamp", probability=0.5)
    wreck.sandbox.play("drop_after", account=account, call="stamp")
    apunto.submit(invoices_of(account, MANY))
    wreck.run_ahead(lambda: first_stampings(apunto, account) == MANY, 240, step=2)
    wreck.sandbox.calm()

    wreck.run_ahead(all_stamped(apunto, account, MANY), 240)

    assert_each_stamped_once(wreck, apunto, account, MANY)
    rows = apunto.query(
        "SELECT i.external_id, count(*) FILTER (WHERE a.call = 'look_up' AND a.number > 2) AS lookups,"
        " count(*) FILTER (WHERE a.call = 'stamp') AS stamps"
        " FROM attempts a JOIN invoices i ON i.id = a.invoice_id WHERE i.account = :a GROUP BY 1",
        a=account,
    )
    doubted = [row for row in rows if row.lookups]
    again = [row for row in doubted if row.stamps == 2]
    assert len(doubted) == MANY
    assert MANY / 6 < len(again) < MANY * 5 / 6
    for row in (again[0], next(row for row in doubted if row.stamps == 1)):
        ended = "waiting" if row.stamps == 2 else "stamped"
        page = status_of(wreck, account, row.external_id)
        lookups_line = rf"the answer to the stamp was lost; ended {ended} after {row.lookups} look-ups? in \d"
        assert re.search(lookups_line, page), page


def test_an_hour_without_the_provider_ends_without_a_storm(wreck: Wreck, apunto: Apunto) -> None:
    """One invoice at a time asks whether it is over; each is reported once; and then each costs two calls, no more."""
    accounts = [apunto.open_account() for _ in range(3)]
    for account in accounts:
        apunto.submit(invoices_of(account, 1))
        apunto.until(account, {"stamped"}, 1)
    doubtful = accounts[0]
    wreck.sandbox.play("drop_after", account=doubtful, call="stamp", times=3)
    apunto.submit(invoices_of(doubtful, 3))
    apunto.until(doubtful, {"in_doubt"}, 3)
    wreck.sandbox.play("down", seconds=10**7)
    # until connections that were open are broken: what is sent over one is lost, and keeps its date
    time.sleep(1)
    fecha = wreck.now() - timedelta(hours=72) + MARGIN + timedelta(minutes=3)  # with less it would be refused
    late = an_invoice(account=accounts[1], external_id="LATE", fecha=fecha.isoformat())
    dated = an_invoice(account=accounts[2], external_id="DATED", fecha=wreck.now().isoformat())
    for account in accounts[:2]:
        apunto.submit(invoices_of(account, EACH))
    apunto.submit([late, dated, *invoices_of(accounts[2], EACH - 1)])
    until(lambda: sum(map(len, map(apunto.rows, accounts))) == 3 * (EACH + 1) + 4, 60)
    assert apunto.rows(accounts[1])["LATE"].status in {"accepted", "waiting", "stamping"}

    for _ in range(HOUR // 70):
        wreck.pass_time(70)
        time.sleep(0.1)

    until(
        lambda: apunto.rows(accounts[1])["LATE"].last_reminder == OVER, 30
    )  # no single look at the clock ends one
    wreck.pass_time(SECOND_LOOK.total_seconds() + 1)
    gave_up = until(lambda: ended(apunto, accounts[1], "LATE"), 30)
    waiting = until(lambda: those_waiting(apunto, accounts, 3 * EACH), 30)
    lookups_line = until(lambda: delays_reported(apunto, accounts, waiting), 30)
    tries = sends_since_the_breaker(apunto, accounts)
    assert (gave_up.status, gave_up.reason) == ("failed", "expired")
    assert "invoice.failed" in {
        event.type for event in apunto.events(accounts[1]) if event.external_id == "LATE"
    }
    assert {lookups_line[name] for name in waiting} == {1}
    assert 10 < len(tries) <= HOUR / 15  # one each quarter of a minute, or less often
    # of those that were never sent not one hour of their 72 is spent; one that came with its date shows what is left
    spent = {name for name, row in waiting.items() if row.expires_at is not None}
    assert "DATED" in spent
    assert spent - {"DATED"} <= overtaken(apunto, accounts)
    page = " ".join(status_of(wreck, accounts[2], "DATED").split())
    assert re.search(r"the SAT's 72 hours: \S.* left", page), page
    assert "when ContaDigital answers again: one invoice at a time asks" in page
    assert {row.status for row in apunto.query("SELECT status FROM connections")} == {"active"}

    before = {account: called(wreck, account) for account in accounts}
    wreck.sandbox.calm()
    busiest = 0
    for _ in range(10):
        sooner = sum((called(wreck, account) for account in accounts), Counter())
        wreck.pass_time(5)
        time.sleep(0.5)
        later = sum((called(wreck, account) for account in accounts), Counter())
        busiest = max(busiest, later.total() - sooner.total())
    wreck.run_ahead(
        lambda: all(set(statuses(apunto, account)) <= {"stamped", "failed"} for account in accounts), 120
    )

    for account in accounts:
        after = called(wreck, account)
        after.subtract(before[account])
        overtook = overtaken(apunto, [account])
        assert after["stamp"] == EACH
        assert EACH <= after["save"] <= EACH + len(overtook)
        assert after["look_up"] <= (4 if account == doubtful else 0) + 2 * len(overtook)
        assert after["conectar"] <= 2
        assert wreck.sandbox.ledger(account)["duplicates"] == 0
    print(f"busiest half second: {busiest} calls; tries in the outage: {len(tries)}")


def overtaken(apunto: Apunto, accounts: list[str]) -> set[str]:
    """Those whose claim had passed to another in mid-call, as the clock jumped meanwhile: they may have been sent."""
    found = apunto.query(
        "SELECT i.external_id FROM attempts a JOIN invoices i ON i.id = a.invoice_id WHERE i.account = ANY(:a)"
        " AND a.call = 'save' AND a.outcome IN ('lost', 'late', 'proven_no')",
        a=accounts,
    )
    return {row.external_id for row in found}


EACH = 60
HOUR = 4200  # and some minutes, until the 72 hours of one have run out


def ended(apunto: Apunto, account: str, external_id: str) -> Any:
    row = apunto.rows(account)[external_id]
    return row if row.status == "failed" else None


def those_waiting(apunto: Apunto, accounts: list[str], count: int) -> dict[str, Any]:
    """Those that wait to be sent, once they are so many: one may be under way to ask whether it is over."""
    rows = [row for account in accounts for row in apunto.rows(account).values()]
    waiting = {row.external_id: row for row in rows if row.status in {"accepted", "waiting"}}
    return waiting if len(waiting) == count else {}


def delays_reported(apunto: Apunto, accounts: list[str], names: Iterable[str]) -> Counter[str] | None:
    """How often each was reported to take long, once all of these were."""
    lookups_line = Counter(
        event.external_id
        for account in accounts
        for event in apunto.events(account)
        if event.type == "invoice.delayed"
    )
    return lookups_line if set(names) <= set(lookups_line) else None


def called(wreck: Wreck, account: str) -> Counter[str]:
    """How often each call was made for an account, by the sandbox's ledger."""
    lookups_line = wreck.sandbox.ledger(account)["calls"].get(account, {})
    return Counter({call: sum(results.values()) for call, results in lookups_line.items()})


def sends_since_the_breaker(apunto: Apunto, accounts: list[str]) -> list[float]:
    """When something was tried to be sent, in seconds, once the breaker had opened."""
    found = apunto.query(
        "SELECT extract(epoch FROM a.started_at) AS at FROM attempts a JOIN invoices i ON i.id = a.invoice_id"
        " JOIN providers p ON a.started_at > p.opened_at WHERE i.account = ANY(:a) AND a.call IN ('save', 'stamp')"
        " ORDER BY 1",
        a=accounts,
    )
    return [float(row.at) for row in found]


def first_stampings(apunto: Apunto, account: str) -> int:
    """How many were sent to be stamped, in vain."""
    ((count,),) = apunto.query(
        "SELECT count(DISTINCT a.invoice_id) FROM attempts a JOIN invoices i ON i.id = a.invoice_id"
        " WHERE i.account = :a AND a.call = 'stamp' AND a.outcome = 'lost'",
        a=account,
    )
    return int(count)


def status_of(wreck: Wreck, account: str, external_id: str) -> str:
    """What `timbrado status` prints."""
    lookups_line = subprocess.run(
        [sys.executable, "-m", "cli", "status", account, external_id],
        cwd=ROOT,
        env={**os.environ, **wreck.environment, "NO_COLOR": "1", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert lookups_line.returncode == 0, lookups_line.stderr
    return lookups_line.stdout
