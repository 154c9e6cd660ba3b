"""Customers and products of ContaDigital: made known once, changed with care, learnt again when refused."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from lxml import etree

from models.tables import provider_refs
from stamping import pipeline
from stamping.claims import take
from stamping.connections import connect
from stamping.tools import Policy
from tests.support.builders import a_concepto, a_receptor
from tests.support.harness import Harness, open_harness

SETTLED = {"stamped", "rejected", "failed", "in_doubt", "on_hold"}


@pytest.fixture
def harness(database: str, sandbox: Any) -> Iterator[Harness]:
    policy = Policy(production_url=sandbox.url, allowed_hosts=frozenset({sandbox.url[7:]}), in_flight=10)
    with open_harness(database, sandbox, policy=policy) as opened:
        yield opened


def a_foreigner(name: str) -> dict[str, Any]:
    """A customer abroad: all of them have one RFC."""
    return a_receptor(
        rfc="XEXX010101000",
        nombre=name,
        domicilio_fiscal_receptor="64000",
        regimen_fiscal_receptor="616",
        uso_cfdi="S01",
    )


def anyone(name: str) -> dict[str, Any]:
    """A customer whom the sandbox's SAT takes by any name (`any_receptor`)."""
    return a_receptor(rfc="AAA010101AAA", nombre=name, domicilio_fiscal_receptor="64000")


def stamp_all(harness: Harness, ids: Iterable[UUID], threads: int = 8, most: int = 30) -> int:
    """Stamp side by side, whenever one is due, until all are settled; return how many rounds that took."""
    ids = list(ids)
    for rounds in range(most):
        left = [each for each in ids if harness.row(each).status not in SETTLED]
        if not left:
            return rounds
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(harness.stamp, left))
        harness.later(seconds=2.5)
    raise AssertionError(Counter(harness.row(each).status for each in ids))


def calls(harness: Harness, call: str) -> int:
    counted = harness.sandbox.ledger(harness.account)["calls"].get(harness.account, {}).get(call, {})
    return sum(times for result, times in counted.items() if not result.startswith("fault:"))


def names(harness: Harness, invoice_id: UUID) -> tuple[str, str]:
    """The receptor's name as it was asked for, and as the stored XML has it."""
    (document,) = harness.all(
        "SELECT key FROM documents WHERE invoice_id = :id AND kind = 'xml' AND quarantined_reason IS NULL",
        id=invoice_id,
    )
    root = etree.fromstring(harness.tools.store.get(document.key))
    return harness.row(invoice_id).content["receptor"]["nombre"], root.find("{*}Receptor").get("Nombre")


def at_contadigital(harness: Harness, rfc: str, **changes: Any) -> Any:
    """What somebody changes by hand there."""
    return harness.sandbox.control("POST", f"/accounts/{harness.account}/customers/{rfc}", changes)


def test_ten_invoices_of_a_new_customer_at_once_make_one_customer_and_one_product(harness: Harness) -> None:
    """One looks and creates, the others wait for the id: four calls in all, and none for the next ten."""
    ids = [harness.submit(f"OP-{number}") for number in range(10)]

    stamp_all(harness, ids, threads=10)
    made = calls(harness, "clientes"), calls(harness, "productos")
    stamp_all(harness, [harness.submit(f"MORE-{number}") for number in range(3)])

    assert {harness.row(each).status for each in ids} == {"stamped"}
    assert made == (2, 2)
    assert (calls(harness, "clientes"), calls(harness, "productos")) == made
    assert harness.duplicates() == 0


def test_lines_alike_are_one_product_and_others_are_others(harness: Harness) -> None:
    """By key, name, unit and whether it bears tax; what differs only in price or text is the same."""
    line = a_concepto(retenciones=[])
    invoice_id = harness.submit(
        conceptos=[
            line,
            line | {"descripcion": "Otro texto", "valor_unitario": "1.00"},
            line | {"nombre": "Maniobras"},
            line | {"objeto_imp": "01", "traslados": []},
            line | {"clave_unidad": "H87"},
        ]
    )

    stamp_all(harness, [invoice_id])

    assert harness.row(invoice_id).status == "stamped", harness.row(invoice_id).errors
    products = harness.all(
        "SELECT r.provider_id FROM provider_refs r JOIN connections c ON c.id = r.connection_id"
        " WHERE c.account = :account AND r.kind = 'product'",
        account=harness.account,
    )
    assert len({row.provider_id for row in products}) == 4


