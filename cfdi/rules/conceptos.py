"""Rules 35 to 42: the lines and their amounts; what ContaDigital asks of a line; freight and Carta Porte.

A rule's docstring is Spanish, since `docs/validation.md` prints it. An importe is optional in Apunto's invoice: where
it is sent inside the SAT's window it is the line's. 40173 (an empty tax node) cannot occur, since an empty list
writes no node; 40163 and 40164 only the SAT can know.
"""

from decimal import Decimal

from cfdi import rfc, wording
from cfdi.amounts import decimals_of, importe_window, is_in_units
from cfdi.characters import about_entity, complaint, entity_in
from cfdi.rules import examples as ex
from cfdi.rules.rulebook import (
    BROKEN,
    CONTADIGITAL,
    IEPS,
    NEW_KEYS,
    XSD,
    Breach,
    Breaches,
    InvoiceCase,
    LineCase,
    of_comprobante,
    of_concepto,
    unknown_key,
)
from cfdi.sat import catalogs

_HIGHEST = Decimal(10) ** 18

# --- lo que es el concepto ----------------------------------------------------------------------------


@of_comprobante(
    "CFDI40999",
    None,
    "conceptos",
    source=XSD,
    fails={"conceptos": []},
    passes={"conceptos": [ex.FLETE]},
)
def there_is_a_line(case: InvoiceCase) -> Breaches:
    """La factura tiene al menos un concepto."""
    if case.invoice.conceptos:
        return None
    return Breach("La factura no tiene líneas.", "Agrega al menos una línea.")


@of_concepto(
    "CFDI40162",
    35,
    "conceptos[].clave_prod_serv",
    fails=ex.line(clave_prod_serv="1010101"),
    passes=ex.line(clave_prod_serv="01010101"),
)
def clave_prod_serv_is_in_force(line: LineCase) -> Breaches:
    """La clave de producto o servicio está vigente en c_ClaveProdServ, con sus 8 dígitos."""
    clave = line.concepto.clave_prod_serv
    if catalogs.clave_prod_serv(clave) is not None:
        return None
    padded = clave.zfill(8)
    if len(clave) < 8 and catalogs.clave_prod_serv(padded) is not None:
        return Breach(
            f"Línea {line.number}: la clave {clave} perdió sus ceros a la izquierda.",
            f"Escríbela así: {padded}.",
        )
    if catalogs.may_be_new("c_ClaveProdServ", clave):
        return None
    return Breach(
        f"Línea {line.number}: la clave «{clave[:20]}» no es de las de 8 dígitos del catálogo del SAT."
    )


@of_concepto(
    "CFDI40162",
    35,
    "conceptos[].clave_prod_serv",
    only_warns=True,
    source=NEW_KEYS,
    fails=ex.line(clave_prod_serv="78101899"),
    passes=ex.line(clave_prod_serv="78141501"),
)
def clave_prod_serv_is_known(line: LineCase) -> Breaches:
    """La clave de producto o servicio está en nuestros catálogos."""
    clave = line.concepto.clave_prod_serv
    if catalogs.clave_prod_serv(clave) is not None or not catalogs.may_be_new("c_ClaveProdServ", clave):
        return None
    return Breach(
        f"Línea {line.number}: la clave {clave} no está en nuestro catálogo.",
        "Si es una clave nueva del SAT, no hagas nada; si no, búscala en Apunto por nombre "
        "(por ejemplo «flete»: 78101802).",
    )


@of_concepto(
    "CFDI40165",
    36,
    "conceptos[].clave_unidad",
    fails=ex.line(clave_unidad="SERV"),
    passes=ex.line(clave_unidad="KGM"),
)
def clave_unidad_is_in_force(line: LineCase) -> Breaches:
    """La clave de unidad está en c_ClaveUnidad."""
    clave = line.concepto.clave_unidad
    if catalogs.clave_unidad(clave) is not None:
        return None
    if catalogs.clave_unidad(clave.upper()) is not None:
        meant = wording.key("clave_unidad", clave.upper())
        return Breach(
            f"Línea {line.number}: la unidad «{clave}» va en mayúsculas.", f"Escríbela así: {meant}."
        )
    if catalogs.may_be_new("c_ClaveUnidad", clave):
        return None
    return Breach(f"Línea {line.number}: la unidad «{clave[:20]}» no está en el catálogo del SAT.")


