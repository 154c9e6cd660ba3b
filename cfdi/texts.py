"""The words of every code: where it points in Apunto's invoice, what is wrong, and what to do.

One table for both directions. A rule of ours that refuses an invoice before the call, and the SAT's own
refusal after it, say the same thing in the same words; a rule that knows the numbers adds them.
Source: the SAT's Matriz de Errores CFDI 4.0, edition of 25 March 2026, put into a user's words.
`conceptos[]` stands for any line. The one thing a newcomer would get wrong: codes are the SAT's and never
change meaning, so a row is reworded here and never renumbered.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Words:
    """What one code says to Apunto's user."""

    field: str
    message: str
    fix: str


_SUPPORT = "Escribe a soporte de Apunto con el identificador de la factura."
_CONSTANCIA = "Cópialo de la Constancia de Situación Fiscal del cliente, en sus datos fiscales de Apunto."
_NOT_SENT = "Apunto no envía ese dato. " + _SUPPORT
_RECALCULATE = "Deja que Apunto lo recalcule a partir de los conceptos."

_COMPROBANTE = {
    "CFDI40101": Words(
        "fecha",
        "La fecha de la factura no tiene la forma que pide el SAT o está fuera del plazo.",
        "Usa la fecha y hora actuales del lugar de expedición.",
    ),
    "CFDI40102": Words(
        "", "El sello de la factura no corresponde a su contenido.", f"No es un dato tuyo. {_SUPPORT}"
    ),
    "CFDI40103": Words(
        "forma_pago", "Este tipo de comprobante no lleva forma de pago.", "Quita la forma de pago."
    ),
    "CFDI40104": Words(
        "forma_pago",
        "La forma de pago no está vigente en el catálogo del SAT.",
        "Elige una forma de pago vigente, por ejemplo 03 (transferencia) o 99 (por definir).",
    ),
    "CFDI40105": Words(
        "forma_pago",
        "Con método de pago PPD la forma de pago tiene que ser 99 (por definir).",
        "Cambia la forma de pago a 99, o el método de pago a PUE si ya te pagaron.",
    ),
    "CFDI40106": Words(
        "",
        "El certificado de sello digital no corresponde al emisor o no está vigente.",
        "Revisa en ContaDigital que el certificado de sello digital (CSD) esté vigente y sea de tu RFC.",
    ),
    "CFDI40107": Words(
        "subtotal",
        "El subtotal tiene más decimales de los que admite la moneda.",
        "Redondéalo a los decimales de la moneda.",
    ),
    "CFDI40108": Words(
        "subtotal", "El subtotal no es la suma de los importes de los conceptos.", _RECALCULATE
    ),
    "CFDI40109": Words("subtotal", "En este tipo de comprobante el subtotal tiene que ser cero.", _NOT_SENT),
    "CFDI40110": Words(
        "descuento", "El descuento es mayor que el subtotal.", "Reduce el descuento de los conceptos."
    ),
    "CFDI40111": Words(
        "descuento",
        "El descuento de la factura no es la suma de los descuentos de los conceptos.",
        "Captura el descuento en cada concepto; el de la factura es la suma.",
    ),
    "CFDI40112": Words(
        "descuento",
        "El descuento tiene más decimales de los que admite la moneda.",
        "Redondéalo a los decimales de la moneda.",
    ),
    "CFDI40113": Words(
        "moneda",
        "La moneda no es una clave válida del catálogo del SAT para facturar.",
        "Elige la moneda de la operación, por ejemplo MXN o USD.",
    ),
    "CFDI40114": Words(
        "tipo_cambio", "En pesos (MXN) el tipo de cambio solo puede ser 1.", "Deja vacío el tipo de cambio."
    ),
    "CFDI40115": Words(
        "tipo_cambio",
        "Falta el tipo de cambio: la factura no está en pesos.",
        "Captura el tipo de cambio del día (FIX), por ejemplo 18.2345.",
    ),
    "CFDI40116": Words(
        "tipo_cambio", "Con moneda XXX no se admite tipo de cambio.", "Quita el tipo de cambio."
    ),
    "CFDI40117": Words(
        "tipo_cambio",
        "El tipo de cambio no está bien escrito.",
        "Escribe un número mayor que cero, con hasta 6 decimales, por ejemplo 18.2345.",
    ),
    "CFDI40118": Words(
        "tipo_cambio",
        "El tipo de cambio se aleja más de 5 % del publicado (FIX).",
        "Revisa el tipo de cambio del día; si es correcto, escribe a soporte.",
    ),
    "CFDI40119": Words(
        "total",
        "El total no es subtotal menos descuento más impuestos trasladados menos impuestos retenidos.",
        _RECALCULATE,
    ),
    "CFDI40120": Words(
        "total",
        "El total rebasa el límite que admite el SAT sin confirmación.",
        "Divide la operación o escribe a soporte.",
    ),
    "CFDI40121": Words(
        "tipo_de_comprobante",
        "El tipo de comprobante no es uno que se pueda timbrar aquí.",
        "Usa I (ingreso) o E (egreso, nota de crédito).",
    ),
    "CFDI40122": Words(
        "exportacion",
        "La exportación definitiva (02) pide el complemento de comercio exterior.",
        "Usa 01 (no aplica): las facturas con comercio exterior no se timbran desde Apunto.",
    ),
    "CFDI40123": Words(
        "exportacion", "La clave de exportación no está en el catálogo del SAT.", "Usa 01 (no aplica)."
    ),
    "CFDI40124": Words(
        "metodo_pago",
        "El método de pago no está en el catálogo del SAT.",
        "Usa PUE (una sola exhibición) o PPD (parcialidades o diferido).",
    ),
    "CFDI40125": Words(
        "metodo_pago", "Este tipo de comprobante no lleva método de pago.", "Quita el método de pago."
    ),
    "CFDI40126": Words(
        "lugar_expedicion",
        "El lugar de expedición no es un código postal del catálogo del SAT.",
        "Escribe el código postal (5 dígitos) del domicilio o sucursal desde donde facturas.",
    ),
    "CFDI40127": Words(
        "confirmacion", "Esta factura no lleva clave de confirmación.", "Quita la confirmación."
    ),
    "CFDI40128": Words("confirmacion", "La clave de confirmación no es válida.", "Quita la confirmación."),
    "CFDI40129": Words("confirmacion", "La clave de confirmación ya se usó.", "Quita la confirmación."),
    "CFDI40130": Words(
        "informacion_global",
        "La información global solo va, y es obligatoria, en facturas de ingreso a PUBLICO EN GENERAL.",
        "Captura periodicidad, meses y año si es una factura global; si no lo es, quítalos.",
    ),
    "CFDI40131": Words(
        "informacion_global.periodicidad",
        "La periodicidad no está en el catálogo del SAT.",
        "Usa 01 (diario), 02 (semanal), 03 (quincenal), 04 (mensual) o 05 (bimestral).",
    ),
    "CFDI40132": Words(
        "informacion_global.periodicidad",
        "La periodicidad bimestral (05) es solo para emisores con régimen 621.",
        "Usa 04 (mensual) u otra periodicidad.",
    ),
    "CFDI40133": Words(
        "informacion_global.meses",
        "El mes no está en el catálogo del SAT.",
        "Usa de 01 (enero) a 12 (diciembre), o de 13 a 18 para bimestres.",
    ),
    "CFDI40134": Words(
        "informacion_global.meses",
        "El mes no corresponde a la periodicidad.",
        "Con periodicidad 01 a 04 usa un mes de 01 (enero) a 12 (diciembre).",
    ),
    "CFDI40135": Words(
        "informacion_global.meses",
        "El bimestre no corresponde a la periodicidad.",
        "Con periodicidad 05 usa un bimestre de 13 (enero-febrero) a 18 (noviembre-diciembre).",
    ),
    "CFDI40136": Words(
        "informacion_global.anio",
        "El año de la factura global no es el actual ni el anterior.",
        "Captura el año en que se hicieron las ventas: el actual o el anterior.",
    ),
    "CFDI40137": Words(
        "cfdi_relacionados.tipo_relacion",
        "El tipo de relación no está vigente en el catálogo del SAT.",
        "Usa 01 para una nota de crédito o 04 para sustituir una factura; las demás van de 02 a 07.",
    ),
}

