"""Rules 1 to 17: the Comprobante itself, its dates, its payment and its totals.

A rule's docstring is Spanish, since `docs/validation.md` prints it. The order is that of `rules`.
"""

import re
from datetime import timedelta
from decimal import Decimal

from cfdi import wording
from cfdi.amounts import Amounts, is_in_units
from cfdi.characters import complaint
from cfdi.rules.rulebook import (
    APUNTO,
    BROKEN,
    GUIA,
    NEW_KEYS,
    XSD,
    YEARS,
    Breach,
    Breaches,
    InvoiceCase,
    of_comprobante,
    unknown_key,
)
from cfdi.sat import catalogs, zones

MARGIN = timedelta(hours=1)
"""What a new invoice must have left of its 72 hours, so that a retry still fits in."""
AHEAD = timedelta(minutes=5)
"""How far a clock may run ahead before the SAT calls Fecha future (seen at one PAC)."""


# --- who and in which series --------------------------------------------------------------------------


@of_comprobante(
    "timbrado.identificador",
    None,
    "external_id",
    source=APUNTO,
    fails={"external_id": ""},
    passes={"external_id": "OP 10234/1|ñ"},
)
def identifiers_are_visible(case: InvoiceCase) -> Breaches:
    """La cuenta y el identificador tienen de 1 a 100 caracteres visibles."""
    found = []
    for field, what in (("account", "La cuenta"), ("external_id", "El identificador de la factura")):
        wrong = complaint(what, getattr(case.invoice, field).replace("|", "/"), 100)  # not in the XML
        if wrong:
            found.append(Breach(wrong.message, field=field))
    return found or None


@of_comprobante(
    "CFDI40999",
    1,
    "emisor.serie",
    source=XSD,
    fails={"emisor.serie": "A|B"},
    passes={"emisor.serie": "FLETES-2026"},
)
def serie_fits(case: InvoiceCase) -> Breaches:
    """La serie tiene de 1 a 25 caracteres, sin barra vertical."""
    serie = None if case.issuer is None else case.issuer.serie
    wrong = None if serie is None else complaint("La serie", serie, 25)
    return (
        Breach(wrong.message, "Elige en ContaDigital una serie de 1 a 25 letras o números.")
        if wrong
        else None
    )


# --- fecha --------------------------------------------------------------------------------------------


@of_comprobante(
    "CFDI40101",
    2,
    "fecha",
    source=XSD,
    fails={"fecha": "2009-11-23T10:15:00-06:00"},
    passes={"fecha": "2026-11-23T16:15:00Z"},
)
def fecha_is_in_the_years_of_the_schema(case: InvoiceCase) -> Breaches:
    """La fecha va de 2010 a 2099, con segundos enteros y zona horaria."""
    fecha = case.invoice.fecha
    if fecha is None or fecha.year in YEARS:
        return None
    return Breach(f"El año {fecha.year} de la fecha no es posible en una factura.")


@of_comprobante(
    "CFDI40101",
    3,
    "fecha",
    source="Código 401 de los PAC: 72 horas",
    fails={"fecha": "2026-11-20T11:00:00-06:00"},
    passes={"fecha": "2026-11-20T11:30:00-06:00"},
)
def fecha_is_not_too_old(case: InvoiceCase) -> Breaches:
    """La fecha tiene menos de 71 horas: el SAT admite 72, contadas en el lugar de expedición."""
    if case.invoice.fecha is None:
        return None
    end = zones.deadline(case.fecha, case.invoice.lugar_expedicion)
    if case.now <= end - MARGIN:
        return None
    return Breach(
        f"La factura tiene fecha del {wording.moment(case.fecha)} y el SAT solo acepta las últimas 72 horas.",
        "Usa la fecha de hoy.",
    )


