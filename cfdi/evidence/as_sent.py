"""Is this Comprobante the invoice that was sent? Each question by name, each answered with what differs.

Strict on what money and law need: parties, dates, currency, keys, every amount and every tax of every line.
Free text is another matter: ContaDigital prints the product's name, our text, or both, and its own number of
the product; there a difference is told (`tolerate`) and does not fail.

What a newcomer would get wrong: amounts are compared as Decimal, never as text (`15000`, `15000.00` and
`15000.000000` are one amount), and an attribute that says 0 is the same as one that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from lxml import etree

from cfdi.amounts import Amounts, LineAmounts, compute
from cfdi.document import Concepto, Invoice
from cfdi.evidence.differences import (
    Row,
    Value,
    amount_of,
    differ,
    differ_in_name,
    differ_in_rows,
    node_at,
    row_in,
    row_of,
    share_words,
    text_of,
    told,
    tolerate,
    withheld_in,
)
from cfdi.issuer import Issuer
from cfdi.sat.files import CFDI, COMPLEMENTO, TIMBRE

_EMISOR: Final = f"{{{CFDI}}}Emisor"
_RECEPTOR: Final = f"{{{CFDI}}}Receptor"
_CONCEPTOS: Final = f"{{{CFDI}}}Conceptos/{{{CFDI}}}Concepto"
_IMPUESTOS: Final = f"{{{CFDI}}}Impuestos"
_TRASLADOS: Final = f"{{{CFDI}}}Traslados/{{{CFDI}}}Traslado"
_RETENCIONES: Final = f"{{{CFDI}}}Retenciones/{{{CFDI}}}Retencion"
_INFORMACION_GLOBAL: Final = f"{{{CFDI}}}InformacionGlobal"
_RELACIONADOS: Final = f"{{{CFDI}}}CfdiRelacionados"


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
    node = node_at(it.root, _EMISOR)
    yield from differ("emisor.rfc", it.issuer.rfc, text_of(node, "Rfc"))
    yield from differ_in_name("emisor.nombre", it.issuer.nombre, text_of(node, "Nombre"))
    if it.issuer.regimen_fiscal is not None:
        yield from differ("emisor.regimen_fiscal", it.issuer.regimen_fiscal, text_of(node, "RegimenFiscal"))


def _receptor(it: Comparison) -> Iterator[str]:
    node, sent = node_at(it.root, _RECEPTOR), it.invoice.receptor
    yield from differ("receptor.rfc", sent.rfc, text_of(node, "Rfc"))
    yield from differ_in_name("receptor.nombre", sent.nombre, text_of(node, "Nombre"))
    for name, attribute in (
        ("domicilio_fiscal_receptor", "DomicilioFiscalReceptor"),
        ("regimen_fiscal_receptor", "RegimenFiscalReceptor"),
        ("uso_cfdi", "UsoCFDI"),
    ):
        yield from differ(f"receptor.{name}", getattr(sent, name), text_of(node, attribute))


def _fecha(it: Comparison) -> Iterator[str]:
    yield from differ("fecha", it.fecha.isoformat(), text_of(it.root, "Fecha"))


def _of_the_root(name: str, attribute: str) -> Question:
    def question(it: Comparison) -> Iterator[str]:
        yield from differ(name, getattr(it.invoice, name), text_of(it.root, attribute))

    return question


def _condiciones_de_pago(it: Comparison) -> Iterator[str]:
    yield from tolerate(
        differ("condiciones_de_pago", it.invoice.condiciones_de_pago, text_of(it.root, "CondicionesDePago"))
    )


def _tipo_cambio(it: Comparison) -> Iterator[str]:
    found = amount_of(it.root, "TipoCambio")
    sent: Value = it.invoice.tipo_cambio
    if it.invoice.moneda == "MXN":  # left out or exactly 1, as the PAC likes (CFDI40114)
        sent, found = Decimal(1), Decimal(1) if found is None else found
    yield from differ("tipo_cambio", sent, found)


def _informacion_global(it: Comparison) -> Iterator[str]:
    node, sent = it.root.find(_INFORMACION_GLOBAL), it.invoice.informacion_global
    expected = sent and (sent.periodicidad, sent.meses, str(sent.anio))
    found = None if node is None else tuple(text_of(node, name) for name in ("Periodicidad", "Meses", "Año"))
    if expected != found:
        yield told("informacion_global", expected, found)


def _cfdi_relacionados(it: Comparison) -> Iterator[str]:
    sent = it.invoice.cfdi_relacionados
    expected = sorted((sent.tipo_relacion, uuid.upper()) for uuid in sent.uuids) if sent else []
    found = sorted(
        (text_of(relation, "TipoRelacion") or "", (text_of(related, "UUID") or "").upper())
        for relation in it.root.findall(_RELACIONADOS)
        for related in relation.iterchildren("*")
    )
    if expected != found:
        yield told("cfdi_relacionados", expected, found)


# --- lines --------------------------------------------------------------------------------------------


def _conceptos(it: Comparison) -> Iterator[str]:
    yield from differ("number of lines", len(it.invoice.conceptos), it.line_count)


def _key_of_lines(name: str, attribute: str) -> Question:
    def question(it: Comparison) -> Iterator[str]:
        for line in it.lines:
            yield from differ(f"{line.at}.{name}", getattr(line.sent, name), text_of(line.node, attribute))

    return question


def _amount_of_lines(name: str, attribute: str) -> Question:
    def question(it: Comparison) -> Iterator[str]:
        for line in it.lines:
            yield from differ(f"{line.at}.{name}", getattr(line.sent, name), amount_of(line.node, attribute))

    return question


def _importe(it: Comparison) -> Iterator[str]:
    for line in it.lines:
        yield from differ(f"{line.at}.importe", line.amounts.importe, amount_of(line.node, "Importe"))


def _descuento_of_lines(it: Comparison) -> Iterator[str]:
    for line in it.lines:
        found = amount_of(line.node, "Descuento")
        yield from differ(f"{line.at}.descuento", line.amounts.descuento, found or Decimal(0))


def _descripcion(it: Comparison) -> Iterator[str]:
    """Ours whole, the product's name, both, or the beginning of ours: anything else is another text."""
    for line in it.lines:
        found = text_of(line.node, "Descripcion")
        other = list(differ(f"{line.at}.descripcion", line.sent.descripcion, found))
        related = found is not None and share_words(found, (line.sent.descripcion, line.sent.nombre))
        yield from tolerate(other) if related else other


