"""The printed representation of a CFDI: one letter-size page with lines, taxes, seals and the SAT's QR.

What a newcomer would get wrong: it is drawn from the stamped XML alone, as any accountant could, so it
cannot say anything else than the XML does. One page is one page: lines that do not fit are counted at the
end of the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final
from urllib.parse import quote

from lxml import etree

from cfdi.sat import files as sat_files
from sandbox import qr, sat_list
from sandbox.canvas import BLACK, Canvas, Color, clipped, wrapped

_NS: Final = {"c": sat_files.CFDI, "t": sat_files.TFD}
_VERIFY: Final = "https://verificacfdi.facturaelectronica.sat.gob.mx/default.aspx"

_LEFT: Final = 36.0
_RIGHT: Final = 576.0
_BOTTOM: Final = 756.0
_ACCENT: Final[Color] = (0.07, 0.27, 0.42)
_GREY: Final[Color] = (0.42, 0.46, 0.52)
_PALE: Final[Color] = (0.945, 0.96, 0.975)
_RULE: Final[Color] = (0.8, 0.84, 0.88)
_WHITE: Final[Color] = (1, 1, 1)
_AMBER: Final[Color] = (0.72, 0.4, 0.04)

_TABLE_TOP: Final = 236.0
_FOOT: Final = 628.0
_COLUMNS: Final = {
    "cantidad": 84.0,
    "unidad": 92.0,
    "clave": 132.0,
    "descripcion": 184.0,
    "unitario": 452.0,
    "descuento": 510.0,
    "importe": _RIGHT - 6,
}
_HEADS: Final = {
    "cantidad": "Cantidad",
    "unidad": "Unidad",
    "clave": "Clave SAT",
    "descripcion": "Descripción",
    "unitario": "P. unitario",
    "descuento": "Descuento",
    "importe": "Importe",
}
_TIPOS: Final = {"I": "FACTURA", "E": "NOTA DE CRÉDITO"}
_IMPUESTOS: Final = {"001": "ISR", "002": "IVA", "003": "IEPS"}
_RELACIONES: Final = {
    "01": "Nota de crédito de los documentos relacionados",
    "02": "Nota de débito de los documentos relacionados",
    "03": "Devolución de mercancía sobre facturas o traslados previos",
    "04": "Sustitución de los CFDI previos",
    "05": "Traslados de mercancías facturados previamente",
    "06": "Factura generada por los traslados previos",
    "07": "CFDI por aplicación de anticipo",
}


def render(xml: bytes) -> bytes:
    """The PDF of a stamped XML; the same XML gives the same bytes."""
    root = etree.fromstring(xml)
    timbre = _child(root, "c:Complemento/t:TimbreFiscalDigital")
    canvas = Canvas()
    _head(canvas, root, timbre)
    _parties(canvas, root)
    totals = _totals(root)
    end = _lines(canvas, root, limit=_FOOT - 12 * len(totals) - 44)
    _draw_totals(canvas, root, totals, end)
    _seals(canvas, root, timbre)
    return canvas.pdf(f"{_TIPOS[root.get('TipoDeComprobante', 'I')]} {_folio(root)} {timbre.get('UUID')}")


def verification_url(root: etree._Element, timbre: etree._Element) -> str:
    """The address behind the QR (Anexo 20, I.D): UUID, both RFCs, total, and the end of the seal."""
    facts = {
        "id": timbre.get("UUID", ""),
        "re": _child(root, "c:Emisor").get("Rfc", ""),
        "rr": _child(root, "c:Receptor").get("Rfc", ""),
        "tt": root.get("Total", ""),
        "fe": root.get("Sello", "")[-8:],
    }
    return f"{_VERIFY}?" + "&".join(f"{name}={quote(value, safe='=')}" for name, value in facts.items())


def _head(canvas: Canvas, root: etree._Element, timbre: etree._Element) -> None:
    emisor = _child(root, "c:Emisor")
    canvas.box(0, 0, 612, 8, _ACCENT)
    canvas.text(
        _LEFT, 44, clipped(emisor.get("Nombre", ""), 16, 330, "bold"), size=16, font="bold", color=_ACCENT
    )
    regimen = emisor.get("RegimenFiscal", "")
    lines = [
        f"RFC {emisor.get('Rfc')}",
        f"Régimen fiscal: {regimen} {_entry('c_RegimenFiscal', regimen)}",
        f"Lugar de expedición: {root.get('LugarExpedicion')}",
        f"Fecha de emisión: {_instant(root.get('Fecha'))}",
    ]
    for place, line in enumerate(lines):
        canvas.text(_LEFT, 60 + 12 * place, clipped(line, 8.5, 330), size=8.5)
    canvas.box(396, 24, 180, 78, _ACCENT)
    canvas.text(
        486,
        42,
        _TIPOS[root.get("TipoDeComprobante", "I")],
        size=13,
        font="bold",
        color=_WHITE,
        align="center",
    )
    canvas.text(486, 62, _folio(root), size=15, font="bold", color=_WHITE, align="center")
    canvas.text(486, 78, "FOLIO FISCAL (UUID)", size=6, color=_PALE, align="center")
    canvas.text(486, 90, timbre.get("UUID", ""), size=7.6, font="bold", color=_WHITE, align="center")


def _parties(canvas: Canvas, root: etree._Element) -> None:
    receptor = _child(root, "c:Receptor")
    regimen, uso = receptor.get("RegimenFiscalReceptor", ""), receptor.get("UsoCFDI", "")
    forma, metodo, moneda = root.get("FormaPago", ""), root.get("MetodoPago", ""), root.get("Moneda", "")
    words = {"PUE": "Pago en una sola exhibición", "PPD": "Pago en parcialidades o diferido"}
    cambio = f" (tipo de cambio {root.get('TipoCambio')})" if root.get("TipoCambio") else ""
    left = [
        f"RFC {receptor.get('Rfc')}",
        f"Domicilio fiscal: C.P. {receptor.get('DomicilioFiscalReceptor')}",
        f"Régimen fiscal: {regimen} {_entry('c_RegimenFiscal', regimen)}",
        f"Uso del CFDI: {uso} {_entry('c_UsoCFDI', uso)}",
    ]
    right = [
        f"Forma de pago: {forma} {_entry('c_FormaPago', forma)}",
        f"Método de pago: {metodo} {words.get(metodo, '')}",
        f"Moneda: {moneda}{cambio}",
        f"Exportación: {root.get('Exportacion')} No aplica",
    ]
    canvas.box(_LEFT, 116, 304, 80, _PALE)
    canvas.box(348, 116, 228, 80, _PALE)
    canvas.text(_LEFT + 8, 129, "RECEPTOR", size=6.5, font="bold", color=_GREY)
    canvas.text(356, 129, "PAGO", size=6.5, font="bold", color=_GREY)
    canvas.text(_LEFT + 8, 142, clipped(receptor.get("Nombre", ""), 10, 288, "bold"), size=10, font="bold")
    for place, line in enumerate(left):
        canvas.text(_LEFT + 8, 155 + 11 * place, clipped(line, 8, 288), size=8)
    for place, line in enumerate(right):
        canvas.text(356, 142 + 11 * place, clipped(line, 8, 212), size=8)
    for place, line in enumerate(_remarks(root)):
        canvas.text(_LEFT, 208 + 10 * place, clipped(line, 7.5, 540), size=7.5, color=_GREY)


def _remarks(root: etree._Element) -> Iterator[str]:
    related = root.find("c:CfdiRelacionados", _NS)
    if related is not None:
        tipo = related.get("TipoRelacion", "")
        uuids = ", ".join(node.get("UUID", "") for node in related)
        yield f"Relación {tipo} {_RELACIONES.get(tipo, '')}: {uuids}"
    told = root.find("c:InformacionGlobal", _NS)
    if told is not None:
        period = _entry("c_Periodicidad", told.get("Periodicidad", ""))
        yield f"Factura global: {period}, {_entry('c_Meses', told.get('Meses', ''))} {told.get('Año')}"


def _lines(canvas: Canvas, root: etree._Element, limit: float) -> float:
    """Draw the table, down to `limit` at most; gives where it ends."""
    canvas.box(_LEFT, _TABLE_TOP - 13, _RIGHT - _LEFT, 17, _ACCENT)
    for name, head in _HEADS.items():
        right = name in ("cantidad", "unitario", "descuento", "importe")
        canvas.text(
            _COLUMNS[name],
            _TABLE_TOP - 1.5,
            head,
            size=7.5,
            font="bold",
            color=_WHITE,
            align="right" if right else "left",
        )
    conceptos = list(_child(root, "c:Conceptos"))
    y = _TABLE_TOP + 4
    for place, concepto in enumerate(conceptos):
        texts = wrapped(concepto.get("Descripcion", ""), 8, 222, 2)
        remark = _tax_remark(concepto)
        height = 9.5 * len(texts) + (8.5 if remark else 0) + 6
        rest = len(conceptos) - place
        if y + height + (18 if rest > 1 else 0) > limit:
            canvas.text(
                _COLUMNS["descripcion"], y + 10, f"... y {rest} conceptos más, en el XML", size=8, color=_GREY
            )
            return y + 18
        if place % 2:
            canvas.box(_LEFT, y, _RIGHT - _LEFT, height, _PALE)
        _line(canvas, concepto, y + 10, texts, remark)
        y += height
    canvas.line(_LEFT, y, _RIGHT, _RULE)
    return y


def _line(canvas: Canvas, concepto: etree._Element, y: float, texts: list[str], remark: str) -> None:
    canvas.text(_COLUMNS["cantidad"], y, concepto.get("Cantidad", ""), align="right")
    canvas.text(_COLUMNS["unidad"], y, concepto.get("ClaveUnidad", ""))
    canvas.text(_COLUMNS["clave"], y, concepto.get("ClaveProdServ", ""))
    for place, text in enumerate(texts):
        canvas.text(_COLUMNS["descripcion"], y + 9.5 * place, text)
    if remark:
        spot = y + 9.5 * len(texts) - 1
        canvas.text(_COLUMNS["descripcion"], spot, clipped(remark, 6.5, 330), size=6.5, color=_GREY)
    canvas.text(_COLUMNS["unitario"], y, _money(concepto.get("ValorUnitario")), align="right")
    canvas.text(_COLUMNS["descuento"], y, _money(concepto.get("Descuento")), align="right")
    canvas.text(_COLUMNS["importe"], y, _money(concepto.get("Importe")), align="right")


def _tax_remark(concepto: etree._Element) -> str:
    parts = [f"No. {concepto.get('NoIdentificacion')}"] if concepto.get("NoIdentificacion") else []
    parts += [
        f"{_tax(tax)} {_money(tax.get('Importe'))}".strip()
        for tax in concepto.iterfind("c:Impuestos/c:Traslados/c:Traslado", _NS)
    ]
    parts += [
        f"{_tax(tax)} retenido {_money(tax.get('Importe'))}"
        for tax in concepto.iterfind("c:Impuestos/c:Retenciones/c:Retencion", _NS)
    ]
    if concepto.get("ObjetoImp") == "01":
        parts.append("No objeto de impuesto")
    return "   ·   ".join(parts)


def _totals(root: etree._Element) -> list[tuple[str, str]]:
    rows = [("Subtotal", _money(root.get("SubTotal")))]
    if root.get("Descuento"):
        rows.append(("Descuento", "-" + _money(root.get("Descuento"))))
    rows += [
        (_tax(tax), _money(tax.get("Importe")))
        for tax in root.iterfind("c:Impuestos/c:Traslados/c:Traslado", _NS)
        if tax.get("TipoFactor") == "Tasa"
    ]
    rows += [
        (f"{_IMPUESTOS[tax.get('Impuesto', '')]} retenido", "-" + _money(tax.get("Importe")))
        for tax in root.iterfind("c:Impuestos/c:Retenciones/c:Retencion", _NS)
    ]
    return rows


def _draw_totals(canvas: Canvas, root: etree._Element, rows: list[tuple[str, str]], end: float) -> None:
    y = end + 18
    for name, amount in rows:
        canvas.text(490, y, name, size=8.5, color=_GREY, align="right")
        canvas.text(_RIGHT - 6, y, amount, size=8.5, align="right")
        y += 12
    canvas.box(396, y - 7, 180, 20, _ACCENT)
    canvas.text(404, y + 7, f"TOTAL {root.get('Moneda')}", size=9.5, font="bold", color=_WHITE)
    canvas.text(
        _RIGHT - 6, y + 7, f"${_money(root.get('Total'))}", size=11, font="bold", color=_WHITE, align="right"
    )


def _seals(canvas: Canvas, root: etree._Element, timbre: etree._Element) -> None:
    canvas.line(_LEFT, _FOOT, _RIGHT, _RULE)
    canvas.qr(_LEFT, _FOOT + 10, 104, qr.rows(verification_url(root, timbre)))
    x, y = _LEFT + 116, _FOOT + 16.0
    facts = (
        ("No. de certificado del emisor", root.get("NoCertificado")),
        ("No. de certificado del SAT", timbre.get("NoCertificadoSAT")),
        ("Fecha de certificación", _instant(timbre.get("FechaTimbrado"))),
        ("RFC del PAC", timbre.get("RfcProvCertif")),
    )
    for place, (name, value) in enumerate(facts):
        spot = x + (0, 118, 236, 346)[place]
        canvas.text(spot, y, name, size=5.8, color=_GREY)
        canvas.text(spot, y + 8, value or "", size=6.8, font="bold")
    y += 20
    for name, value, most in (
        ("Sello digital del emisor", root.get("Sello", ""), 3),
        ("Sello digital del SAT", timbre.get("SelloSAT", ""), 3),
        (
            "Cadena original del complemento de certificación digital del SAT",
            _cadena(timbre),
            4,
        ),
    ):
        canvas.text(x, y, name, size=5.8, color=_GREY)
        for chunk in [value[start : start + 150] for start in range(0, len(value), 150)][:most]:
            y += 5.6
            canvas.text(x, y, chunk, size=4.7, font="mono", color=BLACK)
        y += 9
    canvas.text(
        _LEFT, _BOTTOM, "Este documento es una representación impresa de un CFDI 4.0", size=7, color=_GREY
    )
    canvas.text(
        _RIGHT,
        _BOTTOM,
        "PRUEBA: timbrado por el sandbox, sin validez fiscal",
        size=7,
        font="bold",
        color=_AMBER,
        align="right",
    )


def _cadena(timbre: etree._Element) -> str:
    """The timbre's cadena original as it is printed: the same attributes in the same order as the SAT's XSLT."""
    names = ("Version", "UUID", "FechaTimbrado", "RfcProvCertif", "SelloCFD", "NoCertificadoSAT")
    return "||" + "|".join(timbre.get(name, "") for name in names) + "||"


def _child(node: etree._Element, path: str) -> etree._Element:
    found = node.find(path, _NS)
    if found is None:
        raise LookupError(f"the stamped XML has no {path}")
    return found


def _folio(root: etree._Element) -> str:
    return f"{root.get('Serie', '')} {root.get('Folio', '')}".strip()


def _entry(name: str, key: str) -> str:
    found = sat_list.catalogue(name, key)
    return found if isinstance(found, str) else ""


def _tax(node: etree._Element) -> str:
    name = _IMPUESTOS[node.get("Impuesto", "")]
    if node.get("TipoFactor") == "Exento":
        return f"{name} exento"
    percent = (Decimal(node.get("TasaOCuota", "0")) * 100).normalize()
    return f"{name} {percent:f} %"


def _money(text: str | None) -> str:
    return f"{Decimal(text):,}" if text else ""


def _instant(text: str | None) -> str:
    return (text or "").replace("T", " ")