@of_comprobante(
    "CFDI40101",
    3,
    "fecha",
    source="Código 404 de algunos PAC: tolerancia de 5 minutos",
    fails={"fecha": "2026-11-23T10:30:00-06:00"},
    passes={"fecha": "2026-11-23T10:24:00-06:00"},
)
def fecha_is_not_in_the_future(case: InvoiceCase) -> Breaches:
    """La fecha no está en el futuro, en la hora del lugar de expedición."""
    if case.invoice.fecha is None:
        return None
    now = zones.local(case.now, case.invoice.lugar_expedicion)
    if case.fecha <= now + AHEAD:
        return None
    return Breach(
        f"La factura tiene una fecha futura: {wording.moment(case.fecha)}; "
        f"en su lugar de expedición son las {now:%H:%M} del {wording.day(now)}.",
        "Usa la fecha de hoy.",
    )


# --- pago ---------------------------------------------------------------------------------------------


_METODOS = ("PUE", "PPD")


def _is_swapped(case: InvoiceCase) -> bool:
    return case.invoice.forma_pago in _METODOS and case.invoice.metodo_pago not in _METODOS


@of_comprobante(
    "timbrado.pago_al_reves",
    None,
    "forma_pago",
    source=APUNTO,
    fails={"metodo_pago": "03", "forma_pago": "PUE"},
    passes={"metodo_pago": "PUE", "forma_pago": "03"},
)
def forma_and_metodo_pago_are_not_swapped(case: InvoiceCase) -> Breaches:
    """La forma y el método de pago no están al revés."""
    return BROKEN if _is_swapped(case) else None


@of_comprobante(
    "CFDI40104",
    4,
    "forma_pago",
    fails={"forma_pago": "07"},
    passes={"metodo_pago": "PUE", "forma_pago": "31"},
)
def forma_pago_is_in_force(case: InvoiceCase) -> Breaches:
    """La forma de pago está vigente en c_FormaPago."""
    key = case.invoice.forma_pago
    if key in catalogs.formas_pago() or _is_swapped(case) or catalogs.may_be_new("c_FormaPago", key):
        return None
    return Breach(f"La forma de pago «{key[:20]}» no está vigente en el catálogo del SAT.")


@of_comprobante(
    "CFDI40104",
    4,
    "forma_pago",
    only_warns=True,
    source=NEW_KEYS,
    fails={"metodo_pago": "PUE", "forma_pago": "32"},
    passes={"metodo_pago": "PUE", "forma_pago": "31"},
)
def forma_pago_is_known(case: InvoiceCase) -> Breaches:
    """La forma de pago está en nuestros catálogos."""
    return unknown_key(case.invoice.forma_pago, catalogs.formas_pago(), "c_FormaPago", "La forma de pago")


@of_comprobante(
    "CFDI40124",
    5,
    "metodo_pago",
    fails={"metodo_pago": "PIP"},
    passes={"metodo_pago": "PPD", "forma_pago": "99"},
)
def metodo_pago_is_known(case: InvoiceCase) -> Breaches:
    """El método de pago es PUE o PPD."""
    return None if case.invoice.metodo_pago in _METODOS or _is_swapped(case) else BROKEN


@of_comprobante(
    "CFDI40105",
    5,
    "forma_pago",
    fails={"metodo_pago": "PPD", "forma_pago": "03"},
    passes={"metodo_pago": "PPD", "forma_pago": "99"},
)
def ppd_leaves_forma_pago_open(case: InvoiceCase) -> Breaches:
    """Con método de pago PPD la forma de pago es 99."""
    return BROKEN if case.invoice.metodo_pago == "PPD" and case.invoice.forma_pago != "99" else None


@of_comprobante(
    "timbrado.pue_por_definir",
    6,
    "forma_pago",
    source=f"{GUIA}; en un egreso se repite la forma de pago de su ingreso (p. 7)",
    fails={"tipo_de_comprobante": "I", "metodo_pago": "PUE", "forma_pago": "99"},
    passes={
        "tipo_de_comprobante": "E",
        "metodo_pago": "PUE",
        "forma_pago": "99",
        "cfdi_relacionados": {"tipo_relacion": "01", "uuids": ["9932113E-09AC-47BA-8E8C-6F83100C814F"]},
    },
)
def pue_gives_its_forma_pago(case: InvoiceCase) -> Breaches:
    """En un ingreso con método de pago PUE la forma de pago no es 99."""
    invoice = case.invoice
    if invoice.tipo_de_comprobante == "E":  # of a PPD invoice: PUE by appendix 5, 99 as its Ingreso has it
        return None
    return BROKEN if invoice.metodo_pago == "PUE" and invoice.forma_pago == "99" else None


