"""The kinds of value in an invoice: how each is read, and how it is written in JSON.

An amount is a string or a `Decimal`, never a float or an int: the decimals that are printed matter to the SAT
(`"0.160000"`), and a JSON number loses them. What is refused gets an error type of ours, put into words by `explain`.
"""

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

# t_Importe of tdCFDI.xsd, with the sign let through so that the fault can speak of it.
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_WHOLE, _FRACTION = 18, 6
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?")
FIRST_YEAR, LAST_YEAR = 1900, 2200

_UNPRINTABLE = {"Zs": " ", "Cf": ""}
"""Blanks of every width are blanks; format characters (zero width, soft hyphen, marks of direction) are nothing."""
_BLANKS = re.compile("[ \t\n\x0b\x0c\r\x85\u2028\u2029]+")
"""Blanks, tabs and line breaks: what a text area or a CSV leaves in a field, and XML reads as blanks."""


def _read_text(value: object) -> str:
    """Take a text as XSD's whiteSpace=collapse would leave it: no blanks at the ends nor doubled inside.

    A tab or a line break is a blank too.
    """
    text = _read_identifier(value)
    return text if text.isprintable() else _BLANKS.sub(" ", text).strip(" ")


def _read_required(value: object) -> str:
    """Take a text that has to be there: an empty field of a form is one that was not filled in."""
    text = _read_text(value)
    if not text:
        raise PydanticCustomError("missing", "nothing was entered")
    return text


def _read_identifier(value: object) -> str:
    """Take a text with its blanks collapsed; what is a line break or a tab stays, to be refused.

    What a copy from a PDF or a web page brings along unseen goes too: composed letters (NFC, or an Ñ of two
    characters would be another name to the SAT), every kind of blank as one, and characters without a width.
    """
    if not isinstance(value, str):
        raise PydanticCustomError("text_expected", "text expected")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise PydanticCustomError("text_broken", "lone surrogate") from None
        value = unicodedata.normalize("NFC", value)
        if not value.isprintable():
            value = "".join(_UNPRINTABLE.get(unicodedata.category(letter), letter) for letter in value)
    if "  " in value:
        value = re.sub(" {2,}", " ", value)
    return str.strip(value, " ")


def _read_name(value: object) -> str:
    """Take a name as the SAT writes it: upper case, single blanks; accents and Ñ stay.

    But for PUBLICO EN GENERAL, which the SAT knows without its accent alone (CFDI40130, CFDI40146).
    """
    name = _read_required(value).upper()
    return "PUBLICO EN GENERAL" if name == "PÚBLICO EN GENERAL" else name


def _read_amount(value: object) -> Decimal:
    """Take a decimal written as a string, or a Decimal; its scale is kept."""
    if isinstance(value, Decimal):
        value = written(value)
    if not isinstance(value, str):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        raise PydanticCustomError(
            "amount_is_a_number" if number else "amount_expected", "decimal string expected"
        )
    if _DECIMAL.fullmatch(value) is None:
        value = _read_text(value)
        if _DECIMAL.fullmatch(value) is None:
            raise PydanticCustomError("amount_malformed" if value else "missing", "not a decimal")
    whole, _, fraction = value.partition(".")
    if whole.startswith("-"):
        raise PydanticCustomError("amount_negative", "negative")
    if len(fraction) > _FRACTION:
        raise PydanticCustomError("amount_too_fine", "more than 6 decimals")
    if len(whole) > _WHOLE:
        raise PydanticCustomError("amount_too_long", "more than 18 digits")
    return Decimal(value)


def _read_instant(value: object) -> datetime:
    """Take an RFC 3339 instant; one without its zone is refused, since its moment is not known."""
    if isinstance(value, datetime):
        text = value.isoformat()
    elif isinstance(value, str):
        text = _read_text(value)
    else:
        raise PydanticCustomError("instant_expected", "instant expected")
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise PydanticCustomError("instant_malformed", "not RFC 3339")
    fraction, zone = match.groups()
    if zone is None:
        raise PydanticCustomError("instant_without_zone", "no zone")
    if fraction is not None:  # Fecha has whole seconds
        text = text.replace(fraction, "", 1)
    try:
        instant = datetime.fromisoformat(text.upper())
    except ValueError:
        raise PydanticCustomError("instant_malformed", "no such instant") from None
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        # further out another zone's clock would leave the calendar
        raise PydanticCustomError("instant_malformed", "no such year")
    return instant


def _read_year(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch("[0-9]{4}", value):
        return int(value)
    raise PydanticCustomError(
        "missing" if _blank_is_none(value) is None else "year_expected", "year expected"
    )


def _read_version(value: object) -> int:
    if type(value) is int and value == 1:
        return 1
    raise PydanticCustomError("version_unknown", "version 1 expected")


def _blank_is_none(value: object) -> object:
    """Take an empty field of a form for what it means: nothing was entered."""
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

Text = Annotated[str, BeforeValidator(_read_text), WithJsonSchema({"type": "string"})]
RequiredText = Annotated[str, BeforeValidator(_read_required), WithJsonSchema({"type": "string"})]
Identifier = Annotated[str, BeforeValidator(_read_identifier), WithJsonSchema({"type": "string"})]
"""A text that distinguishes one thing from another: never changed beyond its blanks."""
Name = Annotated[str, BeforeValidator(_read_name), WithJsonSchema({"type": "string"})]
Amount = Annotated[Decimal, BeforeValidator(_read_amount), _AS_TEXT, WithJsonSchema(_DECIMAL_SCHEMA)]
Instant = Annotated[datetime, BeforeValidator(_read_instant), _AS_ISO, WithJsonSchema(_INSTANT_SCHEMA)]
Year = Annotated[int, BeforeValidator(_read_year), WithJsonSchema({"type": ["integer", "string"]})]
Version = Annotated[int, BeforeValidator(_read_version), WithJsonSchema({"const": 1})]
MaybeText = Annotated[Text | None, BeforeValidator(_blank_is_none)]
MaybeAmount = Annotated[Amount | None, BeforeValidator(_blank_is_none)]
MaybeInstant = Annotated[Instant | None, BeforeValidator(_blank_is_none)]
RefusedText = Annotated[MaybeText, WithJsonSchema({"type": "null"})]
"""A field of the SAT's that is read only to be refused with the SAT's own code."""
