"""How ContaDigital says no: a `Codigo` other than 1, with words for the user in `Mensaje`.

Only 1 and 3 are numbers that an integration in use relies on. The others
are the sandbox's own, so that its tests can distinguish kinds of refusal; a client that keys on them learns
nothing true.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class Codigo(IntEnum):
    """The `Codigo` of an envelope; 1 and 3 are seen, the rest is assumed."""

    DONE = 1
    DOCUMENT = 2
    NO_STAMPS = 3
    ALREADY_STAMPED = 4
    NOT_FOUND = 5
    SERIE = 6
    UNKNOWN_ID = 7
    CUSTOMER_INACTIVE = 8
    API_NOT_ENABLED = 9
    KEY = 10
    CANCELLATION = 11
    MAIL = 12
    EXISTS = 13
    BODY = 14
    TOKEN = 401
    THROTTLED = 429
    INTERNAL = 500


class Refusal(Exception):
    """A call that is answered with a no: `codigo` and `mensaje` in the envelope, under HTTP `status`."""

    def __init__(self, codigo: Codigo, mensaje: str, *, status: int = 200, resultado: Any = None) -> None:
        super().__init__(mensaje)
        self.codigo = codigo
        self.mensaje = mensaje
        self.status = status
        self.resultado = resultado


def document(code: str, text: str) -> Refusal:
    """A refusal of the CFDI itself, as PACs word them: the SAT's code first, then a sentence."""
    return Refusal(Codigo.DOCUMENT, f"{code} - {text}")


def body(text: str) -> Refusal:
    """A refusal of the JSON: a field that is missing, unknown, of a wrong type or at odds with another."""
    return Refusal(Codigo.BODY, text)
