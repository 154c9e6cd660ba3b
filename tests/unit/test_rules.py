"""Every rule bites on its own example and lets its good neighbour pass."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from cfdi import rules
from cfdi.faults import Fault
from cfdi.issuer import Issuer
from cfdi.rules import RULES, comprobante, conceptos, line_taxes, receptor, relations, tax_summary
from cfdi.rules.rulebook import InvoiceRule
from cfdi.validation import Verdict, validate
from tests.support.builders import (
    NOW,
    a_concepto,
    a_credit_note,
    a_global_invoice,
    a_receptor,
    a_traslado,
    an_invoice,
    an_issuer,
    changed,
)

FIX = {"USD": Decimal("18.40")}


def verdict_on(changes, base=None) -> Verdict:
    raw, issuer = changed(changes, base)
    return validate(raw, issuer=issuer, now=NOW, fix_rates=FIX)


def found_by(rule: InvoiceRule, verdict: Verdict) -> list[Fault]:
    found = verdict.warnings if rule.only_warns else verdict.faults
    return [fault for fault in found if fault.code == rule.code]


def name_of(rule: InvoiceRule) -> str:
    return rule.name


@pytest.mark.parametrize("base", [an_invoice(), a_credit_note(), a_global_invoice()])
def test_the_invoices_of_the_builder_are_valid(base):
    """Examples mean something only against an invoice in which nothing else is wrong."""
    verdict = validate(base, issuer=an_issuer(), now=NOW)

    assert (verdict.faults, verdict.warnings) == ((), ())
    assert verdict.invoice is not None


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_a_rule_bites_on_its_example(rule: InvoiceRule):
    """With the rule's code, at a field of its own, with words to act on, and with little else broken."""
    verdict = verdict_on(rule.fails)
    found = found_by(rule, verdict)

    assert found
    assert all(fault.message and fault.fix and fault.source == "timbrado" for fault in found)
    places = {fault.field for fault in found}
    assert places & places_of(rule), places
    assert len({fault.code for fault in verdict.faults} - {rule.code}) <= 2


def places_of(rule: InvoiceRule) -> set[str]:
    first = rule.field.replace("[]", "[0]")
    second = [first.replace(f"{kind}[0]", f"{kind}[1]") for kind in ("traslados", "retenciones")]
    alone = first.replace("cfdi_relacionados[0]", "cfdi_relacionados")
    return {first, f"{first}[0]", *second, alone, f"{alone}[0]"}


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_a_rule_lets_its_good_neighbour_pass(rule: InvoiceRule):
    """What comes close and is right is neither refused nor warned about."""
    verdict = verdict_on(rule.passes)

    assert (verdict.faults, verdict.warnings) == ((), ())


@pytest.mark.parametrize(
    "module",
    [comprobante, relations, receptor, conceptos, line_taxes, tax_summary],
)
def test_every_rule_written_is_in_the_list(module):
    """A rule that the index forgets would never be asked."""
    written = {rule.name for rule in vars(module).values() if isinstance(rule, InvoiceRule)}

    assert written <= {rule.name for rule in RULES}
    assert len(RULES) == len({rule.name for rule in RULES})


def test_every_must_rule_of_the_list_is_there():
    """The numbers 1 to 55, but for those that only the SAT can tell or that ask nothing of I and E."""
    asked = {rule.number for rule in RULES if not rule.only_warns}

    # 10 and 22 only warn; 23 and 26 need the SAT; 50 is about other types.
    assert asked - {None} == set(range(1, 56)) - {10, 22, 23, 26, 50}
    assert {rule.number for rule in RULES if rule.only_warns} >= {10, 22}


def test_the_index_says_what_its_rules_say():
    """Number and code beside each name are for reading, so they have to be true."""
    source = Path(rules.__file__).read_text("utf-8")
    written = re.findall(r"^    \w+\.(\w+),  # (\S+): (\S+)( \(warning\))?$", source, re.MULTILINE)

    assert written == [
        (
            rule.name,
            "-" if rule.number is None else str(rule.number),
            rule.code.removeprefix("timbrado."),
            " (warning)" if rule.only_warns else "",
        )
        for rule in RULES
    ]


