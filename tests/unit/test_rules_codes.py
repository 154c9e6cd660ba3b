"""What ContaDigital or the SAT refuse comes in the same form as our own refusals."""

import pytest
from timbrado_client.labels import node_in

from cfdi.codes import MAX_TEXT, from_text
from cfdi.document import Invoice
from cfdi.rules import RULES
from cfdi.shapes import SHAPES
from cfdi.texts import MATRIX, OWN, WORDS
from contadigital.errors import matrix_codes


def leads_somewhere(path: str) -> bool:
    model = Invoice
    for step in path.replace("[]", "").split("."):
        field = model.model_fields.get(step) if model is not None else None
        if field is None:
            return False
        model = node_in(field.annotation)[0]
    return True


@pytest.mark.parametrize(
    ("code", "field"),
    [
        ("CFDI40143", "receptor.rfc"),
        ("CFDI40145", "receptor.nombre"),
        ("CFDI40147", "receptor.domicilio_fiscal_receptor"),
        ("CFDI40148", "receptor.domicilio_fiscal_receptor"),
        ("CFDI40139", "emisor.nombre"),
        ("CFDI40162", "conceptos[].clave_prod_serv"),
        ("CFDI40221", "impuestos.traslados[].importe"),
        ("CFDI40222", "exportacion"),
        ("CFDI140223", "conceptos"),
        ("CFDI140224", "conceptos[].retenciones"),
        ("CFDI140225", "conceptos[].retenciones"),
        ("CFDI140226", "conceptos[].objeto_imp"),
        ("CFDI140227", "conceptos[].objeto_imp"),
        ("CFDI40119", "total"),
    ],
)
def test_a_code_anywhere_in_a_text_points_at_its_field(code, field):
    """The fault has the matrix's field, message and fix."""
    [fault] = from_text(f"301 - XML mal formado: {code} El valor no corresponde...", "sat")

    assert (fault.code, fault.field, fault.source) == (code, field, "sat")
    assert fault.message == MATRIX[code].message
    assert fault.fix == MATRIX[code].fix


def test_a_withholding_that_must_not_be_is_reported_apart_from_one_that_must():
    """Rows 124 and 125 of the matrix ask the opposite, by a mark in the SAT's list of taxpayers."""
    assert MATRIX["CFDI140224"].fix.startswith("Quita la retención de ISR")
    assert MATRIX["CFDI140225"].fix.startswith("Agrega")


def test_a_refusal_always_has_a_way_on():
    """What only warns may be left as it is; an invoice that the SAT refused is not stamped by doing nothing."""
    excuses = ("no hagas nada", "salvo que")

    assert [code for code, words in MATRIX.items() if any(each in words.fix for each in excuses)] == []


@pytest.mark.parametrize(
    "text",
    [
        "cfdi40145",
        "CFDI-40145",
        "CFDI 40145",
        "[CFDI40145]",
        "xCFDI40145x",
        "CFDI: 40145",
        "CFDI_40145",
    ],
)
def test_a_code_is_recognised_however_it_is_written(text):
    """Lower case, hyphen, blank, colon, brackets; by the table of answers as by the words."""
    assert [fault.code for fault in from_text(text, "contadigital")] == ["CFDI40145"]
    assert matrix_codes(text) == (40145,)


def test_several_codes_are_several_faults_once_each():
    """In the order of the text, without repeats."""
    faults = from_text("CFDI40148 y CFDI40145; otra vez CFDI40148", "sat")

    assert [fault.code for fault in faults] == ["CFDI40148", "CFDI40145"]


def test_a_code_nobody_knows_keeps_its_text():
    """A code that is not in the matrix is shown with the words that came."""
    [fault] = from_text("CFDI40230: regla nueva", "sat")

    assert (fault.code, fault.message, fault.field) == ("CFDI40230", "CFDI40230: regla nueva", "")


@pytest.mark.parametrize("source", ["sat", "contadigital"])
def test_an_unknown_refusal_is_shown_as_it_came(source):
    """Control characters and line breaks aside."""
    [fault] = from_text("  No se pudo\r\n procesar\x00 la\tsolicitud ", source)

    assert fault.code == f"{source}.rechazo"
    assert fault.message == "No se pudo procesar la solicitud"
    assert fault.source == source


def test_a_silent_refusal_says_that_it_was_silent():
    """A blank text gets a sentence of ours."""
    [fault] = from_text(" \n ", "contadigital")

    assert fault.message == "La factura fue rechazada sin decir por qué."


def test_an_endless_refusal_is_cut():
    """At MAX_TEXT, with an ellipsis."""
    [fault] = from_text("x" * 10_000, "contadigital")

    assert len(fault.message) == MAX_TEXT
    assert fault.message.endswith("…")


def test_every_code_of_the_matrix_has_words():
    """The SAT's numbers, all of them and no other."""
    numbers = (*range(40101, 40223), *range(140223, 140228), 40999)
    expected = {f"CFDI{number}" for number in numbers}

    assert set(MATRIX) == expected


def test_every_code_of_ours_is_used_by_a_rule():
    """Words without a rule would be printed nowhere."""
    assert set(OWN) == {rule.code for rule in RULES if rule.code.startswith("timbrado.")}
    assert not set(OWN) & {shape.code for shape in SHAPES}


def test_every_code_points_into_the_invoice():
    """Its field exists in Apunto's invoice, or is the emisor's."""
    fields = {code: words.field for code, words in WORDS.items()}

    astray = {c: f for c, f in fields.items() if f and not f.startswith("emisor.") and not leads_somewhere(f)}
    assert astray == {}
