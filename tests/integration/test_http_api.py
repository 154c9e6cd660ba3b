"""The HTTP API (contract, section 6) over a real PostgreSQL and the sandbox, without Redis and without workers."""

import asyncio
import json
import threading
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from anyio import to_thread
from jsonschema import Draft202012Validator
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api import keys
from api.shapes import InvoicePage, InvoiceShape
from events import channels
from models.tables import connections
from models.vocabulary import Channel
from storage import open_store
from tests.support.api import URL, AskedApi, api_over
from tests.support.builders import a_receptor, an_invoice
from tests.support.harness import Harness, statements

pytestmark = pytest.mark.one_database


@pytest.fixture(scope="module")
def database(make_database: Any) -> str:
    url: str = make_database()
    return url


@pytest.fixture
def nobody(harness: Harness) -> AskedApi:
    return api_over(harness.tools)


@pytest.fixture
def api(nobody: AskedApi, harness: Harness) -> AskedApi:
    return nobody.as_(f"apunto-{harness.account}", scopes=("submit", "read", "operate"))


def invoice_of(harness: Harness, external_id: str, **changes: Any) -> dict[str, Any]:
    return an_invoice(account=harness.account, external_id=external_id, **{"fecha": None, **changes})


def path_of(harness: Harness, external_id: str, *more: str) -> str:
    return "/v1/invoices/" + "/".join([quote(harness.account), quote(external_id, safe=""), *more])


def problem(answer: Any, status: int) -> dict[str, Any]:
    """The problem object of a refusal, in RFC 9457's form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert {"type", "title", "detail"} <= found.keys()
    return found


# --- keys ------------------------------------------------------------------------------------------------------------


def test_without_a_key_nothing_is_answered(nobody, harness):
    """Each route but the links, the documentation and the health checks wants one."""
    for method, path in (
        ("GET", path_of(harness, "A")),
        ("GET", "/v1/invoices"),
        ("POST", "/v1/invoices"),
        ("GET", "/v1/events"),
        ("GET", "/v1/status"),
        ("GET", "/v1/catalogs/uso_cfdi"),
        ("PUT", f"/v1/connections/{harness.account}"),
    ):
        answer = nobody(method, path)
        problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    assert nobody.get("/healthz").status_code == 200
    assert nobody.get("/v1/openapi.json").json()["openapi"].startswith("3.1")


def test_that_the_process_lives_is_answered_while_every_thread_waits(nobody):
    """As where the database does not answer: a process that is only slow must not be ended for it."""
    over = threading.Event()

    async def ask() -> httpx.Response:
        to_thread.current_default_thread_limiter().total_tokens = 1
        waits = asyncio.create_task(run_in_threadpool(over.wait, 30))
        await asyncio.sleep(0.05)
        try:
            transport = httpx.ASGITransport(nobody.app)
            async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
                return await asyncio.wait_for(client.get("/healthz"), 5)
        finally:
            over.set()
            await waits

    assert asyncio.run(ask()).status_code == 200


@pytest.mark.parametrize("broken", ["a\0b", "\ud800"])
@pytest.mark.parametrize(
    ("action", "name"),
    [
        ("cancel", "motivo"),
        ("cancel", "reason"),
        ("retry", "reason"),
        ("accept", "reason"),
        ("resolve", "xml"),
    ],
)
def test_a_text_that_no_column_holds_is_refused_by_its_name(api, harness, action, name, broken):
    """JSON can say NUL and half of a pair; it is the sender's mistake and not ours."""
    harness.submit("BROKEN-1")
    body = {"motivo": "02", "reason": "x", name: broken}
    refused = problem(api.post(f"{path_of(harness, 'BROKEN-1')}/{action}", content=json.dumps(body)), 400)
    assert name in refused["detail"]


@pytest.mark.parametrize("broken", ["a\0b", "\ud800"])
def test_a_name_of_broken_text_is_a_fault_like_another(api, harness, broken):
    """Of a field of an invoice, of the ids of a connection and of a place in them."""
    sent = {"version": 1, "account": harness.account, "external_id": "BROKEN-2", broken: 1, "conceptos": 5}
    assert problem(api.post("/v1/invoices", content=json.dumps(sent)), 422)["errors"]
    assert api.post("/v1/invoices/check", content=json.dumps({broken: 1})).json()["errors"]
    facts = {"api_key": "k" * 30, "rfc": "EKU9003173C9", "razon_social": "E", "codigo_postal": "42501"}
    for ids in ({broken: 1}, {"moneda": {broken: 1}}):
        answer = api("PUT", f"/v1/connections/{harness.account}", content=json.dumps({**facts, "ids": ids}))
        assert (answer.status_code, answer.json()["reason"]) == (200, "ids_missing")


