"""What an invoice adds up to: exact, half up at the line, sums of rounded lines."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfdi.amounts import (
    UnknownCurrency,
    compute,
    decimals_of,
    importe_window,
    rounded,
    tax_window,
)
from cfdi.document import read
from tests.support.builders import (
    a_concepto,
    a_retencion,
    a_traslado,
    an_exempt_traslado,
    an_invoice,
    readable,
)

D = Decimal


def amounts_of(*conceptos, **changes):
    return compute(read(an_invoice(conceptos=list(conceptos), **changes)))


def test_the_invoice_of_the_contract_adds_up():
    """Subtotal, discount, taxes and total of the contract's example, to the cent."""
    amounts = amounts_of(a_concepto())

    assert (amounts.subtotal, amounts.descuento, amounts.total) == (D("15000.00"), D("0.00"), D("16800.00"))
    assert (amounts.total_trasladados, amounts.total_retenidos) == (D("2400.00"), D("600.00"))


def test_a_tax_row_is_the_sum_of_rounded_lines():
    """10.03 x 0.16 = 1.6048: 1.60 a line, so 6.40 over four; 40.12 x 0.16 would be 6.42 (CFDI40221)."""
    amounts = amounts_of(*[a_concepto(valor_unitario="10.03", retenciones=[])] * 4)

    [row] = amounts.traslados
    assert (row.base, row.importe) == (D("40.12"), D("6.40"))
    assert amounts.total == D("46.52")


@pytest.mark.parametrize(
    ("cantidad", "valor_unitario", "importe"),
    [
        ("1", "0.125", "0.13"),  # half up; half even would say 0.12
        ("1", "0.115", "0.12"),
        ("3", "33.333333", "100.00"),
        ("0.000001", "1.00", "0.00"),
        ("999999999999", "999999.999999", "999999999998000000.00"),
    ],
)
def test_a_line_is_rounded_half_up_once(cantidad, valor_unitario, importe):
    """Importe is quantity times price, rounded half up at its end only."""
    amounts = compute(
        readable(an_invoice(conceptos=[a_concepto(cantidad=cantidad, valor_unitario=valor_unitario)]))
    )

    assert str(amounts.lines[0].importe) == importe


def test_the_base_of_a_tax_is_importe_less_discount():
    """Both transferred and withheld tax are taken of the discounted amount."""
    [line] = amounts_of(a_concepto(valor_unitario="100.00", descuento="15.00")).lines

    assert line.traslados[0].base == D("85.00")
    assert line.traslados[0].importe == D("13.60")
    assert line.retenciones[0].importe == D("3.40")


def test_an_invoice_with_only_exempt_lines_has_no_total_of_taxes():
    """The attribute must be absent then, and so it is None here (CFDI40205)."""
    amounts = amounts_of(a_concepto(traslados=[an_exempt_traslado()], retenciones=[]))

    assert amounts.total_trasladados is None
    assert amounts.total_retenidos is None
    assert amounts.traslados[0].importe is None
    assert amounts.total == amounts.subtotal


def test_a_zero_rate_has_a_total_of_zero():
    """Tasa 0 makes a total of 0.00, where Exento makes none."""
    amounts = amounts_of(a_concepto(traslados=[a_traslado(tasa_o_cuota="0.000000")], retenciones=[]))

    assert str(amounts.total_trasladados) == "0.00"


