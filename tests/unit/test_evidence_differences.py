"""What a good CFDI may say otherwise, and what it may not: each kind with its neighbours on both sides."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from lxml import etree

from cfdi.document import read
from cfdi.evidence import CHECKS, Difference, Expected, Report, Severity, examine
from cfdi.evidence.content import COMPARISONS
from cfdi.evidence.report import MOST_DIFFERENCES
from tests.support import builders, signed_xml
from tests.support.signed_xml import FECHA, UUID, Edit, Stamping

PAC = signed_xml.a_pac()
KNOWN = {PAC.no_certificado: PAC.der}
OTHER_UUID = UUID.replace("9932", "AA32")

CONCEPTO = "{*}Conceptos/{*}Concepto"
SECOND = f"{CONCEPTO}[2]"
TRASLADO = f"{CONCEPTO}/{{*}}Impuestos/{{*}}Traslados/{{*}}Traslado"
RETENCION = f"{CONCEPTO}/{{*}}Impuestos/{{*}}Retenciones/{{*}}Retencion"

# 3 x 1039.655172 = 3118.965516: 3118.97 half up, and the SAT takes 3118.96 as well.
FINE = builders.an_invoice(
    conceptos=[
        builders.a_concepto(cantidad="3", valor_unitario="1039.655172", descuento=None, retenciones=[]),
        builders.a_concepto(descuento=None, retenciones=[], descripcion="Maniobras de carga"),
    ]
)


def look(invoice: builders.JSON, how: Stamping | None = None, **changes: object) -> Report:
    expected = replace(Expected(read(invoice), builders.an_issuer(), FECHA, UUID), **changes)
    return examine(signed_xml.stamped(invoice, how), expected, known_pac_certificates=KNOWN)


def stamped_with(invoice: builders.JSON, *edits: Edit) -> Report:
    """A provider that seals something else: every seal is good."""
    return look(invoice, Stamping(before_seal=edits))


def put(path: str, **attributes: str | None) -> Edit:
    def edit(root: etree._Element) -> None:
        node = root.find(path)
        assert node is not None
        for name, value in attributes.items():
            if value is None:
                node.attrib.pop(name, None)
            else:
                node.set(name, value)

    return edit


def add_complement(tag: str, **attributes: str) -> Edit:
    def edit(root: etree._Element) -> None:
        holder = root.find("{*}Complemento")
        if holder is None:
            holder = etree.SubElement(root, f"{{{signed_xml.CFDI}}}Complemento")
        etree.SubElement(holder, tag, attributes)

    return edit


def severities(report: Report) -> dict[str, set[Severity]]:
    found: dict[str, set[Severity]] = {}
    for each in report.differences:
        found.setdefault(each.code, set()).add(each.severity)
    return found


P, S = {Severity.PRESENTATIONAL}, {Severity.SUBSTANTIAL}
LEYENDAS = "{http://www.sat.gob.mx/leyendasFiscales}LeyendasFiscales"
IMPLOCAL = "{http://www.sat.gob.mx/implocal}ImpuestosLocales"

RELATED = builders.an_invoice(cfdi_relacionados={"tipo_relacion": "04", "uuids": [UUID, OTHER_UUID]})


def reorder_relations(root: etree._Element) -> None:
    node = root.find("{*}CfdiRelacionados")
    assert node is not None
    node.append(node[0])


def repeat_relation(root: etree._Element) -> None:
    node = root.find("{*}CfdiRelacionados")
    assert node is not None
    node.append(etree.fromstring(etree.tostring(node[0])))


def add_to(path: str, name: str, **attributes: str) -> Edit:
    def edit(root: etree._Element) -> None:
        node = root.find(path)
        assert node is not None
        etree.SubElement(node, f"{{{signed_xml.CFDI}}}{name}", attributes)

    return edit


def reverse(path: str) -> Edit:
    def edit(root: etree._Element) -> None:
        node = root.find(path)
        assert node is not None
        node[:] = reversed(node)

    return edit


# 10 off with three decimals: the line's tax rests on 90.00 or on 89.996.
WITH_DISCOUNT = builders.an_invoice(
    conceptos=[builders.a_concepto(cantidad="1", valor_unitario="100.00", descuento="10.00")]
)
ROWS = "{*}Impuestos/{*}Traslados"
WITHHELD_ROWS = "{*}Impuestos/{*}Retenciones"
WITHHELD = f"{CONCEPTO}/{{*}}Impuestos/{{*}}Retenciones"


# Each: what was sent, what the provider sealed instead, and the difference that is found.
CASES: dict[str, tuple[builders.JSON, Edit, str, set[Severity]]] = {
    "fecha: a second later": (FINE, put(".", Fecha="2026-11-23T10:15:01"), "fecha", P),
    "fecha: 59 minutes 59 earlier": (FINE, put(".", Fecha="2026-11-23T09:15:01"), "fecha", P),
    "fecha: an hour earlier": (FINE, put(".", Fecha="2026-11-23T09:15:00"), "fecha", S),
    "fecha: another day": (FINE, put(".", Fecha="2026-11-22T23:59:59"), "fecha", S),
    "name: no comma, no accent, lower case": (
        builders.an_invoice(receptor=builders.a_receptor(nombre="ÓPTICA Y LÁSER, GRUPO.")),
        put("{*}Receptor", Nombre="Optica y laser grupo"),
        "receptor",
        P,
    ),
    "name: & written otherwise": (
        builders.an_invoice(receptor=builders.a_receptor(rfc="L&O950913MSA", nombre="LUCES & OBRAS")),
        put("{*}Receptor", Nombre="LUCES Y OBRAS"),
        "receptor",
        P,
    ),
    "name: & as an entity": (
        builders.an_invoice(receptor=builders.a_receptor(rfc="L&O950913MSA", nombre="LUCES & OBRAS")),
        put("{*}Receptor", Nombre="LUCES &amp; OBRAS"),
        "receptor",
        P,
    ),
    "name: régimen de capital left out": (
        builders.an_invoice(receptor=builders.a_receptor(nombre="XENON INDUSTRIAL ARTICLES SA DE CV")),
        put("{*}Receptor", Nombre="XENON INDUSTRIAL ARTICLES"),
        "receptor",
        P,
    ),
    "name: another word": (FINE, put("{*}Receptor", Nombre="XENON INDUSTRIAL ARTICLES DOS"), "receptor", S),
    "name: one letter": (FINE, put("{*}Receptor", Nombre="XENON INDUSTRIAL ARTICLE"), "receptor", S),
    "emisor: no dot": (FINE, put("{*}Emisor", Nombre="Escuela Kémper, Urgate."), "emisor", P),
    "emisor: another régimen": (FINE, put("{*}Emisor", RegimenFiscal="603"), "emisor", S),
    "serie: another": (FINE, put(".", Serie="B"), "serie", S),
    "serie: none": (FINE, put(".", Serie=None), "serie", S),
    "line: importe in the SAT's window": (FINE, put(CONCEPTO, Importe="3118.96"), "importe", P),
    "line: importe with six decimals": (FINE, put(CONCEPTO, Importe="3118.965516"), "importe", P),
    "line: importe below the window": (FINE, put(CONCEPTO, Importe="3118.95"), "importe", S),
    "line: importe above the window": (FINE, put(CONCEPTO, Importe="3118.98"), "importe", S),
    "line: tax at the low end of its window": (
        FINE,
        put(TRASLADO, Importe="499.03"),
        "concepto_impuestos",
        P,
    ),
    "line: tax with six decimals": (FINE, put(TRASLADO, Importe="499.035200"), "concepto_impuestos", P),
    "line: tax below its window": (FINE, put(TRASLADO, Importe="499.02"), "concepto_impuestos", S),
    "line: tax above its window": (FINE, put(TRASLADO, Importe="499.05"), "concepto_impuestos", S),
    "line: base with six decimals": (FINE, put(TRASLADO, Base="3118.965516"), "concepto_impuestos", P),
    "line: base of 1": (FINE, put(TRASLADO, Base="1"), "concepto_impuestos", S),
    "line: base a cent off": (FINE, put(TRASLADO, Base="3118.98"), "concepto_impuestos", S),
    "line: withholding in its window": (
        builders.an_invoice(conceptos=[builders.a_concepto(valor_unitario="3118.97", descuento=None)]),
        put(RETENCION, Importe="124.75"),
        "concepto_impuestos",
        P,
    ),
    "line: withholding outside": (
        builders.an_invoice(conceptos=[builders.a_concepto(valor_unitario="3118.97", descuento=None)]),
        put(RETENCION, Importe="124.74"),
        "concepto_impuestos",
        S,
    ),
    "line: price with four decimals": (FINE, put(CONCEPTO, ValorUnitario="1039.6552"), "valor_unitario", P),
    "line: price without decimals": (FINE, put(CONCEPTO, ValorUnitario="1040"), "valor_unitario", S),
    "line: another price": (FINE, put(CONCEPTO, ValorUnitario="1039.6553"), "valor_unitario", S),
    "line: another quantity": (FINE, put(CONCEPTO, Cantidad="3.000001"), "cantidad", S),
    "line: discount with four decimals": (
        WITH_DISCOUNT,
        put(CONCEPTO, Descuento="10.0040"),
        "concepto_descuento",
        P,
    ),
    "line: discount half a cent off": (
        WITH_DISCOUNT,
        put(CONCEPTO, Descuento="10.0050"),
        "concepto_descuento",
        S,
    ),
    "line: discount a cent off": (WITH_DISCOUNT, put(CONCEPTO, Descuento="9.99"), "concepto_descuento", S),
    "line: no discount": (WITH_DISCOUNT, put(CONCEPTO, Descuento=None), "concepto_descuento", S),
    "line: a withholding of nothing more": (
        WITH_DISCOUNT,
        add_to(
            WITHHELD,
            "Retencion",
            Base="90.00",
            Impuesto="001",
            TipoFactor="Tasa",
            TasaOCuota="0.000000",
            Importe="0.00",
        ),
        "concepto_impuestos",
        P,
    ),
    "line: a withholding of a cent more": (
        WITH_DISCOUNT,
        add_to(
            WITHHELD,
            "Retencion",
            Base="90.00",
            Impuesto="001",
            TipoFactor="Tasa",
            TasaOCuota="0.000100",
            Importe="0.01",
        ),
        "concepto_impuestos",
        S,
    ),
    "summary: a row of zeros more": (
        FINE,
        add_to(
            ROWS,
            "Traslado",
            Base="0.00",
            Impuesto="002",
            TipoFactor="Tasa",
            TasaOCuota="0.080000",
            Importe="0.00",
        ),
        "impuestos",
        P,
    ),
    "summary: a row of 0 % with a base": (
        FINE,
        add_to(
            ROWS,
            "Traslado",
            Base="18118.97",
            Impuesto="002",
            TipoFactor="Tasa",
            TasaOCuota="0.000000",
            Importe="0.00",
        ),
        "impuestos",
        S,
    ),
    "summary: a row of a cent more": (
        FINE,
        add_to(
            ROWS,
            "Traslado",
            Base="0.00",
            Impuesto="002",
            TipoFactor="Tasa",
            TasaOCuota="0.080000",
            Importe="0.01",
        ),
        "impuestos",
        S,
    ),
    "summary: a withholding of zero more": (
        WITH_DISCOUNT,
        add_to(WITHHELD_ROWS, "Retencion", Impuesto="001", Importe="0.00"),
        "impuestos",
        P,
    ),
    "text: the product's name": (FINE, put(CONCEPTO, Descripcion="Flete terrestre"), "descripcion", P),
    "text: name and ours": (
        FINE,
        put(CONCEPTO, Descripcion="FLETE TERRESTRE / Flete Monterrey-Laredo OP-10234"),
        "descripcion",
        P,
    ),
    "text: cut short": (FINE, put(CONCEPTO, Descripcion="Flete Monterrey - Lar"), "descripcion", P),
    "text: the SAT's words for the key": (
        builders.an_invoice(conceptos=[builders.a_concepto(clave_prod_serv="78101802")]),
        put(CONCEPTO, Descripcion="Transporte de carga por carretera a nivel regional y nacional"),
        "descripcion",
        P,
    ),
    "text: ours and what nobody asked for": (
        FINE,
        put(CONCEPTO, Descripcion="Flete Monterrey - Laredo, OP-10234 y otro flete que nadie pidio"),
        "descripcion",
        S,
    ),
    "text: contains the product's name": (
        builders.an_invoice(conceptos=[builders.a_concepto(nombre="Servicio", descripcion="Servicio")]),
        put(CONCEPTO, Descripcion="Servicio de consultoria en sistemas"),
        "descripcion",
        S,
    ),
    "text: of signs, beside the product's number": (
        builders.an_invoice(conceptos=[builders.a_concepto(no_identificacion="Y", descripcion=":")]),
        put(CONCEPTO, Descripcion="Y - :"),
        "descripcion",
        P,
    ),
    "text: hardly one": (FINE, put(CONCEPTO, Descripcion="F"), "descripcion", S),
    "text: none": (FINE, put(CONCEPTO, Descripcion="-"), "descripcion", S),
    "number of the product": (FINE, put(CONCEPTO, NoIdentificacion="P-0001"), "no_identificacion", P),
    "no number of the product": (FINE, put(CONCEPTO, NoIdentificacion=None), "no_identificacion", P),
    "conditions": (FINE, put(".", CondicionesDePago="Contado"), "condiciones_de_pago", P),
    "lines in another order": (FINE, reverse("{*}Conceptos"), "orden", P),
    "relations in another order": (RELATED, reorder_relations, "cfdi_relacionados", P),
    "a relation twice": (RELATED, repeat_relation, "cfdi_relacionados", P),
    "a relation of another kind": (
        RELATED,
        put("{*}CfdiRelacionados", TipoRelacion="07"),
        "cfdi_relacionados",
        S,
    ),
    "leyendas": (FINE, add_complement(LEYENDAS, version="1.0"), "additions", P),
    "local taxes of zero": (
        FINE,
        add_complement(IMPLOCAL, version="1.0", TotaldeRetenciones="0.00", TotaldeTraslados="0.00"),
        "additions",
        P,
    ),
    "local taxes of a cent": (
        FINE,
        add_complement(IMPLOCAL, version="1.0", TotaldeRetenciones="0.00", TotaldeTraslados="0.01"),
        "additions",
        S,
    ),
    "Carta Porte": (
        FINE,
        add_complement("{http://www.sat.gob.mx/CartaPorte31}CartaPorte", Version="3.1"),
        "additions",
        S,
    ),
    "a complement nobody knows": (FINE, add_complement("{urn:x}Otro"), "additions", S),
    "a confirmation": (FINE, put(".", Confirmacion="a1B2c"), "additions", S),
    "total: a cent more": (FINE, put(".", Total="21018.02"), "total", S),
}


@pytest.mark.parametrize("case", CASES)
def test_a_difference_is_of_its_kind(case):
    """One difference, at its place, presentational or substantial; the CFDI is a good one either way."""
    invoice, edit, code, severity = CASES[case]
    report = stamped_with(invoice, edit)

    assert report.is_good_cfdi
    assert severities(report) == {code: severity}
    assert report.ok == (severity == P)
    assert [each.code for each in report.substantial] == ([] if severity == P else [code])


def test_an_unrounded_line_with_equal_totals_is_the_same_invoice():
    """As a production CFDI of 2025 had it: six decimals in every line, the SAT's sums."""
    report = stamped_with(
        FINE,
        put(CONCEPTO, Importe="3118.965516"),
        put(TRASLADO, Base="3118.965516", Importe="499.034483"),
    )

    assert report.ok
    assert severities(report) == {"importe": P, "concepto_impuestos": P}


