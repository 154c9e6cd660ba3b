"""The words of every code: where it points in Apunto's invoice, what is wrong, what to do, and who can do it.

One table for both directions. A rule of ours that refuses an invoice before the call, and the SAT's own
refusal after it, say the same thing in the same words; a rule that knows the amounts adds them.
Source: the SAT's Matriz de Errores CFDI 4.0, editions of 13 December 2024 and 25 March 2026, put into a user's words.
`conceptos[]` stands for any line. Codes are the SAT's and never change meaning, so a row is reworded here and never
renumbered. docs/textos.md prints all of them on one page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cfdi.faults import Whose


@dataclass(frozen=True, slots=True)
class CodeWords:
    """What one code says to Apunto's user."""

    field: str
    message: str
    fix: str
    whose: Whose = "user"
    """Who can correct it."""


_SUPPORT = "Escribe a soporte de Apunto con el identificador de la factura."
_NOT_YOURS = "No es culpa tuya: escribe a soporte de Apunto con el identificador de la factura."
_CONSTANCIA = "Cópialo de la Constancia de Situación Fiscal del cliente, en sus datos fiscales de Apunto."
_NOT_SENT = "Apunto no envía ese dato. " + _SUPPORT
_SUMS = (
    "Si tú no capturaste esta cantidad, es un error de Apunto: escribe a soporte con el identificador de la "
    "factura."
)

_LINE_SUMS = f"Revisa que el precio no incluya impuestos. {_SUMS}"
_RESICO = (
    "Una persona física en RESICO (626) que factura a una empresa lleva una retención de ISR de 1.25 %, y "
    "esta factura no."
)
_RESICO_FIX = (
    "Agrega a cada línea la retención de ISR de 1.25 %; si crees que no debe llevarla, revisa tus obligaciones "
    "fiscales en el SAT."
)