def test_rows_are_one_per_tax_factor_and_rate():
    """Lines of the same tax, factor and rate share a row, in order of appearance."""
    amounts = amounts_of(
        a_concepto(valor_unitario="100.00"),
        a_concepto(valor_unitario="200.00", traslados=[a_traslado(tasa_o_cuota="0.000000")], retenciones=[]),
        a_concepto(valor_unitario="300.00", traslados=[an_exempt_traslado()], retenciones=[]),
        a_concepto(valor_unitario="400.00", objeto_imp="01", traslados=[], retenciones=[]),
        a_concepto(
            valor_unitario="500.00", retenciones=[a_retencion(impuesto="001", tasa_o_cuota="0.012500")]
        ),
    )

    assert [(row.tipo_factor, row.tasa_o_cuota, row.base, row.importe) for row in amounts.traslados] == [
        ("Tasa", D("0.160000"), D("600.00"), D("96.00")),
        ("Tasa", D("0.000000"), D("200.00"), D("0.00")),
        ("Exento", None, D("300.00"), None),
    ]
    assert [(row.impuesto, row.importe) for row in amounts.retenciones] == [
        ("002", D("4.00")),
        ("001", D("6.25")),
    ]
    assert amounts.total == D("1500.00") + D("96.00") - D("10.25")


def test_a_currency_without_cents_has_no_cents():
    """Yen amounts are rounded to whole numbers."""
    amounts = amounts_of(a_concepto(valor_unitario="1500.50"), moneda="JPY", tipo_cambio="0.12")

    assert amounts.decimals == 0
    assert [str(value) for value in (amounts.subtotal, amounts.total_trasladados, amounts.total)] == [
        "1501",
        "240",
        "1681",
    ]


def test_an_unknown_currency_has_no_amounts():
    """ZZZ raises UnknownCurrency with its key."""
    with pytest.raises(UnknownCurrency) as unknown:
        compute(readable(an_invoice(moneda="ZZZ")))

    assert unknown.value.moneda == "ZZZ"


# --- the SAT's windows --------------------------------------------------------------------------------


def test_the_window_is_the_tight_one():
    """2 x 58.00 is 116.00 give or take the sixth decimal, however few decimals were printed."""
    assert importe_window(D("2"), D("58.00"), 2) == importe_window(D("2.000000"), D("58.000000"), 2)
    low, high = importe_window(D("2"), D("58.00"), 2)
    assert (low, high) == (D("115.99"), D("116.01"))


@pytest.mark.parametrize(
    ("base", "rate", "window"),
    [
        ("100.00", "0.160000", ("15.99", "16.01")),
        ("0.01", "0.160000", ("0.00", "0.01")),
        ("10.03", "0.160000", ("1.60", "1.61")),
        ("100", "0.160000", ("15.92", "16.08")),
    ],
)
def test_a_tax_window_follows_the_decimals_of_its_base(base, rate, window):
    """The SAT's tolerance comes of the digits the base is printed with."""
    assert tuple(map(str, tax_window(D(base), D(rate), 2))) == window


money = st.decimals("0.01", "5000000", places=2)
rates = st.sampled_from(
    [D(rate) for rate in ("0.160000", "0.080000", "0.040000", "0.106667", "0.012500", "0.100000")]
)


@given(base=money, rate=rates)
def test_our_rounding_of_a_tax_is_inside_the_window(base, rate):
    """Whatever base and rate, what we compute is what the SAT accepts."""
    low, high = tax_window(base, rate, 2)

    assert low <= rounded(base * rate, 2) <= high


@given(
    cantidad=st.one_of(st.decimals("0.001", "99999", places=places) for places in (0, 2, 3, 6)),
    valor_unitario=st.one_of(st.decimals("0.01", "99999", places=places) for places in (2, 4, 6)),
)
def test_our_rounding_of_an_importe_is_inside_the_window(cantidad, valor_unitario):
    """Whatever quantity and price, what we compute is what the SAT accepts."""
    low, high = importe_window(cantidad, valor_unitario, 2)

    assert low <= rounded(cantidad * valor_unitario, 2) <= high


@pytest.mark.parametrize(
    ("text", "decimals"), [("1", 0), ("1.50", 2), ("0.160000", 6), ("100", 0), ("0.0", 1)]
)
def test_decimals_are_those_printed(text, decimals):
    """Zeros at the end count: 1.50 has two decimals."""
    assert decimals_of(D(text)) == decimals
