"""What the client makes of ContaDigital's answers, in all the forms that were seen."""

import base64
import gzip
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from contadigital.errors import (
    AlreadyStamped,
    AnswerLost,
    ConnectionRefused,
    ContaDigitalError,
    DocumentRejected,
    LinkRefused,
    NotSent,
    Refused,
    Throttled,
    UnknownRecord,
)
from contadigital.records import Customer, Product, Record, Session
from contadigital.replies import unpacked
from net.headers import traced
from tests.support.prepared_answers import (
    BASE,
    KEY,
    NOW,
    UUID,
    a_client,
    a_page,
    a_provider,
    a_record,
    an_answer,
    some_credentials,
)

XML = b"<?xml version='1.0'?><x/>"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- what goes out -----------------------------------------------------------------------------------


def test_a_save_is_a_new_record_that_is_only_kept():
    """Whatever the body says, Id 0 and SoloGuardar true are sent."""
    provider = a_provider()

    record = a_client(provider).save(some_credentials(), {"Id": 99, "SoloGuardar": False, "Total": 1})

    assert json.loads(provider.requests[-1].content) == {"Id": 0, "SoloGuardar": True, "Total": 1}
    assert (record.id, record.uuid) == (7, None)


def test_a_stamp_addresses_the_record_saved_before():
    """The saved Id with SoloGuardar false, under the token, at the documented path."""
    provider = a_provider()

    a_client(provider).stamp(some_credentials(), {"Id": 0, "SoloGuardar": True}, 7)

    request = provider.requests[-1]
    assert json.loads(request.content) == {"Id": 7, "SoloGuardar": False}
    assert str(request.url) == f"{BASE}/api/cfdi.json"
    assert request.headers["authorization"] == "Bearer token-1"
    assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize("record_id", [0, -1])
def test_a_stamp_without_a_saved_record_is_a_bug(record_id: int):
    """Id 0 or less is a ValueError, and nothing is sent."""
    provider = a_provider()

    with pytest.raises(ValueError, match="saved record"):
        a_client(provider).stamp(some_credentials(), {}, record_id)
    assert provider.requests == []


def test_rfcs_and_addresses_in_a_path_are_escaped():
    """An RFC with & or Ñ and an address with a slash change no path."""
    provider = a_provider({"cliente": an_answer(None)})
    client = a_client(provider)

    client.find_customer(some_credentials(), "L&Ñ950913MSA")
    client.send_mail(some_credentials(), 7, "a/b?@ejemplo.mx")

    assert provider.requests[1].url.raw_path == b"/dev/pruebas/api/clientes.json/12/L%26%C3%91950913MSA"
    assert (
        provider.requests[2].url.raw_path == b"/dev/pruebas/api/cfdi/enviar.json/12/7/a%2Fb%3F%40ejemplo.mx"
    )


def test_the_company_is_found_out_where_the_connection_does_not_know_it():
    """It is read from the answer to `conectar`."""
    provider = a_provider({"conectar": an_answer({"Token": "t", "IdEmpresa": "34"})})

    a_client(provider).look_up(some_credentials(id_empresa=None), 7)

    assert provider.requests[-1].url.path.endswith("/api/cfdi/factura.json/34/7")
    assert provider.names() == ["conectar", "factura"]


def test_without_a_company_nothing_is_asked():
    """No company in the answer is `empresa_unknown`, and no call follows."""
    provider = a_provider({"conectar": an_answer({"Token": "t"})})

    with pytest.raises(ConnectionRefused) as refused:
        a_client(provider).look_up(some_credentials(id_empresa=None), 7)

    assert refused.value.reason == "empresa_unknown"
    assert provider.names() == ["conectar"]


# --- records, in every form --------------------------------------------------------------------------


TIMBRE = f'<c:Comprobante><tfd:TimbreFiscalDigital Version="1.1"\n UUID="{UUID.lower()}"/></c:Comprobante>'.encode()


