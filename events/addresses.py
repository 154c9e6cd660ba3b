"""Which addresses a notice may be sent to: the open Internet, and hosts an operator allowed by name.

What a newcomer would get wrong: to look at the host name only, or to resolve it, check it, and then let the
HTTP client resolve it again: a name can answer differently the second time (DNS rebinding). Here the
connection goes to the very address that was checked, while TLS and the Host header keep the name.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpcore

Address = IPv4Address | IPv6Address
Resolver = Callable[[str, int], list[str]]

_METADATA = frozenset(
    ip_address(text)
    for text in (
        "168.63.129.16",  # Azure: the one metadata address that looks public
        "169.254.169.254",  # AWS, Azure, Google, and most others
        "169.254.170.2",  # AWS, containers
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS over IPv6
    )
)
_ONE_CONNECT = 5.0  # seconds for one address, so that a silent first one leaves time for the next
_NAT64 = IPv6Network("64:ff9b::/96")  # an IPv4 address in an IPv6 one (RFC 6052)


class ForbiddenAddress(httpcore.ConnectError):
    """The host, or what it resolves to, is not one that we send to."""


def is_forbidden(address: Address) -> bool:
    """Whether an address is private, this machine, link-local, reserved, multicast, or a cloud's metadata
    service."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None and is_forbidden(inner):
            return True
        if address.is_site_local:
            return True
        if address.ipv4_mapped is not None:
            return False
    return not address.is_global or address.is_multicast or address in _METADATA


def resolve(host: str, port: int) -> list[str]:
    """Every address the system's resolver gives for a host, in its order."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in answers))


class Deadline:
    """When the whole of a call must be over, whatever it is waiting for; one per thread of work at a time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends: ContextVar[float | None] = ContextVar("ends", default=None)

    def start(self, seconds: float) -> None:
        """From now, allow this many seconds."""
        self._ends.set(self._clock() + seconds)

    def shorten(self, seconds: float) -> None:
        """From now, allow no more than this many seconds of what is left."""
        ends = self._ends.get()
        soon = self._clock() + seconds
        self._ends.set(soon if ends is None else min(ends, soon))

    def cut(self, timeout: float | None) -> float | None:
        """The time one step may take; raises ReadTimeout when there is none left."""
        ends = self._ends.get()
        if ends is None:
            return timeout
        left = ends - self._clock()
        if left <= 0:
            raise httpcore.ReadTimeout("the whole call took too long")
        return left if timeout is None else min(left, timeout)


class PinnedBackend(httpcore.NetworkBackend):
    """Resolves, checks, and connects to what was checked; every wait ends with the call's deadline."""

    def __init__(
        self,
        allowed_hosts: Iterable[str] = (),
        *,
        resolver: Resolver = resolve,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed = frozenset(host.lower().rstrip(".") for host in allowed_hosts)
        self._resolver = resolver
        self._inner = httpcore.SyncBackend()
        self.deadline = Deadline(clock)

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
                seconds = self.deadline.cut(min(timeout or _ONE_CONNECT, _ONE_CONNECT))
                stream = self._inner.connect_tcp(address, port, seconds, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(addresses):
                    raise
            else:
                return _Timed(stream, self.deadline)
        raise httpcore.ConnectError(f"{host} resolves to nothing")

    def _checked(self, host: str, port: int) -> list[str]:
        found = _within(self.deadline.cut(None), lambda: self._resolver(host, port))
        if host.lower().rstrip(".") in self._allowed:
            return found
        good = [each for each in found if not is_forbidden(ip_address(each))]
        if found and not good:
            raise ForbiddenAddress(
                f"{host} is {found[0]}, which is not a public address; allow the host by name"
            )
        return good


class _Timed(httpcore.NetworkStream):
    """A stream on which no single step outlives the whole call: a drop of body every second is no
    progress."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.cut(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.cut(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secured = self._inner.start_tls(ssl_context, server_hostname, self._deadline.cut(timeout))
        return _Timed(secured, self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)


def _within(seconds: float | None, ask: Callable[[], list[str]]) -> list[str]:
    """Ask the resolver, which has no time limit of its own, for so long; a thread that hangs is left
    behind."""
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
