"""httpx's own transport over our sockets: HTTP/1.1, nothing of the environment, no redirects, no decompression.

There is no httpx.Client around it: no cookies are kept, no redirects followed, and a client costs as much CPU as the
sending (docs/decisions/0015). A connection is kept only for seconds: one that the other side closes while it rests
makes the next call a lost one, although nothing was wrong.
"""

import functools
import ssl
import time
from contextlib import closing
from datetime import timedelta

import httpcore
import httpx

from net.sockets import Sockets, until


class Transport(httpx.HTTPTransport):
    """A connection pool over our sockets.

    httpx has no public way to hand a network backend down, so its pool is replaced, here and nowhere else; the tests
    that drip headers fail should a later httpx keep it elsewhere.
    """

    def __init__(
        self, sockets: Sockets, context: ssl.SSLContext, connections: int, keep_alive: timedelta, timeout: httpx.Timeout
    ) -> None:  # fmt: skip
        super().__init__(verify=context, trust_env=False)
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=keep_alive.total_seconds(),
            http1=True,
            http2=False,
            network_backend=sockets,
        )
        self._timeout = timeout.as_dict()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; it has the transport's timeouts unless it brings its own."""
        request.extensions.setdefault("timeout", self._timeout)
        return super().handle_request(request)


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
    timeout = httpx.Timeout(
        connect=connect.total_seconds(),
        read=read.total_seconds(),
        write=write.total_seconds(),
        pool=pool.total_seconds(),
    )
    return Transport(sockets or Sockets(), tls or _public_authorities(), connections, keep_alive, timeout)


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
