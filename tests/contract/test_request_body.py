"""The bodies that go out: the names that were seen, and the figures that the CFDI will have."""

import json
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from cfdi.amounts import compute
from cfdi.document import read
from contadigital.dialect import DEFAULT, Dialect
from contadigital.errors import DocumentRejected
from contadigital.request_body import dumps, invoice_body
from contadigital.resolve_ids import ResolvedIds
from tests.support.builders import a_concepto, a_retencion, a_traslado, an_exempt_traslado, an_invoice

# As printed in ContaDigital's calls; an integration in use sends exactly these.
ROOT = """
Id IdEmpresa IdRFC FolioOriginal Fecha TipoComprobante IdSerie IdSucursal IdLugarDeExpedicion
LugarDeExpedicion IdCliente IdSucursalCliente UsoCFDI TipoRelacion CFDIRelacionados TipoDeCambio IdMoneda IdBanco
MetodoDePago IdFormaDePago FormaDePago Descuento PorcentajeIVA IVA RetencionISR TipoRetencionIVA RetencionIVA IEPS
TotalImpuestosLocalesRetenidos TotalImpuestosLocalesTrasladados Subtotal Total Productos AgregarLeyendasFiscales
TipoComplementoAddenda SoloGuardar
""".split()  # noqa: SIM905 - a list of fifty quoted words reads worse
LINE = """
IdProducto IdUM Cantidad Precio Descuento PorcentajeIVA IVA TasaCero TasaIEPS ImporteIEPS BaseRetIVA TipoRetIVA
RetIVA TasaISR RetISR Importe Total Comentarios ClaveIdentificacion
""".split()  # noqa: SIM905 - likewise

IDS = ResolvedIds(
    id_empresa=1, id_rfc=2, id_serie=3, id_sucursal=4, id_lugar_expedicion=5, id_moneda=6, id_forma_pago=7,
    forma_pago="Transferencia electrónica de fondos", id_ums=(8,), id_cliente=9, id_productos=(10,),
)  # fmt: skip


def a_body(dialect: Dialect = DEFAULT, **changes: Any) -> dict[str, Any]:
    """The body of an invoice, as the other side reads it: exact decimals."""
    invoice = read(an_invoice(**changes))
    count = len(invoice.conceptos)
    ids = replace(IDS, id_ums=(8,) * count, id_productos=tuple(range(10, 10 + count)))
    body = invoice_body(
        invoice, compute(invoice), ids, record_id=0, folio_original="OP-10234-1",
        fecha=datetime(2026, 11, 23, 10, 15), solo_guardar=True, dialect=dialect,
    )  # fmt: skip
    decoded = json.loads(dumps(body), parse_float=Decimal)
    assert isinstance(decoded, dict)
    return decoded


def test_the_invoice_of_the_contract_goes_out_as_seen():
    """The contract's example becomes ContaDigital's save body, field for field and in the order that was seen."""
    body = a_body()

    assert list(body) == ROOT
    assert list(body["Productos"][0]) == LINE
    assert body | {"Productos": []} == {
        "Id": 0, "IdEmpresa": 1, "IdRFC": 2, "FolioOriginal": "OP-10234-1", "Fecha": "23-11-2026 10:15:00",
        "TipoComprobante": "Factura", "IdSerie": 3, "IdSucursal": 4, "IdLugarDeExpedicion": 5,
        "LugarDeExpedicion": "64000",
        "IdCliente": 9, "IdSucursalCliente": 0, "UsoCFDI": "G03", "TipoRelacion": 0, "CFDIRelacionados": None,
        "TipoDeCambio": 1, "IdMoneda": 6, "IdBanco": 0, "MetodoDePago": "PUE", "IdFormaDePago": 7,
        "FormaDePago": "03 Transferencia electrónica de fondos", "Descuento": 0, "PorcentajeIVA": 16, "IVA": 2400,
        "RetencionISR": 0, "TipoRetencionIVA": 4, "RetencionIVA": 600, "IEPS": 0, "TotalImpuestosLocalesRetenidos": 0,
        "TotalImpuestosLocalesTrasladados": 0, "Subtotal": 15000, "Total": 16800, "Productos": [],
        "AgregarLeyendasFiscales": False, "TipoComplementoAddenda": 0, "SoloGuardar": True,
    }  # fmt: skip
    assert body["Productos"] == [{
        "IdProducto": 10, "IdUM": 8, "Cantidad": 1, "Precio": 15000, "Descuento": 0, "PorcentajeIVA": 16, "IVA": 2400,
        "TasaCero": False, "TasaIEPS": 0, "ImporteIEPS": 0, "BaseRetIVA": 15000, "TipoRetIVA": 4, "RetIVA": 600,
        "TasaISR": 0, "RetISR": 0, "Importe": 15000, "Total": 17400,
        "Comentarios": "FLT-01 - Flete Monterrey - Laredo, OP-10234", "ClaveIdentificacion": "FLT-01",
    }]  # fmt: skip


