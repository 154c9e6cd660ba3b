"""Rules 43 to 49: the taxes of a line, added and withheld.

A rule's docstring is Spanish, since `docs/validation.md` prints it. Base and importe of a tax are optional in
Apunto's invoice: where they are sent they are compared with ours, where not they are computed and right.
"""

from decimal import Decimal

from cfdi import rfc, wording
from cfdi.amounts import ZERO, decimals_of, rounded, tax_window
from cfdi.document import Retencion
from cfdi.rules import examples as ex
from cfdi.rules.rulebook import (
    BROKEN,
    IEPS,
    Breach,
    Breaches,
    InvoiceCase,
    TaxCase,
    of_comprobante,
    of_retencion,
    of_traslado,
)
from cfdi.sat import catalogs

IVA_RATES = ("0.000000", "0.080000", "0.160000")
"""c_TasaOCuota for IVA traslado, as they have to be printed."""
BORDER_RATE = Decimal("0.080000")
_NO_IEPS = "Un impuesto válido que cambia la base del IVA, y ContaDigital no dice cómo lo calcula"
_WITHHOLDING_LIMITS = {"001": Decimal("0.350000"), "002": Decimal("0.160000")}


def _is_ieps(tax: TaxCase) -> bool:
    return tax.tax.impuesto == IEPS


# --- traslados ----------------------------------------------------------------------------------------


def _base_is_positive(tax: TaxCase, what: str) -> Breaches:
    line = tax.line
    if line.base != 0:  # a negative one is a discount above the importe, and reported as that (CFDI40169)
        return None
    if line.importe_as_shown != 0:
        return Breach(f"Línea {line.number}: la base {what} es cero y tiene que ser mayor que cero.")
    if line.importe != 0 or 0 in (line.concepto.cantidad, line.concepto.valor_unitario):
        return None  # what is wrong is the importe shown, the quantity or the price, and each is reported as that
    return Breach(
        f"Línea {line.number}: el importe se redondea a {line.case.money(ZERO)}, y la base {what} tiene que ser "
        "mayor que cero.",
        "Revisa la cantidad y el precio.",
    )


def _base_differs(tax: TaxCase) -> bool:
    shown = tax.tax.base
    return (
        shown is not None
        and not tax.line.has_ieps
        and rounded(shown, tax.line.case.decimals) != tax.line.base
    )


def _is_taken_from_its_own_base(tax: TaxCase) -> bool:
    """Whether the shown importe follows from the shown base, and not from the line's: another tax than will be sent."""
    shown, base, rate = tax.tax.importe, tax.tax.base, tax.amounts.tasa_o_cuota
    if shown is None or base is None or rate is None or not _base_differs(tax):
        return False
    decimals = tax.line.case.decimals
    low, high = tax_window(tax.line.base, rate, decimals)
    least, most = tax_window(base, rate, decimals)
    return least <= shown <= most and not low <= shown <= high


def _about_base(tax: TaxCase) -> Breach:
    shown, money = tax.tax.base, tax.line.case.money
    return Breach(
        f"Línea {tax.line.number}: la base del impuesto es {money(tax.line.base)} "
        f"y la factura dice {'nada' if shown is None else money(shown)}.",
        field=f"{tax.path}.base",
    )


def _odd_base(tax: TaxCase) -> Breaches:
    return _about_base(tax) if _base_differs(tax) and not _is_taken_from_its_own_base(tax) else None


def _base_of_another_tax(tax: TaxCase) -> Breaches:
    return _about_base(tax) if _is_taken_from_its_own_base(tax) else None


def _importe_as_shown(tax: TaxCase) -> Breaches:
    sent, right, money = tax.tax.importe, tax.amounts.importe, tax.line.case.money
    rate = tax.amounts.tasa_o_cuota
    if sent is None or right is None or rate is None or tax.line.has_ieps or _is_taken_from_its_own_base(tax):
        return None
    low, high = tax_window(tax.amounts.base, rate, tax.line.case.decimals)
    if low <= sent <= high:
        return None
    name = wording.IMPUESTOS.get(tax.tax.impuesto, "impuesto")
    if isinstance(tax.tax, Retencion):
        name += " retenido"
    return Breach(
        f"El {name} de la línea {tax.line.number} no cuadra: {wording.percent(rate)} de {money(tax.amounts.base)} "
        f"son {money(right)} y la factura dice {money(sent)}.",
        detail=f"the SAT's window is {low} to {high}",
    )


