"""Each failure and each shape of an answer has exactly one side: NotSent, Refused or AnswerLost."""

import itertools
import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from contadigital import errors
from contadigital.errors import (
    AlreadyStamped,
    AnswerLost,
    ConnectionRefused,
    ContaDigitalError,
    DocumentRejected,
    IdRefused,
    NotSent,
    Refused,
    Throttled,
    UnknownRecord,
    from_transport,
)
from contadigital.replies import Answer, parse, refusal
from tests.support.prepared_answers import (
    UUID,
    a_client,
    a_page,
    a_provider,
    a_record,
    an_answer,
    some_credentials,
)

NOW = datetime(2026, 11, 23, 16, 20, tzinfo=UTC)
EVERY_CALL = sorted(errors.NOT_AUTH | errors.AUTH)


def every_httpx_exception() -> list[type[Exception]]:
    """All of httpx's exception classes, public or reached from a public one."""
    public = [getattr(httpx, name) for name in dir(httpx)]
    found = {each for each in public if isinstance(each, type) and issubclass(each, Exception)}
    while True:
        more = {
            child for each in found for child in each.__subclasses__() if child.__module__.startswith("httpx")
        }
        if more <= found:
            return sorted(found, key=lambda each: each.__name__)
        found |= more


def test_every_failure_of_httpx_has_one_side():
    """Each class of httpx's tree is either before or after sending."""
    sides = {
        each: [each in errors.NOT_SENT, each in errors.MAY_HAVE_ARRIVED] for each in every_httpx_exception()
    }

    assert [each.__name__ for each, found in sides.items() if found.count(True) != 1] == []
    assert httpx.ReadTimeout in sides


def a_failure(kind: type[Exception]) -> Exception:
    if issubclass(kind, httpx.HTTPStatusError):
        request = httpx.Request("GET", "https://app.contadigital.mx")
        return kind("x", request=request, response=httpx.Response(500))
    return (
        kind("x")
        if kind not in (httpx.StreamConsumed, httpx.StreamClosed, httpx.ResponseNotRead, httpx.RequestNotRead)
        else kind()
    )


@pytest.mark.parametrize("kind", every_httpx_exception(), ids=lambda each: each.__name__)
def test_only_what_provably_came_before_the_first_byte_is_not_sent(kind: type[Exception]):
    """Everything else is AnswerLost, with its call."""
    before = {
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "ProxyError",
        "UnsupportedProtocol",
        "InvalidURL",
    }

    reported = from_transport(a_failure(kind), call="timbrar")

    assert type(reported) is (NotSent if kind.__name__ in before else AnswerLost)
    assert reported.call == "timbrar"


def test_a_failure_nobody_knows_may_have_arrived():
    """An exception that is in neither list is AnswerLost."""

    class Tomorrow(httpx.TransportError):
        pass

    assert type(from_transport(Tomorrow("x"))) is AnswerLost


@pytest.mark.parametrize("kind", every_httpx_exception(), ids=lambda each: each.__name__)
def test_a_failure_on_the_way_reaches_the_caller_with_its_side(kind: type[Exception]):
    """The client raises what the table says of each class."""
    client = a_client(a_provider({"timbrar": a_failure(kind)}))

    with pytest.raises((NotSent, AnswerLost)) as reported:
        client.stamp(some_credentials(), {}, 7)

    assert type(reported.value) is type(from_transport(a_failure(kind)))


# --- answers -----------------------------------------------------------------------------------------

