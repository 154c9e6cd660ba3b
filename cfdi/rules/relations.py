"""Rules 18 to 20: the period of a global invoice, and the CFDI that this one refers to.

A rule's docstring is Spanish, since `docs/validation.md` prints it. Both nodes are asked about together with
the receptor and the type, since whether they may stand there depends on those.
"""

import re

from cfdi import rfc
from cfdi.rules.rulebook import BROKEN, GUIA, XSD, Breach, Breaches, Changes, InvoiceCase, of_comprobante
from cfdi.sat import catalogs

_GLOBAL: Changes = {
    "tipo_de_comprobante": "I",
    "lugar_expedicion": "64000",
    "receptor": {
        "rfc": rfc.PUBLICO_EN_GENERAL,
        "nombre": "PUBLICO EN GENERAL",
        "domicilio_fiscal_receptor": "64000",
        "regimen_fiscal_receptor": "616",
        "uso_cfdi": "S01",
    },
}
_NOTE: Changes = {"tipo_de_comprobante": "E", "informacion_global": None}
_UUID = "9932113E-09AC-47BA-8E8C-6F83100C814F"


def _global(periodicidad: str = "04", meses: str = "11", anio: int = 2026) -> Changes:
    return _GLOBAL | {"informacion_global": {"periodicidad": periodicidad, "meses": meses, "anio": anio}}


def _related(tipo: str, relacion: str, *uuids: str) -> Changes:
    return {
        "tipo_de_comprobante": tipo,
        "cfdi_relacionados": {"tipo_relacion": relacion, "uuids": list(uuids) or [_UUID]},
    }


# --- factura global -----------------------------------------------------------------------------------


def _is_to_the_public(case: InvoiceCase) -> bool:
    invoice = case.invoice
    return (
        invoice.tipo_de_comprobante == "I"
        and invoice.receptor.rfc == rfc.PUBLICO_EN_GENERAL
        and invoice.receptor.nombre == "PUBLICO EN GENERAL"
    )


@of_comprobante(
    "CFDI40130",
    18,
    "informacion_global",
    fails=_GLOBAL | {"informacion_global": None},
    passes=_global(),
)
def global_invoice_tells_its_period(case: InvoiceCase) -> Breaches:
    """Una factura de ingreso a PUBLICO EN GENERAL (XAXX010101000) lleva información global."""
    if case.invoice.informacion_global is not None or not _is_to_the_public(case):
        return None
    return Breach(
        "La factura a PUBLICO EN GENERAL no dice de qué periodo es.",
        "Agrega la información global: periodicidad, meses y año.",
    )


@of_comprobante(
    "CFDI40130",
    18,
    "informacion_global",
    fails={
        "informacion_global": {"periodicidad": "04", "meses": "11", "anio": 2026},
        "receptor.rfc": "XIA190128J61",
    },
    passes=_global("01"),
)
def only_a_global_invoice_tells_a_period(case: InvoiceCase) -> Breaches:
    """Ninguna otra factura, ni una nota de crédito, lleva información global."""
    if case.invoice.informacion_global is None or _is_to_the_public(case):
        return None
    return Breach(
        "La información global solo va en facturas de ingreso a PUBLICO EN GENERAL (XAXX010101000).",
        "Quita la información global.",
    )


@of_comprobante("CFDI40131", 19, "informacion_global.periodicidad", fails=_global("06"), passes=_global("03"))
def periodicidad_is_known(case: InvoiceCase) -> Breaches:
    """La periodicidad está en c_Periodicidad."""
    period = case.invoice.informacion_global
    return BROKEN if period is not None and period.periodicidad not in catalogs.periodicidades() else None


@of_comprobante(
    "CFDI40132",
    19,
    "informacion_global.periodicidad",
    fails=_global("05", "18") | {"emisor.regimen_fiscal": "601"},
    passes=_global("05", "18") | {"emisor.rfc": "CACX7605101P8", "emisor.regimen_fiscal": "621"},
)
def bimester_is_for_regimen_621(case: InvoiceCase) -> Breaches:
    """La periodicidad 05 (bimestral) es solo para emisores con régimen 621."""
    period, issuer = case.invoice.informacion_global, case.issuer
    if period is None or period.periodicidad != "05" or issuer is None or issuer.regimen_fiscal is None:
        return None
    return None if issuer.regimen_fiscal == "621" else BROKEN


@of_comprobante(
    "CFDI40133", 19, "informacion_global.meses", fails=_global("04", "19"), passes=_global("04", "12")
)
def meses_is_known(case: InvoiceCase) -> Breaches:
    """El mes o bimestre está en c_Meses."""
    period = case.invoice.informacion_global
    return BROKEN if period is not None and period.meses not in catalogs.meses() else None


