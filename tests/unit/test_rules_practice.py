"""What users really enter and what the SAT really takes, each kind with its neighbours on both sides."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from cfdi.document import Unreadable, read
from cfdi.faults import Fault
from cfdi.validation import Verdict, validate
from tests.support.builders import (
    JSON,
    NOW,
    UUID,
    a_concepto,
    a_credit_note,
    a_global_invoice,
    a_receptor,
    a_retencion,
    a_traslado,
    an_invoice,
    an_issuer,
    publico_en_general,
)

OTHER_UUID = UUID.replace("9932", "AA32")


def judged(invoice: JSON, **issuer: Any) -> Verdict:
    return validate(invoice, issuer=an_issuer(**issuer), now=NOW)


def found(faults: tuple[Fault, ...]) -> list[tuple[str, str]]:
    return [(fault.code, fault.field) for fault in faults]


# --- what a user can't see ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("Flete\nMonterrey", "Flete Monterrey"),
        ("Flete\r\n\r\nMonterrey", "Flete Monterrey"),
        ("Flete\tMonterrey\n", "Flete Monterrey"),
        ("\u2028Flete\u00a0Monterrey\u2029", "Flete Monterrey"),
        ("Flete\u200b Monterrey\ufeff", "Flete Monterrey"),
        ("Flete\u00adMonterrey", "FleteMonterrey"),
    ],
)
def test_blanks_and_line_breaks_of_any_kind_are_blanks(written: str, read_as: str):
    """As XML reads them: whoever pastes from a text area or a CSV is not refused for what nobody sees."""
    invoice = an_invoice(conceptos=[a_concepto(descripcion=written)])

    assert judged(invoice).faults == ()
    assert read(invoice).conceptos[0].descripcion == read_as


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("rfc", "XIA190128J61\n"),
        ("nombre", "XENON\tINDUSTRIAL\nARTICLES "),
        ("domicilio_fiscal_receptor", "76343\r\n"),
        ("uso_cfdi", "\ufeffG03"),
    ],
)
def test_what_trails_a_field_unseen_is_no_part_of_it(path: str, value: str):
    """Line breaks, tabs, blanks and a byte order mark are no fault."""
    assert judged(an_invoice(receptor=a_receptor(**{path: value}))).faults == ()


def test_amounts_and_dates_shed_it_too():
    """Blanks around numbers and dates are no fault."""
    invoice = an_invoice(subtotal="15000.00\n", total="\u00a016800.00", fecha="2026-11-23T10:15:00-06:00\n")

    assert judged(invoice).faults == ()


@pytest.mark.parametrize("text", ["Flete\x00Monterrey", "Flete\x1bMonterrey"])
def test_what_xml_can_not_hold_is_refused_with_a_way_out(text: str):
    """A control character is one fault that says to delete it."""
    [fault] = judged(an_invoice(conceptos=[a_concepto(descripcion=text)])).faults

    assert "no se ve" in fault.message
    assert "Bórralo" in fault.fix


def test_an_identifier_is_never_changed():
    """Two invoices are distinguished by it: a line break inside is refused, not read as a blank."""
    [fault] = judged(an_invoice(external_id="OP\n1")).faults

    assert (fault.code, fault.whose) == ("timbrado.identificador", "apunto")


def test_publico_en_general_may_have_its_accent():
    """It is written in the SAT's form, without a warning."""
    receptor = publico_en_general(nombre="Público en General")
    verdict = judged(a_global_invoice(receptor=receptor))

    assert (verdict.faults, verdict.warnings) == ((), ())
    assert verdict.invoice is not None
    assert verdict.invoice.receptor.nombre == "PUBLICO EN GENERAL"


# --- addresses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("send_to", "expected"),
    [
        (["a@b.mx", "c@d.mx"], None),
        (["a@b.mx", "", "  "], None),
        ([""], None),
        (["a@b.mx; c@d.mx"], "Hay 2 correos en un mismo campo."),
        (["a@b.mx,c@d.mx, e@f.mx"], "Hay 3 correos en un mismo campo."),
        (["a@b.mx c@d"], "no está bien escrito"),
        (["a@b"], "no está bien escrito"),
    ],
)
def test_an_address_is_one_address(send_to: list[str], expected: str | None):
    """Empty ones are passed over, several in a field are counted."""
    faults = judged(an_invoice(send_to=send_to)).faults

    if expected is None:
        assert faults == ()
    else:
        [fault] = faults
        assert expected in fault.message
        assert fault.field == "send_to[0]"


