"""Faults on a real wire: cut, drip, never answered; each on its side, and each within its time."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from contadigital.auth import MemoryTokens
from contadigital.client import ContaDigital
from contadigital.errors import AnswerLost, ContaDigitalError, NotSent
from contadigital.records import Credentials
from net.addresses import address_fault, base_address_fault
from net.sockets import until
from net.transport import first_bytes, open_http

LIMIT = 0.3


def read_request(peer: socket.socket) -> bytes:
    """One whole request, headers and body."""
    peer.settimeout(3)
    data = b""
    while b"\r\n\r\n" not in data:
        piece = peer.recv(65536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        ),
        0,
    )
    while len(body) < length:
        body += peer.recv(65536)
    return head + b"\r\n\r\n" + body


STAMPED = b'{"Codigo": 1, "Resultado": {"Id": 7, "UUID": "5F0F1F5A-7C4E-4B0C-9C5B-2E0C1C1F3A11"}}'
"""What a server that was only slow would say in the end: whoever waits for it gets no error."""

TOKEN = b'{"Codigo": 1, "Resultado": {"Token": "t", "IdEmpresa": 1}}'


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )


@contextmanager
def a_server(misbehave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that exchanges keys well and then does what the test says."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)
    peers: list[socket.socket] = []

    def serve_one(peer: socket.socket) -> None:
        try:
            while True:
                request = read_request(peer)
                if not request:
                    return
                if b"/api/conectar.json" in request:
                    peer.sendall(answer(TOKEN))
                else:
                    misbehave(peer)
                    return
        except OSError:
            return
        finally:
            peer.close()

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            peers.append(peer)
            threading.Thread(target=serve_one, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for peer in peers:
            peer.close()
        thread.join(3)


def fail(base_url: str, *, read: float = 60.0, limit: float = LIMIT) -> ContaDigitalError:
    """Stamp against a server that misbehaves: what was raised."""
    with open_http(read=timedelta(seconds=read), connect=timedelta(seconds=1)) as http:
        client = ContaDigital(
            http,
            MemoryTokens(clock=lambda: datetime.now(UTC)),
            call_timeout=timedelta(seconds=limit),
            max_body=1_000_000,
            clock=lambda: datetime.now(UTC),
            allowed_hosts=frozenset({"127.0.0.1"}),
        )
        credentials = Credentials("acme", base_url, 1, lambda: "key")
        with pytest.raises(ContaDigitalError) as failed:
            client.stamp(credentials, {"Comentarios": "x" * 100}, 7)
    return failed.value


def drip(peer: socket.socket, data: bytes, *, at_once: int = 0) -> None:
    peer.sendall(data[:at_once])
    for place in range(at_once, len(data)):
        peer.sendall(data[place : place + 1])
        time.sleep(0.05)


FAULTS: dict[str, Callable[[socket.socket], None]] = {
    "closes without a word": lambda peer: None,
    "closes within the headers": lambda peer: peer.sendall(b"HTTP/1.1 200 OK\r\nContent-"),
    "closes within the body": lambda peer: peer.sendall(answer(b'{"Codigo": 1}' + b" " * 50)[:-20]),
    "closes within a body of unknown length": lambda peer: peer.sendall(
        b'HTTP/1.1 200 OK\r\n\r\n{"Codigo": 1, "Res'
    ),
    "is no http": lambda peer: peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "answers too late": lambda peer: (time.sleep(10.0), peer.sendall(answer(STAMPED))),
    "drips the headers": lambda peer: drip(peer, answer(STAMPED).replace(b"OK", b"OK" + b"." * 200)),
    "drips the body": lambda peer: drip(peer, answer(b" " * 200 + STAMPED), at_once=80),
    "goes on for ever": lambda peer: endless(peer),
    "redirects": lambda peer: peer.sendall(
        b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    ),
    "answers a reset": lambda peer: reset(peer),
    "lies about gzip": lambda peer: peer.sendall(
        answer(b"x" * 20).replace(b"Content-Type", b"Content-Encoding: gzip\r\nContent-Type")
    ),
}


def endless(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        peer.sendall(b"x" * 65536)


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


@pytest.mark.parametrize("fault", FAULTS)
def test_what_happens_after_the_request_left_may_be_a_stamp(fault: str):
    """Cut, garbled, too big or too late: each fault of a real socket is AnswerLost."""
    with a_server(FAULTS[fault]) as base_url:
        error = fail(base_url)

    assert type(error) is AnswerLost
    assert error.call == "timbrar"


def test_an_answer_that_is_whole_is_no_fault():
    """What the slow servers say in the end is a stamp: the tests above fail where nothing ends the call before."""
    with a_server(lambda peer: peer.sendall(answer(STAMPED))) as base_url:
        with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
            fail(base_url, limit=60)


def test_the_read_timeout_holds_below_the_limit_of_the_call():
    """The call ends by its read timeout: the server would have answered well before the limit of the whole call."""
    with a_server(FAULTS["answers too late"]) as base_url:
        error = fail(base_url, read=0.1, limit=60)

    assert type(error) is AnswerLost


def test_a_port_where_nobody_listens_is_not_sent():
    """A refused connection is NotSent, in the call that met it."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    error = fail(f"http://127.0.0.1:{port}")

    assert type(error) is NotSent
    assert error.call == "conectar"