@of_comprobante(
    "CFDI40999",
    7,
    "condiciones_de_pago",
    source=XSD,
    fails={"condiciones_de_pago": "30 días | 2 %"},
    passes={"condiciones_de_pago": "30 días, 2 % por pronto pago"},
)
def condiciones_de_pago_fit(case: InvoiceCase) -> Breaches:
    """Las condiciones de pago tienen de 1 a 1000 caracteres, sin barra vertical."""
    text = case.invoice.condiciones_de_pago
    wrong = None if text is None else complaint("El texto de las condiciones de pago", text, 1000)
    return Breach(*wrong) if wrong else None


# --- moneda -------------------------------------------------------------------------------------------


@of_comprobante(
    "CFDI40113",
    8,
    "moneda",
    fails={"moneda": "XXX"},
    passes={"moneda": "EUR", "tipo_cambio": "20.1234"},
)
def moneda_is_known(case: InvoiceCase) -> Breaches:
    """La moneda está en c_Moneda y no es XXX."""
    moneda = case.invoice.moneda
    if moneda == "XXX" or catalogs.currency(moneda) is None:
        return Breach(f"La moneda «{moneda[:20]}» no está en el catálogo del SAT o no sirve para facturar.")
    return None


@of_comprobante(
    "CFDI40114",
    9,
    "tipo_cambio",
    fails={"moneda": "MXN", "tipo_cambio": "18.50"},
    passes={"moneda": "MXN", "tipo_cambio": "1.000000"},
)
def pesos_need_no_tipo_cambio(case: InvoiceCase) -> Breaches:
    """En MXN el tipo de cambio se omite o es 1, con los decimales que sea: se envía 1."""
    rate = case.invoice.tipo_cambio
    return BROKEN if case.invoice.moneda == "MXN" and rate is not None and rate != 1 else None


@of_comprobante(
    "CFDI40115",
    9,
    "tipo_cambio",
    fails={"moneda": "USD", "tipo_cambio": None},
    passes={"moneda": "USD", "tipo_cambio": "18.2345"},
)
def other_currencies_need_tipo_cambio(case: InvoiceCase) -> Breaches:
    """En otra moneda el tipo de cambio es obligatorio."""
    invoice = case.invoice
    return BROKEN if invoice.moneda not in ("MXN", "XXX") and invoice.tipo_cambio is None else None


@of_comprobante(
    "CFDI40116",
    9,
    "tipo_cambio",
    fails={"moneda": "XXX", "tipo_cambio": "1"},
    passes={"moneda": "EUR", "tipo_cambio": "1"},
)
def no_currency_has_no_tipo_cambio(case: InvoiceCase) -> Breaches:
    """Con moneda XXX no hay tipo de cambio."""
    return BROKEN if case.invoice.moneda == "XXX" and case.invoice.tipo_cambio is not None else None


@of_comprobante(
    "CFDI40117",
    9,
    "tipo_cambio",
    fails={"moneda": "USD", "tipo_cambio": "0.000000"},
    passes={"moneda": "JPY", "tipo_cambio": "0.000001"},
)
def tipo_cambio_is_positive(case: InvoiceCase) -> Breaches:
    """El tipo de cambio es mayor que cero, con hasta 6 decimales."""
    rate = case.invoice.tipo_cambio
    return BROKEN if rate is not None and rate <= 0 else None


