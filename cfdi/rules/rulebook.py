"""What a rule is, and how all of them are asked about one invoice.

A rule is a small function with its SAT code, its number in our list, the field it points at, its source,
an example that breaks it and a neighbour that does not, all declared beside it. A rule never guards against missing
or misshapen parts: reading a field that could not be read raises, and the rule is left unasked, since that fault is
reported already.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Generic, TypeVar

from cfdi import amounts, wording
from cfdi.amounts import Amounts, LineAmounts, LineTax
from cfdi.document import (
    CfdiRelacionados,
    Concepto,
    FilaRetencion,
    FilaTraslado,
    Impuesto,
    Invoice,
    Unseen,
)
from cfdi.faults import Fault, Whose
from cfdi.issuer import Issuer
from cfdi.sat import catalogs, zones
from cfdi.texts import WORDS

MATRIZ = "Matriz de errores CFDI 4.0"
XSD = "Anexo 20, cfdv40.xsd"
GUIA = "Guía de llenado CFDI 4.0"
CONTADIGITAL = "Guía de ContaDigital"
APUNTO = "Contrato de Apunto"
NEW_KEYS = "Nuestros catálogos pueden ser más viejos que los del SAT, y su rechazo no gasta un timbre"

IEPS = "003"
YEARS = range(2010, 2100)
"""The years that t_FechaH of tdCFDI.xsd lets Fecha have."""

Changes = dict[str, Any]
"""What makes an example of a good invoice: values by path. `emisor.` paths speak of the issuer."""

UNANSWERABLE = (Unseen, amounts.UnknownCurrency, zones.UnknownPostcode)
"""What a rule raises when the invoice does not say enough to answer it; another rule says why."""


@dataclass(frozen=True, slots=True)
class Breach:
    """What a rule found. Empty parts are filled with the words of its code."""

    message: str = ""
    fix: str = ""
    field: str = ""
    """The whole path, where it is not the rule's own."""
    detail: str = ""
    """What a developer of Apunto needs to know beyond it."""
    whose: Whose | None = None
    """Who can correct it, where it is not whom the code's words name."""


BROKEN = Breach()
"""Found, and the words of the code say it all."""

Breaches = Breach | list[Breach] | None


def unknown_key(key: str, known: Container[str], catalog: str, what: str) -> Breaches:
    """Warn of a well-formed key that our catalogue does not have: the SAT's may be newer than ours."""
    if key in known or not catalogs.may_be_new(catalog, key):
        return None
    return Breach(
        f"{what} {key} no está en nuestro catálogo.",
        "Si es una clave nueva del SAT, no hagas nada; si no, corrígela.",
    )


T = TypeVar("T", bound="RuleCase")


class RuleCase:
    """Something a rule is asked about, and where it stands."""

    path = ""


class InvoiceCase(RuleCase):
    """One invoice before its rules, with what is worked out once and asked often."""

    def __init__(
        self, invoice: Invoice, issuer: Issuer | None, now: datetime, fix_rates: Mapping[str, Decimal]
    ) -> None:
        self.invoice = invoice
        self.issuer = issuer
        self.now = now
        self.fix_rates = fix_rates
        """Pesos per unit of a currency, as published (FIX); empty where the caller has none."""

    @cached_property
    def decimals(self) -> int:
        """The decimals of the currency."""
        return amounts.decimals_of_currency(self.invoice.moneda)

    @cached_property
    def lines(self) -> tuple["LineCase", ...]:
        """The conceptos."""
        return tuple(LineCase(self, index, concepto) for index, concepto in enumerate(self.invoice.conceptos))

    @cached_property
    def relations(self) -> tuple["RelationCase", ...]:
        """The nodes of CFDI that this one refers to."""
        return tuple(RelationCase(self, n, each) for n, each in enumerate(self.invoice.cfdi_relacionados))

    @cached_property
    def amounts(self) -> Amounts:
        """What the invoice adds up to, and what will be sent."""
        return amounts.add_up((line.amounts for line in self.lines), self.decimals)

    @cached_property
    def amounts_as_shown(self) -> Amounts:
        """What the line amounts that the user was shown add up to, also where one of them is wrong."""
        return amounts.add_up((line.amounts_as_shown for line in self.lines), self.decimals)

    def money(self, amount: Decimal) -> str:
        """Write an amount with the decimals of the currency: $15,000.00."""
        return wording.money(amount, self.decimals)

    def agree(self, sent: Decimal | None, sum_of: Callable[[Amounts], Decimal | None]) -> bool:
        """Whether a sum is right by what we send, or by lines of which each is refused on its own account."""
        if any(line.has_ieps for line in self.lines):  # it is refused, and its sums are not ours to know
            return True
        return sent == sum_of(self.amounts) or sent == sum_of(self.amounts_as_shown)

    @cached_property
    def filas_traslados(self) -> tuple["TrasladoSummary", ...]:
        """The traslados of the tax summary that came with the invoice."""
        impuestos = self.invoice.impuestos
        rows = () if impuestos is None else impuestos.traslados
        return tuple(TrasladoSummary(self, rows, index) for index in range(len(rows)))

    @cached_property
    def filas_retenciones(self) -> tuple["RetencionSummary", ...]:
        """The retenciones of the tax summary that came with the invoice."""
        impuestos = self.invoice.impuestos
        rows = () if impuestos is None else impuestos.retenciones
        return tuple(RetencionSummary(self, rows, index) for index in range(len(rows)))

    @cached_property
    def fecha(self) -> datetime:
        """The clock of the place of issue at the invoice's fecha, or now; naive, and in the XSD's years."""
        if self.invoice.fecha is not None and self.invoice.fecha.year not in YEARS:
            raise Unseen("fecha")
        return zones.local(self.invoice.fecha or self.now, self.invoice.lugar_expedicion)


