"""Is this Comprobante the invoice that was sent? Each question by name, each answered with what differs.

Strict on what money and law need: parties, dates, currency, keys, every amount and every tax of every line.
Free text is another matter: ContaDigital prints the product's name, our text, or both, and its own number of
the product; there a difference is told (`Tolerated`) and does not fail.

What a newcomer would get wrong: amounts are compared as Decimal, never as text (`15000`, `15000.00` and
`15000.000000` are one amount), and an attribute that says 0 is the same as one that is not there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from lxml import etree

from cfdi import names
from cfdi.amounts import Amounts, LineAmounts, LineTax, TrasladoRow, compute
from cfdi.document import Concepto, Invoice
from cfdi.issuer import Issuer
from cfdi.sat_files import CFDI, COMPLEMENTO, TIMBRE

_AMOUNT: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,6})?")
_BLANKS: Final = re.compile(r"[ \t\r\n]+")
_NOT_A_LETTER: Final = re.compile(r"[\W_]+")
_LEAST_OF_A_CUT_TEXT: Final = 10
"""Characters: less of our text than this is not our text."""

_EMISOR: Final = f"{{{CFDI}}}Emisor"
_RECEPTOR: Final = f"{{{CFDI}}}Receptor"
_CONCEPTOS: Final = f"{{{CFDI}}}Conceptos/{{{CFDI}}}Concepto"
_IMPUESTOS: Final = f"{{{CFDI}}}Impuestos"
_TRASLADOS: Final = f"{{{CFDI}}}Traslados/{{{CFDI}}}Traslado"
_RETENCIONES: Final = f"{{{CFDI}}}Retenciones/{{{CFDI}}}Retencion"
_INFORMACION_GLOBAL: Final = f"{{{CFDI}}}InformacionGlobal"
_RELACIONADOS: Final = f"{{{CFDI}}}CfdiRelacionados"

Value = str | int | Decimal | None
Row = tuple[Value, ...]


class Tolerated(str):
    """A difference worth telling a person, but no reason to doubt the document."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One concepto: as sent, as it must add up, and as it stands in the XML."""

    at: str
    sent: Concepto
    amounts: LineAmounts
    node: etree._Element


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was sent beside what came back."""

    invoice: Invoice
    issuer: Issuer
    fecha: datetime
    amounts: Amounts
    root: etree._Element
    lines: tuple[Line, ...]
    """Empty when the XML has another number of lines: then no line can be held against another."""
    line_count: int


Question = Callable[[Comparison], Iterator[str]]


def compare(invoice: Invoice, issuer: Issuer, fecha: datetime, root: etree._Element) -> Comparison:
    """Lay an invoice (with the naive local `fecha` it was sent with) beside a Comprobante."""
    amounts = compute(invoice)
    nodes = root.findall(_CONCEPTOS)
    lines: tuple[Line, ...] = ()
    if len(nodes) == len(invoice.conceptos):
        together = zip(invoice.conceptos, amounts.lines, nodes, strict=True)
        lines = tuple(
            Line(f"conceptos[{index}]", sent, line, node) for index, (sent, line, node) in enumerate(together)
        )
    return Comparison(invoice, issuer, fecha, amounts, root, lines, len(nodes))


# --- who, when, how -----------------------------------------------------------------------------------


def _emisor(it: Comparison) -> Iterator[str]:
    node = _node(it.root, _EMISOR)
    yield from _differ("emisor.rfc", it.issuer.rfc, _text(node, "Rfc"))
    yield from _differ_in_name("emisor.nombre", it.issuer.nombre, _text(node, "Nombre"))
    if it.issuer.regimen_fiscal is not None:
        yield from _differ("emisor.regimen_fiscal", it.issuer.regimen_fiscal, _text(node, "RegimenFiscal"))


def _receptor(it: Comparison) -> Iterator[str]:
    node, sent = _node(it.root, _RECEPTOR), it.invoice.receptor
    yield from _differ("receptor.rfc", sent.rfc, _text(node, "Rfc"))
    yield from _differ_in_name("receptor.nombre", sent.nombre, _text(node, "Nombre"))
    for name, attribute in (
        ("domicilio_fiscal_receptor", "DomicilioFiscalReceptor"),
        ("regimen_fiscal_receptor", "RegimenFiscalReceptor"),
        ("uso_cfdi", "UsoCFDI"),
    ):
        yield from _differ(f"receptor.{name}", getattr(sent, name), _text(node, attribute))


def _fecha(it: Comparison) -> Iterator[str]:
    yield from _differ("fecha", it.fecha.isoformat(), _text(it.root, "Fecha"))


def _of_the_root(name: str, attribute: str) -> Question:
    def question(it: Comparison) -> Iterator[str]:
        yield from _differ(name, getattr(it.invoice, name), _text(it.root, attribute))

    return question


def _condiciones_de_pago(it: Comparison) -> Iterator[str]:
    yield from _tolerate(
        _differ("condiciones_de_pago", it.invoice.condiciones_de_pago, _text(it.root, "CondicionesDePago"))
    )


def _tipo_cambio(it: Comparison) -> Iterator[str]:
    found = _amount(it.root, "TipoCambio")
    sent: Value = it.invoice.tipo_cambio
    if it.invoice.moneda == "MXN":  # left out or exactly 1, as the PAC likes (CFDI40114)
        sent, found = Decimal(1), Decimal(1) if found is None else found
    yield from _differ("tipo_cambio", sent, found)


def _informacion_global(it: Comparison) -> Iterator[str]:
    node, sent = it.root.find(_INFORMACION_GLOBAL), it.invoice.informacion_global
    expected = sent and (sent.periodicidad, sent.meses, str(sent.anio))
    found = None if node is None else tuple(_text(node, name) for name in ("Periodicidad", "Meses", "Año"))
    if expected != found:
        yield _told("informacion_global", expected, found)


def _cfdi_relacionados(it: Comparison) -> Iterator[str]:
    sent = it.invoice.cfdi_relacionados
    expected = sorted((sent.tipo_relacion, uuid.upper()) for uuid in sent.uuids) if sent else []
    found = sorted(
        (_text(relation, "TipoRelacion") or "", (_text(related, "UUID") or "").upper())
        for relation in it.root.findall(_RELACIONADOS)
        for related in relation.iterchildren("*")
    )
    if expected != found:
        yield _told("cfdi_relacionados", expected, found)


# --- lines --------------------------------------------------------------------------------------------


def _conceptos(it: Comparison) -> Iterator[str]:
    yield from _differ("number of lines", len(it.invoice.conceptos), it.line_count)


def _key_of_lines(name: str, attribute: str) -> Question:
    def question(it: Comparison) -> Iterator[str]:
        for line in it.lines:
            yield from _differ(f"{line.at}.{name}", getattr(line.sent, name), _text(line.node, attribute))

    return question


def _amount_of_lines(name: str, attribute: str) -> Question:
    def question(it: Comparison) -> Iterator[str]:
        for line in it.lines:
            yield from _differ(f"{line.at}.{name}", getattr(line.sent, name), _amount(line.node, attribute))

    return question


def _importe(it: Comparison) -> Iterator[str]:
    for line in it.lines:
        yield from _differ(f"{line.at}.importe", line.amounts.importe, _amount(line.node, "Importe"))


def _descuento_of_lines(it: Comparison) -> Iterator[str]:
    for line in it.lines:
        found = _amount(line.node, "Descuento")
        yield from _differ(f"{line.at}.descuento", line.amounts.descuento, found or Decimal(0))


def _descripcion(it: Comparison) -> Iterator[str]:
    """Ours whole, the product's name, both, or the beginning of ours: anything else is another text."""
    for line in it.lines:
        found = _text(line.node, "Descripcion")
        told = list(_differ(f"{line.at}.descripcion", line.sent.descripcion, found))
        related = found is not None and _share_words(found, (line.sent.descripcion, line.sent.nombre))
        yield from _tolerate(told) if related else told