@pytest.mark.parametrize("codigo", [1, None], ids=["envelope", "bare"])
@pytest.mark.parametrize(("expected", "read"), [
    ({"XmlBase64": b64(XML), "PdfBase64": b64(b"%PDF")}, {"xml": XML, "pdf": b"%PDF"}),
    ({"XmlBase64": b64(XML)[:12] + "\r\n" + b64(XML)[12:]}, {"xml": XML}),
    ({"XmlBase64": "<xml/>"}, {"xml": b"<xml/>"}),
    ({"XmlBase64": b64(b"<x>???>></x>").replace("/", "_").replace("+", "-")}, {"xml": b"<x>???>></x>"}),
    ({"XmlBase64": b64(b"<xml/>>").rstrip("=")}, {"xml": b"<xml/>>"}),
    ({"XmlBase64": "data:text/xml;base64," + b64(XML)}, {"xml": XML}),
    ({"XmlBase64": b64(b64(XML).encode())}, {"xml": XML}),
    ({"XmlBase64": b64(gzip.compress(XML))}, {"xml": XML}),
    ({"XmlBase64": ""}, {"xml": None}),
    ({"XmlBase64": None, "XmlLink": "https://x/1.xml"}, {"xml": None, "xml_link": "https://x/1.xml"}),
    ({"UrlXml": "/1.xml", "UrlPdf": "/1.pdf"}, {"xml_link": "/1.xml", "pdf_link": "/1.pdf"}),
    ({"XmlLink": "/a.xml", "PdfLink": "/a.pdf"}, {"xml_link": "/a.xml", "pdf_link": "/a.pdf"}),
    ({"Folio": 1045, "Serie": None}, {"folio": "1045", "serie": None}),
    ({"TimbresDisponibles": 9}, {"stamps_left": 9}),
    ({"TimbresDisponibles": "9"}, {"stamps_left": 9}),
    ({"Id": "7"}, {"id": 7}),
    ({"UUID": UUID.lower()}, {"uuid": UUID}),
    ({"UUID": f"{{{UUID.lower()}}}"}, {"uuid": UUID}),
    ({"UUID": UUID.replace("-", "")}, {"uuid": UUID}),
    ({"UUID": None, "FolioFiscal": UUID}, {"uuid": UUID}),
    ({"UUID": "", "XmlBase64": b64(TIMBRE)}, {"uuid": UUID, "xml": TIMBRE}),
    ({"Id": None, "IdFactura": 7}, {"id": 7}),
    ({"FolioOriginal": "OP-1"}, {"folio_original": "OP-1"}),
    ({"Estado": "Cancelado"}, {"cancellation": "cancelled"}),
    ({"EstatusCancelacion": "En proceso"}, {"cancellation": "requested"}),
    ({"EstatusCancelacion": "Plazo vencido"}, {"cancellation": "cancelled"}),
    ({"EstatusCancelacion": "Solicitud rechazada", "Estado": "Vigente"}, {"cancellation": "rejected"}),
    ({"EstatusCancelacion": "Cancelado con aceptación"}, {"cancellation": "cancelled"}),
    ({"Estatus": "Cancelacion solicitada"}, {"cancellation": "requested"}),
    ({"Estatus": "Timbrada"}, {"cancellation": None}),
    ({"Estatus": True}, {"cancellation": None}),
])  # fmt: skip
def test_a_record_is_read_in_all_its_forms(
    codigo: int | None, expected: dict[str, Any], read: dict[str, Any]
):
    """Each known spelling of a field, in an envelope or bare, gives the same record."""
    base = {"Id": 7, "UUID": UUID}
    client = a_client(
        a_provider({name: an_answer(base | expected, codigo=codigo) for name in ("timbrar", "factura")})
    )

    for record in (client.stamp(some_credentials(), {}, 7), client.look_up(some_credentials(), 7)):
        assert {name: getattr(record, name) for name in read} == read
        assert record.codigo == codigo


def json_of(value: Any, encoding: str = "utf-8") -> httpx.Response:
    return httpx.Response(200, content=json.dumps(value, ensure_ascii=False).encode(encoding))


DONE = {"Codigo": 1, "Mensaje": "Operación hecha", "Resultado": {"Id": 7, "UUID": UUID}}


@pytest.mark.parametrize("reply", [
    json_of({"d": DONE}), json_of({"d": json.dumps(DONE)}), json_of([DONE]),
    json_of({"Codigo": 1, "Mensaje": "OK", "Resultado": DONE}),
    json_of({"Codigo": 1, "Resultado": json.dumps(DONE)}),
    json_of(DONE | {"Resultado": {"Factura": DONE["Resultado"]}}),
    json_of(DONE | {"Resultado": [{"Datos": DONE["Resultado"]}]}),
    json_of({"d": DONE["Resultado"]}),
    json_of({"código": 1, "resultado": {"id": 7, "uuid": UUID}}),
    json_of({"CODIGO": 1, "RESULTADO": {"I_D": 7, "UUID": UUID}}),
    json_of(DONE, "windows-1252"),
    json_of(DONE | {"Codigo": 1.0, "Resultado": {"Id": 7.0, "UUID": UUID}}),
])  # fmt: skip
def test_an_answer_is_read_however_it_is_wrapped_and_written(reply: httpx.Response):
    """ASP.NET's `d`, an envelope in an envelope, a list of one, other letters, Windows' encoding, 7.0 for 7."""
    client = a_client(a_provider({"timbrar": reply, "factura": reply}))

    assert (client.stamp(some_credentials(), {}, 7).id, client.look_up(some_credentials(), 7).uuid) == (
        7,
        UUID,
    )


@pytest.mark.parametrize("reply", [
    json_of({"d": {"Codigo": 3, "Mensaje": "Sin timbres", "Resultado": None}}),
    json_of({"Codigo": 1, "Resultado": {"Codigo": 3, "Mensaje": "Sin timbres", "Resultado": {"Id": 7}}}),
])  # fmt: skip
def test_of_two_envelopes_the_inner_one_says_what_was_done(reply: httpx.Response):
    """The outer one says only that the call was answered."""
    with pytest.raises(ConnectionRefused) as refused:
        a_client(a_provider({"timbrar": reply})).stamp(some_credentials(), {}, 7)

    assert refused.value.reason == "no_stamps"


@pytest.mark.parametrize("reply", [
    json_of({"Codigo": 1, "Resultado": {"Productos": [{"Id": 500}]}}),
    json_of({"Codigo": 1, "Resultado": {"Cliente": {"Id": 500}}}),
    json_of({"Codigo": 1, "Resultado": [{"Empresa": {"Id": 500}}]}),
    json_of({"Codigo": 1, "Resultado": [{"Id": 7}, {"Id": 8}]}),
    json_of({"Codigo": 1, "Resultado": 7}),
])  # fmt: skip
def test_an_id_that_may_be_of_something_else_is_not_taken(reply: httpx.Response):
    """A line's, a customer's, one of two, or a bare number, which may be how many rows were changed."""
    with pytest.raises(AnswerLost):
        a_client(a_provider({"guardar": reply})).save(some_credentials(), {})


