"""The client cannot import `cfdi`, so its idea of an invoice is its own: here the two are held together.

Each mutation of a full invoice must be read by both or refused by both, at the same fields with the same codes.
"""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import timbrado_client
from jsonschema import Draft202012Validator
from timbrado_client import invoice as client_invoice

from cfdi import document, publish
from cfdi.shapes import SHAPES
from tests.support.builders import UUID, a_credit_note, a_global_invoice, an_invoice, changed

JSON = dict[str, Any]

WRONG: tuple[Any, ...] = (
    None,
    "  ",
    "x",
    "-1",
    "1.0000001",
    "1234567890123456789",
    1.5,
    True,
    [],
    {"x": 1},
    "2026-11-23T10:15:00",
    "2026-11-23t10:15:00.5z",
    "Flete \ud83d",
)


def full() -> JSON:
    """An invoice with every field of the contract and of what it says may be shown besides."""
    invoice = an_invoice(
        informacion_global={"periodicidad": "04", "meses": "11", "anio": 2026},
        cfdi_relacionados={"tipo_relacion": "01", "uuids": [UUID]},
        exportacion="01",
        condiciones_de_pago="30 días",
        descuento="0.00",
        send_to=["cliente@ejemplo.mx"],
        confirmacion=None,
        impuestos={
            "total_impuestos_trasladados": "2400.00",
            "total_impuestos_retenidos": "600.00",
            "traslados": [
                {
                    "impuesto": "002",
                    "tipo_factor": "Tasa",
                    "tasa_o_cuota": "0.160000",
                    "base": "15000.00",
                    "importe": "2400.00",
                }
            ],
            "retenciones": [{"impuesto": "002", "importe": "600.00"}],
        },
    )
    line = invoice["conceptos"][0]
    line |= {"unidad": "Servicio", "importe": "15000.00"}
    line["traslados"][0] |= {"base": "15000.00", "importe": "2400.00"}
    line["retenciones"][0] |= {"base": "15000.00", "importe": "600.00"}
    invoice["receptor"] |= {"residencia_fiscal": None, "num_reg_id_trib": None}
    return invoice


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield (*at, step)
        yield from places(inner, (*at, step))


def mutations() -> Iterator[JSON]:
    """Every place of the full invoice set to each wrong value, taken away, and joined by an unknown field."""
    text = json.dumps(full())
    for place in places(full()):
        for value in (*WRONG, ...):
            invoice = json.loads(text)
            node: Any = invoice
            for step in place[:-1]:
                node = node[step]
            if value is ...:
                del node[place[-1]]
            else:
                node[place[-1]] = copy.deepcopy(value)
            yield invoice
        invoice = json.loads(text)
        node = invoice
        for step in place[:-1]:
            node = node[step]
        if isinstance(node, dict):
            node[f"{place[-1]}_x"] = "1"
            yield invoice


def of_the_worker(raw: Any) -> set[tuple[str, str]]:
    try:
        document.read(raw)
    except document.Unreadable as error:
        return {(fault.field, fault.code) for fault in error.faults}
    return set()


def of_the_client(raw: Any) -> set[tuple[str, str]]:
    try:
        timbrado_client.check(raw)
    except timbrado_client.InvoiceInvalid as error:
        return {(fault.field, fault.code) for fault in error.faults}
    return set()


def test_a_full_invoice_holds_every_field_there_is() -> None:
    """So that the walk over its places forgets none."""
    invoice = full()

    def names(model: Any, value: Any) -> None:
        assert set(value) == set(model.model_fields)
        for name, field in model.model_fields.items():
            inner, many = document.node_in(field.annotation)
            if inner is not None:
                names(inner, value[name][0] if many else value[name])

    names(document.Invoice, invoice)
    assert of_the_worker(invoice) == of_the_client(invoice) == set()


def test_client_and_worker_refuse_the_same_shapes_for_the_same_reasons() -> None:
    """Over some 1,500 mutations: the same fields, the same codes, none more and none less."""
    differing = []
    count = 0
    for count, invoice in enumerate(mutations(), 1):  # noqa: B007  # counted for the last line
        worker, client = of_the_worker(invoice), of_the_client(invoice)
        if worker != client:
            differing.append((worker, client))

    assert differing[:5] == []
    assert count > 1_000


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.code)
def test_each_fault_of_shape_is_known_to_the_client(shape: Any) -> None:
    """Also those that no mutation of one field makes: too many lines, too big, no object."""
    if "" in shape.fails:
        raw: Any = shape.fails[""]
    else:
        raw = full()
        for path, value in shape.fails.items():
            if value is ...:
                parent, _, name = path.rpartition(".")
                del raw[parent][name]
            else:
                raw, _ = changed({path: value}, raw)

    assert of_the_worker(raw) == of_the_client(raw)
    assert {code for _, code in of_the_client(raw)} == {shape.code}


@pytest.mark.parametrize("make", [an_invoice, a_credit_note, a_global_invoice, full])
def test_what_is_good_is_good_for_both(make: Any) -> None:
    """The good ones of the tests, as they are and by the published schema."""
    invoice = make()

    assert of_the_worker(invoice) == of_the_client(invoice) == set()
    assert list(Draft202012Validator(timbrado_client.json_schema()).iter_errors(invoice)) == []


def test_the_client_brings_the_published_schema() -> None:
    """`docs/invoice.schema.json`, copied into the package: `python -m cfdi.publish`, then copy it there."""
    assert timbrado_client.json_schema() == json.loads(publish.schema())


def test_the_client_s_models_ask_no_more_than_the_published_schema() -> None:
    """Their own schema has the same nodes, fields, kinds and demands; patterns and lengths aside."""
    worker, client = (
        skeleton(schema, schema)
        for schema in (document.Invoice.model_json_schema(), client_invoice.Invoice.model_json_schema())
    )

    assert client == worker


KIND = ("type", "format", "required", "additionalProperties")


def skeleton(schema: Any, root: Any) -> Any:
    """A schema's structure: types, fields and what is required, with its references followed."""
    if "$ref" in schema:
        return skeleton(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        kinds = [skeleton(each, root) for each in schema["anyOf"]]
        return min((kind for kind in kinds if kind != {"type": "null"}), key=str)
    told = {name: schema[name] for name in KIND if name in schema}
    if "properties" in schema:
        told["properties"] = {name: skeleton(each, root) for name, each in schema["properties"].items()}
    if "items" in schema:
        told["items"] = skeleton(schema["items"], root)
    return told
