"""The printed representation of a CFDI: a page with parties, lines, totals, seals and the SAT's QR.

It is drawn from the stamped XML alone, so that it cannot say anything else. Importing this module takes as long as the
rest of the sandbox (fpdf2 brings fontTools and Pillow), and a page 15 ms: most accounts have a `slip` instead.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import Final
from urllib.parse import quote

import segno
from fpdf import FPDF
from fpdf.fonts import FontFace
from lxml import etree

from cfdi.sat import files as sat_files
from sandbox import sat_list
from sandbox.slip import FIELDS, title

_NS: Final = {"c": sat_files.CFDI, "t": sat_files.TFD}
_VERIFY: Final = "https://verificacfdi.facturaelectronica.sat.gob.mx/default.aspx"
_IMPUESTOS: Final = {"001": "ISR", "002": "IVA", "003": "IEPS"}
_FOOT: Final = "Representación impresa de un CFDI 4.0. PRUEBA: timbrado por el sandbox, sin validez fiscal."
_COLUMNS: Final = ("Cantidad", "Unidad", "Clave SAT", "Descripción", "P. unitario", "Descuento", "Importe")
_HEAD_STYLE: Final = FontFace(emphasis="BOLD", color=255, fill_color=(18, 69, 107))


def page(xml: bytes) -> bytes:
    """The whole printed representation; the same XML gives the same bytes."""
    root = etree.fromstring(xml)
    timbre = _child(root, "c:Complemento/t:TimbreFiscalDigital")
    pdf = _document(f"{title(root)} {timbre.get('UUID')}", timbre.get("FechaTimbrado", ""))
    _parties(pdf, root, timbre)
    _lines(pdf, root)
    _totals(pdf, root)
    _seals(pdf, root, timbre)
    return bytes(pdf.output())


def slip_template() -> bytes:
    """What `data/slip.pdf` holds: one page with a placeholder for each text of `slip.FIELDS`."""
    pdf = _document("CFDI", "2026-01-01T00:00:00")
    pdf.set_compression(False)
    for placeholder in FIELDS.values():
        pdf.cell(0, 8, placeholder, new_x="LMARGIN", new_y="NEXT")
    return bytes(pdf.output())


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


def _document(title: str, made_at: str) -> FPDF:
    pdf = FPDF(format="letter")
    pdf.core_fonts_encoding = "windows-1252"  # Latin-1 has no ellipsis, dash or euro
    pdf.set_title(title)
    pdf.set_creation_date(datetime.fromisoformat(made_at).replace(tzinfo=UTC))
    pdf.set_font("helvetica", size=8)
    pdf.add_page()
    return pdf


def _parties(pdf: FPDF, root: etree._Element, timbre: etree._Element) -> None:
    emisor, receptor = _child(root, "c:Emisor"), _child(root, "c:Receptor")
    regimen, uso = receptor.get("RegimenFiscalReceptor", ""), receptor.get("UsoCFDI", "")
    forma, metodo = root.get("FormaPago", ""), root.get("MetodoPago", "")
    cambio = f" (tipo de cambio {root.get('TipoCambio')})" if root.get("TipoCambio") else ""
    _text(pdf, emisor.get("Nombre", ""), size=15, bold=True)
    _text(
        pdf,
        f"RFC {emisor.get('Rfc')}   Régimen fiscal {_entry('c_RegimenFiscal', emisor.get('RegimenFiscal', ''))}",
    )
    _text(pdf, f"Lugar de expedición {root.get('LugarExpedicion')}   Fecha {_instant(root.get('Fecha'))}")
    _text(pdf, f"{title(root)}   Folio fiscal {timbre.get('UUID')}", size=11, bold=True)
    _text(pdf, f"Receptor: {receptor.get('Nombre', '')}", size=10, bold=True)
    _text(pdf, f"RFC {receptor.get('Rfc')}   Domicilio fiscal C.P. {receptor.get('DomicilioFiscalReceptor')}")
    _text(
        pdf, f"Régimen fiscal {_entry('c_RegimenFiscal', regimen)}   Uso del CFDI {_entry('c_UsoCFDI', uso)}"
    )
    _text(pdf, f"Forma de pago {_entry('c_FormaPago', forma)}   Método de pago {metodo}")
    _text(pdf, f"Moneda {root.get('Moneda')}{cambio}   Exportación {root.get('Exportacion')}")
    for related in root.findall("c:CfdiRelacionados", _NS):
        uuids = ", ".join(node.get("UUID", "") for node in related)
        _text(pdf, f"Relación {related.get('TipoRelacion')}: {uuids}")
    period = root.find("c:InformacionGlobal", _NS)
    if period is not None:
        meses = _entry("c_Meses", period.get("Meses", ""))
        _text(pdf, f"Factura global: periodicidad {period.get('Periodicidad')}, {meses} {period.get('Año')}")


def _lines(pdf: FPDF, root: etree._Element) -> None:
    right = ("RIGHT", "LEFT", "LEFT", "LEFT", "RIGHT", "RIGHT", "RIGHT")
    with pdf.table(
        col_widths=(18, 14, 20, 76, 24, 20, 24), text_align=right, headings_style=_HEAD_STYLE, line_height=4
    ) as table:
        table.row(_COLUMNS)
        for concepto in _child(root, "c:Conceptos"):
            row = table.row()
            row.cell(concepto.get("Cantidad", ""))
            row.cell(concepto.get("ClaveUnidad", ""))
            row.cell(concepto.get("ClaveProdServ", ""))
            row.cell(_printable("\n".join((concepto.get("Descripcion", ""), *_taxes(concepto)))))
            for name in ("ValorUnitario", "Descuento", "Importe"):
                row.cell(_money(concepto.get(name)))


def _taxes(concepto: etree._Element) -> list[str]:
    found = [f"No. {concepto.get('NoIdentificacion')}"] if concepto.get("NoIdentificacion") else []
    path = "c:Impuestos/c:{0}s/c:{0}"
    found += [
        f"{_tax(tax)} {_money(tax.get('Importe'))}" for tax in concepto.iterfind(path.format("Traslado"), _NS)
    ]
    retenciones = concepto.iterfind("c:Impuestos/c:Retenciones/c:Retencion", _NS)
    found += [f"{_tax(tax)} retenido {_money(tax.get('Importe'))}" for tax in retenciones]
    return found


def _totals(pdf: FPDF, root: etree._Element) -> None:
    rows = [("Subtotal", _money(root.get("SubTotal")))]
    if root.get("Descuento"):
        rows.append(("Descuento", "-" + _money(root.get("Descuento"))))
    rows += [
        (_tax(tax), _money(tax.get("Importe")))
        for tax in root.iterfind("c:Impuestos/c:Traslados/c:Traslado", _NS)
    ]
    rows += [
        (f"{_IMPUESTOS[tax.get('Impuesto', '')]} retenido", "-" + _money(tax.get("Importe")))
        for tax in root.iterfind("c:Impuestos/c:Retenciones/c:Retencion", _NS)
    ]
    for name, amount in rows:
        _text(pdf, f"{name}   {amount}", align="R")
    _text(pdf, f"TOTAL {root.get('Moneda')}   ${_money(root.get('Total'))}", size=11, bold=True, align="R")


def _seals(pdf: FPDF, root: etree._Element, timbre: etree._Element) -> None:
    _text(
        pdf, f"Certificado del emisor {root.get('NoCertificado')}   del SAT {timbre.get('NoCertificadoSAT')}"
    )
    _text(pdf, f"Certificado el {_instant(timbre.get('FechaTimbrado'))} por {timbre.get('RfcProvCertif')}")
    cadena = str(sat_files.cadena_original_tfd(timbre))
    for name, value in (
        ("Sello digital del emisor", root.get("Sello", "")),
        ("Sello digital del SAT", timbre.get("SelloSAT", "")),
        ("Cadena original del complemento de certificación digital del SAT", cadena),
    ):
        _dense(pdf, f"{name}: {value}")
    if pdf.get_y() > pdf.eph - 40:
        pdf.add_page()
    _draw_qr(pdf, verification_url(root, timbre), side=38)
    _text(pdf, _FOOT, size=7, bold=True)


def _dense(pdf: FPDF, text: str) -> None:
    """Write a long text without spaces, cut by our own count: fpdf2 measures the line anew for each character."""
    pdf.set_font("courier", size=4.5)
    most = int(pdf.epw / pdf.get_string_width("0"))
    for start in range(0, len(text), most):
        pdf.cell(0, 2.3, _printable(text[start : start + most]), new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("helvetica", size=8)


def _draw_qr(pdf: FPDF, url: str, side: float) -> None:
    matrix = segno.make_qr(
        url, error="m", mask=0
    ).matrix  # any mask can be read; to choose one takes a third of a page
    module = side / len(matrix)
    left, top = pdf.l_margin, pdf.get_y() + 2
    for y, row in enumerate(matrix):
        for dark, run in groupby(enumerate(row), key=itemgetter(1)):
            if dark:
                places = [x for x, _ in run]
                pdf.rect(left + places[0] * module, top + y * module, len(places) * module, module, style="F")
    pdf.set_xy(pdf.l_margin, top + side + 2)


def _text(pdf: FPDF, text: str, *, size: float = 8, bold: bool = False, align: str = "L") -> None:
    pdf.set_font(style="B" if bold else "", size=size)
    pdf.multi_cell(0, size * 0.45, _printable(text), align=align, new_x="LMARGIN", new_y="NEXT")
    pdf.set_font(style="", size=8)


def _printable(text: str) -> str:
    """The text as far as the standard fonts have its characters."""
    return text.encode("cp1252", "replace").decode("cp1252")


def _child(node: etree._Element, path: str) -> etree._Element:
    found = node.find(path, _NS)
    if found is None:
        raise LookupError(f"the stamped XML has no {path}")
    return found


def _entry(name: str, key: str) -> str:
    found = sat_list.catalogue(name, key)
    return f"{key} {found}" if isinstance(found, str) else key


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