@of_comprobante(
    "CFDI40118",
    10,
    "tipo_cambio",
    only_warns=True,
    source=f"{GUIA}: suspendida hasta que el SAT publique el procedimiento",
    fails={"moneda": "USD", "tipo_cambio": "22.00"},
    passes={"moneda": "USD", "tipo_cambio": "18.50"},
)
def tipo_cambio_is_near_the_published(case: InvoiceCase) -> Breaches:
    """El tipo de cambio no se aleja más de 5 % del publicado, donde se conoce."""
    rate, published = case.invoice.tipo_cambio, case.fix_rates.get(case.invoice.moneda)
    if rate is None or published is None or abs(rate - published) <= published * Decimal("0.05"):
        return None
    return Breach(
        f"El tipo de cambio {rate} se aleja más de 5 % del publicado ({published}).",
        "Revisa el tipo de cambio del día; si es el que acordaste, no hagas nada.",
    )


# Units of a currency that have been worth more, or less, than a peso for as long as CFDI exist.
_WORTH_MORE = frozenset(
    {"USD", "EUR", "GBP", "CHF", "CAD", "AUD", "NZD", "SGD", "CNY", "BRL", "PEN", "ILS", "KWD"}
)
_WORTH_LESS = frozenset({"JPY", "KRW", "CLP", "COP", "CRC", "ARS", "PYG", "HUF", "IDR", "VND"})


@of_comprobante(
    "timbrado.tipo_cambio_invertido",
    None,
    "tipo_cambio",
    only_warns=True,
    source="c_Moneda; el tipo de cambio son pesos por unidad",
    fails={"moneda": "USD", "tipo_cambio": "0.0541"},
    passes={"moneda": "JPY", "tipo_cambio": "0.1180"},
)
def tipo_cambio_is_not_inverted(case: InvoiceCase) -> Breaches:
    """El tipo de cambio son los pesos que vale una unidad de la moneda, no al revés."""
    rate, moneda = case.invoice.tipo_cambio, case.invoice.moneda
    if rate is None or rate <= 0:
        return None
    if (moneda in _WORTH_MORE and rate < 1) or (moneda in _WORTH_LESS and rate > 1):
        return Breach(f"El tipo de cambio parece estar al revés: dice que 1 {moneda} vale {rate} pesos.")
    return None


@of_comprobante(
    "CFDI40127", 11, "confirmacion", fails={"confirmacion": "ECVH1"}, passes={"confirmacion": None}
)
def confirmacion_is_never_sent(case: InvoiceCase) -> Breaches:
    """La factura no lleva clave de confirmación."""
    return None if case.invoice.confirmacion is None else BROKEN


# --- totales ------------------------------------------------------------------------------------------


def _roundings(difference: Decimal, sums: Amounts) -> str:
    """Say to a developer where a sum is off by no more than its roundings can explain."""
    count = sum(1 + len(line.traslados) + len(line.retenciones) for line in sums.lines)
    if abs(difference) > count * Decimal(1).scaleb(-sums.decimals):
        return ""
    return (
        f"roundings: give each line amount with {sums.decimals} decimals (half up, or any that the SAT's window "
        "allows) and sum those; sums of unrounded lines are not taken, since the lines go out rounded"
    )


def too_fine(case: InvoiceCase, amount: Decimal | None, what: str) -> Breaches:
    """Find an amount that needs more decimals than the currency has; 1600.0000 needs none."""
    if amount is None or is_in_units(amount, case.decimals):
        return None
    if case.decimals == 0:
        return Breach(f"{what}, {case.money(amount)}, lleva decimales y {case.invoice.moneda} no los tiene.")
    return Breach(f"{what}, {case.money(amount)}, tiene más de {case.decimals} decimales.")


@of_comprobante(
    "CFDI40107", 12, "subtotal", fails={"subtotal": "15000.001"}, passes={"subtotal": "15000.000000"}
)
def subtotal_has_the_decimals_of_the_currency(case: InvoiceCase) -> Breaches:
    """El subtotal no necesita más decimales que los de la moneda."""
    return too_fine(case, case.invoice.subtotal, "El subtotal")


