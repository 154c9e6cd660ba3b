"""Reads the fields of a JSON object as the types they must have; what has another is refused by name.

`True` is an `int` in Python. A body that says `"Id": true` is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

from sandbox import refusals

_TOO_MUCH: Final = Decimal(10) ** 18
_MILLIONTH: Final = Decimal("0.000001")


class Fields:
    """One object of a body; `at` is the path before its names, `numbers` the form that numbers must have."""

    def __init__(
        self, raw: Mapping[str, Any], at: str = "", numbers: Literal["number", "string", "either"] = "either"
    ) -> None:
        self.raw = raw
        self.at = at
        self._numbers = numbers

    def inside(self, raw: Mapping[str, Any], at: str) -> Fields:
        """An object within this one, read the same way."""
        return Fields(raw, at, self._numbers)

    def names(
        self, wanted: frozenset[str], optional: frozenset[str], *, ignore_unknown: bool = False
    ) -> None:
        """Refuse a missing and an unknown field, the first of each."""
        missing = sorted(wanted - self.raw.keys())
        if missing:
            raise refusals.body(f"Falta el campo {self.at}{missing[0]}")
        unknown = sorted(self.raw.keys() - wanted - optional)
        if unknown and not ignore_unknown:
            raise refusals.body(f"Campo desconocido: {self.at}{unknown[0]}")

    def whole(self, field: str) -> int:
        """An integer."""
        value = self.raw[field]
        if isinstance(value, bool) or not isinstance(value, int):
            raise refusals.body(f"{self.at}{field} debe ser un número entero")
        return value

    def flag(self, field: str) -> bool:
        """True or false."""
        value = self.raw[field]
        if not isinstance(value, bool):
            raise refusals.body(f"{self.at}{field} debe ser true o false")
        return value

    def text(self, field: str) -> str:
        """A text that is not blank."""
        value = self.raw[field]
        if not isinstance(value, str) or not value.strip():
            raise refusals.body(f"{self.at}{field} debe ser un texto")
        return value

    def optional(self, field: str) -> str:
        """A text; null, and a field that is not there, are the same as an empty one."""
        value = self.raw.get(field)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise refusals.body(f"{self.at}{field} debe ser un texto")
        return value

    def amount(self, field: str) -> Decimal:
        """A number from the text it was sent as; null is zero."""
        value = self.raw[field]
        if value is None:
            return Decimal(0)
        wanted = {"number": (int, Decimal), "string": (str,)}.get(self._numbers, (int, str, Decimal))
        if isinstance(value, bool) or not isinstance(value, wanted):
            kind = "un texto con un número" if self._numbers == "string" else "un número"
            raise refusals.body(f"{self.at}{field} debe ser {kind}")
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise refusals.body(f"{self.at}{field} debe ser un número") from None
        if not number.is_finite() or abs(number) >= _TOO_MUCH:
            raise refusals.body(f"{self.at}{field} debe ser un número")
        return number


def fraction(rate: Decimal) -> Decimal:
    """A rate with the six decimals that TasaOCuota has."""
    return rate.quantize(_MILLIONTH)
