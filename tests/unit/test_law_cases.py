"""Documents and invoices as real practice makes them: each gives what the SAT's papers say it must."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from cfdi.codes import from_text
from cfdi.document import read
from cfdi.evidence import Expected, examine
from cfdi.issuer import Issuer
from cfdi.validation import validate

HERE = Path(__file__).parents[1] / "data" / "law"
CASES = json.loads((HERE / "cases.json").read_text("utf-8"))


def name_of(case):
    return case["name"]


@pytest.mark.parametrize("case", CASES["evidence"], ids=name_of)
def test_a_document_is_believed_where_it_must_be(case):
    """All of them are good CFDI with good seals; only the two controls say something else."""
    folder = HERE / "evidence"
    sent = read(json.loads((folder / f"{case['name']}.json").read_text("utf-8")))
    fecha = datetime.fromisoformat(case["fecha_sent"])
    expected = Expected(sent, Issuer(**case["issuer"]), fecha, case["uuid"])
    report = examine((folder / f"{case['name']}.xml").read_bytes(), expected)

    assert report.is_good_cfdi
    assert report.ok == (case["want"] == "believed")


@pytest.mark.parametrize("case", CASES["validation"], ids=name_of)
def test_an_invoice_is_judged_as_the_sat_judges_it(case):
    """What the SAT takes is not refused; what looks wrong is a warning."""
    raw = json.loads((HERE / "validation" / f"{case['name']}.json").read_text("utf-8"))
    verdict = validate(raw, issuer=Issuer(**case["issuer"]), now=datetime.fromisoformat(case["now"]))

    assert verdict.faults == ()
    assert EXPECTED_WARNINGS[case["name"]] <= {warning.code for warning in verdict.warnings}


EXPECTED_WARNINGS = {
    "egreso-without-relation": {"timbrado.nota_sin_relacion"},
    "egreso-pue-99-of-a-ppd-invoice": set(),
    "global-of-2023": set(),
    "pesos-with-tipo-cambio-1.000000": set(),
    "new-clave-prod-serv": {"CFDI40162"},
    "carrier-without-carta-porte": {"timbrado.carta_porte"},
    "resico-person-to-company-without-isr": {"CFDI140225"},
    "discount-padded": set(),
}


@pytest.mark.parametrize("case", CASES["answers"], ids=lambda case: case["call"])
def test_a_six_digit_code_is_recognised(case):
    """The SAT numbers five rows of its matrix with six digits."""
    [fault] = from_text(case["body"]["Mensaje"], "sat")

    assert (fault.code, fault.field, fault.source) == ("CFDI140225", "conceptos[].retenciones", "sat")
    assert "RESICO" in fault.message
