"""One try at one webhook: signed as Standard Webhooks says, over in time, and every ending is a value."""

import base64
import datetime as dt
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook, WebhookVerificationError

from events.delivery import Delivered, DeliveryFailed, Gone, Outgoing
from events.types import render
from events.webhook import BadEndpoint, WebhookSender
from tests.support.receiver import Answer, receiving

SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
NEXT_SECRET = "whsec_" + base64.b64encode(b"n" * 32).decode()
HERE = ("127.0.0.1",)
TRUSTING_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # quick to make, and these tests speak plain http
EVENT = Outgoing(
    UUID("01970000-0000-7000-8000-000000000001"),
    render(
        "invoice.rejected",
        datetime(2026, 11, 23, 16, 15, 3, tzinfo=UTC),
        {"message": "Corrígelo: Ñandú & Cía."},
    ),
    trace_id="trace-1",
)


def now() -> datetime:
    return datetime.now(UTC)


def a_sender(url: str, **other: object) -> WebhookSender:
    facts = {
        "secrets": [SECRET],
        "allowed_hosts": HERE,
        "whole_call": timedelta(seconds=5),
        "tls": TRUSTING_NOBODY,
    }
    return WebhookSender(url, **{**facts, **other})  # type: ignore[arg-type]


def test_a_receiver_verifies_what_it_gets():
    """With the library's own verify, over the bytes and headers as they came."""
    with receiving() as receiver, a_sender(receiver.url) as sender:
        outcome = sender.send(EVENT, now())

        (request,) = receiver.requests
        assert isinstance(outcome, Delivered)
        assert outcome.status == 204
        assert Webhook(SECRET).verify(request.body, request.headers) == EVENT.event
        assert request.headers["webhook-id"] == str(EVENT.id)
        assert request.headers["content-type"] == "application/json; charset=utf-8"
        assert request.headers["x-trace-id"] == "trace-1"


def test_while_rotating_both_secrets_sign():
    """Two signatures with a space between them: a receiver with either secret is content, a third is not."""
    with receiving() as receiver, a_sender(receiver.url, secrets=[NEXT_SECRET, SECRET]) as sender:
        sender.send(EVENT, now())

        (request,) = receiver.requests
        assert len(request.headers["webhook-signature"].split(" ")) == 2
        for secret in (SECRET, NEXT_SECRET):
            Webhook(secret).verify(request.body, request.headers)
        with pytest.raises(WebhookVerificationError):
            Webhook("whsec_" + "A" * 32).verify(request.body, request.headers)


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-6)), timezone(timedelta(hours=14))])
def test_the_signed_instant_is_utc_whatever_zone_the_clock_has(zone):
    """The library takes any datetime's wall clock for UTC: its own verify would find it six hours off."""
    with receiving() as receiver, a_sender(receiver.url) as sender:
        sender.send(EVENT, now().astimezone(zone))

        (request,) = receiver.requests
        Webhook(SECRET).verify(request.body, request.headers)
        assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 30


def test_an_instant_without_zone_is_a_mistake_of_ours():
    """ValueError before anything is sent."""
    with a_sender("http://127.0.0.1:9/") as sender, pytest.raises(ValueError, match="time zone"):
        sender.send(EVENT, datetime(2026, 11, 23))


def test_the_id_stays_and_the_timestamp_moves_at_a_retry():
    """A receiver can drop what it has, and can check the age."""
    with receiving() as receiver, a_sender(receiver.url) as sender:
        sender.send(EVENT, now())
        sender.send(EVENT, now() + timedelta(seconds=90))

        first, second = receiver.requests
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert first.body == second.body
        assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) in {90, 91}


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_2xx_counts(status):
    """200, 201, 202 and 204 are Delivered."""
    with receiving(Answer(status)) as receiver, a_sender(receiver.url) as sender:
        assert isinstance(sender.send(EVENT, now()), Delivered)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 429, 500, 502, 503])
