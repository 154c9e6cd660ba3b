"""Whether a webhook is believed: Standard Webhooks, every way it can be wrong, and two secrets while rotating."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from timbrado_client import EventUnreadable, InvoiceEvent, VerificationFailed, verify

NOW = 1_795_449_303
SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(32))).decode()
ID = "01970000-0000-7000-8000-000000000001"
BODY = json.dumps(
    {
        "type": "invoice.stamped",
        "timestamp": "2026-11-23T16:15:03Z",
        "data": {"account": "acme", "external_id": "ñandú-1", "version": 4, "status": "stamped"},
    },
    ensure_ascii=False,
).encode()


def signature(secret: str = SECRET, *, id: str = ID, at: int | str = NOW, body: bytes = BODY) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def headers(**changes: str | None) -> dict[str, str]:
    headers = {"webhook-id": ID, "webhook-timestamp": str(NOW), "webhook-signature": signature()}
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in headers.items() if value is not None}


def test_the_example_of_the_standard_verifies() -> None:
    """The vector of the Standard Webhooks specification: key, id, timestamp and signature are theirs.

    Its body is no event of ours, so it is found genuine and then unreadable.
    """
    with pytest.raises(EventUnreadable):
        verify(
            '{"test": 2432232314}',
            {
                "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "webhook-timestamp": "1614265330",
                "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            },
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            now=1614265330,
        )


@pytest.mark.parametrize(
    ("payload", "given"),
    [
        (BODY, headers()),
        (BODY.decode(), headers()),
        (BODY, {name.title(): value for name, value in headers().items()}),
        (BODY, list(headers().items())),
        (BODY, headers(webhook_signature=f"v1a,AAAA v2,x {signature()}")),
        (BODY, headers(webhook_signature=f"{signature(OTHER)} {signature()}")),
    ],
    ids=["bytes", "text", "title case", "pairs", "other schemes", "two signatures"],
)
def test_a_genuine_webhook_gives_its_event(payload: Any, given: Any) -> None:
    """Whatever form a framework hands body and headers in; the event knows the webhook's id."""
    event = verify(payload, given, SECRET, now=NOW)

    assert isinstance(event, InvoiceEvent)
    assert (event.id, event.data.external_id) == (ID, "ñandú-1")


@pytest.mark.parametrize(
    "secrets", [f"{OTHER},{SECRET}", f" {SECRET} , {OTHER} ", [OTHER, SECRET], (SECRET,)]
)
def test_any_of_our_secrets_will_do(secrets: Any) -> None:
    """While rotating there are two, in any order."""
    assert verify(BODY, headers(), secrets, now=NOW)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (headers(webhook_signature=signature(OTHER)), "signature"),
        (headers(webhook_id="msg_other"), "signature"),
        (headers(webhook_timestamp=str(NOW + 1)), "signature"),
        (headers(webhook_signature=signature().replace("v1,", "v2,")), "signature"),
        (headers(webhook_signature=signature()[:-4]), "signature"),
        (headers(webhook_signature="v1,ñ v1,*** v1, v1"), "signature"),
        (headers(webhook_signature=signature().removeprefix("v1,")), "signature"),
        (headers(webhook_id=None), "headers"),
        (headers(webhook_timestamp=""), "headers"),
        (headers(webhook_signature=None), "headers"),
        ({}, "headers"),
        (headers(webhook_timestamp="ayer"), "headers"),
        (headers(webhook_timestamp="-5"), "headers"),
        (headers(webhook_timestamp="١٢٣"), "headers"),
        (headers(webhook_timestamp="9" * 400), "headers"),
        (
            headers(webhook_timestamp=str(NOW - 301), webhook_signature=signature(at=NOW - 301)),
            "too_old",
        ),
        (
            headers(webhook_timestamp=str(NOW + 301), webhook_signature=signature(at=NOW + 301)),
            "too_new",
        ),
    ],
)
def test_a_webhook_that_nobody_vouches_for_is_refused(given: dict[str, str], reason: str) -> None:
    """Signed by another, changed on its way, incomplete, or played again later."""
    with pytest.raises(VerificationFailed) as refused:
        verify(BODY, given, SECRET, now=NOW)

    assert refused.value.reason == reason


def test_one_changed_byte_is_refused() -> None:
    """The signature is over every byte of the body."""
    for place in range(len(BODY)):
        changed = BODY[:place] + bytes([BODY[place] ^ 1]) + BODY[place + 1 :]
        with pytest.raises(VerificationFailed):
            verify(changed, headers(), SECRET, now=NOW)


@pytest.mark.parametrize("age", [-300, 0, 300])
def test_five_minutes_either_way_are_in_time(age: int) -> None:
    """Clocks differ; the standard gives them five minutes."""
    given = headers(webhook_timestamp=str(NOW - age), webhook_signature=signature(at=NOW - age))

    assert verify(BODY, given, SECRET, now=NOW)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_***", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", []]
)
def test_a_secret_that_is_none_is_a_wrong_setting(secret: Any) -> None:
    """A forgotten setting must never let everything pass, nor look like a forged message."""
    with pytest.raises(ValueError, match="secret"):
        verify(BODY, headers(), secret, now=NOW)


def test_a_parsed_body_is_refused_by_name() -> None:
    """The commonest mistake: handing over what the framework parsed."""
    with pytest.raises(TypeError, match="raw body"):
        verify(json.loads(BODY), headers(), SECRET, now=NOW)


@pytest.mark.parametrize("body", [b"", b"[]", b"no json", b'{"type": "invoice.stamped"}', b"\xff"])
def test_a_signed_body_that_is_no_event_says_so(body: bytes) -> None:
    """It came from the worker's key: a developer's matter, not a forger's."""
    with pytest.raises(EventUnreadable):
        verify(body, headers(webhook_signature=signature(body=body)), SECRET, now=NOW)
