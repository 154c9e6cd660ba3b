"""What the amounts of a body mean in the account's dialect, in the terms of a CFDI: gross, withholdings apart.

With `sums: check` what was sent is only translated, and `rules.py` refuses what does not add up; with `use` and
`ignore` the CFDI is worked out here, from what was sent as the dialect reads it, or from quantity, price and rates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Final

from sandbox import refusals
from sandbox.dialects import RETENCIONES, SandboxDialect
from sandbox.fields import Fields, fraction

_EPSILON: Final = Decimal("1e-12")
_MILLIONTH: Final = Decimal("0.000001")
_NO_DECIMALS: Final = frozenset({"JPY", "CLP"})
_ZERO: Final = Decimal(0)


@dataclass(frozen=True)
class LineSums:
    """The numbers of one line; rates are fractions (0.16), None where there is no such tax."""

    cantidad: Decimal
    valor_unitario: Decimal
    importe: Decimal
    descuento: Decimal
    exento: bool
    tasa_iva: Decimal | None
    iva: Decimal
    tasa_ret_iva: Decimal | None
    base_ret_iva: Decimal
    ret_iva: Decimal
    tasa_ret_isr: Decimal | None
    ret_isr: Decimal
    line_total: Decimal

    @property
    def base(self) -> Decimal:
        """What its taxes are computed on."""
        return self.importe - self.descuento


@dataclass(frozen=True)
class Sums:
    """The sums of a CFDI."""

    subtotal: Decimal
    descuento: Decimal
    iva: Decimal
    ret_iva: Decimal
    ret_isr: Decimal
    total: Decimal


def of_line(line: Fields, dialect: SandboxDialect, *, subject: bool, places: int) -> LineSums:
    """Read the numbers of a line; `subject` says whether its product is subject to taxes (ObjetoImp 02)."""
    percent, zero = line.amount("PorcentajeIVA"), line.flag("TasaCero")
    # The API has no word for "exento" (assumed: subject to IVA, 0 %, and not "tasa cero").
    exento = subject and percent == 0 and not zero
    unit = Decimal(100) if dialect.rates == "percent" else Decimal(1)
    sent = LineSums(
        cantidad=line.amount("Cantidad"),
        valor_unitario=line.amount("Precio"),
        importe=line.amount("Importe"),
        descuento=line.amount("Descuento"),
        exento=exento,
        tasa_iva=None if exento or (not subject and not percent) else fraction(percent / unit),
        iva=line.amount("IVA"),
        tasa_ret_iva=_withholding(line, dialect) or None,
        base_ret_iva=line.amount("BaseRetIVA"),
        ret_iva=line.amount("RetIVA"),
        tasa_ret_isr=fraction(line.amount("TasaISR") / unit) or None,
        ret_isr=line.amount("RetISR"),
        line_total=line.amount("Total"),
    )
    read = replace(sent, importe=_importe(sent, dialect, places))
    if dialect.sums == "check":
        return replace(read, line_total=_line_total(read, dialect))
    return _worked_out(read, sent, dialect, places)


def totals(body: Fields, lines: Sequence[LineSums], dialect: SandboxDialect, places: int) -> Sums:
    """The sums: as sent, in the terms of a CFDI; or those of the lines, where nothing is checked."""
    subtotal = rounded((line.importe for line in lines), places)
    descuento = rounded((line.descuento for line in lines), places)
    iva = rounded((line.iva for line in lines), places)
    ret_iva = rounded((line.ret_iva for line in lines), places)
    ret_isr = rounded((line.ret_isr for line in lines), places)
    if dialect.sums != "check":
        total = subtotal - descuento + iva - ret_iva - ret_isr
        return Sums(subtotal, descuento, iva, ret_iva, ret_isr, total)
    sent_subtotal, sent_descuento = body.amount("Subtotal"), body.amount("Descuento")
    net = dialect.subtotal == "net" or (dialect.subtotal == "either" and sent_subtotal != subtotal)
    if net:
        sent_subtotal, sent_descuento = sent_subtotal + descuento, sent_descuento + descuento
    return Sums(
        sent_subtotal,
        sent_descuento,
        body.amount("IVA"),
        body.amount("RetencionIVA"),
        body.amount("RetencionISR"),
        body.amount("Total"),
    )


def _withholding(line: Fields, dialect: SandboxDialect) -> Decimal:
    """The rate of IVA that is withheld; 0, and the list's "No aplica", are none in every dialect."""
    value = line.raw["TipoRetIVA"]
    if value in (0, None, "0", ""):
        return _ZERO
    match dialect.tipo_retencion:
        case "percent":
            return fraction(line.amount("TipoRetIVA") / 100)
        case "fraction":
            return fraction(line.amount("TipoRetIVA"))
        case "list":
            number = line.whole("TipoRetIVA")
            found = next((rate for entry, _, rate in RETENCIONES if entry == number), None)
        case _:
            word = line.text("TipoRetIVA")
            found = next((rate for _, entry, rate in RETENCIONES if entry == word), None)
    if found is None:
        raise refusals.body(f"{line.at}TipoRetIVA {value} no existe en el catálogo de retenciones")
    return fraction(found)