def test_an_unrounded_discount_with_equal_totals_is_the_same_invoice():
    """The base of the line's taxes follows the discount as it is printed."""
    report = stamped_with(
        WITH_DISCOUNT,
        put(CONCEPTO, Descuento="10.0040"),
        put(TRASLADO, Base="89.9960", Importe="14.3994"),
        put(RETENCION, Base="89.9960", Importe="3.5998"),
    )

    assert report.ok
    assert severities(report) == {"concepto_descuento": P, "concepto_impuestos": P}


def test_taxes_of_a_line_may_come_in_any_order():
    """Rows are compared by tax, not by place."""
    fees = builders.a_concepto(
        retenciones=[
            builders.a_retencion(impuesto="001", tasa_o_cuota="0.100000"),
            builders.a_retencion(tasa_o_cuota="0.106667"),
        ]
    )
    report = stamped_with(
        builders.an_invoice(conceptos=[fees]),
        reverse(f"{CONCEPTO}/{{*}}Impuestos/{{*}}Retenciones"),
        reverse("{*}Impuestos/{*}Retenciones"),
    )

    assert report.differences == ()


def test_reordered_lines_are_compared_with_their_own():
    """A changed amount is found in whatever order the lines came."""
    lines = [builders.a_concepto(valor_unitario=f"{price}.00") for price in range(100, 130)]
    invoice = builders.an_invoice(conceptos=lines)

    assert severities(stamped_with(invoice, reverse("{*}Conceptos"))) == {"orden": P}
    changed = stamped_with(invoice, reverse("{*}Conceptos"), put(CONCEPTO, Cantidad="2"))
    assert not changed.ok


