"""From a setting to a store: wrong settings are named in one line, S3's errors are cut by what to do next."""

import http.server
import threading

import pytest

from storage import Missing, NotWriteOnce, StorageUnavailable, open_store
from storage.errors import one_line

KEY = "acme/2026/11/a.xml"
KEYS = {"access_key_id": "timbrado", "secret_access_key": "very-secret", "region": "us-east-1"}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "names no store"),
        ("/srv/cfdi", "names no store"),
        ("ftp://host/x", "names no store"),
        ("file://srv/cfdi", "three slashes"),
        ("file:cfdi", "three slashes"),
        ("s3:///prefix", "needs a bucket"),
        ("s3://key:secret@bucket/x", "no credentials"),
        ("s3://bucket/x?region=mx", "ends with its path"),
    ],
)
def test_a_url_that_names_no_store_stops_the_start(url, says):
    """Each mistake has its own words."""
    with pytest.raises(ValueError, match=says):
        open_store(url)


def test_a_misspelled_option_is_named():
    """An option of S3 that does not exist is a ValueError."""
    with pytest.raises(ValueError, match="unknown storage option: endpiont"):
        open_store("s3://facturas", {**KEYS, "endpiont": "http://localhost:1"})


@pytest.mark.parametrize("endpoint", ["http://10.0.0.9:9000", "http://minio:9000"])
def test_documents_do_not_travel_in_clear_unless_set(endpoint):
    """Documents do not travel in clear unless asked."""
    with pytest.raises(ValueError, match="not encrypted"):
        open_store("s3://facturas", {**KEYS, "endpoint": endpoint})


def test_a_directory_is_made_with_its_parents(tmp_path):
    """Blanks in the URL are decoded."""
    open_store(f"file://{tmp_path}/a/b%20c/documents").put(KEY, b"x")

    assert (tmp_path / "a/b c/documents" / KEY).read_bytes() == b"x"


def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path):
    """The system's reason is in the error."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(StorageUnavailable, match="Not a directory"):
        open_store(f"file://{tmp_path}/file/documents")


class OneAnswer(http.server.BaseHTTPRequestHandler):
    """An S3 server with one answer for everything."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = answer  # noqa: N815  # names given by http.server

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def s3_that_answers():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OneAnswer)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def answering(status: int, body: bytes = b""):
        server.answer = status, body
        return open_store(
            "s3://facturas/cfdi", {**KEYS, "endpoint": f"http://127.0.0.1:{server.server_port}"}
        )

    yield answering
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("status", [403, 500, 503])
def test_what_s3_refuses_is_tried_again_later(s3_that_answers, status):
    """A 403 too: rights are changed by people, and the invoice waits with its bytes unspoken."""
    with pytest.raises(StorageUnavailable) as refused:
        s3_that_answers(status, b"<Error><Code>X</Code></Error>").put(KEY, b"x")

    assert str(status) in str(refused.value)
    assert "s3://facturas/cfdi" in str(refused.value)


def test_nothing_under_a_key_is_missing_in_s3_too(s3_that_answers):
    """S3's NoSuchKey is Missing."""
    store = s3_that_answers(404, b"<Error><Code>NoSuchKey</Code></Error>")

    with pytest.raises(Missing):
        store.get(KEY)
    assert not store.exists(KEY)


def test_a_server_that_contradicts_itself_is_not_believed(s3_that_answers):
    """412 on PUT and then 404 on GET: neither stored nor taken."""
    store = s3_that_answers(412)

    with pytest.raises(StorageUnavailable):
        store.put(KEY, b"x")


def test_a_server_that_ignores_the_condition_is_found_by_the_probe():
    """Some S3 look-alikes overwrite whatever `If-None-Match: *` says: two workers could lose a document."""

    class Careless(OneAnswer):
        stored: dict[str, bytes] = {}  # noqa: RUF012  # one server, one test

        def do_PUT(self) -> None:
            self.stored[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.reply(b"")

        def do_GET(self) -> None:
            self.reply(self.stored[self.path])

        def do_DELETE(self) -> None:
            self.reply(b"")

        def reply(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Mon, 23 Nov 2026 10:00:00 GMT")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Careless)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    store = open_store("s3://facturas", {**KEYS, "endpoint": f"http://127.0.0.1:{server.server_port}"})

    try:
        with pytest.raises(NotWriteOnce, match="use another server"):
            store.probe()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_variables_that_are_empty_are_not_set(monkeypatch):
    """As docker-compose.yml hands them over: the instance's role is asked, and Amazon's own address meant."""
    asked: list[str] = []

    class Instance(OneAnswer):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.answer()

        do_PUT = do_GET  # noqa: N815  # named by http.server

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Instance)
    server.answer = 403, b""  # type: ignore[attr-defined]
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{server.server_port}")

    try:
        with pytest.raises(StorageUnavailable):
            open_store("s3://facturas").get(KEY)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert "/latest/api/token" in asked


def test_the_secret_of_s3_comes_as_a_file(monkeypatch, tmp_path):
    """An empty file is none, as `timbrado secrets` makes it; one that is not there stops the start."""
    file = tmp_path / "secret"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY_FILE", str(file))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "timbrado")
    with pytest.raises(ValueError, match="AWS_SECRET_ACCESS_KEY_FILE names a file that cannot be read"):
        open_store("s3://facturas")
    file.write_text("\n")
    with pytest.raises(ValueError, match="Missing SecretAccessKey"):
        open_store("s3://facturas")
    file.write_text("from-a-file\n")
    assert open_store("s3://facturas")._objects.config["secret_access_key"] == "from-a-file"


def test_messages_hold_no_credential():
    """What S3 servers echo of a badly signed request is cut, and a message is one short line."""
    text = one_line(
        "403 <Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIA123</AWSAccessKeyId>"
        "<StringToSign>AWS4-HMAC\nabc</StringToSign><CanonicalRequest>GET\n/x" + "y" * 900
    )

    assert text == "403 <Error><Code>SignatureDoesNotMatch</Code>"
    assert one_line("x" * 1000).endswith("…")
    assert len(one_line("x" * 1000)) == 300
    assert one_line(ValueError()) == "ValueError"