_EMISOR_RECEPTOR = {
    "CFDI40138": Words(
        "emisor.nombre",
        "El SAT no encuentra al emisor con ese nombre entre los contribuyentes inscritos.",
        "Escribe tu razón social como en tu Constancia de Situación Fiscal, sin régimen de capital, "
        "en Apunto y en ContaDigital.",
    ),
    "CFDI40139": Words(
        "emisor.nombre",
        "El nombre del emisor no es el registrado en el SAT para su RFC.",
        "Escribe tu razón social como en tu Constancia de Situación Fiscal, sin régimen de capital, "
        "en Apunto y en ContaDigital.",
    ),
    "CFDI40140": Words(
        "emisor.regimen_fiscal",
        "El régimen fiscal del emisor no está vigente en el catálogo del SAT.",
        "Corrige tu régimen fiscal en ContaDigital.",
    ),
    "CFDI40141": Words(
        "emisor.regimen_fiscal",
        "El régimen fiscal del emisor no corresponde a su tipo de persona (física o moral).",
        "Corrige tu régimen fiscal en ContaDigital.",
    ),
    "CFDI40142": Words("", "El número de operación FacAtrAdquirente no es válido.", _NOT_SENT),
    "CFDI40143": Words(
        "receptor.rfc",
        "El RFC del cliente no está en la lista de RFC inscritos y no cancelados del SAT.",
        f"Revisa el RFC letra por letra. {_CONSTANCIA}",
    ),
    "CFDI40144": Words(
        "receptor.nombre",
        "El SAT no encuentra al cliente con ese nombre entre los contribuyentes inscritos.",
        f"Escribe el nombre sin régimen de capital. {_CONSTANCIA}",
    ),
    "CFDI40145": Words(
        "receptor.nombre",
        "El nombre del cliente no es el registrado en el SAT para su RFC.",
        f"Escribe el nombre sin régimen de capital (S.A. de C.V. y similares). {_CONSTANCIA}",
    ),
    "CFDI40146": Words(
        "receptor.nombre",
        "El nombre PUBLICO EN GENERAL solo va con el RFC XAXX010101000.",
        "Usa el RFC XAXX010101000, o escribe el nombre del cliente.",
    ),
    "CFDI40147": Words(
        "receptor.domicilio_fiscal_receptor",
        "El código postal del cliente no es un domicilio fiscal registrado en el SAT.",
        f"Escribe los 5 dígitos del código postal. {_CONSTANCIA}",
    ),
    "CFDI40148": Words(
        "receptor.domicilio_fiscal_receptor",
        "El código postal no es el del domicilio fiscal del cliente registrado en el SAT.",
        _CONSTANCIA,
    ),
    "CFDI40149": Words(
        "receptor.domicilio_fiscal_receptor",
        "Con RFC genérico el código postal del cliente tiene que ser el del lugar de expedición.",
        "Escribe en el código postal del cliente el mismo del lugar de expedición.",
    ),
    "CFDI40150": Words(
        "receptor.residencia_fiscal",
        "La residencia fiscal no está en el catálogo de países del SAT.",
        "Quita la residencia fiscal: solo va con el complemento de comercio exterior.",
    ),
    "CFDI40151": Words(
        "receptor.residencia_fiscal",
        "La residencia fiscal no va con un RFC mexicano.",
        "Quita la residencia fiscal.",
    ),
    "CFDI40152": Words(
        "receptor.residencia_fiscal", "La residencia fiscal no puede ser MEX.", "Quita la residencia fiscal."
    ),
    "CFDI40153": Words(
        "receptor.residencia_fiscal",
        "El registro de identidad tributaria pide también la residencia fiscal.",
        "Quita el registro de identidad tributaria.",
    ),
    "CFDI40154": Words(
        "receptor.num_reg_id_trib",
        "El registro de identidad tributaria no va con un RFC mexicano.",
        "Quita el registro de identidad tributaria.",
    ),
    "CFDI40155": Words(
        "receptor.num_reg_id_trib",
        "El registro de identidad tributaria solo va con el complemento de comercio exterior.",
        "Quita el registro de identidad tributaria.",
    ),
    "CFDI40156": Words(
        "receptor.num_reg_id_trib",
        "El registro de identidad tributaria no tiene la forma de su país.",
        "Quita el registro de identidad tributaria.",
    ),
    "CFDI40157": Words(
        "receptor.regimen_fiscal_receptor",
        "El régimen fiscal del cliente no está vigente en el catálogo del SAT.",
        f"Elige el régimen del cliente. {_CONSTANCIA}",
    ),
    "CFDI40158": Words(
        "receptor.regimen_fiscal_receptor",
        "El régimen fiscal del cliente no corresponde a su tipo de persona (física o moral).",
        f"Elige el régimen del cliente. {_CONSTANCIA}",
    ),
    "CFDI40159": Words(
        "receptor.regimen_fiscal_receptor",
        "Con RFC genérico el régimen del cliente tiene que ser 616 (sin obligaciones fiscales).",
        "Cambia el régimen del cliente a 616.",
    ),
    "CFDI40160": Words(
        "receptor.uso_cfdi",
        "El uso del CFDI no está vigente en el catálogo del SAT.",
        "Elige un uso vigente, por ejemplo G03 (gastos en general) o S01 (sin efectos fiscales).",
    ),
    "CFDI40161": Words(
        "receptor.uso_cfdi",
        "El uso del CFDI no corresponde al tipo de persona y régimen del cliente.",
        "Elige otro uso, o corrige el régimen del cliente.",
    ),
}