def test_the_serie_is_not_asked_before_it_is_known():
    """An issuer without a series accepts any."""
    assert look(FINE, Stamping(serie="Z"), issuer=builders.an_issuer(serie=None)).ok


@pytest.mark.parametrize(
    "edit",
    [
        put("{*}Receptor", RegimenFiscalReceptor="627"),
        put(CONCEPTO, ObjetoImp="09"),
        put(CONCEPTO, ClaveUnidad="ZZZ"),
    ],
)
def test_a_key_that_our_lists_do_not_know_is_no_fault_of_the_document(edit: Edit):
    """The SAT took it: what differs is reported by the comparison alone, never by the schema's enumerations."""
    report = stamped_with(FINE, edit)

    assert report.is_good_cfdi
    assert "schema" not in [check.name for check in report.failed]
    assert not report.ok  # it is not the key that was sent


def test_the_key_that_was_sent_passes_though_no_list_has_it():
    """A régimen newer than our schema, asked for and stamped."""
    invoice = builders.an_invoice(receptor=builders.a_receptor(regimen_fiscal_receptor="627"))
    report = look(invoice)

    assert report.ok
    assert severities(report) == {"claves_nuevas": P}
    assert [each.received for each in report.differences] == ["627"]


# --- what surrounds the XML ---------------------------------------------------------------------------