def test_the_company_beside_a_token_is_found_in_any_letters():
    """It was read in one spelling only, where every other field is read in any."""
    provider = a_provider({"conectar": json_of({"d": {"TOKEN": "t", "ID_EMPRESA": 12.0}})})

    assert a_client(provider).authenticate(some_credentials(id_empresa=None)).id_empresa == 12


def test_a_document_does_not_show_in_what_is_printed():
    """A record's repr has no XML."""
    assert "xml" not in repr(Record(id=7, uuid=UUID, xml=XML))


def test_a_stamp_on_another_record_is_visible():
    """The answer's own Id is kept, so that a caller can compare."""
    record = a_client(a_provider({"timbrar": an_answer(a_record(Id=8))})).stamp(some_credentials(), {}, 7)

    assert (record.id, record.uuid) == (8, UUID)


def test_a_stamp_that_does_not_repeat_its_id_is_of_the_record_asked():
    """An answer with a UUID alone gets the Id of the request."""
    record = a_client(a_provider({"timbrar": an_answer({"UUID": UUID})})).stamp(some_credentials(), {}, 7)

    assert record.id == 7


def test_a_save_that_stamped_at_once_is_visible():
    """A UUID in the answer to a save is not dropped."""
    record = a_client(a_provider({"guardar": an_answer(a_record())})).save(some_credentials(), {})

    assert (record.id, record.uuid) == (7, UUID)


def test_a_save_without_stamps_left_is_saved_all_the_same():
    """Codigo 3 with an Id is a saved record, not a refusal."""
    record = a_client(a_provider({"guardar": an_answer({"Id": 7}, codigo=3)})).save(some_credentials(), {})

    assert (record.id, record.uuid, record.codigo) == (7, None, 3)


@pytest.mark.parametrize("reply", [an_answer({}), an_answer(None), an_answer({"Id": 0}), an_answer({"Id": None}),
                                   an_answer({"hola": 1}, codigo=None), a_page(200)])  # fmt: skip
def test_a_save_without_an_id_is_a_lost_answer(reply: httpx.Response):
    """A 200 from which no Id can be read may have saved: AnswerLost."""
    with pytest.raises(AnswerLost):
        a_client(a_provider({"guardar": reply})).save(some_credentials(), {})


def test_a_stamp_without_stamps_left_concerns_the_connection():
    """Codigo 3 on a stamp is `no_stamps`, with the provider's words."""
    client = a_client(a_provider({"timbrar": an_answer({"Id": 7}, codigo=3, mensaje="Compra timbres")}))

    with pytest.raises(ConnectionRefused) as refused:
        client.stamp(some_credentials(), {}, 7)

    assert (refused.value.reason, refused.value.detail, refused.value.codigo) == (
        "no_stamps",
        "Compra timbres",
        3,
    )


@pytest.mark.parametrize(
    ("status", "resultado"), [(200, a_record()), (400, a_record()), (200, None), (409, None)]
)
def test_what_was_stamped_before_says_so_with_or_without_its_record(status: int, resultado: Any):
    """SAT code 307 is AlreadyStamped at whatever HTTP status."""
    reply = an_answer(resultado, codigo=4, mensaje="307 - CFDI previamente timbrado", status=status)

    with pytest.raises(AlreadyStamped) as refused:
        a_client(a_provider({"timbrar": reply})).stamp(some_credentials(), {}, 7)

    assert (refused.value.record.uuid if refused.value.record else None) == (UUID if resultado else None)


# --- looking up --------------------------------------------------------------------------------------


def test_a_saved_record_has_no_uuid():
    """An empty UUID is read as none."""
    client = a_client(a_provider({"factura": an_answer({"Id": 7, "UUID": ""})}))

    assert client.look_up(some_credentials(), 7).uuid is None


@pytest.mark.parametrize("reply", [an_answer(None), an_answer([]), an_answer({}), an_answer(status=404), a_page(404),
                                   httpx.Response(404),
                                   an_answer(codigo=5, mensaje="No se encontró la factura")])  # fmt: skip
def test_an_unknown_record_is_reported_in_many_ways(reply: httpx.Response):
    """Each answer that means "no such Id" is UnknownRecord."""
    with pytest.raises(UnknownRecord):
        a_client(a_provider({"factura": reply})).look_up(some_credentials(), 7)


@pytest.mark.parametrize("reply", [a_page(200), a_page(502), an_answer({}, codigo=None), httpx.Response(200, json=None),
                                   an_answer(codigo=77, mensaje="CFDI40147"), an_answer({"Serie": "A"}),
                                   httpx.ReadTimeout("x"),
                                   an_answer([a_record(), a_record()])])  # fmt: skip
def test_a_look_up_that_cannot_be_read_is_asked_again(reply: Any):
    """Pages, empty bodies, other codes and two records at once are AnswerLost."""
    with pytest.raises(AnswerLost):
        a_client(a_provider({"factura": reply})).look_up(some_credentials(), 7)


@pytest.mark.parametrize(("estatus", "says_no"), [
    ("Timbrada", False), ("VIGENTE", False), ("Pendiente de timbrar", True), ("Sin timbrar", True), (True, True),
])  # fmt: skip
def test_a_record_called_stamped_is_no_proof_that_it_is_not(estatus: str | bool, says_no: bool):
    """Its UUID may come a moment later than its status: that is no answer, and never a no."""
    client = a_client(a_provider({"factura": an_answer({"Id": 7, "UUID": "", "Estatus": estatus})}))

    if says_no:
        assert client.look_up(some_credentials(), 7).uuid is None
    else:
        with pytest.raises(AnswerLost):
            client.look_up(some_credentials(), 7)


