"""Tokens of `conectar`: signed, not stored, so that a restart keeps them good.

Both styles hold the same facts. An `opaque` token only looks as if it
could not be read; a client that decodes it has cheated. A `jwt` token is a real HS256 JWT with the claim
`IdEmpresa`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sandbox.accounts import Account


@dataclass(frozen=True)
class Claims:
    """What a good signature vouches for; whether it still counts is for the account to say."""

    account: str
    generation: int
    epoch: int
    ends_at: float


class Tokens:
    """Makes and reads tokens with one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._read: dict[str, Claims] = {}

    def issue(self, account: Account, now: datetime) -> str:
        """A token for this account, good for its `token_seconds`."""
        ends_at = now.timestamp() + account.behaviour.token_seconds
        payload = {
            "sub": account.name,
            "gen": account.generation,
            "epo": account.token_epoch,
            "exp": ends_at,
            "jti": secrets.token_hex(6),
        }
        if account.behaviour.token_style == "jwt":  # noqa: S105 - a style, not a token
            head = _b64(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
            signed = f"{head}.{_b64(json.dumps(payload | {'IdEmpresa': account.id_empresa}).encode())}"
            return f"{signed}.{_b64(self._sign(signed))}"
        plain = json.dumps(payload).encode()
        nonce = secrets.token_bytes(8)
        hidden = nonce + _xor(plain, self._stream(nonce, len(plain)))
        return _b64(hidden + self._sign(_b64(hidden)))

    def read(self, token: str) -> Claims | None:
        """What a token says, or None where its signature is not ours."""
        known = self._read.get(token)
        if known is not None:
            return known
        try:
            payload = self._payload(token)
        except (ValueError, UnicodeError):
            return None
        if payload is None:
            return None
        claims = Claims(payload["sub"], payload["gen"], payload["epo"], payload["exp"])
        if len(self._read) > 5000:
            self._read.clear()
        self._read[token] = claims
        return claims

    def _payload(self, token: str) -> dict[str, Any] | None:
        if token.count(".") == 2:
            signed, _, signature = token.rpartition(".")
            if not hmac.compare_digest(_unb64(signature), self._sign(signed)):
                return None
            return _object(_unb64(signed.partition(".")[2]))
        raw = _unb64(token)
        hidden, signature_bytes = raw[:-32], raw[-32:]
        if not hmac.compare_digest(signature_bytes, self._sign(_b64(hidden))):
            return None
        return _object(_xor(hidden[8:], self._stream(hidden[:8], len(hidden) - 8)))

    def _sign(self, text: str) -> bytes:
        return hmac.digest(self._secret, text.encode("ascii"), "sha256")

    def _stream(self, nonce: bytes, length: int) -> bytes:
        return hashlib.shake_256(self._secret + nonce).digest(length)


def _object(raw: bytes) -> dict[str, Any]:
    found = json.loads(raw)
    if not isinstance(found, dict):
        raise ValueError("a token holds an object")
    return found


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
