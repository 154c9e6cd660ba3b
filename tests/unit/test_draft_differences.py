"""What a saved record says of itself: differences are seen, and other ways of writing the same are none."""

from decimal import Decimal
from typing import Any

import pytest

from cfdi import document
from cfdi.amounts import compute
from contadigital.draft_differences import differences
from tests.support.builders import an_invoice

INVOICE = document.read(an_invoice())
AMOUNTS = compute(INVOICE)
TOTAL = AMOUNTS.total


def fields_of(record: dict[str, Any], serie: str = "HF") -> list[str]:
    return [fault.field for fault in differences(record, INVOICE, AMOUNTS, rfc="EKU9003173C9", serie=serie)]


@pytest.mark.parametrize("text", [f"{TOTAL:,.2f}", f"$ {TOTAL:,.2f} MXN", f"{TOTAL:.2f}".replace(".", ","),
                                  f"{TOTAL:,.2f}".translate(str.maketrans(",.", ".,")), TOTAL, f"{TOTAL:f}00",
                                  "NaN", "Infinity", "-", "por calcular", None, True])  # fmt: skip
def test_an_amount_is_the_same_however_it_is_written(text: Any):
    """With a comma for the point, a sign of money, or nothing that is a number: no invoice is refused for it."""
    assert fields_of({"Total": text}) == []


@pytest.mark.parametrize(
    "total", [TOTAL / 100, TOTAL * 100, TOTAL + Decimal("0.01"), 0, f"{TOTAL / 100:.2f}", f"{TOTAL + 1:,.2f}"]
)
def test_another_amount_is_a_difference(total: Any):
    """A point is never read as a comma: a hundredth of it is another amount."""
    assert fields_of({"Total": total}) == ["total"]


def test_a_withholding_may_be_written_as_what_is_taken_off():
    """A negative number says the same as the amount."""
    withheld = sum(tax.importe or 0 for line in AMOUNTS.lines for tax in line.retenciones)

    assert fields_of({"RetencionIVA": -withheld}) == []
    assert fields_of({"IVA": -100}) == ["conceptos"]


@pytest.mark.parametrize(("record", "fields"), [
    ({"Serie": "Pacientes"}, []), ({"Serie": "hf "}, []), ({"Serie": "HF"}, []), ({"Serie": "A"}, ["serie"]),
    ({"RfcReceptor": "XIA-190128-J61"}, []), ({"RfcEmisor": "eku 900317 3c9"}, []),
    ({"RfcReceptor": "XAXX010101000"}, ["receptor.rfc"]),
])  # fmt: skip
def test_a_party_or_series_is_the_same_however_it_is_written(record: dict[str, Any], fields: list[str]):
    """A series' own name is not its letter, and an RFC may have hyphens."""
    assert fields_of(record) == fields