def test_head_is_answered_as_get_is(api, nobody, harness):
    """As who watches an address, or asks for a document's size, sends it; it opens no line of events."""
    harness.stamp(harness.submit("HEAD-1"))
    path = f"{path_of(harness, 'HEAD-1')}/xml"
    got, head = api.get(path), api("HEAD", path)
    assert head.status_code == 200
    assert {name: head.headers[name] for name in ("etag", "content-length", "content-disposition")} == {
        name: got.headers[name] for name in ("etag", "content-length", "content-disposition")
    }
    assert api("HEAD", path_of(harness, "NONE")).status_code == 404
    assert nobody("HEAD", "/healthz").status_code == 200
    assert nobody("HEAD", "/login").status_code == 200
    lines = api("HEAD", "/v1/events", headers={"Accept": "text/event-stream"})
    assert lines.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/invoices", "GET, HEAD, POST"),
        ("/v1/invoices/check", "POST"),
        ("/healthz", "GET, HEAD"),
        ("/login", "GET, HEAD, POST"),
        ("/logout", "POST"),
        ("/static/panel.css", "GET, HEAD"),
    ],
)
def test_a_method_that_a_path_has_not_is_refused_with_those_that_it_has(nobody, path, allowed):
    """Of the API, the panel and its files alike."""
    answer = nobody("PATCH", path)
    problem(answer, 405)
    assert answer.headers["allow"] == allowed


def test_a_key_may_do_what_its_scopes_say(nobody, harness):
    """One that only reads submits and cancels nothing; one that only submits reads nothing."""
    reader = nobody.as_(f"reader-{harness.account}", scopes=("read",))
    submitter = nobody.as_(f"submitter-{harness.account}", scopes=("submit",))

    problem(reader.post("/v1/invoices", json=invoice_of(harness, "S-1")), 403)
    problem(reader.post(path_of(harness, "S-1", "retry")), 403)
    problem(reader("DELETE", f"/v1/connections/{harness.account}"), 403)
    assert submitter.post("/v1/invoices", json=invoice_of(harness, "S-1")).status_code == 202
    problem(submitter.get(path_of(harness, "S-1")), 403)


def test_a_key_never_sees_another_accounts_data(nobody, api, harness):
    """Neither by its path, in a list, by its links or events, nor by what it may change; and says not even that it is
    there."""
    api.post("/v1/invoices", json=invoice_of(harness, "HERS"))
    harness.stamp(harness.submit("HERS-2"))
    other = nobody.as_(
        f"other-{harness.account}", scopes=("submit", "read", "operate"), account_glob="other-*"
    )

    for path in ("HERS", "HERS-2"):
        problem(other.get(path_of(harness, path)), 404)
        for kind in ("xml", "pdf", "acuse"):
            problem(other.get(path_of(harness, path, kind)), 404)
        for act in ("links", "retry", "cancel"):
            problem(other.post(path_of(harness, path, act), json={"motivo": "02"}), 404)
    problem(other.post("/v1/invoices", json=invoice_of(harness, "MINE")), 403)
    problem(other.post("/v1/invoices/check", json=invoice_of(harness, "MINE")), 403)
    problem(other.get(f"/v1/connections/{harness.account}"), 404)
    problem(other("DELETE", f"/v1/connections/{harness.account}"), 404)
    problem(other.post(f"/v1/connections/{harness.account}/validate"), 404)
    problem(other("PUT", f"/v1/connections/{harness.account}", json={"api_key": "x"}), 403)
    assert other.get("/v1/invoices").json()["items"] == []
    assert other.get("/v1/invoices", params={"account": harness.account}).json()["items"] == []
    assert other.get("/v1/events").json()["items"] == []
    assert other.get("/v1/status").json()["open"] == {}


def test_a_glob_is_no_pattern_of_sql(nobody, harness):
    """`%` and `_` in it are themselves, in lists as in paths."""
    key = nobody.as_(f"percent-{harness.account}", scopes=("read",), account_glob="acme_%")

    assert key.get("/v1/invoices").json()["items"] == []
    problem(key.get(path_of(harness, "X")), 404)
    found = keys.Key(None, "", False, None, frozenset(), "a*c?")  # type: ignore[arg-type]  # its id does not matter
    assert [found.sees(each) for each in ("abbcd", "ac1", "ac", "xac1")] == [True, True, False, False]


def test_a_revoked_or_expired_key_is_refused(nobody, harness):
    """At once; and its use was noted while it was in force."""
    name = f"short-{harness.account}"
    now = harness.tools.clock.now()
    key = nobody.as_(name, scopes=("read",), expires_at=now + timedelta(hours=1))
    assert key.get("/v1/status").status_code == 200
    row = harness.one("SELECT * FROM api_keys WHERE name = :name", name=name)
    assert row.last_used_at is not None
    assert key.key not in json.dumps(row._asdict(), default=str)

    harness.later(hours=2)
    problem(key.get("/v1/status"), 401)
    with harness.tools.engine.begin() as db:
        assert keys.revoke(db, name, now)
        assert not keys.revoke(db, name, now)


def test_keys_cannot_be_guessed_at_speed(nobody, harness):
    """After ten wrong ones the address waits, a right one too; but not a key that was accepted before them."""
    known, new = (nobody.as_(f"{name}-{harness.account}", scopes=("read",)) for name in ("known", "new"))
    wrong = replace(nobody, key="tk_wrong")
    assert known.get("/v1/status").status_code == 200

    statuses = [wrong.get("/v1/status").status_code for _ in range(12)]

    assert statuses[:10] == [401] * 10
    refused = wrong.get("/v1/status")
    problem(refused, 429)
    assert int(refused.headers["retry-after"]) > 0
    problem(new.get("/v1/status"), 429)
    assert known.get("/v1/status").status_code == 200
    with harness.tools.engine.begin() as db:
        keys.revoke(db, f"known-{harness.account}", harness.tools.clock.now())
    assert [known.get("/v1/status").status_code for _ in range(2)] == [401, 429]


