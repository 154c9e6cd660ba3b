"""Reading what an XML says: attributes, amounts, rows of taxes, and texts bare of what spellings differ in."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from typing import Final, NamedTuple

from lxml import etree

_AMOUNT: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,6})?")  # t_Importe of tdCFDI.xsd
_BLANKS: Final = re.compile(r"[ \t\r\n]+")
_NOT_A_LETTER: Final = re.compile(r"[\W_]+")
# How "&" is written where it may not stand: "LUCES & OBRAS", "LUCES Y OBRAS", "LUCES &amp; OBRAS".
_AMPERSANDS: Final = frozenset({"y", "e", "and", "amp"})


class TaxRow(NamedTuple):
    """A tax of a line or of the summary; what can't be read as an amount stays text and equals no amount."""

    impuesto: str | None
    tipo_factor: str | None
    tasa_o_cuota: Decimal | str | None
    base: Decimal | str | None
    importe: Decimal | str | None

    @property
    def kind(self) -> tuple[str | None, str | None, Decimal | str | None]:
        """Which tax it is, whatever it comes to."""
        return self.impuesto, self.tipo_factor, self.tasa_o_cuota


def node_at(root: etree._Element, path: str) -> etree._Element:
    """A node, or an empty one in its place, whose every attribute differs."""
    found = root.find(path)
    return etree.Element(path) if found is None else found


def text_of(node: etree._Element, attribute: str) -> str | None:
    """An attribute as the cadena original has it: XML's four blanks collapsed, and no other."""
    value = node.get(attribute)
    if value is None or (value.isprintable() and "  " not in value and value.strip(" ") == value):
        return value
    return _BLANKS.sub(" ", value).strip(" ")


def amount_of(node: etree._Element, attribute: str) -> Decimal | str | None:
    """An attribute as an amount; as text where it is none, so that it equals no amount."""
    text = text_of(node, attribute)
    return Decimal(text) if text is not None and _AMOUNT.fullmatch(text) else text


def tax_in(node: etree._Element) -> TaxRow:
    """A tax of a line or of the summary, as the XML has it."""
    return TaxRow(
        text_of(node, "Impuesto"),
        text_of(node, "TipoFactor"),
        amount_of(node, "TasaOCuota"),
        amount_of(node, "Base"),
        amount_of(node, "Importe"),
    )


def without_blanks(text: str) -> str:
    """A base64 text without the blanks and line breaks that some write into it; they are no part of it."""
    return "".join(text.split())


def words(text: str) -> list[str]:
    """The words of a text without case, accents, signs, and however its "&" is written."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(sign for sign in plain if not unicodedata.combining(sign))
    return [word for word in _NOT_A_LETTER.sub(" ", letters).split() if word not in _AMPERSANDS]


def letters(text: str) -> str:
    """The same without its blanks: "S.A. DE C.V." and "SA DE CV" are one."""
    return "".join(words(text))


_BETWEEN: Final = frozenset({"-", "/", "|", ",", ".", ":", ";"})
"""What stands between two texts that are printed as one."""
_LEAST: Final = 4
"""Letters: less of our texts than this is not our text."""


def is_made_of(found: str, ours: tuple[str, ...]) -> bool:
    """Whether a text holds nothing but words of ours, its last one perhaps cut short."""
    whole = {token for one in ours for token in one.casefold().split()}
    tokens = found.casefold().split()
    apart = set(tokens) - _BETWEEN
    if apart and apart <= whole:
        return True
    theirs = words(found)
    known = {word for one in ours for word in words(one)}
    if sum(map(len, theirs)) < _LEAST:
        return bool(theirs) and (
            "".join(theirs) in {letters(one) for one in ours} or known.issuperset(theirs)
        )
    *others, last = theirs
    return known.issuperset(others) and any(word.startswith(last) for word in known)