GOOD = signed_xml.stamped(FINE)
SCHEMA_LOCATION = b'<tfd:TimbreFiscalDigital xmlns:schemaLocation="http://www.sat.gob.mx/a http://x.xsd" '

WRAPPED: dict[str, Callable[[bytes], bytes]] = {
    "blanks before the declaration": lambda xml: b"\r\n \t" + xml,
    "a BOM and a blank": lambda xml: b"\xef\xbb\xbf\n" + xml,
    "a NUL after the end": lambda xml: xml + b"\n\x00\x00",
    "a stylesheet": lambda xml: xml.replace(
        b"?>", b'?><?xml-stylesheet href="http://127.0.0.1:1/x.xsl"?>', 1
    ),
    "a namespace that is no URI": lambda xml: xml.replace(b"<tfd:TimbreFiscalDigital ", SCHEMA_LOCATION),
}


@pytest.mark.parametrize("case", WRAPPED)
def test_what_surrounds_the_xml_is_no_part_of_it(case):
    """Blanks, marks and the like around it are presentational."""
    report = examine(WRAPPED[case](GOOD), Expected(read(FINE), builders.an_issuer(), FECHA, UUID))

    assert report.ok
    assert severities(report) == {"envoltura": P}


@pytest.mark.parametrize(
    "xml",
    [
        b"x" + GOOD,
        GOOD + b"\x00x",
        GOOD.replace(b"<tfd:TimbreFiscalDigital ", SCHEMA_LOCATION).replace(b"</cfdi:Complemento>", b""),
        GOOD.replace(b"<tfd:TimbreFiscalDigital ", SCHEMA_LOCATION).replace(
            b' Total="', b' Total="1" Total="'
        ),
        GOOD.replace(b"<tfd:TimbreFiscalDigital ", SCHEMA_LOCATION)[:-9],
        GOOD.replace(b"<cfdi:Emisor", b"<?php echo 1 ?><cfdi:Emisor"),
    ],
    ids=["letters before", "letters after", "no end tag", "an attribute twice", "cut off", "inside the root"],
)
def test_one_forgiven_fault_excuses_no_other(xml):
    """With a second fault of syntax the document is no CFDI."""
    report = examine(xml, Expected(read(FINE), builders.an_issuer(), FECHA, UUID))

    assert not report.is_good_cfdi
    assert next(check.name for check in report.failed) == "parse"


