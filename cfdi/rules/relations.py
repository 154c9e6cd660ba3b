"""Rules 18 to 20: the period of a global invoice, and the CFDI that this one refers to.

A rule's docstring is Spanish, since `docs/validation.md` prints it. Both nodes are asked about together with
the receptor and the type, since whether they may stand there depends on those.
"""

import re

from cfdi import rfc, wording
from cfdi.rules.rulebook import (
    BROKEN,
    GUIA,
    MATRIZ,
    NEW_KEYS,
    XSD,
    Breach,
    Breaches,
    Changes,
    InvoiceCase,
    RelationCase,
    of_comprobante,
    of_relacion,
    unknown_key,
)
from cfdi.sat import catalogs

EARLIER_YEARS = 5
"""How many years before its own a global invoice may be of (CFDI40136)."""

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
    "conceptos[0].descripcion": "Venta",
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
def global_invoice_has_its_period(case: InvoiceCase) -> Breaches:
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
def only_a_global_invoice_has_a_period(case: InvoiceCase) -> Breaches:
    """Ninguna otra factura, ni una nota de crédito, lleva información global."""
    if case.invoice.informacion_global is None or _is_to_the_public(case):
        return None
    return Breach(
        "La información global solo va en facturas de ingreso a PUBLICO EN GENERAL (XAXX010101000).",
        "Quita la información global.",
    )


@of_comprobante("CFDI40131", 19, "informacion_global.periodicidad", fails=_global("6"), passes=_global("03"))
def periodicidad_is_known(case: InvoiceCase) -> Breaches:
    """La periodicidad está en c_Periodicidad."""
    period = case.invoice.informacion_global
    if period is None or period.periodicidad in catalogs.periodicidades():
        return None
    return None if catalogs.may_be_new("c_Periodicidad", period.periodicidad) else BROKEN


@of_comprobante(
    "CFDI40131",
    19,
    "informacion_global.periodicidad",
    only_warns=True,
    source=NEW_KEYS,
    fails=_global("06"),
    passes=_global("03"),
)
def periodicidad_is_in_our_catalogue(case: InvoiceCase) -> Breaches:
    """La periodicidad está en nuestros catálogos."""
    period = case.invoice.informacion_global
    if period is None:
        return None
    return unknown_key(period.periodicidad, catalogs.periodicidades(), "c_Periodicidad", "La periodicidad")


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
    "CFDI40133", 19, "informacion_global.meses", fails=_global("04", "19"), passes=_global("04", "12", 2025)
)
def meses_is_known(case: InvoiceCase) -> Breaches:
    """El mes o bimestre está en c_Meses: 01 a 12, o 13 a 18."""
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
    source=f"{MATRIZ} de 2024-12-13, renglón 36",
    fails=_global(anio=2020),
    passes=_global(meses="12", anio=2021),
)
def anio_is_this_or_of_the_five_before(case: InvoiceCase) -> Breaches:
    """El año de la factura global es el de la fecha o uno de los cinco anteriores."""
    period = case.invoice.informacion_global
    if period is None or case.fecha.year - EARLIER_YEARS <= period.anio <= case.fecha.year:
        return None
    return Breach(
        f"El año de la factura global, {period.anio}, no es {case.fecha.year} ni uno de los cinco anteriores."
    )


@of_comprobante(
    "timbrado.global_periodo_futuro",
    None,
    "informacion_global.meses",
    only_warns=True,
    source=f"{GUIA} de la factura global",
    fails=_global(meses="12", anio=2026),
    passes=_global(meses="11", anio=2026),
)
def a_global_period_has_begun(case: InvoiceCase) -> Breaches:
    """El periodo de la factura global ya empezó."""
    period = case.invoice.informacion_global
    if period is None or period.meses not in catalogs.meses() or period.anio != case.fecha.year:
        return None
    month = int(period.meses)
    first = month if month <= 12 else (month - 12) * 2 - 1
    if first <= case.fecha.month:
        return None
    name = (wording.name_of("meses", period.meses) or period.meses).lower()
    return Breach(f"La factura global es de {name} de {period.anio}, que todavía no empieza.")


@of_comprobante(
    "timbrado.global_metodo_pago",
    None,
    "metodo_pago",
    only_warns=True,
    source=f"{GUIA} de la factura global",
    fails=_global() | {"metodo_pago": "PPD", "forma_pago": "99"},
    passes=_global() | {"metodo_pago": "PUE", "forma_pago": "01"},
)
def a_global_invoice_is_paid_at_once(case: InvoiceCase) -> Breaches:
    """Una factura global va con método de pago PUE."""
    return BROKEN if _is_to_the_public(case) and case.invoice.metodo_pago == "PPD" else None