def test_an_answer_about_another_record_is_not_adopted():
    """A look-up that answers with another Id is AnswerLost."""
    with pytest.raises(AnswerLost):
        a_client(a_provider({"factura": an_answer(a_record(Id=8))})).look_up(some_credentials(), 7)


# --- cancelling and mailing --------------------------------------------------------------------------


def acuse(code: str) -> dict[str, str]:
    return {"AcuseBase64": b64(f"<Acuse><Folios><EstatusUUID>{code}</EstatusUUID></Folios></Acuse>".encode())}


@pytest.mark.parametrize(("reply", "state"), [
    (an_answer(acuse("201")), "requested"),
    (an_answer(acuse("202")), "requested"),
    (an_answer(acuse("201") | {"Estado": "Cancelado"}), "cancelled"),
    (an_answer(acuse("201") | {"EstatusCancelacion": "En proceso"}), "requested"),
    (an_answer(acuse("201"), codigo=None), "requested"),
    (an_answer({"AcuseBase64": ""}), "unknown"),
    (an_answer({"Estatus": "Cancelada"}), "cancelled"),
    (an_answer(None), "unknown"),
    (an_answer(None, codigo=201, mensaje="Solicitud recibida"), "requested"),
    (an_answer(None, codigo=202, mensaje="Solicitud recibida antes"), "requested"),
    (an_answer(None, codigo=11, mensaje="El comprobante ya está cancelado"), "cancelled"),
])  # fmt: skip
def test_a_cancellation_is_requested_until_somebody_says_cancelled(reply: httpx.Response, state: str):
    """An acuse alone is a request; only a state or code ends it."""
    assert a_client(a_provider({"cancelar": reply})).cancel(some_credentials(), 7, "02").state == state


def test_a_cancellation_names_its_substitute_only_where_there_is_one():
    """Motivo 01 sends UUIDSustitucion, 03 no such field."""
    provider = a_provider()
    client = a_client(provider)

    client.cancel(some_credentials(), 7, "01", UUID)
    client.cancel(some_credentials(), 7, "03")

    bodies = [json.loads(request.content) for request in provider.requests[1:]]
    assert bodies == [
        {"IdEmpresa": 12, "IdFactura": 7, "Motivo": "01", "UUIDSustitucion": UUID},
        {"IdEmpresa": 12, "IdFactura": 7, "Motivo": "03"},
    ]


@pytest.mark.parametrize(("reply", "kind"), [
    (an_answer(None, codigo=11, mensaje="No se puede"), DocumentRejected),
    (an_answer(None, codigo=11, mensaje="205 - UUID no existe"), UnknownRecord),
    (an_answer(None, codigo=208), DocumentRejected),
    (an_answer({"EstatusUUID": "205"}), UnknownRecord),
    (an_answer({"AcuseBase64": b64(b'<Acuse><s:EstatusUUID xmlns:s="urn:x">206</s:EstatusUUID></Acuse>')}),
     DocumentRejected),
    (an_answer({"AcuseBase64": b64("<Acuse><EstatusUUID>206</EstatusUUID></Acuse>".encode("utf-16"))}),
     DocumentRejected),
    (an_answer(None, codigo=708), AnswerLost),
    (an_answer(status=500), AnswerLost),
    (a_page(200), AnswerLost),
    (httpx.ReadError("x"), AnswerLost),
    (httpx.ConnectError("x"), NotSent),
])  # fmt: skip
def test_a_cancellation_that_was_not_taken_says_why(reply: Any, kind: type[ContaDigitalError]):
    """Refused, unknown, lost or not sent: the class says what comes next."""
    with pytest.raises(kind):
        a_client(a_provider({"cancelar": reply})).cancel(some_credentials(), 7, "02")


def test_a_mail_that_is_not_sent_says_so():
    """A code other than success is Refused."""
    with pytest.raises(Refused):
        a_client(a_provider({"enviar": an_answer(codigo=12, mensaje="El correo no es válido")})).send_mail(
            some_credentials(), 7, "x@y.mx"
        )


# --- customers ---------------------------------------------------------------------------------------

XENON = Customer("XIA190128J61", "XENON INDUSTRIAL ARTICLES", "601", "76343", "G03", "a@b.mx")
ANSWERED = {"Id": 3, "RFC": "XIA190128J61", "RazonSocial": "XENON INDUSTRIAL ARTICLES", "RegimenFiscal": "601",
        "CP": "76343", "UsoCFDIDefault": "G03", "Email": "a@b.mx", "Estatus": True}  # fmt: skip


@pytest.mark.parametrize("reply", [an_answer(None), an_answer({}), an_answer([]), an_answer(status=404),
                                   httpx.Response(404), an_answer(codigo=0), an_answer(None, codigo=None),
                                   an_answer({"Total": 0, "Pagina": 1, "Registros": []}), an_answer({"Datos": None}),
                                   an_answer({"Id": 0, "RFC": None, "RazonSocial": "", "Estatus": False}),
                                   an_answer(codigo=5, mensaje="No se encontró el cliente"),
                                   an_answer(codigo=5, mensaje="El cliente no existe", status=400)])  # fmt: skip