def test_a_customer_that_changed_in_apunto_is_changed_before_the_stamp(harness: Harness) -> None:
    """ContaDigital stamps with what it holds: a new name, régimen or postcode is there first."""
    harness.sandbox.change(harness.account, behaviour={"any_receptor": True})
    changes = [
        {},
        {"nombre": "NOMBRE NUEVO"},
        {"nombre": "NOMBRE NUEVO", "domicilio_fiscal_receptor": "76343"},
        {"nombre": "NOMBRE NUEVO", "domicilio_fiscal_receptor": "76343", "regimen_fiscal_receptor": "603"},
        {},
    ]
    ids = []
    for number, change in enumerate(changes):
        ids.append(harness.submit(f"OP-{number}", receptor=anyone("NOMBRE VIEJO") | change))
        stamp_all(harness, ids[-1:])
    made = calls(harness, "clientes")
    stamp_all(harness, [harness.submit("LAST", receptor=anyone("NOMBRE VIEJO"))])

    assert {harness.row(each).status for each in ids} == {"stamped"}
    assert all(asked == result for asked, result in (names(harness, each) for each in ids))
    assert made == 2 * len(changes)
    assert calls(harness, "clientes") == made


def test_a_customer_that_was_switched_off_is_revived(harness: Harness) -> None:
    """Refused as inactive, it is learnt again and made active, and the invoice goes on by itself."""
    harness.stamped("FIRST")
    at_contadigital(harness, "XIA190128J61", Estatus=False)
    invoice_id = harness.submit()

    stamp_all(harness, [invoice_id])

    assert harness.row(invoice_id).status == "stamped"
    assert at_contadigital(harness, "XIA190128J61")["Estatus"] is True
    assert harness.event_types().count("connection.broken") == 0


def test_customers_abroad_share_an_rfc_and_each_xml_has_its_own_name(harness: Harness) -> None:
    """Ten invoices of four names at once, side by side: none is stamped under another's name."""
    ids = [
        harness.submit(f"OP-{number}", receptor=a_foreigner(f"ACME {number % 4} LLC")) for number in range(10)
    ]

    rounds = stamp_all(harness, ids)

    assert Counter(harness.row(each).status for each in ids) == {"stamped": 10}
    assert all(asked == result for asked, result in (names(harness, each) for each in ids))
    assert harness.duplicates() == 0
    assert rounds < 25


def test_who_let_others_go_first_does_not_wait_longer_each_time(harness: Harness) -> None:
    """Waiting for one's turn is no failed try."""
    first = harness.submit("FIRST", receptor=a_foreigner("ACME LLC"))
    second = harness.submit("SECOND", receptor=a_foreigner("OTHER LLC"))
    harness.stamp(harness.submit("ZERO", receptor=a_foreigner("ACME LLC")))

    take(first, harness.tools)
    for _ in range(6):
        harness.stamp(second)
        row = harness.row(second)
        assert (row.status, row.tries) == ("waiting", 0)
        assert (row.next_attempt_at - harness.tools.clock.now()).total_seconds() <= 2
        harness.later(seconds=2.5)

    assert harness.attempts(second) == []


