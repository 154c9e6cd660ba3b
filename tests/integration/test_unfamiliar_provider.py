"""A ContaDigital with habits of its own: what can be recognised is, what can't is given by hand, and both stamp."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stamping.connections import connect, providers
from tests.support.apunto import POSTCODE
from tests.support.builders import a_concepto, a_receptor
from tests.support.harness import Harness, open_harness

SHAPES = [
    "assumed", "lower", "camel", "own_ids", "value_text", "nested", "flat", "by_key", "by_id", "other_names", "pairs",
    "by_company", "mixed",
]  # fmt: skip


@contextmanager
def at(database: str, sandbox: Any, **dialect: Any) -> Iterator[Harness]:
    """An account that is not connected yet, at a provider of this dialect; our own dialect is the default one."""
    with open_harness(database, sandbox, connected=False, dialect=dialect) as harness:
        providers.reset_dialect(sandbox.url, harness.tools)
        yield harness


def key_of(harness: Harness) -> str:
    return str(harness.sandbox.account(harness.account)["api_key"])


def by_hand(harness: Harness, **products: int) -> dict[str, Any]:
    """Every id, as a person reads it off the portal."""
    shown = harness.sandbox.control("GET", f"/accounts/{harness.account}/ids")
    return {
        "rfc": next(iter(shown["RFCs"].values())),
        "serie": shown["Series"]["A"],
        "sucursal": next(iter(shown["Sucursales"].values()), 0),
        "lugar_expedicion": shown["LugaresDeExpedicion"],
        "moneda": shown["Monedas"],
        "forma_pago": shown["FormasDePago"],
        "unidad": shown["UnidadesDeMedida"],
        "producto": products,
    }


def a_product_made_by_hand(harness: Harness) -> int:
    """The product of the usual line, made in the portal; its id."""
    line = a_concepto()
    units = harness.sandbox.control("GET", f"/accounts/{harness.account}/ids")["UnidadesDeMedida"]
    made = harness.sandbox.control(
        "POST",
        f"/accounts/{harness.account}/products",
        {
            "Clave": "GEN",
            "Nombre": line["nombre"],
            "ClaveProdServ": line["clave_prod_serv"],
            "ObjetoImp": line["objeto_imp"],
            "IdUM": units[line["clave_unidad"]],
        },
    )
    return int(made["Id"] if isinstance(made, dict) else made)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_account_whose_lists_have_another_shape_stamps(shape: str, database: str, sandbox: Any):
    """With another shape of the lists no account became active; now each stamps without an edit."""
    with at(database, sandbox, utiles=shape, moneda="pesos", extra_lists="unknown") as harness:
        row = harness.connect(key_of(harness), serie="A")
        assert row.status == "active", row.detail

        harness.stamped("OP-1")

        assert {each["list"] for each in harness.connection().recognised["lists"]} >= {
            "emisores", "series", "sucursales", "lugares_expedicion", "monedas", "formas_pago", "unidades",
        }  # fmt: skip


@pytest.mark.parametrize("shape", ["assumed", "value_text", "by_id", "pairs", "by_company", "404"])
def test_an_account_whose_ids_are_guids_stamps(shape: str, database: str, sandbox: Any):
    """Found in its lists, or typed where there are none; in the body they are what they are there."""
    with at(database, sandbox, utiles=shape, catalogue_ids="guid") as harness:
        ids = by_hand(harness) if shape == "404" else None
        empresa = sandbox.account(harness.account)["id_empresa"]
        row = harness.connect(key_of(harness), empresa_id=empresa, ids=ids)
        assert row.status == "active", row.detail

        harness.stamped("OP-1")


def test_a_guid_typed_wrong_is_named(database: str, sandbox: Any):
    """As a number would be: by what it is of, and as it was typed."""
    guid = "0b8f5c9e-1d2a-4f3b-8c4d-5e6f7a8b9c0d"
    with at(database, sandbox, catalogue_ids="guid") as harness:
        harness.connect(key_of(harness), ids={"unidad": {"H87": guid}})
        refused = harness.submit("OP-1", conceptos=[a_concepto(clave_unidad="H87")])
        harness.stamp(refused)

        (fault,) = harness.row(refused).errors
        assert (fault["code"], guid in fault["message"]) == ("contadigital.id_rechazado", True)


@pytest.mark.parametrize("shape", ["404", "empty"])
def test_ids_that_are_missing_are_named_one_by_one(shape: str, database: str, sandbox: Any):
    """Nothing false is said: each missing id by its name, what it is of, and where ContaDigital shows it."""
    with at(database, sandbox, utiles=shape) as harness:
        row = harness.connect(key_of(harness), empresa_id=sandbox.account(harness.account)["id_empresa"])

        assert (row.status, row.reason) == ("broken", "ids_missing")
        assert [fault["field"] for fault in row.detail["faults"]] == [
            "ids.rfc", f"ids.lugar_expedicion.{POSTCODE}", "ids.serie", "ids.sucursal",
        ]  # fmt: skip
        assert all("ContaDigital está en" in fault["fix"] for fault in row.detail["faults"])


def test_everything_by_hand_stamps_without_one_list(database: str, sandbox: Any):
    """As the only known integration does it: every id typed, customers with contact and street, no products call."""
    with at(
        database, sandbox, utiles="404", products="404", customer_needs="contact", peso_id="one"
    ) as harness:
        product = a_product_made_by_hand(harness)
        ids = by_hand(harness, **{"*": product})
        del ids["moneda"]  # IdMoneda of pesos is 1 where nothing else is known
        row = harness.connect(
            key_of(harness), empresa_id=sandbox.account(harness.account)["id_empresa"], ids=ids
        )
        assert row.status == "active", row.detail

        harness.stamped("OP-1")

        assert harness.connection().ids == ids | {"producto": {"*": product}}


def test_a_missing_id_blocks_only_the_invoice_that_needs_it(database: str, sandbox: Any):
    """One unit was not given: the invoice that needs it is refused naming it, the others are stamped."""
    with at(database, sandbox, utiles="404", products="404", peso_id="one") as harness:
        ids = by_hand(harness, **{"*": a_product_made_by_hand(harness)})
        ids["unidad"] = {"E48": ids["unidad"]["E48"]}
        harness.connect(key_of(harness), empresa_id=sandbox.account(harness.account)["id_empresa"], ids=ids)

        harness.stamped("OP-1")
        refused = harness.submit("OP-2", conceptos=[a_concepto(clave_unidad="H87")])
        harness.stamp(refused)

        (fault,) = harness.row(refused).errors
        assert (harness.row(refused).status, fault["code"]) == ("rejected", "contadigital.id_faltante")
        assert fault["field"] == "conceptos[0].clave_unidad"
        assert "H87" in fault["message"]
        assert "ids.unidad.H87" in fault["detail"]
        assert harness.connection().status == "active"


def test_one_page_in_the_place_of_a_product_refuses_no_invoice(harness: Harness, sandbox: Any):
    """The next try asks again, and the invoice is stamped; an answer that is always a page is named in the end."""
    sandbox.play("html", account=harness.account, call="productos", times=1)
    invoice_id = harness.submit("OP-1")
    harness.stamp(invoice_id)
    assert harness.row(invoice_id).status == "waiting"

    harness.later(minutes=1)
    harness.stamp(invoice_id)
    assert harness.row(invoice_id).status == "stamped"

    sandbox.play("html", account=harness.account, call="productos", times=100)
    never = harness.submit("OP-2", conceptos=[a_concepto(nombre="Otro producto")])
    for _ in range(8):
        harness.stamp(never)
        harness.later(minutes=15)

    (fault,) = harness.row(never).errors
    assert (harness.row(never).status, fault["code"]) == ("rejected", "contadigital.id_faltante")


@pytest.mark.parametrize("products", ["404", "405", "refused", "no_id"])
def test_without_a_products_call_the_product_is_named(products: str, database: str, sandbox: Any):
    """It waited for ever, and its user read that ContaDigital is slow."""
    with at(database, sandbox, products=products) as harness:
        harness.connect(key_of(harness))
        clave = a_concepto()["clave_prod_serv"]
        invoice_id = harness.submit("OP-1")
        harness.stamp(invoice_id)

        (fault,) = harness.row(invoice_id).errors
        assert (harness.row(invoice_id).status, fault["code"]) == ("rejected", "contadigital.id_faltante")
        assert f"ids.producto.{clave}" in fault["detail"]

        harness.connect(key_of(harness), ids={"producto": {clave: a_product_made_by_hand(harness)}})
        harness.stamped("OP-2")


@pytest.mark.parametrize("put", ["merge", "replace"])
def test_a_customer_kept_by_hand_keeps_what_is_kept_there(put: str, database: str, sandbox: Any):
    """One invoice erased a customer's e-mail, contact, street, telephone and credit days."""
    receptor = a_receptor(email="otro@cliente.mx")
    kept = {
        "RFC": receptor["rfc"], "RazonSocial": receptor["nombre"], "RegimenFiscal": "612", "CP": "64000",
        "Estatus": False, "Email": "cxp@xenon.mx", "Contacto": "Lic. Perez", "Calle": "Morelos 8", "Ciudad": "Celaya",
        "Pais": "México", "Telefono": "4611234567", "DiasCredito": 30, "UsoCFDIDefault": "G01",
    }  # fmt: skip
    with at(database, sandbox, customer_put=put, customer_needs="contact") as harness:
        sandbox.control("PUT", f"/accounts/{harness.account}/customers", kept)
        harness.connect(key_of(harness))

        harness.submit("OP-1", receptor=receptor)
        harness.stamped("OP-1")

        now = sandbox.control("POST", f"/accounts/{harness.account}/customers/{receptor['rfc']}", {})
        fiscal = {
            "RegimenFiscal": receptor["regimen_fiscal_receptor"],
            "CP": receptor["domicilio_fiscal_receptor"],
            "Estatus": True,
        }
        assert {name: now[name] for name in kept} == kept | fiscal


