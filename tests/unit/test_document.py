"""Reading an invoice: what has the right shape is read, everything else is reported in Spanish and at once."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cfdi.document import MAX_BYTES, MAX_FAULTS, MAX_LINES, Invoice, Unreadable, Unseen, read
from cfdi.places import place_of
from cfdi.shapes import SHAPES, Shape
from cfdi.validation import validate
from tests.support.builders import (
    NOW,
    a_concepto,
    a_global_invoice,
    a_receptor,
    an_invoice,
    an_issuer,
    changed,
)


def faults_of(raw):
    with pytest.raises(Unreadable) as refused:
        read(raw)
    return refused.value.faults


def only_fault_of(raw):
    [fault] = faults_of(raw)
    return fault


# --- what is read -------------------------------------------------------------------------------------


def test_the_invoice_of_the_contract_is_read():
    """Instants with their zone, names as the SAT writes them, amounts with their decimals."""
    invoice = read(an_invoice())

    assert invoice.fecha == datetime(2026, 11, 23, 16, 15, tzinfo=UTC)
    assert invoice.receptor.nombre == "XENON INDUSTRIAL ARTICLES"
    assert invoice.conceptos[0].valor_unitario == Decimal("15000.00")
    assert str(invoice.conceptos[0].traslados[0].tasa_o_cuota) == "0.160000"
    assert invoice.send_to == ()


def test_what_is_optional_may_be_left_out():
    """Each optional field has the value that the contract gives it."""
    whole = an_invoice()
    bare = {name: whole[name] for name in whole if Invoice.model_fields[name].is_required()}

    invoice = read(bare)

    assert invoice.fecha is None
    assert invoice.version == 1
    assert invoice.exportacion == "01"


def test_an_invoice_written_out_reads_as_the_same():
    """Amounts keep their scale, instants their zone, on the way through JSON and back."""
    invoice = read(an_invoice(moneda="USD", tipo_cambio="18.500000"))

    assert read(invoice.model_dump(mode="json")) == invoice
    assert read(json.loads(invoice.model_dump_json())) == invoice
    assert str(invoice.tipo_cambio) == "18.500000"


@pytest.mark.parametrize(
    ("sent", "read_as"),
    [
        ("  xenon   industrial articles ", "XENON INDUSTRIAL ARTICLES"),
        ("Organicos Ñavez Osorio", "ORGANICOS ÑAVEZ OSORIO"),
        ("café & té", "CAFÉ & TÉ"),
    ],
)
def test_a_name_is_read_as_the_sat_writes_it(sent, read_as):
    """Upper case and single blanks; accents, Ñ and & stay."""
    assert read(an_invoice(receptor=a_receptor(nombre=sent))).receptor.nombre == read_as


def test_other_texts_keep_their_case_and_lose_doubled_blanks():
    """As the schema's whiteSpace=collapse would leave them, so that the XML says the same."""
    concepto = a_concepto(descripcion="  Flete   Monterrey - Laredo ")

    assert read(an_invoice(conceptos=[concepto])).conceptos[0].descripcion == "Flete Monterrey - Laredo"


@pytest.mark.parametrize("field", ["no_identificacion", "unidad", "descuento", "importe"])
@pytest.mark.parametrize("blank", ["", "   ", None])
def test_an_empty_field_of_a_form_says_nothing(field, blank):
    """Blank and null mean the same: the user entered nothing."""
    assert getattr(read(an_invoice(conceptos=[a_concepto(**{field: blank})])).conceptos[0], field) is None


def test_null_lists_are_empty_lists():
    """A language that writes null for an empty list is understood."""
    concepto = a_concepto(objeto_imp="01", traslados=None, retenciones=None)

    invoice = read(an_invoice(conceptos=[concepto], send_to=None))

    assert (invoice.conceptos[0].traslados, invoice.send_to) == ((), ())


@pytest.mark.parametrize(
    "text",
    ["2026-11-23T10:15:00-06:00", "2026-11-23T16:15:00Z", "2026-11-23t16:15:00z", "2026-11-23T16:15:00.999Z",
     "2026-11-23T16:15:00.123456789+00:00"],
)  # fmt: skip
def test_an_instant_is_read_to_the_second(text):
    """Any spelling of RFC 3339; fractions are dropped, since Fecha has none."""
    assert read(an_invoice(fecha=text)).fecha == datetime(2026, 11, 23, 16, 15, tzinfo=UTC)