def _no_identificacion(it: Comparison) -> Iterator[str]:
    for line in it.lines:
        found = _text(line.node, "NoIdentificacion")
        yield from _tolerate(_differ(f"{line.at}.no_identificacion", line.sent.no_identificacion, found))


def _taxes_of_lines(it: Comparison) -> Iterator[str]:
    for line in it.lines:
        node = line.node.find(_IMPUESTOS)
        for name, path, sent in (
            ("traslados", _TRASLADOS, line.amounts.traslados),
            ("retenciones", _RETENCIONES, line.amounts.retenciones),
        ):
            expected = [_row_of(tax) for tax in sent]
            found = [] if node is None else [_row(tax) for tax in node.iterfind(path)]
            yield from _differ_in_rows(f"{line.at}.{name}", expected, found)


# --- totals -------------------------------------------------------------------------------------------


def _subtotal(it: Comparison) -> Iterator[str]:
    yield from _differ("subtotal", it.amounts.subtotal, _amount(it.root, "SubTotal"))


def _descuento(it: Comparison) -> Iterator[str]:
    yield from _differ("descuento", it.amounts.descuento, _amount(it.root, "Descuento") or Decimal(0))


def _total(it: Comparison) -> Iterator[str]:
    yield from _differ("total", it.amounts.total, _amount(it.root, "Total"))


