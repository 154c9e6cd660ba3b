"""What an answer looked like, without what it said: names, types and lengths, bounded.

A sample is what an operator sees of an answer that was not understood, and what can be sent to the developers. A value
stands in it only where it is of an allow-list; a name only where it looks like a field's and not like somebody's.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from contadigital.recognise import CURRENCY_NAMES
from contadigital.replies import Reply
from contadigital.text import OTHER_NAME, fold, shown_name

MOST_NAMES: Final = 60
MOST_ROWS: Final = 3
MOST_DEPTH: Final = 6
_SHOWN: Final = frozenset(
    {*CURRENCY_NAMES, "mxn", "usd", "eur", "cad", "true", "false", "ok", "error", "factura"}
)


def sample_of(reply: Reply) -> dict[str, Any]:
    """The shape of an answer, fit to be stored and shown; never a key, an RFC, a name or an address of anybody."""
    if reply.is_html:
        return {"body": "HTML", "words": len(reply.words)}
    if not reply.understood:
        return {"body": "not JSON"}
    return {"codigo": reply.codigo, "words": len(reply.words), "resultado": shape_of(reply.payload)}


def shape_of(value: Any, depth: int = 0) -> Any:
    """Names, types and lengths of a value."""
    match value:
        case Mapping():
            if depth >= MOST_DEPTH:
                return f"object of {len(value)}"
            shown: dict[str, Any] = {}
            others = 0
            for name, item in value.items():
                known = shown_name(str(name)) if len(shown) < MOST_NAMES else OTHER_NAME
                others += known == OTHER_NAME
                if known not in shown:
                    shown[known] = shape_of(item, depth + 1)
            if others:
                shown[f"{OTHER_NAME}: cuántos"] = others
            return shown
        case list():
            if depth >= MOST_DEPTH:
                return f"list of {len(value)}"
            rows: list[Any] = []
            for each in value[:200]:
                shape = shape_of(each, depth + 1)
                if shape not in rows and len(rows) < MOST_ROWS:
                    rows.append(shape)
            return {"list": len(value), "of": rows}
        case bool():
            return f"boolean {str(value).lower()}"
        case None:
            return "null"
        case int():
            return f"integer of {len(str(abs(value)))} digits"
        case Decimal():
            return "decimal"
        case str():
            return f"text «{value}»" if fold(value) in _SHOWN else f"text of {len(value)}"
        case _:
            return type(value).__name__
