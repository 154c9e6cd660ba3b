"""`calibrate`: a provider's habits are found by drafts, and by stamps only where nothing else decides."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from cfdi.sat import zones
from contadigital import calibrate as trying
from contadigital.calibrate import Calibration
from contadigital.catalogs import Catalogs
from contadigital.ids import GivenIds
from stamping.connections import providers
from stamping.intake.submit import issuer_of
from stamping.prepare import credentials_of
from tests.integration.test_unfamiliar_provider import a_product_made_by_hand, at, by_hand, key_of
from tests.support.apunto import POSTCODE
from tests.support.builders import a_concepto, an_invoice
from tests.support.harness import Harness


@pytest.fixture(scope="module")
def database(make_database: Callable[[], str]) -> str:
    return make_database()


def calibrated(harness: Harness, spend: int = 0) -> Calibration:
    row = harness.connection()
    base = an_invoice(account=harness.account, lugar_expedicion=POSTCODE)
    issuer = issuer_of(row)
    assert issuer is not None
    return trying.Calibrator(
        harness.tools.provider,
        trying.TrialAccount(
            credentials_of(row, harness.tools),
            Catalogs.from_json(row.catalogs),
            GivenIds.read(row.ids),
            issuer,
            row.codigo_postal,
            row.serie_asked,
        ),
        base,
        providers.dialect_of(row.base_url, harness.tools),
        spend=spend,
        fecha=lambda: zones.local(harness.tools.clock.now() - timedelta(minutes=2), POSTCODE),
    ).run()


HABITS: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"importe": "net", "subtotal": "net", "line_total": "without_withholdings"}, {}),
    ({"importe": "gross", "subtotal": "gross", "line_total": "with_withholdings"},
     {"importe": "gross", "subtotal": "gross", "total_linea": "with_withholdings"}),
    ({"importe": "gross", "subtotal": "net", "line_total": "without_withholdings"}, {"importe": "gross"}),
    ({"tipo_retencion": "fraction"}, {"tipo_retencion": "fraction"}),
    ({"tipo_retencion": "list"}, {"tipo_retencion": "list"}),
    ({"tipo_retencion": "word"}, {"tipo_retencion": "word"}),
    ({"numbers": "string"}, {"numeros": "string"}),
    ({"forma_pago": "description"}, {"forma_pago": "text"}),
    ({"forma_pago": "key", "numbers": "number"}, {"forma_pago": "key"}),
]  # fmt: skip


@pytest.mark.parametrize(("habits", "right"), HABITS)
def test_a_provider_that_checks_is_found_by_what_it_refuses(
    habits: dict[str, Any], right: dict[str, str], database: str, sandbox: Any
):
    """A refused reading costs nothing, whether its draft or its stamp is refused; the found dialect then stamps."""
    with at(database, sandbox, **habits) as harness:
        harness.connect(key_of(harness))

        found = calibrated(harness, spend=4)

        assert found.changes == right
        assert found.stamps == harness.stamps() <= 4
        providers.set_dialect(sandbox.url, found.changes, harness.tools)
        harness.submit("OP-1", conceptos=[a_concepto(valor_unitario="16000.00", descuento="1600.00")])
        harness.stamped("OP-1")
        providers.reset_dialect(sandbox.url, harness.tools)


@pytest.mark.parametrize("look_up", ["bare", "resolved"])
def test_a_provider_that_uses_what_it_reads_is_found(look_up: str, database: str, sandbox: Any):
    """All readings are taken: what the record says decides, or else the XML of a stamp, which is then cancelled."""
    habits = {"importe": "gross", "subtotal": "gross", "line_total": "with_withholdings", "sums": "use"}
    with at(database, sandbox, look_up=look_up, **habits) as harness:
        harness.connect(key_of(harness))

        found = calibrated(harness, spend=12)

        assert found.changes.get("importe") == "gross"
        assert found.stamps <= 12
        assert found.stamps == harness.stamps()
        assert len([each for each in found.left if "factura timbrada" in each]) == found.stamps


def test_no_more_stamps_than_allowed(database: str, sandbox: Any):
    """Where one stamp is too few to know, it is said so, and no second one is spent."""
    with at(database, sandbox, look_up="bare", importe="gross", sums="use") as harness:
        harness.connect(key_of(harness))

        found = calibrated(harness, spend=1)

        assert (found.stamps, harness.stamps()) == (1, 1)
        assert {each.verdict for each in found.findings if each.aspect == "importe"} == {"not to be known"}


def test_the_table_names_every_aspect_and_nobody(database: str, sandbox: Any):
    """Each aspect stands in it once; no RFC, no name and no key of anybody does."""
    with at(
        database, sandbox, utiles="404", products="404", peso_id="one", customer_needs="contact"
    ) as harness:
        key = key_of(harness)
        ids = by_hand(harness, **{"*": a_product_made_by_hand(harness)})
        harness.connect(key, empresa_id=sandbox.account(harness.account)["id_empresa"], ids=ids)

        found = calibrated(harness)

        assert sorted(each.aspect for each in found.findings) == sorted(
            aspect.name for aspect in trying.ASPECTS
        )
        shown = str(found.as_dict())
        assert not [word for word in (key, "XIA190128J61", "XENON") if word in shown]


def test_a_provider_that_stamps_on_saving_is_not_tried(database: str, sandbox: Any):
    """Every draft would be a fiscal invoice: the first one ends it."""
    with at(database, sandbox) as harness:
        harness.connect(key_of(harness))
        sandbox.play("stamps_on_save", account=harness.account, call="save")

        with pytest.raises(trying.CannotCalibrate):
            calibrated(harness)


def test_a_customer_kept_under_an_older_name_does_not_hide_what_the_stamps_would_say(
    database: str, sandbox: Any
):
    """It is brought up to date as for any invoice, else each stamp is refused for its name and nothing is decided."""
    with at(database, sandbox, importe="gross", subtotal="gross", look_up="bare") as harness:
        kept = {
            "RFC": "XIA190128J61",
            "RazonSocial": "Xenon Industrial",
            "RegimenFiscal": "601",
            "CP": "76343",
        }
        sandbox.control("PUT", f"/accounts/{harness.account}/customers", kept | {"Telefono": "442 555 0000"})
        harness.connect(key_of(harness))

        found = calibrated(harness, spend=6)

        assert found.changes == {"importe": "gross", "subtotal": "gross"}
        customers = sandbox.control("GET", f"/accounts/{harness.account}/customers")
        (customer,) = [each for each in customers if each["RFC"] == kept["RFC"]]
        assert (customer["RazonSocial"], customer["Telefono"]) == (
            "XENON INDUSTRIAL ARTICLES",
            "442 555 0000",
        )