def test_an_unknown_customer_is_none(reply: httpx.Response):
    """Each way of saying "not found" that was seen or written gives None."""
    assert a_client(a_provider({"cliente": reply})).find_customer(some_credentials(), XENON.rfc) is None


@pytest.mark.parametrize(("reply", "kind"), [
    (a_page(502), AnswerLost),
    (a_page(200), AnswerLost),
    (an_answer(codigo=500, mensaje="Error interno del servidor"), AnswerLost),
    (an_answer(status=429), Throttled),
    (an_answer(ANSWERED | {"RFC": "OTRO010101AAA"}), AnswerLost),
    (an_answer({"Total": 40, "Registros": [ANSWERED | {"RFC": "OTRO010101AAA"}]}), AnswerLost),
    (an_answer({"IdCliente": 9, "RFC": "XIA190128J61", "Sucursales": [{"Id": 1, "Nombre": "Matriz"}]}), AnswerLost),
])  # fmt: skip
def test_a_customer_that_cannot_be_read_is_not_taken_for_unknown(
    reply: httpx.Response, kind: type[ContaDigitalError]
):
    """An outage or another RFC is an error, so that no twin is made."""
    with pytest.raises(kind):
        a_client(a_provider({"cliente": reply})).find_customer(some_credentials(), XENON.rfc)


@pytest.mark.parametrize(("reply", "active"), [
    (an_answer(ANSWERED), True),
    (an_answer([ANSWERED]), True),
    (an_answer(ANSWERED, codigo=None), True),
    (an_answer(ANSWERED | {"Estatus": False}), False),
    (an_answer(ANSWERED | {"Estatus": 0}), False),
    (an_answer(ANSWERED | {"Estatus": "Inactivo"}), False),
    (an_answer(ANSWERED | {"Estatus": "Activo"}), True),
    (an_answer({"Total": 2, "Registros": [{"Id": 9, "RFC": "OTRO010101AAA"}, ANSWERED]}), True),
    (an_answer({"Cliente": ANSWERED}), True),
    (an_answer([ANSWERED | {"Id": 2, "CP": "76000", "Estatus": False}, ANSWERED]), True),
    (an_answer(ANSWERED | {"RegimenFiscal": "601 General de Ley Personas Morales"}), True),
])  # fmt: skip
def test_a_customer_is_read_in_all_its_forms(reply: httpx.Response, active: bool):
    """Object, list or bare; active unless Estatus is false."""
    found = a_client(a_provider({"cliente": reply})).find_customer(some_credentials(), XENON.rfc)

    assert found is not None
    assert (found.id, found.active, found.regimen_fiscal) == (3, active, "601")
    assert found.differs_from(XENON) is not active


@pytest.mark.parametrize(("changes", "differs"), [
    ({}, False),
    ({"Email": "otro@b.mx", "UsoCFDIDefault": "S01"}, False),
    ({"RazonSocial": "XENON"}, True),
    ({"CP": "76344"}, True),
    ({"RegimenFiscal": "603"}, True),
    ({"Estatus": False}, True),
])  # fmt: skip
def test_a_customer_is_updated_for_what_the_sat_compares(changes: dict[str, Any], differs: bool):
    """Name, postcode, regimen and Estatus count; mail and default use do not."""
    found = a_client(a_provider({"cliente": an_answer(ANSWERED | changes)})).find_customer(
        some_credentials(), XENON.rfc
    )

    assert found is not None
    assert found.differs_from(XENON) is differs


def test_a_customer_is_created_and_one_that_exists_is_brought_to_life():
    """POST for a new one, PUT with its Id for a known one."""
    provider = a_provider()
    client = a_client(provider)

    assert client.put_customer(some_credentials(), XENON) == 3
    assert client.put_customer(some_credentials(), XENON, replace(XENON, id=9)) == 3

    created, revived = (json.loads(request.content) for request in provider.requests[1:])
    assert [request.method for request in provider.requests[1:]] == ["POST", "PUT"]
    assert created["Estatus"] is True
    assert revived["Estatus"] is True
    assert (created["IdEmpresaCliente"], revived["Id"], "Id" in created) == (12, 9, False)
    assert created["CP"] == "76343"


@pytest.mark.parametrize("exists", [an_answer(codigo=13, mensaje="Ya existe un cliente con ese RFC"), an_answer({}),
                                    an_answer(codigo=13, mensaje="RFC duplicado", status=409)])  # fmt: skip
def test_ten_invoices_of_a_new_customer_end_with_one(exists: httpx.Response):
    """An answer "already exists" makes us look the customer up and take its id."""
    provider = a_provider({"cliente_guardar": exists, "cliente": an_answer(ANSWERED)})

    assert a_client(provider).put_customer(some_credentials(), XENON) == 3
    assert provider.names() == ["conectar", "cliente_guardar", "cliente"]


def test_a_customer_that_exists_otherwise_is_updated():
    """An answer "already exists" with other data is followed by a PUT."""
    provider = a_provider({
        "cliente_guardar": [an_answer(codigo=13, mensaje="Ya existe"), an_answer({})],
        "cliente": an_answer(ANSWERED | {"CP": "00000"}),
    })  # fmt: skip

    assert a_client(provider).put_customer(some_credentials(), XENON) == 3
    assert [request.method for request in provider.requests] == ["POST", "POST", "GET", "PUT"]


