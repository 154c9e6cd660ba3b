"""Is this Comprobante the invoice that was sent? Each comparison by name, each with what it finds.

A difference is presentational where the invoice means the same to everybody who gets it: another way of writing,
free text, a rounding that the SAT's own windows allow while every total is equal. It is substantial where parties,
amounts, taxes, currency, type, keys, payment, relations or a complement that matters are others. `COMPARISONS`
says for each which of its differences are what, and why; docs/evidence.md is printed from it.

Amounts are compared as Decimal, never as text (`15000` and `15000.000000` are one amount), and an attribute that
says 0 is the same as one that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from lxml import etree

from cfdi import names, wording
from cfdi.amounts import (
    ZERO,
    Amounts,
    LineAmounts,
    LineTax,
    compute,
    decimals_of,
    importe_window,
    rounded,
    tax_window,
)
from cfdi.document import Concepto, Invoice
from cfdi.evidence import complements
from cfdi.evidence.reading import TaxRow, amount_of, is_made_of, letters, node_at, tax_in, text_of
from cfdi.evidence.report import Difference, Severity
from cfdi.issuer import Issuer
from cfdi.sat import catalogs
from cfdi.sat.files import CFDI, COMPLEMENTO, TIMBRE

_EMISOR: Final = f"{{{CFDI}}}Emisor"
_RECEPTOR: Final = f"{{{CFDI}}}Receptor"
_CONCEPTOS: Final = f"{{{CFDI}}}Conceptos/{{{CFDI}}}Concepto"
_IMPUESTOS: Final = f"{{{CFDI}}}Impuestos"
_TRASLADOS: Final = f"{{{CFDI}}}Traslados/{{{CFDI}}}Traslado"
_RETENCIONES: Final = f"{{{CFDI}}}Retenciones/{{{CFDI}}}Retencion"
_INFORMACION_GLOBAL: Final = f"{{{CFDI}}}InformacionGlobal"
_RELACIONADOS: Final = f"{{{CFDI}}}CfdiRelacionados"

SAME_MOMENT: Final = timedelta(hours=1)
"""A Fecha less than this from ours, on the same day, is ours: a provider dates anew when it seals. A whole hour is
another zone's clock."""

_P: Final = Severity.PRESENTATIONAL
_S: Final = Severity.SUBSTANTIAL

Value = str | int | Decimal | None


@dataclass(frozen=True, slots=True)
class LinePair:
    """One concepto: as sent, as it must add up, and as it stands in the XML."""

    index: int
    sent: Concepto
    amounts: LineAmounts
    node: etree._Element

    @property
    def path(self) -> str:
        """Where it stands in the invoice as sent."""
        return f"conceptos[{self.index}]"

    @property
    def label(self) -> str:
        """Which line it is, as a user counts."""
        return f"Línea {self.index + 1}, "


@dataclass(frozen=True, slots=True)
class Pairing:
    """What was sent beside what came back."""

    invoice: Invoice
    issuer: Issuer
    fecha: datetime
    amounts: Amounts
    root: etree._Element
    lines: tuple[LinePair, ...]
    """Empty when the XML has another number of lines: then no line can be compared with another."""
    line_count: int
    of_lines: Mapping[str, Sequence[Difference]] = field(default_factory=dict)
    """What each comparison of a line found."""
    is_reordered: bool = False


Compare = Callable[[Pairing], Iterator[Difference]]


def pair(
    invoice: Invoice,
    issuer: Issuer,
    fecha: datetime,
    root: etree._Element,
    amounts: Amounts | None = None,
) -> Pairing:
    """Lay an invoice (with the naive local `fecha` it was sent with) beside a Comprobante."""
    amounts = amounts or compute(invoice)
    nodes = root.findall(_CONCEPTOS)
    pairing = Pairing(invoice, issuer, fecha, amounts, root, (), len(nodes))
    if len(nodes) != len(invoice.conceptos):
        return pairing
    lines = _lines(invoice, amounts, nodes)
    pairing = replace(pairing, lines=lines, of_lines=_compare_lines(lines, amounts.decimals))
    if len(nodes) < 2 or not _holds_substantial(pairing.of_lines):
        return pairing
    # In another order, perhaps: the order of the lines says nothing, so each may stand anywhere.
    lines = _lines(invoice, amounts, _in_our_order(invoice, amounts, nodes))
    found = _compare_lines(lines, amounts.decimals)
    if _holds_substantial(found):
        return pairing
    return replace(pairing, lines=lines, of_lines=found, is_reordered=True)