@of_traslado(
    "CFDI40174",
    43,
    "conceptos[].traslados[].base",
    fails=ex.taxed(descuento="100.00"),
    passes=ex.line(
        valor_unitario="100.00",
        cantidad="1",
        descuento="100.00",
        objeto_imp="01",
        traslados=[],
        retenciones=[],
    ),
)
def traslado_base_is_positive(tax: TaxCase) -> Breaches:
    """La base de un traslado es mayor que cero."""
    return _base_is_positive(tax, "del impuesto")


@of_traslado(
    "timbrado.base",
    43,
    "conceptos[].traslados[].base",
    source="Anexo 20: la base es el importe menos el descuento; el SAT solo revisa que sea mayor que cero",
    only_warns=True,
    fails=ex.taxed(ex.IVA | {"base": "116.00"}),
    passes=ex.taxed(ex.IVA | {"base": "90.000001"}, descuento="10.00"),
)
def traslado_base_is_importe_less_descuento(tax: TaxCase) -> Breaches:
    """La base que se mostró de un traslado es el importe menos el descuento; si cuadra, solo es un aviso."""
    return _odd_base(tax)


@of_traslado(
    "timbrado.base",
    43,
    "conceptos[].traslados[].base",
    source="ContaDigital calcula el impuesto sobre el importe menos el descuento: timbraría otro",
    fails=ex.taxed(ex.IVA | {"base": "50.00", "importe": "8.00"}),
    passes=ex.taxed(ex.IVA | {"base": "100.00", "importe": "16.00"}),
)
def traslado_is_taken_from_the_line(tax: TaxCase) -> Breaches:
    """El impuesto que se mostró no se calculó sobre otra base que el importe menos el descuento."""
    return _base_of_another_tax(tax)


@of_traslado(
    "CFDI40175",
    43,
    "conceptos[].traslados[].impuesto",
    fails=ex.taxed(ex.IVA | {"impuesto": "001"}),
    passes=ex.taxed(),
)
def traslado_is_iva_or_ieps(tax: TaxCase) -> Breaches:
    """El impuesto trasladado es 002 (IVA) o 003 (IEPS)."""
    return None if tax.tax.impuesto in ("002", IEPS) else BROKEN


@of_traslado(
    "timbrado.ieps_no_admitido",
    None,
    "conceptos[].traslados[].impuesto",
    source=_NO_IEPS,
    fails=ex.taxed(ex.IVA | {"impuesto": "003", "tasa_o_cuota": "0.080000"}),
    passes=ex.taxed(),
)
def traslado_is_not_ieps(tax: TaxCase) -> Breaches:
    """El impuesto trasladado no es IEPS."""
    return (
        Breach(f"Línea {tax.line.number}: el IEPS no se puede timbrar desde aquí.") if _is_ieps(tax) else None
    )


@of_traslado(
    "CFDI40176",
    43,
    "conceptos[].traslados[].tipo_factor",
    fails=ex.taxed(ex.IVA | {"tipo_factor": "Cuota"}),
    passes=ex.taxed(ex.EXEMPT),
)
def traslado_is_tasa_or_exento(tax: TaxCase) -> Breaches:
    """El tipo de factor de un traslado es Tasa o Exento."""
    return None if tax.tax.tipo_factor in ("Tasa", "Exento") or _is_ieps(tax) else BROKEN


@of_traslado(
    "CFDI40177",
    44,
    "conceptos[].traslados[].tasa_o_cuota",
    fails=ex.taxed(ex.EXEMPT | {"tasa_o_cuota": "0.000000"}),
    passes=ex.taxed(ex.EXEMPT | {"base": "100.00"}),
)
def exempt_has_neither_rate_nor_importe(tax: TaxCase) -> Breaches:
    """Un traslado exento no lleva tasa ni importe."""
    given = tax.tax
    if given.tipo_factor != "Exento" or (given.tasa_o_cuota is None and given.importe is None):
        return None
    if given.tasa_o_cuota is None:
        return Breach(field=f"{tax.path}.importe")
    return BROKEN


