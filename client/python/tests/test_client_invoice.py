"""The local check: every fault of an invoice's shape at once, in Spanish, before anything is sent."""

import copy
import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
from timbrado_client import (
    Concepto,
    Invoice,
    InvoiceInvalid,
    Receptor,
    Traslado,
    check,
    json_schema,
)

JSON = dict[str, Any]


def faults_of(invoice: Any) -> dict[str, str]:
    """What is wrong, as field -> code."""
    with pytest.raises(InvoiceInvalid) as refused:
        check(invoice)
    assert all(fault.message and fault.fix for fault in refused.value.faults)
    return {fault.field: fault.code for fault in refused.value.faults}


def test_a_good_invoice_goes_out_as_it_came(invoice: JSON) -> None:
    """Not a blank is changed: the same content must stay the same content, whoever sends it."""
    invoice["receptor"]["nombre"] = " xenon  industrial articles "

    assert check(invoice) == invoice


def test_every_fault_is_listed_at_once(invoice: JSON) -> None:
    """With its path, counted from 0, and its code."""
    del invoice["receptor"]["uso_cfdi"]
    invoice["UsoCFDI"] = "G03"
    invoice["fecha"] = "2026-11-23T10:15:00"
    invoice["total"] = 16800.0
    invoice["conceptos"].append({**copy.deepcopy(invoice["conceptos"][0]), "cantidad": "1,000", "nombre": 7})
    invoice["conceptos"][0]["traslados"][0]["tasa_o_cuota"] = "-0.16"

    assert faults_of(invoice) == {
        "receptor.uso_cfdi": "timbrado.falta",
        "UsoCFDI": "timbrado.campo_desconocido",
        "fecha": "CFDI40101",
        "total": "timbrado.numero_sin_comillas",
        "conceptos[1].cantidad": "timbrado.decimal_mal_escrito",
        "conceptos[1].nombre": "timbrado.tipo",
        "conceptos[0].traslados[0].tasa_o_cuota": "timbrado.negativo",
    }


def test_the_error_reads_as_a_list_of_what_to_fix(invoice: JSON) -> None:
    """Its text names every field, what is wrong, and what to do, in Spanish."""
    invoice["conceptos"][0]["nombre"] = None
    invoice["uso_cdfi"] = "G03"

    with pytest.raises(InvoiceInvalid) as refused:
        check(invoice)

    assert str(refused.value).splitlines() == [
        "conceptos[0].nombre: Falta un dato: Nombre del producto, línea 1. Captúralo en Apunto y envía la factura "
        'de nuevo. Si ya está capturado, es un error de Apunto: escribe a soporte. [missing, for example "Flete '
        'terrestre"]',
        "uso_cdfi: Apunto envió un dato que no es parte de la factura. No es culpa tuya: escribe a soporte de "
        "Apunto. [unknown field; leave it out]",
    ]


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        (lambda i: i.update(version=2), "version", "timbrado.version"),
        (lambda i: i.update(version=True), "version", "timbrado.version"),
        (lambda i: i.update(total="1.0000001"), "total", "timbrado.demasiados_decimales"),
        (lambda i: i.update(total="1234567890123456789"), "total", "timbrado.demasiados_digitos"),
        (lambda i: i.update(total=True), "total", "timbrado.tipo"),
        (lambda i: i.update(total=Decimal("NaN")), "total", "timbrado.decimal_mal_escrito"),
        (lambda i: i.update(total=Decimal(-1)), "total", "timbrado.negativo"),
        (lambda i: i.update(fecha=datetime(2026, 11, 23)), "fecha", "CFDI40101"),
        (lambda i: i.update(fecha="2026-13-45T10:15:00-06:00"), "fecha", "CFDI40101"),
        (lambda i: i.update(account="a\ud800"), "account", "timbrado.texto_roto"),
        (lambda i: i.update(conceptos={}), "conceptos", "timbrado.tipo"),
        (lambda i: i.update(conceptos=["x"]), "conceptos[0]", "timbrado.tipo"),
        (lambda i: i.update(receptor=None), "receptor", "timbrado.falta"),
        (lambda i: i.update(account=b"acme"), "", "timbrado.no_es_json"),
        (lambda i: i.update(account={1}), "", "timbrado.no_es_json"),
        (lambda i: i.update(receptor=i), "", "timbrado.no_es_json"),
        (lambda i: i.update(conceptos=[{}] * 5_001), "conceptos", "timbrado.demasiadas_lineas"),
        (lambda i: i.update(account="a" * 4_000_000), "", "timbrado.demasiado_grande"),
        (
            lambda i: i.update(informacion_global={"periodicidad": "04", "meses": "11", "anio": "26"}),
            "informacion_global.anio",
            "timbrado.tipo",
        ),
        (
            lambda i: i.update(cfdi_relacionados={"tipo_relacion": "01", "uuids": [1]}),
            "cfdi_relacionados.uuids[0]",
            "timbrado.tipo",
        ),
    ],
)
def test_one_fault(invoice: JSON, change: Callable[[JSON], None], field: str, code: str) -> None:
    """Each kind of misshapen value has its code and its place."""
    change(invoice)

    assert faults_of(invoice) == {field: code}