def _compare_lines(lines: Sequence[LinePair], decimals: int) -> Mapping[str, Sequence[Difference]]:
    """What the comparisons of a line find in all of them."""
    return {
        name: [difference for line in lines for difference in compare(line, decimals)]
        for name, compare in _OF_A_LINE.items()
    }


def _holds_substantial(found: Mapping[str, Sequence[Difference]]) -> bool:
    return any(difference.is_substantial for each in found.values() for difference in each)


def _lines(invoice: Invoice, amounts: Amounts, nodes: Sequence[etree._Element]) -> tuple[LinePair, ...]:
    together = zip(invoice.conceptos, amounts.lines, nodes, strict=True)
    return tuple(LinePair(index, sent, line, node) for index, (sent, line, node) in enumerate(together))


def _in_our_order(
    invoice: Invoice, amounts: Amounts, nodes: Sequence[etree._Element]
) -> list[etree._Element]:
    """The nodes as the lines they most likely are: both sides sorted by what makes a line what it is."""

    def cents(value: Decimal | str | None) -> Decimal:
        return rounded(value, amounts.decimals) if isinstance(value, Decimal) else ZERO

    def ours(place: int) -> tuple[object, ...]:
        line = invoice.conceptos[place]
        keys = (line.clave_prod_serv, line.clave_unidad, line.objeto_imp)
        return *keys, cents(amounts.lines[place].importe), cents(line.cantidad), letters(line.descripcion)

    def theirs(place: int) -> tuple[object, ...]:
        node = nodes[place]
        keys = (node.get(name, "") for name in ("ClaveProdServ", "ClaveUnidad", "ObjetoImp"))
        amount, count = amount_of(node, "Importe"), amount_of(node, "Cantidad")
        return *keys, cents(amount), cents(count), letters(node.get("Descripcion", ""))

    sorted_nodes = dict(
        zip(sorted(range(len(nodes)), key=ours), sorted(range(len(nodes)), key=theirs), strict=True)
    )
    return [nodes[sorted_nodes[place]] for place in range(len(nodes))]


# --- telling differences ------------------------------------------------------------------------------


def _difference(
    code: str, field: str, label: str, severity: Severity, sent: str, received: str
) -> Difference:
    ours = f"en tu factura es {sent}" if sent else "en tu factura no viene"
    theirs = f"en el CFDI timbrado es {received}" if received else "en el CFDI timbrado no viene"
    return Difference(code, field, severity, sent, received, f"{label}: {ours} y {theirs}.")


def _differ(
    code: str, field: str, label: str, sent: Value, found: Value, severity: Severity = _S
) -> Iterator[Difference]:
    """Report the difference between two values, if there is one; keys with their names, texts between quotes."""
    if sent != found:
        name = field.rpartition(".")[2]
        yield _difference(code, field, label, severity, _shown(name, sent), _shown(name, found))