@of_concepto(
    "CFDI40165",
    36,
    "conceptos[].clave_unidad",
    only_warns=True,
    source=NEW_KEYS,
    fails=ex.line(clave_unidad="ZZ9"),
    passes=ex.line(clave_unidad="KGM"),
)
def clave_unidad_is_known(line: LineCase) -> Breaches:
    """La clave de unidad está en nuestros catálogos."""
    clave = line.concepto.clave_unidad
    known = clave if catalogs.clave_unidad(clave) or catalogs.clave_unidad(clave.upper()) else ""
    return unknown_key(clave, (known,), "c_ClaveUnidad", f"Línea {line.number}: la unidad")


@of_concepto(
    "CFDI40999",
    37,
    "conceptos[].cantidad",
    source=XSD,
    fails=ex.line(cantidad="0.000000"),
    passes=ex.line(cantidad="0.500000"),
)
def cantidad_is_positive(line: LineCase) -> Breaches:
    """La cantidad es mayor que cero, con hasta 6 decimales."""
    if line.concepto.cantidad > 0:
        return None
    return Breach(
        f"Línea {line.number}: la cantidad tiene que ser mayor que cero.",
        "Captura la cantidad o quita la línea.",
    )


def _text(line: LineCase, what: str, text: str | None, longest: int) -> Breaches:
    wrong = None if text is None else complaint(what, text, longest)
    return Breach(f"Línea {line.number}: {wrong.message}", wrong.fix) if wrong else None


@of_concepto(
    "CFDI40999",
    38,
    "conceptos[].descripcion",
    source=XSD,
    fails=ex.line(descripcion="Flete | Monterrey"),
    passes=ex.line(descripcion="Flete «Ñandú» & Cía., 20 % más"),
)
def descripcion_fits(line: LineCase) -> Breaches:
    """La descripción tiene de 1 a 1000 caracteres, sin barra vertical; un salto de línea cuenta como espacio."""
    return _text(line, "la descripción", line.concepto.descripcion, 1000)


@of_concepto(
    "CFDI40999",
    38,
    "conceptos[].no_identificacion",
    source=XSD,
    fails=ex.line(no_identificacion="F" * 101),
    passes=ex.line(no_identificacion="F" * 100),
)
def no_identificacion_fits(line: LineCase) -> Breaches:
    """El número de identificación tiene de 1 a 100 caracteres, sin barra vertical."""
    return _text(line, "el número de identificación", line.concepto.no_identificacion, 100)


@of_concepto(
    "CFDI40999",
    38,
    "conceptos[].unidad",
    source=XSD,
    fails=ex.line(unidad="Servicio de transporte"),
    passes=ex.line(unidad="Servicio"),
)
def unidad_fits(line: LineCase) -> Breaches:
    """La unidad tiene de 1 a 20 caracteres, sin barra vertical."""
    return _text(line, "la unidad", line.concepto.unidad, 20)


@of_concepto(
    "timbrado.entidad_html",
    38,
    "conceptos[].descripcion",
    source="Código 705 de Finkok",
    fails=ex.line(descripcion="Carga &amp; descarga"),
    passes=ex.line(descripcion="Carga & descarga; R&D"),
)
def texts_have_no_html(line: LineCase) -> Breaches:
    """Los textos del concepto no traen símbolos en código HTML."""
    concepto, breaches = line.concepto, []
    for field, what, text in (
        ("nombre", "el nombre del producto", concepto.nombre),
        ("descripcion", "la descripción", concepto.descripcion),
        ("no_identificacion", "el número de identificación", concepto.no_identificacion),
        ("unidad", "la unidad", concepto.unidad),
    ):
        found = entity_in(text) if text else ""
        if found:
            message, fix = about_entity(what, found)
            breaches.append(Breach(f"Línea {line.number}: {message}", fix, f"{line.path}.{field}"))
    return breaches or None


@of_concepto(
    "timbrado.nombre_corto",
    None,
    "conceptos[].nombre",
    source=CONTADIGITAL,
    fails=ex.line(nombre="F"),
    passes=ex.line(nombre="Fl"),
)
def nombre_is_long_enough(line: LineCase) -> Breaches:
    """El nombre del producto o servicio tiene al menos 2 caracteres."""
    nombre = line.concepto.nombre
    if len(nombre) >= 2:
        return None
    return Breach(
        f"Línea {line.number}: el nombre del producto, «{nombre}», es muy corto; el mínimo es 2 caracteres."
    )


