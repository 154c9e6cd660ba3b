"""Rules 21 to 34: who issues the invoice and who receives it.

A rule's docstring is Spanish, since `docs/validation.md` prints it. Rules about the emisor act on the
connection's `Issuer` and stay silent about what it does not know yet. Whether an RFC, a name or a postcode
is the one registered (23, 26, and half of 24, 27 and 29) only the SAT can say.
"""

from cfdi import names, rfc, wording
from cfdi.characters import about_entity, complaint, entity_in
from cfdi.rules.rulebook import (
    BROKEN,
    GUIA,
    NEW_KEYS,
    XSD,
    Breach,
    Breaches,
    Changes,
    InvoiceCase,
    of_comprobante,
    unknown_key,
)
from cfdi.sat import catalogs, usos

_GENERIC: Changes = {
    "rfc": rfc.EXTRANJERO,
    "nombre": "ACME LOGISTICS INC",
    "domicilio_fiscal_receptor": "64000",
    "regimen_fiscal_receptor": "616",
    "uso_cfdi": "S01",
}
_MORAL: Changes = {
    "rfc": "L&O950913MSA",
    "nombre": "LUCES & OBRAS",
    "domicilio_fiscal_receptor": "60922",
    "regimen_fiscal_receptor": "601",
    "uso_cfdi": "G03",
}
_PERSONS = {"moral": "una persona moral", "fisica": "una persona física"}
_OF_PERSONS = {"moral": "de persona moral", "fisica": "de persona física"}
_WHO = {"moral": "una empresa (persona moral)", "fisica": "una persona física"}


_OF_THE_CONSTANCIA = "Cópialo de la Constancia de Situación Fiscal de tu cliente."


def _foreign(**changes: object) -> Changes:
    return {"lugar_expedicion": "64000", "informacion_global": None, "receptor": _GENERIC | changes}


def _company(**changes: object) -> Changes:
    return {"informacion_global": None, "receptor": _MORAL | changes}


# --- emisor -------------------------------------------------------------------------------------------


@of_comprobante(
    "CFDI40999",
    21,
    "emisor.rfc",
    source=XSD,
    fails={"emisor.rfc": "EKU9013173C9", "emisor.regimen_fiscal": None},
    passes={"emisor.rfc": "H&E951128469"},
)
def emisor_rfc_has_its_pattern(case: InvoiceCase) -> Breaches:
    """El RFC del emisor tiene la forma de un RFC."""
    if case.issuer is None or rfc.is_well_formed(case.issuer.rfc):
        return None
    return Breach(
        f"El RFC del emisor, «{case.issuer.rfc[:20]}», no tiene la forma de un RFC.", "Corrígelo en Apunto."
    )


@of_comprobante(
    "CFDI40139",
    24,
    "emisor.nombre",
    fails={"emisor.nombre": "ESCUELA KEMPER URGATE, S.A. de C.V."},
    passes={"emisor.nombre": "ESCUELA KEMPER URGATE"},
)
def emisor_nombre_is_without_regimen_de_capital(case: InvoiceCase) -> Breaches:
    """La razón social del emisor va sin régimen de capital."""
    issuer = case.issuer
    if issuer is None or rfc.persona(issuer.rfc) != "moral":
        return None
    found = names.regimen_capital(issuer.nombre)
    if found is None or not found.is_certain:
        return None
    return Breach(
        f"Tu razón social termina con el régimen de capital «{found.sufijo}», y el SAT la registra sin él.",
        f"Escríbela así en Apunto y en ContaDigital: {names.as_the_sat_writes(found.nombre)}.",
    )


@of_comprobante(
    "CFDI40140",
    25,
    "emisor.regimen_fiscal",
    fails={"emisor.regimen_fiscal": "609"},
    passes={"emisor.regimen_fiscal": "624"},
)
def emisor_regimen_is_in_force(case: InvoiceCase) -> Breaches:
    """El régimen del emisor está vigente en c_RegimenFiscal."""
    regimen = None if case.issuer is None else case.issuer.regimen_fiscal
    if regimen is None or regimen in catalogs.regimenes() or catalogs.may_be_new("c_RegimenFiscal", regimen):
        return None
    return Breach(f"Tu régimen fiscal, «{regimen[:20]}», no está vigente en el catálogo del SAT.")


