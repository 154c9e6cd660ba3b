"""The HTTP API from the application's side: what is asked, what is made of each answer, and what is downloaded."""

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from timbrado_client import InvoiceInvalid, RequestInvalid
from timbrado_client.errors import ApiUnavailable, KeyRefused, NotThere, UnexpectedAnswer
from timbrado_client.http import Api, StillOpen

JSON = dict[str, Any]
XML = b"<cfdi:Comprobante/>"
STATE: JSON = {
    "account": "acme",
    "external_id": "OP-10234-1",
    "invoice_id": "01970000-0000-7000-8000-000000000001",
    "version": 4,
    "status": "stamped",
    "message": "Factura timbrada.",
    "errors": [],
    "warnings": [],
    "uuid": "6A5F0000-0000-4000-8000-000000000001",
    "documents": [
        {"kind": "xml", "key": "acme/6a5f.xml", "sha256": hashlib.sha256(XML).hexdigest(), "bytes": 19}
    ],
}
FAULT = {"code": "CFDI40147", "field": "receptor.rfc", "message": "m", "fix": "f", "source": "timbrado"}


class Asked(list[httpx.Request]):
    """The requests that came, and an API whose answers are given by hand."""

    def __init__(self, *answers: httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]):
        self.answers = list(answers)
        self.api = Api("https://timbrado.example/", "k-secret", transport=httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)


def state(**changes: Any) -> httpx.Response:
    return httpx.Response(200, json={**STATE, **changes})


def problem(status: int, headers: dict[str, str] | None = None, **members: Any) -> httpx.Response:
    body = {"type": "about:blank", "title": "no", "status": status, **members}
    return httpx.Response(
        status, json=body, headers={**(headers or {}), "Content-Type": "application/problem+json"}
    )


# --- what is asked ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "method", "path", "body"),
    [
        (lambda api: api.read("acme", "OP-1"), "GET", "/v1/invoices/acme/OP-1", None),
        (lambda api: api.read("a/b", "OP 1"), "GET", "/v1/invoices/a%2Fb/OP%201", None),
        (lambda api: api.read("acme", "OP-1", story=True), "GET", "/v1/invoices/acme/OP-1?story=1", None),
        (lambda api: api.retry("acme", "OP-1"), "POST", "/v1/invoices/acme/OP-1/retry", {}),
        (lambda api: api.withdraw("acme", "OP-1"), "POST", "/v1/invoices/acme/OP-1/withdraw", {}),
        (
            lambda api: api.cancel("acme", "OP-1", "02"),
            "POST",
            "/v1/invoices/acme/OP-1/cancel",
            {"motivo": "02"},
        ),
        (
            lambda api: api.accept("acme", "OP-1", "Revisada con el cliente"),
            "POST",
            "/v1/invoices/acme/OP-1/accept",
            {"reason": "Revisada con el cliente"},
        ),
    ],
)
def test_each_act_is_one_request_of_the_contract(
    ask: Callable[[Api], Any], method: str, path: str, body: JSON | None
) -> None:
    """Method, path with its ids encoded, body without what the path says, and the key in its header."""
    asked = Asked(state())

    found = ask(asked.api)

    (request,) = asked
    assert (request.method, request.url.raw_path.decode()) == (method, path)
    assert (json.loads(request.content) if request.content else None) == body
    assert request.headers["authorization"] == "Bearer k-secret"
    assert found.status == "stamped"


def test_submit_sends_the_invoice_as_it_is(invoice: JSON) -> None:
    """Checked first, as over the broker; the answer is the invoice's state."""
    asked = Asked(httpx.Response(202, json={**STATE, "status": "accepted", "next": {"who": "timbrado"}}))

    found = asked.api.submit(invoice)

    (request,) = asked
    assert (request.method, request.url.path) == ("POST", "/v1/invoices")
    assert json.loads(request.content) == invoice
    assert (found.status, found.next) == ("accepted", {"who": "timbrado"})


def test_replace_sends_the_new_invoice(invoice: JSON) -> None:
    """To the old one's address."""
    asked = Asked(state())
    new = {**invoice, "external_id": "OP-10234-2"}

    asked.api.replace("acme", "OP-10234-1", new)

    (request,) = asked
    assert request.url.path == "/v1/invoices/acme/OP-10234-1/replace"
    assert json.loads(request.content) == {"invoice": new}