class LineCase(RuleCase):
    """One concepto before its rules."""

    def __init__(self, case: InvoiceCase, index: int, concepto: Concepto) -> None:
        self.case = case
        self.number = index + 1
        """As a user counts."""
        self.concepto = concepto
        self.path = f"conceptos[{index}]"

    @cached_property
    def importe(self) -> Decimal:
        """Its importe as shown, inside the SAT's window; else cantidad by valor_unitario, rounded."""
        return amounts.importe_of(self.concepto, self.case.decimals)

    @cached_property
    def descuento(self) -> Decimal:
        """Its discount, zero without one."""
        return amounts.descuento_of(self.concepto, self.case.decimals)

    @cached_property
    def importe_as_shown(self) -> Decimal:
        """Its importe as the user was shown it, rounded, whether the SAT takes it or not."""
        shown = self.concepto.importe
        return self.importe if shown is None else amounts.rounded(shown, self.case.decimals)

    @cached_property
    def base(self) -> Decimal:
        """What its taxes are taken from: importe less discount.

        Of the importe as shown: a wrong one is refused by its own rule, and once.
        """
        return amounts.EXACT.subtract(self.importe_as_shown, self.descuento)

    @cached_property
    def has_ieps(self) -> bool:
        """Whether it carries IEPS, which is part of the base of its IVA."""
        return any(tax.impuesto == IEPS for tax in self.concepto.traslados)

    @cached_property
    def amounts(self) -> LineAmounts:
        """What the line adds up to."""
        return amounts.compute_line(self.concepto, self.case.decimals)

    @cached_property
    def amounts_as_shown(self) -> LineAmounts:
        """The line as the user was shown it."""
        return LineAmounts(
            importe=self.importe_as_shown,
            descuento=self.descuento,
            traslados=tuple(tax.as_shown for tax in self.traslados),
            retenciones=tuple(tax.as_shown for tax in self.retenciones),
        )

    @cached_property
    def traslados(self) -> tuple["TaxCase", ...]:
        """The taxes added."""
        return tuple(TaxCase(self, n, tax, "traslados") for n, tax in enumerate(self.concepto.traslados))

    @cached_property
    def retenciones(self) -> tuple["TaxCase", ...]:
        """The taxes withheld."""
        return tuple(TaxCase(self, n, tax, "retenciones") for n, tax in enumerate(self.concepto.retenciones))


class TaxCase(RuleCase):
    """One tax of a line before its rules."""

    def __init__(self, line: LineCase, index: int, tax: Impuesto, kind: str) -> None:
        self.line = line
        self.tax = tax
        self.path = f"{line.path}.{kind}[{index}]"

    @cached_property
    def amounts(self) -> LineTax:
        """What the tax comes to; only its own fields and the line's are asked."""
        return amounts.compute_tax(self.tax, self.line.base, self.line.case.decimals)

    @cached_property
    def as_shown(self) -> LineTax:
        """The tax as the user was shown it."""
        right, decimals = self.amounts, self.line.case.decimals
        base, importe = self.tax.base, self.tax.importe
        return replace(
            right,
            base=right.base if base is None else amounts.rounded(base, decimals),
            importe=right.importe
            if importe is None or right.importe is None
            else amounts.rounded(importe, decimals),
        )


class RelationCase(RuleCase):
    """One kind of relation before its rules."""

    def __init__(self, case: InvoiceCase, index: int, relation: CfdiRelacionados) -> None:
        self.case = case
        self.relation = relation
        # A single one is sent as an object, or as a list of one: the contract's own example is the object.
        alone = len(case.invoice.cfdi_relacionados) == 1
        self.path = "cfdi_relacionados" if alone else f"cfdi_relacionados[{index}]"