def test_a_customer_that_is_refused_is_a_fault_of_the_receptor():
    """Its DocumentRejected names the field `receptor`."""
    client = a_client(
        a_provider({"cliente_guardar": an_answer(codigo=8, mensaje="RFC con formato inválido")})
    )

    with pytest.raises(DocumentRejected) as refused:
        client.put_customer(some_credentials(), XENON)

    assert [(fault.field, fault.source) for fault in refused.value.faults] == [("receptor", "contadigital")]


# --- products ----------------------------------------------------------------------------------------

FLETE = Product("78101802", "Flete terrestre", 12, "02", "78101802-02-ab12")
SENT_FLETE = {"Id": 4, "Clave": "otra", "Nombre": "Flete terrestre", "ClaveProdServ": "78101802", "IdUM": 12,
              "ObjetoImp": "02"}  # fmt: skip


@pytest.mark.parametrize(("resultado", "found"), [
    (SENT_FLETE, 4),
    ([SENT_FLETE], 4),
    ([SENT_FLETE | {"Id": 1, "ObjetoImp": "01"}, SENT_FLETE], 4),
    ([SENT_FLETE | {"IdUM": 13}], None),
    ([SENT_FLETE | {"Nombre": "Otro"}], None),
    ([], None),
    (None, None),
])  # fmt: skip
def test_a_product_is_the_same_in_name_unit_and_tax(resultado: Any, found: int | None):
    """A product found under the key is used only where all three agree."""
    product = a_client(a_provider({"producto": an_answer(resultado)})).find_product(some_credentials(), FLETE)

    assert (product.id if product else None) == found


def test_a_customer_is_updated_under_the_names_it_has_there():
    """With underscores too: a second field beside the first would contradict it."""
    there = {
        "id": 3,
        "rfc": XENON.rfc,
        "razon_social": "XENON",
        "regimen_fiscal": "601",
        "cp": "1",
        "email": "x@b.mx",
        "estatus": True,
    }
    provider = a_provider({"cliente": json_of(there), "cliente_guardar": an_answer({"Id": 3})})
    client = a_client(provider)

    client.put_customer(some_credentials(), XENON, client.find_customer(some_credentials(), XENON.rfc))

    sent = json.loads(provider.requests[-1].content)
    assert sent == there | {
        "IdEmpresaCliente": 12,
        "razon_social": XENON.razon_social,
        "cp": "76343",
    }


def test_a_postcode_that_lost_its_zero_is_the_same():
    """A number has no leading zeros: the customer is not changed for it."""
    found = a_client(a_provider({"cliente": an_answer(ANSWERED | {"CP": 1000})})).find_customer(
        some_credentials(), XENON.rfc
    )

    assert found is not None
    assert not found.differs_from(replace(XENON, codigo_postal="01000"))


def test_a_customer_of_a_list_is_known_by_its_rfc():
    """One of several without an RFC may be anybody's."""
    rows = [{"Id": 2, "RazonSocial": "OTRO"}, {"Id": 3, "RazonSocial": "XENON"}]

    assert (
        a_client(a_provider({"cliente": an_answer(rows)})).find_customer(some_credentials(), XENON.rfc)
        is None
    )


def test_a_product_is_created_or_found():
    """An existing key is looked up, and what is sent has the product's fields."""
    provider = a_provider({
        "producto_guardar": [an_answer({"Id": 4}), an_answer(codigo=13, mensaje="Ya existe un producto con esa Clave")],
        "producto": an_answer([SENT_FLETE | {"Id": 5}]),
    })  # fmt: skip
    client = a_client(provider)

    assert client.put_product(some_credentials(), FLETE) == 4
    assert client.put_product(some_credentials(), FLETE) == 5
    assert json.loads(provider.requests[1].content) == {
        "IdEmpresa": 12, "Clave": "78101802-02-ab12", "Nombre": "Flete terrestre", "ClaveProdServ": "78101802",
        "IdUM": 12, "ObjetoImp": "02",
    }  # fmt: skip


# --- documents ---------------------------------------------------------------------------------------


def test_a_document_behind_contadigitals_own_address_is_fetched_with_the_token():
    """Absolute and relative links alike."""
    provider = a_provider()

    assert (
        a_client(provider).document(some_credentials(), "https://app.contadigital.mx/docs/1.xml") == b"<xml/>"
    )
    assert a_client(provider).document(some_credentials(), "/docs/1.xml") == b"<xml/>"
    assert provider.requests[1].headers["authorization"] == "Bearer token-1"
    assert str(provider.requests[-1].url) == "https://app.contadigital.mx/docs/1.xml"


def test_a_plain_link_to_an_allowed_host_is_followed_over_tls():
    """A server behind a proxy writes http:// into its links; nothing leaves in the clear."""
    provider = a_provider()

    assert a_client(provider).document(some_credentials(), "http://app.contadigital.mx/1.xml") == b"<xml/>"
    assert str(provider.requests[-1].url) == "https://app.contadigital.mx/1.xml"


@pytest.mark.parametrize("reply", [
    httpx.Response(200, content=b"<?xml version='1.0'?><xml/>", headers={"content-type": "text/html; charset=utf-8"}),
    httpx.Response(200, content=b64(b"<?xml version='1.0'?><xml/>").encode(), headers={"content-type": "text/plain"}),
    httpx.Response(200, json=b64(b"<?xml version='1.0'?><xml/>")),
    httpx.Response(200, content=gzip.compress(b"<?xml version='1.0'?><xml/>")),
])  # fmt: skip
def test_a_document_is_taken_out_of_what_it_came_in(reply: httpx.Response):
    """.NET's text/html for whatever a handler writes, base64 for the bytes, a file that is compressed."""
    document = a_client(a_provider({"documento": reply})).document(some_credentials(), "/1.xml")

    assert document == b"<?xml version='1.0'?><xml/>"