@of_comprobante(
    "timbrado.global_descripcion",
    None,
    "conceptos[].descripcion",
    only_warns=True,
    source=f"{GUIA} de la factura global",
    fails=_global() | {"conceptos[0].descripcion": "Paquetería"},
    passes=_global() | {"conceptos[0].descripcion": "Venta"},
)
def a_global_line_says_venta(case: InvoiceCase) -> Breaches:
    """En una factura global la descripción de cada concepto es «Venta»."""
    if not _is_to_the_public(case):
        return None
    for line in case.lines:
        if line.concepto.descripcion.casefold() != "venta":
            return Breach(field=f"{line.path}.descripcion")
    return None


# --- relaciones ---------------------------------------------------------------------------------------

# Guía de llenado, p. 14 and appendix 5: what is usual. The SAT itself looks at the type of the related document alone.
_USUAL = {"I": frozenset({"02", "04", "06", "07"}), "E": frozenset({"01", "03", "04", "06", "07"})}
_UUID_PATTERN = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


@of_relacion(
    "CFDI40137",
    20,
    "cfdi_relacionados[].tipo_relacion",
    fails=_related("E", "08"),
    passes=_related("E", "03"),
)
def tipo_relacion_is_in_force(place: RelationCase) -> Breaches:
    """El tipo de relación está vigente en c_TipoRelacion: 01 a 07."""
    tipo = place.relation.tipo_relacion
    if tipo in catalogs.tipos_relacion() or catalogs.may_be_new("c_TipoRelacion", tipo):
        return None
    return Breach(f"El tipo de relación «{tipo[:20]}» no está vigente en el catálogo del SAT.")


@of_relacion(
    "CFDI40137",
    20,
    "cfdi_relacionados[].tipo_relacion",
    only_warns=True,
    source=NEW_KEYS,
    fails=_related("E", "10"),
    passes=_related("E", "03"),
)
def tipo_relacion_is_known(place: RelationCase) -> Breaches:
    """El tipo de relación está en nuestros catálogos."""
    what = "El tipo de relación"
    return unknown_key(place.relation.tipo_relacion, catalogs.tipos_relacion(), "c_TipoRelacion", what)


@of_relacion(
    "timbrado.relacion_no_corresponde",
    20,
    "cfdi_relacionados[].tipo_relacion",
    only_warns=True,
    source=f"{GUIA}, p. 14 y apéndice 5",
    fails=_related("I", "01"),
    passes=_related("E", "06"),
)
def tipo_relacion_suits_the_tipo(place: RelationCase) -> Breaches:
    """Una nota de crédito se relaciona con 01, 03, 04, 06 o 07; un ingreso con 02, 04, 06 o 07."""
    tipo, comprobante = place.relation.tipo_relacion, place.case.invoice.tipo_de_comprobante
    usual = _USUAL.get(comprobante)
    if usual is None or tipo in usual or tipo not in catalogs.tipos_relacion():
        return None
    kind = "una factura" if comprobante == "I" else "una nota de crédito"
    return Breach(f"El tipo de relación {wording.key('tipo_relacion', tipo)} no es usual en {kind}.")


@of_comprobante(
    "timbrado.nota_sin_relacion",
    20,
    "cfdi_relacionados",
    only_warns=True,
    source=f"{GUIA}, apéndice 5, IV.B: un egreso sin relación es lícito",
    fails=_NOTE | {"cfdi_relacionados": None},
    passes=_NOTE | _related("E", "01"),
)
def credit_note_names_its_invoice(case: InvoiceCase) -> Breaches:
    """Una nota de crédito suele decir a qué factura corresponde."""
    is_note = case.invoice.tipo_de_comprobante == "E"
    return BROKEN if is_note and not case.invoice.cfdi_relacionados else None


@of_relacion(
    "CFDI40999",
    20,
    "cfdi_relacionados[].uuids",
    source=XSD,
    fails=_related("E", "01", "9932113E09AC47BA8E8C6F83100C814F"),
    passes=_related("E", "01", _UUID, "0a1b2c3d-09ac-47ba-8e8c-6f83100c814f"),
)
def related_uuids_are_well_formed(place: RelationCase) -> Breaches:
    """Hay al menos un folio fiscal relacionado, y cada uno tiene la forma de un UUID."""
    uuids = place.relation.uuids
    if not uuids:
        return Breach("Falta el folio fiscal de la factura relacionada.", "Agrega al menos uno.")
    return [
        Breach(
            f"El folio fiscal «{uuid[:40]}» no tiene la forma de un folio fiscal."
            if uuid
            else "Falta el folio fiscal de la factura relacionada.",
            f"Cópialo completo de la factura relacionada, por ejemplo {_UUID}.",
            f"{place.path}.uuids[{n}]",
        )
        for n, uuid in enumerate(uuids)
        if _UUID_PATTERN.fullmatch(uuid) is None
    ] or None
