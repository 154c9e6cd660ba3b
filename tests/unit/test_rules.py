"""Every rule bites on its own example and lets its good neighbour pass."""

from decimal import Decimal

import pytest

from cfdi import rules_comprobante, rules_conceptos, rules_impuestos, rules_receptor, rules_taxes
from cfdi.faults import Fault
from cfdi.rulebook import Rule
from cfdi.rules import RULES
from cfdi.validation import Verdict, validate
from tests.builders import NOW, a_credit_note, a_global_invoice, an_invoice, an_issuer, changed

FIX = {"USD": Decimal("18.40")}


def verdict_on(changes, base=None) -> Verdict:
    raw, issuer = changed(changes, base)
    return validate(raw, issuer=issuer, now=NOW, fix_rates=FIX)


def found_by(rule: Rule, verdict: Verdict) -> list[Fault]:
    told = verdict.warnings if rule.only_warns else verdict.faults
    return [fault for fault in told if fault.code == rule.code]


def name_of(rule: Rule) -> str:
    return rule.name


@pytest.mark.parametrize("base", [an_invoice(), a_credit_note(), a_global_invoice()])
def test_the_invoices_of_the_builder_are_valid(base):
    """Examples mean something only against an invoice in which nothing else is wrong."""
    verdict = validate(base, issuer=an_issuer(), now=NOW)

    assert (verdict.faults, verdict.warnings) == ((), ())
    assert verdict.invoice is not None


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_a_rule_bites_on_its_example(rule: Rule):
    """With the rule's code, at a field of its own, with words to act on, and with little else broken."""
    verdict = verdict_on(rule.fails)
    found = found_by(rule, verdict)

    assert found
    assert all(fault.message and fault.fix and fault.source == "timbrado" for fault in found)
    places = {fault.field for fault in found}
    assert places & places_of(rule), places
    assert len({fault.code for fault in verdict.faults} - {rule.code}) <= 2


def places_of(rule: Rule) -> set[str]:
    first = rule.field.replace("[]", "[0]")
    second = [first.replace(f"{kind}[0]", f"{kind}[1]") for kind in ("traslados", "retenciones")]
    return {first, f"{first}[0]", *second}


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_a_rule_lets_its_good_neighbour_pass(rule: Rule):
    """What comes close and is right is neither refused nor warned about."""
    verdict = verdict_on(rule.passes)

    assert (verdict.faults, verdict.warnings) == ((), ())


@pytest.mark.parametrize(
    "module", [rules_comprobante, rules_receptor, rules_conceptos, rules_taxes, rules_impuestos]
)
def test_every_rule_written_is_in_the_list(module):
    """A rule that the index forgets would never be asked."""
    written = {rule.name for rule in vars(module).values() if isinstance(rule, Rule)}

    assert written <= {rule.name for rule in RULES}
    assert len(RULES) == len({rule.name for rule in RULES})


def test_every_must_rule_of_the_list_is_there():
    """The numbers 1 to 55, but for those that only the SAT can tell or that ask nothing of I and E."""
    asked = {rule.number for rule in RULES if not rule.only_warns}

    # 10 and 22 only warn; 23 and 26 need the SAT; 50 is about other types.
    assert asked - {None} == set(range(1, 56)) - {10, 22, 23, 26, 50}
    assert {rule.number for rule in RULES if rule.only_warns} >= {10, 22}
