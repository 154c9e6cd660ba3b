"""What ContaDigital and the SAT refuse, in the same words as our own refusals.

A code is looked for *anywhere* in a text, since providers wrap the SAT's words in their own ("301 - XML mal
formado: CFDI40145 ..."). A refusal without a code that we know is shown as it came, and nobody may send it again
because we did not understand it.
"""

import re

from cfdi.faults import Fault, Source
from cfdi.texts import MATRIX

MAX_TEXT = 500
"""Characters of somebody else's words that a fault repeats."""

# Five digits, and six where the SAT ran out of five: CFDI140223 to CFDI140227 (matrix of 13 December 2024).
_CODE = re.compile(r"CFDI[ _:.-]{0,2}(\d{5,6})(?!\d)", re.IGNORECASE)
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]+")
_UNKNOWN_FIX = (
    "Corrige lo que indica el mensaje y envía la factura de nuevo; si no es claro, escribe a soporte de Apunto "
    "con el identificador de la factura."
)


def from_text(text: str, source: Source) -> tuple[Fault, ...]:
    """Return what a refusal says: a fault for each code in it, or one with the text as it came.

    `text` must hold no secret: whoever speaks with the provider knows them and takes them out.
    """
    shown = shorten(text)
    codes = list(dict.fromkeys(f"CFDI{number}" for number in _CODE.findall(text)))
    if not codes:
        message = shown or "La factura fue rechazada sin decir por qué."
        return (Fault(f"{source}.rechazo", "", message, _UNKNOWN_FIX, source),)
    return tuple(_known(code, source) or Fault(code, "", shown, _UNKNOWN_FIX, source) for code in codes)


def _known(code: str, source: Source) -> Fault | None:
    words = MATRIX.get(code)
    if words is None:
        return None
    # Which line is meant the SAT does not say: `[]` stands for any of them.
    return Fault(code, words.field, words.message, words.fix, source, whose=words.whose)


def shorten(text: str) -> str:
    """Return somebody else's words on one line, without invisible characters, and not endless."""
    plain = " ".join(_INVISIBLE.sub(" ", text).split())
    return plain if len(plain) <= MAX_TEXT else f"{plain[: MAX_TEXT - 1]}…"
