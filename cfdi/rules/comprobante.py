"""Rules 1 to 17: the Comprobante itself, its dates, its payment and its totals.

A rule's docstring is Spanish, since `docs/validation.md` prints it. The order is that of `rules`.
"""

import re
from datetime import timedelta
from decimal import Decimal

from cfdi.amounts import Amounts, decimals_of
from cfdi.characters import complaint
from cfdi.rules.rulebook import (
    APUNTO,
    BROKEN,
    GUIA,
    XSD,
    YEARS,
    Breach,
    Breaches,
    InvoiceCase,
    of_comprobante,
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
def identifiers_can_be_told_apart(case: InvoiceCase) -> Breaches:
    """La cuenta y el identificador tienen de 1 a 100 caracteres visibles."""
    found = []
    for field, what in (("account", "La cuenta"), ("external_id", "El identificador de la factura")):
        message = complaint(what, getattr(case.invoice, field).replace("|", "/"), 100)  # not in the XML
        if message:
            found.append(Breach(message, field=field))
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
    message = "" if serie is None else complaint("La serie", serie, 25)
    return Breach(message, "Elige en ContaDigital una serie de 1 a 25 letras o números.") if message else None


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
    return Breach(f"El año {fecha.year} de la fecha no es posible en un CFDI 4.0.")


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
    hours = (case.now - end + zones.STAMPING_PERIOD) // timedelta(hours=1)
    return Breach(
        f"La fecha {case.fecha:%Y-%m-%d %H:%M} tiene {hours} horas y el SAT solo admite 72.",
        "Usa la fecha y hora actuales, o déjala vacía.",
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
        f"La fecha {case.fecha:%Y-%m-%d %H:%M} está en el futuro: "
        f"en el lugar de expedición son las {now:%H:%M} del {now:%Y-%m-%d}.",
        "Usa la fecha y hora actuales, o déjala vacía.",
    )


# --- pago ---------------------------------------------------------------------------------------------


@of_comprobante(
    "CFDI40104",
    4,
    "forma_pago",
    fails={"forma_pago": "07"},
    passes={"metodo_pago": "PUE", "forma_pago": "31"},
)
def forma_pago_is_in_force(case: InvoiceCase) -> Breaches:
    """La forma de pago está vigente en c_FormaPago."""
    return None if case.invoice.forma_pago in catalogs.formas_pago() else BROKEN


@of_comprobante(
    "CFDI40124",
    5,
    "metodo_pago",
    fails={"metodo_pago": "PIP"},
    passes={"metodo_pago": "PPD", "forma_pago": "99"},
)
def metodo_pago_is_known(case: InvoiceCase) -> Breaches:
    """El método de pago es PUE o PPD."""
    return None if case.invoice.metodo_pago in ("PUE", "PPD") else BROKEN


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
    source=GUIA,
    fails={"metodo_pago": "PUE", "forma_pago": "99"},
    passes={"metodo_pago": "PUE", "forma_pago": "01"},
)
def pue_tells_its_forma_pago(case: InvoiceCase) -> Breaches:
    """Con método de pago PUE la forma de pago no es 99."""
    return BROKEN if case.invoice.metodo_pago == "PUE" and case.invoice.forma_pago == "99" else None


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
    message = "" if text is None else complaint("El texto de las condiciones de pago", text, 1000)
    return Breach(message, "Corrige las condiciones de pago o déjalas vacías.") if message else None


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
    return BROKEN if moneda == "XXX" or catalogs.currency(moneda) is None else None


@of_comprobante(
    "CFDI40114",
    9,
    "tipo_cambio",
    fails={"moneda": "MXN", "tipo_cambio": "18.50"},
    passes={"moneda": "MXN", "tipo_cambio": "1"},
)
def pesos_need_no_tipo_cambio(case: InvoiceCase) -> Breaches:
    """En MXN el tipo de cambio se omite o es exactamente 1."""
    rate = case.invoice.tipo_cambio
    return BROKEN if case.invoice.moneda == "MXN" and rate is not None and str(rate) != "1" else None


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
    passes={"moneda": "EUR", "tipo_cambio": "0.000001"},
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
    return Breach(f"El tipo de cambio {rate} se aleja más de 5 % del publicado ({published}).")


@of_comprobante(
    "CFDI40127", 11, "confirmacion", fails={"confirmacion": "ECVH1"}, passes={"confirmacion": None}
)
def confirmacion_is_never_sent(case: InvoiceCase) -> Breaches:
    """La factura no lleva clave de confirmación."""
    return None if case.invoice.confirmacion is None else BROKEN


# --- totales ------------------------------------------------------------------------------------------


def _cents(difference: Decimal, amounts: Amounts) -> str:
    """Say so where a sum is off by no more than its roundings can explain."""
    roundings = sum(1 + len(line.traslados) + len(line.retenciones) for line in amounts.lines)
    if abs(difference) > roundings * Decimal(1).scaleb(-amounts.decimals):
        return ""
    return (
        f"Son centavos de redondeo: redondea cada importe a {amounts.decimals} decimales "
        "(la mitad, hacia arriba) y luego suma."
    )


@of_comprobante("CFDI40107", 12, "subtotal", fails={"subtotal": "15000.000"}, passes={"subtotal": "15000.0"})
def subtotal_has_the_decimals_of_the_currency(case: InvoiceCase) -> Breaches:
    """El subtotal no tiene más decimales que la moneda."""
    subtotal = case.invoice.subtotal
    if decimals_of(subtotal) <= case.decimals:
        return None
    return Breach(
        f"El subtotal {subtotal} tiene más de {case.decimals} decimales, los de {case.invoice.moneda}."
    )


