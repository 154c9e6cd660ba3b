"""Every aspect of a dialect changes what the sandbox reads or answers, and a wrong reading shows."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from lxml import etree

from cfdi.sat import files as sat_files
from sandbox import lists
from sandbox.accounts import NewAccount, random_behaviour
from sandbox.dialects import NAMED, RETENCIONES, SandboxDialect, choices_of, random_dialect
from sandbox.provider import Provider
from sandbox.refusals import Codigo, Refusal
from tests.support.sandbox_client import XIA, SandboxClient, a_line

JSON = dict[str, Any]
NS = {"c": sat_files.CFDI}
UUID = "9932113E-09AC-47BA-8E8C-6F83100C814F"
PUBLIC = ("XAXX010101000", "PUBLICO EN GENERAL", "64000", "616")
# 1,000.00 less 100.00 at 16 %, 4 % withheld: 1,008.00 to pay.
DISCOUNTED = {"precio": "1000.00", "descuento": "100.00", "ret_iva": "4"}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    provider = Provider(":memory:", demo=True)
    yield provider
    provider.store.close()


@pytest.fixture
def client(provider: Provider) -> SandboxClient:
    provider.reset()
    return SandboxClient(provider)


def number_of(text: Any) -> int | float:
    """A JSON number: whole ones without a point."""
    number = Decimal(str(text))
    return int(number) if number == int(number) else float(number)


def sent_in(dialect: SandboxDialect, body: JSON) -> JSON:
    """The client's body (net, withholdings not subtracted, percent) as this dialect wants it."""
    body = json.loads(json.dumps(body, default=str))
    kind: Any = str if dialect.numbers == "string" else number_of
    discounts = Decimal(0)
    for line in body["Productos"]:
        descuento, withheld = Decimal(line["Descuento"]), Decimal(line["RetIVA"]) + Decimal(line["RetISR"])
        discounts += descuento
        if dialect.importe == "gross":
            line["Importe"] = str(Decimal(line["Importe"]) + descuento)
        if dialect.line_total == "with_withholdings":
            line["Total"] = str(Decimal(line["Total"]) - withheld)
        number, word, rate = next(
            row
            for row in RETENCIONES
            if row[2] == (Decimal(line["TipoRetIVA"]) / 100).quantize(Decimal("1e-6"))
        )
        kinds = {"list": number, "word": word, "fraction": kind(rate), "percent": kind(line["TipoRetIVA"])}
        line["TipoRetIVA"] = kinds[dialect.tipo_retencion]
        if dialect.rates == "fraction":
            line |= {name: str(Decimal(line[name]) / 100) for name in ("PorcentajeIVA", "TasaISR")}
        for name in (
            "Cantidad",
            "Precio",
            "Descuento",
            "PorcentajeIVA",
            "IVA",
            "BaseRetIVA",
            "RetIVA",
            "TasaISR",
        ):
            line[name] = kind(line[name])
        for name in ("TasaIEPS", "ImporteIEPS", "RetISR", "Importe", "Total"):
            line[name] = kind(line[name])
    if dialect.subtotal == "gross":
        body |= {"Subtotal": str(Decimal(body["Subtotal"]) + discounts), "Descuento": str(discounts)}
    for name in (
        "TipoDeCambio",
        "Descuento",
        "IVA",
        "RetencionISR",
        "RetencionIVA",
        "IEPS",
        "Subtotal",
        "Total",
    ):
        body[name] = kind(body[name])
    for name in ("TotalImpuestosLocalesRetenidos", "TotalImpuestosLocalesTrasladados"):
        body[name] = kind(body[name])
    key, words = body["FormaDePago"][:2], "Transferencia electrónica de fondos"
    body["FormaDePago"] = {"key": key, "description": words, "dashed": f"{key} - {words}"}.get(
        dialect.forma_pago, f"{key} {words}"
    )
    return body


def stamped(client: SandboxClient, body: JSON) -> etree._Element:
    """The XML that comes of a body, as it was sent."""
    result = client.submit(body)
    record = client.provider.store.records.get(client.name, result["Id"])
    assert record.xml is not None
    return etree.fromstring(record.xml)


def amounts(root: etree._Element) -> tuple[str | None, ...]:
    return tuple(root.get(name) for name in ("SubTotal", "Descuento", "Total"))


