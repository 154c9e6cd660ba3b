"""What a text may hold before it becomes an attribute of the CFDI.

`|` is a letter like any other in XML, but it separates the fields of the cadena original, so the SAT's schema
forbids it everywhere.
"""

import re
from html import unescape
from typing import NamedTuple

# XML 1.0 has no such characters; the pipe is cfdv40.xsd's.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff|]")
_ENTITY = re.compile(
    r"&(?:amp|lt|gt|quot|apos|nbsp|[a-z]+(?:acute|tilde|uml);?|#\d{1,6}|#x[0-9a-fA-F]{1,6});"
)


class Complaint(NamedTuple):
    """What is wrong with a text, and what to do about it."""

    message: str
    fix: str


def complaint(what: str, text: str, longest: int, shortest: int = 1) -> Complaint | None:
    """Say what is wrong with a text of the CFDI, naming it `what`; None where nothing is."""
    if shortest <= len(text) <= longest and _FORBIDDEN.search(text) is None:
        return None
    if not text:
        return Complaint(f"{what} no puede ir en blanco.", "Escríbelo.")
    if len(text) < shortest:
        return Complaint(
            f"{what} tiene {len(text)} caracteres y el mínimo es {shortest}.", "Escríbelo más largo."
        )
    if len(text) > longest:
        fix = f"Acorta el texto a {longest:,} caracteres."
        return Complaint(f"{what} tiene {len(text):,} caracteres y el máximo es {longest:,}.", fix)
    found = _FORBIDDEN.search(text)
    if found is not None and found.group() == "|":
        return Complaint(f"{what} trae una barra vertical (|), que el SAT no admite.", "Quita la barra (|).")
    return Complaint(
        f"{what} trae un símbolo que no se ve, de los que llegan al copiar de otro programa.",
        "Bórralo todo y escríbelo de nuevo, sin copiar y pegar.",
    )


def entity_in(text: str) -> str:
    """Return the first HTML entity written out in a text (`&amp;`), or an empty string."""
    found = _ENTITY.search(text) if "&" in text else None
    return "" if found is None else found.group()


def about_entity(what: str, entity: str) -> Complaint:
    """Say that a text holds an HTML entity instead of the letter."""
    return Complaint(f"{what} trae «{entity}».", f"Bórralo y escribe «{unescape(entity)}».")
