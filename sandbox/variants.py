"""Stamps that are good CFDIs and not quite what was sent, and XML files that are wrapped oddly.

`changed` changes what is stamped (the record itself, under good seals); `dressed` only the file that an answer
carries. Each form has been found in public CFDI files or in public complaints about PACs, `tax` and `withholding`
excepted: those are a provider that reads a field otherwise.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Final

from lxml import etree

from cfdi.sat import files as sat_files
from sandbox import amounts, sat_list
from sandbox.bodies import Comprobante, Linea

_MILLIONTH: Final = Decimal("0.000001")
_ZERO: Final = Decimal(0)
_LEYENDAS: Final = "http://www.sat.gob.mx/leyendasFiscales"
_LOCATION: Final = (
    b'xmlns:schemaLocation="http://www.sat.gob.mx/TimbreFiscalDigital'
    b' http://www.sat.gob.mx/sitio_internet/cfd/TimbreFiscalDigital/TimbreFiscalDigitalv11.xsd" '
)


def changed(doc: Comprobante, form: str) -> Comprobante:
    """The invoice as it will be stamped instead."""
    change = _CHANGES.get(form)
    return doc if change is None else change(doc)


def decorate(root: etree._Element, form: str) -> None:
    """Add to an unsealed Comprobante what only its XML can hold."""
    if form != "leyendas":
        return
    complemento = etree.SubElement(root, f"{{{sat_files.CFDI}}}Complemento")
    leyendas = etree.SubElement(
        complemento, f"{{{_LEYENDAS}}}LeyendasFiscales", {"version": "1.0"}, nsmap={"leyendasFisc": _LEYENDAS}
    )
    etree.SubElement(
        leyendas,
        f"{{{_LEYENDAS}}}Leyenda",
        {"disposicionFiscal": "RESDERAUTDESP", "norma": "Artículo 2", "textoLeyenda": "Impuesto retenido"},
    )


def dressed(xml: bytes, form: str) -> bytes:
    """The same CFDI in another wrapping; its seals stay good."""
    return _WRAPPINGS[form](xml)


def _each(doc: Comprobante, change: Callable[[Linea], Linea]) -> Comprobante:
    """Another line for each, and sums that follow."""
    lines = tuple(change(line) for line in doc.lineas)
    places = amounts.decimals_of(doc.moneda)
    subtotal, descuento, iva, ret_iva, ret_isr = (
        amounts.rounded((getattr(line, name) for line in lines), places)
        for name in ("importe", "descuento", "iva", "ret_iva", "ret_isr")
    )
    return replace(
        doc,
        lineas=lines,
        subtotal=subtotal,
        descuento=descuento,
        iva=iva,
        ret_iva=ret_iva,
        ret_isr=ret_isr,
        total=subtotal - descuento + iva - ret_iva - ret_isr,
    )


def _six_decimals(line: Linea) -> Linea:
    importe = (line.cantidad * line.valor_unitario).quantize(_MILLIONTH)
    base = importe - line.descuento

    def tax(rate: Decimal | None) -> Decimal:
        return (base * rate).quantize(_MILLIONTH) if rate is not None else _ZERO

    return replace(
        line,
        importe=importe,
        iva=tax(line.tasa_iva),
        base_ret_iva=base,
        ret_iva=tax(line.tasa_ret_iva),
        ret_isr=tax(line.tasa_ret_isr),
    )


def _no_iva(line: Linea) -> Linea:
    return line if line.tasa_iva is None else replace(line, tasa_iva=_ZERO.quantize(_MILLIONTH), iva=_ZERO)


def _no_withholding(line: Linea) -> Linea:
    return replace(line, tasa_ret_iva=None, ret_iva=_ZERO, tasa_ret_isr=None, ret_isr=_ZERO)


def _sat_text(line: Linea) -> Linea:
    entry = sat_list.catalogue("c_ClaveProdServ", line.clave_prod_serv)
    text = entry if isinstance(entry, str) else str(entry[0]) if entry else line.descripcion
    return replace(line, descripcion=text)


def _plain(text: str) -> str:
    return "".join(part for part in unicodedata.normalize("NFD", text) if not unicodedata.combining(part))


def _without_accents(doc: Comprobante) -> Comprobante:
    lines = tuple(replace(line, descripcion=_plain(line.descripcion)) for line in doc.lineas)
    return replace(
        doc,
        lineas=lines,
        receptor_nombre=_plain(doc.receptor_nombre),
        emisor_nombre=_plain(doc.emisor_nombre),
    )


_CHANGES: Final[dict[str, Callable[[Comprobante], Comprobante]]] = {
    "fecha": lambda doc: replace(doc, fecha=doc.fecha + timedelta(seconds=1)),
    "accents": _without_accents,
    "case": lambda doc: replace(doc, receptor_nombre=doc.receptor_nombre.title()),
    "decimals": lambda doc: _each(doc, _six_decimals),
    "order": lambda doc: replace(doc, lineas=doc.lineas[::-1]),
    "sat_text": lambda doc: _each(doc, _sat_text),
    "tax": lambda doc: _each(doc, _no_iva),
    "withholding": lambda doc: _each(doc, _no_withholding),
}


def _with_addenda(xml: bytes) -> bytes:
    addenda = b'<cfdi:Addenda><x:Pedido xmlns:x="urn:ejemplo:pedido" numero="4500012345"/></cfdi:Addenda>'
    return xml.replace(b"</cfdi:Comprobante>", addenda + b"</cfdi:Comprobante>")


def _with_lines_in_the_certificate(xml: bytes) -> bytes:
    before, mark, rest = xml.partition(b' Certificado="')
    value, quote, after = rest.partition(b'"')
    lines = b"&#10;".join(value[start : start + 64] for start in range(0, len(value), 64))
    return before + mark + lines + quote + after


def _in_latin_1(xml: bytes) -> bytes:
    return etree.tostring(etree.fromstring(xml), xml_declaration=True, encoding="ISO-8859-1")


def _indented(xml: bytes) -> bytes:
    root = etree.fromstring(xml)
    etree.indent(root)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


_WRAPPINGS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "blanks": lambda xml: b"\r\n  " + xml,
    "bom": lambda xml: b"\xef\xbb\xbf" + xml,
    "nul": lambda xml: xml + b"\x00",
    "schema_location": lambda xml: xml.replace(
        b"<tfd:TimbreFiscalDigital ", b"<tfd:TimbreFiscalDigital " + _LOCATION
    ),
    "addenda": _with_addenda,
    "certificate_lines": _with_lines_in_the_certificate,
    "latin_1": _in_latin_1,
    "indented": _indented,
}
STAMP_FORMS: Final = (*_CHANGES, "leyendas")
WRAPPING_FORMS: Final = tuple(_WRAPPINGS)
