"""The one way out of a process, and the two things httpx does not do by itself: an end, and a fence.

httpx's timeouts bound each *read*, so a server that drips one byte a second is never late. Here every
call has one deadline, kept down at the socket: connecting, writing, the headers and the body all draw on
it. The one thing a newcomer would get wrong: a connection is kept only for seconds, on purpose. One that
ContaDigital closes while it rests makes the next stamp an `AnswerLost`, although nothing was wrong.
"""

import ssl
import threading
import time
from collections import deque
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


class _Lane(httpx.HTTPTransport):
    """httpx's transport over one connection with our sockets.

    httpx has no public way to hand a network backend down, so its pool is replaced; a test that drips headers
    fails should a later httpx keep it elsewhere.
    """

    def __init__(self, context: ssl.SSLContext, keep_alive: float, monotonic: Callable[[], float]) -> None:
        super().__init__(verify=context, trust_env=False)
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=1,
            keepalive_expiry=keep_alive,
            http1=True,
            http2=False,
            network_backend=_Network(monotonic),
        )


def _popped(idle: "deque[_Lane]") -> _Lane | None:
    try:
        return idle.pop()
    except IndexError:  # asked and not looked: another thread may take the last one in between
        return None


class _Returning(httpx.SyncByteStream):
    """An answer's body, whose lane is free again when it is closed."""

    def __init__(self, inner: httpx.SyncByteStream, done: Callable[[], None]) -> None:
        self._inner = inner
        self._done = done

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._inner)

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            done, self._done = (
                self._done,
                lambda: None,
            )  # a lane is given back once, however often it is closed
            done()


class _Transport(httpx.BaseTransport):
    """So many lanes of one connection each; the one that was used last is used next.

    One pool of fifty connections looks at each of them, twice a call, to see whether it has idled too long, and at each
    pair of them besides (httpcore 1.0): that was a tenth of what an invoice cost.
    """

    def __init__(self, connections: int, make: Callable[[], _Lane], timeout: httpx.Timeout) -> None:
        self._make = make
        self._timeout = timeout.as_dict()
        self._free = threading.BoundedSemaphore(connections)
        self._idle: dict[str, deque[_Lane]] = {}  # by origin

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send over a free lane; httpx.PoolTimeout where none comes free in time."""
        timeout = request.extensions.setdefault("timeout", self._timeout)
        if not self._free.acquire(timeout=timeout.get("pool")):
            raise httpx.PoolTimeout("no connection came free", request=request)
        url = request.url
        idle = self._idle.setdefault(f"{url.scheme}://{url.netloc.decode()}", deque())
        lane: _Lane | None = None
        try:
            lane = _popped(idle) or self._make()
            response = lane.handle_request(request)
        except BaseException:
            self._give_back(idle, lane)
            raise
        stream = response.stream
        if not isinstance(stream, httpx.SyncByteStream):  # a transport's always is; its type does not say so
            self._give_back(idle, lane)
            return response
        used = lane
        response.stream = _Returning(stream, lambda: self._give_back(idle, used))
        return response

    def _give_back(self, idle: "deque[_Lane]", lane: _Lane | None) -> None:
        if lane is not None:
            idle.append(lane)
        self._free.release()

    def close(self) -> None:
        """Close every lane that is not in use."""
        for idle in self._idle.values():
            while idle:
                idle.pop().close()


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
) -> httpx.BaseTransport:
    """Open the way out of a process, shared by its threads: HTTP/1.1, and nothing of the environment.

    A transport and no httpx.Client around it: there are no cookies to keep, no redirects to follow and nothing to log
    of ours there, and it cost as much CPU as the sending itself. `read` is the 30 s that the seen integration waits.
    `connections` wants to be a little above the number of threads, or calls wait `pool` for one and end as NotSent.
    """
    context = (
        ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)
    )
    return _Transport(
        connections,
        lambda: _Lane(context, keep_alive.total_seconds(), monotonic),
        httpx.Timeout(
            connect=connect.total_seconds(),
            read=read.total_seconds(),
            write=write.total_seconds(),
            pool=pool.total_seconds(),
        ),
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


def is_beside(host: str) -> bool:
    """Whether a name can only be of a container beside this one (compose's `sandbox`): no public host is called so."""
    return "." not in host and ":" not in host and not host.isdigit()


def address_fault(url: str, allowed_hosts: frozenset[str]) -> str | None:
    """Why we do not call this address (English, without the address); None when we do.

    `allowed_hosts` holds `host` or `host:port`. Everything is https but what stays on this machine or in one compose
    with it, and even that must be on the list, so that no connection makes the worker knock at a neighbour's door.
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
    if parsed.scheme == "http" and not is_loopback(host) and not is_beside(host):
        return "not https"
    return None


@lru_cache(maxsize=1024)  # pure, and asked before every call
def base_address_fault(url: str, allowed_hosts: frozenset[str]) -> str | None:
    """As `address_fault`, for the base address of a connection: no query and no fragment besides, not even empty."""
    fault = address_fault(url, allowed_hosts)
    if fault is None and ("?" in url or "#" in url):
        return "query or fragment in a base address"
    return fault