@pytest.mark.timeout(60)  # the kernel alone would try for two minutes
def test_a_connection_that_is_never_accepted_ends_as_not_sent():
    """Where no connection comes about, the call ends by itself and nothing of it left."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        error = fail(f"http://127.0.0.1:{full.getsockname()[1]}")
        for each in waiting:
            each.close()

    assert isinstance(error, NotSent)


def test_a_reader_that_does_not_read_is_noticed():
    """A body that never leaves: part of it may have arrived, so it is lost and not NotSent."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        there = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        request = httpx.Request("POST", there, content=b"x" * 20_000_000)
        with open_http(write=timedelta(seconds=30)) as http, pytest.raises(httpx.WriteTimeout):
            with until(time.monotonic() + 0.6):
                http.handle_request(request)


def test_no_connection_is_free_is_not_sent():
    """Of two calls on one connection the waiting one never left."""
    with a_server(FAULTS["answers too late"]) as base_url:
        with open_http(connections=1, pool=timedelta(milliseconds=100)) as http:
            client = ContaDigital(
                http,
                MemoryTokens(clock=lambda: datetime.now(UTC)),
                call_timeout=timedelta(seconds=LIMIT),
                max_body=1000,
                clock=lambda: datetime.now(UTC),
                allowed_hosts=frozenset({"127.0.0.1"}),
            )
            credentials = Credentials("acme", base_url, 1, lambda: "key")
            client.authenticate(credentials)
            errors: list[ContaDigitalError] = []

            def stamp() -> None:
                try:
                    client.stamp(credentials, {}, 7)
                except ContaDigitalError as error:
                    errors.append(error)

            threads = [threading.Thread(target=stamp) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(5)

    assert sorted(type(error).__name__ for error in errors) == ["AnswerLost", "NotSent"]


def test_the_client_goes_its_own_way(monkeypatch: pytest.MonkeyPatch):
    """Neither a proxy of the environment nor a redirect takes a key elsewhere."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with a_server(FAULTS["redirects"]) as base_url, open_http() as http:
        with closing(http.handle_request(httpx.Request("GET", f"{base_url}/x"))) as response:
            pass

    assert response.status_code == 307


# --- connections -------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[int]]]:
    """A server that gives each connection these answers, one a request, and then closes it; and how many it had."""
    had: list[int] = []

    def serve(peer: socket.socket) -> None:
        with peer:
            for place, each in enumerate(answers):
                if place and not read_request(peer):
                    return
                peer.sendall(each)

    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            had.append(1)
            with suppress(OSError):
                read_request(peer)
                serve(peer)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", had
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(3)


def get(http: httpx.BaseTransport, url: str) -> bytes:
    """Ask once, and read the whole body."""
    with closing(http.handle_request(httpx.Request("GET", url))) as response:
        return first_bytes(response, 1_000_000)


def test_a_connection_whose_answer_was_read_is_used_again():
    """A second call goes over the connection of the first."""
    with answering(OK, OK) as (url, had), open_http() as http:
        assert [get(http, url), get(http, url)] == [b"ok", b"ok"]

    assert len(had) == 1


def test_a_connection_that_was_closed_while_it_rested_costs_no_call():
    """A call goes over a new connection where the other side has closed the last one meanwhile."""
    with answering(OK) as (url, had), open_http() as http:
        get(http, url)
        ((rests,),) = http._resting.values()
        _until(rests.stream.is_closed_there)

        assert get(http, url) == b"ok"

    assert len(had) == 2


def test_what_comes_after_an_answer_is_no_answer_to_the_next_call():
    """A server that sends more than one answer to a request has none of it taken for that of the next."""
    stray = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    with answering(OK + stray, OK) as (url, had), open_http() as http:
        assert [get(http, url), get(http, url)] == [b"ok", b"ok"]

    assert len(had) == 2


def test_an_answer_that_was_not_read_to_its_end_leaves_no_connection():
    """What is left of a body is not taken for the next answer."""
    with answering(OK, OK) as (url, had), open_http() as http:
        http.handle_request(httpx.Request("GET", url)).close()

        assert get(http, url) == b"ok"

    assert len(had) == 2


BODIES = {
    "in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
    "until the end of the connection": b"HTTP/1.1 200 OK\r\n\r\nok",
    "after other answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    + OK,
    "in the protocol before this one": b"HTTP/1.0 200 OK\r\n\r\nok",
}


@pytest.mark.parametrize("body", BODIES)
def test_a_body_is_read_whole_however_its_end_is_marked(body: str):
    """A body is read to its end: in chunks, until the connection ends, or after an interim answer."""
    with answering(BODIES[body]) as (url, _), open_http() as http:
        assert get(http, url) == b"ok"


def test_a_request_that_is_refused_while_it_is_written_has_its_answer_read():
    """A server may answer and close before it has read all of a request: that answer is the answer."""
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(100)
            peer.sendall(refusal)
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(65536):
                pass

    thread = threading.Thread(target=refuse, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with listener, open_http() as http:
        request = httpx.Request("POST", url, content=b"x" * 5_000_000)
        with closing(http.handle_request(request)) as response:
            status = response.status_code
    thread.join(3)

    assert status == 413


def test_a_switch_to_another_protocol_is_no_answer():
    """101 leaves a stamp in doubt: nothing that was asked for has been answered."""
    switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    with answering(switch) as (url, _), open_http() as http, pytest.raises(httpx.RemoteProtocolError):
        get(http, url)


def _until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that comes by itself."""
    for _ in range(500):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to hold")


# --- addresses ---------------------------------------------------------------------------------------

HOSTS = frozenset(
    {"app.contadigital.mx", "127.0.0.1", "localhost", "::1", "Intranet.example:8443", "other.example:443",
     "sandbox:8080", "fd00::1", "2130706433"}
)  # fmt: skip


@pytest.mark.parametrize("url", ["https://app.contadigital.mx", "https://APP.contadigital.mx/dev/pruebas",
                                 "http://127.0.0.1:8123", "http://localhost:1", "http://[::1]:8080/x", "https://other.example",
                                 "https://intranet.example:8443/x", "http://sandbox:8080"])  # fmt: skip
def test_an_address_of_contadigital_or_of_this_machine_is_called(url: str):
    """Allowed hosts over https, loopback and service names over http."""
    assert base_address_fault(url, HOSTS) is None


ELSEWHERE = """
http://app.contadigital.mx https://contadigital.mx https://app.contadigital.mx.evil.example
https://evil.example/app.contadigital.mx https://user:pw@app.contadigital.mx https://app.contadigital.mx\\@evil.example
ftp://127.0.0.1 file:///etc/passwd //app.contadigital.mx http://127.0.0.2 http://0.0.0.0 https://intranet.example
http://intranet.example:8443 http://2130706433 http://[::ffff:10.0.0.1] x https:// https://[ https://app.contadigital.mx:x
http://[fd00::1] http://sandbox http://sandbox:6379 https://app.contadigital.mx%2eevil.example https:///app.contadigital.mx
"""


@pytest.mark.parametrize("url", ["", *ELSEWHERE.split()])
def test_any_other_address_is_not(url: str):
    """The refusal does not repeat the address."""
    fault = address_fault(url, HOSTS)

    assert fault is not None
    assert not url or url not in fault


@pytest.mark.parametrize("url", ["https://app.contadigital.mx?a=1", "https://app.contadigital.mx/x#y",
                                 "https://app.contadigital.mx/x?", "https://app.contadigital.mx/#"])  # fmt: skip
def test_a_base_address_is_only_an_address(url: str):
    """A query or fragment is fine in a link and refused in a base."""
    assert address_fault(url, HOSTS) is None
    assert base_address_fault(url, HOSTS) is not None
