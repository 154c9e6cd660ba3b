"""HTTP/1.1 over our sockets, as a transport of httpx: no proxy, no redirects, no decompression.

There is no httpx.Client around it: no cookies are kept, no redirects followed, and a client costs as much CPU as the
sending (docs/decisions/0015). A connection is kept only for seconds: one that the other side closes while it rests
makes the next call a lost one, although nothing was wrong.
"""

import functools
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import timedelta

import h11
import httpx

from net.sockets import Sockets, Stream, until


class Transport(httpx.BaseTransport):
    """Sends requests over sockets of ours; h11 reads what answers them, but for the plainest answers.

    httpx's own transport costs twice the CPU: its pool looks at each of its connections for each call.
    """

    def __init__(
        self,
        sockets: Sockets,
        context: ssl.SSLContext,
        *,
        connections: int,
        keep_alive: float,
        connect: float,
        read: float,
        write: float,
        pool: float,
    ) -> None:
        """All times are in seconds."""
        self._sockets, self._context = sockets, context
        self._keep_alive, self._connect, self._read, self._write = keep_alive, connect, read, write
        self._pool, self._places = pool, threading.BoundedSemaphore(connections)
        self._resting: dict[_Origin, list[_Connection]] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the body of the answer is read by whoever iterates it.

        Raises ConnectError, ConnectTimeout, PoolTimeout or UnsupportedProtocol while nothing has left, and
        WriteError, WriteTimeout, ReadError, ReadTimeout or RemoteProtocolError once something may have.
        """
        url = request.url
        if url.scheme not in {"http", "https"}:
            raise httpx.UnsupportedProtocol("an address that is neither http nor https")
        if not self._places.acquire(timeout=self._pool):
            raise httpx.PoolTimeout("no connection is free")
        origin = (url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80))
        connection: _Connection | None = None
        try:
            connection = self._rested(origin) or self._open(origin)
            status, headers = connection.ask(request)
        except BaseException:
            self._give_back(origin, connection, is_whole=False)
            raise
        return httpx.Response(
            status, headers=headers, stream=_Body(self, origin, connection), request=request
        )

    def close(self) -> None:
        """Close what rests."""
        with self._lock:
            resting, self._resting = self._resting, {}
        for connections in resting.values():
            for each in connections:
                each.stream.close()

    def _rested(self, origin: "_Origin") -> "_Connection | None":
        """The connection used last that can be used again; older ones that can't are closed on the way."""
        while True:
            with self._lock:
                resting = self._resting.get(origin)
                if not resting:
                    return None
                connection = resting.pop()
            if time.monotonic() < connection.rests_until and not connection.stream.is_closed_there():
                return connection
            connection.stream.close()

    def _open(self, origin: "_Origin") -> "_Connection":
        scheme, host, port = origin
        stream = self._sockets.connect(host, port, self._connect)
        if scheme == "https":
            try:
                stream = stream.secured(self._context, host, self._connect)
            except httpx.TransportError:
                stream.close()
                raise
        return _Connection(stream, self._write, self._read)

    def _give_back(self, origin: "_Origin", connection: "_Connection | None", *, is_whole: bool) -> None:
        """Let a connection rest for the next call where its answer was read to the end; close it otherwise."""
        try:
            if connection is None:
                return
            if is_whole and connection.starts_again():
                connection.rests_until = time.monotonic() + self._keep_alive
                with self._lock:
                    self._resting.setdefault(origin, []).append(connection)
            else:
                connection.stream.close()
        finally:
            self._places.release()


_Origin = tuple[str, str, int]  # scheme, host, port