@pytest.mark.parametrize("anio", [2026, "2026"])
def test_a_year_may_be_a_number_or_a_text(anio):
    """Both are written in the field."""
    period = {"periodicidad": "04", "meses": "11", "anio": anio}

    assert read(an_invoice(informacion_global=period)).informacion_global.anio == 2026


# --- what is refused ----------------------------------------------------------------------------------


def broken(shape: Shape):
    if "" in shape.fails:
        return shape.fails[""]
    if shape.fails.get("receptor.uso_cfdi") is ...:
        receptor = a_receptor()
        del receptor["uso_cfdi"]
        return an_invoice(receptor=receptor)
    return changed(shape.fails)[0]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.code)
def test_a_fault_of_shape_has_its_code(shape):
    """Every row that is printed in docs/validation.md is true."""
    found = [fault for fault in faults_of(broken(shape)) if fault.code == shape.code]

    assert found
    assert found[0].message
    assert found[0].fix
    assert shape.field.startswith(found[0].field)


@pytest.mark.parametrize(
    ("changes", "meant"),
    [
        ({"subtotal": 15000.0}, '"15000.00"'),
        ({"subtotal": 15000}, '"15000.00"'),
        ({"total": 16800.5}, '"16800.50"'),
        ({"tipo_cambio": 18.2345}, '"18.2345"'),
        ({"total": float("inf")}, ""),
    ],
)
def test_a_json_number_is_refused_as_the_application_s_mistake(changes, meant):
    """The user reads whose it is; the string that was meant is in the developers' detail."""
    fault = only_fault_of(an_invoice() | changes)

    assert (fault.code, fault.whose) == ("timbrado.numero_sin_comillas", "apunto")
    assert fault.message.startswith("Apunto envió mal un dato: ")
    assert fault.fix == "No es culpa tuya: escribe a soporte de Apunto."
    assert meant in fault.detail


@pytest.mark.parametrize(
    ("unknown", "meant"),
    [
        ("UsoCFDI", "uso_cfdi"),
        ("usoCfdi", "uso_cfdi"),
        ("cfdi_use_code", "uso_cfdi"),
        ("regimen_fiscal", "regimen_fiscal_receptor"),
        ("RazonSocial", "nombre"),
        ("legal_name", "nombre"),
        ("identification", "rfc"),
        ("codigo_postal", "domicilio_fiscal_receptor"),
        ("postal_code", "domicilio_fiscal_receptor"),
        ("nombre_", "nombre"),
    ],
)
def test_an_unknown_field_is_named_with_the_one_it_meant(unknown, meant):
    """Spelled otherwise, or by the name that Apunto's own API has for it."""
    fault = only_fault_of(an_invoice(receptor=a_receptor(**{unknown: "x"})))

    assert fault.field == f"receptor.{unknown}"
    assert fault.detail == f"unknown field; did you mean {meant}?"


@pytest.mark.parametrize(
    ("unknown", "meant"), [("payment_method_code", "forma_pago"), ("payment_type_code", "metodo_pago")]
)
def test_apuntos_names_for_form_and_method_of_payment_are_crossed_back(unknown, meant):
    """Apunto's payment_method_code is "01" and its payment_type_code is "PUE": the other way round from the SAT."""
    assert only_fault_of(an_invoice() | {unknown: "x"}).detail == f"unknown field; did you mean {meant}?"


def test_an_unknown_field_that_means_nothing_is_to_be_left_out():
    """Where no field is like it, none is guessed."""
    assert only_fault_of(an_invoice() | {"zzz": 1}).detail == "unknown field; leave it out"


@pytest.mark.parametrize(
    ("value", "kind"),
    [(True, "a boolean"), ([], "an array"), ({}, "an object"), (1, "a number")],
)
def test_a_wrong_type_says_what_came_and_shows_what_was_expected(value, kind):
    """To developers: a user reads only that Apunto sent it wrongly."""
    fault = only_fault_of(an_invoice(forma_pago=value))

    assert fault.message == "Apunto envió mal un dato: Forma de pago."
    assert fault.detail == f'{kind} came, expected is a string, for example "03"'


@pytest.mark.parametrize(
    ("changes", "message", "detail"),
    [
        (
            {"receptor": "XIA190128J61"},
            "Apunto envió mal un dato: Datos del cliente.",
            "a string came, expected is an object",
        ),
        (
            {"conceptos": {}},
            "Apunto envió mal un dato: Conceptos.",
            "an object came, expected is an array",
        ),
        (
            {"conceptos": ["Flete"]},
            "Apunto envió mal un dato: Conceptos, línea 1.",
            "a string came, expected is an object",
        ),
        (
            {"send_to": "a@b.mx"},
            "Apunto envió mal un dato: Correos a los que se envía.",
            "a string came, expected is an array",
        ),
        (
            {"informacion_global": []},
            "Apunto envió mal un dato: Información global.",
            "an array came, expected is an object",
        ),
    ],
)
def test_a_wrong_node_is_explained_in_spanish(changes, message, detail):
    """The node by its label, and what came in the developers' detail."""
    fault = only_fault_of(an_invoice() | changes)

    assert fault.message == message
    assert fault.detail.startswith(detail)


