"""Fair, and gentle: an account's thousands hold nobody up, and its 429 is its own affair. Real worker, real latency."""

import signal
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from config.values import redis_from_broker
from tasks.enqueue import submit_many
from tests.conftest import Stack
from tests.support.apunto import Apunto, invoices_of
from tests.support.command_line import CommandLine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LATENCY = 0.2  # seconds a call
CAP = 4  # the setting's calls in flight per account


@pytest.fixture(scope="module")
def apunto(make_stack: Callable[..., Stack]) -> Iterator[Apunto]:
    """A stack of this module's own: its accounts keep a worker busy."""
    with Apunto(make_stack()) as client:
        yield client


@pytest.fixture
def accounts(apunto: Apunto) -> Iterator[Callable[[], str]]:
    with slow_accounts(apunto) as an_account:
        yield an_account


@contextmanager
def slow_accounts(apunto: Apunto) -> Iterator[Callable[[], str]]:
    """Open accounts whose calls take `LATENCY`; at the end what they have left is paused."""
    opened: list[str] = []

    def an_account() -> str:
        opened.append(apunto.open_account())
        stamp_one(apunto, opened[-1])  # its customer and product are known from here on
        for call in ("save", "stamp"):
            apunto.stack.sandbox.play("latency", account=opened[-1], call=call, p50=LATENCY, p99=LATENCY)
        return opened[-1]

    yield an_account
    apunto.stack.sandbox.calm()
    execute(apunto, "UPDATE connections SET paused = true WHERE account = ANY(:opened)", opened=opened)


def test_two_thousand_waiting_do_not_hold_up_one(apunto: Apunto, accounts: Callable[[], str]) -> None:
    """Of the 2,000 that came before it, another account's single invoice is overtaken by a few that were under way."""
    crowd, single = accounts(), accounts()
    lay(apunto, crowd, 2000)
    apunto.until(crowd, {"stamped"}, 5, every=0.3)  # the crowd is being worked through

    overtaken = []
    for _ in range(5):
        row = stamp_one(apunto, single)
        overtaken.append(stamped_between(apunto, crowd, row.created_at, row.stamped_at))

    assert statistics.median(overtaken) <= 6 * CAP, overtaken
    assert count(apunto, crowd, "accepted") > 1000, "the crowd was gone before the other one was measured"


def test_a_crowd_that_has_every_thread_does_not_hold_up_one(make_stack: Callable[..., Stack]) -> None:
    """What waits for a thread is then in the queues: a thread that works on a backlog sees it there, and ends soon."""
    with Apunto(make_stack(concurrency=CAP)) as apunto, slow_accounts(apunto) as accounts:
        crowd, single = accounts(), accounts()
        lay(apunto, crowd, 500)
        apunto.until(crowd, {"stamped"}, 2 * CAP)
        known = count(apunto, crowd, "stamped")

        stamp_one(apunto, single)
        overtaken = count(apunto, crowd, "stamped") - known

    assert overtaken <= 15 * CAP


def test_what_others_send_goes_ahead_of_thousands_in_the_queue(
    apunto: Apunto, accounts: Callable[[], str]
) -> None:
    """3,000 messages of one account wait when another sends one and a third connects: both are done while most wait."""
    crowd, single = accounts(), accounts()
    known = len(apunto.rows(single))
    runtime, (worker,) = apunto.stack.runtime, apunto.stack.workers
    runtime.kill(worker, signal.SIGSTOP)
    with redis.Redis.from_url(redis_from_broker(apunto.stack.broker_url)) as queues:
        for _ in submit_many(apunto.app, invoices_of(crowd, 3_000), batch=1_000):
            pass
        apunto.submit(invoices_of(single, 1))
        apunto.connect("newcomer", "clave-de-prueba-0123456789")
        runtime.kill(worker, signal.SIGCONT)
        apunto.until_true(lambda: len(apunto.rows(single)), lambda rows: rows > known, 60)
        apunto.until_true(
            lambda: apunto.query("SELECT status FROM connections WHERE account = 'newcomer'"),
            lambda rows: bool(rows) and rows[0].status != "pending",
            60,
        )
        left = queues.llen("intake")
        queues.delete("intake")

    assert left > 1_500


def test_no_account_has_more_calls_in_flight_than_its_cap(
    apunto: Apunto, accounts: Callable[[], str]
) -> None:
    """Never more than four, however many wait; and all four are used."""
    account = accounts()
    apunto.submit(invoices_of(account, 40))
    apunto.until(account, {"stamped"}, 41)

    calls = apunto.query(
        """SELECT started_at, finished_at FROM attempts
        JOIN invoices ON invoices.id = attempts.invoice_id WHERE account = :account""",
        account=account,
    )
    assert most_at_once([(row.started_at, row.finished_at) for row in calls]) == CAP


def test_a_message_keeps_its_thread_while_no_other_waits_for_one(
    apunto: Apunto, accounts: Callable[[], str]
) -> None:
    """Some seconds of an account's backlog take as many messages as it may have calls in flight, and few more."""
    account = accounts()
    lay(apunto, account, 60)

    with messages_received(apunto) as received:
        apunto.until(account, {"stamped"}, 61, seconds=60)

    assert CAP <= received["stamping.stamp_invoice"] <= 2 * CAP, received


