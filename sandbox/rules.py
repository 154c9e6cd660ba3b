"""What a PAC checks before it stamps: the SAT's list, the document's fields, and every sum.

This is a second, independent reading of the rules. It shares no line with
the worker's own validation, so that each finds the other's mistakes; do not make one call the other.

Codes are the SAT's error matrix of CFDI 4.0; 401 is the PAC's own "older than 72 hours".
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from sandbox import amounts, sat_list
from sandbox.accounts import Behaviour
from sandbox.bodies import Comprobante, Linea
from sandbox.refusals import document
from sandbox.sat_list import SatList

_RFC: Final = re.compile(r"[A-Z&Ñ]{3,4}[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])[A-Z0-9]{2}[0-9A]")
_UUID: Final = re.compile(r"[a-fA-F0-9]{8}(-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}")
_IVA_RATES: Final = frozenset({Decimal("0.000000"), Decimal("0.080000"), Decimal("0.160000")})
TOLERANCE: Final = timedelta(minutes=5)
OLDEST: Final = timedelta(hours=72)


def check(doc: Comprobante, sat: SatList, behaviour: Behaviour, now: datetime) -> None:
    """Raise `Refusal` with the first rule that the document breaks; `now` is an aware instant."""
    _fecha(doc, now)
    _payment(doc)
    _emisor(doc, sat)
    _receptor(doc, sat, behaviour)
    _relations(doc)
    for line in doc.lineas:
        _line(line, doc)
    _sums(doc)


def _fecha(doc: Comprobante, now: datetime) -> None:
    here = sat_list.local_time(now, doc.lugar_expedicion)
    if doc.fecha - here > TOLERANCE:
        raise document("CFDI40101", "El campo Fecha es posterior a la fecha y hora de certificación.")
    if here - doc.fecha > OLDEST:
        raise document("401", "La fecha de emisión está fuera del rango de 72 horas para timbrar.")


def _payment(doc: Comprobante) -> None:
    if doc.metodo_pago not in ("PUE", "PPD"):
        raise document("CFDI40124", "El campo MetodoPago no contiene un valor del catálogo c_MetodoPago.")
    if doc.metodo_pago == "PPD" and doc.forma_pago != "99":
        raise document("CFDI40105", "El campo FormaPago debe ser 99 cuando MetodoPago es PPD.")
    if doc.moneda == "MXN":
        if doc.tipo_cambio not in (0, 1):
            raise document("CFDI40114", "El campo TipoCambio debe ser 1 cuando Moneda es MXN.")
    elif doc.tipo_cambio <= 0:
        raise document("CFDI40115", "El campo TipoCambio es requerido cuando Moneda no es MXN ni XXX.")
    elif amounts.places_of(doc.tipo_cambio) > 6:
        raise document("CFDI40117", "El campo TipoCambio no tiene un valor permitido.")
    if not sat_list.has_postcode(doc.lugar_expedicion):
        raise document("CFDI40126", "El campo LugarExpedicion no contiene un valor de c_CodigoPostal.")


def _emisor(doc: Comprobante, sat: SatList) -> None:
    registered = sat.find(doc.emisor_rfc)
    if registered is not None and registered[0] != doc.emisor_nombre:
        if not sat.has_name(doc.emisor_nombre):
            raise document("CFDI40138", "El Nombre del emisor no se encuentra en la lista de RFC inscritos.")
        raise document("CFDI40139", "El Nombre del emisor no corresponde al RFC del emisor.")
    if not sat_list.is_regimen(doc.emisor_regimen):
        raise document("CFDI40140", "El RegimenFiscal del emisor no está en el catálogo c_RegimenFiscal.")
    if not sat_list.fits_persona(doc.emisor_regimen, doc.emisor_rfc):
        raise document("CFDI40141", "El RegimenFiscal del emisor no corresponde al tipo de persona.")


def _receptor(doc: Comprobante, sat: SatList, behaviour: Behaviour) -> None:
    rfc, nombre = doc.receptor_rfc, doc.receptor_nombre
    if not _RFC.fullmatch(rfc):
        raise document("301", "El RFC del receptor no cumple con el patrón del estándar.")
    if rfc not in sat_list.GENERIC:
        _registered(doc, sat, behaviour)
    elif doc.receptor_cp != doc.lugar_expedicion:
        raise document(
            "CFDI40149", "Con RFC genérico, DomicilioFiscalReceptor debe ser igual a LugarExpedicion."
        )
    elif doc.receptor_regimen != "616":
        raise document("CFDI40159", "Con RFC genérico, RegimenFiscalReceptor debe ser 616.")
    public = nombre == "PUBLICO EN GENERAL"
    if public and rfc != sat_list.PUBLICO_EN_GENERAL:
        raise document("CFDI40146", "El Nombre PUBLICO EN GENERAL solo va con el RFC XAXX010101000.")
    if (public and doc.tipo == "I") != (doc.informacion_global is not None):
        raise document("CFDI40130", "El nodo InformacionGlobal no corresponde al receptor o al tipo.")
    if doc.informacion_global is not None:
        _global(doc, doc.informacion_global)
    if not sat_list.is_regimen(doc.receptor_regimen):
        raise document("CFDI40157", "El RegimenFiscalReceptor no está en el catálogo c_RegimenFiscal.")
    if rfc not in sat_list.GENERIC and not sat_list.fits_persona(doc.receptor_regimen, rfc):
        raise document("CFDI40158", "El RegimenFiscalReceptor no corresponde al tipo de persona.")
    if not sat_list.is_uso(doc.uso_cfdi):
        raise document("CFDI40160", "El campo UsoCFDI no contiene un valor del catálogo c_UsoCFDI.")
    if rfc in sat_list.GENERIC:
        if doc.uso_cfdi != "S01" and not (doc.uso_cfdi == "G02" and doc.tipo == "E"):
            raise document("CFDI40161", "Con RFC genérico, UsoCFDI debe ser S01.")
    elif not sat_list.fits_uso(doc.uso_cfdi, doc.receptor_regimen, rfc):
        raise document("CFDI40161", "El UsoCFDI no corresponde al tipo de persona y al régimen del receptor.")


def _registered(doc: Comprobante, sat: SatList, behaviour: Behaviour) -> None:
    known = sat.find(doc.receptor_rfc)
    if known is None:
        if behaviour.any_receptor:
            return
        raise document(
            "CFDI40143", "El RFC del receptor no se encuentra en la lista de RFC inscritos no cancelados."
        )
    name, postcode = known
    if doc.receptor_nombre != name:
        if sat.has_name(doc.receptor_nombre):
            raise document("CFDI40145", "El Nombre del receptor no pertenece al RFC del receptor.")
        raise document(
            "CFDI40145", "El Nombre del receptor debe ser el asociado a su RFC, tal como está inscrito."
        )
    if doc.receptor_cp != postcode:
        if not sat_list.has_postcode(doc.receptor_cp):
            raise document(
                "CFDI40147", "El DomicilioFiscalReceptor no se encuentra en la lista de RFC inscritos."
            )
        raise document("CFDI40148", "El DomicilioFiscalReceptor no pertenece al RFC del receptor.")


def _global(doc: Comprobante, period: tuple[str, str, str]) -> None:
    periodicidad, meses, anio = period
    if periodicidad not in ("01", "02", "03", "04", "05"):
        raise document("CFDI40131", "El campo Periodicidad no está en el catálogo c_Periodicidad.")
    if periodicidad == "05" and doc.emisor_regimen != "621":
        raise document("CFDI40132", "La Periodicidad 05 solo va con el régimen 621 del emisor.")
    if meses not in {f"{month:02d}" for month in range(1, 19)}:
        raise document("CFDI40133", "El campo Meses no está en el catálogo c_Meses.")
    if (periodicidad == "05") != (meses > "12"):
        raise document("CFDI40134", "El campo Meses no corresponde a la Periodicidad.")
    if anio not in {str(doc.fecha.year - past) for past in range(6)}:
        raise document("CFDI40136", "El campo Año debe ser el año en curso o uno de los cinco anteriores.")


def _relations(doc: Comprobante) -> None:
    for kind, uuids in doc.relaciones:
        if not kind or not uuids:
            raise document("301", "TipoRelacion y CFDIRelacionados van juntos.")
        if kind not in {f"0{n}" for n in range(1, 8)}:
            raise document("CFDI40137", "El campo TipoRelacion no está en el catálogo c_TipoRelacion.")
        if not all(_UUID.fullmatch(uuid) for uuid in uuids):
            raise document("301", "Un UUID de CFDIRelacionados no cumple con el patrón del estándar.")


def _line(line: Linea, doc: Comprobante) -> None:
    if sat_list.catalogue("c_ClaveProdServ", line.clave_prod_serv) is None:
        raise document("CFDI40162", "El campo ClaveProdServ no está en el catálogo c_ClaveProdServ.")
    if sat_list.catalogue("c_ClaveUnidad", line.clave_unidad) is None:
        raise document("CFDI40165", "El campo ClaveUnidad no está en el catálogo c_ClaveUnidad.")
    if not line.valor_unitario > 0:
        raise document("CFDI40166", "El campo ValorUnitario debe ser mayor que cero.")
    places = amounts.decimals_of(doc.moneda)
    if not amounts.inside(line.importe, line.cantidad, line.valor_unitario, places):
        raise document("CFDI40167", "El Importe del concepto no está entre el límite inferior y el superior.")
    if line.descuento > line.importe or line.descuento < 0:
        raise document("CFDI40169", "El Descuento del concepto es mayor que su Importe.")
    taxed = line.tasa_iva is not None or line.exento
    withheld = line.tasa_ret_iva is not None or line.tasa_ret_isr is not None
    if line.objeto_imp != "02" and (taxed or withheld or line.iva or line.ret_iva or line.ret_isr):
        raise document("CFDI40172", "El concepto no es objeto de impuesto y tiene impuestos.")
    if (taxed or withheld) and not line.base > 0:
        raise document("CFDI40174", "La Base de un impuesto debe ser mayor que cero.")
    _line_taxes(line, doc, places)


def _line_taxes(line: Linea, doc: Comprobante, places: int) -> None:
    if line.tasa_iva is not None:
        if line.tasa_iva not in _IVA_RATES:
            raise document("CFDI40179", "La TasaOCuota del traslado no está en el catálogo c_TasaOCuota.")
        if line.tasa_iva == Decimal("0.08") and not sat_list.is_border(doc.lugar_expedicion):
            raise document("CFDI40179", "La tasa de 8 % solo va en la región fronteriza.")
        if not amounts.inside(line.iva, line.base, line.tasa_iva, places, rate=True):
            raise document(
                "CFDI40180", "El Importe del traslado no está entre el límite inferior y el superior."
            )
    elif line.iva:
        raise document("CFDI40177", "Un traslado exento no tiene Importe.")
    if line.tasa_ret_iva is not None:
        if line.tasa_ret_iva > Decimal("0.16") or line.tasa_ret_iva < 0:
            raise document("CFDI40185", "La TasaOCuota de la retención está fuera del rango del catálogo.")
        if line.base_ret_iva != line.base:
            raise document("CFDI40181", "La Base de la retención de IVA no es la del concepto.")
        if not amounts.inside(line.ret_iva, line.base_ret_iva, line.tasa_ret_iva, places, rate=True):
            raise document("CFDI40186", "El Importe de la retención no está entre los límites.")
    elif line.ret_iva:
        raise document("CFDI40185", "La retención de IVA no tiene tasa.")
    if line.tasa_ret_isr is not None:
        if line.tasa_ret_isr > Decimal("0.35") or line.tasa_ret_isr < 0:
            raise document("CFDI40185", "La TasaOCuota de la retención está fuera del rango del catálogo.")
        if not amounts.inside(line.ret_isr, line.base, line.tasa_ret_isr, places, rate=True):
            raise document("CFDI40186", "El Importe de la retención no está entre los límites.")
    elif line.ret_isr:
        raise document("CFDI40185", "La retención de ISR no tiene tasa.")
    if line.line_total != line.base + line.iva - line.ret_iva - line.ret_isr:
        raise document("CFDI40119", "El Total de una partida no cuadra con su importe e impuestos.")


def _sums(doc: Comprobante) -> None:
    places = amounts.decimals_of(doc.moneda)
    wanted = {
        "CFDI40108": ("SubTotal", doc.subtotal, (line.importe for line in doc.lineas)),
        "CFDI40111": ("Descuento", doc.descuento, (line.descuento for line in doc.lineas)),
        "CFDI40221": ("IVA trasladado", doc.iva, (line.iva for line in doc.lineas)),
        "CFDI40211": ("IVA retenido", doc.ret_iva, (line.ret_iva for line in doc.lineas)),
        "CFDI40210": ("ISR retenido", doc.ret_isr, (line.ret_isr for line in doc.lineas)),
    }
    for code, (what, sent, parts) in wanted.items():
        if sent != amounts.rounded(parts, places):
            raise document(code, f"El {what} no es igual a la suma redondeada de los conceptos.")
    total = doc.subtotal - doc.descuento + doc.iva - doc.ret_iva - doc.ret_isr
    if doc.total != total or total < 0:
        raise document(
            "CFDI40119", "El Total no es igual al SubTotal, menos descuentos, más y menos impuestos."
        )