def in_dialect(client: SandboxClient, **choices: Any) -> SandboxDialect:
    client.account.dialect = SandboxDialect(**choices)
    return client.account.dialect


def test_every_aspect_says_what_it_is() -> None:
    """A reader of GET /sandbox/dialects finds a meaning and at least two choices for each."""
    for name, field in SandboxDialect.model_fields.items():
        assert field.description, name
        assert len(choices_of(name)) >= 2, name


def test_a_seed_is_a_dialect_and_all_choices_come_up() -> None:
    """The same seed gives the same one; within 200 seeds every choice of every aspect is played."""
    drawn = [random_dialect(seed) for seed in range(200)]

    assert drawn[7] == random_dialect(7)
    for name in SandboxDialect.model_fields:
        assert {getattr(dialect, name) for dialect in drawn} == set(choices_of(name)), name


@pytest.mark.parametrize("name", NAMED)
def test_a_named_dialect_can_be_spoken(client: SandboxClient, name: str) -> None:
    """Each name in the list is of an account that stamps."""
    dialect = in_dialect(client, **NAMED[name])
    client.body()  # customers and products, in whatever way the account allows
    root = stamped(client, sent_in(dialect, client.body(a_line(**DISCOUNTED))))

    assert amounts(root) == ("1000.00", "100.00", "1008.00")


@pytest.mark.parametrize("seed", range(60))
def test_a_random_dialect_can_be_spoken(client: SandboxClient, seed: int) -> None:
    """Every combination has a body that is stamped with the right amounts, so that a client can find it."""
    dialect = random_dialect(seed)
    client.account.dialect = dialect
    root = stamped(client, sent_in(dialect, client.body(a_line(**DISCOUNTED), a_line())))

    assert amounts(root) == ("2250.35", "100.00", "2458.41")


@pytest.mark.parametrize("sums", ["check", "use"])
@pytest.mark.parametrize(
    ("read", "sent"),
    [
        ({"importe": "net"}, {"importe": "gross"}),
        ({"importe": "gross"}, {"importe": "net"}),
        ({"line_total": "with_withholdings"}, {"line_total": "without_withholdings"}),
        ({"tipo_retencion": "list"}, {"tipo_retencion": "percent"}),
        ({"tipo_retencion": "percent"}, {"tipo_retencion": "list"}),
        ({"tipo_retencion": "percent"}, {"tipo_retencion": "fraction"}),
    ],
)
def test_a_wrong_reading_is_refused_or_gives_other_amounts(
    client: SandboxClient, sums: str, read: JSON, sent: JSON
) -> None:
    """With `check` nothing is stamped; with `use` a good CFDI is, of another total than was meant."""
    base = {"importe": "gross", "subtotal": "gross", "line_total": "with_withholdings"}
    in_dialect(client, **(base | read | {"sums": sums}))
    body = sent_in(SandboxDialect(**(base | sent)), client.body(a_line(**DISCOUNTED)))

    if sums == "check":
        with pytest.raises(Refusal):
            client.submit(body)
    else:
        root = stamped(client, body)
        assert root.get("Total") != "1008.00"
        assert sat_files.schema_errors(root) == ()


def test_a_wrong_subtotal_is_refused(client: SandboxClient) -> None:
    """CFDI40108, in both directions."""
    for read, sent in (("net", "gross"), ("gross", "net")):
        in_dialect(client, subtotal=read)
        with pytest.raises(Refusal, match="CFDI40108"):
            client.submit(sent_in(SandboxDialect(subtotal=sent), client.body(a_line(**DISCOUNTED))))


def test_sums_can_be_ignored(client: SandboxClient) -> None:
    """Quantity, price, discount and rates are enough, whatever else is sent."""
    dialect = in_dialect(client, sums="ignore")
    body = sent_in(dialect, client.body(a_line(**DISCOUNTED, Importe="7.00", Total="8.00"), Total="9.00"))

    assert amounts(stamped(client, body)) == ("1000.00", "100.00", "1008.00")