def test_a_connection_is_put_with_its_key_and_ids() -> None:
    """The key is in the body alone, and what is None is left out."""
    asked = Asked(httpx.Response(200, json={"account": "acme", "status": "pending"}))

    found = asked.api.connect(
        "acme", "k-user", "EKU9003173C9", "ESCUELA", "42501", ids={"rfc": 7}, serie=None, move=True
    )

    (request,) = asked
    assert (request.method, request.url.path) == ("PUT", "/v1/connections/acme")
    assert json.loads(request.content) == {
        "rfc": "EKU9003173C9",
        "razon_social": "ESCUELA",
        "codigo_postal": "42501",
        "ids": {"rfc": 7},
        "api_key": "k-user",
        "move": True,
    }
    assert found["status"] == "pending"


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        (lambda api: api.read("", "OP-1"), "account"),
        (lambda api: api.read("acme", " "), "external_id"),
        (lambda api: api.cancel("acme", "OP-1", "7"), "motivo"),
    ],
)
def test_what_is_wrong_is_never_sent(ask: Callable[[Api], Any], field: str) -> None:
    """An empty id would be another address."""
    asked = Asked(state())

    with pytest.raises(RequestInvalid) as refused:
        ask(asked.api)

    assert [fault.field for fault in refused.value.faults] == [field]
    assert asked == []


# --- what is made of an answer ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error", "facts"),
    [
        (problem(401), KeyRefused, {"status": 401}),
        (problem(403), KeyRefused, {"status": 403}),
        (problem(404), NotThere, {"retry_after": None}),
        (problem(404, {"Retry-After": "30"}), NotThere, {"retry_after": 30.0}),
        (problem(409, errors=[FAULT]), RequestInvalid, {}),
        (problem(422, errors=[FAULT], warnings=[FAULT]), InvoiceInvalid, {}),
        (problem(422), UnexpectedAnswer, {"status": 422}),
        (problem(429, {"Retry-After": "2"}), ApiUnavailable, {"retry_after": 2.0}),
        (problem(503, {"Retry-After": "99999999999"}), ApiUnavailable, {"retry_after": 3600.0}),
        (problem(500, {"Retry-After": "soon"}), ApiUnavailable, {"retry_after": None}),
        (httpx.Response(502, text="<html>"), ApiUnavailable, {"retry_after": None}),
        (httpx.Response(200, text="hello"), UnexpectedAnswer, {"status": 200}),
        (httpx.Response(200, json=[1]), UnexpectedAnswer, {"status": 200}),
        (httpx.ConnectError("no"), ApiUnavailable, {"retry_after": None}),
        (httpx.ReadTimeout("no"), ApiUnavailable, {"retry_after": None}),
    ],
)
def test_each_refusal_is_an_error_cut_by_what_comes_next(
    answer: httpx.Response | Exception, error: type[Exception], facts: JSON
) -> None:
    """Send again, see to the key, look later, correct, or log; and the key is in none of the texts."""
    with pytest.raises(error) as refused:
        Asked(answer).api.read("acme", "OP-1")

    assert type(refused.value) is error
    assert {name: getattr(refused.value, name) for name in facts} == facts
    assert "k-secret" not in str(refused.value)


def test_a_refused_invoice_brings_its_faults_with_label_and_owner(invoice: JSON) -> None:
    """Those of the rules that only the worker has, in the form of an event's."""
    with pytest.raises(InvoiceInvalid) as refused:
        Asked(problem(422, errors=[FAULT])).api.submit(invoice)

    (fault,) = refused.value.faults
    assert (fault.code, fault.label, fault.whose) == ("CFDI40147", "RFC del cliente", "user")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"errors": [FAULT], "warnings": [FAULT], "totals": {"total": "1.16"}}),
        problem(422, errors=[FAULT], warnings=[FAULT]),
    ],
)
def test_check_returns_faults_and_warnings_however_they_come(answer: httpx.Response, invoice: JSON) -> None:
    """A dry run is no error; also an invoice whose shape is wrong is asked about, for all the rest."""
    asked = Asked(answer)
    del invoice["receptor"]["rfc"]

    found = asked.api.check(invoice)

    assert asked[0].url.path == "/v1/invoices/check"
    assert not found.good
    assert [fault.code for fault in (*found.errors, *found.warnings)] == ["CFDI40147", "CFDI40147"]