def _importe(sent: LineSums, dialect: SandboxDialect, places: int) -> Decimal:
    """The line's amount before its discount."""
    if dialect.sums == "ignore":
        return rounded([sent.cantidad * sent.valor_unitario], places)
    net = dialect.importe == "net"
    if dialect.importe == "either":
        exact = sent.cantidad * sent.valor_unitario  # the nearer of the two: the SAT's limits may hold both
        net = abs(sent.importe + sent.descuento - exact) < abs(sent.importe - exact)
    return sent.importe + sent.descuento if net else sent.importe


def _line_total(read: LineSums, dialect: SandboxDialect) -> Decimal:
    """The line's total as it would be less its withholdings."""
    without = dialect.line_total == "without_withholdings"
    if dialect.line_total == "either":
        without = read.line_total == read.base + read.iva
    return read.line_total - read.ret_iva - read.ret_isr if without else read.line_total


def _worked_out(read: LineSums, sent: LineSums, dialect: SandboxDialect, places: int) -> LineSums:
    """A line that adds up: taxes of its base; those that were sent where the law's window allows them."""
    line = read
    if dialect.sums == "use" and not inside(line.importe, line.cantidad, line.valor_unitario, places):
        if line.cantidad == 0:
            raise refusals.document("CFDI40164", "La Cantidad del concepto debe ser mayor que cero.")
        line = replace(
            line, valor_unitario=(line.importe / line.cantidad).quantize(_MILLIONTH, ROUND_HALF_UP)
        )
    if dialect.sums == "use" and dialect.line_total == "with_withholdings" and not _shows_withholdings(sent):
        line = replace(line, tasa_ret_iva=None, tasa_ret_isr=None)

    def tax(rate: Decimal | None, amount: Decimal) -> Decimal:
        if rate is None:
            return _ZERO
        if dialect.sums == "use" and inside(amount, line.base, rate, places, rate=True):
            return amount
        return rounded([line.base * rate], places)

    line = replace(
        line,
        iva=tax(line.tasa_iva, line.iva),
        base_ret_iva=line.base,
        ret_iva=tax(line.tasa_ret_iva, line.ret_iva),
        ret_isr=tax(line.tasa_ret_isr, line.ret_isr),
    )
    return replace(line, line_total=line.base + line.iva - line.ret_iva - line.ret_isr)


def _shows_withholdings(sent: LineSums) -> bool:
    """Whether a line's total, as sent, is less by what is withheld."""
    withheld = sent.ret_iva + sent.ret_isr
    return any(sent.line_total == amount + sent.iva - withheld for amount in (sent.importe, sent.base))


def decimals_of(moneda: str) -> int:
    """How many decimals the totals of a currency have."""
    return 0 if moneda in _NO_DECIMALS else 2


def rounded(parts: Iterable[Decimal], places: int) -> Decimal:
    """The sum of the lines at the currency's decimals, half up."""
    return sum(parts, _ZERO).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def inside(amount: Decimal, left: Decimal, right: Decimal, places: int, *, rate: bool = False) -> bool:
    """The window of Anexo 20 pp. 76-78: what the printed digits of two factors allow their product to be."""
    half_left = Decimal(1).scaleb(-places_of(left)) / 2
    half_right = _ZERO if rate else Decimal(1).scaleb(-places_of(right)) / 2
    epsilon = _ZERO if rate else _EPSILON
    cent = Decimal(1).scaleb(-places)
    low = ((left - half_left) * (right - half_right)).quantize(cent, ROUND_DOWN)
    high = ((left + half_left - _EPSILON) * (right + half_right - epsilon)).quantize(cent, ROUND_CEILING)
    return low <= amount <= high


def places_of(number: Decimal) -> int:
    """How many decimals a number is written with."""
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