class _Connection:
    """One connection: a request at a time."""

    def __init__(self, stream: Stream, write: float, read: float) -> None:
        self.stream = stream
        self.rests_until = 0.0
        self._write, self._read = write, read
        self._protocol: h11.Connection | None = None
        self._plain: PlainAnswer | None = None

    def ask(self, request: httpx.Request) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Write a request, and return the status and the headers of its answer."""
        body = b"".join(request.stream)  # type: ignore[arg-type]  # never an asynchronous one
        data = head_of(request, len(body)) + body
        with suppress(httpx.WriteError):  # whoever refuses a request unread may have answered all the same
            self.stream.write(data, self._write)
        first = self.stream.read(self._read)
        self._protocol, self._plain = None, PlainAnswer.of(first) if request.method != "HEAD" else None
        if self._plain is not None:
            return self._plain.status, self._plain.headers
        self._protocol = _after(request.method)
        self._protocol.receive_data(first)
        while True:
            event = self._next_event(self._protocol)
            if isinstance(event, h11.Response):
                return event.status_code, event.headers.raw_items()
            if not isinstance(event, h11.InformationalResponse) or event.status_code == 101:
                raise httpx.RemoteProtocolError("no answer to what was asked")

    def next_piece(self) -> bytes | None:
        """The next piece of the answer's body; None at its end."""
        if self._protocol is not None:
            event = self._next_event(self._protocol)
            return bytes(event.data) if isinstance(event, h11.Data) else None
        plain = self._plain
        if plain is None or plain.missing <= 0:
            return None
        piece, plain.body = plain.body or self.stream.read(self._read), b""
        if not piece:
            raise httpx.RemoteProtocolError("the connection was closed in the middle of a body")
        plain.missing -= len(piece)
        return piece[: plain.missing] if plain.missing < 0 else piece

    def _next_event(self, protocol: h11.Connection) -> h11.Event:
        try:
            while (event := protocol.next_event()) is h11.NEED_DATA:
                protocol.receive_data(self.stream.read(self._read))
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        if isinstance(event, type):
            raise httpx.RemoteProtocolError("another protocol was switched to")
        return event

    def starts_again(self) -> bool:
        """Whether both sides are done and willing to go on, and nothing came that nobody had asked for."""
        if self._plain is not None:
            return self._plain.missing == 0 and not self._plain.body
        protocol = self._protocol
        if protocol is None or protocol.trailing_data[0]:
            return False
        return bool(protocol.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE})


_REQUEST = re.compile(
    rb"[A-Z]+ [\x21-\x7e]+ HTTP/1\.1\r\n(?:[\w!#$%&'*+.^`|~-]+: [\t\x20-\x7e\x80-\xff]*\r\n)+\r\n", re.ASCII
)


def head_of(request: httpx.Request, length: int) -> bytes:
    """Write the head of a request whose body has `length` bytes; h11 takes ten times as long over it.

    Raises LocalProtocolError where a name or a value would not stay in its line, and where the head does not say how
    long the body is.
    """
    lines, stated = [b"%b %b HTTP/1.1\r\n" % (request.method.encode(), request.url.raw_path)], 0
    for name, value in request.headers.raw:
        lines.append(b"%b: %b\r\n" % (name, value))
        match name.lower():
            case b"content-length":
                stated = int(value)
            case b"transfer-encoding":
                stated = -1
    head = b"".join([*lines, b"\r\n"])
    if stated != length or head.count(b"\n") != len(lines) + 1 or _REQUEST.fullmatch(head) is None:
        raise httpx.LocalProtocolError("a request that can't be written")
    return head


def _after(method: str) -> h11.Connection:
    """Return what reads the answer to a request of this method."""
    protocol = h11.Connection(h11.CLIENT)
    protocol.send(h11.Request(method=method, target="/", headers=[("Host", "any")]))
    protocol.send(h11.EndOfMessage())
    return protocol


_HEAD = re.compile(
    rb"HTTP/1\.1 (2(?!04)\d\d|[45]\d\d)(?: [\t \x21-\x7e]*)?\r\n((?:[\w!#$%&'*+.^`|~-]+:[\t \x21-\x7e]*\r\n)+)\r\n",
    re.ASCII,
)