def test_the_fix_for_an_address_gives_an_example():
    """The fix shows how an address looks, and says that it is an example."""
    [fault] = judged(an_invoice(send_to=["compras@acme"])).faults

    assert fault.fix == "Escríbelo completo, por ejemplo cliente@ejemplo.mx."


# --- equal numbers written longer ---------------------------------------------------------------------


@pytest.mark.parametrize("rate", ["1", "1.0", "1.000000", None])
def test_one_peso_is_one_peso(rate: str | None):
    """TipoCambio 1, however written, is right for MXN."""
    assert judged(an_invoice(tipo_cambio=rate)).faults == ()


@pytest.mark.parametrize("rate", ["1.000001", "0.999999", "2"])
def test_another_rate_in_pesos_is_refused(rate: str):
    """Any other number is CFDI40114."""
    assert found(judged(an_invoice(tipo_cambio=rate)).faults) == [("CFDI40114", "tipo_cambio")]


def test_idle_decimals_are_no_decimals():
    """Zeros at the end are not counted."""
    line = a_concepto(descuento="1600.0000", retenciones=[], importe="15000.0000")
    invoice = an_invoice(
        conceptos=[line], subtotal="15000.000000", descuento="1600.00000", total="15544.000000"
    )

    assert judged(invoice).faults == ()


def test_a_real_third_decimal_is_refused_where_it_stands():
    """The fault names the concepto's field."""
    line = a_concepto(descuento="1600.001", retenciones=[])

    assert ("CFDI40168", "conceptos[0].descuento") in found(judged(an_invoice(conceptos=[line])).faults)


# --- payment ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tipo", "metodo", "forma", "code"),
    [
        ("I", "PUE", "03", None),
        ("I", "PPD", "99", None),
        ("I", "PUE", "99", "timbrado.pue_por_definir"),
        ("I", "PPD", "03", "CFDI40105"),
        ("E", "PUE", "99", None),
        ("E", "PUE", "15", None),
        ("E", "PPD", "99", None),
        ("I", "03", "PUE", "timbrado.pago_al_reves"),
        ("I", "99", "PPD", "timbrado.pago_al_reves"),
        ("I", "PUE", "PPD", "CFDI40104"),
        ("I", "PIP", "03", "CFDI40124"),
    ],
)
def test_metodo_and_forma_de_pago(tipo: str, metodo: str, forma: str, code: str | None):
    """An Egreso repeats the form of its Ingreso; swapped ones are reported as swapped, and once."""
    make = an_invoice if tipo == "I" else a_credit_note
    faults = judged(make(metodo_pago=metodo, forma_pago=forma)).faults

    assert [fault.code for fault in faults] == ([] if code is None else [code])


# --- relations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tipo", "relacion", "warned"),
    [("E", "01", False), ("E", "06", False), ("E", "02", True), ("I", "06", False), ("I", "01", True)],
)
def test_a_relation_that_is_not_usual_is_only_a_warning(tipo: str, relacion: str, warned: bool):
    """The SAT accepts it, so we do."""
    related = {"tipo_relacion": relacion, "uuids": [UUID]}
    make = an_invoice if tipo == "I" else a_credit_note
    verdict = judged(make(cfdi_relacionados=related))

    assert verdict.faults == ()
    assert [each.code for each in verdict.warnings] == (
        ["timbrado.relacion_no_corresponde"] if warned else []
    )


def test_a_credit_note_may_stand_alone():
    """A discount on purchases to come: appendix 5 of the guide."""
    verdict = judged(a_credit_note(cfdi_relacionados=None, forma_pago="23"))

    assert verdict.faults == ()
    assert found(verdict.warnings) == [("timbrado.nota_sin_relacion", "cfdi_relacionados")]


def test_an_empty_related_folio_is_missing():
    """No sentence quotes nothing."""
    [fault] = judged(a_credit_note(cfdi_relacionados={"tipo_relacion": "01", "uuids": [UUID, " "]})).faults

    assert (fault.code, fault.field) == ("CFDI40999", "cfdi_relacionados.uuids[1]")
    assert fault.message == "Falta el folio fiscal de la factura relacionada."