def test_a_customer_that_a_killed_worker_claimed_is_free_after_one_lease(harness: Harness) -> None:
    """Until then its invoices stay away from it, and keep no place of the account's others."""
    harness.stamped("FIRST")
    waiting = harness.submit("SECOND")
    with harness.tools.engine.begin() as db:
        db.execute(
            sa.update(provider_refs)
            .where(
                provider_refs.c.kind == "customer", provider_refs.c.connection_id == harness.connection().id
            )
            .values(claimed_until=harness.tools.clock.now() + harness.tools.policy.lease, claim=7)
        )
    harness.later(seconds=10)
    harness.stamp(waiting)
    row = harness.row(waiting)
    stays_away = (row.next_attempt_at - harness.tools.clock.now()).total_seconds()
    harness.later(seconds=harness.tools.policy.lease.total_seconds())
    harness.stamp(waiting)

    assert (row.status, row.tries) == ("waiting", 0)
    assert 15 < stays_away <= 20
    assert harness.row(waiting).status == "stamped"


def test_a_customer_that_a_killed_worker_claimed_while_the_clock_was_ahead_is_free(harness: Harness) -> None:
    """A claim that ends hours after any that is taken now was taken by a wrong clock."""
    harness.stamped("FIRST")
    with harness.tools.engine.begin() as db:
        db.execute(
            sa.update(provider_refs).values(claimed_until=harness.tools.clock.now() + timedelta(hours=5))
        )
    second = harness.submit("SECOND")

    harness.stamp(second)

    assert harness.row(second).status == "stamped"


def test_who_lost_a_customer_to_another_worker_changes_nothing_at_contadigital(harness: Harness) -> None:
    """Its look-up took longer than its lease: the change is the other's to make."""
    invoice_id = harness.submit("FIRST")
    slow = harness.another_worker(provider=Overtaken(harness))

    pipeline.stamp(invoice_id, slow.tools)

    assert harness.row(invoice_id).status == "waiting"
    assert calls(harness, "clientes") == 1  # the look-up alone


