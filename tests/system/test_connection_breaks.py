"""A connection breaks once, not once per invoice; once it is fixed, all that was on hold goes on by itself.

Five accounts break at once, each for a reason of its own, while a sixth goes on sending.
"""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import pytest

from tests.support.apunto import Apunto, invoices_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
COUNT = 100
FIRST = 30
CAP = 4  # the setting's calls in flight per account
USUAL = (["save done", "stamp done"], ["save done", "look_up done", "stamp done"])
"""The calls of an invoice; the first at an address are looked up before their stamp: does that tell amounts?"""
LATENCY = 0.3  # seconds a stamp, so that few are stamped between the 30th and what befalls the account then


class Beside:
    """Another account, which sends an invoice four times a second all the while."""

    def __init__(self, apunto: Apunto, account: str) -> None:
        self.apunto, self.account = apunto, account
        self.sent: dict[str, datetime] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _send(self) -> None:
        while not self._stop.wait(0.25):
            (invoice,) = invoices_of(self.account, 1)
            self.sent[invoice["external_id"]] = datetime.now(UTC)
            self.apunto.submit([invoice])

    def sent_between(self, since: datetime, until: datetime) -> list[Any]:
        """The rows of those that were sent in this time, all stamped."""
        rows = self.apunto.until(self.account, {"stamped"}, len(self.sent))
        return [rows[name] for name, at in self.sent.items() if since <= at < until]


@dataclass(frozen=True)
class Break:
    """What befalls an account after its 30th stamp, and what its owner does about it."""

    reason: str
    breaks: Callable[[Any, str], object]
    fixes: Callable[[Apunto, str], None]
    before: Callable[[Any, str], object] = lambda sandbox, account: None


def new_key(apunto: Apunto, account: str) -> None:
    sandbox = apunto.stack.sandbox
    apunto.connect(account, sandbox.account(account)["api_key"] or sandbox.regenerate_key(account))


def put_right(**changes: Any) -> Callable[[Apunto, str], None]:
    """Put something right at ContaDigital, and press "validar"."""

    def fixes(apunto: Apunto, account: str) -> None:
        apunto.stack.sandbox.change(account, **changes)
        apunto.send("stamping.validate_connection", account=account)

    return fixes


BREAKS = {
    "the key is revoked": Break(
        "key_rejected", lambda sandbox, account: sandbox.revoke_key(account), new_key
    ),
    "the key is made anew, and all ids are others": Break(
        "key_rejected", lambda sandbox, account: sandbox.regenerate_key(account, other_ids=True), new_key
    ),
    "the series is switched off": Break(
        "serie_inactive",
        lambda sandbox, account: sandbox.change(account, series={"A": False}),
        put_right(series={"A": True}),
    ),
    "the stamps end at the 30th": Break(
        "no_stamps",
        lambda sandbox, account: None,
        put_right(stamps=10_000),
        before=lambda sandbox, account: sandbox.change(account, stamps=FIRST),
    ),
    "the account is disabled": Break(
        "api_not_enabled",
        lambda sandbox, account: sandbox.change(account, enabled=False),
        put_right(enabled=True),
    ),
}


@dataclass(frozen=True)
class Course:
    """What was seen of one account that broke and was fixed."""

    account: str
    connection: Any
    settled: Counter[str]
    on_hold: list[Any]
    fixed_at: datetime


@pytest.fixture(scope="module")
def courses(stack: Any) -> Any:
    """Break five accounts at once and fix them, while another one sends; what was seen of each, and of the other."""
    with Apunto(stack) as apunto, ThreadPoolExecutor(len(BREAKS)) as threads:
        accounts = {name: apunto.open_account() for name in BREAKS}
        other = apunto.open_account()
        for name, each in BREAKS.items():
            each.before(stack.sandbox, accounts[name])
            stack.sandbox.play("latency", account=accounts[name], call="stamp", p50=LATENCY, p99=LATENCY)
            hold(apunto, accounts[name], paused=True)
            apunto.submit(invoices_of(accounts[name], COUNT))
        for account in accounts.values():
            apunto.until(account, {"accepted"}, COUNT, every=0.3)
        with Beside(apunto, other) as beside:
            began = datetime.now(UTC)
            seen = threads.map(lambda name: play(stack, BREAKS[name], accounts[name], other), BREAKS)
            found = dict(zip(BREAKS, seen, strict=True))
        yield found, beside, began
        stack.sandbox.calm()