@pytest.mark.parametrize("value", [None, ...], ids=["null", "left out"])
@pytest.mark.parametrize(
    ("field", "message", "whose"),
    [
        ("forma_pago", "Falta un dato: Forma de pago.", "user"),
        ("subtotal", "Apunto envió la factura sin un dato: Subtotal.", "apunto"),
    ],
)
def test_what_is_missing_is_the_user_s_where_the_user_captures_it(field, message, whose, value):
    """A form's empty field comes as null or not at all; a sum that is missing is Apunto's own omission."""
    raw = an_invoice() | {field: value}
    if value is ...:
        del raw[field]

    fault = only_fault_of(raw)

    assert (fault.code, fault.message, fault.whose) == ("timbrado.falta", message, whose)


@pytest.mark.parametrize(
    "text", ["", "ayer", "23/11/2026", "2026-11-23", "2026-11-31T10:00:00Z", "2026-11-23 10:15:00Z"]
)
def test_a_malformed_fecha_has_the_sats_code(text):
    """CFDI40101, with a good one in the detail; an empty one is none."""
    if not text:
        assert read(an_invoice(fecha=text)).fecha is None
        return
    fault = only_fault_of(an_invoice(fecha=text))

    assert (fault.code, fault.field) == ("CFDI40101", "fecha")
    assert "2026-11-23T10:15:00-06:00" in fault.detail


def test_everything_wrong_with_the_shape_is_reported_at_once():
    """Nobody corrects a field to meet the next one."""
    raw = an_invoice(conceptos=[a_concepto(), a_concepto(cantidad=1, nombre=None)])
    del raw["moneda"]
    raw["receptor"]["rfc"] = 5

    fields = {fault.field for fault in faults_of(raw)}

    assert fields == {"moneda", "receptor.rfc", "conceptos[1].cantidad", "conceptos[1].nombre"}


@pytest.mark.parametrize(
    "value", ["Field required", "Input should be", "valid", "Extra inputs", "Unable to parse", "String"]
)
def test_no_english_is_shown(value):
    """pydantic's own words never reach a user."""
    raw = an_invoice(conceptos=[{"UsoCFDI": 1}, 3, a_concepto(cantidad=[], traslados="x")], receptor=None)

    assert not any(value in fault.message + fault.fix for fault in faults_of(raw))


# --- limits -------------------------------------------------------------------------------------------


def test_as_many_lines_as_allowed_are_read():
    """The limit itself is inside."""
    lines = [{"clave_prod_serv": "78101802", "cantidad": "1", "clave_unidad": "E48", "nombre": "Flete",
              "descripcion": "F", "valor_unitario": "1", "objeto_imp": "01"}] * MAX_LINES  # fmt: skip

    assert len(read(an_invoice() | {"conceptos": lines}).conceptos) == MAX_LINES