def test_another_letter_case_changes_no_customer(database: str, sandbox: Any):
    """A name in another letter case was enough to write over everything."""
    receptor = a_receptor()
    kept = {
        "RFC": receptor["rfc"], "RazonSocial": receptor["nombre"].title(),
        "RegimenFiscal": receptor["regimen_fiscal_receptor"], "CP": receptor["domicilio_fiscal_receptor"],
        "Estatus": True, "Email": "cxp@xenon.mx", "Contacto": "Lic. Perez",
    }  # fmt: skip
    with at(database, sandbox) as harness:
        sandbox.control("PUT", f"/accounts/{harness.account}/customers", kept)
        harness.connect(key_of(harness))
        harness.stamp(harness.submit("OP-1", receptor=receptor))

        counted = sandbox.ledger(harness.account)["calls"][harness.account].get("clientes", {})
        # looked at, once more when the SAT refused the name, and until then left alone
        assert sum(counted.values()) == 2
        (now,) = sandbox.control("GET", f"/accounts/{harness.account}/customers")
        assert {name: now[name] for name in kept} == kept


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"importe": "gross"}, {"importe": "gross"}),
        ({"subtotal": "gross"}, {"subtotal": "gross"}),
        ({"line_total": "with_withholdings"}, {"total_linea": "with_withholdings"}),
        ({"importe": "net", "subtotal": "net", "line_total": "without_withholdings"}, {}),
        ({"numbers": "string"}, {"numeros": "string"}),
        ({"tipo_retencion": "fraction"}, {"tipo_retencion": "fraction"}),
        ({"tipo_retencion": "list"}, {"tipo_retencion": "list"}),
        ({"tipo_retencion": "word"}, {"tipo_retencion": "word"}),
        ({"forma_pago": "key"}, {"forma_pago": "key"}),
        ({"forma_pago": "description"}, {"forma_pago": "text"}),
    ],
)
def test_a_changed_dialect_is_spoken_at_once(
    theirs: dict[str, Any], ours: dict[str, str], database: str, sandbox: Any
):
    """A discount and withholdings, which show each reading: refused before, stamped once the dialect is set."""
    line = a_concepto(valor_unitario="16000.00", descuento="1600.00")
    with at(database, sandbox, **theirs) as harness:
        harness.connect(key_of(harness))
        providers.set_dialect(sandbox.url, ours, harness.tools)
        invoice_id = harness.submit("OP-1", conceptos=[line])
        harness.stamp(invoice_id)

        assert harness.row(invoice_id).status == "stamped", harness.row(invoice_id).errors
        providers.reset_dialect(sandbox.url, harness.tools)