@dataclass(slots=True)
class PlainAnswer:
    """An answer whose head came in one piece, says how long the body is, and leaves the connection open.

    Nearly all are such, and h11 takes ten times as long over one. It reads every other.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    """What came after the head and was not taken."""
    missing: int
    """Bytes of the body that were not taken; below zero where more came than belongs to it."""

    @classmethod
    def of(cls, piece: bytes) -> "PlainAnswer | None":
        """Read the first piece of an answer; None where it is not plain."""
        head = _HEAD.match(piece)
        if head is None:
            return None
        headers, length = [], None
        for line in head[2].split(b"\r\n")[:-1]:
            name, _, value = line.partition(b":")
            value = value.strip(b" \t")
            match name.lower():
                case b"content-length" if length is None and value.isdigit() and len(value) < 16:
                    length = int(value)
                case b"connection" if value.lower() == b"keep-alive":
                    pass
                case b"content-length" | b"transfer-encoding" | b"connection" | b"upgrade":
                    return None
            headers.append((name, value))
        return cls(int(head[1]), headers, piece[head.end() :], length) if length is not None else None


class _Body(httpx.SyncByteStream):
    """The body of an answer, as it comes."""

    def __init__(self, transport: Transport, origin: _Origin, connection: _Connection) -> None:
        self._transport, self._origin = transport, origin
        self._connection: _Connection | None = connection
        self._is_whole = False

    def __iter__(self) -> Iterator[bytes]:
        while self._connection is not None and not self._is_whole:
            piece = self._connection.next_piece()
            if piece is not None:
                yield piece
            else:
                self._is_whole = True

    def close(self) -> None:
        """Give the connection back, once."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._transport._give_back(self._origin, connection, is_whole=self._is_whole)


def open_http(
    *,
    sockets: Sockets | None = None,
    connections: int = 64,
    keep_alive: timedelta = timedelta(seconds=10),
    connect: timedelta = timedelta(seconds=5),
    read: timedelta = timedelta(seconds=30),
    write: timedelta = timedelta(seconds=10),
    pool: timedelta = timedelta(seconds=10),
    tls: ssl.SSLContext | None = None,
) -> Transport:
    """Open a way out of a process, shared by its threads.

    `read` is the 30 s that the public integration waits. `connections` should be a little above the number of
    threads, or calls wait `pool` for one and end as not sent.
    """
    return Transport(
        sockets or Sockets(),
        tls or _public_authorities(),
        connections=connections,
        keep_alive=keep_alive.total_seconds(),
        connect=connect.total_seconds(),
        read=read.total_seconds(),
        write=write.total_seconds(),
        pool=pool.total_seconds(),
    )


@functools.cache
def _public_authorities() -> ssl.SSLContext:
    """Return the context of all transports of a process: reading the authorities takes longer than a call does."""
    return httpx.create_ssl_context(trust_env=False)


def is_encoded(response: httpx.Response) -> bool:
    """Whether an answer is compressed, which nobody asked for: a few hundred bytes may unpack to gigabytes."""
    return response.headers.get("content-encoding", "").strip().lower() not in ("", "identity")


def first_bytes(response: httpx.Response, limit: int) -> bytes:
    """The body as it came, up to the piece that passes `limit`: longer than that, and the rest is not read."""
    body = bytearray()
    if not isinstance(response.stream, httpx.SyncByteStream):
        raise TypeError("the answer of an asynchronous transport")
    for piece in response.stream:
        body += piece
        if len(body) > limit:
            break
    return bytes(body)


class NoAnswer(Exception):
    """A request had no answer that could be used; what is missing stands in its text, without the address."""


def post(
    http: httpx.BaseTransport,
    url: str,
    body: bytes,
    *,
    headers: dict[str, str],
    timeout: float,
    max_bytes: int,
) -> tuple[int, bytes]:
    """Send one POST and return (status, body), all of it within `timeout` seconds. Raises Unanswered."""
    try:
        request = httpx.Request("POST", url, headers=headers, content=body)
        with until(time.monotonic() + timeout), closing(http.handle_request(request)) as response:
            if is_encoded(response):
                raise NoAnswer("the answer is compressed, which nobody asked for")
            answer = first_bytes(response, max_bytes)
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise NoAnswer(type(error).__name__) from error
    if len(answer) > max_bytes:
        raise NoAnswer("the answer is too big")
    return response.status_code, answer