class Overtaken:
    """ContaDigital as a worker sees it whose customer passes to another while it looks for it."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness

    def __getattr__(self, name: str) -> Any:
        return getattr(self._harness.tools.provider, name)

    def find_customer(self, *about: Any) -> Any:
        found = self._harness.tools.provider.find_customer(*about)
        with self._harness.tools.engine.begin() as db:
            db.execute(sa.update(provider_refs).values(claim=provider_refs.c.claim + 1))
        return found


def test_a_name_that_somebody_changed_by_hand_at_contadigital_is_put_right_first(harness: Harness) -> None:
    """For the RFC of all foreigners the SAT compares no names, so nobody else would notice."""
    harness.stamp(harness.submit("FIRST", receptor=a_foreigner("ACME LLC")))
    at_contadigital(harness, "XEXX010101000", RazonSocial="SOMEBODY ELSE INC")
    invoice_id = harness.submit(receptor=a_foreigner("ACME LLC"))

    stamp_all(harness, [invoice_id])

    assert names(harness, invoice_id) == ("ACME LLC", "ACME LLC")


def test_what_the_sat_refuses_for_contadigitals_record_is_corrected_there_and_tried_again(
    harness: Harness,
) -> None:
    """A name spoilt by hand at ContaDigital: the SAT refuses the first try, and the invoice is stamped by the next."""
    harness.stamped("FIRST")
    at_contadigital(harness, "XIA190128J61", RazonSocial="XENON")
    invoice_id = harness.submit()
    harness.stamp(invoice_id)
    assert harness.row(invoice_id).status == "waiting"
    assert harness.attempts(invoice_id)[-1] == ("stamp", "refused")

    stamp_all(harness, [invoice_id])

    assert names(harness, invoice_id) == ("XENON INDUSTRIAL ARTICLES", "XENON INDUSTRIAL ARTICLES")


@pytest.mark.parametrize("fault", ["drop_after", "drop_before"])
def test_a_change_whose_answer_was_lost_is_believed_neither_way(harness: Harness, fault: str) -> None:
    """The customer may have the old name or the new one: whoever comes next looks first."""
    harness.sandbox.change(harness.account, behaviour={"any_receptor": True})
    harness.stamp(harness.submit("FIRST", receptor=anyone("NOMBRE VIEJO")))
    lost = harness.submit("LOST", receptor=anyone("NOMBRE NUEVO"))
    harness.sandbox.play(fault, account=harness.account, call="clientes", after=1, times=1)
    harness.stamp(lost)
    assert (harness.row(lost).status, harness.attempts(lost)) == ("waiting", [("customer", "lost")])

    old = harness.submit("OLD", receptor=anyone("NOMBRE VIEJO"))
    stamp_all(harness, [old])
    stamp_all(harness, [lost])

    assert names(harness, old) == ("NOMBRE VIEJO", "NOMBRE VIEJO")
    assert names(harness, lost) == ("NOMBRE NUEVO", "NOMBRE NUEVO")


def test_a_customer_is_not_changed_under_an_invoice_whose_answer_was_just_lost(harness: Harness) -> None:
    """ContaDigital may still be at it."""
    lost = harness.submit("LOST", receptor=a_foreigner("ACME LLC"))
    harness.sandbox.play("drop_before", account=harness.account, call="stamp", times=1)
    harness.stamp(lost)
    other = harness.submit("OTHER", receptor=a_foreigner("OTHER LLC"))

    harness.stamp(other)
    assert harness.row(other).status == "waiting"
    harness.later(seconds=harness.tools.policy.lease.total_seconds() + 1)

    stamp_all(harness, [other])
    assert names(harness, other) == ("OTHER LLC", "OTHER LLC")


@pytest.mark.parametrize("kind", ["customer", "product"])
def test_an_id_that_is_not_good_any_more_is_learnt_again(harness: Harness, kind: str) -> None:
    """Refused once, then found anew; the invoice costs one attempt more, and nobody is troubled."""
    harness.stamped("FIRST")
    harness.all(
        "UPDATE provider_refs SET provider_id = 987654 WHERE kind = :kind AND connection_id ="
        " (SELECT id FROM connections WHERE account = :account) RETURNING key",
        kind=kind,
        account=harness.account,
    )
    invoice_id = harness.submit()

    stamp_all(harness, [invoice_id])

    assert harness.row(invoice_id).status == "stamped", harness.row(invoice_id).errors
    assert harness.attempts(invoice_id)[0] == ("save", "refused")
    assert harness.event_types()[-2:] == ["invoice.accepted", "invoice.stamped"]


def test_lists_whose_ids_are_not_good_any_more_are_asked_for_again_once(harness: Harness) -> None:
    """Eight invoices at once with old ids: one asks, the others wait for what it brings."""
    harness.stamped("FIRST")
    catalogs = harness.connection().catalogs
    asked = calls(harness, "utiles")
    harness.all(
        "UPDATE connections SET catalogs = CAST(:lists AS jsonb), catalogs_at = catalogs_at - interval '1 s'"
        " WHERE account = :account RETURNING id",
        lists=json.dumps(_with_other_ids(catalogs)),
        account=harness.account,
    )
    ids = [harness.submit(f"OP-{number}") for number in range(8)]

    stamp_all(harness, ids)

    assert {harness.row(each).status for each in ids} == {"stamped"}
    assert calls(harness, "utiles") - asked <= 2
    assert harness.connection().status == "active"


def _with_other_ids(value: Any) -> Any:
    """The same lists under ids that ContaDigital does not know."""
    match value:
        case dict():
            return {
                name: each + 500_000
                if name.lower() == "id" and isinstance(each, int)
                else _with_other_ids(each)
                for name, each in value.items()
            }
        case list():
            return [_with_other_ids(each) for each in value]
        case _:
            return value


def test_lists_are_asked_for_again_on_their_age_by_one_for_all(harness: Harness) -> None:
    """Six hours old they are renewed; where that fails now, the old ones do a while longer."""
    harness.stamped("FIRST")
    asked = calls(harness, "utiles")
    harness.later(hours=6.1)
    ids = [harness.submit(f"OP-{number}") for number in range(6)]
    stamp_all(harness, ids)
    assert calls(harness, "utiles") - asked == 1

    harness.later(hours=6.1)
    harness.sandbox.play("status_before", account=harness.account, call="utiles", status=503)
    more = [harness.submit(f"MORE-{number}") for number in range(3)]
    stamp_all(harness, more)

    assert {harness.row(each).status for each in [*ids, *more]} == {"stamped"}


# --- another key, while something is being learnt with the old one ---------------------------------------------------


def until_asked(harness: Harness, call: str, before: int) -> None:
    """Wait until the sandbox has done one more of these calls; its answer may still be on the way."""
    deadline = time.monotonic() + 10
    while calls(harness, call) == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def with_a_new_account(harness: Harness) -> None:
    """The key is made anew, with other ids; the old token goes on working for a while."""
    key = harness.sandbox.regenerate_key(harness.account, other_ids=True)
    assert harness.connect(key).status == "active"


def test_what_an_old_key_still_learns_of_a_customer_is_not_believed(harness: Harness) -> None:
    """The old account's id would be another customer in the new one."""
    harness.sandbox.change(harness.account, behaviour={"old_tokens_survive": True})
    harness.stamped("FIRST")
    harness.all(
        "DELETE FROM provider_refs WHERE kind = 'customer' AND connection_id ="
        " (SELECT id FROM connections WHERE account = :account) RETURNING key",
        account=harness.account,
    )
    slow = harness.submit("SLOW")
    asked = calls(harness, "clientes")
    harness.sandbox.play("latency", account=harness.account, call="clientes", times=1, p50=3.0, p99=3.0)
    with ThreadPoolExecutor(1) as pool:
        learning = pool.submit(harness.stamp, slow)
        until_asked(harness, "clientes", asked)
        with_a_new_account(harness)
        harness.stamped("SECOND")
        assert not learning.done()
        learning.result()

    (known,) = harness.all(
        "SELECT provider_id FROM provider_refs r JOIN connections c ON c.id = r.connection_id"
        " WHERE c.account = :account AND r.kind = 'customer'",
        account=harness.account,
    )
    assert known.provider_id == at_contadigital(harness, "XIA190128J61")["Id"]
    assert harness.attempts(slow) == []
    stamp_all(harness, [slow])
    assert (harness.row(slow).status, harness.duplicates()) == ("stamped", 0)