def test_a_compressed_document_without_an_end_is_kept_as_it_came():
    """Cut off, or larger than any that is looked at."""
    for packed in (gzip.compress(b"<xml/>")[:-9], gzip.compress(b"<" * 20_000_000)):
        assert unpacked(packed) == packed


def test_a_document_elsewhere_is_fetched_without_the_token():
    """An allowed host of somebody else never sees the token."""
    provider = a_provider()
    client = a_client(provider, hosts=frozenset({"app.contadigital.mx", "archivos.example"}))

    assert client.document(some_credentials(), "https://archivos.example/1.xml?sig=abc") == b"<xml/>"
    assert "authorization" not in provider.requests[0].headers
    assert provider.names() == ["documento"]


@pytest.mark.parametrize("link", ["https://otro.example/1.xml", "http://otro.example/1.xml", "file:///etc/passwd",
                                  "https://169.254.169.254/latest", "//otro.example/1.xml", "https://u:p@app.contadigital.mx/1",
                                  "https://app.contadigital.mx@otro.example/1", "http://localhost:6379/"])  # fmt: skip
def test_a_link_that_leads_elsewhere_is_not_followed(link: str):
    """A host that is not allowed, a scheme or a user in it: LinkRefused, which names the setting, and no call."""
    provider = a_provider()

    with pytest.raises(LinkRefused, match="TIMBRADO_CONTADIGITAL_HOSTS"):
        a_client(provider).document(some_credentials(), link)
    assert provider.requests == []


@pytest.mark.parametrize("reply", [
    a_page(200), a_page(500), an_answer(status=404), an_answer(codigo=5, mensaje="El PDF aún no está disponible"),
    httpx.Response(200, content=b""), httpx.Response(302, headers={"location": "https://otro.example"}),
    an_answer({"Id": 7}),
])  # fmt: skip
def test_a_document_that_is_not_there_yet_is_asked_for_again(reply: httpx.Response):
    """A page, an error, an empty body or a redirect is AnswerLost."""
    provider = a_provider({"documento": reply})

    with pytest.raises(AnswerLost):
        a_client(provider).document(some_credentials(), "/1.pdf")
    assert provider.names().count("documento") == 1


# --- size --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"content-length": "200000"}])
def test_an_answer_without_an_end_is_given_up(headers: dict[str, str]):
    """Beyond the largest body, announced or not, it is AnswerLost."""

    def endless():
        while True:
            yield b"x" * 1_000

    client = a_client(
        a_provider({"timbrar": lambda _: httpx.Response(200, content=endless(), headers=headers)})
    )

    with pytest.raises(AnswerLost, match="too big"):
        client.stamp(some_credentials(), {}, 7)


# --- tokens ------------------------------------------------------------------------------------------


def no_token(status: int = 401) -> httpx.Response:
    return an_answer(codigo=401, mensaje="Token inválido o expirado", status=status)


LOGIN = httpx.Response(302, headers={"location": "/Account/Login?ReturnUrl=%2fapi%2fcfdi.json"})


def test_a_log_in_page_for_every_token_says_nothing_about_the_key():
    """A site that sends everybody there just now breaks no connection; the call may have been carried out."""
    provider = a_provider({"timbrar": LOGIN})

    with pytest.raises(AnswerLost):
        a_client(provider).stamp(some_credentials(), {}, 7)


def test_a_log_in_page_for_a_stamp_is_a_lost_answer_and_the_look_up_renews_the_token():
    """A page says less than a 401 about what was carried out: a stamp is not sent again for it."""
    provider = a_provider({
        "conectar": [an_answer({"Token": "old", "IdEmpresa": 12}), an_answer({"Token": "new", "IdEmpresa": 12})],
        "timbrar": LOGIN, "factura": [LOGIN, an_answer(a_record())],
    })  # fmt: skip
    client = a_client(provider)

    with pytest.raises(AnswerLost):
        client.stamp(some_credentials(), {}, 7)
    assert client.look_up(some_credentials(), 7).uuid == UUID
    assert provider.names() == ["conectar", "timbrar", "factura", "conectar", "factura"]


def test_a_save_sent_to_a_log_in_page_is_made_again_with_a_new_token():
    """Two drafts are no two stamps, and nothing could look the first one up."""
    provider = a_provider({
        "conectar": [an_answer({"Token": "old", "IdEmpresa": 12}), an_answer({"Token": "new", "IdEmpresa": 12})],
        "guardar": [LOGIN, an_answer(a_record())],
    })  # fmt: skip

    assert a_client(provider).save(some_credentials(), {}).id == 7
    assert provider.requests[-1].headers["authorization"] == "Bearer new"


@pytest.mark.parametrize("refusal", [no_token(401), no_token(403), no_token(200), httpx.Response(401)])
def test_a_refused_token_is_renewed_once(refusal: httpx.Response):
    """401, 403, or words about the token: one new token, and the same call again."""
    provider = a_provider({
        "conectar": [an_answer({"Token": "old", "IdEmpresa": 12}), an_answer({"Token": "new", "IdEmpresa": 12})],
        "timbrar": [refusal, an_answer(a_record())],
    })  # fmt: skip

    assert a_client(provider).stamp(some_credentials(), {}, 7).uuid == UUID
    assert provider.names() == ["conectar", "timbrar", "conectar", "timbrar"]
    assert provider.requests[-1].headers["authorization"] == "Bearer new"


