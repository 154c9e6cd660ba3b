"""Under which key a document rests: `acme/2026/11/6a5f….xml`.

A key is derived from facts that never change (account, fecha, UUID), so whoever comes second finds the same
key, and the write-once put decides. The account is Apunto's own text and may hold anything: what is not
plainly safe in a path on every file system is written as `=` and two hex digits a byte. `=` itself is never
plain, so no two accounts meet. Capitals are not plain either: macOS and Windows would take `Acme` and `acme`
for one folder.
"""

import hashlib
import re
from datetime import date
from typing import Literal
from uuid import UUID

DocumentKind = Literal["xml", "pdf", "acuse"]

SUFFIXES: dict[DocumentKind, str] = {"xml": "xml", "pdf": "pdf", "acuse": "acuse.xml"}

CONTENT_TYPES = {"xml": "application/xml", "pdf": "application/pdf"}

QUARANTINE = "_quarantine"
"""Folder of what was refused. No account's folder begins with `_`, so it is nobody's."""

PROBES = "_probe"
"""Folder of the small objects a health probe writes and takes away."""

MARK = "_mark"
"""The one object that is written again and again: how far the database had come (stamping/recovery/mark.py)."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._-")
_PLAIN_FIRST = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789")
_LONGEST_SEGMENT = 120  # file systems take 255 bytes; the rest of the name and our temporary ones need room
_SEGMENT = re.compile(r"[A-Za-z0-9._=-]{1,255}")


def document_key(account: str, fecha: date, uuid: UUID | str, kind: DocumentKind) -> str:
    """The one key of a document of a stamped CFDI; `fecha` is the CFDI's own (local) date.

    Raises ValueError when `uuid` is not a UUID or `account` is empty.
    """
    folio_fiscal = uuid if isinstance(uuid, UUID) else UUID(uuid)
    return f"{segment(account)}/{fecha:%Y/%m}/{folio_fiscal}.{SUFFIXES[kind]}"


def quarantine_key(account: str, fecha: date, name: str | UUID, sha256: str, kind: DocumentKind) -> str:
    """The key for bytes that were not believed, or came second; with their hash, so each is kept once.

    `name` says whose they are: our invoice id, since the UUID inside may be the very thing that is wrong.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError("sha256 must be 64 lower-case hex digits")
    folder = f"{QUARANTINE}/{segment(account)}/{fecha:%Y/%m}"
    return f"{folder}/{segment(str(name))}.{sha256[:32]}.{SUFFIXES[kind]}"


def segment(text: str) -> str:
    """`text` as one folder or file name that is safe everywhere; two texts never give the same name."""
    if not text:
        raise ValueError("a name in a key must not be empty")
    raw = text.encode("utf-8", "surrogatepass")
    escaped = "".join(
        chr(byte) if byte in (_PLAIN if index else _PLAIN_FIRST) else f"={byte:02x}"
        for index, byte in enumerate(raw)
    )
    if escaped.endswith("."):  # Windows and some network shares drop it
        escaped = escaped[:-1] + "=2e"
    if len(escaped) <= _LONGEST_SEGMENT:
        return escaped
    # `==` occurs in no escaped text, so a shortened name never meets a plain one.
    return f"{escaped[:60]}=={hashlib.sha256(raw).hexdigest()[:40]}"


def check_key(key: str) -> str:
    """`key` itself when it could have been made here, else ValueError: nothing outside the store is
    touched."""
    parts = key.split("/")
    if not all(_SEGMENT.fullmatch(part) and not part.startswith(".") for part in parts):
        raise ValueError(f"not a document key: {key!r}")
    return key