def test_lists_that_were_asked_for_with_an_old_key_do_not_replace_the_new_ones(harness: Harness) -> None:
    """They are another account's: its series and its places of issue have other ids."""
    harness.sandbox.change(harness.account, behaviour={"old_tokens_survive": True})
    harness.stamped("FIRST")
    harness.later(hours=6.1)
    slow = harness.submit("SLOW")
    asked = calls(harness, "utiles")
    harness.sandbox.play("latency", account=harness.account, call="utiles", times=1, p50=3.0, p99=3.0)
    with ThreadPoolExecutor(1) as pool:
        refreshing = pool.submit(harness.stamp, slow)
        until_asked(harness, "utiles", asked)
        with_a_new_account(harness)
        assert not refreshing.done()
        refreshing.result()

    (serie,) = harness.sandbox.account(harness.account)["catalogues"]["Series"]
    assert [each["id"] for each in harness.connection().catalogs["series"]] == [serie["Id"]]
    assert harness.attempts(slow) == []
    stamp_all(harness, [slow])
    assert harness.row(slow).status == "stamped"


def test_stamps_left_that_only_the_lists_have_are_read_from_them(harness: Harness) -> None:
    """Who bought some need not wait for a number that is counted down to nothing."""
    harness.sandbox.change(harness.account, stamps=7, behaviour={"reports_stamps": True})
    connect.validate(harness.account, harness.tools)
    harness.sandbox.change(harness.account, behaviour={"reports_stamps": False})
    harness.stamped("FIRST")
    assert harness.connection().stamps_left == 6
    harness.sandbox.change(harness.account, stamps=500, behaviour={"reports_stamps": True})
    harness.later(hours=6.1)

    harness.sandbox.play("status_before", account=harness.account, call="save", status=429, times=1)
    harness.stamp(harness.submit())

    assert harness.connection().stamps_left == 500