class TrasladoSummary(RuleCase):
    """One row of the traslados in the tax summary that came with the invoice."""

    def __init__(self, case: InvoiceCase, rows: tuple[FilaTraslado, ...], index: int) -> None:
        self.case = case
        self.before = rows[:index]
        self.row = rows[index]
        self.path = f"impuestos.traslados[{index}]"


class RetencionSummary(RuleCase):
    """One row of the retenciones in the tax summary that came with the invoice."""

    def __init__(self, case: InvoiceCase, rows: tuple[FilaRetencion, ...], index: int) -> None:
        self.case = case
        self.before = rows[:index]
        self.row = rows[index]
        self.path = f"impuestos.retenciones[{index}]"


@dataclass(frozen=True, slots=True)
class InvoiceRule(Generic[T]):
    """One rule of the SAT, of ContaDigital or of the contract."""

    name: str
    code: str
    number: int | None
    """Its number in the list of rules; None for those that are not the SAT's."""
    field: str
    """The path it points at; `[]` stands for any element."""
    says: str
    """What it demands, in Spanish."""
    source: str
    fails: Changes
    """Changes to a valid invoice that break this rule."""
    passes: Changes
    """Changes that come close and break no rule."""
    only_warns: bool
    scope: str
    check: Callable[[T], Breaches]

    def faults(self, place: T, found: Breach | list[Breach]) -> Iterator[Fault]:
        """Put what the rule found at a place into words."""
        words = WORDS[self.code]
        for breach in found if isinstance(found, list) else (found,):
            field = breach.field or place.path + self.field.removeprefix(self.scope)
            yield Fault(
                self.code,
                field,
                breach.message or words.message,
                breach.fix or words.fix,
                whose=breach.whose or words.whose,
                detail=breach.detail,
            )


class Scope(Generic[T]):
    """A kind of place that rules are written for; calling it makes a rule of a function.

    The function's docstring is the rule as `docs/validation.md` prints it, hence in Spanish.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(
        self,
        code: str,
        number: int | None,
        field: str,
        *,
        fails: Changes,
        passes: Changes,
        source: str = MATRIZ,
        only_warns: bool = False,
    ) -> Callable[[Callable[[T], Breaches]], InvoiceRule[T]]:
        """Declare a rule."""

        def declare(check: Callable[[T], Breaches]) -> InvoiceRule[T]:
            return InvoiceRule(
                name=check.__name__,
                code=code,
                number=number,
                field=field,
                says=(check.__doc__ or "").strip(),
                source=source,
                fails=fails,
                passes=passes,
                only_warns=only_warns,
                scope=self.path,
                check=check,
            )

        return declare


of_comprobante: Scope[InvoiceCase] = Scope("")
of_concepto: Scope[LineCase] = Scope("conceptos[]")
of_traslado: Scope[TaxCase] = Scope("conceptos[].traslados[]")
of_retencion: Scope[TaxCase] = Scope("conceptos[].retenciones[]")
of_relacion: Scope[RelationCase] = Scope("cfdi_relacionados[]")
of_fila_traslado: Scope[TrasladoSummary] = Scope("impuestos.traslados[]")
of_fila_retencion: Scope[RetencionSummary] = Scope("impuestos.retenciones[]")


class Rulebook:
    """A list of rules, sorted once by the places they are asked at."""

    def __init__(self, rules: Iterable[InvoiceRule[Any]]) -> None:
        by_scope: dict[str, list[InvoiceRule[Any]]] = {}
        for rule in rules:
            by_scope.setdefault(rule.scope, []).append(rule)
        self._by_scope = {scope: tuple(found) for scope, found in by_scope.items()}

    def ask(self, case: InvoiceCase) -> Iterator[tuple[InvoiceRule[Any], Fault]]:
        """Yield every finding about an invoice with the rule that made it."""
        for place, scope in _places(case):
            for rule in self._by_scope.get(scope, ()):
                try:
                    found = rule.check(place)
                except UNANSWERABLE:
                    continue
                if found is not None:
                    for fault in rule.faults(place, found):
                        yield rule, fault


def _places(case: InvoiceCase) -> Iterator[tuple[RuleCase, str]]:
    """Yield everything in an invoice that rules are asked about."""
    yield case, of_comprobante.path
    for line in _seen(case, "lines"):
        yield line, of_concepto.path
        for tax in _seen(line, "traslados"):
            yield tax, of_traslado.path
        for tax in _seen(line, "retenciones"):
            yield tax, of_retencion.path
    for relation in _seen(case, "relations"):
        yield relation, of_relacion.path
    for row in _seen(case, "filas_traslados"):
        yield row, of_fila_traslado.path
    for row in _seen(case, "filas_retenciones"):
        yield row, of_fila_retencion.path


def _seen(place: RuleCase, parts: str) -> tuple[RuleCase, ...]:
    """Return the parts of a place, none where they could not be read."""
    try:
        found: tuple[RuleCase, ...] = getattr(place, parts)
    except UNANSWERABLE:
        return ()
    return found