def test_several_kinds_of_relation_are_a_list():
    """A CFDI 4.0 has a node for each: a substitute that also applies an advance."""
    several = [
        {"tipo_relacion": "04", "uuids": [UUID]},
        {"tipo_relacion": "07", "uuids": [OTHER_UUID, UUID]},
    ]
    invoice = an_invoice(cfdi_relacionados=several)
    verdict = judged(invoice)

    assert (verdict.faults, verdict.warnings) == ((), ())
    assert [each.tipo_relacion for each in read(invoice).cfdi_relacionados] == ["04", "07"]


def test_a_fault_in_a_list_of_relations_says_which():
    """The index is part of the field."""
    several = [{"tipo_relacion": "04", "uuids": [UUID]}, {"tipo_relacion": "08", "uuids": ["x"]}]

    assert found(judged(an_invoice(cfdi_relacionados=several)).faults) == [
        ("CFDI40137", "cfdi_relacionados[1].tipo_relacion"),
        ("CFDI40999", "cfdi_relacionados[1].uuids[0]"),
    ]


@pytest.mark.parametrize(
    ("related", "field"),
    [
        ({"uuids": [UUID]}, "cfdi_relacionados.tipo_relacion"),
        ([{"uuids": [UUID]}], "cfdi_relacionados[0].tipo_relacion"),
    ],
)
def test_a_fault_of_shape_keeps_the_path_that_was_sent(related: object, field: str):
    """With an index only where a list was sent."""
    with pytest.raises(Unreadable) as unreadable:
        read(an_invoice(cfdi_relacionados=related))

    assert [(fault.code, fault.field) for fault in unreadable.value.faults] == [("timbrado.falta", field)]
    assert unreadable.value.faults[0].label == "Tipo de relación"


# --- global invoices ----------------------------------------------------------------------------------


def a_period(**changes: Any) -> JSON:
    return {"periodicidad": "04", "meses": "11", "anio": 2026} | changes


@pytest.mark.parametrize(
    ("period", "faults", "warnings"),
    [
        (a_period(), [], []),
        (a_period(meses="12", anio=2021), [], []),
        (a_period(meses="12", anio=2020), ["CFDI40136"], []),
        (a_period(anio=2027), ["CFDI40136"], []),
        (a_period(meses="12"), [], ["timbrado.global_periodo_futuro"]),
        (a_period(periodicidad="05", meses="18"), ["CFDI40132"], []),
        (a_period(periodicidad="06"), [], ["CFDI40131"]),
    ],
)
def test_the_period_of_a_global_invoice(period: JSON, faults: list[str], warnings: list[str]):
    """This year or one of the five before (matrix of 13 December 2024, row 36); a month to come looks wrong."""
    verdict = judged(a_global_invoice(informacion_global=period))

    assert [each.code for each in verdict.faults] == faults
    assert [each.code for each in verdict.warnings] == warnings


def test_a_bimester_that_has_begun_is_no_future():
    """18 is November and December: in November it has begun."""
    issuer = {"rfc": "CACX7605101P8", "nombre": "XOCHILT CASAS CHAVEZ", "regimen_fiscal": "621"}
    verdict = judged(a_global_invoice(informacion_global=a_period(periodicidad="05", meses="18")), **issuer)

    assert (verdict.faults, verdict.warnings) == ((), ())


def test_a_global_invoice_has_the_form_of_the_guide():
    """A global invoice looks as the guide has it."""
    verdict = judged(
        a_global_invoice(
            metodo_pago="PPD",
            forma_pago="99",
            conceptos=[a_concepto(clave_prod_serv="01010101", clave_unidad="ACT", retenciones=[])],
        )
    )

    assert verdict.faults == ()
    assert found(verdict.warnings) == [
        ("timbrado.global_metodo_pago", "metodo_pago"),
        ("timbrado.global_descripcion", "conceptos[0].descripcion"),
    ]


# --- taxes --------------------------------------------------------------------------------------------


