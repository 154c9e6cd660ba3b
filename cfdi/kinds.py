"""The kinds of value in Apunto's JSON, and how each is read.

The one thing a newcomer would get wrong: amounts come as strings (`"0.160000"`), because their printed decimals
matter to the SAT and a JSON number loses them; a number is refused, never converted. What is refused gets an
error type of ours, which `misshapen` puts into words.
"""

import re
import unicodedata
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

# t_Importe of tdCFDI.xsd, with the sign let through so that the fault can speak of it.
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
DECIMAL_PATTERN = r"^[0-9]{1,18}(\.[0-9]{1,6})?$"
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?")


_SEEN = {"Zs": " ", "Cf": ""}
"""Blanks of every width are blanks; format characters (zero width, soft hyphen, marks of direction) are nothing."""


def _read_text(value: object) -> str:
    """Take a text as XSD's whiteSpace=collapse would leave it: no blanks at the ends nor doubled inside.

    What a copy from a PDF or a web page brings along unseen goes too: composed letters (NFC, or an Ñ of two
    characters would be another name to the SAT), every kind of blank as one, and characters without a width.
    """
    if type(value) is not str:
        raise PydanticCustomError("text_expected", "text expected")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise PydanticCustomError("text_broken", "lone surrogate") from None
        value = unicodedata.normalize("NFC", value)
        if not value.isprintable():
            value = "".join(_SEEN.get(unicodedata.category(letter), letter) for letter in value)
    if "  " in value:
        value = re.sub(" {2,}", " ", value)
    return value.strip(" ")


def _read_name(value: object) -> str:
    """Take a name as the SAT writes it: upper case, single blanks; accents and Ñ stay."""
    return _read_text(value).upper()


def _read_amount(value: object) -> Decimal:
    """Take a decimal written as a string; its scale is kept."""
    if type(value) is not str:
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise PydanticCustomError("amount_is_a_number", "decimal string expected")
        raise PydanticCustomError("amount_expected", "decimal string expected")
    if _DECIMAL.fullmatch(value) is None:
        raise PydanticCustomError("amount_malformed", "not a decimal")
    whole, _, fraction = value.partition(".")
    if whole.startswith("-"):
        raise PydanticCustomError("amount_negative", "negative")
    if len(fraction) > 6:
        raise PydanticCustomError("amount_too_fine", "more than 6 decimals")
    if len(whole) > 18:
        raise PydanticCustomError("amount_too_long", "more than 18 digits")
    return Decimal(value)


FIRST_YEAR, LAST_YEAR = 1900, 2200


def _read_instant(value: object) -> datetime:
    """Take an RFC 3339 instant; one without its zone is refused, since nobody can tell what it means."""
    if isinstance(value, datetime):
        text = value.isoformat()
    elif isinstance(value, str):
        text = value.strip()
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
    if (
        not FIRST_YEAR <= instant.year <= LAST_YEAR
    ):  # further out another zone's clock would leave the calendar
        raise PydanticCustomError("instant_malformed", "no such year")
    return instant


def _read_year(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch("[0-9]{4}", value):
        return int(value)
    raise PydanticCustomError("year_expected", "year expected")


def _read_version(value: object) -> int:
    if type(value) is int and value == 1:
        return 1
    raise PydanticCustomError("version_unknown", "version 1 expected")


def _blank_is_none(value: object) -> object:
    """Take an empty field of a form for what it means: nothing was said."""
    return None if isinstance(value, str) and not value.strip() else value


def _null_is_empty(value: object) -> object:
    return () if value is None else value


NULL_IS_EMPTY = BeforeValidator(_null_is_empty)
"""For lists: `null` says the same as an empty one."""


_DECIMAL_SCHEMA = {"type": "string", "pattern": DECIMAL_PATTERN}
_INSTANT_SCHEMA = {"type": "string", "format": "date-time"}

Text = Annotated[str, BeforeValidator(_read_text), WithJsonSchema({"type": "string"})]
Name = Annotated[str, BeforeValidator(_read_name), WithJsonSchema({"type": "string"})]
Amount = Annotated[Decimal, BeforeValidator(_read_amount), WithJsonSchema(_DECIMAL_SCHEMA)]
Instant = Annotated[datetime, BeforeValidator(_read_instant), WithJsonSchema(_INSTANT_SCHEMA)]
Year = Annotated[int, BeforeValidator(_read_year), WithJsonSchema({"type": ["integer", "string"]})]
Version = Annotated[int, BeforeValidator(_read_version), WithJsonSchema({"const": 1})]
MaybeText = Annotated[Text | None, BeforeValidator(_blank_is_none)]
MaybeAmount = Annotated[Amount | None, BeforeValidator(_blank_is_none)]
RefusedText = Annotated[MaybeText, WithJsonSchema({"type": "null"})]
"""A field of the SAT's that is read only to be refused with the SAT's own code."""
MaybeInstant = Annotated[Instant | None, BeforeValidator(_blank_is_none)]
