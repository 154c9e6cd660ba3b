"""Reads one field of a JSON body as the type it must have; what has another is refused by name.

`True` is an `int` in Python. A body that says `"Id": true` is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from sandbox import refusals

_TOO_MUCH: Final = Decimal(10) ** 18
_MILLIONTH: Final = Decimal("0.000001")


def names(raw: Mapping[str, Any], wanted: frozenset[str], optional: frozenset[str], at: str) -> None:
    """Refuse a missing and an unknown field, the first of each; `at` is the path before the names."""
    missing = sorted(wanted - raw.keys())
    if missing:
        raise refusals.body(f"Falta el campo {at}{missing[0]}")
    unknown = sorted(raw.keys() - wanted - optional)
    if unknown:
        raise refusals.body(f"Campo desconocido: {at}{unknown[0]}")


def whole(raw: Mapping[str, Any], field: str, at: str = "") -> int:
    """An integer."""
    value = raw[field]
    if isinstance(value, bool) or not isinstance(value, int):
        raise refusals.body(f"{at}{field} debe ser un número entero")
    return value


def text(raw: Mapping[str, Any], field: str) -> str:
    """A text that is not blank."""
    value = raw[field]
    if not isinstance(value, str) or not value.strip():
        raise refusals.body(f"{field} debe ser un texto")
    return value


def optional(raw: Mapping[str, Any], field: str, at: str) -> str:
    """A text, or null, which is the same as an empty one."""
    value = raw[field]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise refusals.body(f"{at}{field} debe ser un texto")
    return value


def amount(raw: Mapping[str, Any], field: str, at: str = "") -> Decimal:
    """A number from the text it was sent as; null is zero."""
    value = raw[field]
    if value is None:
        return Decimal(0)
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        raise refusals.body(f"{at}{field} debe ser un número")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise refusals.body(f"{at}{field} debe ser un número") from None
    if not number.is_finite() or abs(number) >= _TOO_MUCH:
        raise refusals.body(f"{at}{field} debe ser un número")
    return number


def rate(raw: Mapping[str, Any], field: str, at: str) -> Decimal:
    """A percentage as a fraction with six decimals: 10.6667 is 0.106667."""
    return (amount(raw, field, at) / 100).quantize(_MILLIONTH)
