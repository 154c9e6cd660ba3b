"""How an address is read and where a process may connect: one reading for settings, ContaDigital and webhooks.

Every address is taken apart by httpx, which also sends to it, so that what was checked is what is called.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import httpx

Address = IPv4Address | IPv6Address

_PORTS = {"https": 443, "http": 80}
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
_NAT64 = IPv6Network("64:ff9b::/96")  # an IPv4 address in an IPv6 one (RFC 6052)


def plain_host(name: str) -> str:
    """A host as it is compared: lower case, without the root's dot and without an IPv6 address's brackets."""
    return name.strip().lower().rstrip(".").removeprefix("[").removesuffix("]")


def host_of(url: str) -> str:
    """The host of an address as it is compared; empty where it has none or is no address."""
    try:
        return plain_host(httpx.URL(url).host)
    except (httpx.InvalidURL, ValueError, TypeError):
        return ""


def endpoint_of(url: str) -> str:
    """The `host:port` of an address as an allow-list names it; empty where it has no host."""
    host = host_of(url)
    if not host:
        return ""
    parsed = httpx.URL(url)
    return _endpoint(host, parsed.port or _PORTS.get(parsed.scheme, 0))


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a host name or address never leaves this machine."""
    host = plain_host(host)
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def may_be_plain(host: str) -> bool:
    """Whether plain http may be spoken to a host: this machine, or a container beside it (compose's `sandbox`).

    No public host has a name without a dot; a number or an IPv6 address is no name.
    """
    host = plain_host(host)
    return is_loopback(host) or ("." not in host and ":" not in host and host != "" and not host.isdigit())


def is_forbidden(address: Address) -> bool:
    """Whether an address is private, this machine, link-local, reserved, multicast, or a cloud's metadata service."""
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


def is_private_literal(host: str) -> bool:
    """Whether a host is written as an address that is not public."""
    try:
        return is_forbidden(ip_address(plain_host(host)))
    except ValueError:
        return False


def address_fault(url: str, allowed_hosts: Iterable[str] | None = None) -> str | None:
    """Why an address is not called (English, without the address); None when it may be.

    `allowed_hosts` holds `host` or `host:port`; None allows every host. Everything is https but what `may_be_plain`,
    and even that must be on the list, so that no connection makes a worker call a neighbour.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        return "not an address"
    host = plain_host(parsed.host)
    if parsed.scheme not in _PORTS or not host:
        return "not an http address"
    if parsed.userinfo:
        return "credentials in the address"
    here = {host, _endpoint(host, parsed.port or _PORTS[parsed.scheme])}
    if allowed_hosts is not None and not here & {_entry(each) for each in allowed_hosts}:
        return "host not on the allow-list"
    if parsed.scheme == "http" and not may_be_plain(host):
        return "not https"
    return None


def _entry(allowed: str) -> str:
    """An entry of an allow-list as it is compared: a host, or a host with its port."""
    name, colon, port = allowed.strip().lower().rpartition(":")
    if colon and port.isdigit() and (":" not in name or name.endswith("]")):
        return _endpoint(plain_host(name), int(port))
    return plain_host(allowed)


@lru_cache(maxsize=1024)  # pure, and asked before every call
def base_address_fault(url: str, allowed_hosts: frozenset[str]) -> str | None:
    """As `address_fault`, for the base address of a connection: no query and no fragment besides, not even empty."""
    fault = address_fault(url, allowed_hosts)
    if fault is None and ("?" in url or "#" in url):
        return "query or fragment in a base address"
    return fault


def is_same_origin(url: str, other: str) -> bool:
    """Whether two addresses are of one scheme, host and port."""
    one, two = httpx.URL(url), httpx.URL(other)
    return (one.scheme, endpoint_of(url)) == (two.scheme, endpoint_of(other))
