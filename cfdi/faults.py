"""What is wrong with an invoice, in the words of whoever must mend it.

A `Fault` is told to Apunto's user as it stands, so `message` and `fix` are Mexican Spanish, in the
tú-form. The one thing a newcomer would get wrong: `field` is the path in the invoice *as Apunto sent
it* (`conceptos[2].nombre`, counted from 0), never the SAT's XPath; only the message counts lines from 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Source = Literal["timbrado", "contadigital", "sat"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to mend: where it stands, what is wrong and what to do about it."""

    code: str
    """A code of the SAT's matrix (`CFDI40161`) or one of ours (`timbrado.nombre_largo`)."""
    field: str
    """The path in the invoice as sent; empty when the whole of it is meant."""
    message: str
    fix: str
    source: Source = "timbrado"

    def as_dict(self) -> dict[str, str]:
        """Return the entry of an event's `errors`."""
        return {
            "code": self.code,
            "field": self.field,
            "message": self.message,
            "fix": self.fix,
            "source": self.source,
        }


def path_of(location: Sequence[str | int]) -> str:
    """Write a location as a path: `("conceptos", 2, "nombre")` is `conceptos[2].nombre`."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += f".{step}" if path else step
    return path
