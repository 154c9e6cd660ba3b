"""A connection breaks once, not once per invoice; mended, all that was held goes on by itself."""

import statistics
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import pytest

from tests.support.apunto import Apunto, invoices_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
COUNT = 500
FIRST = 50
CAP = 4  # the setting's calls in flight per account
LATENCY = 0.15  # seconds a stamp, so that few are stamped between the 50th and what befalls the account then


@pytest.fixture
def apunto(stack: Any) -> Iterator[Apunto]:
    with Apunto(stack) as client:
        yield client
    stack.sandbox.calm()


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

    def waits(self, since: datetime, until: datetime) -> list[float]:
        """Seconds from sent to stamped, of each that was sent in this time."""
        rows = self.apunto.until(self.account, {"stamped"}, len(self.sent))
        return [
            (rows[name].stamped_at - at).total_seconds()
            for name, at in self.sent.items()
            if since <= at < until
        ]


@dataclass(frozen=True)
class Story:
    """What befalls an account after its 50th stamp, and what its owner does about it."""

    reason: str
    breaks: Callable[[Any, str], object]
    mends: Callable[[Apunto, str], None]
    before: Callable[[Any, str], object] = lambda sandbox, account: None


def new_key(apunto: Apunto, account: str) -> None:
    sandbox = apunto.stack.sandbox
    apunto.connect(account, sandbox.account(account)["api_key"] or sandbox.regenerate_key(account))


def put_right(**changes: Any) -> Callable[[Apunto, str], None]:
    """Put something right at ContaDigital, and press "validar"."""

    def mends(apunto: Apunto, account: str) -> None:
        apunto.stack.sandbox.change(account, **changes)
        apunto.send("stamping.validate_connection", account=account)

    return mends


STORIES = {
    "the key is revoked": Story(
        "key_rejected", lambda sandbox, account: sandbox.revoke_key(account), new_key
    ),
    "the key is made anew, and all ids are others": Story(
        "key_rejected", lambda sandbox, account: sandbox.regenerate_key(account, other_ids=True), new_key
    ),
    "the series is switched off": Story(
        "serie_inactive",
        lambda sandbox, account: sandbox.change(account, series={"A": False}),
        put_right(series={"A": True}),
    ),
    "the stamps end at the 50th": Story(
        "no_stamps",
        lambda sandbox, account: None,
        put_right(stamps=10_000),
        before=lambda sandbox, account: sandbox.change(account, stamps=FIRST),
    ),
    "the account is disabled": Story(
        "api_not_enabled",
        lambda sandbox, account: sandbox.change(account, enabled=False),
        put_right(enabled=True),
    ),
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_a_connection_breaks_once_and_all_goes_on_once_it_is_mended(apunto: Apunto, story: Story) -> None:
    """Of 500 invoices 50 are stamped, the rest wait without a call, and in the end all are stamped, each once."""
    sandbox = apunto.stack.sandbox
    account, other = apunto.open_account(), apunto.open_account()
    story.before(sandbox, account)
    sandbox.play("latency", account=account, call="stamp", p50=LATENCY, p99=LATENCY)
    hold(apunto, account, held=True)
    apunto.submit(invoices_of(account, COUNT))
    apunto.until(account, {"accepted"}, COUNT, every=0.3)
    began = datetime.now(UTC)
    with Beside(apunto, other) as beside:
        until_stamped(apunto, other, since=began, count=12)
        hold(apunto, account, held=False)
        apunto.until_true(lambda: sandbox.ledger(account)["stamps"], lambda n: n >= FIRST, 60, every=0.02)
        story.breaks(sandbox, account)
        connection = apunto.until_connection(account, "broken")
        settled = apunto.until_true(
            lambda: Counter(row.status for row in apunto.rows(account).values()),
            lambda seen: seen["on_hold"] + seen["stamped"] == COUNT,
            60,
            0.3,
        )
        until_stamped(apunto, other, since=connection.broken_at, count=12)
        mended_at = datetime.now(UTC)
        held = list(apunto.rows(account).values())
        story.mends(apunto, account)
        apunto.until_connection(account, "active")
        apunto.until(account, {"stamped"}, COUNT, seconds=120, every=0.3)

    # it broke once, with one refused exchange of the key, and told it once
    assert connection.reason == story.reason
    assert connection.key_last4
    refusals = 1 if story.reason == "key_rejected" else 0
    assert refused_exchanges(sandbox, account) == refusals
    told = Counter(event.type for event in apunto.events(account))
    assert (told["connection.broken"], told["connection.active"]) == (1, 2)
    (broken,) = (event for event in apunto.events(account) if event.type == "connection.broken")
    assert broken.data["fix"]

    # what was not in flight waited without a call: no attempt was spent, and each was told once
    assert settled["on_hold"] >= COUNT - FIRST - 5 * CAP
    if story.reason == "no_stamps":
        assert settled["stamped"] == FIRST
    assert {row.tries for row in held} == {0}
    assert told["invoice.on_hold"] == settled["on_hold"]
    calls = apunto.query(
        "SELECT i.id, array_agg(a.call || ' ' || a.outcome ORDER BY a.number) AS calls"
        " FROM invoices i JOIN attempts a ON a.invoice_id = i.id WHERE i.account = :account GROUP BY i.id",
        account=account,
    )
    odd = [row.calls for row in calls if row.calls != ["save done", "stamp done"]]
    assert len(odd) <= CAP, odd

    # all are stamped, none twice
    ledger = sandbox.ledger(account)
    assert (ledger["stamps"], ledger["duplicates"]) == (COUNT, 0)

    # and the other account did not notice
    before = beside.waits(began, connection.broken_at)
    meanwhile = beside.waits(connection.broken_at, mended_at)
    assert statistics.median(meanwhile) <= 1.5 * statistics.median(before) + 0.1, (before, meanwhile)
    assert max(meanwhile) <= 2 * max(before) + 0.5, (before, meanwhile)
    assert sandbox.ledger(other)["duplicates"] == 0


def hold(apunto: Apunto, account: str, *, held: bool) -> None:
    """Have an account's invoices wait, or go: all 500 are queued before the first is sent."""
    apunto.query(
        "UPDATE connections SET paused = :held WHERE account = :account RETURNING id",
        held=held,
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
