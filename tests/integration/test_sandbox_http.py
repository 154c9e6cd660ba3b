"""The sandbox as a process: what it remembers, its control calls, cancellation, and each way of answering."""

import base64
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.serve import RunningSandbox
from tests.support.sandbox_client import HttpSandboxClient, a_line

NUMBERS = itertools.count(1)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with RunningSandbox() as running:
        yield running


@pytest.fixture
def client(sandbox: RunningSandbox) -> HttpSandboxClient:
    account = sandbox.open_account(f"acme-{next(NUMBERS)}", series=["A", "B"])
    client = HttpSandboxClient(sandbox.url, account["api_key"]).connect()
    client.name = account["name"]
    return client


@pytest.fixture
def behave(sandbox: RunningSandbox, client: HttpSandboxClient) -> Any:
    """Change how the account is answered."""
    return lambda **behaviour: sandbox.change(client.name, behaviour=behaviour)


def test_a_kill_forgets_no_stamp_that_was_answered(tmp_path: Path) -> None:
    """Sixteen threads stamp, the process is killed meanwhile, and every UUID that was answered is in the ledger."""
    with RunningSandbox(store=tmp_path / "store.sqlite") as sandbox:
        sandbox.change(behaviour={"pdf": "slip"})
        client = HttpSandboxClient(sandbox.url, sandbox.demo_key).connect()
        body = client.body()
        answered: list[str] = []
        enough = threading.Event()

        def stamp(number: int) -> None:
            try:
                for turn in itertools.count():
                    answer = client.submit(body | {"FolioOriginal": f"OP-{number}-{turn}"})
                    answered.append(answer["Resultado"]["UUID"])
                    if len(answered) > 60:
                        enough.set()
            except (OSError, ValueError):
                return

        threads = [threading.Thread(target=stamp, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        assert enough.wait(30)
        port = sandbox.port
        sandbox.kill()
        for thread in threads:
            thread.join()
        sandbox.start()
        ledger = sandbox.ledger("demo")
        known = {uuid for of_folio in ledger["folios"]["demo"].values() for uuid in of_folio}

        assert sandbox.port == port
        assert len(answered) > 60
        assert set(answered) <= known
        assert ledger["duplicates"] == 0
        # The token of before, the customer, the product and the next folio are all still there.
        assert int(client.submit(body)["Resultado"]["Folio"]) == len(known) + 1


def test_a_stopped_sandbox_keeps_what_it_counted(tmp_path: Path) -> None:
    """Calls, too, where it is ended in order."""
    with RunningSandbox(store=tmp_path / "store.sqlite") as sandbox:
        client = HttpSandboxClient(sandbox.url, sandbox.demo_key).connect()
        before = sandbox.ledger()
        sandbox.stop()
        sandbox.start()

        assert sandbox.ledger() == before
        assert client.call("GET", f"/api/cfdi/utiles.json/{client.id_empresa}")["Codigo"] == 1


def test_the_demo_account_is_as_documented(sandbox: RunningSandbox) -> None:
    """A fixed key, EKU9003173C9, series A active and B not."""
    client = HttpSandboxClient(sandbox.url, "demo-contadigital-key-EKU9003173C9").connect()

    assert client.utiles["RFCs"][0]["RFC"] == "EKU9003173C9"
    assert [(row["Serie"], row["Activa"]) for row in client.utiles["Series"]] == [("A", True), ("B", False)]


def test_a_pdf_is_a_slip_or_the_whole_page(
    sandbox: RunningSandbox, client: HttpSandboxClient, behave: Any
) -> None:
    """As the account asks, inline and behind a link alike; the page has the line's text, which a slip has not."""
    sizes = {}
    for form in ("slip", "page"):
        behave(pdf=form, documents="base64")
        inline = base64.b64decode(client.submit(client.body(FolioOriginal=form))["Resultado"]["PdfBase64"])
        behave(documents="links")
        link = client.submit(client.body(FolioOriginal=f"{form}-2"))["Resultado"]["PdfLink"]
        linked = client.send("GET", link.removeprefix(sandbox.url))[1]
        assert inline.startswith(b"%PDF-")
        assert linked.startswith(b"%PDF-")
        sizes[form] = (len(inline), len(linked))

    assert max(sizes["slip"]) < 2_000 < min(sizes["page"])


def test_the_whole_way_of_an_invoice(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """Saved, stamped, looked up, mailed, cancelled; and the ledger has it all."""
    record = client.save(FolioOriginal="OP-77")
    draft = client.look_up(record)["Resultado"]
    stamped = client.submit(client.body(record=record, FolioOriginal="OP-77"))["Resultado"]
    found = client.look_up(record)["Resultado"]
    client.call("GET", f"/api/cfdi/enviar.json/{client.id_empresa}/{record}/cliente@ejemplo.mx")
    cancelled = client.cancel(record)["Resultado"]
    ledger = sandbox.ledger(client.name)

    listed = sandbox.control("GET", f"/accounts/{client.name}/cfdis")

    assert [(row["id"], row["uuid"]) for row in listed] == [(record, stamped["UUID"])]
    assert listed[0]["xml"].encode() == base64.b64decode(stamped["XmlBase64"])
    assert (draft["UUID"], draft["Estatus"], "XmlBase64" in draft) == ("", "Borrador", False)
    assert found == stamped
    assert base64.b64decode(stamped["PdfBase64"]).startswith(b"%PDF-")
    assert stamped["UUID"].encode() in base64.b64decode(stamped["XmlBase64"])
    assert (cancelled["Estatus"], cancelled["EstatusCancelacion"]) == (
        "Cancelada",
        "Cancelado sin aceptación",
    )
    assert ledger["folios"] == {client.name: {"OP-77": [stamped["UUID"]]}}
    assert {name: ledger[name] for name in ("duplicates", "stamps", "drafts", "cancelled")} == {
        "duplicates": 0,
        "stamps": 1,
        "drafts": 0,
        "cancelled": 1,
    }
    assert ledger["mails"] == [{"account": client.name, "id": record, "email": "cliente@ejemplo.mx"}]


def test_the_key_that_was_revoked_is_refused_and_counted(
    sandbox: RunningSandbox, client: HttpSandboxClient, behave: Any
) -> None:
    """In each of the three ways; the account is still the one that is counted."""
    sandbox.revoke_key(client.name)
    statuses = []
    for style in ("401", "403", "200"):
        behave(key_refusal=style)
        statuses.append(client.send("POST", "/api/conectar.json", {"ApiKey": client._key})[0])

    assert statuses == [401, 403, 200]
    assert sandbox.ledger(client.name)["calls"][client.name]["conectar"] == {"ok": 1, "refused:10": 3}
    assert client.send("GET", f"/api/cfdi/utiles.json/{client.id_empresa}")[0] == 401


def test_old_tokens_can_survive_a_new_key(
    sandbox: RunningSandbox, client: HttpSandboxClient, behave: Any
) -> None:
    """For a while a token proves nothing about the key."""
    behave(old_tokens_survive=True)
    sandbox.regenerate_key(client.name)

    assert client.send("GET", f"/api/cfdi/utiles.json/{client.id_empresa}")[0] == 200
    assert client.send("POST", "/api/conectar.json", {"ApiKey": client._key})[0] == 401


def test_an_account_that_is_not_enabled_is_refused_by_name(
    sandbox: RunningSandbox, client: HttpSandboxClient
) -> None:
    """With a good key and with a good token; enabled again, all goes on."""
    sandbox.change(client.name, enabled=False)
    path = f"/api/cfdi/utiles.json/{client.id_empresa}"
    refused = [client.call("POST", "/api/conectar.json", {"ApiKey": client._key}), client.call("GET", path)]
    sandbox.change(client.name, enabled=True)

    assert [(answer["Codigo"], "no está habilitada" in answer["Mensaje"]) for answer in refused] == [
        (9, True)
    ] * 2
    assert client.call("GET", path)["Codigo"] == 1


def test_a_series_can_be_switched_off_and_on(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """The catalogue says it, and so do the save and the stamp."""
    sandbox.change(client.name, series={"A": False, "B": True})
    refused, taken = (client.submit(client.body(serie=serie, only_save=True))["Codigo"] for serie in "AB")

    assert (refused, taken) == (6, 1)


def test_places_and_series_can_be_added(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """And a place taken away."""
    sandbox.change(client.name, add_lugar="44100", add_serie="NC", remove_lugar="77500")
    client.connect()

    assert client.submit(client.body(lugar="44100", serie="NC"))["Codigo"] == 1
    assert "77500" not in {row["CP"] for row in client.utiles["LugaresDeExpedicion"]}


def test_answers_can_come_without_the_envelope(client: HttpSandboxClient, behave: Any) -> None:
    """The object itself at the top, where the account does so for a call."""
    body = client.body()
    behave(bare=["utiles", "stamp"], token_at_top=True)

    assert client.call("POST", "/api/conectar.json", {"ApiKey": client._key}).keys() == {"Token", "IdEmpresa"}
    assert "RFCs" in client.call("GET", f"/api/cfdi/utiles.json/{client.id_empresa}")
    assert client.submit(body).keys() >= {"Id", "UUID", "XmlBase64"}
    assert client.submit(body | {"SoloGuardar": True}).keys() == {"Codigo", "Resultado", "Mensaje"}


def test_the_company_can_come_as_a_claim_or_not_at_all(client: HttpSandboxClient, behave: Any) -> None:
    """A JWT carries IdEmpresa; an opaque token carries nothing that can be read."""
    behave(reports_empresa=False)
    opaque = client.call("POST", "/api/conectar.json", {"ApiKey": client._key})["Resultado"]
    behave(token_style="jwt")
    jwt = client.call("POST", "/api/conectar.json", {"ApiKey": client._key})["Resultado"]["Token"]
    payload = jwt.split(".")[1]

    assert opaque.keys() == {"Token"}
    assert "." not in opaque["Token"]
    assert json.loads(base64.urlsafe_b64decode(payload + "=="))["IdEmpresa"] == client.id_empresa
    for token in (opaque["Token"], jwt):
        client._token = token
        assert client.call("GET", f"/api/cfdi/utiles.json/{client.id_empresa}")["Codigo"] == 1
    client._token = jwt[:-6] + "AAAAAA"
    assert client.send("GET", f"/api/cfdi/utiles.json/{client.id_empresa}")[0] == 401


@pytest.mark.parametrize(("style", "wanted"), [("empty", (200, 1)), ("codigo", (200, 5)), ("404", (404, 5))])
def test_an_unknown_customer_is_answered_in_three_ways(
    client: HttpSandboxClient, behave: Any, style: str, wanted: tuple[int, int]
) -> None:
    """Both that were seen, and a plain 404."""
    behave(unknown_customer=style)
    status, body, _ = client.send("GET", f"/api/clientes.json/{client.id_empresa}/H%26E951128469")

    assert (status, json.loads(body)["Codigo"]) == wanted


def test_stamps_left_are_reported_where_the_account_does_so(
    sandbox: RunningSandbox, client: HttpSandboxClient, behave: Any
) -> None:
    """In the catalogues and with the stamp."""
    sandbox.change(client.name, stamps=7)
    behave(reports_stamps=True)
    client.connect()

    assert client.utiles["TimbresDisponibles"] == 7
    assert client.submit(client.body())["Resultado"]["TimbresDisponibles"] == 6


@pytest.mark.parametrize(
    ("motivo", "more", "wanted"),
    [
        ("05", {}, "207"),
        ("02", {"UUIDSustitucion": "9932113E-09AC-47BA-8E8C-6F83100C814F"}, "209"),
        ("01", {}, "208"),
        ("01", {"UUIDSustitucion": "9932113E-09AC-47BA-8E8C-6F83100C814F"}, "208"),
    ],
)
def test_a_wrong_motivo_or_substitute_is_refused(
    client: HttpSandboxClient, motivo: str, more: dict[str, str], wanted: str
) -> None:
    """By the SAT's number; the invoice stays as it is."""
    record = client.submit(client.body())["Resultado"]["Id"]
    refused = client.cancel(record, motivo, **more)

    assert (refused["Codigo"], refused["Mensaje"][:3]) == (11, wanted)
    assert client.look_up(record)["Resultado"]["Estado"] == "Vigente"


def test_motivo_01_wants_a_substitute_related_with_04(client: HttpSandboxClient) -> None:
    """Another stamped CFDI is not enough."""
    old, stranger = (
        client.submit(client.body(FolioOriginal=folio))["Resultado"] for folio in ("OP-1", "OP-2")
    )
    relation = {"TipoRelacion": 4, "CFDIRelacionados": [old["UUID"]]}
    new = client.submit(client.body(FolioOriginal="OP-3", **relation))["Resultado"]

    assert client.cancel(old["Id"], "01", UUIDSustitucion=stranger["UUID"])["Mensaje"].startswith("208")
    assert client.cancel(old["Id"], "01", UUIDSustitucion=new["UUID"].lower())["Codigo"] == 1


def test_a_requested_cancellation_is_none_until_it_is_accepted(
    sandbox: RunningSandbox, client: HttpSandboxClient, behave: Any
) -> None:
    """Asked again it answers the same acuse; the receptor refuses, is asked again, and accepts."""
    behave(acceptance="always")
    record = client.submit(client.body())["Resultado"]["Id"]
    first, again = client.cancel(record)["Resultado"], client.cancel(record)["Resultado"]
    waiting = client.look_up(record)["Resultado"]
    decide = f"/accounts/{client.name}/records/{record}/cancellation"
    sandbox.control("POST", decide, {"state": "refused"})
    refused = client.look_up(record)["Resultado"]
    client.cancel(record)
    sandbox.control("POST", decide, {"state": "cancelled"})
    accepted = client.look_up(record)["Resultado"]

    assert first == again
    assert b"EstatusUUID>201<" in base64.b64decode(first["AcuseBase64"])
    assert (waiting["Estatus"], waiting["EstatusCancelacion"]) == ("Cancelacion solicitada", "En proceso")
    assert (refused["Estado"], refused["EstatusCancelacion"]) == ("Vigente", "Solicitud rechazada")
    assert (accepted["Estado"], accepted["EstatusCancelacion"]) == ("Cancelado", "Cancelado con aceptación")


def test_silence_is_acceptance(sandbox: RunningSandbox, client: HttpSandboxClient, behave: Any) -> None:
    """After `acceptance_seconds` by the sandbox's clock."""
    behave(acceptance="always", acceptance_seconds=72 * 3600)
    record = client.submit(client.body())["Resultado"]["Id"]
    states = [client.cancel(record)["Resultado"]["Estado"]]
    sandbox.move_clock(73 * 3600)
    try:
        client.connect()
        states.append(client.look_up(record)["Resultado"]["Estado"])
    finally:
        sandbox.move_clock(0)

    assert states == ["Vigente", "Cancelado"]


def test_the_sats_rule_says_who_must_be_asked(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """Nobody up to 1,000 pesos or within the business day after issue; the receptor otherwise."""
    small, large = (
        client.submit(client.body(a_line(precio=price), FolioOriginal=price))["Resultado"]["Id"]
        for price in ("800.00", "9000.00")
    )
    sandbox.move_clock(6 * 86400)
    try:
        client.connect()
        states = [client.cancel(record)["Resultado"]["Estatus"] for record in (small, large)]
    finally:
        sandbox.move_clock(0)

    assert states == ["Cancelada", "Cancelacion solicitada"]


def test_a_uuid_of_a_moment_ago_is_unknown_to_the_sat(
    sandbox: RunningSandbox, client: HttpSandboxClient, behave: Any
) -> None:
    """205 for as long as the knob says."""
    behave(unknown_uuid_seconds=120)
    record = client.submit(client.body())["Resultado"]["Id"]
    first = client.cancel(record)
    sandbox.move_clock(121)
    try:
        second = client.cancel(record)
    finally:
        sandbox.move_clock(0)

    assert (first["Codigo"], first["Mensaje"][:3], second["Codigo"]) == (11, "205", 1)


def test_a_draft_cannot_be_cancelled_or_mailed(client: HttpSandboxClient) -> None:
    """There is nothing to cancel."""
    record = client.save()

    assert client.cancel(record)["Codigo"] == 11
    assert client.call("GET", f"/api/cfdi/enviar.json/{client.id_empresa}/{record}/a@b.mx")["Codigo"] == 12


def test_a_dialect_is_chosen_where_an_account_is_opened_or_changed(sandbox: RunningSandbox) -> None:
    """And outlives a restart with the account; the control API lists what there is."""
    account = sandbox.open_account(f"acme-{next(NUMBERS)}", dialect="gross")
    changed = sandbox.change(account["name"], dialect={"numbers": "string"})["dialect"]
    listed = sandbox.control("GET", "/dialects")

    assert account["dialect"]["importe"] == "gross"
    assert (changed["importe"], changed["numbers"]) == ("gross", "string")
    assert listed["aspects"]["importe"]["choices"] == ["net", "gross"]
    assert "gross" in listed["named"]
    with pytest.raises(RuntimeError, match="importe"):
        sandbox.change(account["name"], dialect={"importe": "half"})


def test_the_envelope_has_the_names_of_the_dialect(
    sandbox: RunningSandbox, client: HttpSandboxClient
) -> None:
    """In lower case, as a text, with the words under another name or nowhere."""
    path = f"/api/cfdi/factura.json/{client.id_empresa}/99999"
    found = []
    for choices in (
        {"envelope": "codigo", "mensaje": "Errores"},
        {"envelope": "text", "mensaje": "Message"},
        {"envelope": "Codigo", "mensaje": "none"},
    ):
        sandbox.change(client.name, dialect=choices)
        found.append(client.call("GET", path))

    words = "No se encontró la factura"
    assert found == [
        {"codigo": 5, "resultado": None, "errores": [words]},
        {"Codigo": "5", "Resultado": None, "Message": words},
        {"Codigo": 5, "Resultado": None},
    ]


def test_ids_uuids_and_links_can_be_written_otherwise(
    sandbox: RunningSandbox, client: HttpSandboxClient
) -> None:
    """Ids as texts, UUIDs in lower case, links from the root; the XML is the same."""
    body = client.body()
    sandbox.change(
        client.name,
        dialect={"id_type": "text", "uuid_case": "lower", "links": "relative"},
        behaviour={"documents": "links"},
    )
    stamped = client.submit(body)["Resultado"]
    customer = client.call("GET", f"/api/clientes.json/{client.id_empresa}/XIA190128J61")["Resultado"]
    put_back = client.call("PUT", "/api/clientes.json", customer | {"Estatus": True})
    xml = client.send("GET", stamped["XmlLink"])[1]

    assert put_back["Codigo"] == 1
    assert (stamped["Id"].isdigit(), customer["Id"].isdigit()) == (True, True)
    assert stamped["UUID"] == stamped["UUID"].lower()
    assert stamped["UUID"].upper().encode() in xml


def test_the_provider_answers_at_many_addresses(sandbox: RunningSandbox, client: HttpSandboxClient) -> None:
    """Under /at/ANYTHING, with its links."""
    for address in ("one", "two"):
        found = client.call("GET", f"/at/{address}/api/clientes.json/{client.id_empresa}/XIA190128J61")
        assert found["Codigo"] == 1


def test_an_ampersand_in_a_path_can_be_refused_with_a_page(
    sandbox: RunningSandbox, client: HttpSandboxClient
) -> None:
    """HTTP 400 and HTML, for this account alone; the ledger counts it."""
    sandbox.change(client.name, dialect={"ampersand": "400"})
    status, body, headers = client.send("GET", f"/api/clientes.json/{client.id_empresa}/H%26E951128469")

    assert (status, headers["Content-Type"]) == (400, "text/html; charset=utf-8")
    assert b"potentially dangerous" in body
    assert client.send("GET", f"/api/clientes.json/{client.id_empresa}/XIA190128J61")[0] == 200
    assert sandbox.ledger(client.name)["calls"][client.name]["clientes"] == {"http:400": 1, "ok": 1}


def test_what_a_person_keeps_in_the_portal_can_be_put_there(
    sandbox: RunningSandbox, client: HttpSandboxClient
) -> None:
    """Customers with fields of their own, products, and the ids that a form asks for."""
    path = f"/accounts/{client.name}"
    by_hand = {"RFC": "XIA190128J61", "RazonSocial": "Xenon", "Telefono": "81 8888 0000", "DiasCredito": 30}
    unit = sandbox.control("GET", f"{path}/ids")["UnidadesDeMedida"]["E48"]
    sandbox.control("PUT", f"{path}/customers", by_hand)
    product = {
        "Clave": "G",
        "Nombre": "Generico",
        "ClaveProdServ": "78101802",
        "ObjetoImp": "02",
        "IdUM": unit,
    }
    made = sandbox.control("POST", f"{path}/products", product)
    found = client.call("GET", f"/api/clientes.json/{client.id_empresa}/XIA190128J61")["Resultado"]
    ids = sandbox.control("GET", f"{path}/ids")

    assert found.items() >= by_hand.items()
    assert [row["Id"] for row in sandbox.control("GET", f"{path}/customers")] == [found["Id"]]
    assert found["IdEmpresaCliente"] == ids["IdEmpresa"] == client.id_empresa
    assert [row["Id"] for row in ids["Productos"]] == [made["Id"]]
    assert ids["Series"].keys() == {"A", "B"}
    with pytest.raises(RuntimeError, match="Nombre"):
        sandbox.control("POST", f"{path}/products", product | {"Nombre": "x"})


def test_the_base_address_may_have_a_path(client: HttpSandboxClient) -> None:
    """ContaDigital's address for tests is https://app.contadigital.mx/dev/pruebas."""
    found = client.call(
        "GET", f"/dev/pruebas/api/clientes.json/{client.id_empresa}/OÑO120726RX3".replace("Ñ", "%C3%91")
    )

    assert found == {"Codigo": 1, "Resultado": None, "Mensaje": "OK"}


def test_a_sandbox_goes_when_who_started_it_goes(tmp_path: Path) -> None:
    """However that one was ended: its end of standard input closes."""
    starter = "from sandbox.serve import RunningSandbox; import pathlib, sys, time\n"
    starter += "s = RunningSandbox(store=pathlib.Path(sys.argv[1]) / 'store.sqlite').start()\n"
    starter += "print(s.port, flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", starter, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as parent:
        port = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return
        time.sleep(0.05)
    pytest.fail("the sandbox is still there")


def test_a_reset_leaves_the_demo_account_and_nothing_else() -> None:
    """For tests that share a process one after the other."""
    with RunningSandbox() as sandbox:
        sandbox.open_account("other")
        HttpSandboxClient(sandbox.url, sandbox.demo_key).connect().save()
        sandbox.play("html")
        sandbox.reset()

        assert [account["name"] for account in sandbox.control("GET", "/accounts")] == ["demo"]
        assert sandbox.ledger() | {"calls": {}} == {
            "duplicates": 0,
            "stamps": 0,
            "drafts": 0,
            "cancelled": 0,
            "folios": {},
            "calls": {},
            "mails": [],
        }
        assert sandbox.control("GET", "/scenarios") == []


def test_scenarios_and_chaos_come_from_the_command_line(tmp_path: Path) -> None:
    """A file of rules, and a seed with a factor."""
    rules = {"seed": 3, "rules": [{"fault": "html", "call": "utiles", "times": 1}]}
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    options = ["--scenario", str(tmp_path / "rules.json"), "--chaos", "5,0.0"]
    with RunningSandbox(options=options) as sandbox:
        client = HttpSandboxClient(sandbox.url, sandbox.demo_key).connect()
        path = f"/api/cfdi/utiles.json/{client.id_empresa}"

        assert client.send("GET", path)[1].startswith(b"<!DOCTYPE html>")
        assert client.call("GET", path)["Codigo"] == 1
        assert len(sandbox.control("GET", "/scenarios")) > 10


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/scenarios", {"fault": "earthquake"}, "no such fault"),
        ("/accounts", {"name": "demo"}, "taken"),
        ("/accounts/nobody/revoke-key", {}, "nobody"),
        ("/accounts/demo/records/1/cancellation", {"state": "x"}, "1"),
    ],
)
def test_a_control_call_that_makes_no_sense_says_why(
    sandbox: RunningSandbox, path: str, body: dict[str, str], words: str
) -> None:
    """So that a test does not go on without the fault it asked for."""
    with pytest.raises(RuntimeError, match=words):
        sandbox.control("POST", path, body)


def test_a_port_that_is_taken_is_reported_in_one_line(sandbox: RunningSandbox) -> None:
    """And the process ends."""
    with pytest.raises(RuntimeError, match="did not start"), RunningSandbox(port=sandbox.port):
        pass