_CONCEPTOS = {
    "CFDI40162": Words(
        "conceptos[].clave_prod_serv",
        "La clave de producto o servicio no está vigente en el catálogo del SAT.",
        "Busca la clave de 8 dígitos en el catálogo del SAT, por ejemplo 78101802 (transporte de carga).",
    ),
    "CFDI40163": Words(
        "conceptos[].clave_prod_serv",
        "La clave de producto o servicio pide un complemento que la factura no lleva.",
        "Elige otra clave: Apunto no timbra facturas con ese complemento.",
    ),
    "CFDI40164": Words(
        "conceptos[].clave_prod_serv",
        "La clave de producto o servicio pide un impuesto que el concepto no lleva.",
        "Agrega el impuesto que corresponde a esa clave, o elige otra.",
    ),
    "CFDI40165": Words(
        "conceptos[].clave_unidad",
        "La clave de unidad no está en el catálogo del SAT.",
        "Elige una unidad del catálogo, por ejemplo E48 (unidad de servicio) o KGM (kilogramo).",
    ),
    "CFDI40166": Words(
        "conceptos[].valor_unitario",
        "El valor unitario tiene que ser mayor que cero.",
        "Captura el precio; si el concepto es gratuito, no lo incluyas.",
    ),
    "CFDI40167": Words(
        "conceptos[].importe",
        "El importe no es cantidad por valor unitario.",
        "Revisa que el valor unitario no incluya impuestos, o deja que Apunto recalcule el importe.",
    ),
    "CFDI40168": Words(
        "conceptos[].descuento",
        "El descuento tiene más decimales que el importe.",
        "Redondea el descuento a los decimales de la moneda.",
    ),
    "CFDI40169": Words(
        "conceptos[].descuento", "El descuento es mayor que el importe del concepto.", "Reduce el descuento."
    ),
    "CFDI40170": Words(
        "conceptos[].objeto_imp",
        "La clave de objeto de impuesto no está en el catálogo del SAT.",
        "Usa 02 si el concepto lleva impuestos o 01 si no es objeto de impuesto.",
    ),
    "CFDI40171": Words(
        "conceptos[].objeto_imp",
        "El concepto dice ser objeto de impuesto (02) y no lleva impuestos.",
        "Agrega el IVA (aunque sea tasa 0 o exento), o cambia el objeto de impuesto a 01.",
    ),
    "CFDI40172": Words(
        "conceptos[].objeto_imp",
        "El concepto lleva impuestos y su objeto de impuesto no los admite.",
        "Cambia el objeto de impuesto a 02, o quita los impuestos del concepto.",
    ),
    "CFDI40173": Words(
        "conceptos[].traslados",
        "El concepto lleva el nodo de impuestos vacío.",
        "Agrega al menos un impuesto, o cambia el objeto de impuesto a 01.",
    ),
    "CFDI40174": Words(
        "conceptos[].traslados",
        "La base del impuesto tiene que ser mayor que cero.",
        "Revisa el descuento: un concepto con descuento total no lleva impuestos.",
    ),
    "CFDI40175": Words(
        "conceptos[].traslados[].impuesto",
        "El impuesto trasladado no es uno que se pueda timbrar aquí.",
        "Usa 002 (IVA).",
    ),
    "CFDI40176": Words(
        "conceptos[].traslados[].tipo_factor",
        "El tipo de factor del impuesto no es válido.",
        "Usa Tasa, o Exento si el concepto está exento de IVA.",
    ),
    "CFDI40177": Words(
        "conceptos[].traslados[].tasa_o_cuota",
        "Un impuesto exento no lleva tasa ni importe.",
        "Quita la tasa y el importe, o cambia el tipo de factor a Tasa.",
    ),
    "CFDI40178": Words(
        "conceptos[].traslados[].tasa_o_cuota",
        "Falta la tasa del impuesto.",
        "Captura la tasa, por ejemplo 0.160000, o cambia el tipo de factor a Exento.",
    ),
    "CFDI40179": Words(
        "conceptos[].traslados[].tasa_o_cuota",
        "La tasa de IVA no es una de las que admite el SAT.",
        "Usa 0.160000, 0.080000 (solo en la región fronteriza) o 0.000000, con sus seis decimales.",
    ),
    "CFDI40180": Words(
        "conceptos[].traslados[].importe",
        "El importe del impuesto no es base por tasa.",
        "Deja que Apunto recalcule el impuesto.",
    ),
    "CFDI40181": Words(
        "conceptos[].retenciones",
        "La base de la retención tiene que ser mayor que cero.",
        "Revisa el descuento: un concepto con descuento total no lleva retenciones.",
    ),
    "CFDI40182": Words(
        "conceptos[].retenciones[].impuesto",
        "El impuesto retenido no es uno que se pueda timbrar aquí.",
        "Usa 001 (ISR) o 002 (IVA).",
    ),
    "CFDI40183": Words(
        "conceptos[].retenciones[].tipo_factor",
        "El tipo de factor de la retención no es válido.",
        "Usa Tasa.",
    ),
    "CFDI40184": Words(
        "conceptos[].retenciones[].tipo_factor",
        "Una retención no puede ser exenta.",
        "Usa Tasa, o quita la retención.",
    ),
    "CFDI40185": Words(
        "conceptos[].retenciones[].tasa_o_cuota",
        "La tasa de la retención no es una de las que admite el SAT.",
        "Usa seis decimales: ISR hasta 0.350000, IVA hasta 0.160000 (autotransporte: 0.040000).",
    ),
    "CFDI40186": Words(
        "conceptos[].retenciones[].importe",
        "El importe de la retención no es base por tasa.",
        "Deja que Apunto recalcule la retención.",
    ),
    # Nodes that Apunto never sends: these would be ContaDigital's own additions.
    **{
        f"CFDI{number}": Words("conceptos", f"El SAT rechazó {what} de un concepto.", _NOT_SENT)
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
    "CFDI40201": Words(
        "impuestos", "Este tipo de comprobante no lleva resumen de impuestos.", "Quita el resumen."
    ),
    "CFDI40202": Words(
        "impuestos.total_impuestos_retenidos",
        "El total de impuestos retenidos tiene más decimales de los que admite la moneda.",
        _RECALCULATE,
    ),
    "CFDI40203": Words(
        "impuestos.total_impuestos_retenidos",
        "El total de impuestos retenidos no es la suma de las retenciones.",
        _RECALCULATE,
    ),
    "CFDI40204": Words(
        "impuestos.total_impuestos_trasladados",
        "El total de impuestos trasladados tiene más decimales de los que admite la moneda.",
        _RECALCULATE,
    ),
    "CFDI40205": Words(
        "impuestos.total_impuestos_trasladados",
        "El total de impuestos trasladados no es la suma de los traslados.",
        _RECALCULATE,
    ),
    "CFDI40206": Words(
        "impuestos.total_impuestos_retenidos",
        "Hay retenciones y falta el total de impuestos retenidos.",
        _RECALCULATE,
    ),
    "CFDI40207": Words(
        "impuestos.retenciones[].impuesto",
        "Un impuesto retenido del resumen no está en el catálogo del SAT.",
        "Usa 001 (ISR) o 002 (IVA).",
    ),
    "CFDI40208": Words(
        "impuestos.retenciones[].impuesto",
        "El resumen repite una retención del mismo impuesto.",
        "Deja un solo renglón por impuesto, con la suma.",
    ),
    "CFDI40209": Words(
        "impuestos.total_impuestos_retenidos",
        "Hay importes retenidos y falta el total de impuestos retenidos.",
        _RECALCULATE,
    ),
    "CFDI40210": Words(
        "impuestos.retenciones[].importe",
        "Una retención del resumen tiene más decimales de los que admite la moneda.",
        _RECALCULATE,
    ),
    "CFDI40211": Words(
        "impuestos.retenciones[].importe",
        "Una retención del resumen no es la suma de las retenciones de los conceptos.",
        _RECALCULATE,
    ),
    "CFDI40212": Words(
        "impuestos.total_impuestos_trasladados",
        "Hay impuestos trasladados y falta su total.",
        _RECALCULATE,
    ),
    "CFDI40213": Words(
        "impuestos.traslados[].base",
        "A un traslado del resumen le falta la base, el impuesto o el tipo de factor.",
        _RECALCULATE,
    ),
    "CFDI40214": Words(
        "impuestos.traslados[].base",
        "La base de un traslado del resumen tiene más decimales de los que admite la moneda.",
        _RECALCULATE,
    ),
    "CFDI40215": Words(
        "impuestos.traslados[].base",
        "La base de un traslado del resumen no es la suma de las bases de los conceptos.",
        _RECALCULATE,
    ),
    "CFDI40216": Words(
        "impuestos.traslados[].base",
        "La base exenta del resumen no es la suma de las bases exentas de los conceptos.",
        _RECALCULATE,
    ),
    "CFDI40217": Words(
        "impuestos.traslados[].impuesto",
        "Un impuesto trasladado del resumen no está en el catálogo del SAT.",
        "Usa 002 (IVA).",
    ),
    "CFDI40218": Words(
        "impuestos.traslados[].impuesto",
        "El resumen repite un traslado del mismo impuesto, factor y tasa.",
        "Deja un solo renglón por impuesto, factor y tasa, con la suma.",
    ),
    "CFDI40219": Words(
        "impuestos.traslados[].tasa_o_cuota",
        "La tasa de un traslado del resumen no es la de ningún concepto.",
        _RECALCULATE,
    ),
    "CFDI40220": Words(
        "impuestos.traslados[].importe",
        "El importe de un traslado del resumen tiene más decimales de los que admite la moneda.",
        _RECALCULATE,
    ),
    "CFDI40221": Words(
        "impuestos.traslados[].importe",
        "El importe de un traslado del resumen no es la suma de los importes de los conceptos.",
        _RECALCULATE,
    ),
    "CFDI40999": Words(
        "",
        "El SAT rechazó la factura por un dato que no cumple su estructura.",
        "Revisa textos largos, símbolos como | y datos vacíos; si no lo encuentras, escribe a soporte.",
    ),
}

MATRIX: Mapping[str, Words] = MappingProxyType(_COMPROBANTE | _EMISOR_RECEPTOR | _CONCEPTOS | _IMPUESTOS)
"""Every code of the SAT's matrix for the CFDI itself: CFDI40101 to CFDI40221, and CFDI40999."""

OWN: Mapping[str, Words] = MappingProxyType(
    {
        "timbrado.identificador": Words(
            "external_id",
            "El identificador está vacío, es muy largo o trae símbolos que no se ven.",
            "Usa de 1 a 100 caracteres visibles.",
        ),
        "timbrado.pue_por_definir": Words(
            "forma_pago",
            "Con método de pago PUE la forma de pago no puede ser 99 (por definir).",
            "Elige cómo te pagaron o te van a pagar, o cambia el método de pago a PPD.",
        ),
        "timbrado.nota_sin_relacion": Words(
            "cfdi_relacionados",
            "La nota de crédito no dice a qué factura corresponde.",
            "Agrega el folio fiscal (UUID) de la factura, con tipo de relación 01.",
        ),
        "timbrado.relacion_no_corresponde": Words(
            "cfdi_relacionados.tipo_relacion",
            "El tipo de relación no corresponde al tipo de comprobante.",
            "En una nota de crédito (E) usa 01, 03, 04 o 07; en una factura (I) usa 02, 04, 06 o 07.",
        ),
        "timbrado.correo": Words(
            "send_to", "El correo no está bien escrito.", "Escríbelo así: cliente@ejemplo.mx."
        ),
        "timbrado.nombre_corto": Words(
            "conceptos[].nombre",
            "El nombre del producto o servicio tiene menos de 2 caracteres.",
            "Escribe un nombre de 2 a 50 caracteres.",
        ),
        "timbrado.nombre_largo": Words(
            "conceptos[].nombre",
            "El nombre del producto o servicio tiene más de 50 caracteres.",
            "Acórtalo a 50 caracteres; el detalle va en la descripción.",
        ),
        "timbrado.entidad_html": Words(
            "conceptos[].descripcion",
            "El texto trae símbolos escritos en código HTML.",
            "Escribe el símbolo tal cual.",
        ),
        "timbrado.objeto_imp_no_admitido": Words(
            "conceptos[].objeto_imp",
            "Esa clave de objeto de impuesto no se puede timbrar desde Apunto.",
            "Usa 01 (no objeto), 02 (sí objeto), 03 (sin desglose) o 04 (no causa impuesto).",
        ),
        "timbrado.base": Words(
            "conceptos[].traslados[].base",
            "La base del impuesto no es el importe del concepto menos su descuento.",
            "Deja que Apunto recalcule la base.",
        ),
        "timbrado.impuesto_repetido": Words(
            "conceptos[].traslados",
            "El concepto repite un impuesto.",
            "Deja un solo traslado de IVA y una sola retención de cada impuesto.",
        ),
        "timbrado.sin_iva": Words(
            "conceptos[].traslados",
            "El concepto es objeto de impuesto y no dice su IVA.",
            "Agrega el IVA del concepto: su tasa, tasa 0 o exento.",
        ),
        "timbrado.retencion_cero": Words(
            "conceptos[].retenciones[].tasa_o_cuota",
            "La retención tiene tasa cero.",
            "Quita la retención, o captura su tasa.",
        ),
        "timbrado.importe_enorme": Words(
            "conceptos[].importe",
            "El importe tiene más de 18 dígitos enteros.",
            "Revisa la cantidad y el valor unitario.",
        ),
        "timbrado.rfc_fecha": Words(
            "receptor.rfc", "La fecha dentro del RFC no existe.", "Revisa el RFC letra por letra."
        ),
        "timbrado.rfc_digito": Words(
            "receptor.rfc",
            "El último carácter del RFC no corresponde a los demás.",
            "Revisa el RFC letra por letra; si es correcto, no hagas nada.",
        ),
        "timbrado.regimen_de_capital": Words(
            "receptor.nombre",
            "El nombre parece terminar con el régimen de capital.",
            "Si esas letras no son parte del nombre registrado en el SAT, quítalas.",
        ),
    }
)
"""The codes that are ours: the contract's, ContaDigital's, and what no code of the SAT says."""

WORDS: Mapping[str, Words] = MappingProxyType({**MATRIX, **OWN})