_COMPROBANTE = {
    "CFDI40101": CodeWords(
        "fecha",
        "El SAT no acepta la fecha de la factura: está mal escrita o fuera del plazo de 72 horas.",
        "Usa la fecha de hoy.",
    ),
    "CFDI40102": CodeWords(
        "", "El sello de la factura no corresponde a su contenido.", _SUPPORT, whose="support"
    ),
    "CFDI40103": CodeWords(
        "forma_pago", "Este tipo de comprobante no lleva forma de pago.", "Quita la forma de pago."
    ),
    "CFDI40104": CodeWords(
        "forma_pago",
        "La forma de pago no está vigente en el catálogo del SAT.",
        "Elige una forma de pago vigente, por ejemplo 03 (transferencia electrónica) o 99 (por definir).",
    ),
    "CFDI40105": CodeWords(
        "forma_pago",
        "Con método de pago PPD (en parcialidades o diferido) la forma de pago tiene que ser 99 (por definir).",
        "Cambia la forma de pago a 99 (por definir), o el método de pago a PUE (en una sola exhibición) si "
        "ya te pagaron.",
    ),
    "CFDI40106": CodeWords(
        "",
        "El certificado de sello digital no corresponde al emisor o no está vigente.",
        "Revisa en ContaDigital que el certificado de sello digital (CSD) esté vigente y sea de tu RFC.",
    ),
    "CFDI40107": CodeWords(
        "subtotal", "El subtotal tiene más decimales de los que admite la moneda.", _SUMS, whose="apunto"
    ),
    "CFDI40108": CodeWords(
        "subtotal",
        "El subtotal no cuadra: no es la suma de los importes de las líneas.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40109": CodeWords(
        "subtotal", "En este tipo de comprobante el subtotal tiene que ser cero.", _NOT_SENT, whose="support"
    ),
    "CFDI40110": CodeWords(
        "descuento", "El descuento es mayor que el subtotal.", "Reduce el descuento de las líneas."
    ),
    "CFDI40111": CodeWords(
        "descuento",
        "El descuento de la factura no es la suma de los descuentos de las líneas.",
        "Captura el descuento en cada línea; el de la factura es la suma.",
    ),
    "CFDI40112": CodeWords(
        "descuento", "El descuento tiene más decimales de los que admite la moneda.", _SUMS, whose="apunto"
    ),
    "CFDI40113": CodeWords(
        "moneda",
        "La moneda no está en el catálogo del SAT o no sirve para facturar.",
        "Elige la moneda de la operación, por ejemplo MXN (peso mexicano) o USD (dólar americano).",
    ),
    "CFDI40114": CodeWords(
        "tipo_cambio", "En pesos (MXN) el tipo de cambio solo puede ser 1.", "Deja vacío el tipo de cambio."
    ),
    "CFDI40115": CodeWords(
        "tipo_cambio",
        "Falta el tipo de cambio: la factura no está en pesos.",
        "Captura el tipo de cambio del día (FIX), por ejemplo 18.2345.",
    ),
    "CFDI40116": CodeWords(
        "tipo_cambio",
        "Con la moneda XXX (sin moneda) no se admite tipo de cambio.",
        "Quita el tipo de cambio.",
    ),
    "CFDI40117": CodeWords(
        "tipo_cambio",
        "El tipo de cambio tiene que ser mayor que cero.",
        "Escribe los pesos que vale una unidad de la moneda, por ejemplo 18.2345.",
    ),
    "CFDI40118": CodeWords(
        "tipo_cambio",
        "El tipo de cambio se aleja más de 5 % del publicado por el Banco de México (FIX).",
        "Captura el tipo de cambio del día (FIX); si tiene que ser otro, escribe a soporte de Apunto.",
    ),
    "CFDI40119": CodeWords(
        "total", "El total no cuadra con las líneas y sus impuestos.", _SUMS, whose="apunto"
    ),
    "CFDI40120": CodeWords(
        "total",
        "El total rebasa el límite que admite el SAT sin confirmación.",
        "Divide la operación o escribe a soporte de Apunto.",
    ),
    "CFDI40121": CodeWords(
        "tipo_de_comprobante",
        "El tipo de comprobante no es uno que se pueda timbrar aquí.",
        "Usa I (ingreso) o E (egreso, nota de crédito).",
    ),
    "CFDI40122": CodeWords(
        "exportacion",
        "La exportación definitiva (02) pide el complemento de comercio exterior, y desde aquí no se timbra.",
        "Usa 01 (no aplica), o haz esta factura en ContaDigital.",
    ),
    "CFDI40123": CodeWords(
        "exportacion", "La clave de exportación no está en el catálogo del SAT.", "Usa 01 (no aplica)."
    ),
    "CFDI40124": CodeWords(
        "metodo_pago",
        "El método de pago no está en el catálogo del SAT.",
        "Usa PUE (en una sola exhibición) o PPD (en parcialidades o diferido).",
    ),
    "CFDI40125": CodeWords(
        "metodo_pago", "Este tipo de comprobante no lleva método de pago.", "Quita el método de pago."
    ),
    "CFDI40126": CodeWords(
        "lugar_expedicion",
        "El lugar de expedición no es un código postal del catálogo del SAT.",
        "Escribe el código postal (5 dígitos) del domicilio o sucursal desde donde facturas.",
    ),
    "CFDI40127": CodeWords(
        "confirmacion", "Esta factura no lleva clave de confirmación.", "Quita la confirmación."
    ),
    "CFDI40128": CodeWords(
        "confirmacion", "La clave de confirmación no es válida.", "Quita la confirmación."
    ),
    "CFDI40129": CodeWords("confirmacion", "La clave de confirmación ya se usó.", "Quita la confirmación."),
    "CFDI40130": CodeWords(
        "informacion_global",
        "La información global es obligatoria en facturas de ingreso a PUBLICO EN GENERAL, y solo va en ellas.",
        "Captura periodicidad, mes y año si es una factura global; si no lo es, quítalos.",
    ),
    "CFDI40131": CodeWords(
        "informacion_global.periodicidad",
        "La periodicidad no está en el catálogo del SAT.",
        "Usa 01 (diario), 02 (semanal), 03 (quincenal), 04 (mensual) o 05 (bimestral).",
    ),
    "CFDI40132": CodeWords(
        "informacion_global.periodicidad",
        "La periodicidad 05 (bimestral) es solo para emisores con régimen 621 (incorporación fiscal).",
        "Usa 04 (mensual) u otra periodicidad.",
    ),
    "CFDI40133": CodeWords(
        "informacion_global.meses",
        "El mes no está en el catálogo del SAT.",
        "Usa de 01 (enero) a 12 (diciembre), o de 13 a 18 para bimestres.",
    ),
    "CFDI40134": CodeWords(
        "informacion_global.meses",
        "El mes no corresponde a la periodicidad.",
        "Con periodicidad de 01 (diario) a 04 (mensual) usa un mes de 01 (enero) a 12 (diciembre).",
    ),
    "CFDI40135": CodeWords(
        "informacion_global.meses",
        "El bimestre no corresponde a la periodicidad.",
        "Con periodicidad 05 (bimestral) usa un bimestre de 13 (enero-febrero) a 18 (noviembre-diciembre).",
    ),
    "CFDI40136": CodeWords(
        "informacion_global.anio",
        "El año de la factura global no es el actual ni uno de los cinco anteriores.",
        "Captura el año en que se hicieron las ventas.",
    ),
    "CFDI40137": CodeWords(
        "cfdi_relacionados.tipo_relacion",
        "El tipo de relación no está vigente en el catálogo del SAT.",
        "Usa 01 (nota de crédito), 04 (sustitución de una factura) u otra de la lista del SAT.",
    ),
}

_EMISOR_RECEPTOR = {
    "CFDI40138": CodeWords(
        "emisor.nombre",
        "El SAT no encuentra al emisor con ese nombre entre los contribuyentes inscritos.",
        "Escribe tu razón social como en tu Constancia de Situación Fiscal, sin régimen de capital, "
        "en Apunto y en ContaDigital.",
    ),
    "CFDI40139": CodeWords(
        "emisor.nombre",
        "El nombre del emisor no es el registrado en el SAT para su RFC.",
        "Escribe tu razón social como en tu Constancia de Situación Fiscal, sin régimen de capital, "
        "en Apunto y en ContaDigital.",
    ),
    "CFDI40140": CodeWords(
        "emisor.regimen_fiscal",
        "El régimen fiscal del emisor no está vigente en el catálogo del SAT.",
        "Corrige tu régimen fiscal en ContaDigital.",
    ),
    "CFDI40141": CodeWords(
        "emisor.regimen_fiscal",
        "El régimen fiscal del emisor no corresponde a su tipo de persona (física o moral).",
        "Corrige tu régimen fiscal en ContaDigital.",
    ),
    "CFDI40142": CodeWords(
        "", "El número de operación del adquirente no es válido.", _NOT_SENT, whose="support"
    ),
    "CFDI40143": CodeWords(
        "receptor.rfc",
        "El RFC del cliente no está en la lista de RFC inscritos y no cancelados del SAT.",
        f"Revisa el RFC letra por letra. {_CONSTANCIA}",
    ),
    "CFDI40144": CodeWords(
        "receptor.nombre",
        "El SAT no encuentra al cliente con ese nombre entre los contribuyentes inscritos.",
        f"Escribe el nombre sin régimen de capital. {_CONSTANCIA}",
    ),
    "CFDI40145": CodeWords(
        "receptor.nombre",
        "El nombre del cliente no es el registrado en el SAT para su RFC.",
        f"Escribe el nombre sin régimen de capital (S.A. de C.V. y similares). {_CONSTANCIA}",
    ),
    "CFDI40146": CodeWords(
        "receptor.nombre",
        "El nombre PUBLICO EN GENERAL solo va con el RFC XAXX010101000 (público en general).",
        "Usa el RFC XAXX010101000, o escribe el nombre del cliente.",
    ),
    "CFDI40147": CodeWords(
        "receptor.domicilio_fiscal_receptor",
        "El código postal del cliente no es un domicilio fiscal registrado en el SAT.",
        f"Escribe los 5 dígitos del código postal. {_CONSTANCIA}",
    ),
    "CFDI40148": CodeWords(
        "receptor.domicilio_fiscal_receptor",
        "El código postal no es el del domicilio fiscal del cliente registrado en el SAT.",
        _CONSTANCIA,
    ),
    "CFDI40149": CodeWords(
        "receptor.domicilio_fiscal_receptor",
        "Con RFC genérico el código postal del cliente tiene que ser el del lugar de expedición.",
        "Escribe en el código postal del cliente el mismo del lugar de expedición.",
    ),
    "CFDI40150": CodeWords(
        "receptor.residencia_fiscal",
        "La residencia fiscal no está en el catálogo de países del SAT.",
        "Quita la residencia fiscal: solo va con el complemento de comercio exterior.",
    ),
    "CFDI40151": CodeWords(
        "receptor.residencia_fiscal",
        "La residencia fiscal no va con un RFC mexicano.",
        "Quita la residencia fiscal.",
    ),
    "CFDI40152": CodeWords(
        "receptor.residencia_fiscal", "La residencia fiscal no puede ser MEX.", "Quita la residencia fiscal."
    ),
    "CFDI40153": CodeWords(
        "receptor.residencia_fiscal",
        "El registro de identidad tributaria pide también la residencia fiscal.",
        "Quita el registro de identidad tributaria.",
    ),
    "CFDI40154": CodeWords(
        "receptor.num_reg_id_trib",
        "El registro de identidad tributaria no va con un RFC mexicano.",
        "Quita el registro de identidad tributaria.",
    ),
    "CFDI40155": CodeWords(
        "receptor.num_reg_id_trib",
        "El registro de identidad tributaria solo va con el complemento de comercio exterior.",
        "Quita el registro de identidad tributaria.",
    ),
    "CFDI40156": CodeWords(
        "receptor.num_reg_id_trib",
        "El registro de identidad tributaria no tiene la forma de su país.",
        "Quita el registro de identidad tributaria.",
    ),
    "CFDI40157": CodeWords(
        "receptor.regimen_fiscal_receptor",
        "El régimen fiscal del cliente no está vigente en el catálogo del SAT.",
        f"Elige el régimen del cliente. {_CONSTANCIA}",
    ),
    "CFDI40158": CodeWords(
        "receptor.regimen_fiscal_receptor",
        "El régimen fiscal del cliente no corresponde a su tipo de persona (física o moral).",
        f"Elige el régimen del cliente. {_CONSTANCIA}",
    ),
    "CFDI40159": CodeWords(
        "receptor.regimen_fiscal_receptor",
        "Con RFC genérico el régimen del cliente tiene que ser 616 (sin obligaciones fiscales).",
        "Cambia el régimen del cliente a 616 (sin obligaciones fiscales).",
    ),
    "CFDI40160": CodeWords(
        "receptor.uso_cfdi",
        "El uso del CFDI no está vigente en el catálogo del SAT.",
        "Elige un uso vigente, por ejemplo G03 (gastos en general) o S01 (sin efectos fiscales).",
    ),
    "CFDI40161": CodeWords(
        "receptor.uso_cfdi",
        "El uso del CFDI no corresponde al tipo de persona y régimen del cliente.",
        "Elige otro uso, o corrige el régimen del cliente.",
    ),
}

_CONCEPTOS = {
    "CFDI40162": CodeWords(
        "conceptos[].clave_prod_serv",
        "La clave de producto o servicio no está vigente en el catálogo del SAT.",
        "Búscala en Apunto por nombre (por ejemplo «flete»: 78101802).",
    ),
    "CFDI40163": CodeWords(
        "conceptos[].clave_prod_serv",
        "La clave de producto o servicio pide un complemento que la factura no lleva.",
        "Elige otra clave, o haz esta factura en ContaDigital: desde aquí no se timbra ese complemento.",
    ),
    "CFDI40164": CodeWords(
        "conceptos[].clave_prod_serv",
        "La clave de producto o servicio pide un impuesto que la línea no lleva.",
        "Agrega el impuesto que corresponde a esa clave, o elige otra.",
    ),
    "CFDI40165": CodeWords(
        "conceptos[].clave_unidad",
        "La clave de unidad no está en el catálogo del SAT.",
        "Búscala en Apunto por nombre, por ejemplo E48 (unidad de servicio) o KGM (kilogramo).",
    ),
    "CFDI40166": CodeWords(
        "conceptos[].valor_unitario",
        "El precio tiene que ser mayor que cero.",
        "Captura el precio; si es gratuito, quita la línea.",
    ),
    "CFDI40167": CodeWords(
        "conceptos[].importe",
        "El importe de la línea no cuadra con su cantidad y su precio.",
        _LINE_SUMS,
        whose="apunto",
    ),
    "CFDI40168": CodeWords(
        "conceptos[].descuento",
        "El descuento tiene más decimales que los de la moneda.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40169": CodeWords(
        "conceptos[].descuento", "El descuento es mayor que el importe de la línea.", "Reduce el descuento."
    ),
    "CFDI40170": CodeWords(
        "conceptos[].objeto_imp",
        "La clave de objeto de impuesto no está en el catálogo del SAT.",
        "Usa 02 (sí objeto de impuesto) si la línea lleva impuestos o 01 (no objeto de impuesto) si no.",
    ),
    "CFDI40171": CodeWords(
        "conceptos[].objeto_imp",
        "La línea dice ser objeto de impuesto (02) y no lleva impuestos.",
        "Agrega el IVA (aunque sea tasa 0 o exento), o cambia el objeto de impuesto a 01 (no objeto de impuesto).",
    ),
    "CFDI40172": CodeWords(
        "conceptos[].objeto_imp",
        "La línea lleva impuestos y su objeto de impuesto no los admite.",
        "Cambia el objeto de impuesto a 02 (sí objeto de impuesto), o quita los impuestos de la línea.",
    ),
    "CFDI40173": CodeWords(
        "conceptos[].traslados", "La línea lleva impuestos vacíos.", _SUPPORT, whose="support"
    ),
    "CFDI40174": CodeWords(
        "conceptos[].traslados",
        "La base del impuesto tiene que ser mayor que cero.",
        "Revisa el descuento: una línea con descuento total no lleva impuestos.",
    ),
    "CFDI40175": CodeWords(
        "conceptos[].traslados[].impuesto",
        "El impuesto trasladado no está en el catálogo del SAT.",
        "Usa 002 (IVA).",
    ),
    "CFDI40176": CodeWords(
        "conceptos[].traslados[].tipo_factor",
        "El tipo de factor del impuesto no es válido.",
        "Usa una tasa, o marca la línea como exenta de IVA.",
    ),
    "CFDI40177": CodeWords(
        "conceptos[].traslados[].tasa_o_cuota",
        "Un impuesto exento no lleva tasa ni importe.",
        "Quita la tasa y el importe, o captura la línea con su tasa.",
    ),
    "CFDI40178": CodeWords(
        "conceptos[].traslados[].tasa_o_cuota",
        "Falta la tasa del IVA.",
        "Captura la tasa, por ejemplo 16 %, o marca la línea como exenta.",
    ),
    "CFDI40179": CodeWords(
        "conceptos[].traslados[].tasa_o_cuota",
        "La tasa de IVA no es una de las que admite el SAT.",
        "Usa 16 %, 0 %, u 8 % (solo en la región fronteriza y con el estímulo registrado en el SAT).",
    ),
    "CFDI40180": CodeWords(
        "conceptos[].traslados[].importe",
        "El importe del impuesto no cuadra con su base y su tasa.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40181": CodeWords(
        "conceptos[].retenciones",
        "La base de la retención tiene que ser mayor que cero.",
        "Revisa el descuento: una línea con descuento total no lleva retenciones.",
    ),
    "CFDI40182": CodeWords(
        "conceptos[].retenciones[].impuesto",
        "El impuesto retenido no está en el catálogo del SAT.",
        "Usa 001 (ISR) o 002 (IVA).",
    ),
    "CFDI40183": CodeWords(
        "conceptos[].retenciones[].tipo_factor",
        "El tipo de factor de la retención no es válido.",
        _NOT_YOURS,
        whose="apunto",
    ),
    "CFDI40184": CodeWords(
        "conceptos[].retenciones[].tipo_factor",
        "Una retención no puede ser exenta.",
        "Captura su tasa, o quita la retención.",
    ),
    "CFDI40185": CodeWords(
        "conceptos[].retenciones[].tasa_o_cuota",
        "La tasa de la retención no es una de las que admite el SAT.",
        "Usa hasta 35 % de ISR o hasta 16 % de IVA (autotransporte de carga: 4 %).",
    ),
    "CFDI40186": CodeWords(
        "conceptos[].retenciones[].importe",
        "El importe de la retención no cuadra con su base y su tasa.",
        _SUMS,
        whose="apunto",
    ),
    # Nodes that Apunto never sends: these would be ContaDigital's own additions.
    **{
        f"CFDI{number}": CodeWords("conceptos", f"El SAT rechazó {what} de una línea.", _NOT_SENT, "support")
        for number, what in {
            40187: "el RFC a cuenta de terceros",
            40188: "el RFC a cuenta de terceros",
            40189: "el nombre a cuenta de terceros",
            40190: "el nombre a cuenta de terceros",
            40191: "el régimen a cuenta de terceros",
            40192: "el código postal a cuenta de terceros",
            40193: "el código postal a cuenta de terceros",
            40194: "el número de pedimento",
            40195: "el número de pedimento",
            40196: "la clave de una parte",
            40197: "el valor unitario de una parte",
            40198: "el importe de una parte",
            40199: "el número de pedimento de una parte",
            40200: "el número de pedimento de una parte",
        }.items()
    },
}

_IMPUESTOS = {
    "CFDI40201": CodeWords(
        "impuestos", "Este tipo de comprobante no lleva resumen de impuestos.", _SUMS, whose="apunto"
    ),
    "CFDI40202": CodeWords(
        "impuestos.total_impuestos_retenidos",
        "El total de impuestos retenidos tiene más decimales de los que admite la moneda.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40203": CodeWords(
        "impuestos.total_impuestos_retenidos",
        "El total de impuestos retenidos no cuadra con las retenciones de las líneas.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40204": CodeWords(
        "impuestos.total_impuestos_trasladados",
        "El total de impuestos trasladados tiene más decimales de los que admite la moneda.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40205": CodeWords(
        "impuestos.total_impuestos_trasladados",
        "El total de impuestos trasladados no cuadra con los impuestos de las líneas.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40206": CodeWords(
        "impuestos.total_impuestos_retenidos",
        "Hay retenciones y falta el total de impuestos retenidos.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40207": CodeWords(
        "impuestos.retenciones[].impuesto",
        "Un impuesto retenido del resumen no está en el catálogo del SAT.",
        _NOT_YOURS,
        whose="apunto",
    ),
    "CFDI40208": CodeWords(
        "impuestos.retenciones[].impuesto",
        "El resumen repite una retención del mismo impuesto.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40209": CodeWords(
        "impuestos.total_impuestos_retenidos",
        "Hay importes retenidos y falta el total de impuestos retenidos.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40210": CodeWords(
        "impuestos.retenciones[].importe",
        "Una retención del resumen tiene más decimales de los que admite la moneda.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40211": CodeWords(
        "impuestos.retenciones[].importe",
        "Una retención del resumen no cuadra con las retenciones de las líneas.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40212": CodeWords(
        "impuestos.total_impuestos_trasladados",
        "Hay impuestos trasladados y falta su total.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40213": CodeWords(
        "impuestos.traslados[].base",
        "A un impuesto del resumen le falta la base o su clave.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40214": CodeWords(
        "impuestos.traslados[].base",
        "La base de un impuesto del resumen tiene más decimales de los que admite la moneda.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40215": CodeWords(
        "impuestos.traslados[].base",
        "La base de un impuesto del resumen no cuadra con las bases de las líneas.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40216": CodeWords(
        "impuestos.traslados[].base",
        "La base exenta del resumen no cuadra con las bases exentas de las líneas.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40217": CodeWords(
        "impuestos.traslados[].impuesto",
        "Un impuesto trasladado del resumen no está en el catálogo del SAT.",
        _NOT_YOURS,
        whose="apunto",
    ),
    "CFDI40218": CodeWords(
        "impuestos.traslados[].impuesto",
        "El resumen repite un impuesto con la misma tasa.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40219": CodeWords(
        "impuestos.traslados[].tasa_o_cuota",
        "Un impuesto del resumen no está en ninguna línea.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40220": CodeWords(
        "impuestos.traslados[].importe",
        "Un importe del resumen de impuestos tiene más decimales de los que admite la moneda.",
        _SUMS,
        whose="apunto",
    ),
    "CFDI40221": CodeWords(
        "impuestos.traslados[].importe",
        "Un importe del resumen de impuestos no cuadra con los de las líneas.",
        _SUMS,
        whose="apunto",
    ),
    # Rows 122 to 127 of the matrix of 13 December 2024; from 123 on they are numbered with six digits.
    "CFDI40222": CodeWords(
        "exportacion",
        "El complemento de comercio exterior no va con esta clave de exportación.",
        _NOT_SENT,
        whose="support",
    ),
    "CFDI140223": CodeWords(
        "conceptos",
        "El SAT rechazó el régimen a cuenta de terceros de una línea.",
        _NOT_SENT,
        whose="support",
    ),
    "CFDI140224": CodeWords(
        "conceptos[].retenciones",
        "El SAT tiene registrado que a este emisor, en RESICO (626), sus clientes no le retienen ISR, y la factura "
        "lleva una retención de ISR.",
        "Quita la retención de ISR de cada línea; si crees que sí debe llevarla, revisa tus obligaciones fiscales en "
        "el SAT.",
    ),
    "CFDI140225": CodeWords("conceptos[].retenciones", _RESICO, _RESICO_FIX),
    "CFDI140226": CodeWords(
        "conceptos[].objeto_imp",
        "El objeto de impuesto de una línea dice que no lleva IVA ni IEPS, y la línea los lleva.",
        "Cambia el objeto de impuesto a 02 (sí objeto de impuesto), o quita el IVA y el IEPS de la línea.",
    ),
    "CFDI140227": CodeWords(
        "conceptos[].objeto_imp",
        "El objeto de impuesto de una línea dice que no lleva IVA y que desglosa su IEPS, y los impuestos de la línea "
        "son otros.",
        "Cambia el objeto de impuesto a 02 (sí objeto de impuesto), o haz esta factura en ContaDigital.",
    ),
    "CFDI40999": CodeWords(
        "",
        "El SAT rechazó la factura por un dato que no cumple su estructura.",
        "Revisa que ningún texto sea muy largo, esté vacío o traiga una barra (|); si no lo encuentras, "
        "escribe a soporte de Apunto.",
    ),
}

MATRIX: Mapping[str, CodeWords] = MappingProxyType(_COMPROBANTE | _EMISOR_RECEPTOR | _CONCEPTOS | _IMPUESTOS)
"""Every code of the SAT's matrix for the CFDI itself: CFDI40101 to 40222, 140223 to 140227, and 40999."""

# FAQ of the SAT on Carta Porte 3.1: 1 (who must), 9, 12, 39, 41, 46, 49 (who need not).
_CARTA = (
    "Si tú transportas la mercancía (por carretera federal, tren, avión o barco), esta factura necesita el "
    "complemento "
    "Carta Porte, y desde aquí se timbra sin él."
)
_CARTA_FIX = (
    "En ese caso hazla en ContaDigital con Carta Porte. No lo necesitas si contratas a otro transportista, "
    "si el viaje es "
    "local, si es paquetería o si es una flota dedicada."
)

OWN: Mapping[str, CodeWords] = MappingProxyType(
    {
        "timbrado.identificador": CodeWords(
            "external_id",
            "El identificador está vacío, es muy largo o trae símbolos que no se ven.",
            _NOT_YOURS,
            whose="apunto",
        ),
        "timbrado.pago_al_reves": CodeWords(
            "forma_pago",
            "La forma y el método de pago están al revés.",
            "Pon en la forma de pago cómo te pagan, por ejemplo 03 (transferencia electrónica), y en el "
            "método de pago PUE (en una sola exhibición) o PPD (en parcialidades o diferido).",
        ),
        "timbrado.pue_por_definir": CodeWords(
            "forma_pago",
            "Con método de pago PUE (en una sola exhibición) la forma de pago no puede ser 99 (por definir).",
            "Elige cómo te pagaron o te van a pagar, o cambia el método de pago a PPD (en parcialidades o diferido).",
        ),
        "timbrado.tipo_cambio_invertido": CodeWords(
            "tipo_cambio",
            "El tipo de cambio parece estar al revés.",
            "Escribe los pesos que vale una unidad de la moneda, por ejemplo 18.2345 pesos por dólar.",
        ),
        "timbrado.exportacion_no_admitida": CodeWords(
            "exportacion",
            "Esa clave de exportación no se puede timbrar desde aquí.",
            "Usa 01 (no aplica), o haz esta factura en ContaDigital.",
        ),
        "timbrado.global_metodo_pago": CodeWords(
            "metodo_pago",
            "Una factura global va con método de pago PUE (en una sola exhibición).",
            "Cambia el método de pago a PUE (en una sola exhibición) y elige la forma con la que más te pagaron.",
        ),
        "timbrado.global_descripcion": CodeWords(
            "conceptos[].descripcion",
            "En una factura global la descripción de cada línea es «Venta».",
            "Escribe «Venta» en la descripción y el número del ticket o de la nota en el número de identificación.",
        ),
        "timbrado.global_periodo_futuro": CodeWords(
            "informacion_global.meses",
            "La factura global es de un periodo que todavía no empieza.",
            "Revisa el mes y el año en que se hicieron las ventas.",
        ),
        "timbrado.nota_sin_relacion": CodeWords(
            "cfdi_relacionados",
            "La nota de crédito no dice a qué factura corresponde.",
            "Si corresponde a una factura, agrega su folio fiscal con tipo de relación 01 (nota de crédito); "
            "si es un descuento por compras futuras, no hagas nada.",
        ),
        "timbrado.relacion_no_corresponde": CodeWords(
            "cfdi_relacionados.tipo_relacion",
            "Ese tipo de relación no es usual en este tipo de comprobante.",
            "Revisa el tipo de relación: en una nota de crédito suele ser 01 (nota de crédito) o 03 "
            "(devolución); en una factura, 04 (sustitución) o 07 (aplicación de anticipo).",
        ),
        "timbrado.correo": CodeWords(
            "send_to",
            "El correo no está bien escrito.",
            "Escríbelo completo, por ejemplo cliente@ejemplo.mx.",
        ),
        "timbrado.uso_poco_comun": CodeWords(
            "receptor.uso_cfdi",
            "Ese uso del CFDI no es usual en este tipo de comprobante.",
            "Revisa el uso del CFDI; si tu cliente lo pidió así, no hagas nada.",
        ),
        "timbrado.nombre_corto": CodeWords(
            "conceptos[].nombre",
            "El nombre del producto o servicio tiene menos de 2 caracteres.",
            "Escribe un nombre de 2 a 50 caracteres.",
        ),
        "timbrado.nombre_largo": CodeWords(
            "conceptos[].nombre",
            "El nombre del producto o servicio tiene más de 50 caracteres.",
            "Acórtalo a 50 caracteres; el detalle va en la descripción.",
        ),
        "timbrado.entidad_html": CodeWords(
            "conceptos[].descripcion",
            "El texto trae un símbolo mal escrito, como «&amp;».",
            "Bórralo y escribe el símbolo, por ejemplo &.",
        ),
        "timbrado.carta_porte": CodeWords("conceptos[].clave_prod_serv", _CARTA, _CARTA_FIX),
        "timbrado.objeto_imp_no_admitido": CodeWords(
            "conceptos[].objeto_imp",
            "Esa clave de objeto de impuesto no se puede timbrar desde aquí.",
            "Usa 01 (no objeto de impuesto), 02 (sí objeto), 03 (sin desglose) o 04 (no causa impuesto).",
        ),
        "timbrado.base": CodeWords(
            "conceptos[].traslados[].base",
            "La base del impuesto no es el importe de la línea menos su descuento.",
            _SUMS,
            whose="apunto",
        ),
        "timbrado.impuesto_repetido": CodeWords(
            "conceptos[].traslados",
            "La línea repite un impuesto.",
            "Deja un solo IVA y una sola retención de cada tipo.",
        ),
        "timbrado.ieps_no_admitido": CodeWords(
            "conceptos[].traslados[].impuesto",
            "El IEPS no se puede timbrar desde aquí.",
            "Quita el IEPS, o haz esta factura en ContaDigital.",
        ),
        "timbrado.sin_iva": CodeWords(
            "conceptos[].traslados",
            "La línea es objeto de impuesto y no dice su IVA.",
            "Agrega el IVA de la línea: su tasa, tasa 0 o exento.",
        ),
        "timbrado.retencion_cero": CodeWords(
            "conceptos[].retenciones[].tasa_o_cuota",
            "La retención tiene tasa cero.",
            "Quita la retención, o captura su tasa.",
        ),
        "timbrado.retencion_flete": CodeWords(
            "conceptos[].retenciones",
            "El flete por carretera a una empresa suele llevar una retención de IVA de 4 %.",
            "Revisa la retención de IVA de la línea; si en tu caso no aplica, no hagas nada.",
        ),
        "timbrado.importe_enorme": CodeWords(
            "conceptos[].importe",
            "El importe tiene más de 18 dígitos enteros.",
            "Revisa la cantidad y el precio.",
        ),
        "timbrado.rfc_fecha": CodeWords(
            "receptor.rfc", "La fecha dentro del RFC no existe.", "Revisa el RFC letra por letra."
        ),
        "timbrado.rfc_digito": CodeWords(
            "receptor.rfc",
            "El último carácter del RFC no corresponde a los demás.",
            "Revisa el RFC letra por letra; si es correcto, no hagas nada.",
        ),
        "timbrado.regimen_de_capital": CodeWords(
            "receptor.nombre",
            "El nombre parece terminar con el régimen de capital.",
            "Si esas letras no son parte del nombre registrado en el SAT, quítalas.",
        ),
    }
)
"""The codes that are ours: the contract's, ContaDigital's, and what no code of the SAT says."""

WORDS: Mapping[str, CodeWords] = MappingProxyType({**MATRIX, **OWN})
