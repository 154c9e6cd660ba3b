"""Client and worker read an invoice with one definition: they give the same faults, word for word."""

import copy
import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import timbrado_client
from jsonschema import Draft202012Validator
from timbrado_client.labels import node_in

from cfdi import document
from cfdi.shapes import SHAPES
from tests.support.builders import UUID, a_credit_note, a_global_invoice, an_invoice, changed
from tools.docs.law import schema

JSON = dict[str, Any]

GIVEN = json.loads((Path(__file__).parents[1] / "data" / "misshapen_invoices.json").read_text("utf-8"))
"""Changes to one good invoice, by what is wrong: paths to values, `"..."` takes a field away."""

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


def changed_at(invoice: JSON, place: tuple[str | int, ...], value: Any) -> None:
    """Set one place of an invoice; `...` takes it away."""
    node: Any = invoice
    for step in place[:-1]:
        node = node[step]
    if value is ...:
        del node[place[-1]]
    else:
        node[place[-1]] = copy.deepcopy(value)


def mutations() -> Iterator[JSON]:
    """Every place of the full invoice set to each wrong value, taken away, and joined by an unknown field."""
    text = json.dumps(full())
    for place in places(full()):
        for value in (*WRONG, ...):
            invoice = json.loads(text)
            changed_at(invoice, place, value)
            yield invoice
        if isinstance(place[-1], str):
            invoice = json.loads(text)
            changed_at(invoice, (*place[:-1], f"{place[-1]}_x"), "1")
            yield invoice


def generated(seed: int) -> Iterator[JSON]:
    """Invoices with up to six faults each, at places and of kinds that the seed draws."""
    drawn = random.Random(seed)
    while True:
        invoice = full()
        for place in drawn.sample(list(places(invoice)), k=drawn.randint(1, 6)):
            try:
                changed_at(invoice, place, drawn.choice((*WRONG, ...)))
            except (KeyError, IndexError, TypeError):
                continue  # an earlier change took the node away
        yield invoice


def of_the_worker(raw: Any) -> list[timbrado_client.Fault]:
    try:
        document.read(raw)
    except document.Unreadable as error:
        return list(error.faults)
    return []


def of_the_client(raw: Any) -> list[timbrado_client.Fault]:
    try:
        timbrado_client.check(raw)
    except timbrado_client.InvoiceInvalid as error:
        return list(error.faults)
    return []


def test_a_full_invoice_holds_every_field_there_is() -> None:
    """So that the walk over its places forgets none."""
    invoice = full()

    def names(model: Any, value: Any) -> None:
        assert set(value) == set(model.model_fields)
        for name, field in model.model_fields.items():
            inner, many = node_in(field.annotation)
            if inner is not None:
                one = value[name]  # a single relation is an object
                names(inner, one[0] if many and isinstance(one, list) else one)

    names(document.Invoice, invoice)
    assert of_the_worker(invoice) == of_the_client(invoice) == []


@pytest.mark.parametrize("name", GIVEN)
def test_each_given_bad_invoice_gets_the_same_faults(name: str) -> None:
    """Each of the 21 that once differed in nine cases: same codes, fields, words, labels and owners."""
    changes = {path: ... if value == "..." else value for path, value in GIVEN[name].items()}
    raw = an_invoice()
    for path, value in changes.items():
        place = tuple(int(step) if step.isdigit() else step for step in path.split("."))
        changed_at(raw, place, value)

    assert of_the_worker(raw) == of_the_client(raw) != []


def test_200_generated_bad_invoices_get_the_same_faults() -> None:
    """With up to six faults each, drawn from a fixed seed."""
    bad = list(islice((raw for raw in generated(seed=20261129) if of_the_worker(raw)), 200))

    assert [raw for raw in bad if of_the_worker(raw) != of_the_client(raw)] == []


def test_every_place_set_to_every_wrong_value_gets_the_same_faults() -> None:
    """Over some 1,500 mutations: the same fields, codes and words, none more and none less."""
    invoices = list(mutations())

    assert [raw for raw in invoices if of_the_worker(raw) != of_the_client(raw)][:5] == []
    assert len(invoices) > 1_000


def test_no_english_is_shown_to_a_user() -> None:
    """Whatever is wrong: message and fix are Spanish and show neither a field's name nor JSON's words."""
    shown = {f"{fault.message} {fault.fix}" for raw in mutations() for fault in of_the_client(raw)}
    names = ("null", "JSON", "Unicode", "expected", "string", "array", "object", "came", "_")

    assert shown
    assert [text for text in shown if any(name in text for name in names)] == []


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
    assert {fault.code for fault in of_the_client(raw)} == {shape.code}


@pytest.mark.parametrize("make", [an_invoice, a_credit_note, a_global_invoice, full])
def test_what_is_good_is_good_for_both(make: Any) -> None:
    """The good ones of the tests, as they are and by the published schema."""
    invoice = make()

    assert of_the_worker(invoice) == of_the_client(invoice) == []
    assert list(Draft202012Validator(timbrado_client.json_schema()).iter_errors(invoice)) == []


def test_the_client_publishes_the_schema_of_the_docs() -> None:
    """One model, one generator: what `json_schema()` returns is what docs/invoice.schema.json holds."""
    assert timbrado_client.json_schema() == json.loads(schema())


def at_place(invoice: JSON, at: tuple[str | int, ...]) -> Any:
    node: Any = invoice
    for step in at:
        node = node[step]
    return node


def test_an_empty_field_says_what_null_says() -> None:
    """A form sends "" for what nobody filled in: it is asked for, not called a wrong key or the application's error."""

    def faults(value: Any, at: tuple[str | int, ...]) -> list[tuple[str, str, str]]:
        invoice = full()
        at_place(invoice, at[:-1])[at[-1]] = value
        found = timbrado_client.reading.read(invoice).faults
        return [(fault.code, fault.field, fault.message) for fault in found]

    # What tells one invoice from another is never read as nothing; an empty address is passed over.
    others = {"version", "account", "external_id", 0}
    fields = [
        at for at in places(full()) if at[-1] not in others and isinstance(at_place(full(), at), str | int)
    ]

    assert len(fields) > 40
    assert [at for at in fields if not faults("", at) == faults("  ", at) == faults(None, at)] == []
    assert faults("", ("conceptos", 0, "cantidad")) == [
        ("timbrado.falta", "conceptos[0].cantidad", "Falta un dato: Cantidad, línea 1.")
    ]
