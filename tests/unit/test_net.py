"""One reading of addresses and of Retry-After for settings, ContaDigital's client and webhooks."""

from datetime import UTC, datetime, timedelta

import pytest

from config import values
from contadigital.replies import Answer, parse
from events.webhook import BadEndpoint, check_url
from net.addresses import address_fault, endpoint_of
from net.headers import LONGEST_WAIT, retry_after
from worker.resources import allowed_hosts

NOW = datetime(2026, 11, 29, tzinfo=UTC)
HOSTS = frozenset({"2130706433", "2001:db8::1", "localhost.", "LOCALHOST", "sandbox", "127.1"})

ADDRESSES = {
    "http://2130706433:8080": False,
    "http://[2001:db8::1]:8080": False,
    "https://[2001:db8::1]": True,
    "http://[::1]:8080": True,
    "http://localhost.:8080": True,
    "http://LOCALHOST:80": True,
    "http://sandbox:8080": True,
    "http://127.0.0.1:8080": True,
    "http://127.1:80": False,
    "http://app.contadigital.mx": False,
    "https://app.contadigital.mx/dev/pruebas": True,
    "https://user:pw@app.contadigital.mx": False,
}


@pytest.mark.parametrize(("url", "is_good"), ADDRESSES.items())
def test_what_the_settings_take_is_what_is_called(url: str, is_good: bool):
    """An address that the settings take is called, and one that is not called does not pass the settings."""
    settings = _is_taken_by_settings(url)

    assert settings is is_good
    assert (address_fault(url, {endpoint_of(url)}) is None) is is_good


def _is_taken_by_settings(url: str) -> bool:
    try:
        values.https(url)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("url", [url for url, is_good in ADDRESSES.items() if is_good])
def test_a_webhook_allowed_by_name_may_go_wherever_the_settings_let_it(url: str):
    """A host allowed by name is a receiver, whatever way its name is written."""
    host = endpoint_of(url).rpartition(":")[0].strip("[]")

    check_url(url, frozenset({host}))


@pytest.mark.parametrize(
    "url", ["http://2130706433:8080", "http://[2001:db8::1]:8080", "http://sandbox:8080"]
)
def test_a_webhook_goes_nowhere_private_unasked(url: str):
    """Without an allowance neither plain http nor a private address is a receiver."""
    with pytest.raises(BadEndpoint):
        check_url(url)


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("::1", "http://[::1]:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("[::1]", "http://[::1]:8080"),
        ("Localhost.:80", "http://localhost"),
        ("app.contadigital.mx:443", "https://app.contadigital.mx/x"),
    ],
)
def test_an_entry_of_an_allow_list_may_be_written_in_any_way(entry: str, url: str):
    """A host, a host with its port, an IPv6 address with or without brackets: each names the same place."""
    assert address_fault(url, {entry}) is None
    assert address_fault(url, {"elsewhere.example"}) == "host not on the allow-list"


@pytest.mark.parametrize("name", ["::1", "[2001:db8::1]", "fd00::1", "App.Contadigital.MX."])
def test_the_settings_take_ipv6_hosts(name: str):
    """An IPv6 address is a host like any other."""
    assert values.host(name) == name.lower().strip("[]").rstrip(".")


@pytest.mark.parametrize("url", ["http://[::1]:8080", "http://127.0.0.1:8080", "https://[2001:db8::1]"])
def test_the_installations_own_address_is_always_called(url: str):
    """What TIMBRADO_CONTADIGITAL_URL names is on the allow-list that is made of it."""

    class AllowedHosts:
        contadigital_url = url
        contadigital_hosts = ()

    assert address_fault(url, allowed_hosts(AllowedHosts())) is None  # type: ignore[arg-type]  # the two settings that are read


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("120", timedelta(minutes=2)),
        (" 120 ", timedelta(minutes=2)),
        ("Sun, 29 Nov 2026 00:01:00 GMT", timedelta(minutes=1)),
        ("Sun, 29 Nov 2026 00:01:00", timedelta(minutes=1)),
        ("Sat, 28 Nov 2026 00:00:00 GMT", timedelta(0)),
        ("-5", None),
        ("1e3", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("60000", LONGEST_WAIT),  # milliseconds, most likely
        ("99999999999", LONGEST_WAIT),
        ("9" * 400, LONGEST_WAIT),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT),
        ("Fri, 31 Dec 99999 23:59:59 +9999", None),
    ],
)
def test_retry_after_is_bounded_in_both_forms(header: str | None, expected: timedelta | None):
    """No answer, whatever its number, keeps an account waiting for longer than the longest wait."""
    assert retry_after(header, NOW) == expected


STRANGE = [
    b'{"Codigo": 1, "Resultado": {"Id": 99999999999999999999}}',
    b'{"Codigo": 99999999999, "Resultado": {"Id": 1}}',
    b'{"Codigo": "99999999999", "Resultado": {"Id": 1}}',
    b'{"Codigo": 1, "Resultado": {"Id": 1, "Total": 1e99999999999999999999}}',
    b'{"Codigo": 1, "Resultado": {"Id": 1, "Total": 1e9999}}',
    b'{"Codigo": 1, "Resultado": {"Id": 1, "Total": NaN}}',
    b'{"Codigo": 1, "Resultado": {"Id": 1, "Total": -Infinity}}',
    b'{"Codigo": 1, "Resultado": {"Id": 1, "Serie": "A\\u0000"}}',
    b'{"Codigo": 1, "Resultado": {"Id": 1, "Folio": "\\ud800"}}',
    b'{"Codigo": 1, "Resultado": {"\\udfff": 1}}',
    b'{"Codigo": 1, "Resultado": {"Id": ' + b"1" * 5000 + b"}}",
    b"[" * 100_000,
    b"\xff\xfe",
    b"",
    b"5",
    b'"text"',
]


@pytest.mark.parametrize("body", STRANGE, ids=range(len(STRANGE)))
def test_what_no_column_holds_is_an_answer_that_was_not_understood(body: bytes):
    """Ids beyond bigint, huge exponents, NUL and half characters are never taken for an answer, and never raise."""
    reply = parse(Answer("guardar", 200, {}, body), now=NOW)

    assert not reply.understood
    assert not reply.is_done


def test_good_numbers_and_characters_are_understood():
    """The bounds leave what an invoice can hold."""
    body = b'{"Codigo": 1, "Resultado": {"Id": 9223372036854775807, "Total": 123456789012.123456, "Serie": "\\u00d1"}}'

    assert parse(Answer("guardar", 200, {}, body), now=NOW).is_done
