"""What the guides of the client say is what the code does; the longer examples run in tests/system."""

import asyncio
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import timbrado_client
from timbrado_client import BrokerUnavailable, InvoiceInvalid, inbox

from events.schedule import SCHEDULE
from events.types import ConnectionData, EventType, InvoiceData
from models.vocabulary import BrokenReason, ConnectionStatus, InvoiceStatus
from tests.support.builders import an_invoice
from tests.support.doc_examples import examples, page

GUIDES = ("connect-apunto.md", "connect-rails.md", "events.md", "inbox.md")


def test_every_piece_of_code_has_a_name_by_which_a_test_finds_it() -> None:
    """No fenced block goes unread."""
    for name in GUIDES:
        assert len(examples(name)) == page(name).count("```") / 2


@pytest.mark.parametrize("name", GUIDES)
def test_python_in_the_guides_compiles(name: str) -> None:
    """With `await` where the reader's function would have it."""
    for title, text in examples(name).items():
        if "import" in text and "require(" not in text:
            compile(f"async def reader():\n{_indented(text)}", f"{name}:{title}", "exec")


def _indented(text: str) -> str:
    return "".join(f"    {line}" for line in text.splitlines(keepends=True))


def test_links_between_the_guides_lead_somewhere() -> None:
    """Every page named in brackets is in docs/."""
    for name in GUIDES:
        for target in re.findall(r"\]\(([\w.-]+)\)", page(name)):
            assert page(target)


def test_the_invoice_of_the_guide_is_a_good_one() -> None:
    """As it stands it passes the check."""
    invoice = json.loads(examples("connect-apunto.md")["invoice"])

    assert timbrado_client.check(invoice) == invoice


class Sender:
    """Stands where the reader's Timbrado stands."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def submit(self, invoice: Any) -> None:
        raise self.error


def test_the_errors_of_the_guide_are_distinguished(capsys: pytest.CaptureFixture[str]) -> None:
    """A misshapen invoice is shown with its faults; an unanswered broker puts it by."""
    code = compile(examples("connect-apunto.md")["errors"], "errors", "exec")
    invoice, by = an_invoice(), []
    with pytest.raises(InvoiceInvalid) as invalid:
        timbrado_client.check({**invoice, "total": None})

    for error in (invalid.value, BrokerUnavailable("stamping.submit_invoice", "acme", "OP-1", 4)):
        exec(code, {"timbrado": Sender(error), "invoice": invoice, "to_send_again": by})

    assert capsys.readouterr().out.startswith("Total: Apunto envió la factura sin un dato: Total.")
    assert by == [invoice]


XML = b"<cfdi:Comprobante/>"


class Answers(BaseHTTPRequestHandler):
    """The few answers of the HTTP API that the guide's example needs."""

    def do_GET(self) -> None:
        if self.path.endswith("/xml"):
            self._answer(XML)
        else:
            self._answer(json.dumps(self._state("stamped")).encode())

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, sent))  # type: ignore[attr-defined]  # the test's own list
        body = {"errors": [], "warnings": []} if self.path.endswith("/check") else self._state("accepted")
        self._answer(json.dumps(body).encode())

    def _state(self, status: str) -> dict[str, Any]:
        document = {
            "kind": "xml",
            "key": "a.xml",
            "sha256": hashlib.sha256(XML).hexdigest(),
            "bytes": len(XML),
        }
        return {"account": "acme", "external_id": "OP-1", "status": status, "documents": [document]}

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


def test_the_http_example_of_the_guide_checks_sends_waits_and_downloads(tmp_path: Path) -> None:
    """As it is printed, over a real socket."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.asked = []  # type: ignore[attr-defined]  # what came
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        names: dict[str, Any] = {"key": "k", "invoice": an_invoice(), "folder": tmp_path}
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            exec(compile(examples("connect-apunto.md")["http"], "http", "exec"), {**names, "url": url})
        finally:
            server.shutdown()
            thread.join()

    assert [(path, sent["external_id"]) for path, sent in server.asked] == [  # type: ignore[attr-defined]  # what came
        ("/v1/invoices/check", an_invoice()["external_id"]),
        ("/v1/invoices", an_invoice()["external_id"]),
    ]
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [XML]


def test_the_table_of_the_guide_is_the_client_s() -> None:
    """The SQL that other languages run is what Python has as `inbox.DDL`."""
    assert examples("inbox.md")["ddl"] == inbox.DDL


def test_the_row_of_an_asynchronous_driver() -> None:
    """`execute` gets the statement and its values."""
    got: list[Any] = []

    class Connection:
        async def execute(self, sql: str, values: Any) -> None:
            got.append((sql, values))

    scope: dict[str, Any] = {}
    exec(f"async def reader(connection, invoice):\n{_indented(examples('inbox.md')['async'])}", scope)
    asyncio.run(scope["reader"](Connection(), an_invoice()))

    ((sql, values),) = got
    assert sql == inbox.INSERT
    assert json.loads(values[2]) == an_invoice()


def test_the_receiver_is_short() -> None:
    """Twenty lines, as the page says."""
    lines = [line for line in examples("events.md")["receiver"].splitlines() if line.strip()]

    assert len(lines) <= 20


def emitted() -> Iterator[str]:
    yield from EventType
    yield from InvoiceStatus
    yield from ConnectionStatus
    yield from BrokenReason
    yield from (name for each in (InvoiceData, ConnectionData) for name in each.__dataclass_fields__)


@pytest.mark.parametrize("word", sorted(set(map(str, emitted()))))
def test_the_page_on_events_names_every_word_that_goes_out(word: str) -> None:
    """Types, statuses, reasons and fields."""
    assert f"`{word}`" in page("events.md")


def test_the_page_prints_the_schedule_that_is_kept() -> None:
    """At once, 5 s, 5 min, 30 min, 2 h ..."""

    def spoken(seconds: float) -> str:
        for size, unit in ((3600, "h"), (60, "min"), (1, "s")):
            if seconds >= size:
                return f"{seconds / size:g} {unit}"
        return "at once"

    words = ", ".join(spoken(wait.total_seconds()) for wait in SCHEDULE)

    assert words in " ".join(page("events.md").split())