SHAPES: dict[str, bytes] = {
    "nothing": b"",
    "html": b"<!DOCTYPE html><html>Service</html>",
    "text": b"Internal error",
    "null": b"null",
    "number": b"7",
    "empty object": b"{}",
    "empty list": b"[]",
    "cut": b'{"Codigo": 1, "Resultado": {"Id"',
    "not utf-8": b'{"Codigo": 1, "Mensaje": "\xff"}',
    "deep": b"[" * 5_000,
    "bare without meaning": b'{"hola": 1}',
    "framework": b'{"Message": "The request is invalid."}',
    "words without a codigo": b'{"Mensaje": "CFDI40147 - DomicilioFiscalReceptor"}',
    "done without anything": b'{"Codigo": 1, "Resultado": null}',
    "done without a uuid": b'{"Codigo": 1, "Resultado": {"Id": 7, "UUID": ""}}',
    "refused": b'{"Codigo": 99, "Resultado": null, "Mensaje": "No se pudo"}',
    "refused by the SAT": b'{"Codigo": 2, "Mensaje": "CFDI40147 - DomicilioFiscalReceptor"}',
    "codigo as text": b'{"Codigo": "99", "Mensaje": "No se pudo"}',
    "codigo as nonsense": b'{"Codigo": [], "Mensaje": "No se pudo"}',
    "refused beside a uuid": json.dumps({"Codigo": 99, "Resultado": a_record(), "Mensaje": "No"}).encode(),
}


def reported(call: str, status: int, body: bytes, **headers: str) -> ContaDigitalError:
    return refusal(parse(Answer(call, status, headers, body), now=NOW))


EVERY_STATUS = [100, 200, 201, 202, 204, 301, 307, 400, 401, 403, 404, 408, 409, 413, 418, 422, 423, 425, 429, 431, 451,
                500, 501, 502, 503, 504, 599]  # fmt: skip


@pytest.mark.parametrize("call", EVERY_CALL)
def test_every_status_with_every_shape_has_one_side(call: str):
    """An answer of any status and body is either lost or a refusal."""
    for status, (shape, body) in itertools.product(EVERY_STATUS, SHAPES.items()):
        error = reported(call, status, body)

        assert isinstance(error, AnswerLost) is not isinstance(error, Refused), (status, shape)
        assert not isinstance(error, NotSent), (status, shape)
        assert (error.call, error.http_status) == (call, status)


@pytest.mark.parametrize("call", EVERY_CALL)
def test_a_server_error_or_redirect_is_lost_whatever_it_says(call: str):
    """No body makes a refusal of a 5xx or 3xx."""
    lost = [*range(500, 512), 520, 599, 301, 302, 307, 308, 408, 425]

    for status, (shape, body) in itertools.product(lost, SHAPES.items()):
        assert type(reported(call, status, body)) is AnswerLost, (status, shape)


@pytest.mark.parametrize("call", sorted(errors.READS))
def test_a_look_up_never_says_a_word_about_the_invoice(call: str):
    """No answer to a read is a DocumentRejected."""
    for status, (shape, body) in itertools.product(EVERY_STATUS, SHAPES.items()):
        assert not isinstance(reported(call, status, body), DocumentRejected), (status, shape)


@pytest.mark.parametrize("call", sorted(errors.FISCAL))
@pytest.mark.parametrize("shape", ["nothing", "html", "text", "null", "framework", "cut", "bare without meaning",
                                   "words without a codigo"])  # fmt: skip
def test_a_4xx_without_an_envelope_may_hide_a_stamp(call: str, shape: str):
    """A proxy's page or a framework's error is AnswerLost."""
    for status in (400, 404, 405, 409, 410, 413, 414, 415, 422, 423, 431):
        assert type(reported(call, status, SHAPES[shape])) is AnswerLost, status


@pytest.mark.parametrize("call", sorted(errors.FISCAL))
@pytest.mark.parametrize("shape", ["nothing", "html", "text", "null", "number", "empty object", "cut", "not utf-8",
                                   "deep", "bare without meaning", "framework", "codigo as nonsense",
                                   "words without a codigo"])  # fmt: skip
def test_a_2xx_with_neither_uuid_nor_codigo_is_lost(call: str, shape: str):
    """What we cannot read is not taken for a refusal."""
    assert type(reported(call, 200, SHAPES[shape])) is AnswerLost