@pytest.mark.parametrize(
    ("style", "good", "bad"),
    [("percent", 4, "4 %"), ("fraction", Decimal("0.04"), "4 %"), ("list", 2, 99), ("word", "4 %", 4)],
)
def test_a_withholding_is_sent_in_four_ways(client: SandboxClient, style: str, good: Any, bad: Any) -> None:
    """What is none of them is refused by the field's name; 0 is no withholding in each."""
    in_dialect(client, tipo_retencion=style)
    line = a_line(ret_iva="4")
    root = stamped(client, client.body(line | {"TipoRetIVA": good}))

    assert root.find(".//c:Retencion[@TasaOCuota]", NS).get("TasaOCuota") == "0.040000"  # type: ignore[union-attr]
    with pytest.raises(Refusal, match="TipoRetIVA"):
        client.submit(client.body(line | {"TipoRetIVA": bad}))
    assert client.submit(client.body(a_line() | {"TipoRetIVA": 0}))["UUID"]


@pytest.mark.parametrize(("numbers", "kind", "other"), [("number", float, str), ("string", str, float)])
def test_numbers_can_have_to_be_of_one_kind(
    client: SandboxClient, numbers: str, kind: Any, other: Any
) -> None:
    """The other kind is refused by name."""
    dialect = in_dialect(client, numbers=numbers)
    body = sent_in(dialect, client.body())

    with pytest.raises(Refusal, match="Total debe ser"):
        client.submit(body | {"Total": other(body["Total"])})
    assert client.submit(body | {"Total": kind(body["Total"])})["UUID"]


@pytest.mark.parametrize(
    ("style", "iva", "isr"), [("percent", 16, 10), ("fraction", Decimal("0.16"), Decimal("0.1"))]
)
def test_rates_are_percentages_or_fractions(client: SandboxClient, style: str, iva: Any, isr: Any) -> None:
    """Read the other way they are no rate of the SAT's catalogue."""
    rates = {"PorcentajeIVA": iva, "TasaISR": isr}
    in_dialect(client, rates=style)
    body = client.body(a_line(ret_isr="10") | rates)

    assert stamped(client, body).get("Total") == "1325.37"
    in_dialect(client, rates={"percent": "fraction", "fraction": "percent"}[style])
    with pytest.raises(Refusal, match="CFDI40179"):
        client.submit(body)


def test_a_relation_and_payment_terms_are_checked_for_their_form(client: SandboxClient) -> None:
    """TipoRelacion as a key in two digits; CondicionesDePago unknown."""
    in_dialect(client, relation_type="text", payment_terms="refused")
    related = {"CFDIRelacionados": [UUID]}

    assert (
        stamped(client, client.body(TipoRelacion="04", **related)).find("c:CfdiRelacionados", NS) is not None
    )
    assert client.submit(client.body())["UUID"]
    for number in (4, "4", "ab"):
        with pytest.raises(Refusal, match="TipoRelacion"):
            client.submit(client.body(TipoRelacion=number, **related))
    with pytest.raises(Refusal, match="CondicionesDePago"):
        client.submit(client.body() | {"CondicionesDePago": "30 días"})


def test_comentarios_replace_are_appended_or_ignored(client: SandboxClient) -> None:
    """Beside the product's name."""
    found = {}
    for style in choices_of("comentarios"):
        in_dialect(client, comentarios=style)
        line = stamped(client, client.body(a_line(comentarios="OP-1"))).find("c:Conceptos/c:Concepto", NS)
        found[style] = None if line is None else line.get("Descripcion")

    assert found == {"replaces": "OP-1", "appended": "Flete terrestre OP-1", "ignored": "Flete terrestre"}


@pytest.mark.parametrize(
    ("style", "sent"),
    [
        ("uuids", [UUID]),
        ("objects", [{"UUID": UUID}]),
        ("text", f"{UUID},{UUID}"),
        ("typed", [{"TipoRelacion": "01", "UUID": UUID}]),
    ],
)
def test_relations_have_one_shape(client: SandboxClient, style: str, sent: Any) -> None:
    """Any other is refused."""
    in_dialect(client, relations=style)
    root = stamped(client, client.body(TipoRelacion=1, CFDIRelacionados=sent))

    assert {node.get("UUID") for node in root.iterfind("c:CfdiRelacionados/c:CfdiRelacionado", NS)} == {UUID}
    for other in {"uuids", "objects", "text", "typed", "refused"} - {style}:
        in_dialect(client, relations=other)
        with pytest.raises(Refusal):
            client.submit(client.body(TipoRelacion=1, CFDIRelacionados=sent))