def test_a_read_is_the_keys_statement_and_its_own(api, harness):
    """Each in one round trip, without a transaction, however much belongs to an invoice."""
    harness.stamp(harness.submit("READ-1"))
    for path in ("/v1/invoices", "/v1/invoices?q=READ-1", path_of(harness, "READ-1"), "/v1/status"):
        assert api.get(path).status_code == 200
        with statements(harness.tools.engine) as asked:
            assert api.get(path).status_code == 200
        assert len(asked) == 2, asked


@pytest.mark.parametrize("path", ["", "ONE", "ONE?story=1"])
def test_an_answer_is_what_its_documented_shape_makes_of_it(api, harness, path):
    """Every field of it, in its order, though no model checks our own words on their way out."""
    harness.stamp(harness.submit("SHAPE"))
    api.post("/v1/invoices", json=invoice_of(harness, "SHAPE-2", forma_pago="77"))
    for external_id in ("SHAPE", "SHAPE-2"):
        where = path_of(harness, external_id) + path.removeprefix("ONE") if path else "/v1/invoices"
        answer = api.get(where)
        shape: type[BaseModel] = InvoiceShape if path else InvoicePage
        assert answer.content == shape.model_validate_json(answer.content).model_dump_json().encode()
        assert answer.headers["content-type"] == "application/json"


def replace_connection(harness: Harness, **values: Any) -> bool:
    """Change the account's connection in its table."""
    changed = sa.update(connections).where(connections.c.account == harness.account).values(**values)
    with harness.tools.engine.begin() as db:
        return bool(db.execute(changed).rowcount)


# --- submitting ------------------------------------------------------------------------------------------------------


def test_an_invoice_is_stored_before_the_answer_and_needs_no_broker(api, harness):
    """202 with its state; the message that would have it stamped at once is sent beside."""
    answer = api.post("/v1/invoices", json=invoice_of(harness, "P-1"))

    assert answer.status_code == 202
    state = answer.json()
    assert (state["status"], state["external_id"], state["errors"]) == ("accepted", "P-1", [])
    assert state["next"]["who"] == "nobody"
    assert harness.row(state["invoice_id"]).status == "accepted"
    assert [task for task, *_ in api.sent] == ["stamping.stamp_invoice", "stamping.deliver_events"]


def test_the_same_again_is_200_and_other_content_is_409(api, harness):
    """While it is stamped; and a rejected one is corrected under the same id."""
    harness.stamp(harness.submit("P-2"))

    assert api.post("/v1/invoices", json=invoice_of(harness, "P-2")).status_code == 200
    refused = problem(api.post("/v1/invoices", json=invoice_of(harness, "P-2", total="1.00")), 409)
    assert refused["errors"][0]["code"] == "timbrado.conflict"
    assert refused["detail"] == refused["errors"][0]["message"]
    wrong = problem(api.post("/v1/invoices", json=invoice_of(harness, "P-3", total="1.00")), 422)
    assert "CFDI40119" in {each["code"] for each in wrong["errors"]}
    assert wrong["invoice"]["status"] == "rejected"
    assert api.post("/v1/invoices", json=invoice_of(harness, "P-3")).status_code == 202


def test_a_request_that_comes_late_undoes_no_correction(api, nobody, harness):
    """Sent again under its Idempotency-Key it only has the status reported; another key's name is another request's."""
    paused = replace_connection(harness, paused=True)
    first = api.post(
        "/v1/invoices", json=invoice_of(harness, "ID-1", total="1.00"), headers={"Idempotency-Key": "k-1"}
    )
    corrected = api.post("/v1/invoices", json=invoice_of(harness, "ID-1"), headers={"Idempotency-Key": "k-2"})
    late = api.post(
        "/v1/invoices", json=invoice_of(harness, "ID-1", total="1.00"), headers={"Idempotency-Key": "k-1"}
    )
    other = nobody.as_(f"second-{harness.account}", scopes=("submit",)).post(
        "/v1/invoices", json=invoice_of(harness, "ID-1", total="1.00"), headers={"Idempotency-Key": "k-1"}
    )
    withdrawn = [
        api.post(path_of(harness, "ID-1", "withdraw"), headers={"Idempotency-Key": "w-1"}) for _ in range(2)
    ]

    assert paused
    assert (first.status_code, corrected.status_code) == (422, 202)
    assert (late.status_code, late.json()["status"]) == (200, "accepted")
    assert other.status_code == 422
    assert [(each.status_code, each.json()["status"]) for each in withdrawn] == [(202, "withdrawn")] * 2
    problem(api.post("/v1/invoices", json={}, headers={"Idempotency-Key": "a b"}), 400)


def test_a_name_of_a_request_is_that_of_one_invoice(api, harness):
    """The same Idempotency-Key for another invoice is another request: it is done, and not only answered."""
    harness.stamped("A")
    harness.stamped("B")
    named = {"Idempotency-Key": "batch-7"}

    for each in ("A", "B"):
        asked = api.post(path_of(harness, each, "cancel"), json={"motivo": "02"}, headers=named)
        assert (asked.status_code, asked.json()["status"]) == (202, "cancelling")
    for each in ("C", "D"):
        api.post("/v1/invoices", json=invoice_of(harness, each, total="1.00"))
        corrected = api.post("/v1/invoices", json=invoice_of(harness, each), headers=named)
        assert (corrected.status_code, corrected.json()["status"]) == (202, "accepted")


