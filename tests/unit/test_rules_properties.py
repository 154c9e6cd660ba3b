"""Thousands of valid invoices pass, and each mutation of each is refused for its own reason."""

import json
from decimal import Decimal

import jsonschema
from hypothesis import HealthCheck, given, settings

from cfdi.amounts import compute
from cfdi.document import read
from cfdi.rules import RULES
from cfdi.validation import validate
from tests.support.builders import NOW, an_issuer, changed
from tests.support.strategies import EXAMPLES, MONEDAS, added_up, invoices
from tools.docs.law import schema

MUST = [rule for rule in RULES if not rule.only_warns]
SCHEMA = jsonschema.Draft202012Validator(json.loads(schema()))
thorough = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@thorough
@given(invoices())
def test_every_valid_invoice_passes(invoice):
    """No fault; the published schema takes it, too; and it survives being written and read again."""
    verdict = validate(invoice, issuer=an_issuer(), now=NOW)

    assert verdict.faults == ()
    SCHEMA.validate(invoice)
    assert read(json.loads(verdict.invoice.model_dump_json())) == verdict.invoice


@thorough
@given(invoices())
def test_amounts_agree_with_a_second_opinion(invoice):
    """Sums of rounded lines, worked out by hand in the strategy."""
    ours, expected = compute(read(invoice)), added_up(invoice["conceptos"], MONEDAS[invoice["moneda"]])

    assert str(ours.subtotal) == expected["subtotal"]
    assert str(ours.total) == expected["total"]
    assert ours.descuento == Decimal(expected["descuento"])
    summary = expected["impuestos"]
    assert [str(row.base) for row in ours.traslados] == [row["base"] for row in summary["traslados"]]
    assert [str(row.importe) for row in ours.retenciones] == [
        row["importe"] for row in summary["retenciones"]
    ]


@settings(max_examples=max(3, EXAMPLES // 10), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(invoices(max_lines=2))
def test_every_mutation_of_every_invoice_is_refused_with_its_code(invoice):
    """One mutation per MUST rule, whatever the invoice was before."""
    missed = []
    for rule in MUST:
        raw, issuer = changed(rule.fails, invoice)
        if rule.code not in {fault.code for fault in validate(raw, issuer=issuer, now=NOW).faults}:
            missed.append(rule.name)

    assert missed == []


def test_the_strategy_makes_variety():
    """A strategy that narrows in silence would make every promise above cheap."""
    seen = set()

    @settings(max_examples=80, deadline=None, database=None, derandomize=True)
    @given(invoices())
    def collect(invoice):
        seen.add(invoice["tipo_de_comprobante"])
        seen.add(invoice["moneda"])
        seen.add(invoice["receptor"]["rfc"][:4])
        seen.update(line["objeto_imp"] for line in invoice["conceptos"])
        seen.update(
            tax.get("tasa_o_cuota") for line in invoice["conceptos"] for tax in line.get("traslados", [])
        )

    collect()

    assert seen >= {"I", "E", "MXN", "XAXX", "XEXX", "01", "02", "0.160000", "0.000000", None}
    assert len(seen) >= 20