@pytest.mark.parametrize(("style", "kinds"), [("objects", {"01"}), ("typed", {"01", "04"})])
def test_a_lax_provider_reads_of_a_relation_what_it_knows(
    client: SandboxClient, style: str, kinds: set[str]
) -> None:
    """One that knows no kind in a row gives each the root's; one that knows it gives the root's to a row without."""
    in_dialect(client, relations=style, unknown_fields="ignored")
    rows = [{"UUID": UUID}, {"TipoRelacion": "04", "UUID": UUID}]
    root = stamped(client, client.body(TipoRelacion=1, CFDIRelacionados=rows))

    assert {node.get("TipoRelacion") for node in root.iterfind("c:CfdiRelacionados", NS)} == kinds


def test_a_global_invoice_is_sent_made_or_refused(client: SandboxClient) -> None:
    """As an object, flat, by the provider itself, or not by API."""
    year = str(client.provider.clock.now().year)
    period = {"Periodicidad": "04", "Meses": "11", "Anio": year}
    sent: dict[str, JSON] = {"object": {"InformacionGlobal": period}, "flat": period, "automatic": {}}

    def body(more: JSON) -> JSON:
        line = a_line(clave="01010101", unidad="ACT")
        return client.body(line, receptor=PUBLIC, forma="01", UsoCFDI="S01") | more

    for style, more in sent.items():
        in_dialect(client, global_invoice=style)
        found = stamped(client, body(more)).find("c:InformacionGlobal", NS)
        assert found is not None
        assert (found.get("Periodicidad"), found.get("Año")) == ("04", year)
    in_dialect(client, global_invoice="refused")
    with pytest.raises(Refusal, match="portal"):
        client.submit(body(sent["object"]))


@pytest.mark.parametrize("word", choices_of("tipo_egreso"))
def test_a_credit_note_has_one_word(client: SandboxClient, word: str) -> None:
    """And an invoice is `Factura` in every dialect (observed)."""
    in_dialect(client, tipo_egreso=word)
    note = client.body(TipoComprobante=word, UsoCFDI="G02", TipoRelacion=1, CFDIRelacionados=[UUID])

    assert stamped(client, note).get("TipoDeComprobante") == "E"
    assert stamped(client, client.body()).get("TipoDeComprobante") == "I"
    with pytest.raises(Refusal, match="TipoComprobante"):
        client.submit(note | {"TipoComprobante": "Credito"})


@pytest.mark.parametrize(
    ("style", "good", "bad"),
    [
        ("starts_with_key", "03 da igual", "Transferencia"),
        ("exact", "03 Transferencia electrónica de fondos", "03 Transferencia"),
        ("dashed", "03 - Transferencia electrónica de fondos", "03 Transferencia electrónica de fondos"),
        ("key", "03", "03 Transferencia electrónica de fondos"),
        ("description", "Transferencia electrónica de fondos", "03"),
        ("ignored", "28 Tarjeta de débito", None),
    ],
)
def test_the_text_of_the_payment_form_is_checked_for_its_style(
    client: SandboxClient, style: str, good: str, bad: str | None
) -> None:
    """Beside the id, which is always needed."""
    in_dialect(client, forma_pago=style)

    assert client.submit(client.body(FormaDePago=good))["UUID"]
    if bad is not None:
        with pytest.raises(Refusal, match="FormaDePago"):
            client.submit(client.body(FormaDePago=bad))


def test_a_put_can_empty_what_it_leaves_out(client: SandboxClient) -> None:
    """A customer kept by hand loses its telephone and its street to a partial update, where PUT replaces."""
    by_hand = {"Telefono": "81 8888 0000", "DiasCredito": 30, "Calle": "Av. Uno 1", "Contacto": "Lic. Perez"}
    fiscal = {"RFC": XIA[0], "RazonSocial": XIA[1], "CP": XIA[2], "RegimenFiscal": XIA[3]}
    left = {}
    for style in choices_of("customer_put"):
        in_dialect(client, customer_put=style)
        client.provider.store.save_customer(client.name, XIA[0], fiscal | by_hand | {"Estatus": True})
        client.provider.change_customer(client.account, fiscal | {"CP": "06000"})
        found = client.provider.customer(client.account, client.id_empresa, XIA[0])
        assert found is not None
        left[style] = {name: found.get(name) for name in by_hand}

    assert left == {"merge": by_hand, "replace": dict.fromkeys(by_hand)}


