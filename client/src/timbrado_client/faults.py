"""What is wrong with an invoice or a request, in the words of whoever must mend it.

The same object in both directions: `check` finds them before sending, and an event's `errors` brings those that
the worker, ContaDigital or the SAT found. The one thing a newcomer would get wrong: `field` is the path in the
invoice as it was sent (`conceptos[2].nombre`, counted from 0).
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict


class Fault(BaseModel):
    """One thing to mend. `message` and `fix` are Mexican Spanish, meant for the application's user."""

    model_config = ConfigDict(extra="allow", frozen=True)  # a newer worker may say more

    code: str
    """A code of the SAT's matrix (`CFDI40161`) or one of timbrado's (`timbrado.nombre_largo`)."""
    field: str = ""
    """The path in the invoice; empty when the whole of it is meant."""
    message: str = ""
    fix: str = ""
    source: str = "timbrado"
    """Who says so: timbrado, contadigital or sat."""

    def __str__(self) -> str:
        return " ".join(
            part for part in (f"{self.field}:" if self.field else "", self.message, self.fix) if part
        )


def path_of(location: Sequence[str | int]) -> str:
    """Write a location as a path: `("conceptos", 2, "nombre")` is `conceptos[2].nombre`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path