def test_ieps_is_refused_under_its_own_code_and_alone():
    """A valid tax that we do not send: neither a bad key nor a rate for the border."""
    line = a_concepto(
        traslados=[a_traslado(), a_traslado(impuesto="003", tasa_o_cuota="0.080000")], retenciones=[]
    )
    faults = judged(an_invoice(conceptos=[line])).faults

    assert found(faults) == [("timbrado.ieps_no_admitido", "conceptos[0].traslados[1].impuesto")]


@pytest.mark.parametrize(
    ("kind", "taxes", "places"),
    [
        ("traslados", [{"tipo_factor": "Cuota", "tasa_o_cuota": "0.640000"}], [1]),
        ("traslados", [{"tipo_factor": "Tasa", "tasa_o_cuota": None}], [1]),
        (
            "traslados",
            [{"tasa_o_cuota": "0.080000"}, {"tipo_factor": "Cuota", "tasa_o_cuota": "5.910000"}],
            [1, 2],
        ),
        ("retenciones", [{"tipo_factor": "Cuota", "tasa_o_cuota": "0.640000"}], [1]),
    ],
)
def test_ieps_by_the_litre_or_at_several_rates_is_refused_alone_too(
    kind: str, taxes: list[JSON], places: list[int]
):
    """Cuota is a factor of c_TipoFactor: it is not called invalid, and no IVA is said to be repeated."""
    taxed = {"traslados": [a_traslado()], "retenciones": [a_retencion()]}
    taxed[kind] += [a_traslado(impuesto="003") | tax for tax in taxes]
    faults = judged(an_invoice(conceptos=[a_concepto(**taxed)])).faults

    assert found(faults) == [
        ("timbrado.ieps_no_admitido", f"conceptos[0].{kind}[{place}].impuesto") for place in places
    ]


@pytest.mark.parametrize(
    ("rates", "warned"),
    [([], True), (["0.012500"], False), (["0.100000"], True), (["0.012499"], True)],
)
def test_a_person_in_resico_is_withheld_from_by_a_company(rates: list[str], warned: bool):
    """CFDI140225: ISR of 1.25 %, or none where the SAT's list says so, which only the SAT knows."""
    withheld = [a_retencion(impuesto="001", tasa_o_cuota=rate) for rate in rates]
    invoice = an_invoice(conceptos=[a_concepto(retenciones=withheld)])
    person = {"rfc": "CACX7605101P8", "nombre": "XOCHILT CASAS CHAVEZ", "regimen_fiscal": "626"}
    verdict = judged(invoice, **person)

    assert verdict.faults == ()
    assert [each.code for each in verdict.warnings] == (["CFDI140225"] if warned else [])


@pytest.mark.parametrize("objeto_imp", ["01", "03", "04"])
def test_no_withholding_is_asked_of_a_line_that_may_carry_none(objeto_imp: str):
    """Whoever followed the advice would be refused by CFDI40172."""
    line = a_concepto(objeto_imp=objeto_imp, traslados=[], retenciones=[])
    person = {"rfc": "CACX7605101P8", "nombre": "XOCHILT CASAS CHAVEZ", "regimen_fiscal": "626"}

    assert judged(an_invoice(conceptos=[line]), **person).warnings == ()


@pytest.mark.parametrize("issuer", [{"regimen_fiscal": "626"}, {"regimen_fiscal": "601"}])
def test_a_company_in_resico_is_not(issuer: dict[str, str]):
    """A persona moral of regimen 626 or 601 gets no warning about withheld ISR."""
    assert judged(an_invoice(conceptos=[a_concepto(retenciones=[])]), **issuer).warnings == ()