def broken_base64(name: str) -> Edit:
    def edit(root: etree._Element) -> None:
        text = root.get(name, "")
        root.set(name, "\n".join(text[at : at + 64] for at in range(0, len(text), 64)))

    return edit


@pytest.mark.parametrize("name", ["Certificado", "Sello"])
def test_blanks_inside_base64_are_no_part_of_it(name):
    """A seal broken over lines still verifies."""
    report = look(FINE, Stamping(before_stamp=[broken_base64(name)]))

    assert report.ok
    assert severities(report) == {"envoltura": P}


# --- the report ---------------------------------------------------------------------------------------


def test_a_bad_document_is_no_good_cfdi_whatever_it_says():
    """Changed after it was sealed: the content is compared all the same."""
    report = look(FINE, Stamping(after_stamp=[put(".", Total="1.00")]))

    assert not report.is_good_cfdi
    assert not report.ok
    assert [each.code for each in report.substantial] == ["total"]


def test_other_parties_are_no_good_cfdi():
    """The receptor's RFC is the identity: a CFDI of somebody else proves nothing about this invoice."""
    report = stamped_with(FINE, put("{*}Receptor", Rfc="IIA040805DZ4"))

    assert not report.is_good_cfdi
    assert [check.name for check in report.failed] == ["partes", "receptor"]


