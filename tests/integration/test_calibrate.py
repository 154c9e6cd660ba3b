"""`calibrate`: a provider's habits are found by drafts, and by stamps only where nothing else decides."""

from datetime import timedelta
from typing import Any

import pytest

from cfdi.sat import zones
from contadigital import calibrate as trying
from contadigital.calibrate import Calibration
from contadigital.catalogs import Catalogs
from contadigital.resolve_ids import GivenIds
from stamping.connections import providers
from stamping.connections.credentials import credentials_of
from stamping.connections.remembered import issuer_of
from tests.integration.test_unfamiliar_provider import a_product_made_by_hand, at, by_hand, key_of
from tests.support.apunto import POSTCODE
from tests.support.builders import a_concepto, an_invoice
from tests.support.harness import Harness


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


OTHER_HABITS: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({"tipo_egreso": "Egreso", "relations": "objects", "relation_type": "text", "global_invoice": "flat"},
     {"palabra_egreso": "Egreso", "relaciones": "objects", "tipo_relacion": "text", "factura_global": "flat"}),
    ({"relations": "text", "payment_terms": "refused", "global_invoice": "automatic", "unknown_fields": "ignored"},
     {"relaciones": "text", "condiciones_de_pago": "left_out", "factura_global": "automatic"}),
    ({"relations": "typed", "relation_type": "text"}, {"relaciones": "typed", "tipo_relacion": "text"}),
    ({"relations": "typed", "unknown_fields": "ignored"}, {"relaciones": "typed"}),
    ({"relations": "objects", "unknown_fields": "ignored"}, {"relaciones": "objects"}),
    ({"relations": "refused", "global_invoice": "refused", "tipo_egreso": "E", "customer_put": "replace"},
     {"relaciones": "refused", "factura_global": "refused", "palabra_egreso": "E"}),
    ({"products": "405", "comentarios": "ignored", "customer_needs": "contact"}, {"productos": "given"}),
]  # fmt: skip


@pytest.mark.parametrize(("habits", "right"), OTHER_HABITS)
def test_what_is_no_amount_is_found_as_well(
    habits: dict[str, Any], right: dict[str, str], database: str, sandbox: Any
):
    """Credit notes, relations, global invoices, terms, customers, products: nothing that can be known is left open."""
    with at(database, sandbox, **habits) as harness:
        harness.connect(key_of(harness), ids={"producto": {"*": a_product_made_by_hand(harness)}})

        found = calibrated(harness, spend=8)

        assert found.changes == right
        assert found.stamps == harness.stamps() <= 8
        assert found.is_settled
        open_ones = {each.aspect for each in found.findings if each.verdict == trying.UNKNOWN}
        assert open_ones <= {"palabra_retencion", "tipo_relacion", "comentarios"}
        assert ("comentarios" in open_ones) is (habits.get("comentarios") == "ignored")
        assert ("tipo_relacion" in open_ones) is (habits.get("relations") == "refused")


def test_a_form_of_relations_that_only_seems_right_is_taken_back(database: str, sandbox: Any):
    """Set to say the kind in each row, where only the UUID is read there: two kinds in one invoice show it."""
    with at(database, sandbox, relations="objects", unknown_fields="ignored") as harness:
        harness.connect(key_of(harness))
        providers.set_dialect(sandbox.url, {"relaciones": "typed"}, harness.tools)

        found = calibrated(harness, spend=8)

        assert found.changes == {"relaciones": "objects"}
        assert found.stamps == harness.stamps() <= 8


def test_without_stamps_what_is_open_says_why(database: str, sandbox: Any):
    """Drafts decide the words and the forms; what only a stamp shows says so, and none is spent."""
    with at(database, sandbox, tipo_egreso="Egreso", relations="objects", look_up="bare") as harness:
        harness.connect(key_of(harness))

        found = calibrated(harness, spend=0)

        assert (found.stamps, harness.stamps()) == (0, 0)
        assert {name: found.changes[name] for name in ("palabra_egreso", "relaciones")} == {
            "palabra_egreso": "Egreso", "relaciones": "objects",
        }  # fmt: skip
        why = {each.aspect: each.evidence for each in found.findings if each.verdict == trying.UNKNOWN}
        assert "solo un timbre lo decide" in why["tasa_cero"]
        assert "relaciones" not in why
        assert "ninguna respuesta lo decide" not in why.values()
        assert not found.is_settled


def test_an_interruption_loses_nothing_that_was_found(database: str, sandbox: Any):
    """The account runs out of stamps, or nobody answers any more: what was found and left behind is reported."""
    with at(database, sandbox) as harness:
        harness.connect(key_of(harness))
        sandbox.change(harness.account, stamps=1)

        found = calibrated(harness, spend=6)

        assert (found.stamps, found.interrupted) == (1, "")
        assert found.is_settled
        why = {each.aspect: each.evidence for each in found.findings if each.verdict == trying.UNKNOWN}
        assert "sin timbres" in why["tasa_cero"]
    with at(database, sandbox) as harness:
        harness.connect(key_of(harness))
        sandbox.play("drop_before", account=harness.account, call="save", times=50, after=4)

        found = calibrated(harness, spend=6)

        assert found.interrupted
        assert found.is_settled is False
        assert [each for each in found.left if "factura timbrada" in each]