@pytest.mark.parametrize(
    ("clave", "rates", "receptor", "codes"),
    [
        ("78101802", ["0.040000"], {}, ["timbrado.carta_porte"]),
        ("78101802", [], {}, ["timbrado.carta_porte", "timbrado.retencion_flete"]),
        ("78101801", ["0.106667"], {}, ["timbrado.carta_porte", "timbrado.retencion_flete"]),
        (
            "78101806",
            [],
            {"rfc": "CACX7605101P8", "regimen_fiscal_receptor": "612"},
            ["timbrado.carta_porte"],
        ),
        ("78101502", [], {}, ["timbrado.carta_porte"]),  # by air: no 4 %
        ("78101905", [], {}, ["timbrado.carta_porte"]),
        ("78101805", [], {}, []),  # no haul of goods in the SAT's list
        ("78141501", [], {}, []),  # a forwarder
        ("78102203", [], {}, []),  # parcels
        ("78121601", [], {}, []),
    ],
)
def test_a_haul_is_warned_about(clave: str, rates: list[str], receptor: JSON, codes: list[str]):
    """Carta Porte for whoever drives; 4 % of IVA withheld by a company from road freight."""
    line = a_concepto(clave_prod_serv=clave, retenciones=[a_retencion(tasa_o_cuota=rate) for rate in rates])
    verdict = judged(an_invoice(conceptos=[line], receptor=a_receptor(**receptor)))

    assert verdict.faults == ()
    assert [each.code for each in verdict.warnings] == codes


def test_a_credit_note_for_a_haul_needs_no_carta_porte():
    """The warning is for income only."""
    line = a_concepto(clave_prod_serv="78101802", retenciones=[])

    assert judged(a_credit_note(conceptos=[line])).warnings == ()


# --- exchange rates and keys --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moneda", "rate", "warned"),
    [
        ("USD", "18.40", False),
        ("USD", "0.0541", True),
        ("EUR", "0.999999", True),
        ("EUR", "1", False),
        ("JPY", "0.118", False),
        ("JPY", "8.5", True),
    ],
)
def test_an_inverted_exchange_rate_is_warned_about(moneda: str, rate: str, warned: bool):
    """Dollars at 0.05 and yen at 8.5 are suspicious, the SAT's own rates are not."""
    line = a_concepto(valor_unitario="15000", descuento=None)
    verdict = judged(an_invoice(moneda=moneda, tipo_cambio=rate, conceptos=[line]))

    assert verdict.faults == ()
    assert [each.code == "timbrado.tipo_cambio_invertido" for each in verdict.warnings] == [True] * warned


@pytest.mark.parametrize(
    ("changes", "expected", "is_fault"),
    [
        ({"forma_pago": "32"}, "CFDI40104", False),
        ({"forma_pago": "07"}, "CFDI40104", True),  # retired
        ({"forma_pago": "3"}, "CFDI40104", True),
        ({"lugar_expedicion": "95660"}, "CFDI40126", False),
        ({"lugar_expedicion": "6400"}, "CFDI40126", True),
        ({"receptor": a_receptor(regimen_fiscal_receptor="627")}, "CFDI40157", False),
        ({"receptor": a_receptor(regimen_fiscal_receptor="609")}, "CFDI40157", True),
        ({"receptor": a_receptor(uso_cfdi="G04")}, "CFDI40160", False),
        ({"receptor": a_receptor(uso_cfdi="P01")}, "CFDI40160", True),
        ({"conceptos": [a_concepto(clave_prod_serv="78101899")]}, "CFDI40162", False),
        ({"conceptos": [a_concepto(clave_prod_serv="781018")]}, "CFDI40162", True),
        ({"conceptos": [a_concepto(clave_unidad="ZZ9")]}, "CFDI40165", False),
        ({"conceptos": [a_concepto(clave_unidad="kgm")]}, "CFDI40165", True),
        ({"conceptos": [a_concepto(objeto_imp="09")]}, "CFDI40170", False),
        ({"conceptos": [a_concepto(objeto_imp="2")]}, "CFDI40170", True),
    ],
)
def test_a_well_formed_key_that_our_lists_lack_is_a_warning(changes: JSON, expected: str, is_fault: bool):
    """The SAT's lists may be newer, and its refusal spends no stamp; retired and misshapen ones are refused."""
    verdict = judged(an_invoice(**changes))

    codes = ([each.code for each in verdict.faults], [each.code for each in verdict.warnings])
    assert codes == (([expected], []) if is_fault else ([], [expected]))


def test_a_lower_case_unit_is_suggested():
    """The fix has the key in capitals with its name."""
    [fault] = judged(an_invoice(conceptos=[a_concepto(clave_unidad="kgm")])).faults

    assert fault.fix == "Escríbela así: KGM (Kilogramo)."