def test_a_list_is_read_page_by_page() -> None:
    """The next page is asked for when it is needed, with its cursor and the same filter."""
    first = httpx.Response(200, json={"items": [STATE, STATE], "cursor": "c-2"})
    asked = Asked(first, httpx.Response(200, json={"items": [STATE], "cursor": None}))

    rows = asked.api.invoices(account="acme", status="stamped")

    assert len(list(islice(rows, 2))) == 2
    assert len(asked) == 1
    assert len(list(rows)) == 1
    assert [dict(each.url.params) for each in asked] == [
        {"account": "acme", "status": "stamped"},
        {"account": "acme", "status": "stamped", "cursor": "c-2"},
    ]


# --- waiting ------------------------------------------------------------------------------------------


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


def test_wait_returns_the_state_once_it_is_settled() -> None:
    """It looks less and less often, and goes on over an API that is away for a moment."""
    time = Time()
    asked = Asked(
        problem(404),
        httpx.ConnectError("restarting"),
        problem(503, {"Retry-After": "9"}),
        state(status="stamping"),
        state(status="in_doubt"),
        state(),
    )

    found = asked.api.wait("acme", "OP-1", sleep=time.sleep, clock=time.clock)

    assert found.status == "stamped"
    assert time.slept == [0.5, 1.0, 9.0, 5.0, 5.0]


def test_wait_ends_with_where_the_invoice_stands() -> None:
    """StillOpen, not an invoice that looks finished; nothing is lost."""
    time = Time()

    with pytest.raises(StillOpen) as ended:
        Asked(state(status="waiting")).api.wait(
            "acme", "OP-1", timeout=timedelta(seconds=10), sleep=time.sleep, clock=time.clock
        )

    assert ended.value.state is not None
    assert ended.value.state.status == "waiting"
    assert time.now <= 10


@pytest.mark.parametrize("answer", [problem(404), httpx.ConnectError("away")])
def test_wait_raises_what_hid_the_invoice_all_along(answer: Any) -> None:
    """An invoice that was never seen is not reported as open."""
    time = Time()

    with pytest.raises((NotThere, ApiUnavailable)):
        Asked(answer).api.wait(
            "acme", "OP-1", timeout=timedelta(seconds=3), sleep=time.sleep, clock=time.clock
        )


@pytest.mark.parametrize("status", ["rejected", "on_hold", "failed", "cancelled", "withdrawn", "differs"])
def test_wait_ends_where_a_person_must_read(status: str) -> None:
    """Also on hold: the connection does not correct itself."""
    assert Asked(state(status=status)).api.wait("acme", "OP-1").status == status


# --- documents ----------------------------------------------------------------------------------------


def served(body: bytes, name: str = 'attachment; filename="A-1045_6A5F.xml"') -> httpx.Response:
    tag = f'"{hashlib.sha256(XML).hexdigest()}"'
    return httpx.Response(200, content=body, headers={"ETag": tag, "Content-Disposition": name})


def test_a_document_is_its_bytes() -> None:
    """Checked against the hash in its ETag."""
    asked = Asked(served(XML))

    assert asked.api.document("acme", "OP-1", "xml") == XML
    assert asked[0].url.path == "/v1/invoices/acme/OP-1/xml"


def test_a_broken_document_is_not_taken() -> None:
    """A proxy that cuts or changes it is found out by the hash."""
    with pytest.raises(ApiUnavailable, match="SHA-256"):
        Asked(served(XML[:-1])).api.document("acme", "OP-1", "xml")


def test_a_late_document_says_when_to_look_again() -> None:
    """404 with Retry-After: the PDF comes later than the XML."""
    with pytest.raises(NotThere) as late:
        Asked(problem(404, {"Retry-After": "60"}, detail="late", message="Todavía no.")).api.document(
            "acme", "1", "pdf"
        )

    assert (late.value.retry_after, late.value.text, str(late.value)) == (60, "Todavía no.", "late")


def test_documents_go_into_a_folder_that_is_made(tmp_path: Path) -> None:
    """As the example has it, which names a folder that nobody made; a text will do."""
    (saved,) = Asked(state(), served(XML)).api.documents("acme", "OP-1", f"{tmp_path}/2026/facturas")
    assert saved == tmp_path / "2026" / "facturas" / "A-1045_6A5F.xml"


