"""One account's useless answers stop nobody else: what counts as an outage, what ends one, and who probes."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from stamping.outcome import Full, Stamped
from tests.support.harness import Harness, open_harness

pytestmark = pytest.mark.one_database


@pytest.fixture
def neighbour(database: str, sandbox: Any) -> Iterator[Harness]:
    with open_harness(database, sandbox) as opened:
        yield opened


def provider(harness: Harness) -> Any:
    """What the database says of the provider; None while nothing was ever noted."""
    rows = harness.all(
        "SELECT * FROM providers WHERE base_url = :url", url=harness.tools.policy.production_url
    )
    return rows[0] if rows else None


def is_open(harness: Harness) -> bool:
    row = provider(harness)
    return row is not None and row.opened_at is not None


def stamp_some(harness: Harness, number: int, name: str) -> list[UUID]:
    ids = [harness.submit(f"{name}-{place}") for place in range(number)]
    for invoice_id in ids:
        harness.stamp(invoice_id)
    return ids


USELESS: dict[str, dict[str, Any]] = {
    "500 to every save": {"fault": "status_before", "call": "save", "status": 500},
    "500 to every stamp": {"fault": "status_before", "call": "stamp", "status": 500},
    "a page for every save": {"fault": "html", "call": "save"},
    "no JSON for every customer": {"fault": "not_json", "call": "clientes"},
}


@pytest.mark.parametrize("case", USELESS)
def test_useless_answers_to_one_account_open_nothing(case: str, harness: Harness, neighbour: Harness):
    """Ten invoices of A whose calls are answered uselessly; all of B's are stamped meanwhile."""
    rule = dict(USELESS[case])
    harness.sandbox.play(rule.pop("fault"), account=harness.account, times=40, **rule)

    stamp_some(harness, 10, "A")
    ids = stamp_some(neighbour, 5, "B")

    assert not is_open(harness)
    assert {neighbour.row(each).status for each in ids} == {"stamped"}


@pytest.mark.parametrize("products", ["404", "405", "refused", "no_id"])
def test_an_account_without_a_products_call_stops_nobody(
    products: str, database: str, sandbox: Any, neighbour: Harness
):
    """Products are made by hand there, and the call is answered uselessly."""
    with open_harness(database, sandbox, dialect={"products": products}) as harness:
        stamp_some(harness, 6, "A")
        ids = stamp_some(neighbour, 3, "B")

        assert not is_open(harness)
        assert {neighbour.row(each).status for each in ids} == {"stamped"}


TROUBLE: dict[str, dict[str, Any]] = {
    f"{what} to {call}": {**rule, "call": call}
    for what, rule in {
        "500": {"fault": "status_before", "status": 500},
        "404": {"fault": "status_before", "status": 404},
        "a page": {"fault": "html"},
        "nonsense": {"fault": "not_json"},
    }.items()
    for call in ("conectar", "clientes", "save", "stamp", "look_up")
}


def calls_of(harness: Harness) -> int:
    counted = harness.sandbox.ledger(harness.account)["calls"].get(harness.account, {})
    return sum(count for outcomes in counted.values() for count in outcomes.values())


@pytest.mark.parametrize("case", TROUBLE)
def test_a_neighbour_has_the_same_rate_beside_useless_answers(
    case: str, harness: Harness, neighbour: Harness
):
    """Four invoices of B take one turn each and as many calls as alone, in turn with an account in trouble."""
    neighbour.stamped("WARM")
    before = calls_of(neighbour)
    stamp_some(neighbour, 4, "ALONE")
    alone = calls_of(neighbour) - before
    rule = dict(TROUBLE[case])
    harness.sandbox.play(rule.pop("fault"), account=harness.account, times=200, **rule)
    ids = [neighbour.submit(f"BESIDE-{place}") for place in range(4)]
    for place, invoice_id in enumerate(ids):
        harness.stamp(harness.submit(f"TROUBLE-{place}"))
        neighbour.stamp(invoice_id)

    assert {neighbour.row(each).status for each in ids} == {"stamped"}
    assert calls_of(neighbour) - before - alone == alone
    assert not is_open(harness)
    assert "invoice.delayed" not in neighbour.event_types()


def test_five_silent_calls_in_a_row_open_it_and_one_answer_closes_it(harness: Harness):
    """Silence counts by calls; what ends an outage is any answer that was understood, and not only a stamp."""
    ids = [harness.submit(f"S-{place}") for place in range(6)]
    harness.sandbox.play("drop_before", account=harness.account, call="save", times=20)
    for invoice_id in ids[:4]:
        harness.stamp(invoice_id)
    assert not is_open(harness)
    harness.stamp(ids[4])
    assert is_open(harness)
    assert isinstance(harness.stamp(ids[5]), Full)

    harness.sandbox.calm()
    harness.sandbox.play("status_before", account=harness.account, call="stamp", status=500, times=1)
    harness.later(seconds=16)
    harness.stamp(ids[5])  # its save is answered, and its stamp uselessly

    assert not is_open(harness)


def test_silence_among_answers_is_no_outage(harness: Harness):
    """Four saves in a row without an answer and one with it, again and again: never five in a row."""
    for lost in range(3):
        harness.sandbox.play("drop_before", account=harness.account, call="save", times=4)
        stamp_some(harness, 5, f"R-{lost}")

    assert not is_open(harness)


def test_the_probe_goes_to_another_account(harness: Harness, neighbour: Harness):
    """An account whose probe brought nothing lets another with something due go first, and then asks again itself."""
    outage = [harness.submit(f"P-{place}") for place in range(7)]
    waiting = neighbour.submit("Q-1")
    harness.sandbox.play("drop_before", account=harness.account, call="save", times=40)
    for invoice_id in outage[:5]:
        harness.stamp(invoice_id)
    assert is_open(harness)
    harness.later(seconds=16)
    neighbour.shift[0] = harness.shift[0]

    harness.stamp(outage[5])  # the probe: silence once more
    harness.later(seconds=16)
    neighbour.shift[0] = harness.shift[0]

    assert isinstance(harness.stamp(outage[6]), Full)
    assert isinstance(neighbour.stamp(waiting), Stamped)
    assert not is_open(harness)


def test_an_account_alone_probes_again_and_again(database_url: str, sandbox: Any):
    """Where no other account waits, none is waited for."""
    with open_harness(database_url, sandbox) as harness:
        probe_alone(harness)


def probe_alone(harness: Harness) -> None:
    ids = [harness.submit(f"L-{place}") for place in range(8)]
    harness.sandbox.play("drop_before", account=harness.account, call="save", times=7)
    for invoice_id in ids[:5]:
        harness.stamp(invoice_id)
    for invoice_id in ids[5:7]:
        harness.later(seconds=16)
        harness.stamp(invoice_id)
        assert is_open(harness)
    harness.later(seconds=16)

    assert isinstance(harness.stamp(ids[7]), Stamped)