def test_a_difference_speaks_to_a_user():
    """Its sentence names the field, both values with their names, and nothing in code."""
    [difference] = stamped_with(FINE, put(".", FormaPago="01")).differences

    assert difference == Difference(
        code="forma_pago",
        field="forma_pago",
        severity=Severity.SUBSTANTIAL,
        sent="03 (Transferencia electrónica de fondos)",
        received="01 (Efectivo)",
        message="Forma de pago: en tu factura es 03 (Transferencia electrónica de fondos) "
        "y en el CFDI timbrado es 01 (Efectivo).",
    )


@pytest.mark.parametrize("case", CASES)
def test_no_sentence_holds_a_tuple_or_english(case):
    """Messages for a user have no Python and no English in them."""
    invoice, edit, _, _ = CASES[case]
    for each in stamped_with(invoice, edit).differences:
        assert each.message.endswith(".")
        assert not {"None", "Decimal", "sent", "('", "XML has"} & set(each.message.split())
        assert "(None" not in each.message
        assert "('" not in each.message


def test_a_stored_report_is_bounded_and_has_the_substantial_first():
    """Of 150 differences those that matter survive the cut."""
    lines = [builders.a_concepto(traslados=[], retenciones=[], objeto_imp="01") for _ in range(150)]

    def rename_all(root: etree._Element) -> None:
        for node in root.findall(CONCEPTO):
            node.set("NoIdentificacion", "X")

    report = stamped_with(builders.an_invoice(conceptos=lines), rename_all, put(".", Total="1.00"))
    stored = json.loads(json.dumps(report.as_dict()))

    assert len(stored["differences"]) == MOST_DIFFERENCES
    assert stored["differences"][0]["code"] == "total"
    assert stored["is_good_cfdi"] is True


def test_every_comparison_says_which_of_its_differences_are_what():
    """Each has its codes, what it compares and why."""
    for name, comparison in COMPARISONS.items():
        assert name in CHECKS
        assert comparison.presentational or comparison.substantial, name
        assert comparison.what
        assert comparison.why


def test_the_tables_of_this_file_show_what_the_comparisons_promise():
    """A comparison that promises harmless differences has a case here that shows one."""
    shown = {(code, severity) for _, _, code, found in CASES.values() for severity in found}

    promised = {name for name, each in COMPARISONS.items() if each.presentational}
    assert promised <= {code for code, severity in shown if severity in P} | {"cantidad"}


def test_a_quantity_may_lose_decimals():
    """Rounded by the PAC it is presentational; another number is substantial."""
    line = builders.a_concepto(cantidad="3.333333", valor_unitario="10.00", retenciones=[], descuento=None)
    invoice = builders.an_invoice(conceptos=[line])

    assert severities(stamped_with(invoice, put(CONCEPTO, Cantidad="3.33"))) == {"cantidad": P}
    assert severities(stamped_with(invoice, put(CONCEPTO, Cantidad="3.34"))) == {"cantidad": S}


def test_a_base_of_the_summary_may_follow_unrounded_lines():
    """Only the base, by the roundings of lines that are not rounded in the XML; the tax is equal to the cent."""
    lines = [
        builders.a_concepto(
            cantidad="1",
            valor_unitario="10.004",
            descuento=None,
            retenciones=[],
            traslados=[builders.a_traslado()],
        )
        for _ in range(4)
    ]
    invoice = builders.an_invoice(conceptos=lines)

    def unrounded(root: etree._Element) -> None:
        for node in root.findall(CONCEPTO):
            node.set("Importe", "10.004")

    row = "{*}Impuestos/{*}Traslados/{*}Traslado"
    assert severities(stamped_with(invoice, unrounded, put(row, Base="40.02")))["impuestos"] == P
    assert severities(stamped_with(invoice, put(row, Base="40.02")))["impuestos"] == S


def test_amounts_of_the_same_number_are_equal():
    """More or fewer zeros are no difference."""
    report = stamped_with(FINE, put(".", SubTotal="18118.970000", Descuento="0"))

    assert report.ok
    assert report.differences == ()


def test_a_stamp_days_later_is_another_matter_than_its_fecha():
    """FechaTimbrado is the PAC's, Fecha the issuer's."""
    assert look(FINE, Stamping(fecha_timbrado=FECHA + timedelta(hours=71))).differences == ()