@pytest.mark.parametrize(
    ("uso", "tipo", "warned"), [("CP01", "I", True), ("G03", "I", False), ("CP01", "E", True)]
)
def test_a_use_that_the_catalogue_allows_is_not_refused(uso: str, tipo: str, warned: bool):
    """An unusual use is a warning."""
    make = an_invoice if tipo == "I" else a_credit_note
    verdict = judged(make(receptor=a_receptor(uso_cfdi=uso)))

    assert verdict.faults == ()
    assert [each.code for each in verdict.warnings] == (["timbrado.uso_poco_comun"] if warned else [])


@pytest.mark.parametrize(
    ("line", "codes", "says", "fix"),
    [
        (
            {"cantidad": "0.001", "valor_unitario": "1.00"},
            ["CFDI40174", "CFDI40181"],
            "el importe se redondea a $0.00",
            "Revisa la cantidad y el precio.",
        ),
        ({"cantidad": "1", "valor_unitario": "0.00"}, ["CFDI40166"], "el precio", "Captura el precio"),
        ({"cantidad": "0", "valor_unitario": "1.00"}, ["CFDI40999"], "la cantidad", "Captura la cantidad"),
        (
            {"cantidad": "1", "valor_unitario": "1.00", "importe": "0.00"},
            ["CFDI40167"],
            "la factura dice $0.00",
            "Revisa que el precio",
        ),
        (
            {"cantidad": "1", "valor_unitario": "1.00", "descuento": "1.00"},
            ["CFDI40174", "CFDI40181"],
            "es cero",
            "Revisa el descuento",
        ),
    ],
)
def test_a_base_of_zero_is_blamed_on_what_made_it_zero(line: JSON, codes: list[str], says: str, fix: str):
    """A discount that is not there is not blamed; a price or quantity of zero is said once."""
    concepto = a_concepto(**{"descuento": None, **line})
    faults = judged(an_invoice(conceptos=[concepto], subtotal=line["valor_unitario"], total="0.00")).faults
    of_the_line = [fault for fault in faults if fault.field.startswith("conceptos")]

    assert [fault.code for fault in of_the_line] == codes
    assert all(says in fault.message and fault.fix.startswith(fix) for fault in of_the_line)


def test_a_base_shown_wrongly_is_a_warning_while_the_tax_is_right():
    """The SAT asks only that a base be above zero; ours is sent."""
    line = a_concepto(traslados=[a_traslado(base="1", importe="2400.00")])
    verdict = judged(an_invoice(conceptos=[line]))

    assert verdict.faults == ()
    assert found(verdict.warnings) == [("timbrado.base", "conceptos[0].traslados[0].base")]


@pytest.mark.parametrize(
    ("base", "importe", "faults"),
    [
        ("15000.00", "2400.00", []),
        ("1", "0.16", [("timbrado.base", "conceptos[0].traslados[0].base")]),
        ("7500.00", "1200.00", [("timbrado.base", "conceptos[0].traslados[0].base")]),
        ("7500.00", "1300.00", [("CFDI40180", "conceptos[0].traslados[0].importe")]),
    ],
)
def test_a_tax_of_another_base_would_be_stamped_as_another_tax(
    base: str, importe: str, faults: list[tuple[str, str]]
):
    """The SAT would take it; ContaDigital takes the tax from the whole line. Said once, of the base."""
    line = a_concepto(traslados=[a_traslado(base=base, importe=importe)], retenciones=[])
    total = Decimal("15000.00") + Decimal(importe)
    invoice = an_invoice(conceptos=[line], total=f"{total:.2f}")

    assert found(judged(invoice).faults) == faults