def test_what_was_saved_otherwise_costs_no_stamp(database: str, sandbox: Any):
    """A provider that reads an amount differently stamped 36 wrong invoices out of 40."""
    misread = {"importe": "gross", "sums": "use", "look_up": "resolved"}
    with open_harness(database, sandbox, reports=None, dialect=misread) as harness:
        providers.learn(sandbox.url, {"record_reports": None}, harness.tools)
        line = a_concepto(valor_unitario="16000.00", descuento="1600.00")
        ids = [harness.submit(f"OP-{place}", conceptos=[line]) for place in range(3)]
        for invoice_id in ids:
            harness.stamp(invoice_id)

        assert {harness.row(each).status for each in ids} == {"rejected"}
        assert harness.stamps() == 0
        assert "stamp" not in [call for each in ids for call, _ in harness.attempts(each)]
        assert {fault["code"] for fault in harness.row(ids[0]).errors} == {"contadigital.guardado_distinto"}
        providers.learn(sandbox.url, {"record_reports": False}, harness.tools)


@pytest.mark.parametrize("look_up", ["bare", "plain"])
def test_where_a_record_says_nothing_no_call_is_added(look_up: str, database: str, sandbox: Any):
    """Learnt once per address: the first invoice costs one look-up, the next ones none."""
    with open_harness(database, sandbox, reports=None, dialect={"look_up": look_up}) as harness:
        providers.learn(sandbox.url, {"record_reports": None}, harness.tools)
        first, second = harness.stamped("OP-1"), harness.stamped("OP-2")

        assert [call for call, _ in harness.attempts(first)] == ["save", "look_up", "stamp"]
        assert [call for call, _ in harness.attempts(second)] == ["save", "stamp"]