@of_comprobante("CFDI40108", 12, "subtotal", fails={"subtotal": "15000.01"}, passes={"subtotal": "15000"})
def subtotal_is_the_sum_of_the_lines(case: InvoiceCase) -> Breaches:
    """El subtotal es la suma exacta de los importes de los conceptos, ya redondeados."""
    sent, right = case.invoice.subtotal, case.amounts.subtotal
    if case.agree(sent, lambda sums: sums.subtotal):
        return None
    return Breach(
        f"El subtotal no cuadra: las líneas suman {case.money(right)} y la factura dice {case.money(sent)}.",
        detail=_roundings(sent - right, case.amounts),
    )


@of_comprobante(
    "CFDI40110",
    13,
    "descuento",
    fails={"descuento": "999999999999.00"},
    passes={"conceptos[0].descuento": "100.00", "descuento": "100.00"},
)
def descuento_is_not_above_subtotal(case: InvoiceCase) -> Breaches:
    """El descuento no es mayor que el subtotal."""
    sent, sums = case.invoice.descuento, case.amounts
    worst = max(sums.descuento, sent or sums.descuento)
    if worst <= sums.subtotal:
        return None
    return Breach(
        f"El descuento, {case.money(worst)}, es mayor que el subtotal, {case.money(sums.subtotal)}."
    )


@of_comprobante(
    "CFDI40111",
    13,
    "descuento",
    fails={"conceptos[0].descuento": None, "descuento": "123456.00"},
    passes={"conceptos[0].descuento": "5.00", "descuento": "5.00"},
)
def descuento_is_the_sum_of_the_lines(case: InvoiceCase) -> Breaches:
    """El descuento de la factura es la suma de los descuentos de los conceptos."""
    sent, right = case.invoice.descuento, case.amounts.descuento
    if sent is None or sent == right:
        return None
    return Breach(
        f"Los descuentos de las líneas suman {case.money(right)} y la factura dice {case.money(sent)}."
    )


@of_comprobante(
    "CFDI40112",
    13,
    "descuento",
    fails={"descuento": "0.001"},
    passes={"conceptos[0].descuento": "0.00", "descuento": "0.0000"},
)
def descuento_has_the_decimals_of_the_currency(case: InvoiceCase) -> Breaches:
    """El descuento no necesita más decimales que los de la moneda."""
    return too_fine(case, case.invoice.descuento, "El descuento")


@of_comprobante("CFDI40119", 14, "total", fails={"total": "16800.01"}, passes={"total": "16800"})
def total_adds_up(case: InvoiceCase) -> Breaches:
    """El total es subtotal − descuento + impuestos trasladados − impuestos retenidos, exacto."""
    sent, sums = case.invoice.total, case.amounts
    if case.agree(sent, lambda each: each.total):
        return None
    nothing = sums.total - sums.total  # with as many decimals as the rest
    charged, withheld = sums.total_trasladados or nothing, sums.total_retenidos or nothing
    parts = f"{sums.subtotal} - {sums.descuento} + {charged} - {withheld} = {sums.total}"
    roundings = _roundings(sent - sums.total, sums)
    return Breach(
        f"El total no cuadra: debe ser {case.money(sums.total)} y la factura dice {case.money(sent)}.",
        detail=f"subtotal - descuento + traslados - retenciones: {parts}"
        + (f"; {roundings}" if roundings else ""),
    )


# --- tipo y lugar -------------------------------------------------------------------------------------


@of_comprobante(
    "CFDI40121",
    15,
    "tipo_de_comprobante",
    fails={"tipo_de_comprobante": "P"},
    passes={"tipo_de_comprobante": "I"},
)
def tipo_is_ingreso_or_egreso(case: InvoiceCase) -> Breaches:
    """El tipo de comprobante es I o E."""
    return None if case.invoice.tipo_de_comprobante in ("I", "E") else BROKEN


@of_comprobante("CFDI40122", 16, "exportacion", fails={"exportacion": "02"}, passes={"exportacion": "01"})
def exportacion_needs_no_complement(case: InvoiceCase) -> Breaches:
    """La exportación no es 02, que pide el complemento de comercio exterior."""
    return BROKEN if case.invoice.exportacion == "02" else None


