"""A connection breaks once, not once per invoice; mended, all that was held goes on by itself."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.apunto import Apunto, invoices_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
COUNT = 500
FIRST = 50


@pytest.fixture
def apunto(stack: Any) -> Iterator[Apunto]:
    with Apunto(stack) as client:
        yield client


def revoked(apunto: Apunto, account: str) -> None:
    apunto.stack.sandbox.revoke_key(account)


def new_key(apunto: Apunto, account: str) -> None:
    apunto.connect(account, apunto.stack.sandbox.regenerate_key(account))


def regenerated(apunto: Apunto, account: str) -> None:
    """The key is made anew in ContaDigital, and with it every id of the account's lists."""
    apunto.stack.sandbox.regenerate_key(account, other_ids=True)


def series_off(apunto: Apunto, account: str) -> None:
    apunto.stack.sandbox.change(account, series={"A": False})


def series_on(apunto: Apunto, account: str) -> None:
    apunto.stack.sandbox.change(account, series={"A": True})
    apunto.send("stamping.validate_connection", account=account)


def stamps_ended(apunto: Apunto, account: str) -> None:
    apunto.stack.sandbox.change(account, stamps=0)


def stamps_bought(apunto: Apunto, account: str) -> None:
    apunto.stack.sandbox.change(account, stamps=10_000)
    apunto.send("stamping.validate_connection", account=account)


def disabled(apunto: Apunto, account: str) -> None:
    apunto.stack.sandbox.change(account, enabled=False)


def enabled(apunto: Apunto, account: str) -> None:
    apunto.stack.sandbox.change(account, enabled=True)
    apunto.send("stamping.validate_connection", account=account)


STORIES = {
    "revoked": (revoked, new_key, "key_rejected"),
    "regenerated": (regenerated, new_key, "key_rejected"),
    "series": (series_off, series_on, "serie_inactive"),
    "stamps": (stamps_ended, stamps_bought, "no_stamps"),
    "not enabled": (disabled, enabled, "api_not_enabled"),
}


@pytest.mark.parametrize("story", STORIES)
def test_a_connection_breaks_once_and_all_goes_on_once_it_is_mended(apunto: Apunto, story: str) -> None:
    """Of 500 invoices the first 50 are stamped, the rest wait without a call, and in the end all are stamped once."""
    breaks, mends, reason = STORIES[story]
    account, beside = apunto.open_account(), apunto.open_account()
    apunto.submit(invoices_of(account, COUNT))
    apunto.until_true(lambda: apunto.stack.sandbox.ledger(account)["stamps"], lambda n: n >= FIRST, 60)

    breaks(apunto, account)
    connection = apunto.until_connection(account, "broken")
    began = time.monotonic()
    apunto.submit(invoices_of(beside, 20))
    apunto.until(beside, {"stamped"}, 20)
    beside_took = time.monotonic() - began
    settled = apunto.until_true(
        lambda: Counter(row.status for row in apunto.rows(account).values()),
        lambda seen: seen["on_hold"] + seen["stamped"] == COUNT,
        60,
        0.3,
    )
    refused = Counter(
        {
            result: times
            for result, times in apunto.stack.sandbox.ledger(account)["calls"][account]
            .get("conectar", {})
            .items()
            if result.startswith("refused")
        }
    )
    broken = [event for event in apunto.events(account) if event.type == "connection.broken"]

    assert connection.reason == reason
    assert settled["on_hold"] >= 300
    assert len(broken) == 1
    assert broken[0].data["fix"]
    assert sum(refused.values()) <= 1
    if reason == "key_rejected":
        assert sum(refused.values()) == 1
    assert beside_took < 20

    mends(apunto, account)
    apunto.until_connection(account, "active")
    apunto.until(account, {"stamped"}, COUNT, seconds=120, every=0.3)

    ledger = apunto.stack.sandbox.ledger(account)
    assert (ledger["stamps"], ledger["twins"]) == (COUNT, 0)
    spent = apunto.query(
        "SELECT i.external_id, count(*) FROM attempts a JOIN invoices i ON i.id = a.invoice_id"
        " WHERE i.account = :account AND a.call = 'stamp' GROUP BY 1 HAVING count(*) > 1",
        account=account,
    )
    assert len(spent) <= 12  # only what was on its way when it broke: at most `cap` places and a bell each