def test_the_object_that_a_get_gave_can_be_put_back(client: SandboxClient) -> None:
    """As the known integration does: whole, with Estatus true."""
    client.body()
    for style in choices_of("customer_put"):
        in_dialect(client, customer_put=style)
        found = client.provider.customer(client.account, client.id_empresa, XIA[0])
        assert found is not None
        changed = client.provider.change_customer(client.account, found | {"Estatus": True})
        assert changed.items() >= {name: found[name] for name in ("Email", "Ciudad")}.items()


def test_a_strict_customer_needs_a_contact_a_street_and_a_country(client: SandboxClient) -> None:
    """The country is "México", as the known integration sends it."""
    in_dialect(client, customer_needs="contact")
    body = {"RFC": "URE180429TM6", "RazonSocial": "UNIVERSIDAD", "RegimenFiscal": "601", "CP": "86991"}
    body |= {
        "IdEmpresaCliente": client.id_empresa,
        "Contacto": "UNIVERSIDAD",
        "Calle": "S/N",
        "Pais": "México",
    }

    for name, value in (("Contacto", ""), ("Calle", None), ("Pais", "MEX")):
        with pytest.raises(Refusal, match=name):
            client.provider.add_customer(client.account, body | {name: value})
    assert client.provider.add_customer(client.account, body)["Id"]


@pytest.mark.parametrize(("style", "status"), [("404", 404), ("405", 405), ("refused", 200)])
def test_products_can_be_made_in_the_portal_only(client: SandboxClient, style: str, status: int) -> None:
    """The calls say no; the product made by hand has an id that stamps."""
    in_dialect(client, products=style)
    with pytest.raises(Refusal) as caught:
        client.provider.products(client.account, client.id_empresa, "78101802")

    assert caught.value.status == status
    assert client.submit(client.body())["UUID"]


def test_products_can_come_without_an_id(client: SandboxClient) -> None:
    """They are made and listed, and nothing says under which number."""
    in_dialect(client, products="no_id")
    client.body()

    rows = client.provider.products(client.account, client.id_empresa, "78101802")
    assert rows
    assert all("Id" not in row for row in rows)


def test_a_look_up_reports_nothing_or_everything(client: SandboxClient) -> None:
    """`resolved` has the amounts as they were understood, `echo` as they were sent, `bare` none."""
    in_dialect(client, look_up="resolved", importe="gross", sums="use")
    net = sent_in(SandboxDialect(importe="net"), client.body(a_line(**DISCOUNTED), only_save=True))
    record = client.submit(net)["Id"]
    reported = {}
    for style in choices_of("look_up"):
        client.account.dialect.look_up = style
        reported[style] = client.invoicing.look_up(client.account, record, client.plan)

    assert reported["bare"].keys() == {"Id", "UUID", "Serie", "Folio"}
    assert reported["plain"]["Total"] == "896.00"
    assert (reported["resolved"]["Subtotal"], reported["resolved"]["RFCReceptor"]) == ("900.00", XIA[0])
    assert reported["echo"]["IdCliente"] == net["IdCliente"]


def numbers_in(value: Any) -> set[str]:
    """Every number, and every key that is one, anywhere in a structure."""
    if isinstance(value, dict):
        return {key for key in value if key.isdigit()} | {
            n for part in value.values() for n in numbers_in(part)
        }
    if isinstance(value, list):
        return {number for part in value for number in numbers_in(part)}
    return {str(value)}


@pytest.mark.parametrize("series", choices_of("series"))
@pytest.mark.parametrize("shape", [shape for shape in choices_of("utiles") if shape not in ("empty", "404")])
def test_every_shape_of_the_lists_has_every_id(client: SandboxClient, shape: str, series: str) -> None:
    """So that nothing but the form differs; only a series that is not active may be left out."""
    in_dialect(client, utiles=shape, series=series, moneda="pesos", tipo_retencion="word")
    shown = lists.utiles(client.account)
    rows = [row for rows in client.account.catalogues.values() for row in rows if row.get("Activa", True)]
    text = json.dumps(shown, ensure_ascii=False)

    assert {str(row["Id"]) for row in rows} <= numbers_in(shown)
    assert "PESOS" in text
    assert "MXN" not in text
    assert "10.6667 %" in text
    assert ("Clientes a" in text) == (series == "name" or (series == "both" and shape != "by_key"))