def test_amounts_go_out_as_numbers_digit_by_digit():
    """A Decimal is written as a JSON number with its own digits: no exponent, no rounding, no quotes."""
    written = dumps(
        {"a": Decimal("15000.00"), "b": Decimal("0.160000"), "c": Decimal("1E+1"), "d": 3, "e": Decimal(0)}
    )

    assert written == b'{"a":15000.00,"b":0.160000,"c":10,"d":3,"e":0}'


@pytest.mark.parametrize("value", [0.16, {"a": 0.5}, [1.0], {"a": {"b": [float("nan")]}}])
def test_no_float_ever_leaves(value: Any):
    """A float anywhere in a body, however deep, is a TypeError before anything is sent."""
    with pytest.raises(TypeError, match="float"):
        dumps({"x": value})


@pytest.mark.parametrize("text", ['"', "\\", "\n", "ÑANDÚ & <HIJOS>", "𝄞", "\u2028", ""])
def test_texts_arrive_as_they_left(text: str):
    """Quotes, control characters and letters beyond ASCII survive the JSON that we write."""
    assert json.loads(dumps({"Comentarios": text, text: [text, None, True]})) == {
        "Comentarios": text, text: [text, None, True],
    }  # fmt: skip


RATES = [
    ([a_traslado()], "02", {"PorcentajeIVA": 16, "IVA": 160, "TasaCero": False}),
    ([a_traslado(tasa_o_cuota="0.080000")], "02", {"PorcentajeIVA": 8, "IVA": 80, "TasaCero": False}),
    ([a_traslado(tasa_o_cuota="0.000000")], "02", {"PorcentajeIVA": 0, "IVA": 0, "TasaCero": True}),
    ([an_exempt_traslado()], "02", {"PorcentajeIVA": 0, "IVA": 0, "TasaCero": False}),
    ([], "01", {"PorcentajeIVA": 0, "IVA": 0, "TasaCero": False}),
]


@pytest.mark.parametrize(("traslados", "objeto_imp", "expected"), RATES)
def test_a_rate_is_sent_in_percent_and_zero_is_not_exempt(
    traslados: Any, objeto_imp: str, expected: dict[str, Any]
):
    """0.16 goes out as 16; a rate of zero is marked as such, and an exempt line is not."""
    concepto = a_concepto(
        valor_unitario="1000.00", traslados=traslados, retenciones=[], objeto_imp=objeto_imp
    )

    line = a_body(conceptos=[concepto])["Productos"][0]

    assert {name: line[name] for name in expected} == expected
    assert line["Total"] == 1000 + expected["IVA"]


def test_withholdings_carry_their_rate_base_and_amount():
    """IVA and ISR withheld go out with rate, base after the discount and amount, and come off the total once."""
    fees = a_concepto(
        valor_unitario="1000.00", descuento="100.00",
        retenciones=[a_retencion(tasa_o_cuota="0.106667"), a_retencion(impuesto="001", tasa_o_cuota="0.012500")],
    )  # fmt: skip

    body = a_body(conceptos=[fees])

    line = body["Productos"][0]
    assert (line["BaseRetIVA"], line["TipoRetIVA"], line["RetIVA"]) == (
        900,
        Decimal("10.6667"),
        Decimal("96.00"),
    )
    assert (line["TasaISR"], line["RetISR"]) == (Decimal("1.25"), Decimal("11.25"))
    assert line["Total"] == line["Importe"] + 144 == 900 + 144
    assert (body["RetencionIVA"], body["RetencionISR"]) == (Decimal("96.00"), Decimal("11.25"))
    assert body["Total"] == line["Total"] - Decimal("96.00") - Decimal("11.25")