@pytest.mark.parametrize("call", sorted(errors.FISCAL))
@pytest.mark.parametrize("status", [200, 400, 422])
def test_an_envelope_with_another_codigo_is_a_no(call: str, status: int):
    """A code that is not success is a DocumentRejected with the provider's words."""
    error = reported(call, status, SHAPES["refused"])

    assert isinstance(error, DocumentRejected)
    assert error.codigo == 99
    assert error.faults[0].code == "contadigital.99"
    assert "No se pudo" in error.faults[0].message
    assert isinstance(reported(call, status, SHAPES["codigo as text"]), DocumentRejected)


@pytest.mark.parametrize("codigo", ["ERR-22", "E001", "CFDI40161", "Error", False])
def test_a_codigo_that_is_a_word_of_failure_is_a_no(codigo: str | bool):
    """Like any other number: else its words would be nobody's, and it would be sent again for three days."""
    reply = an_answer(codigo=2, mensaje="El uso del CFDI no corresponde")
    body = json.dumps(json.loads(reply.content) | {"Codigo": codigo}).encode()

    assert isinstance(reported("timbrar", 200, body), DocumentRejected)


@pytest.mark.parametrize("codigo", ["OK", "Exito", "", None, [], True])
def test_a_codigo_that_is_any_other_word_says_nothing(codigo: Any):
    """What is not known to be a failure may have stamped."""
    body = json.dumps({"Codigo": codigo, "Resultado": None, "Mensaje": "Listo"}).encode()

    assert type(reported("timbrar", 200, body)) is AnswerLost


def test_done_without_a_uuid_is_a_lost_answer_on_a_stamp():
    """A success without a UUID is looked up."""
    client = a_client(a_provider({"timbrar": an_answer({"Id": 7, "UUID": ""})}))

    with pytest.raises(AnswerLost):
        client.stamp(some_credentials(), {}, 7)


@pytest.mark.parametrize("uuid", ["", "00000000-0000-0000-0000-000000000000", "pendiente", UUID[:-1], None])
def test_what_is_no_uuid_is_no_stamp(uuid: str | None):
    """Empty, all zeros, a word or cut off: AnswerLost."""
    client = a_client(a_provider({"timbrar": an_answer(a_record(UUID=uuid))}))

    with pytest.raises(AnswerLost):
        client.stamp(some_credentials(), {}, 7)


@pytest.mark.parametrize(
    "words", ["No se pudo", "CFDI40147 - CP", "Error 402 LCO", "La serie A no está activa", "Sin timbres"]
)
def test_a_refusal_that_names_a_uuid_is_not_believed(words: str):
    """Whatever the words, a UUID beside them means AnswerLost, also in a list, or one that only its XML has."""
    timbre = b64encode(f'<tfd:TimbreFiscalDigital UUID="{UUID}"/>'.encode()).decode()
    for resultado in (a_record(), [a_record()], {"Factura": a_record()}, {"Id": 7, "XmlBase64": timbre}):
        client = a_client(a_provider({"timbrar": an_answer(resultado, codigo=2, mensaje=words)}))

        with pytest.raises(AnswerLost):
            client.stamp(some_credentials(), {}, 7)


def test_202_is_not_a_no():
    """Some providers answer 202 while they try to recover what they began."""
    client = a_client(
        a_provider({"timbrar": an_answer({"Id": 7}, codigo=8, mensaje="En proceso", status=202)})
    )

    with pytest.raises(AnswerLost):
        client.stamp(some_credentials(), {}, 7)


# --- the table ---------------------------------------------------------------------------------------

HTML = b"<html>Access denied</html>"
Expected = tuple[type[ContaDigitalError], dict[str, Any]]


def lost() -> Expected:
    return AnswerLost, {}


def connection(reason: str, cause: str = "") -> Expected:
    return ConnectionRefused, {"reason": reason, "cause": cause}


def stale(what: str) -> Expected:
    return IdRefused, {"what": what}


