"""Documents and invoices as real practice makes them: each gives what the SAT's papers say it must."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from cfdi.document import read
from cfdi.evidence import Expected, examine
from cfdi.issuer import Issuer

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