@of_traslado(
    "CFDI40178",
    45,
    "conceptos[].traslados[].tasa_o_cuota",
    fails=ex.taxed(ex.IVA | {"tasa_o_cuota": None}),
    passes=ex.taxed(ex.IVA | {"tasa_o_cuota": "0.000000"}),
)
def tasa_has_its_rate(tax: TaxCase) -> Breaches:
    """Un traslado con factor Tasa lleva su tasa."""
    if tax.tax.tipo_factor != "Tasa" or tax.tax.tasa_o_cuota is not None or _is_ieps(tax):
        return None
    return BROKEN


@of_traslado(
    "CFDI40179",
    46,
    "conceptos[].traslados[].tasa_o_cuota",
    fails=ex.taxed(ex.IVA | {"tasa_o_cuota": "0.16"}),
    passes=ex.taxed(),
)
def iva_rate_is_one_of_the_catalogue(tax: TaxCase) -> Breaches:
    """La tasa de IVA es exactamente 0.000000, 0.080000 o 0.160000."""
    rate = tax.tax.tasa_o_cuota
    if tax.tax.tipo_factor != "Tasa" or rate is None or tax.tax.impuesto != "002" or str(rate) in IVA_RATES:
        return None
    meant = next((known for known in IVA_RATES if Decimal(known) in (rate, rate / 100)), None)
    if meant is not None and Decimal(meant) == rate:
        return Breach(
            f"Apunto envió mal la tasa de IVA de la línea {tax.line.number}.",
            "No es culpa tuya: escribe a soporte de Apunto con el identificador de la factura.",
            whose="apunto",
            detail=f'{rate} has not the six decimals of c_TasaOCuota: send "{meant}"',
        )
    shown = wording.percent(rate) if rate <= 1 else f"{rate.normalize():f}"
    return Breach(
        f"Línea {tax.line.number}: {shown} no es una tasa de IVA de las que admite el SAT.",
        detail=f'send "{meant}"' if meant else "",
    )


@of_traslado(
    "CFDI40179",
    49,
    "conceptos[].traslados[].tasa_o_cuota",
    source="Estímulo fiscal de la región fronteriza; c_CodigoPostal",
    fails={"lugar_expedicion": "64000"} | ex.taxed(ex.IVA | {"tasa_o_cuota": "0.080000"}),
    passes={"lugar_expedicion": "22000", "fecha": None} | ex.taxed(ex.IVA | {"tasa_o_cuota": "0.080000"}),
)
def border_rate_is_for_the_border(tax: TaxCase) -> Breaches:
    """El IVA de 8 % es solo para lugares de expedición en la región fronteriza."""
    if tax.tax.tasa_o_cuota != BORDER_RATE or tax.tax.impuesto != "002":
        return None
    lugar = tax.line.case.invoice.lugar_expedicion
    place = catalogs.postcode(lugar)
    if place is None or place.is_border:
        return None
    return Breach(
        f"Línea {tax.line.number}: el código postal {lugar} no está en la región fronteriza del IVA de 8 %.",
        "Usa 16 %, o corrige el lugar de expedición.",
    )


@of_traslado(
    "CFDI40180",
    47,
    "conceptos[].traslados[].importe",
    source="Anexo 20, límites del importe",
    fails=ex.taxed(ex.IVA | {"importe": "16.50"}),
    passes=ex.taxed(ex.IVA | {"importe": "16.00"}),
)
def traslado_importe_is_inside_its_window(tax: TaxCase) -> Breaches:
    """El importe que se mostró de un traslado es base × tasa, en la ventana que admite el SAT."""
    return _importe_as_shown(tax)


# --- retenciones --------------------------------------------------------------------------------------


@of_retencion(
    "CFDI40181",
    48,
    "conceptos[].retenciones[].base",
    fails=ex.taxed(None, ex.WITHHELD, descuento="100.00"),
    passes=ex.taxed(None, ex.WITHHELD, descuento="99.00"),
)
def retencion_base_is_positive(tax: TaxCase) -> Breaches:
    """La base de una retención es mayor que cero."""
    return _base_is_positive(tax, "de la retención")