@of_concepto(
    "timbrado.nombre_largo",
    None,
    "conceptos[].nombre",
    source=CONTADIGITAL,
    fails=ex.line(nombre="Servicio de flete terrestre de Monterrey a Laredo, N"),
    passes=ex.line(nombre="Servicio de flete terrestre de Monterrey a Laredo."),
)
def nombre_is_short_enough(line: LineCase) -> Breaches:
    """El nombre del producto o servicio tiene a lo más 50 caracteres."""
    length = len(line.concepto.nombre)
    if length <= 50:
        return None
    return Breach(f"Línea {line.number}: el nombre del producto tiene {length} caracteres y el máximo es 50.")


@of_concepto(
    "CFDI40999",
    None,
    "conceptos[].nombre",
    source=CONTADIGITAL,
    fails=ex.line(nombre="Flete\x07terrestre"),
    passes=ex.line(nombre="Flete & maniobras"),
)
def nombre_has_no_hidden_symbols(line: LineCase) -> Breaches:
    """El nombre del producto o servicio no trae barra vertical ni símbolos que no se ven."""
    nombre = line.concepto.nombre
    wrong = complaint("el nombre del producto", nombre, len(nombre), 0)
    return Breach(f"Línea {line.number}: {wrong.message}", wrong.fix) if wrong else None


# --- importes -----------------------------------------------------------------------------------------


@of_concepto(
    "CFDI40166",
    39,
    "conceptos[].valor_unitario",
    fails=ex.line(valor_unitario="0.00"),
    passes=ex.line(valor_unitario="0.010000", descuento=None),
)
def valor_unitario_is_positive(line: LineCase) -> Breaches:
    """El valor unitario es mayor que cero, con hasta 6 decimales."""
    if line.concepto.valor_unitario > 0:
        return None
    return Breach(f"Línea {line.number}: el precio tiene que ser mayor que cero.")


@of_concepto(
    "CFDI40167",
    40,
    "conceptos[].importe",
    source="Anexo 20, límites del importe",
    fails=ex.taxed(cantidad="2", valor_unitario="58.00", importe="100.00"),
    passes=ex.taxed(cantidad="2", valor_unitario="58.00", importe="116.00"),
)
def importe_is_inside_its_window(line: LineCase) -> Breaches:
    """El importe que se mostró es cantidad × valor unitario, en la ventana que admite el SAT."""
    concepto, decimals = line.concepto, line.case.decimals
    sent = concepto.importe
    if sent is None:
        return None
    low, high = importe_window(concepto.cantidad, concepto.valor_unitario, decimals)
    if low <= sent <= high:
        return None
    money, price = line.case.money, concepto.valor_unitario
    return Breach(
        f"El importe de la línea {line.number} no cuadra: {wording.number(concepto.cantidad)} × {money(price)} "
        f"son {money(line.importe)} y la factura dice {money(sent)}.",
        detail=f"the SAT's window is {low} to {high}",
    )


@of_concepto(
    "timbrado.importe_enorme",
    40,
    "conceptos[].importe",
    source=XSD,
    fails=ex.line(cantidad="1000000000", valor_unitario="1000000000.00", importe=None),
    passes=ex.line(cantidad="1000000000", valor_unitario="99999999.00", importe=None),
)
def importe_can_be_written(line: LineCase) -> Breaches:
    """El importe del concepto tiene a lo más 18 dígitos enteros."""
    return BROKEN if line.importe >= _HIGHEST else None


@of_concepto(
    "CFDI40168",
    41,
    "conceptos[].descuento",
    fails=ex.line(descuento="0.005"),
    passes=ex.taxed(importe="100.0000", descuento="0.0500"),
)
def descuento_is_no_finer_than_importe(line: LineCase) -> Breaches:
    """El descuento del concepto no necesita más decimales que su importe, o que la moneda si no se mostró."""
    descuento, importe, decimals = line.concepto.descuento, line.concepto.importe, line.case.decimals
    if importe is not None:
        decimals = max(decimals, min(decimals_of(importe), 6))
    if descuento is None or is_in_units(descuento, decimals):
        return None
    return Breach(
        f"Línea {line.number}: el descuento, {line.case.money(descuento)}, tiene más de {decimals} decimales."
    )


@of_concepto(
    "CFDI40169",
    41,
    "conceptos[].descuento",
    fails=ex.taxed(descuento="100.01"),
    passes=ex.taxed(descuento="99.99"),
)
def descuento_is_not_above_importe(line: LineCase) -> Breaches:
    """El descuento del concepto no es mayor que su importe."""
    descuento, importe, money = line.concepto.descuento, line.importe_as_shown, line.case.money
    if descuento is None or descuento <= importe:
        return None
    return Breach(
        f"Línea {line.number}: el descuento, {money(descuento)}, es mayor que el importe, {money(importe)}."
    )