@of_comprobante(
    "CFDI40141",
    25,
    "emisor.regimen_fiscal",
    fails={"emisor.rfc": "EKU9003173C9", "emisor.regimen_fiscal": "612"},
    passes={"emisor.rfc": "CACX7605101P8", "emisor.regimen_fiscal": "612"},
)
def emisor_regimen_suits_the_person(case: InvoiceCase) -> Breaches:
    """El régimen del emisor corresponde a su tipo de persona."""
    issuer = case.issuer
    if issuer is None or issuer.regimen_fiscal is None:
        return None
    persona, regimen = rfc.persona(issuer.rfc), issuer.regimen_fiscal
    if persona is None or regimen not in catalogs.regimenes() or usos.is_regimen_of(regimen, persona):
        return None
    return Breach(
        f"Tu régimen fiscal, {wording.key('regimen_fiscal', regimen)}, no es {_OF_PERSONS[persona]}, "
        f"y tu RFC es de {_WHO[persona]}."
    )


# --- receptor: RFC ------------------------------------------------------------------------------------


@of_comprobante(
    "CFDI40999",
    21,
    "receptor.rfc",
    source=XSD,
    fails={"receptor.rfc": "xia190128j61", "informacion_global": None},
    passes=_company(rfc="OÑO120726RX3", nombre="ORGANICOS ÑAVEZ OSORIO", domicilio_fiscal_receptor="40501"),
)
def receptor_rfc_has_its_pattern(case: InvoiceCase) -> Breaches:
    """El RFC del cliente tiene 12 caracteres (persona moral) o 13 (física), en mayúsculas, con una fecha."""
    sent = case.invoice.receptor.rfc
    if rfc.is_well_formed(sent):
        return None
    meant = "".join(c for c in sent.upper() if c.isalnum() or c == "&")
    fix = (
        f"Escríbelo así: {meant}."
        if rfc.is_well_formed(meant)
        else "Revisa el RFC del cliente letra por letra."
    )
    return Breach(f"«{sent[:20]}» no tiene la forma de un RFC.", fix)


@of_comprobante(
    "timbrado.rfc_fecha",
    22,
    "receptor.rfc",
    only_warns=True,
    source="Estructura del RFC",
    fails=_company(rfc="L&O950231MSA"),
    passes=_company(),
)
def receptor_rfc_has_a_real_date(case: InvoiceCase) -> Breaches:
    """La fecha dentro del RFC del cliente existe."""
    sent = case.invoice.receptor.rfc
    if sent in rfc.GENERIC or not rfc.is_well_formed(sent) or rfc.has_real_date(sent):
        return None
    return BROKEN


@of_comprobante(
    "timbrado.rfc_digito",
    22,
    "receptor.rfc",
    only_warns=True,
    source="Estructura del RFC; hay RFC reales que no la cumplen",
    fails=_company(rfc="L&O950913MS0"),
    passes=_company(),
)
def receptor_rfc_has_its_check_digit(case: InvoiceCase) -> Breaches:
    """El dígito verificador del RFC del cliente corresponde a los demás."""
    sent = case.invoice.receptor.rfc
    if sent in rfc.GENERIC or not rfc.is_well_formed(sent) or rfc.has_right_check_digit(sent):
        return None
    return BROKEN


# --- receptor: nombre ---------------------------------------------------------------------------------


@of_comprobante(
    "CFDI40999",
    27,
    "receptor.nombre",
    source=XSD,
    fails={"receptor.nombre": "XENON | INDUSTRIAL"},
    passes=_company(nombre="  luces   & obras "),
)
def receptor_nombre_fits(case: InvoiceCase) -> Breaches:
    """El nombre del cliente tiene de 1 a 300 caracteres, sin barra vertical."""
    wrong = complaint("El nombre del cliente", case.invoice.receptor.nombre, 300)
    return Breach(wrong.message, "Escríbelo como en su Constancia de Situación Fiscal.") if wrong else None


@of_comprobante(
    "timbrado.entidad_html",
    27,
    "receptor.nombre",
    source="Código 705 de Finkok",
    fails=_company(nombre="LUCES &amp; OBRAS"),
    passes=_company(),
)
def receptor_nombre_has_no_html(case: InvoiceCase) -> Breaches:
    """El nombre del cliente no trae símbolos en código HTML."""
    found = entity_in(case.invoice.receptor.nombre.lower())
    if not found:
        return None
    return Breach(*about_entity("El nombre del cliente", found))