def test_other_answers_are_failures_with_their_words(status):
    """Status and the body's first words, cleaned."""
    with receiving(Answer(status, body=b"no\n  hoy\x00")) as receiver, a_sender(receiver.url) as sender:
        outcome = sender.send(EVENT, now())

    assert isinstance(outcome, DeliveryFailed)
    assert (outcome.status, outcome.why) == (status, f"HTTP {status}: no hoy")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status):
    """Not even to the same server: what was checked is the URL in the setting."""
    with receiving(Answer(status, {"Location": "/elsewhere"})) as receiver, a_sender(receiver.url) as sender:
        outcome = sender.send(EVENT, now())

        assert isinstance(outcome, DeliveryFailed)
        assert "not followed" in outcome.why
        assert [request.path for request in receiver.requests] == ["/hooks/timbrado"]


def test_410_says_that_nobody_lives_there():
    """Gone, and not a failure to try again."""
    with receiving(Answer(410)) as receiver, a_sender(receiver.url) as sender:
        assert isinstance(sender.send(EVENT, now()), Gone)


def test_nobody_listening_is_a_failure():
    """Without a status, and it says that there was no connection."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with a_sender(f"http://127.0.0.1:{port}/") as sender:
        outcome = sender.send(EVENT, now())

    assert isinstance(outcome, DeliveryFailed)
    assert outcome.status is None
    assert outcome.why.startswith("no connection")


@pytest.mark.parametrize("answer", [Answer(200, hang=30), Answer(0)])
def test_silence_and_a_cut_connection_are_failures(answer):
    """Both end within the limit, without a status."""
    with receiving(answer) as receiver, a_sender(receiver.url, whole_call=timedelta(seconds=0.3)) as sender:
        outcome = sender.send(EVENT, now())

    assert isinstance(outcome, DeliveryFailed)
    assert outcome.status is None


def test_a_header_line_that_drips_does_not_outlive_the_whole_call():
    """Each byte resets an ordinary read timeout; the deadline of the whole call does not care."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(65536)
                try:
                    for byte in (
                        b"HTTP/1.1 200 OK\r\nX-Slow: " + b"." * 500 + b"\r\nContent-Length: 0\r\n\r\n"
                    ):
                        peer.sendall(bytes([byte]))
                        time.sleep(0.05)
                except OSError:
                    pass

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with a_sender(url, whole_call=timedelta(seconds=0.4)) as sender:
            outcome = sender.send(EVENT, now())
        thread.join()

    assert isinstance(outcome, DeliveryFailed)  # to whoever waits for its end it is a 200


def test_a_body_that_never_ends_changes_nothing():
    """2xx came: that counts, and the rest is not waited for; it comes only after the outcome."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        known = threading.Event()

        def begin() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx")
                known.wait()

        thread = threading.Thread(target=begin, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with a_sender(url, whole_call=timedelta(hours=1)) as sender:
            outcome = sender.send(EVENT, now())
        known.set()
        thread.join()

    assert isinstance(outcome, Delivered)


def test_a_name_that_resolves_to_a_private_address_is_not_connected_to():
    """The receiver on loopback gets nothing."""
    with receiving() as receiver:
        url = f"https://control.example:{receiver.port}/"
        with a_sender(url, allowed_hosts=(), resolver=lambda host, port: ["127.0.0.1", "::1"]) as sender:
            outcome = sender.send(EVENT, now())

        assert isinstance(outcome, DeliveryFailed)
        assert outcome.why.startswith("address not allowed: control.example is 127.0.0.1")
        assert receiver.requests == []


def test_the_connection_goes_to_the_address_that_was_checked():
    """A name that changes its answer (rebinding) is asked once a connection, and that answer is used."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    with receiving(Answer(headers={"Connection": "close"})) as receiver:
        url = f"http://control.example:{receiver.port}/"
        with a_sender(url, allowed_hosts=("control.example",), resolver=lambda *_: next(answers)) as sender:
            first = sender.send(EVENT, now())
            second = sender.send(EVENT, now())

        assert isinstance(first, Delivered)
        assert isinstance(second, DeliveryFailed)  # nobody listens at 127.0.0.2
        assert [request.headers["host"] for request in receiver.requests] == [
            f"control.example:{receiver.port}"
        ]


