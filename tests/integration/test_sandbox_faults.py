"""Each fault, over a real socket, behaves as its line in `sandbox.faults.FAULTS` says."""

import base64
import gzip
import http.client
import itertools
import json
import socket
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import brotli
import pytest
from lxml import etree

from cfdi.sat import files as sat_files
from sandbox.faults import FAULTS
from sandbox.serve import RunningSandbox
from sandbox.variants import STAMP_FORMS, WRAPPING_FORMS
from tests.support.sandbox_client import JSON, HttpSandboxClient, a_line, dumps

NUMBERS = itertools.count(1)
CUT = (http.client.RemoteDisconnected, http.client.IncompleteRead, ConnectionResetError)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with RunningSandbox() as running:
        yield running


@pytest.fixture
def client(sandbox: RunningSandbox) -> HttpSandboxClient:
    """An account of this test's own, with a draft's worth of customers and products known."""
    sandbox.calm()
    account = sandbox.open_account(f"acme-{next(NUMBERS)}", series=["A", "B"])
    client = HttpSandboxClient(sandbox.url, account["api_key"]).connect()
    client.name = account["name"]
    client.body()
    return client


def uuids(sandbox: RunningSandbox, client: HttpSandboxClient) -> list[str]:
    """The UUIDs of this account in the ledger."""
    folios = sandbox.ledger(client.name)["folios"].get(client.name, {})
    return [uuid for of_folio in folios.values() for uuid in of_folio]


def results(sandbox: RunningSandbox, client: HttpSandboxClient, call: str) -> dict[str, int]:
    """How this account's calls of one kind ended."""
    return dict(sandbox.ledger(client.name)["calls"][client.name].get(call, {}))


def play(
    sandbox: RunningSandbox, client: HttpSandboxClient, fault: str, call: str = "stamp", **rule: Any
) -> None:
    sandbox.play(fault, account=client.name, call=call, **({"times": 1} | rule))


@pytest.mark.parametrize(
    "fault", ["drop_before", "drop_after", "silence_before", "silence_after", "cut_body"]
)
def test_a_connection_that_breaks_has_stamped_only_where_it_says_after(
    sandbox: RunningSandbox, client: HttpSandboxClient, fault: str
) -> None:
    """The caller cannot see which it was; the ledger can. Stamping the same Id again is safe."""
    record = client.save()
    play(sandbox, client, fault, seconds=0.05)
    with pytest.raises(CUT):
        client.submit(client.body(record=record))
    done = fault not in ("drop_before", "silence_before")

    assert len(uuids(sandbox, client)) == done
    assert results(sandbox, client, "stamp") == {f"fault:{fault}": 1} | ({"ok": 1} if done else {})
    assert client.submit(client.body(record=record))["Codigo"] == (4 if done else 1)
    assert len(uuids(sandbox, client)) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_error_status_has_stamped_only_where_it_says_after(
    sandbox: RunningSandbox, client: HttpSandboxClient, status: int, when: str
) -> None:
    """The same status, done or not."""
    record = client.save()
    play(sandbox, client, f"status_{when}", status=status)

    assert client.send("POST", "/api/cfdi.json", client.body(record=record))[0] == status
    assert client.look_up(record)["Resultado"]["UUID"] == "".join(uuids(sandbox, client))
    assert len(uuids(sandbox, client)) == (when == "after")


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_comes_as_seconds_or_as_a_date(
    sandbox: RunningSandbox, client: HttpSandboxClient, as_date: bool
) -> None:
    """Both forms of RFC 9110."""
    play(sandbox, client, "status_before", "look_up", status=429, retry_after=30, retry_after_date=as_date)
    answer = client.send("GET", f"/api/cfdi/factura.json/{client.id_empresa}/1")[2]["Retry-After"]

    seconds = parsedate_to_datetime(answer).timestamp() - time.time() if as_date else float(answer)
    assert 28 <= seconds <= 31


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("fault", ["html", "not_object", "not_json", "empty_envelope"])
def test_an_answer_that_says_nothing_may_have_stamped(
    sandbox: RunningSandbox, client: HttpSandboxClient, fault: str, done: bool
) -> None:
    """HTTP 200 and no UUID, no Codigo, whatever happened."""
    record = client.save()
    play(sandbox, client, fault, done=done)
    status, body, _ = client.send("POST", "/api/cfdi.json", client.body(record=record))

    assert status == 200
    assert b"UUID" not in body
    assert b'Codigo": 1}' not in body
    assert len(uuids(sandbox, client)) == done


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_pacs_own_trouble_resembles_a_refusal(
    sandbox: RunningSandbox, client: HttpSandboxClient, when: str
) -> None:
    """HTTP 200, Codigo 2, and 350 in the words: stamped or not."""
    record = client.save()
    play(sandbox, client, f"unsure_{when}")
    answer = client.submit(client.body(record=record))

    assert (answer["Codigo"], answer["Mensaje"][:6]) == (2, "350 - ")
    assert len(uuids(sandbox, client)) == (when == "after")


