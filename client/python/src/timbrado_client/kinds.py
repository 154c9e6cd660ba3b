"""The kinds of value in an invoice: how each is checked here, and how it is written in JSON.

The one thing a newcomer would get wrong: an amount is a string or a `Decimal`, never a float or an int, because
the decimals that are printed matter to the SAT (`"0.160000"`). The checks are those of the worker; a test of the
project holds the two against each other.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?")
_WHOLE, _FRACTION = 18, 6  # digits of t_Importe, tdCFDI.xsd


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("text_expected", "text expected")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("text_broken", "lone surrogate") from None
    return value


def _amount(value: object) -> Decimal:
    if isinstance(value, Decimal):
        value = written(value)
    if not isinstance(value, str):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        raise PydanticCustomError(
            "amount_is_a_number" if number else "amount_expected", "decimal string expected"
        )
    if _DECIMAL.fullmatch(value) is None:
        raise PydanticCustomError("amount_malformed", "not a decimal")
    whole, _, fraction = value.partition(".")
    if whole.startswith("-"):
        raise PydanticCustomError("amount_negative", "negative")
    if len(fraction) > _FRACTION:
        raise PydanticCustomError("amount_too_fine", "more than 6 decimals")
    if len(whole) > _WHOLE:
        raise PydanticCustomError("amount_too_long", "more than 18 digits")
    return Decimal(value)


def _instant(value: object) -> datetime:
    if isinstance(value, datetime):
        value = value.isoformat()
    if not isinstance(value, str):
        raise PydanticCustomError("instant_expected", "instant expected")
    text = value.strip()
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise PydanticCustomError("instant_malformed", "not RFC 3339")
    fraction, zone = match.groups()
    if zone is None:
        raise PydanticCustomError("instant_without_zone", "no zone")
    if fraction is not None:  # Fecha has whole seconds
        text = text.replace(fraction, "", 1)
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        raise PydanticCustomError("instant_malformed", "no such instant") from None


def _year(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch("[0-9]{4}", value):
        return int(value)
    raise PydanticCustomError("year_expected", "year expected")


def _version(value: object) -> int:
    if type(value) is int and value == 1:
        return 1
    raise PydanticCustomError("version_unknown", "version 1 expected")


def _blank_is_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _null_is_empty(value: object) -> object:
    return () if value is None else value


def written(amount: Decimal) -> str:
    """Write an amount with all its decimals and no exponent."""
    return f"{amount:f}"


def plain(value: Any) -> Any:
    """Return a copy of a value as JSON knows it; what has no place in JSON stays as it is, to be refused."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Decimal):
        return written(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


_DECIMAL_SCHEMA = {"type": "string", "pattern": rf"^[0-9]{{1,{_WHOLE}}}(\.[0-9]{{1,{_FRACTION}}})?$"}
_INSTANT_SCHEMA = {"type": "string", "format": "date-time"}
_AS_TEXT = PlainSerializer(written, return_type=str, when_used="json-unless-none")
_AS_ISO = PlainSerializer(datetime.isoformat, return_type=str, when_used="json-unless-none")

NULL_IS_EMPTY = BeforeValidator(_null_is_empty)
"""For lists: `null` says the same as an empty one."""

Text = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": "string"})]
Amount = Annotated[Decimal, BeforeValidator(_amount), _AS_TEXT, WithJsonSchema(_DECIMAL_SCHEMA)]
Instant = Annotated[datetime, BeforeValidator(_instant), _AS_ISO, WithJsonSchema(_INSTANT_SCHEMA)]
Year = Annotated[int, BeforeValidator(_year), WithJsonSchema({"type": ["integer", "string"]})]
Version = Annotated[int, BeforeValidator(_version), WithJsonSchema({"const": 1})]
MaybeText = Annotated[Text | None, BeforeValidator(_blank_is_none)]
MaybeAmount = Annotated[Amount | None, BeforeValidator(_blank_is_none)]
MaybeInstant = Annotated[Instant | None, BeforeValidator(_blank_is_none)]
RefusedText = Annotated[MaybeText, WithJsonSchema({"type": "null"})]
"""A field of the SAT's that is read only to be refused with the SAT's own code."""