def play(stack: Any, each: Break, account: str, other: str) -> Course:
    """One account: its 30th stamp, what breaks it, what fixes it, and all of its invoices stamped."""
    sandbox = stack.sandbox
    with Apunto(stack) as apunto:
        hold(apunto, account, paused=False)
        apunto.until_true(lambda: sandbox.ledger(account)["stamps"], lambda n: n >= FIRST, 90, every=0.02)
        each.breaks(sandbox, account)
        connection = apunto.until_connection(account, "broken")
        settled = apunto.until_true(
            lambda: Counter(row.status for row in apunto.rows(account).values()),
            lambda seen: seen["on_hold"] + seen["stamped"] == COUNT,
            60,
            0.3,
        )
        until_stamped(apunto, other, since=connection.broken_at, count=8)
        fixed_at = datetime.now(UTC)
        on_hold = list(apunto.rows(account).values())
        each.fixes(apunto, account)
        apunto.until_connection(account, "active")
        apunto.until(account, {"stamped"}, COUNT, seconds=120, every=0.3)
        return Course(account, connection, settled, on_hold, fixed_at)


@pytest.mark.parametrize("name", BREAKS)
def test_a_connection_breaks_once_and_that_is_one_event(courses: Any, apunto: Apunto, name: str) -> None:
    """One `connection.broken` with its fix, one refused exchange of a refused key, and active again once."""
    course, reason = courses[0][name], BREAKS[name].reason
    sent = Counter(event.type for event in apunto.events(course.account))
    (broken,) = (event for event in apunto.events(course.account) if event.type == "connection.broken")

    assert course.connection.reason == reason
    assert course.connection.key_last4
    assert refused_exchanges(apunto.stack.sandbox, course.account) == (1 if reason == "key_rejected" else 0)
    assert (sent["connection.broken"], sent["connection.active"]) == (1, 2)
    assert broken.data["fix"]


@pytest.mark.parametrize("name", BREAKS)
def test_what_was_not_in_flight_waits_without_a_call(courses: Any, apunto: Apunto, name: str) -> None:
    """No attempt is spent on an invoice that is put on hold, and each is one event."""
    course = courses[0][name]
    sent = Counter(event.type for event in apunto.events(course.account))
    calls = apunto.query(
        "SELECT i.id, array_agg(a.call || ' ' || a.outcome ORDER BY a.number) AS calls"
        " FROM invoices i JOIN attempts a ON a.invoice_id = i.id WHERE i.account = :account"
        " AND a.call IN ('save', 'stamp', 'look_up') GROUP BY i.id",
        account=course.account,
    )
    odd = [row.calls for row in calls if row.calls not in USUAL]

    assert course.settled["on_hold"] >= COUNT - FIRST - 5 * CAP
    if BREAKS[name].reason == "no_stamps":
        assert course.settled["stamped"] == FIRST
    assert {row.tries for row in course.on_hold} == {0}
    assert sent["invoice.on_hold"] == course.settled["on_hold"]
    assert len(odd) <= CAP, odd


@pytest.mark.parametrize("name", BREAKS)
def test_once_it_is_fixed_all_are_stamped_and_none_twice(courses: Any, apunto: Apunto, name: str) -> None:
    """The sandbox's ledger has one stamp for each invoice."""
    ledger = apunto.stack.sandbox.ledger(courses[0][name].account)

    assert (ledger["stamps"], ledger["duplicates"]) == (COUNT, 0)


def test_another_account_goes_on_meanwhile(courses: Any, apunto: Apunto) -> None:
    """What it sends while five others are broken is stamped at the first try, before any of them is fixed."""
    found, beside, began = courses
    last_break = max(course.connection.broken_at for course in found.values())
    first_fix = min(course.fixed_at for course in found.values())
    meanwhile = beside.sent_between(began, max(last_break, first_fix))

    assert len(meanwhile) >= 8
    assert {row.tries for row in meanwhile} == {0}
    assert {row.status for row in meanwhile} == {"stamped"}
    for course in found.values():
        stamped = [
            row for row in beside.sent_between(began, course.fixed_at) if row.stamped_at < course.fixed_at
        ]
        assert len(stamped) >= 8
    assert apunto.stack.sandbox.ledger(beside.account)["duplicates"] == 0


def hold(apunto: Apunto, account: str, *, paused: bool) -> None:
    """Have an account's invoices wait, or go: all are queued before the first is sent."""
    apunto.query(
        "UPDATE connections SET paused = :paused WHERE account = :account RETURNING id",
        paused=paused,
        account=account,
    )
    apunto.app.send_task("stamping.sweep", queue="upkeep")


def until_stamped(apunto: Apunto, account: str, *, since: datetime, count: int) -> None:
    """Wait until so many invoices that came in since then are stamped."""
    apunto.until_true(
        lambda: (
            apunto.query(
                "SELECT count(*) AS n FROM invoices"
                " WHERE account = :account AND created_at > :since AND status = 'stamped'",
                account=account,
                since=since,
            )[0].n
        ),
        lambda stamped: stamped >= count,
        30,
    )


def refused_exchanges(sandbox: Any, account: str) -> int:
    exchanges = sandbox.ledger(account)["calls"][account].get("conectar", {})
    return sum(times for result, times in exchanges.items() if result.startswith("refused"))