@of_comprobante(
    "CFDI40145",
    27,
    "receptor.nombre",
    fails=_company(nombre="LUCES & OBRAS, S. de R.L. de C.V."),
    passes=_company(nombre="SA DE CV"),
)
def receptor_nombre_is_without_regimen_de_capital(case: InvoiceCase) -> Breaches:
    """El nombre de una persona moral va sin régimen de capital (S.A. de C.V. y similares)."""
    receptor = case.invoice.receptor
    if rfc.persona(receptor.rfc) != "moral":
        return None
    found = names.regimen_capital(receptor.nombre)
    if found is None or not found.is_certain:
        return None
    return Breach(
        f"El nombre termina con el régimen de capital «{found.sufijo}», y el SAT lo registra sin él.",
        f"Escríbelo así, si coincide con su Constancia de Situación Fiscal: {found.nombre}.",
    )


@of_comprobante(
    "timbrado.regimen_de_capital",
    27,
    "receptor.nombre",
    only_warns=True,
    source=GUIA,
    fails=_company(nombre="PLAN A C"),
    passes=_company(nombre="PLAN ACTIVO"),
)
def receptor_nombre_may_end_in_a_regimen_de_capital(case: InvoiceCase) -> Breaches:
    """El nombre podría terminar con un régimen de capital."""
    receptor = case.invoice.receptor
    if receptor.rfc in rfc.GENERIC:
        return None
    found = names.regimen_capital(receptor.nombre)
    if found is None or (found.is_certain and rfc.persona(receptor.rfc) == "moral"):
        return None
    return Breach(
        f"El nombre parece terminar con el régimen de capital «{found.sufijo}».",
        f"Si esas letras no son parte del nombre registrado en el SAT, escríbelo así: {found.nombre}.",
    )


@of_comprobante(
    "CFDI40146",
    28,
    "receptor.nombre",
    fails=_company(nombre="PUBLICO EN GENERAL"),
    passes={
        "lugar_expedicion": "64000",
        "receptor": _GENERIC | {"rfc": rfc.PUBLICO_EN_GENERAL, "nombre": "JUAN PEREZ"},
    },
)
def publico_en_general_has_its_rfc(case: InvoiceCase) -> Breaches:
    """El nombre PUBLICO EN GENERAL va solo con el RFC XAXX010101000."""
    receptor = case.invoice.receptor
    if receptor.nombre != "PUBLICO EN GENERAL":
        return None
    return None if receptor.rfc == rfc.PUBLICO_EN_GENERAL else BROKEN


# --- receptor: domicilio y régimen --------------------------------------------------------------------


@of_comprobante(
    "CFDI40147",
    29,
    "receptor.domicilio_fiscal_receptor",
    fails=_company(domicilio_fiscal_receptor="6092"),
    passes=_company(domicilio_fiscal_receptor="01219"),
)
def domicilio_has_five_digits(case: InvoiceCase) -> Breaches:
    """El código postal del cliente tiene 5 dígitos."""
    sent = case.invoice.receptor.domicilio_fiscal_receptor
    if len(sent) == 5 and sent.isascii() and sent.isdigit():
        return None
    return Breach(f"El código postal del cliente, «{sent[:20]}», no tiene 5 dígitos.", _OF_THE_CONSTANCIA)


@of_comprobante(
    "CFDI40147",
    29,
    "receptor.domicilio_fiscal_receptor",
    only_warns=True,
    source="c_CodigoPostal; el esquema no lo revisa",
    fails=_company(domicilio_fiscal_receptor="00001"),
    passes=_company(domicilio_fiscal_receptor="76343"),
)
def domicilio_is_in_the_catalogue(case: InvoiceCase) -> Breaches:
    """El código postal del cliente está en c_CodigoPostal."""
    sent = case.invoice.receptor.domicilio_fiscal_receptor
    if len(sent) != 5 or not sent.isdigit() or catalogs.postcode(sent) is not None:
        return None
    return Breach(
        f"El código postal del cliente, {sent}, no está en nuestro catálogo.",
        "Compáralo con la Constancia de Situación Fiscal de tu cliente; si es el mismo, no hagas nada.",
    )


@of_comprobante(
    "CFDI40149",
    30,
    "receptor.domicilio_fiscal_receptor",
    fails=_foreign(domicilio_fiscal_receptor="76343"),
    passes=_foreign(),
)
def generic_rfc_lives_at_the_place_of_issue(case: InvoiceCase) -> Breaches:
    """Con RFC genérico el código postal del cliente es el del lugar de expedición."""
    receptor, place = case.invoice.receptor, case.invoice.lugar_expedicion
    if receptor.rfc not in rfc.GENERIC or receptor.domicilio_fiscal_receptor == place:
        return None
    return Breach(fix=f"Escribe {place} en el código postal del cliente.")


