"""The SAT beside the sandbox: its status service, and its word inside an acuse."""

import base64
import http.client
import itertools
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

import pytest
from lxml import etree

from sandbox.serve import RunningSandbox
from tests.support.sandbox_client import JSON, HttpSandboxClient, a_line

NUMBERS = itertools.count(1)
FIELDS = ("CodigoEstatus", "EsCancelable", "Estado", "EstatusCancelacion")
FOUND = "S - Comprobante obtenido satisfactoriamente."
NOT_FOUND = ("N - 602: Comprobante no encontrado.", "", "No Encontrado", "")


@pytest.fixture
def client(sandbox: RunningSandbox) -> HttpSandboxClient:
    account = sandbox.open_account(f"sat-{next(NUMBERS)}")
    client = HttpSandboxClient(sandbox.url, account["api_key"]).connect()
    client.name = account["name"]
    return client


def post(sandbox: RunningSandbox, body: bytes) -> tuple[int, bytes]:
    address = urlsplit(sandbox.sat_url)
    connection = http.client.HTTPConnection(address.netloc, timeout=10)
    try:
        headers = {
            "Content-Type": "text/xml; charset=utf-8",
            "SOAPAction": "http://tempuri.org/IConsultaCFDIService/Consulta",
        }
        connection.request("POST", address.path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def envelope(expression: str) -> bytes:
    return (
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:tem="http://tempuri.org/">'
        "<soapenv:Header/><soapenv:Body><tem:Consulta><tem:expresionImpresa>"
        f"{escape(expression)}</tem:expresionImpresa></tem:Consulta></soapenv:Body></soapenv:Envelope>"
    ).encode()


def status_of(sandbox: RunningSandbox, xml: bytes, **changes: str) -> tuple[str, ...]:
    """How the SAT says that a CFDI stands; `changes` are parts of the expression."""
    root = etree.fromstring(xml)
    uuid = root.find(".//{*}TimbreFiscalDigital").get("UUID", "")  # type: ignore[union-attr]
    emisor, receptor = root.find("{*}Emisor"), root.find("{*}Receptor")
    parts = {
        "re": emisor.get("Rfc", ""),
        "rr": receptor.get("Rfc", ""),
        "tt": root.get("Total", ""),
        "id": uuid,
    }  # type: ignore[union-attr]
    wanted = {name: escape(value) for name, value in (parts | changes).items()}
    status, body = post(
        sandbox, envelope("?" + "&".join(f"{name}={value}" for name, value in wanted.items()))
    )
    assert status == 200
    result = etree.fromstring(body).find(".//{http://tempuri.org/}ConsultaResult")
    assert result is not None
    return tuple(result.findtext(f"{{*}}{name}") or "" for name in FIELDS)


def stamped(client: HttpSandboxClient, *lines: JSON, **changes: Any) -> tuple[int, bytes]:
    result = client.submit(client.body(*lines, **changes))["Resultado"]
    return result["Id"], base64.b64decode(result["XmlBase64"])


def estatus(cancelled: JSON) -> str | None:
    """EstatusUUID of the acuse in an answer."""
    return etree.fromstring(base64.b64decode(cancelled["Resultado"]["AcuseBase64"])).findtext(
        ".//{*}EstatusUUID"
    )


def test_a_stamp_is_in_force_and_then_cancelled(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """Found by its four facts; without acceptance a cancellation is done at once."""
    record, xml = stamped(client)
    before = status_of(sandbox, xml)
    client.cancel(record)

    assert before == (FOUND, "Cancelable sin aceptación", "Vigente", "")
    assert status_of(sandbox, xml) == (FOUND, "No cancelable", "Cancelado", "Cancelado sin aceptación")


@pytest.mark.parametrize(
    "change",
    [{"tt": "1.00"}, {"re": "XIA190128J61"}, {"rr": "EKU9003173C9"}, {"id": "no"}, {"fe": "AAAAAAAA"}],
)
def test_one_wrong_fact_finds_nothing(
    sandbox: RunningSandbox, client: HttpSandboxClient, change: dict[str, str]
) -> None:
    """602, as for a CFDI that never was."""
    _, xml = stamped(client)

    assert status_of(sandbox, xml, **change) == NOT_FOUND


def test_the_total_may_be_written_with_six_decimals(
    sandbox: RunningSandbox, client: HttpSandboxClient
) -> None:
    """And the end of the seal may be there; an RFC with & and Ñ is found."""
    receptor = ("H&E951128469", "HERRERIA & ELECTRICOS", "06002", "601")
    _, xml = stamped(client, a_line(precio="100.00"), receptor=receptor)
    seal = etree.fromstring(xml).get("Sello", "")[-8:]

    assert status_of(sandbox, xml, tt="0000000116.000000", fe=seal)[2] == "Vigente"


def test_an_expression_that_lacks_a_fact_is_not_valid(sandbox: RunningSandbox) -> None:
    """601; and what is no SOAP is answered with a fault."""
    status, body = post(sandbox, envelope("?re=EKU9003173C9&id=x"))

    assert (status, b"N - 601" in body) == (200, True)
    assert [post(sandbox, junk)[0] for junk in (b"{}", b"<a/>")] == [500, 500]


def test_the_sat_learns_of_a_stamp_after_a_while(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """For `unknown_uuid_seconds` it is not found, and its cancellation is 205."""
    sandbox.change(client.name, behaviour={"unknown_uuid_seconds": 120, "cancel_refusal": "acuse"})
    record, xml = stamped(client)
    early, refused = status_of(sandbox, xml), client.cancel(record)
    sandbox.move_clock(121)
    try:
        late = status_of(sandbox, xml)
    finally:
        sandbox.move_clock(0)

    assert (early, estatus(refused), late[2]) == (NOT_FOUND, "205", "Vigente")


def test_a_receptor_who_is_asked_answers_in_the_status(
    sandbox: RunningSandbox, client: HttpSandboxClient
) -> None:
    """Asked, refused, asked again without a term, accepted."""
    sandbox.change(client.name, behaviour={"acceptance": "always", "acceptance_seconds": 3600})
    record, xml = stamped(client)
    decide = f"/accounts/{client.name}/records/{record}/cancellation"
    seen = [status_of(sandbox, xml)]
    client.cancel(record)
    seen.append(status_of(sandbox, xml))
    sandbox.control("POST", decide, {"state": "refused"})
    seen.append(status_of(sandbox, xml))
    client.cancel(record)
    sandbox.move_clock(7200)
    try:
        seen.append(status_of(sandbox, xml))
    finally:
        sandbox.move_clock(0)
    sandbox.control("POST", decide, {"state": "cancelled"})
    seen.append(status_of(sandbox, xml))

    assert [status[1:] for status in seen] == [
        ("Cancelable con aceptación", "Vigente", ""),
        ("Cancelable con aceptación", "Vigente", "En proceso"),
        ("Cancelable con aceptación", "Vigente", "Solicitud rechazada"),
        ("Cancelable con aceptación", "Vigente", "En proceso"),
        ("No cancelable", "Cancelado", "Cancelado con aceptación"),
    ]


def test_silence_for_the_whole_term_is_reported_so(
    sandbox: RunningSandbox, client: HttpSandboxClient
) -> None:
    """A cancellation that nobody answered in its term is \"Plazo vencido\", as the SAT words it."""
    sandbox.change(client.name, behaviour={"acceptance": "always", "acceptance_seconds": 3600})
    record, xml = stamped(client)
    client.cancel(record)
    sandbox.move_clock(3700)
    try:
        assert status_of(sandbox, xml)[2:] == ("Cancelado", "Plazo vencido")
    finally:
        sandbox.move_clock(0)


def test_what_cannot_be_cancelled_says_so_and_is_refused(
    sandbox: RunningSandbox, client: HttpSandboxClient
) -> None:
    """204, in words or in an acuse."""
    sandbox.change(client.name, behaviour={"acceptance": "impossible"})
    record, xml = stamped(client)
    words = client.cancel(record)
    sandbox.change(client.name, behaviour={"cancel_refusal": "acuse"})
    acuse = client.cancel(record)

    assert status_of(sandbox, xml)[1:3] == ("No cancelable", "Vigente")
    assert (words["Codigo"], words["Mensaje"][:3]) == (11, "204")
    assert (acuse["Codigo"], estatus(acuse)) == (1, "204")


@pytest.mark.parametrize(
    "code", ["203", "204", "205", "206", "207", "208", "209", "210", "211", "212", "999"]
)
def test_the_sats_no_can_stand_in_an_acuse(
    sandbox: RunningSandbox, client: HttpSandboxClient, code: str
) -> None:
    """Under Codigo 1, and nothing is cancelled."""
    sandbox.change(client.name, behaviour={"cancel_refusal": "acuse"})
    record, xml = stamped(client)
    sandbox.play("cancel_refused", account=client.name, call="cancel", code=code, times=1)
    refused = client.cancel(record)

    assert (refused["Codigo"], estatus(refused)) == (1, code)
    assert status_of(sandbox, xml)[2:] == ("Vigente", "")
    assert estatus(client.cancel(record)) == "201"


def test_a_request_that_was_taken_can_be_answered_oddly(
    sandbox: RunningSandbox, client: HttpSandboxClient
) -> None:
    """202, no folios, no Base64, no acuse, null: it is cancelled all the same."""
    results = {}
    for form in ("code", "empty", "garbage", "none", "null"):
        record, xml = stamped(client, FolioOriginal=form)
        sandbox.play("odd_acuse", account=client.name, call="cancel", form=form, times=1)
        results[form] = client.cancel(record)
        assert status_of(sandbox, xml)[2] == "Cancelado"

    assert (estatus(results["code"]), estatus(results["empty"])) == ("202", None)
    assert (results["none"]["Resultado"], results["null"]["Resultado"]) == ({"Estatus": "OK"}, None)
    with pytest.raises(ValueError, match="ase64"):
        base64.b64decode(results["garbage"]["Resultado"]["AcuseBase64"], validate=True)


def test_the_service_can_fail_like_any_other_call(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """By the account whose CFDI is asked for; the ledger counts it under sat_status."""
    _, xml = stamped(client)
    sandbox.play("status_before", account=client.name, call="sat_status", status=503, times=1)
    with pytest.raises(AssertionError):
        status_of(sandbox, xml)

    assert status_of(sandbox, xml)[2] == "Vigente"
    counted = sandbox.ledger(client.name)["calls"][client.name]["sat_status"]
    assert counted == {"fault:status_before:503": 1, "ok": 1}
