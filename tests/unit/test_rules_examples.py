"""The invoices in `examples/` are what their README says, today and in five years."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from cfdi.document import Invoice
from cfdi.validation import validate
from tests.support.builders import NOW, an_issuer

EXAMPLES = Path(__file__).parents[2] / "examples"
README = (EXAMPLES / "README.md").read_text("utf-8")
GOOD = sorted((EXAMPLES / "good").glob("*.json"))
WRONG = sorted((EXAMPLES / "wrong").glob("*.json"))


def load(path: Path):
    return json.loads(path.read_text("utf-8"))


def table() -> dict[str, tuple[str, set[str], set[str]]]:
    """The table of the wrong ones: who refuses, with which codes, at which fields."""
    rows = re.findall(r"^\| `([^`]+)` \| (timbrado|sat) \| (.+?) \| (.+?) \|$", README, re.MULTILINE)
    return {
        name: (who, set(re.findall("`([^`]+)`", codes)), set(re.findall("`([^`]+)`", fields)))
        for name, who, codes, fields in rows
    }


def name_of(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", GOOD, ids=name_of)
def test_a_good_example_passes_without_a_word(path):
    """But for the hauls in town, whose warning the README explains."""
    verdict = validate(load(path), issuer=an_issuer(), now=NOW)

    explained = README.partition("Four are hauls")[2].partition("## good")[0]
    expected = ["timbrado.carta_porte"] if f"`{path.stem}`" in explained else []
    assert (verdict.faults, [warning.code for warning in verdict.warnings]) == ((), expected)


@pytest.mark.parametrize("path", GOOD, ids=name_of)
def test_a_good_example_never_grows_old(path):
    """Only the year of the global invoice is to be written anew, as the README says."""
    invoice, later = load(path), NOW + timedelta(days=5 * 365)
    if invoice["informacion_global"]:
        invoice["informacion_global"]["anio"] = later.year

    assert invoice["fecha"] is None
    assert validate(invoice, issuer=an_issuer(), now=later).faults == ()


@pytest.mark.parametrize("path", WRONG, ids=name_of)
def test_a_wrong_example_is_wrong_as_the_readme_says(path):
    """What only the SAT can tell passes here."""
    who, codes, fields = table()[path.stem]
    verdict = validate(load(path), issuer=an_issuer(), now=NOW + timedelta(days=5 * 365))

    expected = (codes, fields) if who == "timbrado" else (set(), set())
    assert ({fault.code for fault in verdict.faults}, {fault.field for fault in verdict.faults}) == expected


def test_the_readme_names_every_example_and_no_other():
    """In the order of their files."""
    rows = re.findall(r"^\| `([^`]+)` \|", README, re.MULTILINE)

    assert rows == [path.stem for path in GOOD + WRONG]
    assert len(GOOD) >= 24
    assert sum(who == "sat" for who, _, _ in table().values()) >= 2


def test_every_example_is_an_invoice_of_its_own():
    """One account, and no id twice."""
    everything = [load(path) for path in GOOD + WRONG]

    assert {invoice["account"] for invoice in everything} == {"demo"}
    assert len({invoice["external_id"] for invoice in everything}) == len(everything)


def test_examples_show_every_field_worth_showing():
    """Two fields of the schema aside, each is in a good example."""
    shown = {name for path in GOOD for name in load(path)}

    assert set(Invoice.model_fields) - shown == {"exportacion", "confirmacion"}
