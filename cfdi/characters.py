"""What a text may hold before it becomes an attribute of the CFDI.

The one thing a newcomer would get wrong: `|` is a letter like any other in XML, but it separates the
fields of the cadena original, so the SAT's schema forbids it everywhere.
"""

import re

# XML 1.0 has no such characters; the pipe is cfdv40.xsd's.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff|]")
_ENTITY = re.compile(
    r"&(?:amp|lt|gt|quot|apos|nbsp|[a-z]+(?:acute|tilde|uml);?|#\d{1,6}|#x[0-9a-fA-F]{1,6});"
)


def complaint(what: str, text: str, longest: int, shortest: int = 1) -> str:
    """Say what is wrong with a text of the CFDI, naming it `what`; nothing wrong is an empty string."""
    if shortest <= len(text) <= longest and _FORBIDDEN.search(text) is None:
        return ""
    if not text:
        return f"{what} no puede ir en blanco."
    if len(text) < shortest:
        return f"{what} tiene {len(text)} caracteres y el mínimo es {shortest}."
    if len(text) > longest:
        return f"{what} tiene {len(text):,} caracteres y el máximo es {longest:,}."
    found = _FORBIDDEN.search(text)
    if found is not None and found.group() == "|":
        return f"{what} trae una barra vertical (|), que el SAT no admite."
    return f"{what} trae un salto de línea, un tabulador u otro símbolo que no se ve."


def entity_in(text: str) -> str:
    """Return the first HTML entity written out in a text (`&amp;`), or an empty string."""
    found = _ENTITY.search(text) if "&" in text else None
    return "" if found is None else found.group()