# --- objeto de impuesto -------------------------------------------------------------------------------


@of_concepto(
    "CFDI40170",
    42,
    "conceptos[].objeto_imp",
    fails=ex.line(objeto_imp="2"),
    passes=ex.line(objeto_imp="01", traslados=[], retenciones=[]),
)
def objeto_imp_is_a_key(line: LineCase) -> Breaches:
    """La clave de objeto de impuesto es de dos dígitos, de c_ObjetoImp."""
    clave = line.concepto.objeto_imp
    if clave in catalogs.objetos_imp() or catalogs.may_be_new("c_ObjetoImp", clave):
        return None
    return Breach(
        f"Línea {line.number}: el objeto de impuesto «{clave[:20]}» no está en el catálogo del SAT."
    )


@of_concepto(
    "CFDI40170",
    42,
    "conceptos[].objeto_imp",
    only_warns=True,
    source=NEW_KEYS,
    fails=ex.line(objeto_imp="09"),
    passes=ex.line(objeto_imp="01", traslados=[], retenciones=[]),
)
def objeto_imp_is_known(line: LineCase) -> Breaches:
    """La clave de objeto de impuesto está en nuestros catálogos."""
    what = f"Línea {line.number}: el objeto de impuesto"
    return unknown_key(line.concepto.objeto_imp, catalogs.objetos_imp(), "c_ObjetoImp", what)


@of_concepto(
    "CFDI40171",
    42,
    "conceptos[].objeto_imp",
    fails=ex.line(objeto_imp="02", traslados=[], retenciones=[]),
    passes=ex.taxed(ex.EXEMPT),
)
def taxed_line_has_taxes(line: LineCase) -> Breaches:
    """Un concepto objeto de impuesto (02) lleva al menos un impuesto."""
    concepto = line.concepto
    if concepto.objeto_imp != "02" or concepto.traslados or concepto.retenciones:
        return None
    return Breach(f"Línea {line.number}: dice ser objeto de impuesto (02) y no lleva impuestos.")


@of_concepto(
    "CFDI40172",
    42,
    "conceptos[].objeto_imp",
    fails=ex.taxed(objeto_imp="01"),
    passes=ex.line(objeto_imp="03", traslados=None, retenciones=None),
)
def untaxed_line_has_no_taxes(line: LineCase) -> Breaches:
    """Un concepto con objeto de impuesto 01, 03, 04 o 05 no lleva impuestos."""
    concepto = line.concepto
    if concepto.objeto_imp not in ("01", "03", "04", "05") or not (
        concepto.traslados or concepto.retenciones
    ):
        return None
    objeto = wording.key("objeto_imp", concepto.objeto_imp)
    return Breach(f"Línea {line.number}: lleva impuestos y su objeto de impuesto es {objeto}.")


@of_concepto(
    "timbrado.objeto_imp_no_admitido",
    42,
    "conceptos[].objeto_imp",
    source="c_ObjetoImp: 05 a 08 piden IEPS o créditos que Apunto no maneja",
    fails=ex.line(objeto_imp="06", traslados=[], retenciones=[]),
    passes=ex.line(objeto_imp="04", traslados=[], retenciones=[]),
)
def objeto_imp_is_one_we_issue(line: LineCase) -> Breaches:
    """La clave de objeto de impuesto es 01, 02, 03 o 04."""
    return BROKEN if line.concepto.objeto_imp in ("05", "06", "07", "08") else None


@of_concepto(
    "timbrado.sin_iva",
    42,
    "conceptos[].traslados",
    source="Contrato de ContaDigital: un concepto sin tasa de IVA se timbra como exento",
    fails=ex.taxed() | ex.line(traslados=[], retenciones=[ex.WITHHELD]),
    passes=ex.taxed(ex.EXEMPT, ex.WITHHELD),
)
def taxed_line_has_its_iva(line: LineCase) -> Breaches:
    """Un concepto objeto de impuesto (02) dice su IVA: una tasa, 0 o exento."""
    concepto = line.concepto
    if concepto.objeto_imp != "02" or concepto.traslados or not concepto.retenciones:
        return None
    return Breach(f"Línea {line.number}: lleva retenciones y no dice su IVA.")