def test_documents_are_saved_under_the_worker_s_names(tmp_path: Path) -> None:
    """Serie, folio and UUID; nothing else is left in the folder."""
    saved = Asked(state(), served(XML)).api.documents("acme", "OP-1", tmp_path)

    assert saved == [tmp_path / "A-1045_6A5F.xml"]
    assert saved[0].read_bytes() == XML
    assert list(tmp_path.iterdir()) == saved


def test_a_broken_download_leaves_nothing(tmp_path: Path) -> None:
    """Neither a part nor a whole file: what is in the folder is good."""
    with pytest.raises(ApiUnavailable):
        Asked(state(), served(XML[:-1])).api.documents("acme", "OP-1", tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "..\\..\\x.xml", "/root/x.xml", "..", ""])
def test_a_name_never_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    """Whatever Content-Disposition says."""
    folder = tmp_path / "inner"
    folder.mkdir()

    (saved,) = Asked(state(), served(XML, f'attachment; filename="{name}"')).api.documents("a", "b", folder)

    assert saved.parent == folder
    assert list(tmp_path.iterdir()) == [folder]


def test_links_are_for_a_browser() -> None:
    """By kind; made with the key, used without it."""
    asked = Asked(httpx.Response(200, json={"links": {"xml": "https://timbrado.example/l/1"}}))

    assert asked.api.links("acme", "OP-1") == {"xml": "https://timbrado.example/l/1"}
    assert (asked[0].method, asked[0].url.path) == ("POST", "/v1/invoices/acme/OP-1/links")


# --- events -------------------------------------------------------------------------------------------

EVENT = {"type": "invoice.stamped", "timestamp": "2026-11-23T16:15:03Z", "data": STATE}


def test_events_follow_a_cursor() -> None:
    """Typed as those of a webhook; the cursor stays where nothing is new."""
    asked = Asked(
        httpx.Response(200, json={"items": [EVENT], "cursor": "c-1"}),
        httpx.Response(200, json={"items": [], "cursor": None}),
    )

    first = asked.api.events(account="acme")
    second = asked.api.events(after=first.cursor, account="acme")

    assert [event.type for event in first.events] == ["invoice.stamped"]
    assert (first.cursor, second.cursor, second.events) == ("c-1", "c-1", ())
    assert dict(asked[1].url.params) == {"after": "c-1", "account": "acme"}


def sse(*cursors: str) -> httpx.Response:
    lines = [f"id: {cursor}\nevent: invoice.stamped\ndata: {json.dumps(EVENT)}\n\n" for cursor in cursors]
    return httpx.Response(
        200, text=": hello\n\n" + "".join(lines), headers={"Content-Type": "text/event-stream"}
    )


def test_a_line_that_drops_before_its_first_event_goes_on_from_its_beginning() -> None:
    """The first id comes without data: what happened between two lines is not missed."""
    begun = httpx.Response(200, text="id: c-7\n\n", headers={"Content-Type": "text/event-stream"})
    asked = Asked(begun, sse("c-8"))

    [(cursor, _)] = islice(asked.api.follow(sleep=lambda _: None), 1)

    assert cursor == "c-8"
    assert [each.headers.get("last-event-id") for each in asked] == [None, "c-7"]


def test_following_goes_on_where_a_dropped_line_ended() -> None:
    """Each event once: the line is opened again with Last-Event-ID, also after a restart of the server."""
    slept: list[float] = []
    asked = Asked(sse("c-1", "c-2"), problem(503, {"Retry-After": "7"}), sse("c-3"))

    found = list(islice(asked.api.follow(after="c-0", sleep=slept.append), 3))

    assert [cursor for cursor, _ in found] == ["c-1", "c-2", "c-3"]
    assert {event.type for _, event in found} == {"invoice.stamped"}
    assert [each.headers.get("last-event-id") for each in asked] == ["c-0", "c-2", "c-2"]
    assert slept == [0.5, 7.0]


# --- over a real socket -------------------------------------------------------------------------------


@pytest.fixture
def cut_short() -> Iterator[str]:
    """A server that promises 1,000 bytes, sends ten, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with closing(connection):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(10)


def test_a_download_that_is_cut_short_is_no_document(cut_short: str) -> None:
    """ApiUnavailable, as any other answer that did not arrive whole."""
    with Api(cut_short, "k") as api, pytest.raises(ApiUnavailable):
        api.document("acme", "OP-1", "xml")