def test_a_stamp_can_be_reported_without_its_uuid(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """Codigo 1 and an empty UUID; the look-up has it."""
    record = client.save()
    play(sandbox, client, "no_uuid")
    answer = client.submit(client.body(record=record))

    assert (answer["Codigo"], answer["Resultado"]["UUID"], "XmlBase64" in answer["Resultado"]) == (
        1,
        "",
        False,
    )
    assert [client.look_up(record)["Resultado"]["UUID"]] == uuids(sandbox, client)


@pytest.mark.parametrize("with_xml", [True, False])
def test_a_first_stamp_can_be_answered_as_a_duplicate(
    sandbox: RunningSandbox, client: HttpSandboxClient, with_xml: bool
) -> None:
    """307 though it was the first time, with the stamp or without."""
    record = client.save()
    play(sandbox, client, "refuses_after", with_xml=with_xml)
    answer = client.submit(client.body(record=record))

    assert (answer["Codigo"], answer["Mensaje"]) == (4, "307 - CFDI previamente timbrado")
    assert (answer["Resultado"] is not None) == with_xml
    assert len(uuids(sandbox, client)) == 1


def test_a_repeated_stamp_can_be_refused_without_its_xml(
    sandbox: RunningSandbox, client: HttpSandboxClient
) -> None:
    """The endless loop of 307s: nothing in the answer but the number."""
    record = client.save()
    client.submit(client.body(record=record))
    play(sandbox, client, "already_without_xml")
    answer = client.submit(client.body(record=record))

    assert (answer["Codigo"], answer["Resultado"]) == (4, None)


@pytest.mark.parametrize("form", ["", "not_found"])
def test_a_look_up_can_deny_a_real_stamp_for_a_while(
    sandbox: RunningSandbox, client: HttpSandboxClient, form: str
) -> None:
    """An empty UUID, or no such record; then the truth."""
    record = client.save()
    client.submit(client.body(record=record))
    sandbox.play("deny", account=client.name, call="look_up", seconds=0.6, form=form)
    denied = client.look_up(record)
    time.sleep(0.7)

    if form:
        assert (denied["Codigo"], denied["Resultado"]) == (5, None)
    else:
        assert (denied["Resultado"]["UUID"], denied["Resultado"]["Estatus"]) == ("", "Borrador")
    assert [client.look_up(record)["Resultado"]["UUID"]] == uuids(sandbox, client)


def test_a_look_up_can_find_nothing_at_all(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """Whatever there is."""
    record = client.save()
    play(sandbox, client, "not_found", "look_up")

    assert client.look_up(record)["Codigo"] == 5
    assert client.look_up(record)["Codigo"] == 1


def test_a_save_can_stamp(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """SoloGuardar is not obeyed: the answer has the UUID."""
    play(sandbox, client, "stamps_on_save", "save")
    answer = client.submit(client.body(only_save=True))["Resultado"]

    assert [answer["UUID"]] == uuids(sandbox, client)


def test_an_ignored_id_makes_a_duplicate(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """Stamping the saved Id again stamps another record, and the first stays what it was."""
    record = client.save()
    play(sandbox, client, "ignores_id", times=2)
    first, second = (client.submit(client.body(record=record))["Resultado"] for _ in range(2))

    assert len({record, first["Id"], second["Id"]}) == 3
    assert client.look_up(record)["Resultado"]["UUID"] == ""
    assert sandbox.ledger(client.name)["duplicates"] == 1


def test_a_pdf_can_be_late(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """The stamp comes without it; the look-up has it later."""
    sandbox.play("pdf_late", account=client.name, seconds=0.5)
    stamped = client.submit(client.body())["Resultado"]
    time.sleep(0.6)

    assert "XmlBase64" in stamped
    assert "PdfBase64" not in stamped
    assert "PdfBase64" in client.look_up(stamped["Id"])["Resultado"]


def test_documents_can_be_missing(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """A UUID and nothing else."""
    play(sandbox, client, "no_documents")
    stamped = client.submit(client.body())["Resultado"]

    assert stamped["UUID"]
    assert not {"XmlBase64", "PdfBase64"} & stamped.keys()


@pytest.mark.parametrize("names", [("XmlLink", "PdfLink"), ("UrlXml", "UrlPdf")])
def test_documents_can_come_as_links(
    sandbox: RunningSandbox, client: HttpSandboxClient, names: tuple[str, str]
) -> None:
    """Under either pair of names; a PDF's link can fail and then work."""
    sandbox.change(client.name, behaviour={"documents": "links", "link_names": names[0]})
    stamped = client.submit(client.body())["Resultado"]
    xml, pdf = (stamped[name].removeprefix(sandbox.url) for name in names)

    assert "XmlBase64" not in stamped
    assert sat_files.schema_errors(etree.fromstring(client.send("GET", xml)[1])) == ()
    play(sandbox, client, "pdf_error", "document", status=500)
    assert client.send("GET", pdf)[0] == 500
    assert client.send("GET", pdf)[1].startswith(b"%PDF-")


def test_a_wrong_xml_is_wrong_in_the_way_that_was_asked(
    sandbox: RunningSandbox, client: HttpSandboxClient
) -> None:
    """Another total under good seals, another invoice's, a broken seal, a piece; the look-up has the right one."""
    other = client.submit(client.body(FolioOriginal="OP-0"))["Resultado"]
    answer: dict[str, JSON] = {}
    for form in ("total", "other_invoice", "broken_seal", "truncated"):
        play(sandbox, client, "wrong_xml", form=form)
        answer[form] = client.submit(client.body(FolioOriginal=f"OP-{form}"))["Resultado"]
    xmls = {form: _xml(stamped) for form, stamped in answer.items()}

    total = etree.fromstring(xmls["total"])
    assert total.get("Total") == "1401.40"
    assert next(total.iter(sat_files.TIMBRE)).get("UUID") == answer["total"]["UUID"]
    assert (
        xmls["other_invoice"] == _xml(answer["total"]) or other["UUID"].encode() not in xmls["other_invoice"]
    )
    assert answer["other_invoice"]["UUID"].encode() not in xmls["other_invoice"]
    assert b'Descripcion="XFlete' in xmls["broken_seal"]
    with pytest.raises(etree.XMLSyntaxError):
        etree.fromstring(xmls["truncated"])
    for stamped in answer.values():
        assert stamped["UUID"].encode() in _xml(client.look_up(stamped["Id"])["Resultado"])


@pytest.mark.parametrize("form", STAMP_FORMS)
def test_a_stamp_can_be_good_and_not_quite_what_was_sent(
    sandbox: RunningSandbox, client: HttpSandboxClient, form: str
) -> None:
    """The record itself differs, under the official schema; `tax` and `withholding` alone change the total."""
    lines = [a_line(comentarios="Flete a Mérida", cantidad="3", precio="10.333333", ret_iva="4"), a_line()]
    plain = _xml(client.submit(client.body(*lines))["Resultado"])
    play(sandbox, client, "odd_stamp", form=form)
    record = client.submit(client.body(*lines, FolioOriginal=form))["Resultado"]
    odd = etree.fromstring(_xml(record))
    difference = Decimal(odd.get("Total", "0")) - Decimal(etree.fromstring(plain).get("Total", "0"))

    assert (sat_files.schema_errors(odd) == ()) == (form != "leyendas")  # whose own schema is not there
    assert _xml(client.look_up(record["Id"])["Resultado"]) == _xml(record)
    assert (difference == 0) == (form not in ("tax", "withholding"))
    assert _shape(odd) != _shape(etree.fromstring(plain))


def _shape(root: etree._Element) -> list[Any]:
    """What a CFDI says apart from its own identity and seals."""
    own = {"Sello", "Folio", "NoCertificado", "Certificado"}
    nodes = [node for node in root.iter() if "TimbreFiscal" not in str(node.tag)]
    return [
        (node.tag, {name: value for name, value in node.attrib.items() if name not in own}) for node in nodes
    ]


@pytest.mark.parametrize("form", WRAPPING_FORMS)
def test_an_xml_can_come_in_an_odd_wrapping(
    sandbox: RunningSandbox, client: HttpSandboxClient, form: str
) -> None:
    """Other bytes around the same invoice; the look-up has them plain."""
    play(sandbox, client, "odd_wrapping", form=form)
    record = client.submit(client.body())["Resultado"]
    odd, plain = _xml(record), _xml(client.look_up(record["Id"])["Resultado"])

    assert odd != plain
    assert record["UUID"].encode() in odd
    parser = etree.XMLParser(recover=form == "schema_location")  # libxml2 takes that one for an error
    root = etree.fromstring(odd.strip(b"\xef\xbb\xbf\x00\r\n "), parser)
    assert root.get("Sello") == etree.fromstring(plain).get("Sello")


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("huge_id", b'"Id":92233720368547758089'),
        ("text_id", b'"Id":"12-AB"'),
        ("huge_codigo", b'"Codigo":99999999999'),
        ("exponent", b'"Total":1e999999999'),
        ("nan", b'"Total":NaN'),
        ("nul", b"A\\u0000B"),
        ("surrogate", b'"\\ud83d"'),
        ("control", b"\\u009b"),
        ("long", b"A" * 300_000),
        ("deep", b"[" * 5000),
        ("double_key", b'{"Resultado":{"Id":1'),
    ],
)
def test_a_value_can_be_out_of_bounds(
    sandbox: RunningSandbox, client: HttpSandboxClient, form: str, text: bytes
) -> None:
    """In an answer that is otherwise the usual one; the stamp took effect."""
    record = client.save()
    play(sandbox, client, "odd_values", form=form)
    status, body, _ = client.send("POST", "/api/cfdi.json", client.body(record=record))

    assert status == 200
    assert text in body
    assert len(uuids(sandbox, client)) == 1


@pytest.mark.parametrize("form", ["gzip", "deflate", "br", "twice"])
def test_an_answer_can_inflate_to_much_more_than_it_weighs(
    sandbox: RunningSandbox, client: HttpSandboxClient, form: str
) -> None:
    """A few kilobytes on the wire, whatever the client asked for."""
    play(sandbox, client, "compressed", "look_up", form=form, megabytes=20)
    _, body, headers = client.send("GET", f"/api/cfdi/factura.json/{client.id_empresa}/1")
    unpack = {"gzip": gzip.decompress, "deflate": zlib.decompress, "br": brotli.decompress}
    coding = headers["Content-Encoding"]
    content = body
    for name in reversed(coding.split(", ")):
        content = unpack[name](content)

    assert coding == {"twice": "gzip, gzip"}.get(form, form)
    assert len(body) < 100_000
    assert len(content) > 20_000_000
    assert json.loads(content)["Codigo"] == 5


@pytest.mark.parametrize("text", ["60000", "soon", "-5", "1e9", "99999999999999999999"])
def test_retry_after_can_be_any_text(sandbox: RunningSandbox, client: HttpSandboxClient, text: str) -> None:
    """Milliseconds, words, numbers that no wait should be."""
    play(sandbox, client, "status_before", "look_up", status=429, retry_after_text=text)

    assert client.send("GET", f"/api/cfdi/factura.json/{client.id_empresa}/1")[2]["Retry-After"] == text


def test_an_answer_can_trickle(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """All of it comes, and its first bytes long before its last."""
    body = client.body()
    play(sandbox, client, "slow_drip", seconds=0.4)
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=10)
    connection.request("POST", "/api/cfdi.json", dumps(body), {"Authorization": f"Bearer {client._token}"})
    answer = connection.getresponse()
    length = int(answer.headers["Content-Length"])
    first = answer.read1()
    rest = answer.read()
    connection.close()

    assert 0 < len(first) < length == len(first + rest)
    assert json.loads(first + rest)["Resultado"]["UUID"]


def test_latency_holds_up_nobody_else(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """While twenty slow stamps wait side by side, health is answered; then all twenty are."""
    sandbox.play("latency", account=client.name, call="stamp", p50=1.5, p99=1.5)
    bodies = [client.body(FolioOriginal=f"OP-{number}") for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        running = [pool.submit(client.submit, body) for body in bodies]
        health = sandbox.health()
        waiting = [stamp for stamp in running if not stamp.done()]
        answers = [stamp.result() for stamp in running]

    assert (health["status"], len(waiting)) == ("ok", 20)
    assert all(answer["Resultado"]["UUID"] for answer in answers)


def test_tokens_can_die_early(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """Refused at once with 401; the key is still good."""
    play(sandbox, client, "token_dies", "look_up", after=1)
    path = f"/api/cfdi/factura.json/{client.id_empresa}/1"

    assert [client.send("GET", path)[0] for _ in range(3)] == [200, 401, 401]
    client.connect()
    assert client.send("GET", path)[0] == 200


def test_a_token_ends_when_its_time_is_over(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """By the account's setting."""
    sandbox.change(client.name, behaviour={"token_seconds": 0.3})
    client.connect()
    path = f"/api/cfdi/utiles.json/{client.id_empresa}"

    assert client.send("GET", path)[0] == 200
    time.sleep(0.35)
    assert client.send("GET", path)[0] == 401


def test_a_key_can_be_regenerated_at_the_nth_call(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """From that call on token and key are refused, and the ledger counts the refusals."""
    play(sandbox, client, "key_regenerated", after=1, other_ids=True)
    bodies = [client.body(FolioOriginal=f"OP-{number}") for number in range(3)]
    statuses = [client.send("POST", "/api/cfdi.json", body)[0] for body in bodies]
    refused = client.send("POST", "/api/conectar.json", {"ApiKey": client._key})[0]

    assert (statuses, refused) == ([200, 401, 401], 401)
    assert results(sandbox, client, "conectar") == {"ok": 1, "refused:10": 1}
    renewed = HttpSandboxClient(sandbox.url, sandbox.account(client.name)["api_key"]).connect()
    assert renewed.submit(renewed.body())["Codigo"] == 1


def test_stamps_can_end_at_the_nth_stamp(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """Codigo 3 with the Id, until stamps are bought."""
    play(sandbox, client, "stamps_end", after=2)
    records = [client.save(FolioOriginal=f"OP-{number}") for number in range(4)]

    assert [client.submit(client.body(record=record))["Codigo"] for record in records] == [1, 1, 3, 3]
    sandbox.change(client.name, stamps=10)
    assert client.submit(client.body(record=records[2]))["Codigo"] == 1


def test_an_outage_refuses_connections_and_ends(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """Open connections break, new ones are refused by the kernel, control goes on; then all is as before."""
    opened = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=5)
    opened.request("GET", "/sandbox/health")
    opened.getresponse().read()
    sandbox.play("down", seconds=0.5)
    time.sleep(0.1)

    with pytest.raises(CUT):
        _health_over(opened)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", sandbox.port), 1)
    assert sandbox.health()["status"] == "ok"
    opened.close()
    time.sleep(0.6)
    assert client.submit(client.body())["Codigo"] == 1


def test_an_outage_in_a_jump_of_the_clock_ends_with_it(
    sandbox: RunningSandbox, client: HttpSandboxClient
) -> None:
    """Hours ahead it begins, the clock is set back, and the next one is no longer than it says either."""
    sandbox.move_clock(18_000)
    sandbox.play("down", seconds=5)
    sandbox.move_clock(0)
    time.sleep(0.6)
    assert client.submit(client.body())["Codigo"] == 1
    sandbox.play("down", seconds=0.2)
    time.sleep(0.6)
    assert client.submit(client.body())["Codigo"] == 1


@pytest.mark.parametrize(("fault", "call"), [("cancel_refused", "cancel"), ("mail_fails", "mail")])
def test_what_comes_after_the_stamp_can_fail(
    sandbox: RunningSandbox, client: HttpSandboxClient, fault: str, call: str
) -> None:
    """Once; then it works."""
    record = client.submit(client.body())["Resultado"]["Id"]
    play(sandbox, client, fault, call)
    mail = f"/api/cfdi/enviar.json/{client.id_empresa}/{record}/a%2Bb@ejemplo.mx"
    answers = [client.cancel(record) if call == "cancel" else client.call("GET", mail) for _ in range(2)]

    assert [answer["Codigo"] for answer in answers] == [11 if call == "cancel" else 12, 1]
    if call == "cancel":
        assert answers[0]["Mensaje"].startswith("204 - ")
    else:
        assert [sent["email"] for sent in sandbox.ledger(client.name)["mails"]] == ["a+b@ejemplo.mx"]


def test_every_fault_is_shown_here(sandbox: RunningSandbox) -> None:
    """A fault without a test of the sandbox would be a claim."""
    source = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_sandbox_*.py"))
    shown = {fault for fault in FAULTS if fault in source or fault.rsplit("_", 1)[0] + "_{when}" in source}

    assert shown == FAULTS.keys()
    assert sandbox.control("GET", "/faults") == FAULTS


def _health_over(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/sandbox/health")
    connection.getresponse().read()


def _xml(stamped: JSON) -> bytes:
    return base64.b64decode(stamped["XmlBase64"])