@pytest.mark.parametrize(
    ("summary", "codes"),
    [
        ({"total_impuestos_trasladados": "0.00", "total_impuestos_retenidos": "0.00"}, []),
        ({"total_impuestos_trasladados": "0.01"}, ["CFDI40205"]),
        ({"total_impuestos_retenidos": "0.00", "retenciones": [{"impuesto": "001", "importe": "0.00"}]}, []),
        (
            {"total_impuestos_retenidos": "0.00", "retenciones": [{"impuesto": "001", "importe": "0.01"}]},
            ["CFDI40211"],
        ),
        ({"traslados": [{"base": "0.00", "importe": "0.00"}]}, []),
        ({"traslados": [{"base": "15000.00", "importe": "0.00"}]}, ["CFDI40219"]),
    ],
)
def test_zero_in_a_summary_is_the_sum_of_no_taxes(summary: JSON, codes: list[str]):
    """Rows 105, 111, 115 and 121 of the matrix ask for equal sums, and nothing sums up to zero."""
    rate = {"impuesto": "002", "tipo_factor": "Tasa", "tasa_o_cuota": "0.000000"}
    rows = [rate | row for row in summary.get("traslados", [])]
    shown = {"total_impuestos_trasladados": "0.00", **summary, "traslados": rows}
    line = a_concepto(objeto_imp="01", traslados=[], retenciones=[], descuento=None)

    faults = judged(an_invoice(conceptos=[line], impuestos=shown)).faults

    assert [fault.code for fault in faults] == codes


def test_ieps_spoils_no_sum_besides():
    """It is part of the base of IVA: 16 % of 8,000.00 and 10,080.00 with 26 % of IEPS."""
    line = a_concepto(
        valor_unitario="8000.00",
        descuento=None,
        retenciones=[],
        traslados=[
            a_traslado(impuesto="003", tasa_o_cuota="0.260000", base="8000.00", importe="2080.00"),
            a_traslado(base="10080.00", importe="1612.80"),
        ],
    )
    invoice = an_invoice(conceptos=[line], total="11692.80")

    assert found(judged(invoice).faults) == [
        ("timbrado.ieps_no_admitido", "conceptos[0].traslados[0].impuesto")
    ]


@pytest.mark.parametrize(
    ("importe", "descuento", "refused"),
    [
        ("15000.000", "200.202", False),
        ("15000.00", "200.202", True),
        (None, "200.202", True),
        (None, "200.2000", False),
    ],
)
def test_a_discount_is_no_finer_than_its_importe(importe: str | None, descuento: str, refused: bool):
    """Row 68 of the matrix: as many decimals as Importe."""
    line = a_concepto(importe=importe, descuento=descuento, retenciones=[])

    assert [each.code for each in judged(an_invoice(conceptos=[line])).faults] == ["CFDI40168"] * refused


# --- words --------------------------------------------------------------------------------------------


def test_sentences_speak_of_money_and_names():
    """Thousands separators, keys with their names, no formulas; what a developer needs stands apart."""
    old = judged(an_invoice(fecha="2026-01-15T10:00:00-06:00")).faults[0]
    total = judged(an_invoice(total="1.00")).faults[0]
    uso = judged(an_invoice(receptor=a_receptor(uso_cfdi="D01"))).faults[0]
    regimen = judged(an_invoice(receptor=a_receptor(regimen_fiscal_receptor="612"))).faults[0]

    assert old.message == (
        "La factura tiene fecha del 15 de enero de 2026 a las 10:00 y el SAT solo acepta las últimas 72 horas."
    )
    assert total.message == "El total no cuadra: debe ser $16,800.00 y la factura dice $1.00."
    assert (total.whose, total.label) == ("apunto", "Total")
    assert "15000.00 - 0.00 + 2400.00 - 600.00" in total.detail
    assert "G01 (Adquisición de mercancías)" in uso.fix
    assert uso.fix.count("(") == 5
    assert "y otros" in uso.fix
    assert "de persona física" in regimen.message
    assert "una empresa" in regimen.message


def test_the_first_of_january_is_of_its_own_year():
    """An invoice without fecha is judged by the clock of its place of issue, to the second."""
    newyear = datetime(2027, 1, 1, 6, 0, 30, tzinfo=UTC)
    period = a_period(meses="01", anio=2027)
    invoice = a_global_invoice(fecha=None, informacion_global=period)
    verdict = validate(invoice, issuer=an_issuer(), now=newyear)

    assert (verdict.faults, verdict.warnings) == ((), ())


def test_fix_rates_still_warn_beyond_five_percent():
    """With the day's rate at hand 22.00 for 18.40 is CFDI40118."""
    rates = {"USD": Decimal("18.40")}
    invoice = an_invoice(moneda="USD", tipo_cambio="22.00")

    assert [each.code for each in validate(invoice, issuer=None, now=NOW, fix_rates=rates).warnings] == [
        "CFDI40118"
    ]