def test_what_is_no_invoice_is_refused_with_every_fault(api, harness):
    """And what is no JSON at all, or too much of it, as a problem of its own."""
    unreadable = problem(api.post("/v1/invoices", json={"version": 1}), 422)
    assert unreadable["errors"]
    problem(api.post("/v1/invoices", content=b"{"), 400)
    problem(api.post("/v1/invoices", content=b'{"a": NaN}'), 400)
    problem(api.post("/v1/invoices", content=b"[" * 200_000), 400)
    problem(api.post("/v1/invoices", content=b" " * 8_000_001), 413)


def test_the_dry_run_says_what_the_submission_would_and_stores_nothing(api, harness):
    """Exactly the same faults and warnings, and the totals as the CFDI would have them."""
    wrong = {"receptor": a_receptor(rfc="AAA"), "total": "1.00"}
    before = harness.one("SELECT count(*) AS n FROM invoices").n

    checked = api.post("/v1/invoices/check", json=invoice_of(harness, "C-1", **wrong)).json()
    good = api.post("/v1/invoices/check", json=invoice_of(harness, "C-2")).json()

    assert harness.one("SELECT count(*) AS n FROM invoices").n == before
    assert api.sent == []
    sent = problem(api.post("/v1/invoices", json=invoice_of(harness, "C-1", **wrong)), 422)
    assert checked["errors"] == sent["errors"]
    assert good["errors"] == []
    assert (good["totals"]["subtotal"], good["totals"]["total"]) == ("15000.00", "16800.00")


# --- reading ---------------------------------------------------------------------------------------------------------


def test_one_invoice_says_what_comes_next_and_who_must_act(api, harness):
    """With its documents, where they are downloaded, and the whole timeline where it is asked for."""
    harness.stamp(harness.submit("R-1"))

    state = api.get(path_of(harness, "R-1"), params={"story": "1"}).json()

    assert state["status"] == "stamped"
    assert {each["kind"] for each in state["documents"]} == {"xml", "pdf"}
    assert all(each["url"].startswith(f"{URL}/v1/invoices/") for each in state["documents"])
    assert state["next"] == {**state["next"], "who": "nobody"}
    assert {"status", "attempt", "document", "event"} <= {each["kind"] for each in state["story"]}
    assert (
        "story" not in api.get(path_of(harness, "R-1")).json()
        or not api.get(path_of(harness, "R-1")).json()["story"]
    )


@pytest.mark.parametrize("external_id", ["OP/1", "OP%2F1", "ñandú 7", "a?b#c", "..x"])
def test_an_id_may_hold_any_character(api, harness, external_id):
    """Percent-encoded in the path, a slash and a percent sign too."""
    assert api.post("/v1/invoices", json=invoice_of(harness, external_id)).status_code == 202

    assert api.get(path_of(harness, external_id)).json()["external_id"] == external_id
    assert api.post(path_of(harness, external_id, "links")).json()["links"] == {}


def test_pages_skip_nothing_and_repeat_nothing(api, harness):
    """While others come in between; the newest first, and the last page says so."""
    for number in range(7):
        harness.submit(f"L-{number}")
    mine = {"account": harness.account, "limit": 3}
    first = api.get("/v1/invoices", params=mine).json()
    harness.submit("L-7")
    seen = [each["external_id"] for each in first["items"]]
    cursor = first["cursor"]
    while cursor:
        page = api.get("/v1/invoices", params={**mine, "cursor": cursor}).json()
        seen += [each["external_id"] for each in page["items"]]
        cursor = page["cursor"]

    assert seen == [f"L-{number}" for number in range(6, -1, -1)]


def test_invoices_are_found_by_what_a_person_has_of_them(api, harness):
    """Folio fiscal, our id, serie and folio, the receiver's RFC and name, and Apunto's own id."""
    invoice_id = harness.submit("FIND-1")
    harness.stamp(invoice_id)
    row = harness.row(invoice_id)
    harness.submit("OTHER-1", receptor=a_receptor(rfc="XAXX010101000"))

    for q in (row.uuid, row.uuid.lower(), str(invoice_id), f"{row.serie}{row.folio}", "FIND-", "xenon"):
        found = api.get("/v1/invoices", params={"account": harness.account, "q": q}).json()["items"]
        assert "FIND-1" in [each["external_id"] for each in found], q
    found = api.get("/v1/invoices", params={"account": harness.account, "q": "XIA190128J61"}).json()["items"]
    assert [each["external_id"] for each in found] == ["FIND-1"]
    stamped = api.get("/v1/invoices", params={"account": harness.account, "status": "stamped"}).json()[
        "items"
    ]
    assert [each["external_id"] for each in stamped] == ["FIND-1"]
    problem(api.get("/v1/invoices", params={"status": "nonsense"}), 400)
    problem(api.get("/v1/invoices", params={"since": "yesterday"}), 400)


