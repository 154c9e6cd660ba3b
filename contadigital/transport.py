"""The one HTTP client of a process, and the two things httpx does not do by itself: an end, and a fence.

httpx's timeouts bound each *read*, so a server that drips one byte a second is never late. Here every
call has one deadline, kept down at the socket: connecting, writing, the headers and the body all draw on
it. The one thing a newcomer would get wrong: a connection is kept only for seconds, on purpose. One that
ContaDigital closes while it rests makes the next stamp an `AnswerLost`, although nothing was wrong.
"""

import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import lru_cache
from ipaddress import ip_address

import httpcore
import httpx

PIECE = 16 * 1024
"""Bytes written at a time, so that a slow reader is noticed between two pieces."""

_deadline: ContextVar[float | None] = ContextVar("contadigital_deadline", default=None)


_trace: ContextVar[str | None] = ContextVar("contadigital_trace", default=None)


def traced(trace_id: str | None) -> None:
    """Send this id along with what this thread asks from now on (`X-Request-Id`; may be ignored: assumed)."""
    _trace.set(trace_id if trace_id and trace_id.isascii() and trace_id.isprintable() else None)


def trace_headers() -> dict[str, str]:
    """The header that ties a call to the message it came from; none where nothing is traced."""
    trace_id = _trace.get()
    return {"X-Request-Id": trace_id[:100]} if trace_id else {}


@contextmanager
def until(moment: float) -> Iterator[None]:
    """Give everything that this thread sends and reads one end (on the monotonic clock)."""
    mark = _deadline.set(moment)
    try:
        yield
    finally:
        _deadline.reset(mark)


def _left(timeout: float | None, too_late: type[Exception], monotonic: Callable[[], float]) -> float | None:
    """The shorter of a timeout and what is left of the call; `too_late` when nothing is left."""
    end = _deadline.get()
    if end is None:
        return timeout
    left = end - monotonic()
    if left <= 0:
        raise too_late("the time of the whole call is over")
    return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    """A socket whose every operation draws on the deadline of the call."""

    def __init__(self, inner: httpcore.NetworkStream, monotonic: Callable[[], float]) -> None:
        self._inner = inner
        self._monotonic = monotonic

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout, self._monotonic))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), PIECE):
            left = _left(timeout, httpcore.WriteTimeout, self._monotonic)
            self._inner.write(buffer[start : start + PIECE], left)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout, self._monotonic)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._monotonic)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)


class _Network(httpcore.SyncBackend):
    """httpcore's own sockets, with the deadline around them."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout, self._monotonic)
        inner = super().connect_tcp(host, port, left, local_address, socket_options)
        return _Stream(inner, self._monotonic)


class _Transport(httpx.HTTPTransport):
    """httpx's transport over a pool with our sockets.

    httpx has no public way to hand a network backend down, so its pool is replaced; a test that drips headers
    fails should a later httpx keep it elsewhere.
    """

    def __init__(self, context: ssl.SSLContext, limits: httpx.Limits, monotonic: Callable[[], float]) -> None:
        super().__init__(verify=context, trust_env=False, limits=limits)
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            http1=True,
            http2=False,
            network_backend=_Network(monotonic),
        )


def open_http(
    *,
    connections: int = 64,
    keep_alive: timedelta = timedelta(seconds=10),
    connect: timedelta = timedelta(seconds=5),
    read: timedelta = timedelta(seconds=30),
    write: timedelta = timedelta(seconds=10),
    pool: timedelta = timedelta(seconds=10),
    ca_file: str | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> httpx.Client:
    """Open the HTTP client of a process, shared by its threads: HTTP/1.1, no redirects, no environment.

    `read` is the 30 s that the seen integration waits. `connections` wants to be a little above the number of
    threads, or calls wait `pool` for one and end as NotSent.
    """
    context = (
        ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)
    )
    limits = httpx.Limits(
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=keep_alive.total_seconds(),
    )
    return httpx.Client(
        transport=_Transport(context, limits, monotonic),
        timeout=httpx.Timeout(
            connect=connect.total_seconds(),
            read=read.total_seconds(),
            write=write.total_seconds(),
            pool=pool.total_seconds(),
        ),
        follow_redirects=False,
        trust_env=False,
        headers={"User-Agent": "timbrado", "Accept": "application/json", "Accept-Encoding": "identity"},
    )


# --- where we go, and where we do not ----------------------------------------------------------------


def is_loopback(host: str) -> bool:
    """Whether a host name means this very machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def address_fault(url: str, allowed_hosts: frozenset[str]) -> str | None:
    """Why we do not call this address (English, without the address); None when we do.

    `allowed_hosts` holds `host` or `host:port`. Everything is https but what stays on this machine, and
    even that must be on the list, so that no connection can make the worker knock at a neighbour's door.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        return "not an address"
    host = parsed.host.lower()
    if parsed.scheme not in ("http", "https") or not host:
        return "not an http address"
    if parsed.userinfo:
        return "credentials in the address"
    port = parsed.port or {"https": 443, "http": 80}[parsed.scheme]
    if not {host, f"{host}:{port}"} & {each.lower() for each in allowed_hosts}:
        return "host not on the allow-list"
    if parsed.scheme == "http" and not is_loopback(host):
        return "not https"
    return None


@lru_cache(maxsize=1024)  # pure, and asked before every call
def base_address_fault(url: str, allowed_hosts: frozenset[str]) -> str | None:
    """As `address_fault`, for the base address of a connection: no query and no fragment besides."""
    fault = address_fault(url, allowed_hosts)
    if fault is None and (httpx.URL(url).query or httpx.URL(url).fragment):
        return "query or fragment in a base address"
    return fault