def _impuestos(it: Comparison) -> Iterator[str]:
    node = it.root.find(_IMPUESTOS)
    for name, attribute, sent in (
        ("total_impuestos_trasladados", "TotalImpuestosTrasladados", it.amounts.total_trasladados),
        ("total_impuestos_retenidos", "TotalImpuestosRetenidos", it.amounts.total_retenidos),
    ):
        found = None if node is None else _amount(node, attribute)
        yield from _differ(f"impuestos.{name}", sent or Decimal(0), found or Decimal(0))
    charged = [_row_of(row) for row in it.amounts.traslados]
    found_rows = [] if node is None else [_row(row) for row in node.iterfind(_TRASLADOS)]
    yield from _differ_in_rows("impuestos.traslados", charged, found_rows)
    withheld: list[Row] = [(row.impuesto, row.importe) for row in it.amounts.retenciones]
    found_rows = [] if node is None else [_withheld(row) for row in node.iterfind(_RETENCIONES)]
    yield from _differ_in_rows("impuestos.retenciones", withheld, found_rows)


def _additions(it: Comparison) -> Iterator[str]:
    """What changes the meaning of an invoice and was never asked for."""
    for path, attribute in (
        (".", "Confirmacion"),
        (_EMISOR, "FacAtrAdquirente"),
        (_RECEPTOR, "ResidenciaFiscal"),
        (_RECEPTOR, "NumRegIdTrib"),
    ):
        node = it.root.find(path)
        if node is not None and node.get(attribute) is not None:
            yield f"{attribute} was not sent"
    for index, node in enumerate(it.root.iterfind(_CONCEPTOS)):
        for child in node.iterchildren("*"):
            if child.tag != _IMPUESTOS:
                yield f"conceptos[{index}]: {etree.QName(child).localname} was not sent"
    for child in it.root.iterfind(f"{COMPLEMENTO}/*"):
        if child.tag != TIMBRE:
            yield f"complement {child.tag!r} was not sent"


QUESTIONS: Final[Mapping[str, Question]] = MappingProxyType(
    {
        "emisor": _emisor,
        "receptor": _receptor,
        "tipo_de_comprobante": _of_the_root("tipo_de_comprobante", "TipoDeComprobante"),
        "fecha": _fecha,
        "lugar_expedicion": _of_the_root("lugar_expedicion", "LugarExpedicion"),
        "exportacion": _of_the_root("exportacion", "Exportacion"),
        "forma_pago": _of_the_root("forma_pago", "FormaPago"),
        "metodo_pago": _of_the_root("metodo_pago", "MetodoPago"),
        "condiciones_de_pago": _condiciones_de_pago,
        "moneda": _of_the_root("moneda", "Moneda"),
        "tipo_cambio": _tipo_cambio,
        "informacion_global": _informacion_global,
        "cfdi_relacionados": _cfdi_relacionados,
        "conceptos": _conceptos,
        "clave_prod_serv": _key_of_lines("clave_prod_serv", "ClaveProdServ"),
        "no_identificacion": _no_identificacion,
        "cantidad": _amount_of_lines("cantidad", "Cantidad"),
        "clave_unidad": _key_of_lines("clave_unidad", "ClaveUnidad"),
        "descripcion": _descripcion,
        "valor_unitario": _amount_of_lines("valor_unitario", "ValorUnitario"),
        "importe": _importe,
        "concepto_descuento": _descuento_of_lines,
        "objeto_imp": _key_of_lines("objeto_imp", "ObjetoImp"),
        "concepto_impuestos": _taxes_of_lines,
        "subtotal": _subtotal,
        "descuento": _descuento,
        "impuestos": _impuestos,
        "total": _total,
        "additions": _additions,
    }
)
"""Every question, in the order of the report."""

