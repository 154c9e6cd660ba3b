"""What an invoice adds up to, and net prices from prices with tax, rounded as the worker's rules round.

Every amount of a line is rounded once, half up, to the decimals of the currency; everything above a line is a plain sum
of those, never a rate applied to a sum (Anexo 20: CFDI40108, CFDI40119, CFDI40221).

    sums = totals(invoice["conceptos"], moneda="MXN")
    invoice |= {"subtotal": sums.subtotal, "total": sums.total}
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from timbrado_client.invoice import Concepto, Impuesto

_EXACT = Context(prec=60, rounding=ROUND_HALF_UP)  # a product of two numbers of 18 + 6 digits loses nothing
_OTHER_DECIMALS = {
    0: "BIF BYR CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XAG XAU XBA XBB XBC XBD XDR XOF XPD XPF XPT "
    "XSU XTS XUA XXX",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF",
}
"""c_Moneda: the currencies that have not two decimals."""
_DECIMALS = {code: places for places, codes in _OTHER_DECIMALS.items() for code in codes.split()}


@dataclass(frozen=True, slots=True)
class Totals:
    """What an invoice adds up to; amounts have the decimals of the currency."""

    subtotal: Decimal
    descuento: Decimal
    trasladados: Decimal
    retenidos: Decimal
    total: Decimal


@dataclass(frozen=True, slots=True)
class NetPrice:
    """The net price of something that is sold with its tax included."""

    valor_unitario: Decimal
    """Net, per unit; with as few decimals as lead to `importe`, six at most."""
    importe: Decimal
    """Net, of the line."""
    impuesto: Decimal
    """The tax of the line. It is to be shown (`importe` of the traslado) where it is asked for with `exact`."""
    total: Decimal
    """With tax, of the line, as the invoice will have it."""
    difference: Decimal
    """`total` less what was asked for; not zero where no rounded tax leads there, as to 0.04 at 16 %."""


def decimals_of(moneda: str) -> int:
    """Return how many decimals amounts in a currency have (c_Moneda)."""
    return _DECIMALS.get(moneda, 2)


def totals(conceptos: Iterable[Concepto | Mapping[str, Any]], *, moneda: str = "MXN") -> Totals:
    """Add up the lines of an invoice, in the form in which they are sent.

    An importe that a line or a tax shows is taken as it is, the others are computed; one outside the SAT's window the
    worker refuses (CFDI40167, CFDI40180, CFDI40186). Raises pydantic's ValidationError for a line that has not the
    shape of one; `check` explains what is wrong with it.
    """
    places = decimals_of(moneda)
    zero = subtotal = descuento = trasladados = retenidos = _rounded(Decimal(0), places)
    for each in conceptos:
        line = each if isinstance(each, Concepto) else Concepto.model_validate(each)
        importe = _shown(line.importe, _EXACT.multiply(line.cantidad, line.valor_unitario), places)
        discount = _rounded(line.descuento, places) if line.descuento is not None else zero
        base = importe - discount
        subtotal, descuento = _EXACT.add(subtotal, importe), _EXACT.add(descuento, discount)
        for charged in line.traslados:
            trasladados = _EXACT.add(trasladados, _tax(charged, base, places))
        for withheld in line.retenciones:
            retenidos = _EXACT.add(retenidos, _tax(withheld, base, places))
    total = _EXACT.subtract(_EXACT.add(_EXACT.subtract(subtotal, descuento), trasladados), retenidos)
    return Totals(subtotal, descuento, trasladados, retenidos, total)


def from_gross(
    price: Decimal | str,
    *,
    tasa: Decimal | str = "0.160000",
    cantidad: Decimal | str = "1",
    moneda: str = "MXN",
    exact: bool = False,
) -> NetPrice:
    """Return the net unit price of something whose price, tax included, is `price` per unit.

    `tasa` is the rate of the tax added; withholdings do not change a price. The line comes to `price` by `cantidad`
    where a net amount and its rounded tax lead there, and to the nearest that does otherwise (`difference`): so it is
    for one price in seven at 16 %. With `exact` the tax is then one cent off its rounding, inside the SAT's window
    (CFDI40180), and the line comes to the price; whoever stamps must take that tax as it is shown.

    Raises ValueError for a price, rate or quantity that is negative, for a rate of one or more, and where no unit price
    of six decimals leads to the net amount.
    """
    places, rate, units, gross = decimals_of(moneda), Decimal(tasa), Decimal(cantidad), Decimal(price)
    if gross < 0 or not 0 <= rate < 1 or units <= 0:
        raise ValueError("price is not negative, tasa is from 0 to 1, and cantidad is more than nothing")
    wanted = _rounded(_EXACT.multiply(gross, units), places)
    near = _rounded(_EXACT.divide(wanted, 1 + rate), places)
    cent = Decimal(1).scaleb(-places)

    def tax(net: Decimal) -> Decimal:
        return _rounded(_EXACT.multiply(net, rate), places)

    nets = [net for net in (near, near - cent, near + cent) if net >= 0]
    net = min(nets, key=lambda each: abs(each + tax(each) - wanted))
    impuesto = tax(net)
    if exact and net + impuesto != wanted:
        net, impuesto = near, wanted - near
    for decimals in range(places, 7):
        unit = _rounded(_EXACT.divide(net, units), decimals)
        if _rounded(_EXACT.multiply(unit, units), places) == net:
            return NetPrice(unit, net, impuesto, net + impuesto, net + impuesto - wanted)
    raise ValueError(f"no unit price of six decimals by {units} comes to {net}: sell in a greater unit")


def _rounded(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), context=_EXACT)


def _shown(shown: Decimal | None, computed: Decimal, places: int) -> Decimal:
    return _rounded(computed if shown is None else shown, places)


def _tax(tax: Impuesto, base: Decimal, places: int) -> Decimal:
    if tax.tipo_factor == "Exento" or tax.tasa_o_cuota is None:
        return _rounded(Decimal(0), places)
    return _shown(tax.importe, _EXACT.multiply(base, tax.tasa_o_cuota), places)