@of_retencion(
    "timbrado.base",
    48,
    "conceptos[].retenciones[].base",
    source="Anexo 20: la base es el importe menos el descuento; el SAT solo revisa que sea mayor que cero",
    only_warns=True,
    fails=ex.taxed(None, ex.WITHHELD | {"base": "50.00"}),
    passes=ex.taxed(None, ex.WITHHELD | {"base": "100.000001"}),
)
def retencion_base_is_importe_less_descuento(tax: TaxCase) -> Breaches:
    """La base que se mostró de una retención es el importe menos el descuento; si cuadra, solo es un aviso."""
    return _odd_base(tax)


@of_retencion(
    "timbrado.base",
    48,
    "conceptos[].retenciones[].base",
    source="ContaDigital calcula el impuesto sobre el importe menos el descuento: timbraría otro",
    fails=ex.taxed(None, ex.WITHHELD | {"base": "50.00", "importe": "2.00"}),
    passes=ex.taxed(None, ex.WITHHELD | {"base": "100.00", "importe": "4.00"}),
)
def retencion_is_taken_from_the_line(tax: TaxCase) -> Breaches:
    """La retención que se mostró no se calculó sobre otra base que el importe menos el descuento."""
    return _base_of_another_tax(tax)


@of_retencion(
    "CFDI40182",
    48,
    "conceptos[].retenciones[].impuesto",
    fails=ex.taxed(None, ex.WITHHELD | {"impuesto": "004"}),
    passes=ex.taxed(None, ex.WITHHELD | {"impuesto": "001", "tasa_o_cuota": "0.100000"}),
)
def retencion_is_isr_iva_or_ieps(tax: TaxCase) -> Breaches:
    """El impuesto retenido es 001 (ISR), 002 (IVA) o 003 (IEPS)."""
    return None if tax.tax.impuesto in (*_WITHHOLDING_LIMITS, IEPS) else BROKEN


@of_retencion(
    "timbrado.ieps_no_admitido",
    None,
    "conceptos[].retenciones[].impuesto",
    source=_NO_IEPS,
    fails=ex.taxed(None, ex.WITHHELD | {"impuesto": "003"}),
    passes=ex.taxed(None, ex.WITHHELD),
)
def retencion_is_not_ieps(tax: TaxCase) -> Breaches:
    """El impuesto retenido no es IEPS."""
    return (
        Breach(f"Línea {tax.line.number}: el IEPS no se puede timbrar desde aquí.") if _is_ieps(tax) else None
    )


@of_retencion(
    "CFDI40183",
    48,
    "conceptos[].retenciones[].tipo_factor",
    fails=ex.taxed(None, ex.WITHHELD | {"tipo_factor": "Cuota"}),
    passes=ex.taxed(None, ex.WITHHELD),
)
def retencion_is_tasa(tax: TaxCase) -> Breaches:
    """El tipo de factor de una retención es Tasa."""
    return None if tax.tax.tipo_factor in ("Tasa", "Exento") or _is_ieps(tax) else BROKEN


@of_retencion(
    "CFDI40184",
    48,
    "conceptos[].retenciones[].tipo_factor",
    fails=ex.taxed(None, {"impuesto": "002", "tipo_factor": "Exento"}),
    passes=ex.taxed(None, ex.WITHHELD),
)
def retencion_is_not_exempt(tax: TaxCase) -> Breaches:
    """Una retención no es exenta."""
    return BROKEN if tax.tax.tipo_factor == "Exento" else None