def test_a_good_record_that_reports_itself_is_stamped(database: str, sandbox: Any):
    """Where it says what was meant, the stamp is spent; an echo of the body and a reading of it alike."""
    for look_up in ("echo", "resolved"):
        with open_harness(database, sandbox, reports=None, dialect={"look_up": look_up}) as harness:
            providers.learn(sandbox.url, {"record_reports": True}, harness.tools)
            harness.submit("OP-1", conceptos=[a_concepto(valor_unitario="16000.00", descuento="1600.00")])
            harness.stamped("OP-1")
            harness.stamped("OP-2")
            providers.learn(sandbox.url, {"record_reports": False}, harness.tools)


def test_a_list_of_names_alone_is_not_called_an_inactive_series(database: str, sandbox: Any):
    """The connection asks for the letter, the list has names: which one it is must be typed, as its id or its name."""
    with at(database, sandbox, series="name") as harness:
        row = harness.connect(key_of(harness), serie="A")

        (fault,) = row.detail["faults"]
        assert (row.reason, fault["field"]) == ("ids_missing", "ids.serie")
        assert "Clientes a" in fault["fix"]
        assert harness.connect(key_of(harness), serie="Clientes a").status == "active"
        harness.stamped("OP-1")


def test_a_refusal_without_a_word_shows_its_user_no_technical_text(database: str, sandbox: Any):
    """No HTTP status and no media type in what a user reads; the attempt has them."""
    with at(database, sandbox, mensaje="none", importe="gross") as harness:
        harness.connect(key_of(harness))
        line = a_concepto(valor_unitario="16000.00", descuento="1600.00")
        refused = harness.submit("OP-1", conceptos=[line])
        harness.stamp(refused)

        (fault,) = harness.row(refused).errors
        assert fault["code"] == "contadigital.sin_motivo"
        assert "no dijo por qué" in fault["message"]
        assert "HTTP" not in fault["message"] + fault["fix"]


def test_an_id_typed_wrong_is_named_by_the_invoice_that_needs_it(database: str, sandbox: Any):
    """It was asked for again and again until the 72 hours had passed; the others of the account go on."""
    with at(database, sandbox) as harness:
        harness.connect(key_of(harness), ids={"unidad": {"H87": 99_999}})
        refused = harness.submit("OP-1", conceptos=[a_concepto(clave_unidad="H87")])
        harness.stamp(refused)

        (fault,) = harness.row(refused).errors
        assert (harness.row(refused).status, fault["code"]) == ("rejected", "contadigital.id_rechazado")
        assert "la unidad de medida H87 (IdUM): 99999" in fault["message"]
        assert "ids." not in fault["message"] + fault["fix"]
        assert (fault["whose"], fault["detail"]) == ("user", "refused: ids.unidad.H87")
        harness.stamped("OP-2")


def test_an_account_whose_own_id_was_typed_wrong_stops_once_and_names_it(database: str, sandbox: Any):
    """Each invoice needs it, so all wait; nothing is asked again before another id is given, and then they go on."""
    with at(database, sandbox) as harness:
        harness.connect(key_of(harness), ids={"sucursal": 99_999})
        first, second = harness.submit("OP-1"), harness.submit("OP-2")
        harness.stamp(first)
        harness.stamp(second)

        row = harness.connection()
        assert (row.status, row.reason, row.next_probe_at) == ("broken", "ids_missing", None)
        assert "la sucursal (IdSucursal): 99999" in row.detail["message"]
        assert "ids." not in row.detail["message"]
        assert {harness.row(each).status for each in (first, second)} == {"on_hold"}
        assert harness.event_types().count("connection.broken") == 1
        harness.connect(key_of(harness), ids={})
        for each in (first, second):
            harness.later(seconds=1)
            harness.stamp(each)
        assert {harness.row(each).status for each in (first, second)} == {"stamped"}