def test_a_byte_too_many_is_refused():
    """The size is that of compact JSON in UTF-8, as it travels."""
    bare = an_invoice() | {"account": ""}
    room = MAX_BYTES - len(json.dumps(bare, ensure_ascii=False, separators=(",", ":")).encode())

    read(bare | {"account": "a" * room})
    assert only_fault_of(bare | {"account": "a" * (room + 1)}).code == "timbrado.demasiado_grande"
    assert only_fault_of(bare | {"account": "ñ" * (room // 2 + 1)}).code == "timbrado.demasiado_grande"


def test_endless_depth_is_refused():
    """As a fault, not as a RecursionError."""
    deep: list = []
    for _ in range(100_000):
        deep = [deep]

    assert only_fault_of(an_invoice() | {"account": deep}).code == "timbrado.no_es_json"


def test_no_more_is_reported_than_a_person_can_read():
    """A thousand faults, and one that says that there are more."""
    raw = an_invoice() | {"conceptos": [{}] * 200}

    faults = validate(raw, issuer=an_issuer(), now=NOW).faults

    assert len(faults) == MAX_FAULTS + 1
    assert faults[-1].code == "timbrado.hay_mas"


@pytest.mark.parametrize("raw", [None, [], "{}", b"{}", 3, [an_invoice()]])
def test_what_is_no_object_is_refused(raw):
    """Texts, lists, numbers and null are no invoice."""
    assert only_fault_of(raw).code == "timbrado.no_es_objeto"


# --- rules over what could be read --------------------------------------------------------------------


def test_rules_are_asked_about_what_could_be_read():
    """A missing field does not hide the rule that another one breaks, nor does it break rules itself."""
    raw = an_invoice(forma_pago="07", conceptos=[a_concepto(), a_concepto(nombre="F" * 51)])
    del raw["receptor"]["uso_cfdi"]
    raw["conceptos"][0]["cantidad"] = 1

    found = [(fault.field, fault.code) for fault in validate(raw, issuer=an_issuer(), now=NOW).faults]

    assert found == [
        ("forma_pago", "CFDI40104"),
        ("receptor.uso_cfdi", "timbrado.falta"),
        ("conceptos[0].cantidad", "timbrado.numero_sin_comillas"),
        ("conceptos[1].nombre", "timbrado.nombre_largo"),
    ]


def test_a_field_that_could_not_be_read_is_unseen():
    """Asking for it raises Unseen; its neighbours have their values."""
    raw = an_invoice(moneda=5, send_to=["a@b.mx", 3])

    with pytest.raises(Unreadable) as refused:
        read(raw)
    readable = refused.value.readable

    assert readable.total == Decimal("16800.00")
    assert readable.conceptos[0].nombre == "Flete terrestre"
    with pytest.raises(Unseen):
        _ = readable.moneda
    with pytest.raises(Unseen):
        _ = readable.send_to
    with pytest.raises(AttributeError):
        _ = readable.nothing_of_ours


def test_a_verdict_has_an_invoice_only_when_it_could_be_read_whole():
    """One that breaks a rule is an invoice, one without its shape is none."""
    unreadable = validate(an_invoice(moneda=5), issuer=None, now=NOW)
    faulty = validate(an_invoice(moneda="XXX"), issuer=None, now=NOW)

    assert unreadable.invoice is None
    assert faulty.invoice is not None
    assert faulty.faults


def test_faults_come_in_the_order_of_the_contract():
    """By field, lines by number, what is unknown last."""
    paths = ["", "emisor.rfc", "account", "fecha", "forma_pago", "lugar_expedicion", "receptor", "receptor.rfc",
             "receptor.nombre", "receptor.zzz", "conceptos", "conceptos[2]", "conceptos[2].cantidad",
             "conceptos[2].traslados[0].base", "conceptos[10].clave_prod_serv", "informacion_global", "subtotal",
             "total", "send_to[1]", "zzz"]  # fmt: skip

    backwards = paths[::-1]

    assert sorted(backwards, key=place_of) == paths


def test_validation_never_raises():
    """Whatever an invoice holds, there is a verdict, and without an issuer too."""
    odd = [
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        None,
        1,
        1.5,
        True,
        "",
        " ",
        "x",
        "|",
        "9" * 40,
        [],
        [1],
        {},
        {"a": 1},
        float("nan"),
        timedelta(),
    ]
    for field in Invoice.model_fields:
        for value in odd:
            verdict = validate(a_global_invoice() | {field: value}, issuer=None, now=NOW)
            assert verdict.invoice is not None or verdict.faults


@pytest.mark.parametrize(
    ("pasted", "meant"),
    [
        ("ORGANICOS\u00a0ÑAVEZ OSORIO", "ORGANICOS ÑAVEZ OSORIO"),
        ("ORGANICOS N\u0303AVEZ OSORIO", "ORGANICOS ÑAVEZ OSORIO"),
        ("\ufeffORGANICOS \u200bÑAVEZ\u2003OSORIO", "ORGANICOS ÑAVEZ OSORIO"),
    ],
)
def test_what_a_copy_brings_along_unseen_is_left_behind(pasted, meant):
    """The SAT would take it for another name."""
    raw = an_invoice()
    raw["receptor"]["nombre"] = pasted

    assert read(raw).receptor.nombre == meant


@pytest.mark.parametrize("fecha", ["9999-12-31T23:59:59-06:00", "0001-01-01T00:00:00+14:00"])
def test_a_fecha_at_the_end_of_the_calendar_is_refused_by_name(fecha):
    """Another zone's clock would leave the calendar."""
    raw = an_invoice(fecha=fecha)

    with pytest.raises(Unreadable) as refused:
        read(raw)

    assert [fault.field for fault in refused.value.faults] == ["fecha"]
