"""The plain values that go into and come out of the client: no HTTP, no JSON, no database.

A `Record` with an `id` and no `uuid` is an invoice that ContaDigital has *saved*. It is not a CFDI, and its missing
`uuid` right after a lost answer proves nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from contadigital.catalogs import Id


@dataclass(frozen=True, slots=True)
class Credentials:
    """One connection as the client needs it: where to knock, for whom, and how to get at the key.

    `decrypt_key` decrypts the API key at the moment it is needed; the key itself is never kept here, so that
    no `repr` and no traceback can hold it. `id_empresa` is None until it is known.
    """

    account: str
    base_url: str
    id_empresa: int | None
    decrypt_key: Callable[[], str] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Session:
    """A token of ContaDigital and what came with it (`POST /api/conectar.json`)."""

    token: str = field(repr=False)
    id_empresa: int | None
    issued_at: datetime
    expires_at: datetime


CancellationState = Literal["requested", "cancelled", "rejected", "unknown"]


@dataclass(frozen=True, slots=True)
class Record:
    """An invoice as ContaDigital reports it: an answer to save, stamp or look up.

    `xml` and `pdf` are the documents when they came inside the answer; otherwise the links may lead to them
    (see `ContaDigital.document`). `cancellation` is None while nobody asked for one, or where it is not reported.
    `stamps_left` is None where the provider does not report them.
    """

    id: int
    uuid: str | None = None
    serie: str | None = None
    folio: str | None = None
    xml: bytes | None = field(default=None, repr=False)
    pdf: bytes | None = field(default=None, repr=False)
    xml_link: str | None = field(default=None, repr=False)
    pdf_link: str | None = field(default=None, repr=False)
    codigo: int | None = None
    mensaje: str = ""
    folio_original: str | None = None
    cancellation: CancellationState | None = None
    stamps_left: int | None = None
    whole: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """Everything that the answer said of it."""


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What `DELETE /api/cfdi.json` answered.

    `requested` is the usual one: the SAT took the request, and the receptor may have days to answer it
    (cfdi rules, per-UUID code 201). `unknown` means that the answer did not say: look the record up.
    """

    acuse: bytes | None = field(repr=False)
    state: Literal["requested", "cancelled", "unknown"]


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer of the account at ContaDigital; one RFC is one customer."""

    rfc: str
    razon_social: str
    regimen_fiscal: str
    codigo_postal: str
    uso_cfdi: str = ""
    email: str = ""
    id_forma_pago: Id = 0
    id: int = 0
    active: bool = True
    whole: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """Everything that ContaDigital answered of it: an update carries it all back."""

    def differs_from(self, other: "Customer", *, exactly: bool = False) -> bool:
        """Whether what the SAT compares (name, CP, régimen) or the state differs: then update it first.

        Names that differ in letter case and blanks alone are the same, unless the SAT has refused the one that is there
        (`exactly`).
        """
        mine, theirs = (
            (each.rfc, each.regimen_fiscal, each.codigo_postal, each.active) for each in (self, other)
        )
        if exactly:
            return mine != theirs or self.razon_social != other.razon_social
        return mine != theirs or _in_one_case(self.razon_social) != _in_one_case(other.razon_social)


@dataclass(frozen=True, slots=True)
class Product:
    """A product or service of the account at ContaDigital: what an invoice's line points at.

    ObjetoImp belongs to the product there (assumed), so one service with and without tax is two products.
    """

    clave_prod_serv: str
    nombre: str
    id_um: Id
    objeto_imp: str
    clave: str = ""
    id: int = 0


def _in_one_case(name: str) -> str:
    return " ".join(name.upper().split())