@of_comprobante("CFDI40123", 16, "exportacion", fails={"exportacion": "1"}, passes={"exportacion": "01"})
def exportacion_is_known(case: InvoiceCase) -> Breaches:
    """La exportación está en c_Exportacion."""
    exportacion = case.invoice.exportacion
    if exportacion in catalogs.exportaciones():
        return None
    return Breach(f"La clave de exportación «{exportacion[:20]}» no está en el catálogo del SAT.")


@of_comprobante(
    "timbrado.exportacion_no_admitida",
    None,
    "exportacion",
    source="c_Exportacion: 03 y 04 piden datos que Apunto no maneja",
    fails={"exportacion": "03"},
    passes={"exportacion": "01"},
)
def exportacion_does_not_apply(case: InvoiceCase) -> Breaches:
    """La exportación es 01: las demás no se timbran desde Apunto."""
    exportacion = case.invoice.exportacion
    return BROKEN if exportacion not in ("01", "02") and exportacion in catalogs.exportaciones() else None


@of_comprobante(
    "CFDI40126",
    17,
    "lugar_expedicion",
    fails={"lugar_expedicion": "6400"},
    passes={"lugar_expedicion": "22000", "fecha": "2026-11-23T08:15:00-08:00"},
)
def lugar_expedicion_is_a_postcode(case: InvoiceCase) -> Breaches:
    """El lugar de expedición es un código postal de 5 dígitos."""
    place = case.invoice.lugar_expedicion
    if catalogs.postcode(place) is not None or catalogs.may_be_new("c_CodigoPostal", place):
        return None
    return Breach(f"El lugar de expedición, «{place[:20]}», no es un código postal de 5 dígitos.")


@of_comprobante(
    "CFDI40126",
    17,
    "lugar_expedicion",
    only_warns=True,
    source=NEW_KEYS,
    fails={"lugar_expedicion": "95660"},
    passes={"lugar_expedicion": "64000"},
)
def lugar_expedicion_is_known(case: InvoiceCase) -> Breaches:
    """El lugar de expedición está en nuestros catálogos; si no, se usa la hora de los códigos postales vecinos."""
    place = case.invoice.lugar_expedicion
    if catalogs.postcode(place) is not None or not catalogs.may_be_new("c_CodigoPostal", place):
        return None
    return Breach(
        f"El código postal {place} del lugar de expedición no está en nuestro catálogo.",
        "Si es nuevo, no hagas nada; si no, escribe el del domicilio desde donde facturas.",
    )


# --- envío --------------------------------------------------------------------------------------------

_EMAIL = re.compile(r"[^@\s,;<>|]+@[^@\s,;<>|.]+(\.[^@\s,;<>|.]+)+")
_BETWEEN_EMAILS = re.compile(r"[\s,;/|]+")


@of_comprobante(
    "timbrado.correo",
    None,
    "send_to",
    source=APUNTO,
    fails={"send_to": ["cliente@ejemplo"]},
    passes={"send_to": ["cuentas.por-pagar@ejemplo.com.mx", ""], "receptor.email": "a@b.mx"},
)
def addresses_are_well_formed(case: InvoiceCase) -> Breaches:
    """Los correos están bien escritos, uno por campo; un campo vacío no es un error."""
    invoice = case.invoice
    addresses = [(f"send_to[{n}]", address) for n, address in enumerate(invoice.send_to) if address]
    if invoice.receptor.email is not None:
        addresses.append(("receptor.email", invoice.receptor.email))
    return [
        _about_address(field, address)
        for field, address in addresses
        if len(address) > 254 or _EMAIL.fullmatch(address) is None
    ] or None


def _about_address(field: str, address: str) -> Breach:
    several = [each for each in _BETWEEN_EMAILS.split(address) if each]
    if len(several) > 1 and all(_EMAIL.fullmatch(each) for each in several):
        if field == "receptor.email":
            fix = "Deja uno solo y escribe los demás en los correos a los que se envía."
        else:
            fix = "Escribe cada correo en su propio campo."
        return Breach(f"Hay {len(several)} correos en un mismo campo.", fix, field)
    return Breach(f"El correo «{address[:60]}» no está bien escrito.", field=field)
