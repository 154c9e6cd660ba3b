"""Whether a webhook is the worker's: Standard Webhooks, verified with nothing but the standard library.

The signature is over the body's bytes as they came. A body that was parsed and written again is another text, and
never verifies.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping, Sequence

from timbrado_client.errors import VerificationFailed
from timbrado_client.events import Event, parse

TOLERANCE = 300
"""Seconds that a webhook's timestamp may lie from now, either way: what Standard Webhooks says."""
_NAMES = ("webhook-id", "webhook-timestamp", "webhook-signature")

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


def verify(
    payload: bytes | str,
    headers: Headers,
    secrets: str | Sequence[str],
    *,
    tolerance: float = TOLERANCE,
    now: float | None = None,
) -> Event:
    """Return the event of a webhook that is the worker's own, or raise VerificationFailed.

    `payload` is the raw body; `headers` any mapping or pairs, whatever their letter case. `secrets` is one
    `whsec_...`, or two (comma separated, or a list) while rotating. `now` is in seconds since 1970.
    Raises ValueError for a secret that is none, and EventUnreadable for a signed body that is no event.
    """
    if not isinstance(payload, bytes | str):
        raise TypeError("payload must be the raw body, bytes or str, not what was parsed from it")
    keys = [_key(secret) for secret in (secrets.split(",") if isinstance(secrets, str) else secrets)]
    if not keys:
        raise ValueError("verify needs a secret")
    message_id, timestamp, signatures = _signed(headers)
    _timely(timestamp, time.time() if now is None else now, tolerance)
    body = payload.encode() if isinstance(payload, str) else payload
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = [hmac.new(key, signed, hashlib.sha256).digest() for key in keys]
    # every pair is compared, and each in constant time: how long it takes says nothing
    if not sum(hmac.compare_digest(ours, theirs) for ours in expected for theirs in _offered(signatures)):
        raise VerificationFailed("signature", "no signature of this webhook is of a secret we know")
    return parse(body, id=message_id)


def _signed(headers: Headers) -> tuple[str, str, str]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    found = {str(name).lower(): value for name, value in pairs}
    missing = [name for name in _NAMES if not found.get(name)]
    if missing:
        raise VerificationFailed("headers", f"not a Standard Webhook: no {', '.join(missing)}")
    message_id, timestamp, signatures = (found[name] for name in _NAMES)
    return message_id, timestamp, signatures


def _timely(timestamp: str, now: float, tolerance: float) -> None:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16):
        raise VerificationFailed("headers", "webhook-timestamp is no number of seconds")
    age = now - int(timestamp)
    if age > tolerance:
        raise VerificationFailed(
            "too_old", f"sent {age:.0f} s ago: an old message played again, or a slow clock"
        )
    if age < -tolerance:
        raise VerificationFailed("too_new", f"sent {-age:.0f} s in the future: a clock is wrong")


def _offered(signatures: str) -> list[bytes]:
    """Return the v1 signatures of the header; other schemes and broken ones are passed over."""
    offered = []
    for each in signatures.split():
        scheme, _, encoded = each.partition(",")
        if scheme == "v1":
            try:
                offered.append(base64.b64decode(encoded.encode("ascii"), validate=True))
            except (binascii.Error, UnicodeEncodeError):
                continue
    return offered


def _key(secret: str) -> bytes:
    prefix, _, encoded = secret.strip().partition("_")
    try:
        key = base64.b64decode(encoded.encode("ascii"), validate=True) if prefix == "whsec" else b""
    except (binascii.Error, UnicodeEncodeError):
        key = b""
    if not 24 <= len(key) <= 64:
        raise ValueError("a webhook secret is whsec_ followed by 24 to 64 bytes in base64")
    return key