SAMPLES: list[tuple[str, int, int | None, str, Expected]] = [
    ("timbrar", 429, None, "", (Throttled, {})),
    ("timbrar", 503, 2, "CFDI40147", lost()),
    ("conectar", 403, None, "html", lost()),
    (
        "timbrar",
        200,
        2,
        "CFDI40139 - El nombre del emisor no corresponde",
        connection("razon_social_mismatch", "sat"),
    ),
    ("timbrar", 200, 2, "cfdi40106: el CSD no es del emisor", connection("api_not_enabled", "csd")),
    ("timbrar", 200, 2, "301 - CFDI40161 UsoCFDI", (DocumentRejected, {})),
    ("timbrar", 422, 2, "Error CFDI 40148", (DocumentRejected, {})),
    ("timbrar", 200, 3, "La factura se guardó", connection("no_stamps")),
    ("guardar", 200, 3, "", connection("no_stamps")),
    ("timbrar", 200, 4, "307 - CFDI previamente timbrado", (AlreadyStamped, {"record": None})),
    ("timbrar", 200, 307, "", (AlreadyStamped, {})),
    ("timbrar", 200, 2, "Error: 350 servicio", lost()),
    ("timbrar", 200, 5124, "En proceso de timbrado", lost()),
    ("timbrar", 200, 2, "PAC 304: certificado revocado", connection("api_not_enabled", "csd")),
    (
        "timbrar",
        200,
        2,
        "Error 402 - RFC del emisor no se encuentra en la LCO",
        connection("api_not_enabled", "lco"),
    ),
    ("timbrar", 200, 2, "702 RFC no registrado con el PAC", connection("api_not_enabled", "pac")),
    ("timbrar", 200, 2, "701 Timbres agotados", connection("no_stamps")),
    ("cliente_guardar", 200, 5, "La empresa 12 no existe", connection("empresa_unknown")),
    ("producto_guardar", 400, 5, "IdEmpresa inválido", connection("empresa_unknown")),
    ("cliente_guardar", 200, 5, "El nombre de la empresa no es válido", (DocumentRejected, {})),
    ("timbrar", 402, 402, "Pago requerido: adquiere más folios", connection("no_stamps")),
    ("timbrar", 200, 2, "Código 5300", connection("no_stamps")),
    ("timbrar", 200, 714, "", connection("no_stamps", "monthly_limit")),
    ("timbrar", 200, 2, "Error 703: cuenta suspendida", connection("api_not_enabled", "suspended")),
    ("timbrar", 200, 2, "401 - La fecha está fuera de rango", (DocumentRejected, {})),
    ("timbrar", 200, 2, "Error 607: RFC no inscrito", (DocumentRejected, {})),
    ("timbrar", 200, 2, "Error 302: sello", (DocumentRejected, {})),
    ("factura", 200, 2, "602 - CFDI", (UnknownRecord, {})),
    ("cancelar", 200, 205, "UUID no existe", (UnknownRecord, {})),
    ("cancelar", 200, 207, "motivo", (DocumentRejected, {})),
    ("cancelar", 200, 208, "", (DocumentRejected, {})),
    ("cancelar", 200, 204, "", (DocumentRejected, {})),
    ("timbrar", 200, 9, "Estamos en mantenimiento", lost()),
    ("utiles", 200, 9, "Servicio temporalmente fuera", lost()),
    ("conectar", 200, 9, "Intente más tarde", lost()),
    ("timbrar", 200, 9, "Demasiadas solicitudes", (Throttled, {})),
    ("conectar", 403, 9, "La cuenta no está habilitada para facturar por API", connection("api_not_enabled")),
    ("timbrar", 200, 9, "El usuario no tiene permiso para timbrar", connection("api_not_enabled")),
    ("timbrar", 200, 9, "Tu cuenta fue suspendida", connection("api_not_enabled", "suspended")),
    ("conectar", 401, None, "", connection("key_rejected")),
    ("conectar", 403, 10, "API Key inválido o revocado", connection("key_rejected")),
    ("timbrar", 401, None, "", (errors.TokenRefused, {})),
    ("factura", 403, 9, "No", (errors.TokenRefused, {})),
    ("conectar", 200, 9, "La ApiKey no existe", connection("key_rejected")),
    ("timbrar", 200, 9, "Token inválido o expirado", (errors.TokenRefused, {})),
    ("timbrar", 200, 9, "No tienes timbres disponibles: te quedaste sin timbres", connection("no_stamps")),
    ("guardar", 200, 14, "Campo desconocido: Productos[0].X", (DocumentRejected, {})),
    ("timbrar", 200, 9, "La factura ya fue timbrada", (AlreadyStamped, {})),
    ("timbrar", 200, 7, "IdSerie 5 no existe en los catálogos de la cuenta", stale("catalogs")),
    ("guardar", 200, 7, "Productos[0].IdUM 5 no existe en los catálogos", stale("catalogs")),
    ("guardar", 200, 7, "Productos[0].IdProducto 5 no existe en la cuenta", stale("product")),
    ("cliente_guardar", 404, None, "", stale("customer")),
    ("guardar", 200, 7, "IdCliente 3 no existe en la cuenta", stale("customer")),
    ("timbrar", 200, 8, "El cliente XIA190128J61 está inactivo", stale("customer")),
    ("cliente_guardar", 200, 5, "No se encontró el cliente", stale("customer")),
    ("timbrar", 200, 6, "La serie A no está activa", connection("serie_inactive")),
    ("guardar", 200, 6, "Serie inválida", connection("serie_inactive")),
    ("timbrar", 200, 9, "El lugar de expedición no existe", connection("lugar_expedicion_unknown")),
    ("timbrar", 200, 9, "El RFC del emisor no está registrado", connection("rfc_mismatch")),
    ("guardar", 200, 5, "IdEmpresa no corresponde a la cuenta", connection("empresa_unknown")),
    ("utiles", 404, None, "", lost()),
    ("factura", 404, None, "", (UnknownRecord, {})),
    ("factura", 200, 5, "No se encontró la factura", (UnknownRecord, {})),
    ("timbrar", 404, 5, "La factura no existe", (UnknownRecord, {})),
    ("guardar", 200, 5, "No se encontró la factura", (UnknownRecord, {})),
    ("timbrar", 200, 9, "El CFDI relacionado no existe", (DocumentRejected, {})),
    ("guardar", 200, 9, "No se encontró el comprobante relacionado", (DocumentRejected, {})),
    ("timbrar", 409, 9, "Conflicto", lost()),
    ("timbrar", 200, 500, "", lost()),
]


