"""Reading what an XML says, and telling where it differs from what was sent.

The sentences go into the report that is kept with the document and that a person reads: `total: sent
16800.00, the XML has 16800.01`. What a newcomer would get wrong: an attribute that can't be read as an amount
is kept as text, so that it equals no amount and is told as it stands.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Final

from lxml import etree

from cfdi import names
from cfdi.amounts import LineTax, TrasladoRow

Value = str | int | Decimal | None
Row = tuple[Value, ...]

_AMOUNT: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,6})?")  # t_Importe of tdCFDI.xsd
_BLANKS: Final = re.compile(r"[ \t\r\n]+")
_NOT_A_LETTER: Final = re.compile(r"[\W_]+")
_LEAST_OF_A_CUT_TEXT: Final = 10
"""Characters: less of our text than this is not our text."""


class Tolerated(str):
    """A difference worth telling a person, but no reason to doubt the document."""

    __slots__ = ()


def node_at(root: etree._Element, path: str) -> etree._Element:
    """A node, or an empty one in its place: then every attribute differs, and is told."""
    found = root.find(path)
    return etree.Element(path) if found is None else found


def text_of(node: etree._Element, attribute: str) -> str | None:
    """An attribute as the cadena original has it: XML's four blanks collapsed, and no other."""
    value = node.get(attribute)
    if value is None or (value.isprintable() and "  " not in value and value.strip(" ") == value):
        return value
    return _BLANKS.sub(" ", value).strip(" ")


def amount_of(node: etree._Element, attribute: str) -> Decimal | str | None:
    """An attribute as an amount; as text where it is none, so that it equals no amount and is told."""
    text = text_of(node, attribute)
    return Decimal(text) if text is not None and _AMOUNT.fullmatch(text) else text


def row_in(node: etree._Element) -> Row:
    """A tax of a line or of the totals, as the XML has it."""
    return (
        text_of(node, "Impuesto"),
        text_of(node, "TipoFactor"),
        amount_of(node, "TasaOCuota"),
        amount_of(node, "Base"),
        amount_of(node, "Importe"),
    )


def withheld_in(node: etree._Element) -> Row:
    """A row of the withholdings in the totals: they have no rate there."""
    return (text_of(node, "Impuesto"), amount_of(node, "Importe"))


def row_of(tax: LineTax | TrasladoRow) -> Row:
    """The same of a tax as it must be."""
    return (tax.impuesto, tax.tipo_factor, tax.tasa_o_cuota, tax.base, tax.importe)


# --- telling differences ------------------------------------------------------------------------------


def differ(name: str, sent: Value, found: Value) -> Iterator[str]:
    """Tell the difference between two values, if there is one."""
    if sent != found:
        yield told(name, sent, found)


def differ_in_name(name: str, sent: str, found: str | None) -> Iterator[str]:
    """Tell another company; of the same, tell with tolerance that its régimen de capital was left out."""
    if found is None or not names.is_same_company(sent, found):
        yield told(name, sent, found)
    elif not names.is_same_name(sent, found):
        yield Tolerated(told(name, sent, found))


def differ_in_rows(name: str, sent: list[Row], found: list[Row]) -> Iterator[str]:
    """Tell rows that are missing or too many; to the SAT their order says nothing."""
    missing = list(found)
    for row in sent:
        if row in missing:
            missing.remove(row)
        else:
            yield told(name, row, found)
            return
    if missing:
        yield told(name, sent, found)


def tolerate(differences: Iterable[str]) -> Iterator[str]:
    """Tell them, as no reason to doubt."""
    for difference in differences:
        yield Tolerated(difference)


def told(name: str, sent: object, found: object) -> str:
    """One difference in words."""
    return f"{name}: sent {_shown(sent)}, the XML has {_shown(found)}"


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(_shown(item) for item in value) + ")"
    text = str(value)
    return repr(text if len(text) <= 120 else text[:120] + "...")


def share_words(found: str, ours: tuple[str, ...]) -> bool:
    """Whether it contains one of ours or is the beginning of one; case, accents and signs aside."""
    theirs = _words(found)
    for words in map(_words, ours):
        contained = f" {words} " in f" {theirs} "
        cut_short = len(theirs) >= _LEAST_OF_A_CUT_TEXT and words.startswith(theirs)
        if words and (contained or cut_short):
            return True
    return False


def _words(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(sign for sign in plain if not unicodedata.combining(sign))
    return " ".join(_NOT_A_LETTER.sub(" ", letters).split())
