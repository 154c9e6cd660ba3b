"""One cent to each side: whatever the SAT's windows allow passes rules, request and evidence alike."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfdi.amounts import compute, importe_window, rounded, tax_window
from cfdi.document import read
from cfdi.evidence import Expected, examine
from cfdi.validation import validate
from tests.support import signed_xml
from tests.support.builders import NOW, a_concepto, a_retencion, a_traslado, an_invoice, an_issuer

D = Decimal
CENT = D("0.01")


def shown_line(cantidad: str, valor_unitario: str, importe: str, iva: str, retenido: str | None = None):
    """A line with everything that the user was shown."""
    withheld = [] if retenido is None else [a_retencion(base=importe, importe=retenido)]
    return a_concepto(
        cantidad=cantidad,
        valor_unitario=valor_unitario,
        importe=importe,
        descuento=None,
        traslados=[a_traslado(base=importe, importe=iva)],
        retenciones=withheld,
    )


def adding_up(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """An invoice whose sums are those of its lines as shown, with the tax summary that Apunto would send."""

    def total(kind: str) -> Decimal:
        return sum((D(tax["importe"]) for line in lines for tax in line[kind]), D(0))

    subtotal = sum((D(line["importe"]) for line in lines), D(0))
    base = sum((D(tax["base"]) for line in lines for tax in line["traslados"]), D(0))
    iva, withheld = total("traslados"), total("retenciones")
    summary: dict[str, Any] = {
        "total_impuestos_trasladados": str(iva),
        "traslados": [{**a_traslado(), "base": str(base), "importe": str(iva)}],
    }
    if any(line["retenciones"] for line in lines):
        summary["total_impuestos_retenidos"] = str(withheld)
        summary["retenciones"] = [{"impuesto": "002", "importe": str(withheld)}]
    return an_invoice(
        conceptos=lines, subtotal=str(subtotal), total=str(subtotal + iva - withheld), impuestos=summary
    )


def codes(invoice: Mapping[str, Any]) -> list[tuple[str, str]]:
    verdict = validate(invoice, issuer=an_issuer(), now=NOW)
    assert verdict.warnings == ()
    return [(fault.code, fault.field) for fault in verdict.faults]


def test_a_total_of_3618_in_one_line_can_be_invoiced():
    """3 x 1039.655172: no two-decimal base gives 3,618.00 with IVA half up, and the SAT takes 499.03."""
    invoice = adding_up([shown_line("3", "1039.655172", "3118.97", "499.03")])
    amounts = compute(read(invoice))

    assert invoice["total"] == "3618.00"
    assert codes(invoice) == []
    assert (amounts.total, amounts.total_trasladados) == (D("3618.00"), D("499.03"))
    assert amounts.lines[0].traslados[0].importe == D("499.03")


def test_the_example_of_the_sats_own_answer_passes():
    """Four lines of 1.11 with 0.1776 of IVA each: shown as 0.17 and 0.18, inside the window, they make 0.71 at most."""
    lines = [shown_line("1", "1.11", "1.11", iva) for iva in ("0.18", "0.18", "0.18", "0.17")]

    assert codes(adding_up(lines)) == []
    assert compute(read(adding_up(lines))).total == D("5.15")


@pytest.mark.parametrize(
    ("importe", "iva", "expected"),
    [
        ("3118.97", "499.03", []),
        ("3118.97", "499.04", []),
        ("3118.97", "499.02", [("CFDI40180", "conceptos[0].traslados[0].importe")]),
        ("3118.97", "499.05", [("CFDI40180", "conceptos[0].traslados[0].importe")]),
        ("3118.96", "499.03", []),
        ("3118.95", "499.03", [("CFDI40167", "conceptos[0].importe")]),
        ("3118.98", "499.04", [("CFDI40167", "conceptos[0].importe")]),
    ],
)
def test_one_cent_outside_is_one_message(importe, iva, expected):
    """Sums and summary follow the line that is shown: they are not refused once more."""
    assert codes(adding_up([shown_line("3", "1039.655172", importe, iva)])) == expected


@pytest.mark.parametrize(
    ("retenido", "expected"),
    [
        ("124.75", []),
        ("124.76", []),
        ("124.74", [("CFDI40186", "conceptos[0].retenciones[0].importe")]),
        ("124.77", [("CFDI40186", "conceptos[0].retenciones[0].importe")]),
    ],
)
def test_a_withholding_has_its_window_too(retenido, expected):
    """Within a cent of its tolerance it passes, beyond it is CFDI40186."""
    assert codes(adding_up([shown_line("1", "3118.97", "3118.97", "499.04", retenido)])) == expected


def test_a_total_that_no_line_explains_is_refused():
    """499.04 is the other end of the window, but 499.03 is what the user was shown."""
    invoice = adding_up([shown_line("3", "1039.655172", "3118.97", "499.03")]) | {"total": "3618.01"}

    assert codes(invoice) == [("CFDI40119", "total")]


def test_a_shown_amount_of_six_decimals_is_written_out_rounded():
    """Inside the window, but lines go out with the decimals of the currency."""
    invoice = an_invoice(conceptos=[shown_line("3", "1039.655172", "3118.965516", "499.034483")])

    assert codes(invoice) == []
    assert compute(read(invoice)).lines[0].importe == D("3118.97")


def cents_in(window: tuple[Decimal, Decimal]) -> st.SearchStrategy[Decimal]:
    low, high = window
    return st.integers(0, int((high - low) / CENT)).map(lambda steps: low + steps * CENT)


@st.composite
def lines_inside_the_windows(draw: st.DrawFn) -> dict[str, Any]:
    """A line whose every shown amount lies somewhere in its window."""
    cantidad = draw(st.decimals("0.1", "999", places=draw(st.integers(0, 6))).filter(lambda value: value > 0))
    price = draw(st.decimals("1", "99999", places=draw(st.integers(0, 6))))
    importe = draw(cents_in(importe_window(cantidad, price, 2)).filter(lambda value: value > 0))
    iva = draw(cents_in(tax_window(importe, D("0.160000"), 2)))
    withheld = draw(st.none() | cents_in(tax_window(importe, D("0.040000"), 2)))
    return shown_line(
        str(cantidad), str(price), str(importe), str(iva), withheld if withheld is None else str(withheld)
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(lines_inside_the_windows(), min_size=1, max_size=4))
def test_whatever_the_windows_allow_passes_rules_request_and_evidence(lines):
    """Our sums, the amounts that go out and the CFDI that comes back are those that the user was shown."""
    invoice = adding_up(lines)
    amounts = compute(read(invoice))
    expected = Expected(read(invoice), an_issuer(), signed_xml.FECHA, signed_xml.UUID)
    report = examine(signed_xml.stamped(invoice), expected)

    assert codes(invoice) == []
    assert str(amounts.total) == str(rounded(D(invoice["total"]), 2))
    assert [str(line.importe) for line in amounts.lines] == [line["importe"] for line in lines]
    assert (report.ok, report.differences) == (True, ())


@settings(max_examples=40, deadline=None)
@given(lines_inside_the_windows(), st.sampled_from(["importe", "traslados"]), st.booleans())
def test_one_cent_outside_any_window_is_one_message(line, which, above):
    """And points at the amount that is wrong."""
    if which == "importe":
        low, high = importe_window(D(line["cantidad"]), D(line["valor_unitario"]), 2)
        importe = high + CENT if above else low - CENT
        if importe <= 0:
            return
        rate = D("0.16")
        line = shown_line(
            line["cantidad"], line["valor_unitario"], str(importe), str(rounded(importe * rate, 2))
        )
        expected = [("CFDI40167", "conceptos[0].importe")]
    else:
        low, high = tax_window(D(line["importe"]), D("0.160000"), 2)
        iva = high + CENT if above else low - CENT
        if iva < 0:
            return
        line = shown_line(line["cantidad"], line["valor_unitario"], line["importe"], str(iva))
        expected = [("CFDI40180", "conceptos[0].traslados[0].importe")]

    assert codes(adding_up([line])) == expected