def a_sample(call: str, status: int, codigo: int | None, words: str) -> Answer:
    if words == "html":
        return Answer(call, status, {"content-type": "text/html"}, HTML)
    if codigo is None:
        return Answer(call, status, {}, b"")
    body = json.dumps({"Codigo": codigo, "Resultado": None, "Mensaje": words}).encode()
    return Answer(call, status, {"content-type": "application/json"}, body)


@pytest.mark.parametrize(("call", "status", "codigo", "words", "expected"), SAMPLES)
def test_a_refusal_is_recognised(call: str, status: int, codigo: int | None, words: str, expected: Expected):
    """Each sample gives the class and the facts of its row."""
    kind, facts = expected

    error = refusal(parse(a_sample(call, status, codigo, words), now=NOW))

    assert type(error) is kind
    for name, value in facts.items():
        assert getattr(error, name) == value


def test_every_row_of_the_table_has_a_sample():
    """No rule of RULES is without one that reaches it."""
    used = [
        errors.recognise(call, http_status=status, codigo=codigo, mensaje="" if words == "html" else words,
                         is_html=words == "html")
        for call, status, codigo, words, _ in SAMPLES
    ]  # fmt: skip

    assert [rule for rule in errors.RULES if not any(rule is each for each in used)] == []


@pytest.mark.parametrize("words", [
    "ImporteIEPS no está habilitado en la cuenta",
    "El folio 307 de la serie A está ocupado",
    "El CP del cliente no es válido",
    "Falta el campo Productos[0].IdProducto",
    "TipoDeCambio debe ser 1.0000",
    "La clave 10101504 requiere 402.50 kg",
])  # fmt: skip
def test_words_about_the_invoice_do_not_break_the_connection(words: str):
    """Numbers and words that resemble an account's reason are the invoice's."""
    assert isinstance(
        reported("timbrar", 200, json.dumps({"Codigo": 2, "Mensaje": words}).encode()), DocumentRejected
    )