@pytest.mark.parametrize("what", [None, [], "texto", 7])
def test_what_is_no_object_is_refused(what: Any) -> None:
    """A list or a text is no invoice."""
    assert faults_of(what) == {"": "timbrado.no_es_objeto"}


def test_no_finding_of_pydantic_s_own_words_comes_out(invoice: JSON) -> None:
    """Each field made wrong in each way is explained in Spanish: no English leaks."""
    wrong = {"x": [1.5, {"y": None}]}
    for name in invoice:
        broken = copy.deepcopy(invoice)
        broken[name] = wrong
        with pytest.raises(InvoiceInvalid) as refused:
            check(broken)
        assert "Input should" not in str(refused.value)
        assert "pydantic" not in str(refused.value)


class Moneda(StrEnum):
    MXN = "MXN"


def test_an_invoice_can_be_made_of_the_models(invoice: JSON) -> None:
    """Typed nodes with Decimals become the same JSON, without the fields that were not given."""
    line = invoice["conceptos"][0]
    made = Invoice(
        account="acme",
        external_id="OP-10234-1",
        tipo_de_comprobante="I",
        forma_pago="03",
        metodo_pago="PUE",
        moneda=Moneda.MXN,
        lugar_expedicion="64000",
        receptor=Receptor(**invoice["receptor"]),
        conceptos=(
            Concepto(
                **{
                    **line,
                    "cantidad": Decimal(1),
                    "valor_unitario": Decimal("15000.00"),
                    "traslados": [
                        Traslado(impuesto="002", tipo_factor="Tasa", tasa_o_cuota=Decimal("0.160000"))
                    ],
                    "retenciones": (),
                }
            ),
        ),
        subtotal=Decimal("15000.00"),
        total=Decimal("17400.00"),
    )

    sent = check(made)

    assert json.loads(json.dumps(sent)) == sent
    assert sent["version"] == 1
    assert sent["moneda"] == "MXN"
    assert sent["conceptos"][0]["valor_unitario"] == "15000.00"
    assert sent["conceptos"][0]["traslados"] == [
        {"impuesto": "002", "tipo_factor": "Tasa", "tasa_o_cuota": "0.160000"}
    ]
    assert "informacion_global" not in sent


def test_a_dict_may_hold_models(invoice: JSON) -> None:
    """Half typed is fine: what counts is the JSON."""
    mixed = {**invoice, "receptor": Receptor(**invoice["receptor"])}

    assert check(mixed) == invoice


def test_the_schema_is_for_other_tools() -> None:
    """It is JSON, and says that amounts are strings."""
    schema = json_schema()

    assert json.loads(json.dumps(schema)) == schema
    assert schema["properties"]["total"]["type"] == "string"
    assert schema["additionalProperties"] is False