@of_comprobante(
    "CFDI40157",
    31,
    "receptor.regimen_fiscal_receptor",
    fails=_company(regimen_fiscal_receptor="629"),
    passes=_company(regimen_fiscal_receptor="626"),
)
def regimen_is_in_force(case: InvoiceCase) -> Breaches:
    """El régimen del cliente está vigente en c_RegimenFiscal."""
    regimen = case.invoice.receptor.regimen_fiscal_receptor
    if regimen in catalogs.regimenes() or catalogs.may_be_new("c_RegimenFiscal", regimen):
        return None
    return Breach(f"El régimen del cliente, «{regimen[:20]}», no está vigente en el catálogo del SAT.")


@of_comprobante(
    "CFDI40157",
    31,
    "receptor.regimen_fiscal_receptor",
    only_warns=True,
    source=NEW_KEYS,
    fails=_company(regimen_fiscal_receptor="627"),
    passes=_company(regimen_fiscal_receptor="626"),
)
def regimen_is_known(case: InvoiceCase) -> Breaches:
    """El régimen del cliente está en nuestros catálogos."""
    regimen = case.invoice.receptor.regimen_fiscal_receptor
    what = "El régimen del cliente"
    return unknown_key(regimen, catalogs.regimenes(), "c_RegimenFiscal", what)


@of_comprobante(
    "CFDI40158",
    31,
    "receptor.regimen_fiscal_receptor",
    fails=_company(regimen_fiscal_receptor="612"),
    passes=_company(regimen_fiscal_receptor="601"),
)
def regimen_suits_the_person(case: InvoiceCase) -> Breaches:
    """El régimen del cliente corresponde a su tipo de persona."""
    receptor = case.invoice.receptor
    persona, regimen = rfc.persona(receptor.rfc), receptor.regimen_fiscal_receptor
    if persona is None or regimen not in catalogs.regimenes() or usos.is_regimen_of(regimen, persona):
        return None
    other = next(kind for kind in _PERSONS if kind != persona)
    return Breach(
        f"El régimen {wording.key('regimen_fiscal', regimen)} es {_OF_PERSONS[other]} "
        f"y el RFC {receptor.rfc} es de {_WHO[persona]}.",
        "Elige el régimen de la Constancia de Situación Fiscal de tu cliente.",
    )


@of_comprobante(
    "CFDI40159",
    32,
    "receptor.regimen_fiscal_receptor",
    fails=_foreign(regimen_fiscal_receptor="601"),
    passes=_foreign(),
)
def generic_rfc_has_no_obligations(case: InvoiceCase) -> Breaches:
    """Con RFC genérico el régimen del cliente es 616."""
    receptor = case.invoice.receptor
    return BROKEN if receptor.rfc in rfc.GENERIC and receptor.regimen_fiscal_receptor != "616" else None


# --- receptor: uso ------------------------------------------------------------------------------------


@of_comprobante(
    "CFDI40160",
    33,
    "receptor.uso_cfdi",
    fails={"receptor.uso_cfdi": "P01"},
    passes={"receptor.uso_cfdi": "S01"},
)
def uso_cfdi_is_in_force(case: InvoiceCase) -> Breaches:
    """El uso del CFDI está vigente en c_UsoCFDI."""
    uso = case.invoice.receptor.uso_cfdi
    if uso in catalogs.usos_cfdi() or catalogs.may_be_new("c_UsoCFDI", uso):
        return None
    return Breach(f"El uso del CFDI «{uso[:20]}» no está vigente en el catálogo del SAT.")


@of_comprobante(
    "CFDI40160",
    33,
    "receptor.uso_cfdi",
    only_warns=True,
    source=NEW_KEYS,
    fails={"receptor.uso_cfdi": "G04"},
    passes={"receptor.uso_cfdi": "G03"},
)
def uso_cfdi_is_known(case: InvoiceCase) -> Breaches:
    """El uso del CFDI está en nuestros catálogos."""
    return unknown_key(case.invoice.receptor.uso_cfdi, catalogs.usos_cfdi(), "c_UsoCFDI", "El uso del CFDI")