@of_comprobante("CFDI40108", 12, "subtotal", fails={"subtotal": "15000.01"}, passes={"subtotal": "15000"})
def subtotal_is_the_sum_of_the_lines(case: InvoiceCase) -> Breaches:
    """El subtotal es la suma exacta de los importes de los conceptos, ya redondeados."""
    sent, right = case.invoice.subtotal, case.amounts.subtotal
    if sent == right:
        return None
    lines = case.amounts.lines
    shown = " + ".join(str(line.importe) for line in lines) if 1 < len(lines) <= 5 else "Los conceptos suman"
    equals = "=" if 1 < len(lines) <= 5 else ""
    message = " ".join(part for part in (shown, equals, f"{right}, se recibió {sent}.") if part)
    return Breach(message, _cents(sent - right, case.amounts))


@of_comprobante(
    "CFDI40110",
    13,
    "descuento",
    fails={"descuento": "999999999999.00"},
    passes={"conceptos[0].descuento": "100.00", "descuento": "100.00"},
)
def descuento_is_not_above_subtotal(case: InvoiceCase) -> Breaches:
    """El descuento no es mayor que el subtotal."""
    sent, amounts = case.invoice.descuento, case.amounts
    worst = max(amounts.descuento, sent or amounts.descuento)
    return (
        Breach(f"El descuento {worst} es mayor que el subtotal {amounts.subtotal}.")
        if worst > amounts.subtotal
        else None
    )


@of_comprobante(
    "CFDI40111",
    13,
    "descuento",
    fails={"conceptos[0].descuento": None, "descuento": "5.00"},
    passes={"conceptos[0].descuento": "5.00", "descuento": "5.00"},
)
def descuento_is_the_sum_of_the_lines(case: InvoiceCase) -> Breaches:
    """El descuento de la factura es la suma de los descuentos de los conceptos."""
    sent, right = case.invoice.descuento, case.amounts.descuento
    if sent is None or sent == right:
        return None
    return Breach(f"Los descuentos de los conceptos suman {right}, se recibió {sent}.")


@of_comprobante(
    "CFDI40112",
    13,
    "descuento",
    fails={"descuento": "0.000"},
    passes={"conceptos[0].descuento": "0.00", "descuento": "0.00"},
)
def descuento_has_the_decimals_of_the_currency(case: InvoiceCase) -> Breaches:
    """El descuento no tiene más decimales que la moneda."""
    sent = case.invoice.descuento
    if sent is None or decimals_of(sent) <= case.decimals:
        return None
    return Breach(
        f"El descuento {sent} tiene más de {case.decimals} decimales, los de {case.invoice.moneda}."
    )


@of_comprobante("CFDI40119", 14, "total", fails={"total": "16800.01"}, passes={"total": "16800"})
def total_adds_up(case: InvoiceCase) -> Breaches:
    """El total es subtotal − descuento + impuestos trasladados − impuestos retenidos, exacto."""
    sent, sums = case.invoice.total, case.amounts
    if sent == sums.total:
        return None
    nothing = sums.total - sums.total  # with as many decimals as the rest
    charged, withheld = sums.total_trasladados or nothing, sums.total_retenidos or nothing
    parts = f"{sums.subtotal} - {sums.descuento} + {charged} - {withheld} = {sums.total}"
    return Breach(
        f"Subtotal - descuento + traslados - retenciones: {parts}, se recibió {sent}.",
        _cents(sent - sums.total, sums),
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
def exportacion_does_not_apply(case: InvoiceCase) -> Breaches:
    """La exportación es 01: las demás no se timbran desde Apunto."""
    exportacion = case.invoice.exportacion
    if exportacion in ("01", "02"):
        return None
    if exportacion in catalogs.exportaciones():
        return Breach(f"La clave de exportación {exportacion} no se puede timbrar desde Apunto.")
    return BROKEN


@of_comprobante(
    "CFDI40126",
    17,
    "lugar_expedicion",
    fails={"lugar_expedicion": "00001"},
    passes={"lugar_expedicion": "22000", "fecha": "2026-11-23T08:15:00-08:00"},
)
def lugar_expedicion_is_a_postcode(case: InvoiceCase) -> Breaches:
    """El lugar de expedición está en c_CodigoPostal."""
    return None if catalogs.postcode(case.invoice.lugar_expedicion) else BROKEN


# --- envío --------------------------------------------------------------------------------------------

_EMAIL = re.compile(r"[^@\s,;<>|]+@[^@\s,;<>|.]+(\.[^@\s,;<>|.]+)+")


@of_comprobante(
    "timbrado.correo",
    None,
    "send_to",
    source=APUNTO,
    fails={"send_to": ["cliente@ejemplo"]},
    passes={"send_to": ["cuentas.por-pagar@ejemplo.com.mx"], "receptor.email": "a@b.mx"},
)
def addresses_are_well_formed(case: InvoiceCase) -> Breaches:
    """Los correos están bien escritos."""
    invoice = case.invoice
    addresses = [(f"send_to[{n}]", address) for n, address in enumerate(invoice.send_to)]
    if invoice.receptor.email is not None:
        addresses.append(("receptor.email", invoice.receptor.email))
    return [
        Breach(f"El correo «{address[:60]}» no está bien escrito.", field=field)
        for field, address in addresses
        if len(address) > 254 or _EMAIL.fullmatch(address) is None
    ] or None
