"""The plain values that go into and come out of the client: no HTTP, no JSON, no database.

One thing a newcomer would get wrong: a `Record` with an `id` and no `uuid` is an invoice that
ContaDigital has *saved*. It is not a CFDI, and its missing `uuid` right after a lost answer proves nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


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
    """A token of ContaDigital and what was told with it (`POST /api/conectar.json`)."""

    token: str = field(repr=False)
    id_empresa: int | None
    issued_at: datetime
    expires_at: datetime


CancellationState = Literal["requested", "cancelled", "rejected", "unknown"]


@dataclass(frozen=True, slots=True)
class Record:
    """An invoice as ContaDigital tells it: an answer to save, stamp or look up.

    `xml` and `pdf` are the documents when they came inside the answer; otherwise the links may lead to them
    (see `ContaDigital.document`). `cancellation` is None while nobody asked for one, or where it is not told.
    `stamps_left` is None where the provider does not tell.
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
    id_forma_pago: int = 0
    id: int = 0
    active: bool = True

    def differs_from(self, other: "Customer") -> bool:
        """Whether what the SAT compares (name, CP, régimen) or the state differs: then update it first."""
        mine = (self.rfc, self.razon_social, self.regimen_fiscal, self.codigo_postal, self.active)
        return mine != (
            other.rfc,
            other.razon_social,
            other.regimen_fiscal,
            other.codigo_postal,
            other.active,
        )


@dataclass(frozen=True, slots=True)
class Product:
    """A product or service of the account at ContaDigital: what an invoice's line points at.

    ObjetoImp belongs to the product there (assumed), so one service with and without tax is two products.
    """

    clave_prod_serv: str
    nombre: str
    id_um: int
    objeto_imp: str
    clave: str = ""
    id: int = 0