def test_several_lines_add_up():
    """Subtotal, IVA and total of the body are the sums of its lines, each with its own product."""
    lines = [
        a_concepto(valor_unitario="33.33", cantidad="3"),
        a_concepto(valor_unitario="0.01"),
        a_concepto(descuento="0.50"),
    ]

    body = a_body(conceptos=lines)

    assert sum(line["Total"] for line in body["Productos"]) == body["Total"] + body["RetencionIVA"]
    assert sum(line["Importe"] for line in body["Productos"]) == body["Subtotal"]
    assert sum(line["IVA"] for line in body["Productos"]) == body["IVA"]
    assert [line["IdProducto"] for line in body["Productos"]] == [10, 11, 12]


def test_a_credit_note_names_its_invoice():
    """Type E is sent as Nota de Credito, with the relation's number and the UUIDs it refers to."""
    uuid = "9932113E-09AC-47BA-8E8C-6F83100C814F"

    body = a_body(
        tipo_de_comprobante="E",
        cfdi_relacionados={"tipo_relacion": "01", "uuids": [uuid]},
        condiciones_de_pago="30 días",
    )

    assert (body["TipoComprobante"], body["TipoRelacion"], body["CFDIRelacionados"]) == (
        "Nota de Credito",
        1,
        [uuid],
    )
    assert body["CondicionesDePago"] == "30 días"


def test_relations_of_several_kinds_each_say_theirs():
    """Only one way of saying relations has room for it; in any other the invoice is refused before it is sent."""
    relations = [
        {"tipo_relacion": "04", "uuids": ["9932113E-09AC-47BA-8E8C-6F83100C814F"]},
        {"tipo_relacion": "07", "uuids": ["AA32113E-09AC-47BA-8E8C-6F83100C814F"]},
    ]
    body = a_body(DEFAULT.having(relaciones="typed"), cfdi_relacionados=relations)

    assert body["TipoRelacion"] == 4
    assert body["CFDIRelacionados"] == [
        {"TipoRelacion": "04", "UUID": "9932113E-09AC-47BA-8E8C-6F83100C814F"},
        {"TipoRelacion": "07", "UUID": "AA32113E-09AC-47BA-8E8C-6F83100C814F"},
    ]
    for way in ("uuids", "objects", "text"):
        with pytest.raises(DocumentRejected) as refused:
            a_body(DEFAULT.having(relaciones=way), cfdi_relacionados=relations)
        assert [fault.code for fault in refused.value.faults] == ["contadigital.varias_relaciones"]


def test_no_relation_is_null_and_never_an_empty_list():
    """An empty list is answered with an internal error (seen)."""
    assert a_body(cfdi_relacionados={"tipo_relacion": "04", "uuids": []})["CFDIRelacionados"] is None


def test_a_global_invoice_shows_its_period():
    """A global invoice tells its period."""
    body = a_body(informacion_global={"periodicidad": "04", "meses": "11", "anio": 2026})

    assert body["InformacionGlobal"] == {"Periodicidad": "04", "Meses": "11", "Anio": 2026}


def test_a_foreign_currency_has_its_exchange_rate():
    """The exchange rate of a USD invoice is sent with all its digits."""
    assert a_body(moneda="USD", tipo_cambio="18.234500")["TipoDeCambio"] == Decimal("18.234500")


@pytest.mark.parametrize(("concepto", "field"), [
    (a_concepto(traslados=[a_traslado(), a_traslado(tasa_o_cuota="0.080000")]), "conceptos[0].traslados"),
    (a_concepto(traslados=[a_traslado(impuesto="001")]), "conceptos[0].traslados"),
    (a_concepto(retenciones=[a_retencion(), a_retencion()]), "conceptos[0].retenciones"),
    (a_concepto(retenciones=[a_retencion(impuesto="003")]), "conceptos[0].retenciones"),
])  # fmt: skip
def test_taxes_without_a_field_are_refused_by_name(concepto: Any, field: str):
    """A tax that ContaDigital's body has no field for is a DocumentRejected that names the concepto's list."""
    with pytest.raises(DocumentRejected) as refused:
        a_body(conceptos=[concepto])

    assert [fault.field for fault in refused.value.faults] == [field]