@of_comprobante(
    "CFDI40161", 33, "receptor.uso_cfdi", fails=_company(uso_cfdi="D01"), passes=_company(uso_cfdi="I04")
)
def uso_cfdi_suits_person_and_regimen(case: InvoiceCase) -> Breaches:
    """El uso del CFDI corresponde al tipo de persona y al régimen del cliente, y al tipo de comprobante."""
    receptor, tipo = case.invoice.receptor, case.invoice.tipo_de_comprobante
    uso, regimen, persona = receptor.uso_cfdi, receptor.regimen_fiscal_receptor, rfc.persona(receptor.rfc)
    if uso not in catalogs.usos_cfdi() or regimen not in catalogs.regimenes():
        return None
    if tipo not in ("I", "E") or receptor.rfc in rfc.GENERIC:
        return None
    if usos.suits(uso, regimen, persona):
        return None
    whom = "" if persona is None else f" de {_PERSONS[persona]}"
    allowed = wording.keys("uso_cfdi", usos.suitable(regimen, persona, tipo))
    return Breach(
        f"El uso {wording.key('uso_cfdi', uso)} no corresponde al régimen "
        f"{wording.key('regimen_fiscal', regimen)}{whom}.",
        f"Usa {allowed}; o corrige el régimen del cliente.",
    )


@of_comprobante(
    "timbrado.uso_poco_comun",
    33,
    "receptor.uso_cfdi",
    only_warns=True,
    source="c_UsoCFDI los admite; la guía los destina a otros tipos de comprobante",
    fails=_company(uso_cfdi="CP01") | {"tipo_de_comprobante": "I"},
    passes=_company(uso_cfdi="S01") | {"tipo_de_comprobante": "I"},
)
def uso_cfdi_is_usual_for_the_tipo(case: InvoiceCase) -> Breaches:
    """El uso del CFDI es usual en el tipo de comprobante: ni de pagos ni de nómina, ni G02 sin obligaciones."""
    receptor, tipo = case.invoice.receptor, case.invoice.tipo_de_comprobante
    uso, regimen, persona = receptor.uso_cfdi, receptor.regimen_fiscal_receptor, rfc.persona(receptor.rfc)
    if tipo not in ("I", "E") or receptor.rfc in rfc.GENERIC or not usos.suits(uso, regimen, persona):
        return None
    if usos.is_usual(uso, regimen, tipo):
        return None
    kind = "una factura" if tipo == "I" else "una nota de crédito"
    return Breach(f"El uso {wording.key('uso_cfdi', uso)} no es usual en {kind}.")


@of_comprobante(
    "CFDI40161",
    33,
    "receptor.uso_cfdi",
    fails=_foreign(uso_cfdi="G03"),
    passes=_foreign(uso_cfdi="S01"),
)
def generic_rfc_has_no_fiscal_effects(case: InvoiceCase) -> Breaches:
    """Con RFC genérico el uso del CFDI es S01, o G02 en una nota de crédito."""
    receptor, tipo = case.invoice.receptor, case.invoice.tipo_de_comprobante
    if receptor.rfc not in rfc.GENERIC or receptor.uso_cfdi not in catalogs.usos_cfdi():
        return None
    if receptor.uso_cfdi == "S01" or (receptor.uso_cfdi == "G02" and tipo == "E"):
        return None
    return Breach(
        f"Con RFC genérico el uso del CFDI no puede ser {wording.key('uso_cfdi', receptor.uso_cfdi)}.",
        "Usa S01 (sin efectos fiscales), o G02 (devoluciones, descuentos) en una nota de crédito.",
    )


# --- receptor en el extranjero ------------------------------------------------------------------------


@of_comprobante(
    "CFDI40151",
    34,
    "receptor.residencia_fiscal",
    fails=_foreign(residencia_fiscal="USA"),
    passes=_foreign(residencia_fiscal=None),
)
def residencia_fiscal_is_never_sent(case: InvoiceCase) -> Breaches:
    """La residencia fiscal no se admite: pide el complemento de comercio exterior."""
    if case.invoice.receptor.residencia_fiscal is None:
        return None
    return Breach("La residencia fiscal solo va con el complemento de comercio exterior.")


@of_comprobante(
    "CFDI40155",
    34,
    "receptor.num_reg_id_trib",
    fails=_foreign(num_reg_id_trib="121585958"),
    passes=_foreign(num_reg_id_trib=""),
)
def num_reg_id_trib_is_never_sent(case: InvoiceCase) -> Breaches:
    """El registro de identidad tributaria no se admite: pide el complemento de comercio exterior."""
    return None if case.invoice.receptor.num_reg_id_trib is None else BROKEN
