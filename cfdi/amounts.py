"""What an invoice adds up to: lines, taxes, summary rows and totals, in exact decimals.

The SAT wants sums of *rounded lines*: everything above a line is a plain sum, never a rate applied to a sum
(Anexo 20, CFDI40108, 40119, 40221). A line amount is the one that the user was shown, where it lies in the SAT's
window (CFDI40167, 40180, 40186); where none was shown, or another, it is rounded once, half up, to the decimals of
the currency.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_HALF_UP, Context, Decimal

from cfdi.document import Concepto, Impuesto, Invoice
from cfdi.sat import catalogs

# Wide enough for a product of two numbers of 18 + 6 digits; the default 28 would round in silence.
EXACT = Context(prec=60, rounding=ROUND_HALF_UP)
ZERO = Decimal(0)
_STEP_BELOW = Decimal("1e-12")
_UNITS = tuple(Decimal(1).scaleb(-decimals) for decimals in range(7))


class UnknownCurrency(LookupError):
    """A currency that is not in c_Moneda, so its decimals are unknown."""

    def __init__(self, moneda: str) -> None:
        super().__init__(f"moneda {moneda!r} is not in c_Moneda")
        self.moneda = moneda


@dataclass(frozen=True, slots=True)
class LineTax:
    """A tax of one line; `tasa_o_cuota` and `importe` are None when it is exempt."""

    impuesto: str
    tipo_factor: str
    tasa_o_cuota: Decimal | None
    base: Decimal
    importe: Decimal | None


@dataclass(frozen=True, slots=True)
class LineAmounts:
    """What one concepto adds up to; taxes in the order of the invoice."""

    importe: Decimal
    descuento: Decimal
    traslados: tuple[LineTax, ...]
    retenciones: tuple[LineTax, ...]


@dataclass(frozen=True, slots=True)
class TrasladoRow:
    """A row of Impuestos/Traslados: one per impuesto, tipo_factor and tasa; exempt rows have no importe."""

    impuesto: str
    tipo_factor: str
    tasa_o_cuota: Decimal | None
    base: Decimal
    importe: Decimal | None


@dataclass(frozen=True, slots=True)
class RetencionRow:
    """A row of Impuestos/Retenciones: one per impuesto."""

    impuesto: str
    importe: Decimal


@dataclass(frozen=True, slots=True)
class Amounts:
    """Everything an invoice adds up to, with `decimals` places.

    A total that the CFDI must not carry is None: `total_trasladados` without a row that has an importe
    (CFDI40205), `total_retenidos` without a withholding.
    """

    lines: tuple[LineAmounts, ...]
    traslados: tuple[TrasladoRow, ...]
    retenciones: tuple[RetencionRow, ...]
    subtotal: Decimal
    descuento: Decimal
    total_trasladados: Decimal | None
    total_retenidos: Decimal | None
    total: Decimal
    decimals: int


def decimals_of(value: Decimal) -> int:
    """Return how many decimals a number is printed with: 2 for 1.50."""
    exponent = value.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def is_in_units(value: Decimal, decimals: int) -> bool:
    """Whether a number needs no more decimals than these: 1600.0000 needs none."""
    return value == rounded(value, decimals)


def rounded(value: Decimal, decimals: int) -> Decimal:
    """Round half up to a number of decimals, 0 to 6."""
    return value.quantize(_UNITS[decimals], context=EXACT)


def times(one: Decimal, other: Decimal) -> Decimal:
    """Multiply without losing a digit."""
    return EXACT.multiply(one, other)


def total_of(values: Iterable[Decimal], decimals: int) -> Decimal:
    """Add without losing a digit, and write with a number of decimals."""
    total = ZERO
    for value in values:
        total = EXACT.add(total, value)
    return rounded(total, decimals)


def decimals_of_currency(moneda: str) -> int:
    """Return the decimals of a currency of c_Moneda; raise `UnknownCurrency` for another."""
    currency = catalogs.currency(moneda)
    if currency is None:
        raise UnknownCurrency(moneda)
    return currency.decimals


def compute(invoice: Invoice) -> Amounts:
    """Return what an invoice adds up to; raise `UnknownCurrency` where c_Moneda does not have its moneda."""
    decimals = decimals_of_currency(invoice.moneda)
    return add_up((compute_line(concepto, decimals) for concepto in invoice.conceptos), decimals)


def add_up(lines: Iterable[LineAmounts], decimals: int) -> Amounts:
    """Return what lines come to in a currency of so many decimals."""
    lines = tuple(lines)
    subtotal = total_of((line.importe for line in lines), decimals)
    descuento = total_of((line.descuento for line in lines), decimals)
    traslados = _traslado_rows(lines, decimals)
    retenciones = _retencion_rows(lines, decimals)
    charged = [row.importe for row in traslados if row.importe is not None]
    withheld = [row.importe for row in retenciones]
    total_trasladados = total_of(charged, decimals) if charged else None
    total_retenidos = total_of(withheld, decimals) if withheld else None
    parts = (subtotal, -descuento, total_trasladados or ZERO, -(total_retenidos or ZERO))
    return Amounts(
        lines=lines,
        traslados=traslados,
        retenciones=retenciones,
        subtotal=subtotal,
        descuento=descuento,
        total_trasladados=total_trasladados,
        total_retenidos=total_retenidos,
        total=total_of(parts, decimals),
        decimals=decimals,
    )


def compute_line(concepto: Concepto, decimals: int) -> LineAmounts:
    """Return what one concepto adds up to in a currency of so many decimals."""
    importe = importe_of(concepto, decimals)
    descuento = descuento_of(concepto, decimals)
    base = EXACT.subtract(importe, descuento)
    return LineAmounts(
        importe=importe,
        descuento=descuento,
        traslados=tuple(compute_tax(tax, base, decimals) for tax in concepto.traslados),
        retenciones=tuple(compute_tax(tax, base, decimals) for tax in concepto.retenciones),
    )


def importe_of(concepto: Concepto, decimals: int) -> Decimal:
    """Return the Importe of a line: the one shown where the SAT takes it, else cantidad by valor_unitario."""
    shown, right = concepto.importe, rounded(times(concepto.cantidad, concepto.valor_unitario), decimals)
    if shown is None or shown == right:
        return right
    low, high = importe_window(concepto.cantidad, concepto.valor_unitario, decimals)
    return rounded(shown, decimals) if low <= shown <= high and is_in_units(shown, decimals) else right


def descuento_of(concepto: Concepto, decimals: int) -> Decimal:
    """Return the discount of a line, zero when it has none."""
    return rounded(concepto.descuento or ZERO, decimals)


def compute_tax(tax: Impuesto, base: Decimal, decimals: int) -> LineTax:
    """Return what a tax comes to over a base, the shown importe where the SAT takes it.

    An exempt one has neither rate nor importe.
    """
    rate = None if tax.tipo_factor == "Exento" else tax.tasa_o_cuota
    if rate is None:
        return LineTax(tax.impuesto, tax.tipo_factor, None, base, None)
    importe = rounded(times(base, rate), decimals)
    if tax.importe is not None and tax.importe != importe:
        low, high = tax_window(base, rate, decimals)
        if low <= tax.importe <= high and is_in_units(tax.importe, decimals):
            importe = rounded(tax.importe, decimals)
    return LineTax(tax.impuesto, tax.tipo_factor, rate, base, importe)


def _traslado_rows(lines: Iterable[LineAmounts], decimals: int) -> tuple[TrasladoRow, ...]:
    groups: dict[tuple[str, str, Decimal | None], list[LineTax]] = {}
    for line in lines:
        for tax in line.traslados:
            groups.setdefault((tax.impuesto, tax.tipo_factor, tax.tasa_o_cuota), []).append(tax)
    return tuple(
        TrasladoRow(
            impuesto=impuesto,
            tipo_factor=tipo_factor,
            tasa_o_cuota=rate,
            base=total_of((tax.base for tax in taxes), decimals),
            importe=None
            if rate is None
            else total_of((tax.importe for tax in taxes if tax.importe is not None), decimals),
        )
        for (impuesto, tipo_factor, rate), taxes in groups.items()
    )


def _retencion_rows(lines: Iterable[LineAmounts], decimals: int) -> tuple[RetencionRow, ...]:
    groups: dict[str, list[Decimal]] = {}
    for line in lines:
        for tax in line.retenciones:
            if tax.importe is not None:
                groups.setdefault(tax.impuesto, []).append(tax.importe)
    return tuple(RetencionRow(impuesto, total_of(parts, decimals)) for impuesto, parts in groups.items())


# --- the SAT's windows (Anexo 20, pp. 76-78) ----------------------------------------------------------


def importe_window(cantidad: Decimal, valor_unitario: Decimal, decimals: int) -> tuple[Decimal, Decimal]:
    """Return the least and the greatest Importe the SAT takes for a line.

    The window depends on the decimals *printed*: Cantidad `2` would let 86.99 to 145.02 pass for
    2 x 58.00. So it is taken as if both had six decimals printed, the tight window.
    """
    half = Decimal("0.0000005")
    low = times(max(cantidad - half, ZERO), max(valor_unitario - half, ZERO))
    high = times(cantidad + half - _STEP_BELOW, valor_unitario + half - _STEP_BELOW)
    return _window(low, high, decimals)


def tax_window(base: Decimal, rate: Decimal, decimals: int) -> tuple[Decimal, Decimal]:
    """Return the least and the greatest Importe the SAT takes for a tax of a line."""
    half = Decimal(1).scaleb(-decimals_of(base)) / 2
    return _window(times(max(base - half, ZERO), rate), times(base + half - _STEP_BELOW, rate), decimals)


def _window(low: Decimal, high: Decimal, decimals: int) -> tuple[Decimal, Decimal]:
    unit = _UNITS[decimals]
    return (
        low.quantize(unit, rounding=ROUND_DOWN, context=EXACT),
        high.quantize(unit, rounding=ROUND_CEILING, context=EXACT),
    )
