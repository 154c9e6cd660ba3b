"""The client's sums and net prices are those of the worker's rules."""

import itertools
import string
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timbrado_client.amounts import decimals_of, from_gross, totals

from cfdi.amounts import compute
from cfdi.document import read
from cfdi.sat import catalogs
from cfdi.validation import validate
from tests.support.builders import NOW, a_concepto, an_invoice, an_issuer
from tests.support.strategies import EXAMPLES, MONEDAS, invoices

RATES = ("0.160000", "0.080000", "0.000000")


@settings(max_examples=EXAMPLES * 4)
@given(invoices())
def test_totals_are_the_worker_s(invoice):
    """Of any valid invoice: every currency, tax, discount, and what the application shows of its lines."""
    ours, theirs = totals(invoice["conceptos"], moneda=invoice["moneda"]), compute(read(invoice))

    assert (ours.subtotal, ours.descuento, ours.total) == (theirs.subtotal, theirs.descuento, theirs.total)
    assert (ours.trasladados, ours.retenidos) == (
        theirs.total_trasladados or 0,
        theirs.total_retenidos or 0,
    )
    assert str(ours.total) == str(theirs.total)


@settings(max_examples=EXAMPLES * 2)
@given(invoices())
def test_an_invoice_with_these_totals_is_taken(invoice):
    """The worker's rules find nothing wrong with sums that the client made."""
    sums = totals(invoice["conceptos"], moneda=invoice["moneda"])

    made = invoice | {"subtotal": str(sums.subtotal), "total": str(sums.total)}
    made.pop("impuestos", None)

    assert validate(made, issuer=an_issuer(), now=NOW).faults == ()


@settings(max_examples=EXAMPLES * 4)
@given(invoices(), st.data())
def test_totals_follow_what_a_line_shows_where_the_worker_does(invoice, data):
    """A tax shown one cent off, where the SAT's window has room for it: both take it, or the worker refuses it."""
    for each in (
        tax for made in invoice["conceptos"] for tax in made.get("traslados", []) if tax.get("importe")
    ):
        cent = Decimal(1).scaleb(-decimals_of(invoice["moneda"]))
        off = Decimal(each["importe"]) + data.draw(st.sampled_from([-1, 0, 1])) * cent
        each["importe"] = str(max(off, Decimal(0).quantize(cent)))
    sums = totals(invoice["conceptos"], moneda=invoice["moneda"])
    made = invoice | {"subtotal": str(sums.subtotal), "total": str(sums.total)}
    made.pop("impuestos", None)

    codes = {fault.code for fault in validate(made, issuer=an_issuer(), now=NOW).faults}

    assert codes <= {"CFDI40180", "CFDI40119"}
    assert ("CFDI40180" in codes) or sums.total == compute(read(invoice)).total


def test_decimals_are_those_of_the_sat_s_catalogue():
    """Of every currency that c_Moneda has."""
    codes = ("".join(letters) for letters in itertools.product(string.ascii_uppercase, repeat=3))
    known = {code: currency.decimals for code in codes if (currency := catalogs.currency(code))}

    assert len(known) > 150
    assert {code: decimals_of(code) for code in known} == known


PRICES = st.decimals("0.01", "999999.99", places=2)
QUANTITIES = st.one_of(
    st.just(Decimal(1)), st.decimals("0.001", "2000", places=3), st.integers(1, 2000).map(Decimal)
)


@settings(max_examples=EXAMPLES * 8)
@given(PRICES, st.sampled_from(RATES), QUANTITIES, st.sampled_from(sorted(MONEDAS)))
def test_a_net_price_leads_back_to_the_gross(price, tasa, cantidad, moneda):
    """To the cent where any net amount does, else to the nearest, and `difference` says by how much."""
    cent = Decimal(1).scaleb(-decimals_of(moneda))
    net = from_gross(price, tasa=tasa, cantidad=cantidad, moneda=moneda)

    sums = totals([line(cantidad, net.valor_unitario, tasa)], moneda=moneda)

    assert (sums.subtotal, sums.total) == (net.importe, net.total)
    wanted = net.total - net.difference
    assert abs(wanted - price * cantidad) <= cent / 2
    assert abs(net.difference) <= cent
    if net.difference:
        neighbours = (net.importe - cent, net.importe, net.importe + cent)
        assert wanted not in {each + tax(each, tasa, cent) for each in neighbours}


@settings(max_examples=EXAMPLES * 4)
@given(PRICES, st.sampled_from(RATES), st.booleans())
def test_the_worker_takes_a_line_made_from_a_gross_price(price, tasa, exact):
    """No rule of sums, windows or bases is broken by it, and with `exact` it comes to the price itself."""
    lugar = "22000" if tasa == "0.080000" else "64000"
    net = from_gross(price, tasa=tasa, exact=exact)
    made = line("1", net.valor_unitario, tasa)
    if exact:
        made["traslados"][0]["importe"] = str(net.impuesto)
    sums = totals([made])

    found = validate(
        an_invoice(conceptos=[made], lugar_expedicion=lugar)
        | {"subtotal": str(sums.subtotal), "total": str(sums.total)},
        issuer=an_issuer(),
        now=NOW,
    )

    assert found.faults == ()
    assert sums.total == net.total
    assert not exact or sums.total == price


@pytest.mark.parametrize(
    ("price", "valor_unitario", "total", "difference"),
    [
        ("116.00", "100.00", "116.00", "0.00"),
        ("100.00", "86.21", "100.00", "0.00"),
        ("0.04", "0.03", "0.03", "-0.01"),
        ("0", "0.00", "0.00", "0.00"),
    ],
)
def test_prices_that_show_how_it_rounds(price, valor_unitario, total, difference):
    """A plain one, one that needs rounding, one that no net amount leads to, and nothing."""
    net = from_gross(price)

    assert (str(net.valor_unitario), str(net.total), str(net.difference)) == (
        valor_unitario,
        total,
        difference,
    )


@pytest.mark.parametrize(
    "asked",
    [
        {"price": "-1"},
        {"price": "1", "tasa": "-0.16"},
        {"price": "1", "cantidad": "0"},
        {"price": "1", "tasa": "1"},
    ],
)
def test_what_is_no_price_is_refused(asked):
    """A negative price, a rate that is none, and a quantity of nothing."""
    with pytest.raises(ValueError, match="not negative"):
        from_gross(**asked)


def test_a_quantity_that_six_decimals_cannot_say_is_refused():
    """Millions of pieces at a fraction of a cent: six decimals of a unit price miss the cent."""
    with pytest.raises(ValueError, match="greater unit"):
        from_gross("0.0037", cantidad="12345678")


def line(cantidad, valor_unitario, tasa):
    taxes = [] if tasa is None else [{"impuesto": "002", "tipo_factor": "Tasa", "tasa_o_cuota": tasa}]
    return a_concepto(
        cantidad=f"{Decimal(cantidad):f}",
        valor_unitario=f"{Decimal(valor_unitario):f}",
        descuento=None,
        traslados=taxes,
        retenciones=[],
    )


def tax(net, tasa, cent):
    return (net * Decimal(tasa)).quantize(cent, rounding="ROUND_HALF_UP")