def _shown(name: str, value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return wording.number(value)
    if isinstance(value, str) and wording.name_of(name, value) is None:
        return value if value.isalnum() else wording.quoted(value)
    return wording.key(name, str(value))


def _differ_in_money(
    code: str, field: str, label: str, sent: Decimal | None, found: Decimal | str | None, severity: Severity
) -> Iterator[Difference]:
    if (sent or ZERO) != (found or ZERO):
        yield _difference(code, field, label, severity, _money(sent), _money(found))


def _money(value: Decimal | str | None) -> str:
    if value is None:
        return ""
    return wording.money(value) if isinstance(value, Decimal) else wording.quoted(value)


def _differ_in_name(code: str, field: str, label: str, sent: str, found: str | None) -> Iterator[Difference]:
    """A name beside its right RFC: dress and régimen de capital say nothing, other words another taxpayer."""
    if found is not None and names.is_same_name(sent, found):
        return
    same = found is not None and (
        letters(sent) == letters(found)
        or letters(names.without_regimen_capital(sent)) == letters(names.without_regimen_capital(found))
    )
    yield from _differ(code, field, label, sent, found, _P if same else _S)


# --- who, when, how -----------------------------------------------------------------------------------


def _emisor(it: Pairing) -> Iterator[Difference]:
    node = node_at(it.root, _EMISOR)
    yield from _differ("emisor", "emisor.rfc", "RFC del emisor", it.issuer.rfc, text_of(node, "Rfc"))
    yield from _differ_in_name(
        "emisor", "emisor.nombre", "Nombre del emisor", it.issuer.nombre, text_of(node, "Nombre")
    )
    if it.issuer.regimen_fiscal is not None:
        yield from _differ(
            "emisor",
            "emisor.regimen_fiscal",
            "Régimen fiscal del emisor",
            it.issuer.regimen_fiscal,
            text_of(node, "RegimenFiscal"),
        )


def _receptor(it: Pairing) -> Iterator[Difference]:
    node, sent = node_at(it.root, _RECEPTOR), it.invoice.receptor
    yield from _differ("receptor", "receptor.rfc", "RFC del cliente", sent.rfc, text_of(node, "Rfc"))
    yield from _differ_in_name(
        "receptor", "receptor.nombre", "Nombre del cliente", sent.nombre, text_of(node, "Nombre")
    )
    for name, attribute, label in (
        ("domicilio_fiscal_receptor", "DomicilioFiscalReceptor", "Código postal del cliente"),
        ("regimen_fiscal_receptor", "RegimenFiscalReceptor", "Régimen fiscal del cliente"),
        ("uso_cfdi", "UsoCFDI", "Uso del CFDI"),
    ):
        found = text_of(node, attribute)
        yield from _differ("receptor", f"receptor.{name}", label, getattr(sent, name), found)


def _serie(it: Pairing) -> Iterator[Difference]:
    expected, found = it.issuer.serie, text_of(it.root, "Serie")
    if expected is not None and expected.strip().upper() != (found or "").upper():
        yield from _differ("serie", "emisor.serie", "Serie", expected, found)


def _fecha(it: Pairing) -> Iterator[Difference]:
    text = text_of(it.root, "Fecha")
    if text == it.fecha.isoformat():
        return
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        found = None
    if found is None or found.tzinfo is not None:
        yield _difference("fecha", "fecha", "Fecha", _S, wording.moment(it.fecha), text or "")
        return
    near = found.date() == it.fecha.date() and abs(found - it.fecha) < SAME_MOMENT
    sent, received = wording.moment(it.fecha), wording.moment(found)
    yield _difference("fecha", "fecha", "Fecha", _P if near else _S, sent, received)


def _of_the_root(name: str, attribute: str, label: str) -> Compare:
    def compare(it: Pairing) -> Iterator[Difference]:
        yield from _differ(name, name, label, getattr(it.invoice, name), text_of(it.root, attribute))

    return compare


def _condiciones_de_pago(it: Pairing) -> Iterator[Difference]:
    sent, found = it.invoice.condiciones_de_pago, text_of(it.root, "CondicionesDePago")
    yield from _differ("condiciones_de_pago", "condiciones_de_pago", "Condiciones de pago", sent, found, _P)


def _tipo_cambio(it: Pairing) -> Iterator[Difference]:
    found = amount_of(it.root, "TipoCambio")
    sent = it.invoice.tipo_cambio
    if it.invoice.moneda == "MXN":  # left out or 1, as the PAC likes (CFDI40114)
        sent, found = Decimal(1), Decimal(1) if found is None else found
    yield from _differ("tipo_cambio", "tipo_cambio", "Tipo de cambio", sent, found)


def _informacion_global(it: Pairing) -> Iterator[Difference]:
    node, sent = it.root.find(_INFORMACION_GLOBAL), it.invoice.informacion_global
    for name, attribute, label in (
        ("periodicidad", "Periodicidad", "Periodicidad de la factura global"),
        ("meses", "Meses", "Mes o bimestre de la factura global"),
        ("anio", "Año", "Año de la factura global"),
    ):
        expected = None if sent is None else str(getattr(sent, name))
        found = None if node is None else text_of(node, attribute)
        yield from _differ("informacion_global", f"informacion_global.{name}", label, expected, found)


def _cfdi_relacionados(it: Pairing) -> Iterator[Difference]:
    sent = [
        (each.tipo_relacion, uuid.upper()) for each in it.invoice.cfdi_relacionados for uuid in each.uuids
    ]
    found = [
        (text_of(relation, "TipoRelacion") or "", (text_of(related, "UUID") or "").upper())
        for relation in it.root.findall(_RELACIONADOS)
        for related in relation.iterchildren("*")
    ]
    if sent == found:
        return
    same = set(sent) == set(found)
    label = "CFDI relacionados"
    yield _difference(
        "cfdi_relacionados", "cfdi_relacionados", label, _P if same else _S, _related(sent), _related(found)
    )


def _related(relations: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{uuid} con relación {wording.key('tipo_relacion', tipo)}" for tipo, uuid in relations)


# --- lines --------------------------------------------------------------------------------------------


def _conceptos(it: Pairing) -> Iterator[Difference]:
    sent, found = len(it.invoice.conceptos), it.line_count
    yield from _differ("conceptos", "conceptos", "Número de conceptos", sent, found)


def _orden(it: Pairing) -> Iterator[Difference]:
    if it.is_reordered:
        message = "Los conceptos vienen en otro orden que en tu factura; son los mismos."
        yield Difference("orden", "conceptos", _P, "", "", message)


CompareLine = Callable[[LinePair, int], Iterator[Difference]]


def _key_of_lines(name: str, attribute: str, label: str) -> CompareLine:
    def compare(line: LinePair, _decimals: int) -> Iterator[Difference]:
        sent, found = getattr(line.sent, name), text_of(line.node, attribute)
        if sent != found:
            yield from _differ(name, f"{line.path}.{name}", line.label + label, sent, found)

    return compare


def _factor_of_lines(name: str, attribute: str, label: str) -> CompareLine:
    """Cantidad or ValorUnitario: the provider may print fewer decimals, never another number."""

    def compare(line: LinePair, _decimals: int) -> Iterator[Difference]:
        sent: Decimal = getattr(line.sent, name)
        found = amount_of(line.node, attribute)
        if sent == found:
            return
        places = decimals_of(found) if isinstance(found, Decimal) else 0
        shortened = 2 <= places <= 6 and found in (rounded(sent, places), _cut(sent, places))
        show = _money if name == "valor_unitario" else lambda value: _shown(name, value)
        severity = _P if shortened else _S
        yield _difference(name, f"{line.path}.{name}", line.label + label, severity, show(sent), show(found))

    return compare


def _cut(value: Decimal, places: int) -> Decimal:
    step = Decimal(1).scaleb(-places)
    return value // step * step


def _importe(line: LinePair, decimals: int) -> Iterator[Difference]:
    sent, found = line.amounts.importe, amount_of(line.node, "Importe")
    if sent == found:
        return
    low, high = importe_window(line.sent.cantidad, line.sent.valor_unitario, decimals)
    severity = _P if isinstance(found, Decimal) and low <= found <= high else _S
    yield from _differ_in_money(
        "importe", f"{line.path}.importe", f"{line.label}importe", sent, found, severity
    )


def _descuento_of_lines(line: LinePair, decimals: int) -> Iterator[Difference]:
    sent, found = line.amounts.descuento, amount_of(line.node, "Descuento")
    if sent != (found or ZERO):
        label = f"{line.label}descuento"
        near = _P if isinstance(found, Decimal) and rounded(found, decimals) == sent else _S
        yield from _differ_in_money("concepto_descuento", f"{line.path}.descuento", label, sent, found, near)


def _descripcion(line: LinePair, _decimals: int) -> Iterator[Difference]:
    """Words of ours or of the SAT's catalogue are our text, in any order and cut anywhere; others are not."""
    sent, found = line.sent, text_of(line.node, "Descripcion")
    if found == sent.descripcion:
        return
    ours = (
        sent.descripcion,
        sent.nombre,
        sent.no_identificacion or "",
        sent.unidad or "",
        catalogs.clave_prod_serv(sent.clave_prod_serv) or "",
        catalogs.clave_unidad(sent.clave_unidad) or "",
    )
    severity = _P if found is not None and is_made_of(found, ours) else _S
    label = f"{line.label}descripción"
    yield from _differ("descripcion", f"{line.path}.descripcion", label, sent.descripcion, found, severity)


def _no_identificacion(line: LinePair, _decimals: int) -> Iterator[Difference]:
    sent, found = line.sent.no_identificacion, text_of(line.node, "NoIdentificacion")
    if sent == found:
        return
    label = f"{line.label}número de identificación"
    yield from _differ("no_identificacion", f"{line.path}.no_identificacion", label, sent, found, _P)


def _taxes_of_lines(line: LinePair, decimals: int) -> Iterator[Difference]:
    node = line.node.find(_IMPUESTOS)
    for name, path, sent in (
        ("traslados", _TRASLADOS, line.amounts.traslados),
        ("retenciones", _RETENCIONES, line.amounts.retenciones),
    ):
        found = [] if node is None else [tax_in(tax) for tax in node.iterfind(path)]
        yield from _line_taxes(line, name, sent, found, decimals)


def _line_taxes(
    line: LinePair, name: str, sent: Sequence[LineTax], found: list[TaxRow], decimals: int
) -> Iterator[Difference]:
    field = f"{line.path}.{name}"
    left = list(found)
    for tax in sent:
        kind = (tax.impuesto, tax.tipo_factor, tax.tasa_o_cuota)
        row = next((each for each in left if each.kind == kind), None)
        if row is not None and (row.base, row.importe) == (tax.base, tax.importe):
            left.remove(row)
            continue
        label = f"{line.label}{_tax_name(name, *kind)}"
        if row is None:
            received = ", ".join(_tax_name(name, *each.kind) for each in left)
            yield _difference(
                "concepto_impuestos", field, label, _S, _money(tax.importe) or "exento", received
            )
            return
        left.remove(row)
        base = _P if _is_the_base(tax.base, row.base, line, decimals) else _S
        yield from _differ_in_money("concepto_impuestos", field, f"{label}, base", tax.base, row.base, base)
        importe = _P if _is_in_its_window(tax, row, decimals) else _S
        yield from _differ_in_money("concepto_impuestos", field, label, tax.importe, row.importe, importe)
    for row in left:
        label = f"{line.label}{_tax_name(name, *row.kind)}"
        of_nothing = name == "retenciones" and row.tasa_o_cuota == ZERO == row.importe
        severity = _P if of_nothing else _S  # a traslado of 0 % says something: it is not exempt
        yield _difference("concepto_impuestos", field, label, severity, "", _money(row.importe) or "exento")


def _tax_name(name: str, impuesto: str | None, factor: str | None, rate: Decimal | str | None) -> str:
    withheld = " retenido" if name == "retenciones" else ""
    tax = wording.IMPUESTOS.get(impuesto or "", impuesto or "impuesto")
    if factor == "Exento":
        return f"{tax}{withheld} exento"
    return f"{tax}{withheld} de {wording.percent(rate)}" if isinstance(rate, Decimal) else f"{tax}{withheld}"


def _is_the_base(sent: Decimal, found: Decimal | str | None, line: LinePair, decimals: int) -> bool:
    """Whether a base of more decimals, or of the line's own Importe as the XML has it, is ours."""
    if not isinstance(found, Decimal):
        return False
    importe = amount_of(line.node, "Importe")
    descuento = amount_of(line.node, "Descuento")
    off = descuento if isinstance(descuento, Decimal) else line.amounts.descuento
    own = (
        isinstance(importe, Decimal)
        and found == importe - off
        and rounded(off, decimals) == rounded(line.amounts.descuento, decimals)
    )
    return own or rounded(found, decimals) == sent or _cut(found, decimals) == sent


def _is_in_its_window(tax: LineTax, row: TaxRow, decimals: int) -> bool:
    if not isinstance(row.importe, Decimal) or tax.tasa_o_cuota is None:
        return False
    bases = (tax.base, row.base) if isinstance(row.base, Decimal) else (tax.base,)
    windows = [tax_window(base, tax.tasa_o_cuota, decimals) for base in bases]
    return any(low <= row.importe <= high for low, high in windows)


# --- totals -------------------------------------------------------------------------------------------


def _total_of(name: str, attribute: str, label: str) -> Compare:
    def compare(it: Pairing) -> Iterator[Difference]:
        sent, found = getattr(it.amounts, name), amount_of(it.root, attribute)
        yield from _differ_in_money(name, name, label, sent, found, _S)

    return compare


def _impuestos(it: Pairing) -> Iterator[Difference]:
    node = it.root.find(_IMPUESTOS)
    for name, attribute, label, sent in (
        (
            "total_impuestos_trasladados",
            "TotalImpuestosTrasladados",
            "Total de impuestos trasladados",
            it.amounts.total_trasladados,
        ),
        (
            "total_impuestos_retenidos",
            "TotalImpuestosRetenidos",
            "Total de impuestos retenidos",
            it.amounts.total_retenidos,
        ),
    ):
        found = None if node is None else amount_of(node, attribute)
        yield from _differ_in_money("impuestos", f"impuestos.{name}", label, sent, found, _S)
    rows = [] if node is None else [tax_in(row) for row in node.iterfind(_TRASLADOS)]
    yield from _summary(
        "traslados",
        {
            (row.impuesto, row.tipo_factor, row.tasa_o_cuota): (row.base, row.importe)
            for row in it.amounts.traslados
        },
        [(row.kind, row.base, row.importe) for row in rows],
        it,
    )
    rows = [] if node is None else [tax_in(row) for row in node.iterfind(_RETENCIONES)]
    yield from _summary(
        "retenciones",
        {(row.impuesto, None, None): (None, row.importe) for row in it.amounts.retenciones},
        [((row.impuesto, None, None), None, row.importe) for row in rows],
        it,
    )


_Kind = tuple[str | None, str | None, Decimal | str | None]
_Amount = Decimal | str | None


def _summary(
    name: str,
    sent: Mapping[_Kind, tuple[Decimal | None, Decimal | None]],
    found: Sequence[tuple[_Kind, _Amount, _Amount]],
    it: Pairing,
) -> Iterator[Difference]:
    """Rows of the summary by the tax they are of; to the SAT their order says nothing."""
    field = f"impuestos.{name}"
    missing = dict(sent)
    for kind, base, importe in found:
        label = f"Resumen de impuestos, {_tax_name(name, *kind)}"
        ours = missing.pop(kind, None)
        if ours is None:  # a row of zeros, as some systems print for each rate they know, declares nothing
            severity = _P if not any((base, importe)) else _S
            yield _difference("impuestos", field, label, severity, "", _money(importe) or "exento")
            continue
        near = _P if _is_rounding(ours[0], base, it) else _S
        yield from _differ_in_money("impuestos", field, f"{label}, base", ours[0], base, near)
        yield from _differ_in_money("impuestos", field, label, ours[1], importe, _S)
    for kind, (_, importe) in missing.items():
        label = f"Resumen de impuestos, {_tax_name(name, *kind)}"
        yield _difference("impuestos", field, label, _S, _money(importe) or "exento", "")


def _is_rounding(sent: Decimal | None, found: _Amount, it: Pairing) -> bool:
    """Whether a base is ours but for the roundings of lines that are not rounded in the XML; no money depends on it."""
    if sent is None or not isinstance(found, Decimal):
        return False
    unrounded = sum(
        1
        for line in it.lines
        if isinstance(importe := amount_of(line.node, "Importe"), Decimal)
        and decimals_of(importe.normalize()) > it.amounts.decimals
    )
    return abs(sent - found) * 2 <= unrounded * Decimal(1).scaleb(-it.amounts.decimals)


def _additions(it: Pairing) -> Iterator[Difference]:
    """What changes the meaning of an invoice and was never asked for; and what was added and changes nothing."""
    for path, attribute, label in (
        (".", "Confirmacion", "Clave de confirmación"),
        (_EMISOR, "FacAtrAdquirente", "Número de operación del adquirente"),
        (_RECEPTOR, "ResidenciaFiscal", "Residencia fiscal del cliente"),
        (_RECEPTOR, "NumRegIdTrib", "Registro tributario del cliente"),
    ):
        node = it.root.find(path)
        if node is not None and node.get(attribute) is not None:
            yield _difference("additions", "", label, _S, "", wording.quoted(node.get(attribute, "")))
    for index, node in enumerate(it.root.iterfind(_CONCEPTOS)):
        for child in node.iterchildren("*"):
            if child.tag != _IMPUESTOS:
                name = complements.name_in_concepto(child)
                message = f"Línea {index + 1}: el CFDI timbrado lleva {name}, que tu factura no pidió."
                yield Difference("additions", f"conceptos[{index}]", _S, "", name, message)
    for child in it.root.iterfind(f"{COMPLEMENTO}/*"):
        if child.tag != TIMBRE:
            name = complements.name_of(child)
            severity = _P if complements.is_harmless(child) else _S
            message = f"El CFDI timbrado lleva {name}, que tu factura no pidió."
            if severity is _P:
                message += " No cambia lo que dice la factura."
            yield Difference("additions", "", severity, "", name, message)


# --- the table ----------------------------------------------------------------------------------------

_OF_A_LINE: Final[Mapping[str, CompareLine]] = MappingProxyType(
    {
        "clave_prod_serv": _key_of_lines("clave_prod_serv", "ClaveProdServ", "clave de producto o servicio"),
        "no_identificacion": _no_identificacion,
        "cantidad": _factor_of_lines("cantidad", "Cantidad", "cantidad"),
        "clave_unidad": _key_of_lines("clave_unidad", "ClaveUnidad", "clave de unidad"),
        "descripcion": _descripcion,
        "valor_unitario": _factor_of_lines("valor_unitario", "ValorUnitario", "valor unitario"),
        "importe": _importe,
        "concepto_descuento": _descuento_of_lines,
        "objeto_imp": _key_of_lines("objeto_imp", "ObjetoImp", "objeto de impuesto"),
        "concepto_impuestos": _taxes_of_lines,
    }
)

OF_EACH_LINE: Final = frozenset(_OF_A_LINE)
"""Those that can't be asked while the number of lines differs."""


def _each_line(name: str) -> Compare:
    def compare(it: Pairing) -> Iterator[Difference]:
        yield from it.of_lines.get(name, ())

    return compare


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one comparison asks, and which of its differences are what; in Spanish, since a page is made of it."""

    what: str
    presentational: str
    """Differences that are recorded only; empty where there are none."""
    substantial: str
    """Differences that somebody has to decide about; empty where there are none."""
    why: str
    compare: Compare


_AS_KEYS: Final = "Es un dato fiscal: con otra clave es otra factura."

COMPARISONS: Final[Mapping[str, Comparison]] = MappingProxyType(
    {
        "emisor": Comparison(
            "Emisor: RFC, nombre y régimen",
            "Acentos, signos, mayúsculas y régimen de capital del nombre.",
            "Otro RFC, otras palabras en el nombre, otro régimen.",
            "El RFC identifica al contribuyente; el SAT ya comparó el nombre con él (CFDI40139).",
            _emisor,
        ),
        "receptor": Comparison(
            "Cliente: RFC, nombre, código postal, régimen y uso",
            "Acentos, signos, mayúsculas y régimen de capital del nombre.",
            "Otro RFC, otras palabras en el nombre, otro código postal, régimen o uso.",
            "El RFC identifica al contribuyente; el SAT ya comparó el nombre con él (CFDI40145).",
            _receptor,
        ),
        "serie": Comparison(
            "Serie",
            "",
            "Otra serie que la de la conexión, o ninguna.",
            "La numeración del emisor la lleva la serie elegida en la conexión. El folio lo pone ContaDigital.",
            _serie,
        ),
        "tipo_de_comprobante": Comparison(
            "Tipo de comprobante",
            "",
            "Otro tipo.",
            _AS_KEYS,
            _of_the_root("tipo_de_comprobante", "TipoDeComprobante", "Tipo de comprobante"),
        ),
        "fecha": Comparison(
            "Fecha",
            "Menos de una hora de diferencia, el mismo día.",
            "Otro día, o una hora o más de diferencia.",
            "Hay proveedores que ponen la hora en que sellan. Otro día puede ser otro mes fiscal; una hora exacta "
            "es otra zona horaria.",
            _fecha,
        ),
        "lugar_expedicion": Comparison(
            "Lugar de expedición",
            "",
            "Otro código postal.",
            _AS_KEYS,
            _of_the_root("lugar_expedicion", "LugarExpedicion", "Lugar de expedición"),
        ),
        "exportacion": Comparison(
            "Exportación",
            "",
            "Otra clave.",
            _AS_KEYS,
            _of_the_root("exportacion", "Exportacion", "Exportación"),
        ),
        "forma_pago": Comparison(
            "Forma de pago",
            "",
            "Otra clave.",
            _AS_KEYS,
            _of_the_root("forma_pago", "FormaPago", "Forma de pago"),
        ),
        "metodo_pago": Comparison(
            "Método de pago",
            "",
            "Otra clave.",
            "De él depende que haya que emitir complementos de pago.",
            _of_the_root("metodo_pago", "MetodoPago", "Método de pago"),
        ),
        "condiciones_de_pago": Comparison(
            "Condiciones de pago",
            "Cualquier otro texto, o ninguno.",
            "",
            "Es texto libre.",
            _condiciones_de_pago,
        ),
        "moneda": Comparison(
            "Moneda", "", "Otra moneda.", "Es otro importe.", _of_the_root("moneda", "Moneda", "Moneda")
        ),
        "tipo_cambio": Comparison(
            "Tipo de cambio",
            "",
            "Otro número. En pesos, 1 o nada es lo mismo.",
            "Cambia el importe en pesos.",
            _tipo_cambio,
        ),
        "informacion_global": Comparison(
            "Información global", "", "Otro periodo, o que sobre o falte.", _AS_KEYS, _informacion_global
        ),
        "cfdi_relacionados": Comparison(
            "CFDI relacionados",
            "Otro orden, o un mismo folio fiscal repetido.",
            "Otro folio fiscal u otro tipo de relación.",
            "El orden no dice nada; la relación sí: sustituye, descuenta o aplica anticipos.",
            _cfdi_relacionados,
        ),
        "conceptos": Comparison(
            "Número de conceptos", "", "Más o menos conceptos.", "Es otra operación.", _conceptos
        ),
        "orden": Comparison(
            "Orden de los conceptos",
            "Los mismos conceptos en otro orden.",
            "",
            "El orden no dice nada.",
            _orden,
        ),
        "clave_prod_serv": Comparison(
            "Clave de producto o servicio",
            "",
            "Otra clave.",
            _AS_KEYS,
            _each_line("clave_prod_serv"),
        ),
        "no_identificacion": Comparison(
            "Número de identificación",
            "Cualquier otro, o ninguno.",
            "",
            "Es el número interno del producto; ContaDigital pone el suyo.",
            _each_line("no_identificacion"),
        ),
        "cantidad": Comparison(
            "Cantidad",
            "La misma con menos decimales (dos o más).",
            "Otra cantidad.",
            "El importe, que se compara aparte, es el mismo.",
            _each_line("cantidad"),
        ),
        "clave_unidad": Comparison(
            "Clave de unidad", "", "Otra clave.", _AS_KEYS, _each_line("clave_unidad")
        ),
        "descripcion": Comparison(
            "Descripción",
            "Solo palabras de la descripción, del nombre o del catálogo del SAT, en cualquier orden o cortadas.",
            "Palabras que nadie pidió.",
            "ContaDigital imprime el nombre del producto, nuestro texto o ambos. Otras palabras son otro servicio.",
            _each_line("descripcion"),
        ),
        "valor_unitario": Comparison(
            "Valor unitario",
            "El mismo con menos decimales (dos o más).",
            "Otro precio.",
            "El importe, que se compara aparte, es el mismo.",
            _each_line("valor_unitario"),
        ),
        "importe": Comparison(
            "Importe del concepto",
            "Otro redondeo dentro de la ventana del SAT (CFDI40167), hasta seis decimales.",
            "Fuera de la ventana.",
            "El SAT admite cualquiera de esos importes; los totales se comparan aparte, al centavo.",
            _each_line("importe"),
        ),
        "concepto_descuento": Comparison(
            "Descuento del concepto",
            "El mismo con más decimales, que a los de la moneda se redondea al enviado.",
            "Otro descuento.",
            "Los totales se comparan aparte, al centavo.",
            _each_line("concepto_descuento"),
        ),
        "objeto_imp": Comparison("Objeto de impuesto", "", "Otra clave.", _AS_KEYS, _each_line("objeto_imp")),
        "concepto_impuestos": Comparison(
            "Impuestos del concepto",
            "Otro orden; base e importe con otro redondeo dentro de la ventana del SAT (CFDI40180, CFDI40186); una "
            "retención de 0 % de más.",
            "Otro impuesto, otra tasa, otra base, un importe fuera de la ventana, un impuesto de más o de menos.",
            "El SAT admite cualquiera de esos importes; los totales se comparan aparte, al centavo.",
            _each_line("concepto_impuestos"),
        ),
        "subtotal": Comparison(
            "Subtotal",
            "",
            "Un centavo o más.",
            "Es otro importe.",
            _total_of("subtotal", "SubTotal", "Subtotal"),
        ),
        "descuento": Comparison(
            "Descuento",
            "",
            "Un centavo o más.",
            "Es otro importe.",
            _total_of("descuento", "Descuento", "Descuento"),
        ),
        "impuestos": Comparison(
            "Resumen de impuestos",
            "Otro orden de los renglones; una base que solo cambia por los redondeos de sus líneas; un renglón de más "
            "con base e importe en cero.",
            "Un total o el importe de un renglón con un centavo o más, un renglón de más o de menos.",
            "Es lo que se declara.",
            _impuestos,
        ),
        "total": Comparison(
            "Total", "", "Un centavo o más.", "Es otro importe.", _total_of("total", "Total", "Total")
        ),
        "additions": Comparison(
            "Lo que la factura no pidió",
            "Leyendas fiscales, impuestos locales en cero y registro fiscal.",
            "Cualquier otro complemento (Carta Porte, comercio exterior, pagos, nómina ...), a cuenta de terceros, "
            "pedimento, cuenta predial, partes, residencia fiscal, confirmación.",
            "Lo primero no cambia partes, importes ni obligaciones; lo segundo hace de ella otra factura. Una "
            "addenda no es parte del CFDI: ni se sella ni la recibe el SAT.",
            _additions,
        ),
    }
)
"""Every comparison, in the order of the report."""