OF_EACH_LINE: Final = frozenset(
    {
        "clave_prod_serv",
        "no_identificacion",
        "cantidad",
        "clave_unidad",
        "descripcion",
        "valor_unitario",
        "importe",
        "concepto_descuento",
        "objeto_imp",
        "concepto_impuestos",
    }
)
"""Those that can't be asked while the number of lines differs."""


# --- reading attributes -------------------------------------------------------------------------------


def _node(root: etree._Element, path: str) -> etree._Element:
    """A node, or an empty one in its place: then every attribute differs, and is told."""
    found = root.find(path)
    return etree.Element(path) if found is None else found


def _text(node: etree._Element, attribute: str) -> str | None:
    """An attribute as the cadena original has it: XML's four blanks collapsed, and no other."""
    value = node.get(attribute)
    return None if value is None else _BLANKS.sub(" ", value).strip(" ")


def _amount(node: etree._Element, attribute: str) -> Decimal | str | None:
    """An attribute as an amount; as text where it is none, so that it equals no amount and is told."""
    text = _text(node, attribute)
    return Decimal(text) if text is not None and _AMOUNT.fullmatch(text) else text


def _row(node: etree._Element) -> Row:
    return (
        _text(node, "Impuesto"),
        _text(node, "TipoFactor"),
        _amount(node, "TasaOCuota"),
        _amount(node, "Base"),
        _amount(node, "Importe"),
    )


def _withheld(node: etree._Element) -> Row:
    return (_text(node, "Impuesto"), _amount(node, "Importe"))


def _row_of(tax: LineTax | TrasladoRow) -> Row:
    return (tax.impuesto, tax.tipo_factor, tax.tasa_o_cuota, tax.base, tax.importe)


# --- telling differences ------------------------------------------------------------------------------


def _differ(name: str, sent: Value, found: Value) -> Iterator[str]:
    if sent != found:
        yield _told(name, sent, found)


def _differ_in_name(name: str, sent: str, found: str | None) -> Iterator[str]:
    if found is None or not names.is_same_company(sent, found):
        yield _told(name, sent, found)
    elif not names.is_same_name(sent, found):  # without its régimen de capital, as the SAT wants it
        yield Tolerated(_told(name, sent, found))


def _differ_in_rows(name: str, sent: list[Row], found: list[Row]) -> Iterator[str]:
    """Rows are a set to the SAT: their order says nothing."""
    missing = list(found)
    for row in sent:
        if row in missing:
            missing.remove(row)
        else:
            yield _told(name, row, found)
            return
    if missing:
        yield _told(name, sent, found)


def _tolerate(told: Iterator[str] | list[str]) -> Iterator[str]:
    for difference in told:
        yield Tolerated(difference)


def _told(name: str, sent: object, found: object) -> str:
    return f"{name}: sent {_shown(sent)}, the XML has {_shown(found)}"


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(_shown(item) for item in value) + ")"
    text = str(value)
    return repr(text if len(text) <= 120 else text[:120] + "...")


def _share_words(found: str, ours: tuple[str, ...]) -> bool:
    """Whether it contains one of ours or is the beginning of one; case, accents and signs aside."""
    theirs = _words(found)
    for words in map(_words, ours):
        contained = f" {words} " in f" {theirs} "
        cut_short = len(theirs) >= _LEAST_OF_A_CUT_TEXT and words.startswith(theirs)
        if words and (contained or cut_short):
            return True
    return False


def _words(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(sign for sign in plain if not unicodedata.combining(sign))
    return " ".join(_NOT_A_LETTER.sub(" ", letters).split())
