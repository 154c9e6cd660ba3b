"""What is printed about invoices is what the code does today."""

import json

import jsonschema
import pytest

from cfdi.document import Invoice
from cfdi.rules import RULES
from cfdi.texts import WORDS
from tests.support.builders import a_concepto, a_credit_note, a_global_invoice, an_invoice
from tools.docs.law import pages, validation

FILES = pages()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_published_files_are_current(path):
    """`./dev publish` has nothing to change."""
    assert path.read_text(encoding="utf-8") == FILES[path]


def schema() -> dict:
    return json.loads(next(text for path, text in FILES.items() if path.suffix == ".json"))


def test_the_schema_is_a_schema_and_forbids_what_is_unknown():
    """It is valid JSON Schema and has the model's fields, no more."""
    jsonschema.Draft202012Validator.check_schema(schema())

    assert schema()["additionalProperties"] is False
    assert set(schema()["properties"]) == set(Invoice.model_fields)


@pytest.mark.parametrize("invoice", [an_invoice(), a_credit_note(), a_global_invoice()])
def test_the_schema_takes_a_valid_invoice(invoice):
    """Income, credit note and global invoice."""
    jsonschema.Draft202012Validator(schema()).validate(invoice)


@pytest.mark.parametrize(
    "changes",
    [
        {"subtotal": 15000.0},
        {"subtotal": "15,000.00"},
        {"usoCFDI": "G03"},
        {"confirmacion": "ECVH1"},
        {"conceptos": []},
        {"conceptos": [a_concepto(nombre="F" * 51)]},
        {"conceptos": [a_concepto(clave_prod_serv=78101802)]},
        {"lugar_expedicion": "6400"},
        {"receptor": None},
    ],
)
def test_the_schema_refuses_what_we_refuse(changes):
    """Floats, unknown fields, empty lists and wrong lengths."""
    assert not jsonschema.Draft202012Validator(schema()).is_valid(an_invoice() | changes)


def test_the_page_has_every_rule_and_every_code():
    """docs/validation.md leaves none out."""
    page = validation()

    assert all(rule.says in page and rule.code in page for rule in RULES)
    assert all(code in page for code in WORDS)