def test_a_silent_first_address_leaves_the_next_its_turn():
    """The second address is delivered to."""
    with receiving() as receiver:
        url = f"http://control.example:{receiver.port}/"
        resolver = lambda *_: ["127.0.0.2", "127.0.0.1"]  # noqa: E731
        with a_sender(url, allowed_hosts=("control.example",), resolver=resolver) as sender:
            assert isinstance(sender.send(EVENT, now()), Delivered)


def test_a_resolver_that_hangs_or_fails_is_a_failure_in_time():
    """Both are reported as not resolved."""

    def hangs(host: str, port: int) -> list[str]:
        time.sleep(10)
        return ["127.0.0.1"]

    def fails(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    for resolver in (hangs, fails):
        with a_sender(
            "https://control.example/", resolver=resolver, whole_call=timedelta(seconds=0.1)
        ) as sender:
            outcome = sender.send(EVENT, now())

        assert isinstance(outcome, DeliveryFailed)
        assert "not resolved" in outcome.why


def test_tls_names_the_host_and_not_the_address(tmp_path):
    """Pinned to an address, the certificate is still that of the name, and SNI carries the name."""
    trusting, serving = certificates_for("control.example", tmp_path)
    seen: list[str | None] = []
    serving.sni_callback = lambda _socket, name, _context: seen.append(name)
    with receiving(tls=serving) as receiver:
        url = f"https://control.example:{receiver.port}/"
        facts = {"allowed_hosts": ("control.example", "other.example"), "resolver": lambda *_: ["127.0.0.1"]}
        with a_sender(url, tls=trusting, **facts) as sender:
            right = sender.send(EVENT, now())
        with a_sender(url.replace("control", "other"), tls=trusting, **facts) as sender:
            wrong = sender.send(EVENT, now())
        with a_sender(url, tls=None, **facts) as sender:
            stranger = sender.send(EVENT, now())

    assert isinstance(right, Delivered)
    assert seen == ["control.example", "other.example", "control.example"]
    assert isinstance(wrong, DeliveryFailed)
    assert "certificate" in wrong.why.lower()
    assert isinstance(stranger, DeliveryFailed)
    assert len(receiver.requests) == 1


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    """A proxy would resolve the name itself, behind the guard."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with receiving() as receiver, a_sender(receiver.url) as sender:
        assert isinstance(sender.send(EVENT, now()), Delivered)


def test_without_a_secret_nothing_is_sent():
    """A sender without one cannot be made."""
    with pytest.raises(BadEndpoint, match="needs a secret"):
        a_sender("https://control.example/", secrets=[])


def test_a_trace_id_that_is_no_header_is_left_out():
    """A line break in it adds no header."""
    with receiving() as receiver, a_sender(receiver.url) as sender:
        sender.send(Outgoing(EVENT.id, EVENT.event, trace_id="a\r\nX-Evil: 1"), now())

        assert "x-trace-id" not in receiver.requests[0].headers
        assert "x-evil" not in receiver.requests[0].headers


def test_a_throttled_try_shows_how_long_to_wait():
    """A throttled try tells how long to wait."""
    with receiving(Answer(429, {"Retry-After": "77"})) as receiver, a_sender(receiver.url) as sender:
        outcome = sender.send(EVENT, now())

    assert isinstance(outcome, DeliveryFailed)
    assert outcome.retry_after == timedelta(seconds=77)


def certificates_for(name: str, tmp_path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A context that trusts a certificate made for `name`, and one that serves it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(dt.datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (tmp_path / "cert.pem").write_bytes(
        pem
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "cert.pem")
    return ssl.create_default_context(cadata=pem.decode()), serving