@of_comprobante(
    "CFDI40134", 19, "informacion_global.meses", fails=_global("04", "13"), passes=_global("02", "01")
)
def a_month_goes_with_a_month(case: InvoiceCase) -> Breaches:
    """Con periodicidad 01 a 04 el mes va de 01 a 12."""
    period = case.invoice.informacion_global
    if period is None or period.meses not in catalogs.meses():
        return None
    return BROKEN if period.periodicidad in ("01", "02", "03", "04") and period.meses > "12" else None


@of_comprobante(
    "CFDI40135",
    19,
    "informacion_global.meses",
    fails=_global("05", "11"),
    passes=_global("05", "13") | {"emisor.rfc": "CACX7605101P8", "emisor.regimen_fiscal": "621"},
)
def a_bimester_goes_with_a_bimester(case: InvoiceCase) -> Breaches:
    """Con periodicidad 05 el bimestre va de 13 a 18."""
    period = case.invoice.informacion_global
    if period is None or period.meses not in catalogs.meses():
        return None
    return BROKEN if period.periodicidad == "05" and period.meses < "13" else None


@of_comprobante(
    "CFDI40136",
    19,
    "informacion_global.anio",
    fails=_global(anio=2024),
    passes=_global(meses="12", anio=2025),
)
def anio_is_this_or_the_last(case: InvoiceCase) -> Breaches:
    """El año de la factura global es el de la fecha o el anterior."""
    period = case.invoice.informacion_global
    if period is None or period.anio in (case.fecha.year, case.fecha.year - 1):
        return None
    return Breach(f"El año {period.anio} no es {case.fecha.year} ni {case.fecha.year - 1}.")


# --- relaciones ---------------------------------------------------------------------------------------

_RELATIONS = {"I": frozenset({"02", "04", "06", "07"}), "E": frozenset({"01", "03", "04", "07"})}
_UUID_PATTERN = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


@of_comprobante(
    "CFDI40137",
    20,
    "cfdi_relacionados.tipo_relacion",
    fails=_related("E", "08"),
    passes=_related("E", "03"),
)
def tipo_relacion_is_in_force(case: InvoiceCase) -> Breaches:
    """El tipo de relación está vigente en c_TipoRelacion: 01 a 07."""
    related = case.invoice.cfdi_relacionados
    return BROKEN if related is not None and related.tipo_relacion not in catalogs.tipos_relacion() else None


@of_comprobante(
    "timbrado.relacion_no_corresponde",
    20,
    "cfdi_relacionados.tipo_relacion",
    source=GUIA,
    fails=_related("I", "01"),
    passes=_related("I", "04"),
)
def tipo_relacion_suits_the_tipo(case: InvoiceCase) -> Breaches:
    """Una nota de crédito se relaciona con 01, 03, 04 o 07; un ingreso con 02, 04, 06 o 07."""
    related = case.invoice.cfdi_relacionados
    if related is None or related.tipo_relacion not in catalogs.tipos_relacion():
        return None
    allowed = _RELATIONS.get(case.invoice.tipo_de_comprobante)
    return None if allowed is None or related.tipo_relacion in allowed else BROKEN


@of_comprobante(
    "timbrado.nota_sin_relacion",
    20,
    "cfdi_relacionados",
    source=GUIA,
    fails=_NOTE | {"cfdi_relacionados": None},
    passes=_NOTE | _related("E", "01"),
)
def credit_note_names_its_invoice(case: InvoiceCase) -> Breaches:
    """Una nota de crédito dice a qué factura corresponde."""
    is_note = case.invoice.tipo_de_comprobante == "E"
    return BROKEN if is_note and case.invoice.cfdi_relacionados is None else None


@of_comprobante(
    "CFDI40999",
    20,
    "cfdi_relacionados.uuids",
    source=XSD,
    fails=_related("E", "01", "9932113E09AC47BA8E8C6F83100C814F"),
    passes=_related("E", "01", _UUID, "0a1b2c3d-09ac-47ba-8e8c-6f83100c814f"),
)
def related_uuids_are_well_formed(case: InvoiceCase) -> Breaches:
    """Hay al menos un folio fiscal relacionado, y cada uno tiene la forma de un UUID."""
    related = case.invoice.cfdi_relacionados
    if related is None:
        return None
    if not related.uuids:
        return Breach("Falta el folio fiscal (UUID) de la factura relacionada.", "Agrega al menos uno.")
    return [
        Breach(
            f"El folio fiscal «{uuid[:40]}» no tiene la forma de un UUID.",
            f"Cópialo completo de la factura relacionada, por ejemplo {_UUID}.",
            f"cfdi_relacionados.uuids[{n}]",
        )
        for n, uuid in enumerate(related.uuids)
        if _UUID_PATTERN.fullmatch(uuid) is None
    ] or None