def test_an_id_of_its_own_lists_that_is_refused_again_and_again_ends(database: str, sandbox: Any):
    """The lists are read again, and say the same: then the refusal is there to be read, and no wait of 72 hours."""
    with at(database, sandbox, forma_pago="description") as harness:
        harness.connect(key_of(harness))
        invoice_id = harness.submit("OP-1")
        for _ in range(6):
            harness.stamp(invoice_id)
            if harness.row(invoice_id).status == "rejected":
                break
            harness.later(minutes=10)

        assert harness.row(invoice_id).status == "rejected"
        (fault,) = harness.row(invoice_id).errors
        assert "FormaDePago no corresponde a IdFormaDePago" in fault["message"]


def test_a_customer_in_another_letter_case_that_the_sat_refuses_is_corrected_there(
    database: str, sandbox: Any
):
    """Its user was asked to correct a name that was right in Apunto; nothing but the name changes at ContaDigital."""
    receptor = a_receptor()
    kept = {
        "RFC": receptor["rfc"], "RazonSocial": receptor["nombre"].title(),
        "RegimenFiscal": receptor["regimen_fiscal_receptor"], "CP": receptor["domicilio_fiscal_receptor"],
        "Estatus": True, "Email": "cxp@xenon.mx", "Contacto": "Lic. Perez", "Telefono": "4611234567", "DiasCredito": 30,
    }  # fmt: skip
    with at(database, sandbox, customer_put="replace") as harness:
        sandbox.control("PUT", f"/accounts/{harness.account}/customers", kept)
        harness.connect(key_of(harness))
        invoice_id = harness.submit("OP-1", receptor=receptor)
        harness.stamp(invoice_id)
        assert harness.row(invoice_id).status == "waiting"
        harness.later(minutes=1)
        harness.stamp(invoice_id)

        assert harness.row(invoice_id).status == "stamped"
        now = sandbox.control("POST", f"/accounts/{harness.account}/customers/{receptor['rfc']}", {})
        assert {name: now[name] for name in kept} == kept | {"RazonSocial": receptor["nombre"]}
        assert "invoice.rejected" not in harness.event_types()


def test_a_provider_that_reads_one_amount_otherwise_stamps_two_at_most(database: str, sandbox: Any):
    """36 wrong invoices of 40 where only the XML shows it; the rest is on hold and unstamped."""
    with open_harness(
        database, sandbox, dialect={"importe": "gross", "sums": "use", "look_up": "bare"}
    ) as harness:
        providers.reset_dialect(sandbox.url, harness.tools)
        harness.stamped("GOOD")  # without a discount both readings are one
        line = a_concepto(valor_unitario="16000.00", descuento="1600.00")
        ids = [harness.submit(f"OP-{place}", conceptos=[line]) for place in range(12)]
        for invoice_id in ids:
            harness.stamp(invoice_id)

        assert [harness.row(each).status for each in ids] == ["differs"] * 2 + ["on_hold"] * 10
        assert harness.stamps() == 3
        assert harness.connection().reason == "stamps_differ"


def test_a_connection_that_moves_says_first_what_it_leaves_behind(database: str, sandbox: Any):
    """What is in doubt can be looked up only where it was saved: counted before, and reported by the event after."""
    with at(database, sandbox) as harness:
        harness.connect(key_of(harness))
        harness.stamped("OP-1")
        sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
        harness.stamp(harness.submit("OP-2"))
        elsewhere = f"{sandbox.url}/at/another"

        assert connect.left_behind(harness.account, sandbox.url, None, harness.tools) == {}
        assert connect.left_behind(harness.account, elsewhere, None, harness.tools) == {"in_doubt": 1}
        assert connect.left_behind(harness.account, sandbox.url, 424_242, harness.tools) == {"in_doubt": 1}

        harness.connect(key_of(harness), base_url=elsewhere)
        (event,) = harness.all(
            "SELECT data FROM events WHERE account = :account AND type = 'connection.active' ORDER BY id DESC LIMIT 1",
            account=harness.account,
        )
        assert "1 facturas" in str(event.data)
