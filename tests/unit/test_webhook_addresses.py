"""Where notices may go: nowhere private, whatever a name says the second time."""

from ipaddress import ip_address

import pytest

from events.webhook import BadEndpoint, check_secret, check_url
from net.addresses import is_forbidden


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.1.1",
        "169.254.169.254", "169.254.170.2", "168.63.129.16", "100.64.0.1", "100.100.100.200", "192.0.0.192",
        "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:169.254.169.254",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:c0a8:101::1",
    ],
)  # fmt: skip
def test_private_and_metadata_addresses_are_forbidden(address):
    """Also written as IPv6, NAT64 or 6to4."""
    assert is_forbidden(ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "172.15.255.255", "172.32.0.1", "192.169.0.1", "100.63.255.255",
     "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)  # fmt: skip
def test_public_addresses_are_fine(address):
    """Neighbours of private ranges are not caught."""
    assert not is_forbidden(ip_address(address))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "https://"),
        ("control.example/hooks", "https://"),
        ("ftp://control.example", "https://"),
        ("http://control.example/hooks", "https://"),
        ("https://user:secret@control.example/", "no user or password"),
        ("https://169.254.169.254/latest", "not a public address"),
        ("https://[::1]/", "not a public address"),
        ("https://10.1.2.3/", "not a public address"),
        ("http://127.0.0.1:8000/", "not a public address"),
        ("https://\x00/", "not a URL"),
    ],
)
def test_a_url_that_is_not_sent_to_says_why(url, says):
    """BadEndpoint in words that never repeat a password."""
    with pytest.raises(BadEndpoint, match=says) as bad:
        check_url(url)

    assert "secret" not in str(bad.value)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://control.example/hooks/timbrado", ()),
        ("https://control.example:8443/", ()),
        ("http://127.0.0.1:8000/", ("127.0.0.1",)),
        ("http://localhost:8000/", ()),
        ("http://Receiver:8000/", ("receiver",)),
        ("https://10.1.2.3/", ("10.1.2.3",)),
    ],
)
def test_https_and_hosts_allowed_by_name_are_fine(url, allowed):
    """http and private addresses only for a host on the list."""
    check_url(url, frozenset(allowed))


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "secret", "whsec_" + "A" * 16, "whsec_!!!" + "A" * 40, "whsec_" + "A" * 120, "whsec_ñ"],
)
def test_a_weak_or_misspelled_secret_is_refused_and_not_shown(secret):
    """The library alone would sign with whatever bytes it can make of them."""
    with pytest.raises(BadEndpoint) as bad:
        check_secret(secret)

    assert not secret or secret in {"whsec_", "secret"} or secret not in str(bad.value)
