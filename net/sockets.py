"""Sockets whose every operation draws on one deadline for the whole call, and that connect only where they may.

httpx's timeouts bound each *read*, so a server that drips one byte a second is never late. Here connecting, writing,
the headers and the body all end with the call.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import ip_address

import httpcore

from net.addresses import is_forbidden, plain_host

Resolver = Callable[[str, int], list[str]]
Monotonic = Callable[[], float]

PIECE = 16 * 1024
"""Bytes written at a time, so that a slow reader is noticed between two pieces."""
_ONE_CONNECT = 5.0  # seconds for one address, so that a silent first one leaves time for the next

_deadline: ContextVar[float | None] = ContextVar("net_deadline", default=None)


@contextmanager
def until(moment: float) -> Iterator[None]:
    """Give everything that this thread sends and reads one end (on the monotonic clock); an earlier one stays."""
    outer = _deadline.get()
    mark = _deadline.set(moment if outer is None else min(outer, moment))
    try:
        yield
    finally:
        _deadline.reset(mark)


def _left(timeout: float | None, too_late: type[Exception], monotonic: Monotonic) -> float | None:
    """The shorter of a timeout and what is left of the call; `too_late` when nothing is left."""
    end = _deadline.get()
    if end is None:
        return timeout
    left = end - monotonic()
    if left <= 0:
        raise too_late("the time of the whole call is over")
    return left if timeout is None else min(timeout, left)


class ForbiddenAddress(httpcore.ConnectError):
    """The host, or what it resolves to, is not one that we send to."""


class _Stream(httpcore.NetworkStream):
    """A socket whose every operation draws on the deadline of the call."""

    def __init__(self, inner: httpcore.NetworkStream, monotonic: Monotonic) -> None:
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


class Sockets(httpcore.SyncBackend):
    """httpcore's own sockets, with the deadline around them."""

    def __init__(self, monotonic: Monotonic = time.monotonic) -> None:
        self._monotonic = monotonic

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect before the call's end."""
        left = _left(timeout, httpcore.ConnectTimeout, self._monotonic)
        inner = super().connect_tcp(host, port, left, local_address, socket_options)
        return _Stream(inner, self._monotonic)


class PublicSockets(Sockets):
    """Sockets to the open Internet and to hosts allowed by name: resolved once, checked, connected to what was checked.

    A name can answer differently the second time (DNS rebinding); TLS and the Host header keep the name.
    """

    def __init__(
        self,
        allowed_hosts: Iterable[str],
        *,
        resolver: Resolver | None = None,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        super().__init__(monotonic)
        self._allowed = frozenset(map(plain_host, allowed_hosts))
        self._resolver = resolver or resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first checked address that answers."""
        addresses = self._checked(host, port)
        for number, address in enumerate(addresses, 1):
            try:
                seconds = min(timeout or _ONE_CONNECT, _ONE_CONNECT)
                return super().connect_tcp(address, port, seconds, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(addresses):
                    raise
        raise httpcore.ConnectError(f"{host} resolves to nothing")

    def _checked(self, host: str, port: int) -> list[str]:
        found = _within(
            _left(None, httpcore.ConnectTimeout, self._monotonic), lambda: self._resolver(host, port)
        )
        if plain_host(host) in self._allowed:
            return found
        good = [each for each in found if not is_forbidden(ip_address(each))]
        if found and not good:
            raise ForbiddenAddress(
                f"{host} is {found[0]}, which is not a public address; allow the host by name"
            )
        return good


def resolve(host: str, port: int) -> list[str]:
    """Every address the system's resolver gives for a host, in its order."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in answers))


def _within(seconds: float | None, ask: Callable[[], list[str]]) -> list[str]:
    """Ask the resolver, which has no time limit of its own, for so long; a thread that hangs is left behind."""
    answers: list[list[str]] = []
    errors: list[OSError | UnicodeError] = []

    def work() -> None:
        try:
            answers.append(ask())
        except (OSError, UnicodeError) as error:  # UnicodeError: no host name at all
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True, name="resolver")
    thread.start()
    thread.join(seconds)
    if answers:
        return answers[0]
    if errors:
        raise httpcore.ConnectError(f"name not resolved: {errors[0]}") from errors[0]
    raise httpcore.ConnectTimeout("name not resolved in time")