@of_concepto(
    "timbrado.impuesto_repetido",
    43,
    "conceptos[].traslados",
    source="Contrato de ContaDigital: un IVA y una retención de cada impuesto por concepto",
    fails=ex.taxed() | ex.line(traslados=[ex.IVA, ex.EXEMPT]),
    passes=ex.taxed()
    | ex.line(retenciones=[ex.WITHHELD, ex.WITHHELD | {"impuesto": "001", "tasa_o_cuota": "0.012500"}]),
)
def no_tax_comes_twice(line: LineCase) -> Breaches:
    """Cada concepto lleva a lo más un traslado de IVA y una retención de cada impuesto."""
    found = []
    for kind, taxes in (("traslados", line.concepto.traslados), ("retenciones", line.concepto.retenciones)):
        seen = [tax.impuesto for tax in taxes if tax.impuesto != IEPS]  # refused on its own account
        if len(set(seen)) < len(seen):
            what = "el IVA" if kind == "traslados" else "una retención"
            found.append(Breach(f"Línea {line.number}: {what} se repite.", field=f"{line.path}.{kind}"))
    return found or None


# --- fletes -------------------------------------------------------------------------------------------

# Matriz de errores del complemento Carta Porte 3.1, CP109: the keys that go with it, less those of whoever does not
# drive: organising transport (781415xx) and parcels (781022xx), which the SAT's FAQ (12, 39, 41, 46) exempts.
HAULS = frozenset(
    {
        *(f"7810150{n}" for n in range(5)),
        *(f"7810160{n}" for n in range(5)),
        *(f"7810170{n}" for n in range(6)),
        *(f"7810180{n}" for n in (0, 1, 2, 3, 4, 6, 7)),
        *(f"7810190{n}" for n in range(6)),
    }
)
"""Services of carrying goods by air, rail, sea, road or several of them."""
BY_ROAD = "781018"
FREIGHT_WITHHOLDING = Decimal("0.04")
"""IVA that a company withholds from road freight of goods: LIVA 1-A, II, c; its reglamento, 3, II."""


@of_comprobante(
    "timbrado.carta_porte",
    None,
    "conceptos[].clave_prod_serv",
    only_warns=True,
    source="Preguntas frecuentes de Carta Porte 3.1, pregunta 1; matriz de errores, CP109",
    fails={"tipo_de_comprobante": "I"} | ex.line(clave_prod_serv="78101802"),
    passes={"tipo_de_comprobante": "I"} | ex.line(clave_prod_serv="78141501"),
)
def a_carrier_needs_carta_porte(case: InvoiceCase) -> Breaches:
    """Un ingreso por transportar mercancía lleva el complemento Carta Porte, y desde aquí se timbra sin él."""
    if case.invoice.tipo_de_comprobante != "I":
        return None
    for line in case.lines:
        if line.concepto.clave_prod_serv in HAULS:
            return Breach(field=f"{line.path}.clave_prod_serv")
    return None


@of_concepto(
    "timbrado.retencion_flete",
    None,
    "conceptos[].retenciones",
    only_warns=True,
    source="LIVA, artículo 1-A, fracción II, inciso c; su reglamento, artículo 3, fracción II",
    fails={"receptor.rfc": "XIA190128J61"} | ex.taxed(clave_prod_serv="78101802"),
    passes={"receptor.rfc": "XIA190128J61"} | ex.taxed(clave_prod_serv="78141501"),
)
def freight_by_road_is_withheld_from(line: LineCase) -> Breaches:
    """El flete por carretera a una persona moral lleva retención de IVA de 4 %."""
    concepto, receptor = line.concepto, line.case.invoice.receptor
    if not concepto.clave_prod_serv.startswith(BY_ROAD) or concepto.clave_prod_serv not in HAULS:
        return None
    if line.case.invoice.tipo_de_comprobante != "I":  # a credit note follows its invoice
        return None
    charged = any(tax.impuesto == "002" and tax.tasa_o_cuota for tax in concepto.traslados)
    if not charged or rfc.persona(receptor.rfc) != "moral":
        return None
    withheld = [tax.tasa_o_cuota for tax in concepto.retenciones if tax.impuesto == "002"]
    if withheld == [FREIGHT_WITHHOLDING]:
        return None
    if not withheld:
        return Breach(
            f"Línea {line.number}: el flete por carretera a una empresa suele llevar una retención de IVA de 4 %, "
            "y esta línea no la lleva.",
            "Si tú transportas la mercancía, agrega la retención; si solo organizas el viaje, revisa la clave de "
            "producto o servicio.",
        )
    shown = wording.percent(withheld[0]) if withheld[0] is not None else "otra tasa"
    return Breach(
        f"Línea {line.number}: el flete por carretera a una empresa suele llevar una retención de IVA de 4 %, "
        f"y esta línea lleva {shown}.",
    )