@of_retencion(
    "CFDI40185",
    48,
    "conceptos[].retenciones[].tasa_o_cuota",
    fails=ex.taxed(None, ex.WITHHELD | {"tasa_o_cuota": "0.04"}),
    passes=ex.taxed(None, ex.WITHHELD | {"tasa_o_cuota": "0.106667"}),
)
def retencion_rate_is_in_its_range(tax: TaxCase) -> Breaches:
    """La tasa retenida tiene seis decimales: ISR hasta 0.350000, IVA hasta 0.160000."""
    rate, limit = tax.tax.tasa_o_cuota, _WITHHOLDING_LIMITS.get(tax.tax.impuesto)
    if tax.tax.tipo_factor != "Tasa" or limit is None:
        return None
    where = f"Línea {tax.line.number}:"
    if rate is None:
        return Breach(f"{where} falta la tasa de la retención.")
    if rate > limit:
        most, name = wording.percent(limit), wording.IMPUESTOS[tax.tax.impuesto]
        shown = wording.percent(rate) if rate <= 1 else f"{rate.normalize():f}"
        return Breach(f"{where} la retención de {name} es de {shown} y el SAT admite hasta {most}.")
    if decimals_of(rate) != 6:
        return Breach(
            f"Apunto envió mal la tasa de una retención de la línea {tax.line.number}.",
            "No es culpa tuya: escribe a soporte de Apunto con el identificador de la factura.",
            whose="apunto",
            detail=f'{rate} has not the six decimals of c_TasaOCuota: send "{rate:.6f}"',
        )
    return None


@of_retencion(
    "timbrado.retencion_cero",
    48,
    "conceptos[].retenciones[].tasa_o_cuota",
    source="Contrato de ContaDigital: una tasa de 0 es no retener",
    fails=ex.taxed(None, ex.WITHHELD | {"tasa_o_cuota": "0.000000"}),
    passes=ex.taxed(None, ex.WITHHELD | {"tasa_o_cuota": "0.000001"}),
)
def retencion_withholds_something(tax: TaxCase) -> Breaches:
    """Una retención tiene una tasa mayor que cero."""
    rate = tax.tax.tasa_o_cuota
    return BROKEN if rate is not None and rate == 0 else None


@of_retencion(
    "CFDI40186",
    48,
    "conceptos[].retenciones[].importe",
    source="Anexo 20, límites del importe",
    fails=ex.taxed(None, ex.WITHHELD | {"importe": "4.50"}),
    passes=ex.taxed(None, ex.WITHHELD | {"importe": "4.00"}),
)
def retencion_importe_is_inside_its_window(tax: TaxCase) -> Breaches:
    """El importe que se mostró de una retención es base × tasa, en la ventana que admite el SAT."""
    return _importe_as_shown(tax)


# --- RESICO -------------------------------------------------------------------------------------------

RESICO, RESICO_RATE = "626", Decimal("0.0125")


@of_comprobante(
    "CFDI140225",
    None,
    "conceptos[].retenciones",
    only_warns=True,
    source="Matriz de errores CFDI 4.0 de 2024-12-13, renglón 125; LISR 113-J",
    fails={"emisor.rfc": "CACX7605101P8", "emisor.regimen_fiscal": "626", "receptor.rfc": "XIA190128J61"}
    | ex.taxed(),
    passes={"emisor.rfc": "CACX7605101P8", "emisor.regimen_fiscal": "626", "receptor.rfc": "XIA190128J61"}
    | ex.taxed(None, {"impuesto": "001", "tipo_factor": "Tasa", "tasa_o_cuota": "0.012500"}),
)
def a_person_in_resico_is_withheld_from(case: InvoiceCase) -> Breaches:
    """Una persona física en RESICO (626) que factura a una persona moral lleva retención de ISR de 1.25 %."""
    issuer, receptor = case.issuer, case.invoice.receptor
    if issuer is None or issuer.regimen_fiscal != RESICO or case.invoice.tipo_de_comprobante != "I":
        return None
    if rfc.persona(issuer.rfc) != "fisica" or rfc.persona(receptor.rfc) != "moral":
        return None
    for line in case.lines:
        taxes = line.concepto.retenciones
        rates = [tax.tasa_o_cuota for tax in taxes if tax.impuesto == "001"]
        if (
            rates == [RESICO_RATE] or line.concepto.objeto_imp != "02"
        ):  # the others may carry no tax (CFDI40172)
            continue
        field = f"{line.path}.retenciones"
        if not rates or rates[0] is None:
            fix = "Agrega a cada línea la retención de ISR de 1.25 %, salvo que tu cliente no deba retener."
            return Breach(fix=fix, field=field)
        return Breach(
            f"Línea {line.number}: una persona física en RESICO (626) que factura a una empresa lleva una retención "
            f"de ISR de 1.25 %, y esta es de {wording.percent(rates[0])}.",
            "Cambia la retención de ISR a 1.25 %.",
            field,
        )
    return None