def test_the_shapes_differ() -> None:
    """At least ten of them, with the same account behind each."""
    provider = Provider(":memory:", demo=True)
    account = provider.account("demo")
    texts = set()
    for shape in choices_of("utiles"):
        account.dialect = SandboxDialect(utiles=shape)
        if shape == "404":
            with pytest.raises(Refusal) as caught:
                lists.utiles(account)
            assert (caught.value.status, caught.value.codigo) == (404, Codigo.NOT_FOUND)
        else:
            texts.add(json.dumps(lists.utiles(account)))

    assert len(texts) == len(choices_of("utiles")) - 1 >= 10
    provider.store.close()


@pytest.mark.parametrize(
    ("flag", "yes", "no"), [("number", 1, 0), ("word", "Activo", "Inactivo"), ("letter", "S", "N")]
)
def test_keys_and_flags_of_lists_can_be_written_otherwise(
    client: SandboxClient, flag: str, yes: Any, no: Any
) -> None:
    """A postcode that lost its zero, a payment form of one digit, a series in use that is not true."""
    in_dialect(client, list_keys="number", active_flag=flag)
    shown = lists.utiles(client.account)

    assert {row["CP"] for row in shown["LugaresDeExpedicion"]} >= {6000, 64000}
    assert {row["Clave"] for row in shown["FormasDePago"]} >= {1, 3, 99}
    assert [(row["Serie"], row["Activa"]) for row in shown["Series"]] == [("A", yes), ("B", no)]
    assert client.submit(client.body(lugar="06000"))["UUID"]


def test_other_lists_can_mislead(client: SandboxClient) -> None:
    """Banks and users mean nothing; second lists of places and currencies have ids that stamping does not take."""
    plain = lists.utiles(client.account).keys()
    in_dialect(client, extra_lists="unknown")
    assert {"Bancos", "Usuarios"} <= lists.utiles(client.account).keys() - plain
    in_dialect(client, extra_lists="ambiguous")
    second = lists.utiles(client.account)["MonedasDeReportes"][0]["Id"]

    with pytest.raises(Refusal, match="IdMoneda"):
        client.submit(client.body(IdMoneda=second))


def test_pesos_can_have_the_id_that_the_form_of_the_known_integration_begins_with(provider: Provider) -> None:
    """The currency list may give pesos the IdMoneda 1, with which that form begins."""
    provider.reset()
    account = provider.open_account(NewAccount(name="one", dialect={"peso_id": "one"}))

    assert account.catalogues["Monedas"][0] == {"Id": 1, "Clave": "MXN"}


def test_a_seed_is_also_a_behaviour() -> None:
    """Within 60 seeds each choice is played; the same seed gives the same."""
    drawn = [random_behaviour(seed) for seed in range(60)]

    assert drawn[3] == random_behaviour(3)
    for name in ("token_style", "reports_empresa", "key_refusal", "unknown_customer", "documents"):
        assert len({getattr(behaviour, name) for behaviour in drawn}) >= 2, name


def test_a_dialect_is_chosen_by_name_by_seed_or_field_by_field(provider: Provider) -> None:
    """Where an account is opened; what does not exist is refused by name."""
    provider.reset()
    opened = [
        provider.open_account(NewAccount(name=f"a-{place}", dialect=choice))
        for place, choice in enumerate(["gross", 7, {"importe": "net"}])
    ]

    assert [account.dialect for account in opened] == [
        SandboxDialect(**NAMED["gross"]),
        random_dialect(7),
        SandboxDialect(importe="net"),
    ]
    with pytest.raises(ValueError, match="no such dialect"):
        NewAccount(name="x", dialect="klingon")


def test_ids_of_the_lists_are_numbers_or_guids(client: SandboxClient) -> None:
    """What the lists show is what a body must say; the number behind a GUID is no id of it."""
    numbers = client.body()
    in_dialect(client, catalogue_ids="guid")
    shown = lists.utiles(client.account)["Monedas"][0]["Id"]

    assert stamped(client, client.body()).get("Moneda") == "MXN"
    assert client.body()["IdMoneda"] == shown != numbers["IdMoneda"]
    with pytest.raises(Refusal, match="IdSerie debe ser un texto"):
        client.submit(client.body() | {"IdSerie": numbers["IdSerie"]})
