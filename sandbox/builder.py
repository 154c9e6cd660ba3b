"""Builds the CFDI 4.0: a `Comprobante` in, sealed and stamped XML out.

One lxml tree from beginning to end. Both seals are written into it as
attributes, and only the finished document is serialised; parsing it again for each step would halve the
rate of stamps.

The rows of the tax summary are the sums of the rounded lines, not base times rate (CFDI40221).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from lxml import etree

from cfdi.sat import files as sat_files
from sandbox import amounts, refusals, sat_list, seals
from sandbox.bodies import Comprobante, Linea
from sandbox.seals import Identity

_CFDI: Final = f"{{{sat_files.CFDI}}}"
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
_LOCATION: Final = "http://www.sat.gob.mx/cfd/4 http://www.sat.gob.mx/sitio_internet/cfd/4/cfdv40.xsd"
_LOCATION_TFD: Final = (
    "http://www.sat.gob.mx/TimbreFiscalDigital"
    " http://www.sat.gob.mx/sitio_internet/cfd/TimbreFiscalDigital/TimbreFiscalDigitalv11.xsd"
)
_CENTRE: Final = "06000"


@dataclass(frozen=True)
class Stamp:
    """What stamping adds: the identity of the invoice."""

    uuid: str
    folio: int
    at: datetime


def build(
    doc: Comprobante,
    stamp: Stamp,
    csd: Identity,
    pac: Identity,
    decorate: Callable[[etree._Element], None] | None = None,
) -> bytes:
    """The stamped XML; `decorate` adds to it before it is sealed.

    Raises `Refusal` (301) where the official XSD does not accept it.
    """
    try:
        root = _comprobante(doc, stamp)
    except ValueError:
        # lxml refuses NUL and control characters: no XML can hold them.
        raise refusals.document("301", "XML mal formado: un texto tiene caracteres no permitidos.") from None
    if decorate is not None:
        decorate(root)
    seals.seal_comprobante(root, csd)
    _add_timbre(root, stamp, pac)
    checked = root if decorate is None else _without_other_complements(root)
    faults = () if sat_files.schema().validate(checked) else sat_files.schema_errors(checked)
    if faults:
        raise refusals.document("301", f"XML mal formado: {faults[0]}")
    return serialise(root)


def _without_other_complements(root: etree._Element) -> etree._Element:
    """A copy with the timbre alone: the XSDs of complements are not here."""
    checked = deepcopy(root)
    for complemento in checked.findall(f"{_CFDI}Complemento"):
        for node in complemento:
            if node.tag != sat_files.TIMBRE:
                complemento.remove(node)
    return checked


def seal_again(root: etree._Element, stamp: Stamp, csd: Identity, pac: Identity) -> bytes:
    """The XML of a tree that was changed by hand, with good seals again (to play a provider that errs)."""
    complemento = root.find(f"{_CFDI}Complemento")
    if complemento is not None:
        root.remove(complemento)
    seals.seal_comprobante(root, csd)
    _add_timbre(root, stamp, pac)
    return serialise(root)


def serialise(root: etree._Element) -> bytes:
    """The document as bytes, with its declaration."""
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def _comprobante(doc: Comprobante, stamp: Stamp) -> etree._Element:
    places = amounts.decimals_of(doc.moneda)
    root = etree.Element(f"{_CFDI}Comprobante", nsmap={"cfdi": sat_files.CFDI, "xsi": _XSI})
    root.set(f"{{{_XSI}}}schemaLocation", _LOCATION)
    for name, value in _attributes(doc, stamp, places):
        root.set(name, value)
    if doc.informacion_global is not None:
        periodicidad, meses, anio = doc.informacion_global
        node = _add(root, "InformacionGlobal", Periodicidad=periodicidad, Meses=meses)
        node.set("Año", anio)
    for kind, uuids in doc.relaciones:
        related = _add(root, "CfdiRelacionados", TipoRelacion=kind)
        for uuid in uuids:
            _add(related, "CfdiRelacionado", UUID=uuid)
    _add(root, "Emisor", Rfc=doc.emisor_rfc, Nombre=doc.emisor_nombre, RegimenFiscal=doc.emisor_regimen)
    _add(
        root,
        "Receptor",
        Rfc=doc.receptor_rfc,
        Nombre=doc.receptor_nombre,
        DomicilioFiscalReceptor=doc.receptor_cp,
        RegimenFiscalReceptor=doc.receptor_regimen,
        UsoCFDI=doc.uso_cfdi,
    )
    conceptos = _add(root, "Conceptos")
    for line in doc.lineas:
        _concepto(conceptos, line, places)
    _impuestos(root, doc, places)
    return root


def _attributes(doc: Comprobante, stamp: Stamp, places: int) -> Iterator[tuple[str, str]]:
    yield "Version", "4.0"
    yield "Serie", doc.serie
    yield "Folio", str(stamp.folio)
    yield "Fecha", doc.fecha.isoformat(timespec="seconds")
    yield "Sello", ""
    yield "FormaPago", doc.forma_pago
    yield "NoCertificado", ""
    yield "Certificado", ""
    if doc.condiciones_de_pago:
        yield "CondicionesDePago", doc.condiciones_de_pago
    yield "SubTotal", _money(doc.subtotal, places)
    if any(line.descuento for line in doc.lineas):
        yield "Descuento", _money(doc.descuento, places)
    yield "Moneda", doc.moneda
    if doc.moneda != "MXN":
        yield "TipoCambio", _plain(doc.tipo_cambio)
    yield "Total", _money(doc.total, places)
    yield "TipoDeComprobante", doc.tipo
    yield "Exportacion", "01"
    yield "MetodoPago", doc.metodo_pago
    yield "LugarExpedicion", doc.lugar_expedicion


def _concepto(conceptos: etree._Element, line: Linea, places: int) -> None:
    node = _add(conceptos, "Concepto", ClaveProdServ=line.clave_prod_serv)
    if line.no_identificacion:
        node.set("NoIdentificacion", line.no_identificacion)
    node.set("Cantidad", _plain(line.cantidad))
    node.set("ClaveUnidad", line.clave_unidad)
    node.set("Unidad", line.unidad)
    node.set("Descripcion", line.descripcion)
    node.set("ValorUnitario", _money(line.valor_unitario, places))
    node.set("Importe", _money(line.importe, places))
    if line.descuento:
        node.set("Descuento", _money(line.descuento, places))
    node.set("ObjetoImp", line.objeto_imp)
    if line.objeto_imp == "02":
        _concepto_impuestos(_add(node, "Impuestos"), line, places)


def _concepto_impuestos(taxes: etree._Element, line: Linea, places: int) -> None:
    base = _money(line.base, places)
    traslado = _add(_add(taxes, "Traslados"), "Traslado", Base=base, Impuesto="002")
    if line.tasa_iva is None:
        traslado.set("TipoFactor", "Exento")
    else:
        traslado.set("TipoFactor", "Tasa")
        traslado.set("TasaOCuota", str(line.tasa_iva))
        traslado.set("Importe", _money(line.iva, places))
    if line.tasa_ret_isr is None and line.tasa_ret_iva is None:
        return
    retenciones = _add(taxes, "Retenciones")
    if line.tasa_ret_isr is not None:
        _retencion(retenciones, "001", base, line.tasa_ret_isr, _money(line.ret_isr, places))
    if line.tasa_ret_iva is not None:
        withheld = _money(line.base_ret_iva, places)
        _retencion(retenciones, "002", withheld, line.tasa_ret_iva, _money(line.ret_iva, places))


def _retencion(parent: etree._Element, impuesto: str, base: str, tasa: Decimal, importe: str) -> None:
    _add(
        parent,
        "Retencion",
        Base=base,
        Impuesto=impuesto,
        TipoFactor="Tasa",
        TasaOCuota=str(tasa),
        Importe=importe,
    )


def _impuestos(root: etree._Element, doc: Comprobante, places: int) -> None:
    subject = [line for line in doc.lineas if line.objeto_imp == "02"]
    if not subject:
        return
    node = _add(root, "Impuestos")
    isr = [line.ret_isr for line in subject if line.tasa_ret_isr is not None]
    iva = [line.ret_iva for line in subject if line.tasa_ret_iva is not None]
    if isr or iva:
        node.set("TotalImpuestosRetenidos", _money(amounts.rounded([*isr, *iva], places), places))
        retenciones = _add(node, "Retenciones")
        for impuesto, parts in (("001", isr), ("002", iva)):
            if parts:
                _add(
                    retenciones,
                    "Retencion",
                    Impuesto=impuesto,
                    Importe=_money(amounts.rounded(parts, places), places),
                )
    if any(line.tasa_iva is not None for line in subject):
        node.set(
            "TotalImpuestosTrasladados",
            _money(amounts.rounded((line.iva for line in subject), places), places),
        )
    traslados = _add(node, "Traslados")
    rows: dict[Decimal | None, list[Linea]] = {}
    for line in subject:
        rows.setdefault(line.tasa_iva, []).append(line)
    for tasa, lines in rows.items():
        base = _money(amounts.rounded((line.base for line in lines), places), places)
        row = _add(
            traslados, "Traslado", Base=base, Impuesto="002", TipoFactor="Exento" if tasa is None else "Tasa"
        )
        if tasa is not None:
            row.set("TasaOCuota", str(tasa))
            row.set("Importe", _money(amounts.rounded((line.iva for line in lines), places), places))


def _add_timbre(root: etree._Element, stamp: Stamp, pac: Identity) -> None:
    complemento = root.find(f"{_CFDI}Complemento")
    if complemento is None:
        complemento = _add(root, "Complemento")
    timbre = etree.SubElement(complemento, sat_files.TIMBRE, nsmap={"tfd": sat_files.TFD})
    timbre.set(f"{{{_XSI}}}schemaLocation", _LOCATION_TFD)
    timbre.set("Version", "1.1")
    timbre.set("UUID", stamp.uuid)
    # FechaTimbrado is the clock of the centre wherever the invoice was issued.
    timbre.set("FechaTimbrado", sat_list.local_time(stamp.at, _CENTRE).isoformat(timespec="seconds"))
    timbre.set("RfcProvCertif", seals.PAC_RFC)
    timbre.set("SelloCFD", root.get("Sello", ""))
    seals.seal_timbre(timbre, pac)


def _add(parent: etree._Element, name: str, **attributes: str) -> etree._Element:
    return etree.SubElement(parent, f"{_CFDI}{name}", attributes)


def _money(amount: Decimal, places: int) -> str:
    """At least the currency's decimals, and as many more as were sent (six at most by the XSD)."""
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent < places:
        amount = amount.quantize(Decimal(1).scaleb(-places))
    return f"{amount:f}"


def _plain(number: Decimal) -> str:
    return f"{number:f}"
