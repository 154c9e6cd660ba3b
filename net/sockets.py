"""Sockets whose every operation draws on one deadline for the whole call, and that connect only where they may.

httpx's timeouts bound each *read*, so a server that drips one byte a second is never late. Here connecting, writing,
the headers and the body all end with the call.
"""

import math
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from ipaddress import ip_address

import httpx

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


def _left(timeout: float, too_late: type[Exception], monotonic: Monotonic) -> float:
    """The shorter of a timeout and what is left of the call; `too_late` when nothing is left."""
    end = _deadline.get()
    if end is None:
        return timeout
    left = end - monotonic()
    if left <= 0:
        raise too_late("the time of the whole call is over")
    return min(timeout, left)


class ForbiddenAddress(httpx.ConnectError):
    """The host, or what it resolves to, is not one that we send to."""


class Stream:
    """An open connection whose every operation draws on the deadline of the call. Raises httpx's errors."""

    def __init__(self, peer: socket.socket, monotonic: Monotonic) -> None:
        self._peer = peer
        self._monotonic = monotonic

    def read(self, timeout: float) -> bytes:
        """Return what has come, at most 64 KB; nothing where the other side has closed."""
        try:
            self._peer.settimeout(_left(timeout, httpx.ReadTimeout, self._monotonic))
            return self._peer.recv(64 * 1024)
        except TimeoutError as error:
            raise httpx.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpx.ReadError(str(error)) from error

    def write(self, data: bytes, timeout: float) -> None:
        """Write all of it."""
        try:
            for start in range(0, len(data), PIECE):
                self._peer.settimeout(_left(timeout, httpx.WriteTimeout, self._monotonic))
                self._peer.sendall(data[start : start + PIECE])
        except TimeoutError as error:
            raise httpx.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpx.WriteError(str(error)) from error

    def secured(self, context: ssl.SSLContext, host: str, timeout: float) -> "Stream":
        """The same connection with TLS on it, for a certificate of this host. Raises ConnectError, ConnectTimeout."""
        try:
            self._peer.settimeout(_left(timeout, httpx.ConnectTimeout, self._monotonic))
            return Stream(context.wrap_socket(self._peer, server_hostname=host), self._monotonic)
        except TimeoutError as error:
            raise httpx.ConnectTimeout(str(error)) from error
        except (OSError, ValueError) as error:  # ValueError: a host that no certificate can name
            raise httpx.ConnectError(str(error)) from error

    def is_closed_there(self) -> bool:
        """Whether something came while nobody had asked: the end of the connection, or what nobody can trust."""
        poll = select.poll()
        poll.register(self._peer, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close it; what was not read is given up."""
        with suppress(OSError):
            self._peer.close()


class Sockets:
    """How a connection is made: to the host that is named, before the end of the call."""

    def __init__(self, monotonic: Monotonic = time.monotonic) -> None:
        self._monotonic = monotonic

    def connect(self, host: str, port: int, timeout: float) -> Stream:
        """Connect. Raises ConnectError, ConnectTimeout."""
        left = _left(timeout, httpx.ConnectTimeout, self._monotonic)
        try:
            peer = socket.create_connection((host, port), left)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except TimeoutError as error:
            raise httpx.ConnectTimeout(str(error)) from error
        except (OSError, UnicodeError) as error:  # UnicodeError: no host name at all
            raise httpx.ConnectError(str(error)) from error
        return Stream(peer, self._monotonic)


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

    def connect(self, host: str, port: int, timeout: float) -> Stream:
        """Connect to the first checked address that answers."""
        addresses = self._checked(host, port)
        for number, address in enumerate(addresses, 1):
            try:
                return super().connect(address, port, min(timeout, _ONE_CONNECT))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if number == len(addresses):
                    raise
        raise httpx.ConnectError(f"{host} resolves to nothing")

    def _checked(self, host: str, port: int) -> list[str]:
        found = _within(
            _left(math.inf, httpx.ConnectTimeout, self._monotonic), lambda: self._resolver(host, port)
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
        raise httpx.ConnectError(f"name not resolved: {errors[0]}") from errors[0]
    raise httpx.ConnectTimeout("name not resolved in time")
