"""What is wrong with an invoice or a request, in the words of whoever must correct it.

The same class everywhere: the client finds faults before sending, the worker, ContaDigital and the SAT after it, and
an event's `errors` and `warnings` bring them back. `field` is the path in the invoice *as it was sent*
(`conceptos[2].nombre`, counted from 0), never the SAT's XPath; label and message count lines from 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict, SkipValidation

from timbrado_client.labels import label_of

Source = Literal["timbrado", "contadigital", "sat"]
Whose = Literal["user", "apunto", "contadigital", "support"]

_WHOSE: dict[str, Whose] = {
    # what the application wrote, and no person could have written otherwise
    "timbrado.base": "apunto",
    "timbrado.campo_desconocido": "apunto",
    "timbrado.cuenta_ilegible": "apunto",
    "timbrado.decimal_mal_escrito": "apunto",
    "timbrado.demasiados_decimales": "apunto",
    "timbrado.demasiados_niveles": "apunto",
    "timbrado.falta": "apunto",
    "timbrado.identificador": "apunto",
    "timbrado.mensaje_desconocido": "apunto",
    "timbrado.no_es_json": "apunto",
    "timbrado.no_existe": "apunto",
    "timbrado.no_es_objeto": "apunto",
    "timbrado.numero_sin_comillas": "apunto",
    "timbrado.texto_roto": "apunto",
    "timbrado.tipo": "apunto",
    "timbrado.version": "apunto",
    # what only a person at the installation can look into
    "timbrado.error_interno": "support",
    "timbrado.evidencia": "support",
    "timbrado.requiere_revision": "support",
}


def whose_of(code: str, source: str) -> Whose:
    """Return who can correct a fault that does not say so itself.

    A refusal of ContaDigital's with a code of the SAT's is about the invoice; one in its own words is ContaDigital's.
    """
    known = _WHOSE.get(code)
    if known is not None:
        return known
    return "contadigital" if source == "contadigital" and not code.startswith("CFDI") else "user"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to correct: where it stands, what is wrong, what to do about it, and who can do it.

    `message` and `fix` are Mexican Spanish, in the tú form, and shown to the application's user as they stand.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore")  # a newer worker may say more

    code: str
    """A code of the SAT's matrix (`CFDI40161`) or one of timbrado's (`timbrado.nombre_largo`)."""
    field: str = ""
    """The path in the invoice as sent; empty when the whole of it is meant."""
    message: str = ""
    fix: str = ""
    source: SkipValidation[Source] = "timbrado"
    """Who says so."""
    label: str = ""
    """The field's name for a person, in Spanish; made from `field` where it is not given."""
    whose: SkipValidation[Whose | None] = None
    """Who can correct it; made from `code` and `source` where it is not given."""
    detail: str = ""
    """What a developer of the application needs to know; never for its users."""

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", label_of(self.field))
        if self.whose is None:
            object.__setattr__(self, "whose", whose_of(self.code, self.source))

    def as_dict(self) -> dict[str, str]:
        """Return the entry of an event's `errors` or `warnings`; `detail` only where there is one."""
        entry = {
            "code": self.code,
            "field": self.field,
            "label": self.label,
            "message": self.message,
            "fix": self.fix,
            "source": self.source,
            "whose": self.whose or "",
        }
        return {**entry, "detail": self.detail} if self.detail else entry

    def __str__(self) -> str:
        parts = (
            self.field and f"{self.field}:",
            self.message,
            self.fix,
            self.detail and f"[{self.detail}]",
        )
        return " ".join(part for part in parts if part)


def path_of(location: Sequence[str | int]) -> str:
    """Write a location as a path: `("conceptos", 2, "nombre")` is `conceptos[2].nombre`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path