class Scripted:
    """A store that gives out these tokens in turn."""

    def __init__(self, *sessions: Session) -> None:
        self.sessions = list(sessions)
        self.refused: list[str | None] = []

    def session(self, slot: str, ask: Any, *, refused: str | None = None, afresh: bool = False) -> Session:
        self.refused.append(refused)
        return self.sessions.pop(0)

    def refuse(self, slot: str, error: ConnectionRefused) -> None:
        raise AssertionError("the key is good")


def test_a_token_that_another_brought_before_says_nothing_about_the_key():
    """Tokens that die early can be refused twice in a row; only one exchanged for this very call is a proof."""
    earlier, life = NOW - timedelta(minutes=1), timedelta(minutes=50)
    store = Scripted(
        *(Session(token, 12, at, at + life) for token, at in (("a", earlier), ("b", earlier), ("c", NOW)))
    )
    provider = a_provider({"timbrar": [no_token(), no_token(), an_answer(a_record())]})

    assert a_client(provider, tokens=store).stamp(some_credentials(), {}, 7).uuid == UUID
    assert store.refused == [None, "a", "b"]


def test_a_fresh_token_that_is_refused_once_says_nothing_about_the_key():
    """Another call's renewal, or the provider itself, may have revoked it just then."""
    provider = a_provider({
        "conectar": [an_answer({"Token": token, "IdEmpresa": 12}) for token in ("old", "new", "newest")],
        "timbrar": [no_token(), no_token(), an_answer(a_record())],
    })  # fmt: skip

    assert a_client(provider).stamp(some_credentials(), {}, 7).uuid == UUID
    assert provider.requests[-1].headers["authorization"] == "Bearer newest"


@pytest.mark.parametrize(
    ("status", "reason", "renewals"),
    [(401, "key_rejected", 2), (200, "key_rejected", 2), (403, "api_not_enabled", 1)],
)
def test_fresh_tokens_that_are_refused_speak_against_the_account(status: int, reason: str, renewals: int):
    """Two refusals of fresh ones are the account's reason, and are remembered; one 403 is."""
    provider = a_provider({
        "conectar": [an_answer({"Token": token}) for token in ("old", "new", "newest")],
        "timbrar": no_token(status),
    })  # fmt: skip
    client = a_client(provider)

    with pytest.raises(ConnectionRefused) as first:
        client.stamp(some_credentials(), {}, 7)
    with pytest.raises(ConnectionRefused) as second:
        client.stamp(some_credentials(), {}, 7)

    assert (first.value.reason, second.value.reason) == (reason, reason)
    assert provider.names() == ["conectar", "timbrar"] * (1 + renewals)


@pytest.mark.parametrize(
    ("call", "ask", "kind"),
    [
        ("factura", lambda client: client.look_up(some_credentials(), 7), AnswerLost),
        ("documento", lambda client: client.document(some_credentials(), f"{BASE}/x.pdf"), AnswerLost),
        ("enviar", lambda client: client.send_mail(some_credentials(), 7, "a@ejemplo.mx"), Refused),
        ("cancelar", lambda client: client.cancel(some_credentials(), 7, "02"), Refused),
    ],
)
def test_what_a_good_key_may_not_do_besides_stamping_breaks_no_connection(call: str, ask: Any, kind: type):
    """A link that ran out, a mail or a cancellation that this key may not ask for: the invoices go on."""
    provider = a_provider({call: an_answer(codigo=9, mensaje="No", status=403)})
    client = a_client(provider)

    with pytest.raises(ContaDigitalError) as refused:
        ask(client)

    assert type(refused.value) is kind
    assert client.stamp(some_credentials(), {}, 7).uuid == UUID


@pytest.mark.parametrize(("reply", "kind"), [
    (httpx.ConnectError("x"), NotSent),
    (httpx.ReadTimeout("x"), NotSent),
    (a_page(502), NotSent),
    (a_page(200), NotSent),
    (an_answer(status=429, **{"retry-after": "30"}), Throttled),
    (an_answer(status=401), ConnectionRefused),
])  # fmt: skip
def test_no_token_means_that_nothing_of_the_stamp_has_left(reply: Any, kind: type[ContaDigitalError]):
    """Any failure of `conectar` is one of the kinds that may be sent again."""
    provider = a_provider({"conectar": reply})

    with pytest.raises(kind) as failed:
        a_client(provider).stamp(some_credentials(), {}, 7)

    assert type(failed.value) is kind
    assert failed.value.call == "conectar"
    assert provider.names() == ["conectar"]


def test_the_key_goes_out_in_one_call_only():
    """Only `conectar` carries it, in address, header or body."""
    provider = a_provider()
    client = a_client(provider)
    client.catalogs(some_credentials())
    client.stamp(some_credentials(), {}, 7)

    holding = [name for name, request in zip(provider.names(), provider.requests, strict=True)
               if KEY in str(request.url) + str(dict(request.headers)) + request.content.decode()]  # fmt: skip

    assert holding == ["conectar"]


def test_the_trace_of_a_message_goes_along_with_the_call():
    """One id leads from Apunto's message through ContaDigital's call to the event."""
    provider = a_provider()

    traced("trace-1")
    a_client(provider).look_up(some_credentials(), 7)
    traced(None)
    a_client(provider).look_up(some_credentials(), 7)

    sent = [request.headers.get("X-Request-Id") for request in provider.requests]
    assert (sent[0], sent[-1]) == ("trace-1", None)