def _no_identificacion(it: Comparison) -> Iterator[str]:
    for line in it.lines:
        found = text_of(line.node, "NoIdentificacion")
        yield from tolerate(differ(f"{line.at}.no_identificacion", line.sent.no_identificacion, found))


def _taxes_of_lines(it: Comparison) -> Iterator[str]:
    for line in it.lines:
        node = line.node.find(_IMPUESTOS)
        for name, path, sent in (
            ("traslados", _TRASLADOS, line.amounts.traslados),
            ("retenciones", _RETENCIONES, line.amounts.retenciones),
        ):
            expected = [row_of(tax) for tax in sent]
            found = [] if node is None else [row_in(tax) for tax in node.iterfind(path)]
            yield from differ_in_rows(f"{line.at}.{name}", expected, found)


# --- totals -------------------------------------------------------------------------------------------


def _subtotal(it: Comparison) -> Iterator[str]:
    yield from differ("subtotal", it.amounts.subtotal, amount_of(it.root, "SubTotal"))


def _descuento(it: Comparison) -> Iterator[str]:
    yield from differ("descuento", it.amounts.descuento, amount_of(it.root, "Descuento") or Decimal(0))


def _total(it: Comparison) -> Iterator[str]:
    yield from differ("total", it.amounts.total, amount_of(it.root, "Total"))


def _impuestos(it: Comparison) -> Iterator[str]:
    node = it.root.find(_IMPUESTOS)
    for name, attribute, sent in (
        ("total_impuestos_trasladados", "TotalImpuestosTrasladados", it.amounts.total_trasladados),
        ("total_impuestos_retenidos", "TotalImpuestosRetenidos", it.amounts.total_retenidos),
    ):
        found = None if node is None else amount_of(node, attribute)
        yield from differ(f"impuestos.{name}", sent or Decimal(0), found or Decimal(0))
    charged = [row_of(row) for row in it.amounts.traslados]
    found_rows = [] if node is None else [row_in(row) for row in node.iterfind(_TRASLADOS)]
    yield from differ_in_rows("impuestos.traslados", charged, found_rows)
    withheld: list[Row] = [(row.impuesto, row.importe) for row in it.amounts.retenciones]
    found_rows = [] if node is None else [withheld_in(row) for row in node.iterfind(_RETENCIONES)]
    yield from differ_in_rows("impuestos.retenciones", withheld, found_rows)


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
