"""The emisor, as the connection of an account knows it.

The invoice that Apunto sends has no emisor: it is the account's. What is not known yet is None, and a
rule that would need it stays silent: ContaDigital and the SAT then have the word.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who issues the invoice (nodo Emisor), and the series ContaDigital will number it in."""

    rfc: str
    nombre: str
    regimen_fiscal: str | None = None
    serie: str | None = None