# --- documents -------------------------------------------------------------------------------------------------------


def test_a_document_is_checked_named_and_known_by_its_hash(api, harness):
    """ETag, Content-Disposition with serie, folio and folio fiscal, and 304 for who has it."""
    invoice_id = harness.submit("D-1")
    harness.stamp(invoice_id)
    row = harness.row(invoice_id)

    xml = api.get(path_of(harness, "D-1", "xml"))

    assert xml.status_code == 200
    assert xml.headers["content-type"].startswith("application/xml")
    assert f"{row.serie}-{row.folio}-{row.uuid}.xml" in xml.headers["content-disposition"]
    assert xml.content.startswith(b"<?xml")
    etag = xml.headers["etag"]
    again = api.get(path_of(harness, "D-1", "xml"), headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert api.get(path_of(harness, "D-1", "pdf")).content.startswith(b"%PDF")
    problem(api.get(path_of(harness, "D-1", "acuse")), 404)


def test_a_document_that_is_not_there_yet_says_why_and_when(api, harness):
    """404 with a reason, and `Retry-After` while waiting helps."""
    harness.submit("D-2")
    early = api.get(path_of(harness, "D-2", "pdf"))

    assert "accepted" in problem(early, 404)["detail"]
    assert early.json()["message"] == "La factura no está timbrada, así que todavía no tiene documentos."
    assert int(early.headers["retry-after"]) > 0
    problem(api.get(path_of(harness, "NEVER", "pdf")), 404)
    problem(api.get(path_of(harness, "D-2", "exe")), 404)


def test_a_link_needs_no_key_and_is_dead_after_five_minutes(api, nobody, harness):
    """For a user's browser; whoever changes it has nothing."""
    harness.stamp(harness.submit("D-3"))
    links = api.post(path_of(harness, "D-3", "links")).json()["links"]

    assert set(links) == {"xml", "pdf"}
    path = links["xml"].removeprefix(URL)
    assert nobody.get(path).content.startswith(b"<?xml")
    problem(nobody.get(path[:-5] + "AAAA="), 410)
    harness.later(minutes=4, seconds=50)
    assert nobody.get(path).status_code == 200
    harness.later(seconds=20)
    problem(nobody.get(path), 410)
    secret = harness.tools.fernet.encrypt(b"an api key").decode()
    problem(nobody.get(f"/v1/documents/{secret}"), 410)


# --- what is done to one ---------------------------------------------------------------------------------------------


def test_what_is_done_is_kept_with_who_did_it_and_why(api, harness):
    """Retry and cancel call the tasks' own functions, and answer with the new state."""
    invoice_id = harness.submit("A-1")
    retried = api.post(path_of(harness, "A-1", "retry"), json={"reason": "el cliente insiste"})
    assert retried.status_code == 202
    assert ("stamping.stamp_invoice", [invoice_id], None) in api.sent
    refused = problem(api.post(path_of(harness, "A-1", "cancel"), json={"motivo": "02"}), 409)
    assert refused["errors"][0]["code"] == "timbrado.no_timbrada"
    harness.stamp(invoice_id)
    stamped = problem(api.post(path_of(harness, "A-1", "retry")), 409)
    assert stamped["errors"][0]["message"] == "La factura ya terminó: timbrada."
    problem(api.post(path_of(harness, "A-1", "cancel"), json={"motivo": "99"}), 422)
    problem(api.post(path_of(harness, "A-1", "cancel"), json={"motivo": 2}), 400)
    cancelled = api.post(path_of(harness, "A-1", "cancel"), json={"motivo": "02", "reason": "se repitió"})

    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelling")
    again = [
        api.post(path_of(harness, "A-1", "cancel"), json={"motivo": each}) for each in ("02", "01", "99")
    ]
    assert [each.status_code for each in again] == [202, 422, 422]
    assert ("stamping.settle_cancellation", [invoice_id], None) in api.sent
    done = harness.all("SELECT * FROM actions WHERE subject_id = :id ORDER BY id", id=invoice_id)
    assert [(each.action, each.actor, each.reason) for each in done] == [
        ("retry", f"apunto-{harness.account}", "el cliente insiste"),
        ("cancel", f"apunto-{harness.account}", "se repitió"),
    ]


def test_a_stamp_that_differs_is_accepted_and_a_case_is_closed_with_a_reason(api, harness):
    """Without a reason, or where there is nothing to decide, nothing changes; the decision has its owner's name."""
    invoice_id = harness.submit("DEC-1")
    open_ = problem(api.post(path_of(harness, "DEC-1", "accept"), json={"reason": "así está bien"}), 409)
    assert open_["errors"][0]["code"] == "timbrado.sin_decision"
    problem(api.post(path_of(harness, "DEC-1", "accept"), json={}), 400)
    problem(api.post(path_of(harness, "DEC-1", "resolve"), json={"reason": "x"}), 400)
    problem(api.post(path_of(harness, "DEC-1", "resolve"), json={"reason": "x", "not_stamped": True}), 409)
    harness.all(
        "UPDATE invoices SET status = 'failed', reason = 'needs_person', next_attempt_at = NULL "
        "WHERE id = :id RETURNING id", id=invoice_id,
    )  # fmt: skip
    refused = api.post(path_of(harness, "DEC-1", "resolve"), json={"reason": "x", "xml": "<no/>"})
    assert refused.status_code in {409, 422}
    closed = api.post(
        path_of(harness, "DEC-1", "resolve"), json={"reason": "no está en el SAT", "not_stamped": True}
    )

    assert (closed.status_code, closed.json()["reason"]) == (200, "not_stamped")
    (action,) = harness.all("SELECT * FROM actions WHERE subject_id = :id", id=invoice_id)
    assert (action.action, action.actor, action.reason) == (
        "resolve", f"apunto-{harness.account}", "no está en el SAT",
    )  # fmt: skip


def test_what_is_not_stamped_is_taken_back(api, harness):
    """It is withdrawn at once, with who asked for it; a stamped one is not, and the answer says why."""
    invoice_id = harness.submit("WD-1")
    harness.stamp(harness.submit("WD-2"))
    taken = api.post(path_of(harness, "WD-1", "withdraw"), json={"reason": "se canceló el viaje"})

    assert (taken.status_code, taken.json()["status"]) == (202, "withdrawn")
    assert problem(api.post(path_of(harness, "WD-2", "withdraw")), 409)["errors"]
    (action,) = harness.all("SELECT * FROM actions WHERE subject_id = :id", id=invoice_id)
    assert (action.action, action.reason) == ("withdraw", "se canceló el viaje")


def test_a_stamped_invoice_is_replaced_by_a_new_one(api, harness):
    """The answer is the new one's state; what cannot be replaced says why, and nothing changes."""
    old = harness.submit("OLD-1")
    new = invoice_of(harness, "NEW-1")
    early = problem(api.post(path_of(harness, "OLD-1", "replace"), json={"invoice": new}), 409)
    assert early["errors"][0]["code"] == "timbrado.no_timbrada"
    harness.stamp(old)
    problem(api.post(path_of(harness, "OLD-1", "replace"), json={"invoice": None}), 400)
    same = {**new, "external_id": "OLD-1"}
    problem(api.post(path_of(harness, "OLD-1", "replace"), json={"invoice": same}), 409)
    wrong = problem(
        api.post(path_of(harness, "OLD-1", "replace"), json={"invoice": {**new, "total": "1.00"}}), 422
    )
    assert wrong["invoice"]["external_id"] == "NEW-1"
    taken = api.post("/v1/invoices", json={**new, "cfdi_relacionados": None})

    assert taken.status_code == 202
    second = {"invoice": invoice_of(harness, "NEW-2")}
    twice = problem(api.post(path_of(harness, "OLD-1", "replace"), json=second), 409)
    assert twice["errors"][0]["code"] == "timbrado.no_sustituible"
    api.post(path_of(harness, "NEW-1", "withdraw"))
    good = api.post(path_of(harness, "OLD-1", "replace"), json=second)
    assert (good.status_code, good.json()["external_id"], good.json()["status"]) == (202, "NEW-2", "accepted")
    assert harness.row(old).status == "stamped"
    assert harness.row(good.json()["invoice_id"]).replaces_id == old


def test_an_id_that_does_not_exist_creates_nothing(api, harness):
    """404, and no event about an invoice that there is none of."""
    before = len(harness.event_types())
    for act in ("retry", "cancel", "withdraw", "links", "accept", "resolve"):
        body = {"motivo": "02", "reason": "x", "not_stamped": True}
        problem(api.post(path_of(harness, "NO-SUCH", act), json=body), 404)

    assert len(harness.event_types()) == before


# --- connections -----------------------------------------------------------------------------------------------------


def test_an_account_is_connected_validated_and_disconnected(api, harness, sandbox):
    """The key goes in and never comes out; what is wrong with it is said at once, in the user's words."""
    name = f"{harness.account}-b"
    opened = sandbox.open_account(name, rfc="EKU9003173C9", razon_social="ESCUELA KEMPER URGATE",
                                regimen_fiscal="601", lugares=["42501"])  # fmt: skip
    facts = {
        "rfc": "EKU9003173C9",
        "razon_social": "ESCUELA KEMPER URGATE",
        "codigo_postal": "42501",
        "serie": "A",
    }
    path = f"/v1/connections/{name}"

    wrong = api("PUT", path, json={**facts, "api_key": "no-such-key-0000"})
    assert (wrong.status_code, wrong.json()["status"]) == (200, "broken")
    assert "ContaDigital" in wrong.json()["fix"]
    right = api("PUT", path, json={**facts, "api_key": opened["api_key"]})
    assert right.json()["status"] == "active"
    assert right.json()["message"] == "Tu conexión con ContaDigital funciona. Ya puedes facturar."
    assert opened["api_key"] not in right.text
    assert api.post(f"{path}/validate").json()["status"] == "active"
    assert api("DELETE", path).status_code == 204
    gone = api.get(path).json()
    assert (gone["status"], bool(gone["message"]), bool(gone["fix"])) == ("disconnected", True, True)
    problem(api("PUT", path, json={"api_key": "x"}), 400)
    problem(api("PUT", path, json=facts), 400)
    problem(api("PUT", path, json={**facts, "api_key": opened["api_key"], "empresa_id": False}), 400)
    problem(api("PUT", path, json={**facts, "api_key": " "}), 400)
    problem(api("PUT", path, json={**facts, "api_key": opened["api_key"], "move": "yes"}), 400)
    empty = dict.fromkeys(("base_url", "empresa_id", "ids"), "")
    assert (
        api("PUT", path, json={**facts, **empty, "api_key": opened["api_key"]}).json()["status"] == "active"
    )


def test_a_connection_leaves_open_invoices_behind_only_where_that_is_confirmed(api, harness):
    """409 says in the user's words what moving means, and changes nothing; `move: true` moves."""
    harness.stamped("M-1")
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
    harness.stamp(harness.submit("M-2"))
    elsewhere = f"{harness.sandbox.url}/at/another"
    facts = {
        "api_key": "another-key-000000",
        "rfc": "EKU9003173C9",
        "razon_social": "ESCUELA KEMPER URGATE",
        "codigo_postal": "42501",
        "base_url": elsewhere,
    }
    path = f"/v1/connections/{quote(harness.account)}"

    asked = problem(api("PUT", path, json=facts), 409)
    assert (asked["type"].rpartition(":")[2], asked["left_behind"]) == ("move_unconfirmed", {"in_doubt": 1})
    assert "ya no se podría consultar en ContaDigital" in asked["errors"][0]["message"]
    assert "confirma el cambio" in asked["errors"][0]["fix"]
    assert (harness.connection().base_url, harness.connection().status) == (harness.sandbox.url, "active")
    assert api("PUT", path, json={**facts, "move": True}).status_code == 200
    assert harness.connection().base_url == elsewhere


def test_the_document_says_what_a_resolution_may_hold(api, harness):
    """One of `xml` and `not_stamped`, as the API takes it: what the schema allows is not refused for its form."""
    document = api.get("/v1/openapi.json").json()
    operation = document["paths"]["/v1/invoices/{account}/{external_id}/resolve"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    harness.stamped("R-1")
    for body in (
        {"not_stamped": True},
        {"not_stamped": True, "xml": None},
        {"xml": "<a/>"},
        {"not_stamped": False, "xml": "<a/>"},
        {"not_stamped": True, "xml": "<a/>"},
        {"not_stamped": False},
        {},
    ):
        whole = {**body, "reason": "por probar"}
        taken = api.post(path_of(harness, "R-1", "resolve"), json=whole).status_code != 400
        assert Draft202012Validator(schema).is_valid(whole) is taken, body


# --- events ----------------------------------------------------------------------------------------------------------


def test_events_are_read_on_from_a_cursor_in_their_order(api, harness):
    """Each once; the cursor of an empty page is the one that was sent, and what is no event's id is no cursor."""
    problem(api.get("/v1/events", params={"after": "E-1"}), 400)
    assert api.get("/v1/events", params={"after": ""}).json()["items"] is not None
    harness.stamp(harness.submit("E-1"))
    mine = {"account": harness.account, "limit": 2}
    types, cursor = [], None
    while True:
        page = api.get("/v1/events", params={**mine, **({"after": cursor} if cursor else {})}).json()
        if not page["items"]:
            break
        types += [each["type"] for each in page["items"]]
        cursor = page["cursor"]

    assert types == harness.event_types()
    assert api.get("/v1/events", params={**mine, "after": cursor}).json() == {"items": [], "cursor": cursor}
    problem(api.get("/v1/events", params={"after": "01900000-0000-7000-8000-000000000000"}), 410)
    problem(api.get("/v1/events", params={"after": "nonsense"}), 400)


def test_an_open_line_says_first_where_it_begins(api, harness):
    """So that whoever loses it before an event goes on from there; before any event that is the beginning."""
    nothing = UUID(int=0)
    assert api.get("/v1/events", params={"after": str(nothing), "limit": 1}).json()["items"]
    harness.submit("SSE-1")
    newest = harness.one("SELECT id FROM events ORDER BY position DESC, id DESC LIMIT 1").id

    assert asyncio.run(first_of_a_line(api)) == f"id: {newest}\r\n\r\n"


async def first_of_a_line(api: AskedApi) -> str:
    """The first piece of an open line's body; the listener leaves then."""
    left, pieces = asyncio.Event(), []
    headers = [(b"authorization", f"Bearer {api.key}".encode()), (b"accept", b"text/event-stream")]
    scope = {
        "type": "http", "method": "GET", "path": "/v1/events", "raw_path": b"/v1/events", "query_string": b"",
        "headers": headers, "http_version": "1.1", "scheme": "https", "server": ("timbrado.example", 443),
        "client": ("127.0.0.1", 1), "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and message.get("body"):
            pieces.append(message["body"].decode())
            left.set()

    await asyncio.wait_for(api.app(scope, receive, send), 30)
    return str(pieces[0])


def test_an_event_that_commits_late_is_not_passed_over(api, harness):
    """While a transaction that wrote an event is open, nothing that may come after it is read."""
    api.get("/v1/events")
    insert = sa.text(
        "INSERT INTO events (id, subject_kind, subject_id, account, version, type, data, created_at) "
        "VALUES (gen_random_uuid(), 'connection', gen_random_uuid(), :account, 1, :type, '{}', now())"
    )
    with harness.tools.engine.connect() as slow, slow.begin() as commit:
        slow.execute(insert, {"account": harness.account, "type": "first"})
        with harness.tools.engine.begin() as quick:
            quick.execute(insert, {"account": harness.account, "type": "second"})
        while_open = api.get("/v1/events", params={"account": harness.account, "limit": 500}).json()["items"]
        commit.commit()
    after = api.get("/v1/events", params={"account": harness.account, "limit": 500}).json()["items"]

    assert not {"first", "second"} & {each["type"] for each in while_open}
    assert [each["type"] for each in after[-2:]] == ["first", "second"]


# --- catalogues, status, the document of all of it -------------------------------------------------------------------


def test_catalogues_are_searched_by_key_and_by_words(api):
    """Accents and letter case do not count; a catalogue that there is none of is 404."""
    by_key = api.get("/v1/catalogs/uso_cfdi", params={"q": "G0"}).json()["items"]
    assert {"G01", "G02", "G03"} == {each["key"] for each in by_key}
    by_words = api.get(
        "/v1/catalogs/clave_prod_serv", params={"q": "transporte maritimo", "limit": 5}
    ).json()["items"]
    assert by_words
    assert all("marítimo" in each["name"].lower() for each in by_words)
    for name in api.get("/v1/catalogs").json()["items"]:
        assert api.get(f"/v1/catalogs/{name}", params={"limit": 1}).json()["items"], name
    problem(api.get("/v1/catalogs/nonsense"), 404)


def test_the_status_says_what_waits_and_how_fast_contadigital_is(api, nobody, harness):
    """Of the key's accounts; latencies are of the last calls."""
    harness.stamp(harness.submit("T-1"))
    harness.submit("T-2")
    key = nobody.as_(f"status-{harness.account}", scopes=("read",), account_glob=harness.account)

    status = key.get("/v1/status").json()

    assert status["provider"]["answers"] is True
    assert status["provider"]["stamp"]["p95_ms"] >= status["provider"]["stamp"]["p50_ms"] >= 0
    assert status["open"] == {"accepted": 1}
    assert status["oldest_waiting_at"] is not None


def test_every_answer_carries_what_a_browser_needs(api):
    """No framing, no sniffing, no other origin; nothing of the API is cached."""
    answer = api.get("/v1/status")

    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert "strict-transport-security" in answer.headers
    assert (
        "access-control-allow-origin"
        not in api.get("/v1/status", headers={"Origin": "https://x.example"}).headers
    )


def test_a_database_that_is_away_is_reported_and_not_an_error_of_ours(nobody, harness):
    """503 with `Retry-After`, in the form of every other refusal."""
    gone = sa.create_engine(
        "postgresql+psycopg://nobody@127.0.0.1:9/none", connect_args={"connect_timeout": 1}
    )
    key = nobody.as_(f"gone-{harness.account}", scopes=("read",))
    away = replace(api_over(replace(harness.tools, engine=gone)), key=key.key)

    answer = away.get("/v1/status")

    problem(answer, 503)
    assert "retry-after" in answer.headers
    gone.dispose()


def test_an_event_is_sent_again_only_over_the_installations_channels(harness):
    """What the API's own process is set to does not matter."""
    with harness.tools.engine.begin() as db:
        channels.set_current(db, (Channel.WEBHOOK,), harness.tools.clock.now())
        assert channels.current(db) == (Channel.WEBHOOK,)
        channels.set_current(db, (), harness.tools.clock.now())


def test_a_large_document_is_streamed_with_constant_memory(api, harness, tmp_path):
    """40 MB are checked and sent a piece at a time; a damaged one is refused before its first byte."""
    harness = replace(harness, tools=replace(harness.tools, store=open_store(f"file://{tmp_path}")))
    api = replace(api_over(harness.tools), key=api.key)
    invoice_id = harness.submit("BIG-1")
    harness.stamp(invoice_id)
    row = harness.one("SELECT * FROM documents WHERE invoice_id = :id AND kind = 'pdf'", id=invoice_id)
    data = b"%PDF-1.7" + b"x" * 40_000_000
    stored = harness.tools.store.put(row.key.replace(".pdf", "b.pdf"), data)
    harness.all(
        "UPDATE documents SET key = :key, sha256 = :sha, bytes = :size WHERE id = :id RETURNING id",
        key=stored.key, sha=stored.sha256, size=stored.size, id=row.id,
    )  # fmt: skip
    del data

    tracemalloc.start()
    size = asyncio.run(size_of(api, path_of(harness, "BIG-1", "pdf")))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert size == 40_000_008
    assert most < 8_000_000
    harness.all("UPDATE documents SET sha256 = :sha WHERE id = :id RETURNING id", sha="0" * 64, id=row.id)
    problem(api.get(path_of(harness, "BIG-1", "pdf")), 503)


async def size_of(api: AskedApi, path: str) -> int:
    """The length of an answer's body, whose pieces are dropped as they come."""
    seen = 0
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(b"authorization", f"Bearer {api.key}".encode())], "http_version": "1.1", "scheme": "https",
        "server": ("timbrado.example", 443), "client": ("127.0.0.1", 1), "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip

    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()  # it stays until the answer has ended
        raise AssertionError

    async def send(message: Any) -> None:
        nonlocal seen
        seen += len(message.get("body", b""))

    await asyncio.wait_for(api.app(scope, receive, send), 60)
    return seen