def test_the_sats_codes_point_at_their_fields():
    """Two codes in one text are two faults of the receptor."""
    error = reported(
        "timbrar", 200, json.dumps({"Codigo": 2, "Mensaje": "CFDI40147 y CFDI40145: receptor"}).encode()
    )

    assert isinstance(error, DocumentRejected)
    assert {fault.code for fault in error.faults} == {"CFDI40147", "CFDI40145"}
    assert {fault.source for fault in error.faults} == {"sat"}
    assert all(fault.field.startswith("receptor.") for fault in error.faults)


# --- Retry-After -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "wait"), [
    ("7", timedelta(seconds=7)),
    (" 120 ", timedelta(seconds=120)),
    ("Mon, 23 Nov 2026 16:20:30 GMT", timedelta(seconds=30)),
    ("Mon, 23 Nov 2026 10:00:00 GMT", timedelta(0)),
    ("", None),
    ("pronto", None),
    ("-3", None),
    ("1e3", None),
])  # fmt: skip
def test_retry_after_is_read_in_seconds_and_as_a_date(value: str, wait: timedelta | None):
    """Anything else, negative numbers too, is none."""
    error = reported("timbrar", 429, b"", **{"retry-after": value})

    assert isinstance(error, Throttled)
    assert error.retry_after == wait


def test_a_503_keeps_its_retry_after():
    """A lost answer says when to come back, too."""
    assert reported("factura", 503, b"", **{"retry-after": "9"}).retry_after == timedelta(seconds=9)


# --- texts -------------------------------------------------------------------------------------------


def test_what_is_reported_holds_no_secret_and_no_end():
    """The provider's words are redacted and cut."""
    key, token = "clave-secreta-0123456789", "eyJhbGciOi.eyJleHAiOjF9.c2ln"
    words = f"Falló {key} con Bearer {token} <script>alert(1)</script> \x07 {UUID} " + "x" * 9_000
    reported = parse(
        Answer("timbrar", 200, {}, json.dumps({"Codigo": 2, "Mensaje": words}).encode()),
        now=NOW,
        secrets=(key, token),
    )

    error = refusal(reported)

    assert key not in str(error)
    assert token not in str(error)
    assert "script" not in str(error)
    assert UUID in str(error)
    assert len(error.text) <= 500
    assert isinstance(error, DocumentRejected)
    assert key not in str(error.faults)


@pytest.mark.parametrize("secret", [
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
    "9f86d081884c7d659a2feaa0c55ad015",
    "ApiKey: x7Hq2Lm9",
    "bearer abc123def",
])  # fmt: skip
def test_what_resembles_a_secret_is_hidden_though_nobody_named_it(secret: str):
    """What looks like a secret is hidden though nobody named it."""
    body = json.dumps({"Codigo": 2, "Mensaje": f"No se aceptó {secret}"}).encode()

    assert secret.rpartition(" ")[2] not in reported("timbrar", 200, body).text


def test_an_error_prints_itself_without_the_key():
    """Neither repr nor attributes hold it, though the answer repeated it."""
    client = a_client(a_provider({"conectar": a_page(500, "<html>clave-de-prueba-0123456789</html>")}))

    with pytest.raises(NotSent) as caught:
        client.stamp(some_credentials(), {}, 7)

    assert "0123456789" not in repr(caught.value) + str(vars(caught.value))
    assert "0123456789" not in repr(some_credentials())
