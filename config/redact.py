"""What must never be read in a log or on a terminal, and how it is taken out.

It imports the standard library alone: every start of the command line pays for it.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

_SECRET_NAMES = re.compile(
    r"(?i)(?:api_?key|token|password|passwd|secret|authorization|credential|cookie|private)"
)
_HARMLESS_NAMES = re.compile(r"(?i)_?(?:at|count|age|kind|type|id|sha256)$")

# What must never be read in a log, and what stands in its place; the longer before what is part of it.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(Bearer|Basic)\s+[\w.~+/=-]{6,}"), r"\1 ***"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?"), "***jwt***"),
    (re.compile(r"\bgAAAAA[\w-]{30,}={0,2}"), "***fernet***"),
    (re.compile(r"\bwhsec_[\w+/=-]+"), "whsec_***"),
    (re.compile(r"(?<![\w+/=-])[\w-]{43}=(?![\w=])"), "***key***"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/@]+@"), r"\1:***@"),
    (
        re.compile(
            r"""(?ix)(\b(?:api_?key|x-api-key|token|password|passwd|secret)["']?\s*[=:]\s*)(["']?)[^\s"',;&}]+"""
        ),
        r"\1\2***",
    ),
    (re.compile(r"[\w.+%'-]+@[\w-]+(?:\.[\w-]+)+"), "***email***"),
    # RFC: three letters (moral) or four (física), a date, three of homoclave. Month and day are looked at,
    # and a dash before it is not allowed, or the last group of a UUID could pass for one.
    (
        re.compile(
            r"(?<![\w&-])[A-ZÑ&]{3,4}\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[A-Z\d]{2}[A\d](?![\w&-])"
        ),
        "***rfc***",
    ),
)

_PLAIN = re.compile(r"(?!.*whsec_)[a-z0-9_.-]*(?:@[a-z0-9_-]*)?")
"""All small letters, digits and dashes, perhaps at a host without a dot (a worker's name): nothing of the above but
whsec_ can be in it. Most of what a line says is so, and to search it nine times cost more than the rest of the line."""


def clean(text: str) -> str:
    """The same text without what must not be read: keys, tokens, passwords, RFCs, e-mail addresses."""
    if _PLAIN.fullmatch(text):
        return text
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def clean_value(value: Any) -> Any:
    """The same value without what must not be read, whichever of its parts holds it."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return clean(value)
        case Mapping():
            return {str(name): clean_named(str(name), inner) for name, inner in value.items()}
        case bytes() | bytearray():
            return f"<{len(value)} bytes>"
        case Sequence() | set() | frozenset():
            return [clean_value(inner) for inner in value]
        case _:
            return clean(str(value))


@lru_cache(maxsize=1024)  # names are few, and come with every line
def _is_secret(name: str) -> bool:
    return bool(_SECRET_NAMES.search(name)) and not _HARMLESS_NAMES.search(name)


def clean_named(name: str, value: Any) -> Any:
    """The same value, or nothing of it where its name says that it is a secret."""
    if value is not None and _is_secret(name):
        return "***"
    return clean_value(value)