def of_100(**changes):
    return a_concepto(valor_unitario="100.00", **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {
                "conceptos": [
                    a_concepto(),
                    a_concepto(),
                    a_concepto(valor_unitario="100.00", traslados=[a_traslado(importe="16.50")]),
                ]
            },
            "El IVA de la línea 3 no cuadra: 16 % de $100.00 son $16.00 y la factura dice $16.50.",
        ),
        (
            {"conceptos": [a_concepto(cantidad="2", valor_unitario="58.00", importe="100.00")]},
            "El importe de la línea 1 no cuadra: 2 × $58.00 son $116.00 y la factura dice $100.00.",
        ),
        (
            {
                "conceptos": [a_concepto(valor_unitario="100.00"), a_concepto(valor_unitario="50.00")],
                "subtotal": "160.00",
            },
            "El subtotal no cuadra: las líneas suman $150.00 y la factura dice $160.00.",
        ),
        (
            {"subtotal": "160.00"},
            "El subtotal no cuadra: las líneas suman $15,000.00 y la factura dice $160.00.",
        ),
        (
            {"total": "17400.00"},
            "El total no cuadra: debe ser $16,800.00 y la factura dice $17,400.00.",
        ),
        (
            {
                "conceptos": [a_concepto(valor_unitario="100.00", retenciones=[])],
                "subtotal": "100.00",
                "total": "1",
            },
            "El total no cuadra: debe ser $116.00 y la factura dice $1.00.",
        ),
    ],
)
def test_arithmetic_explains_itself_with_the_numbers(changes, message):
    """Quantity, price, rate and both results stand in the message."""
    assert message in [
        fault.message for fault in validate(an_invoice(**changes), issuer=None, now=NOW).faults
    ]


@pytest.mark.parametrize(
    ("total", "is_rounding"), [("16800.01", True), ("16799.97", True), ("16810.00", False)]
)
def test_a_few_cents_are_explained_to_a_developer_as_rounding(total, is_rounding):
    """The detail has the sum, and only a small difference speaks of rounding."""
    [fault] = validate(an_invoice(total=total), issuer=None, now=NOW).faults

    assert ("roundings" in fault.detail) is is_rounding
    assert "15000.00 - 0.00 + 2400.00 - 600.00 = 16800.00" in fault.detail
    assert "soporte" in fault.fix


@pytest.mark.parametrize(
    ("nombre", "suggested"),
    [
        ("Luces & Obras, S.A. de C.V.", "LUCES & OBRAS"),
        ("LUCES & OBRAS S. DE R.L. DE C.V.", "LUCES & OBRAS"),
        ("LUCES & OBRAS A.C.", "LUCES & OBRAS"),
    ],
)
def test_a_name_without_its_regimen_is_suggested_and_never_cut(nombre, suggested):
    """The fix has the shorter name; the invoice keeps its own."""
    verdict = validate(an_invoice(receptor=a_receptor(nombre=nombre)), issuer=None, now=NOW)

    [fault] = verdict.faults
    assert (fault.code, fault.field) == ("CFDI40145", "receptor.nombre")
    assert suggested in fault.fix
    assert verdict.invoice.receptor.nombre == nombre.upper()


def test_a_person_whose_name_ends_like_a_regimen_is_only_warned():
    """A persona física may be called SA."""
    receptor = a_receptor(rfc="CACX7605101P8", nombre="XOCHILT CASAS SA", regimen_fiscal_receptor="612")

    verdict = validate(an_invoice(receptor=receptor), issuer=None, now=NOW)

    assert verdict.faults == ()
    assert [warning.code for warning in verdict.warnings] == ["timbrado.regimen_de_capital"]


def test_what_is_not_known_of_the_issuer_is_not_asked():
    """A connection that has not given its régimen or its series yet breaks no rule."""
    unknown = Issuer("EKU9003173C9", "ESCUELA KEMPER URGATE")
    bimester = {"periodicidad": "05", "meses": "18", "anio": 2026}

    assert validate(an_invoice(), issuer=unknown, now=NOW).faults == ()
    assert validate(a_global_invoice(informacion_global=bimester), issuer=unknown, now=NOW).faults == ()
    assert validate(an_invoice(), issuer=None, now=NOW).faults == ()


@pytest.mark.parametrize(
    ("lugar", "fecha", "codes"),
    [
        ("22000", "2026-11-23T08:20:00-08:00", []),  # now, in Tijuana
        ("22000", "2026-11-23T10:20:00-08:00", ["CFDI40101"]),  # the border's clock: two hours ahead
        ("22000", "2026-11-23T10:20:00-06:00", []),  # the same instant, written by the centre's clock
        ("77500", "2026-11-23T11:20:00-05:00", []),
        ("64000", "2026-11-20T11:20:00-06:00", []),  # 71 hours to the second
        ("64000", "2026-11-20T11:19:59-06:00", ["CFDI40101"]),
        ("64000", "2026-11-23T10:25:00-06:00", []),  # five minutes ahead
        ("64000", "2026-11-23T10:25:01-06:00", ["CFDI40101"]),
    ],
)
def test_fecha_is_compared_with_the_clock_of_the_place_of_issue(lugar, fecha, codes):
    """Fecha is held against the clock of the place of issue."""
    faults = validate(an_invoice(lugar_expedicion=lugar, fecha=fecha), issuer=None, now=NOW).faults

    assert [fault.code for fault in faults] == codes