def test_a_worker_that_stops_leaves_what_waits(apunto: Apunto, accounts: Callable[[], str]) -> None:
    """It ends what it has in hand, and takes nothing more, however much of the account is due."""
    account = accounts()
    lay(apunto, account, 200)
    apunto.until(account, {"stamped"}, 9)
    runtime, (worker,) = apunto.stack.runtime, apunto.stack.workers
    pid = runtime.pids[worker]

    runtime.kill(worker, signal.SIGTERM)
    apunto.until_true(lambda: Path(f"/proc/{pid}").exists(), lambda there: not there, 60)

    assert count(apunto, account, "accepted") > 100
    apunto.until(account, {"stamped"}, 60)  # by the one that was started in its place


def test_a_worker_that_is_drained_leaves_what_waits(apunto: Apunto, accounts: Callable[[], str]) -> None:
    """`timbrado drain` returns once each thread has ended the invoice in its hand, and not the account's others."""
    account = accounts()
    lay(apunto, account, 200)
    apunto.until(account, {"stamped"}, 9)
    timbrado = CommandLine(apunto.stack.environment)

    drained = timbrado("drain", "--json")
    left = count(apunto, account, "accepted")
    timbrado("drain", "--undo")

    assert (drained.code, drained.json["drained"]) == (0, True)
    assert left > 100
    apunto.until(account, {"stamped"}, 60)


def test_a_429_throttles_its_own_account_and_no_other(apunto: Apunto, accounts: Callable[[], str]) -> None:
    """While it is closed nothing of that account begins; another one's invoice is stamped as ever."""
    throttled, other = accounts(), accounts()
    apunto.stack.sandbox.play(
        "status_before", account=throttled, call="save", times=1, status=429, retry_after=6
    )
    apunto.submit(invoices_of(throttled, 12))
    closed = apunto.until_true(
        lambda: connection(apunto, throttled), lambda row: row.throttled_until is not None, 20
    )

    assert stamp_one(apunto, other).stamped_at < closed.throttled_until

    apunto.until(throttled, {"stamped"}, 13, seconds=60)
    closed_at = closed.updated_at
    begun = apunto.query(
        """SELECT started_at FROM attempts JOIN invoices ON invoices.id = attempts.invoice_id
        WHERE account = :account AND call = 'save' AND started_at > :closed_at
        ORDER BY started_at LIMIT 1""",
        account=throttled,
        closed_at=closed_at + timedelta(seconds=0.2),  # those that had their claim when it closed
    )
    assert begun[0].started_at >= closed.throttled_until - timedelta(seconds=0.05)
    assert connection(apunto, other).throttled_until is None


def stamp_one(apunto: Apunto, account: str) -> Any:
    """Send one invoice and wait until it is stamped; its row."""
    (invoice,) = invoices_of(account, 1)
    apunto.submit([invoice])
    return apunto.until_true(
        lambda: apunto.query(
            "SELECT status, created_at, stamped_at FROM invoices"
            " WHERE account = :account AND external_id = :external_id",
            account=account,
            external_id=invoice["external_id"],
        ),
        lambda rows: bool(rows) and rows[0].status == "stamped",
        30,
        every=0.02,
    )[0]


@contextmanager
def messages_received(apunto: Apunto) -> Iterator[Counter[str]]:
    """Count the messages that workers receive meanwhile, by their task."""
    received: Counter[str] = Counter()
    with apunto.app.connection_for_read() as broker:
        receiver = apunto.app.events.Receiver(
            broker, handlers={"task-received": lambda event: received.update([event["name"]])}
        )
        thread = Thread(target=receiver.capture, kwargs={"wakeup": False}, daemon=True)
        thread.start()
        try:
            yield received
        finally:
            receiver.should_stop = True
            thread.join(5)


def stamped_between(apunto: Apunto, account: str, since: datetime, until: datetime) -> int:
    """How many invoices of an account were stamped in a time, by the database's clock."""
    rows = apunto.query(
        "SELECT count(*) FROM invoices WHERE account = :account AND stamped_at BETWEEN :since AND :until",
        account=account,
        since=since,
        until=until,
    )
    return int(rows[0][0])


def lay(apunto: Apunto, account: str, number: int) -> None:
    """Lay open invoices into the table, as copies of the one that the account has."""
    execute(
        apunto,
        """
        INSERT INTO invoices (id, account, external_id, status, version, content, content_hash, next_attempt_at,
          created_at, updated_at)
        SELECT gen_random_uuid(), account, 'L-' || n, 'accepted', 1, content, content_hash, now(), now(), now()
        FROM (SELECT * FROM invoices WHERE account = :account LIMIT 1) one, generate_series(1, :number) n""",
        account=account,
        number=number,
    )


def most_at_once(calls: list[tuple[datetime, datetime]]) -> int:
    """How many of these spans overlapped at most; one that ends as another begins does not."""
    changes = sorted([(began, 1) for began, _ in calls] + [(ended, -1) for _, ended in calls])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def count(apunto: Apunto, account: str, status: str) -> int:
    rows = apunto.query(
        "SELECT count(*) FROM invoices WHERE account = :account AND status = :status",
        account=account,
        status=status,
    )
    return int(rows[0][0])


def connection(apunto: Apunto, account: str) -> Any:
    return apunto.query("SELECT * FROM connections WHERE account = :account", account=account)[0]


def execute(apunto: Apunto, sql: str, **values: Any) -> None:
    with apunto.engine.begin() as db:
        db.execute(sa.text(sql), values)
