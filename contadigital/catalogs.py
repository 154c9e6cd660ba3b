"""The lists of one account: SAT keys, and ContaDigital's ids of them.

ContaDigital stamps with ids of its own, which differ from account to account and may all change when an account is
made anew. A list that is None in `recognised` was not found in its answer, which is another thing than an empty one.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Final

from contadigital.text import fold

Id = int | str
"""ContaDigital's id of a row: a number (written), or a text such as a GUID (never seen)."""
_GUID: Final = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}|[0-9a-f]{24}", re.IGNORECASE
)


def id_of(value: object) -> Id | None:
    """An id in a list: a whole number, also one written as text, or a GUID; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, Decimal) and abs(value) < 10**18 and value == int(value):  # 7.0
        return int(value)
    text = value.strip() if isinstance(value, str) else ""
    if re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    return text if _GUID.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class Emisor:
    """An RFC that the account may invoice with; name and régimen are empty where the lists do not say them."""

    id: Id
    rfc: str
    razon_social: str
    regimen_fiscal: str


@dataclass(frozen=True, slots=True)
class Serie:
    """A series of folios: the CFDI's Serie and the name it goes by at ContaDigital may be two things (observed)."""

    id: Id
    serie: str
    """Empty where the lists say only a name: then a stamp's Serie is compared with nothing."""
    activa: bool
    nombre: str = ""
    texto: str = ""

    @property
    def shown(self) -> str:
        """What a person knows it by."""
        return self.texto or self.serie or self.nombre

    def is_called(self, name: str) -> bool:
        """Whether it goes by this letter or name."""
        return fold(name) in {fold(each) for each in (self.serie, self.nombre, self.texto) if each}


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A row of a list that is only a key and its name."""

    id: Id
    clave: str
    descripcion: str = ""


@dataclass(frozen=True, slots=True)
class Catalogs:
    """The lists of one account, as they were on the day they were read."""

    emisores: tuple[Emisor, ...] = ()
    series: tuple[Serie, ...] = ()
    sucursales: tuple[CatalogEntry, ...] = ()
    lugares_expedicion: tuple[CatalogEntry, ...] = ()
    monedas: tuple[CatalogEntry, ...] = ()
    formas_pago: tuple[CatalogEntry, ...] = ()
    unidades: tuple[CatalogEntry, ...] = ()
    retenciones: tuple[CatalogEntry, ...] = ()
    stamps_left: int | None = None
    recognised: Mapping[str, Any] = field(default_factory=dict)
    """What was taken for what: {"lists": [{"list", "from", "rows", "id", "key"}], "ambiguous": [], "ignored": []}."""

    def has(self, name: str) -> bool:
        """Whether a list was found in the answer, with rows or without."""
        return any(each["list"] == name for each in self.recognised.get("lists", ()))

    def is_named(self, name: str) -> bool:
        """Whether the list that was found is called so: by its content alone it may be somebody else's."""
        return any(
            each["list"] == name and each.get("named", True) for each in self.recognised.get("lists", ())
        )

    def to_json(self) -> dict[str, Any]:
        """Plain lists and values, to be kept with the connection."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Catalogs":
        """What `to_json` made, read again; raises KeyError or TypeError for anything else."""
        entries = ("sucursales", "lugares_expedicion", "monedas", "formas_pago", "unidades", "retenciones")
        return cls(
            emisores=tuple(Emisor(**row) for row in kept["emisores"]),
            series=tuple(Serie(**row) for row in kept["series"]),
            stamps_left=kept["stamps_left"],
            recognised=kept["recognised"],
            **{name: tuple(CatalogEntry(**row) for row in kept[name]) for name in entries},
        )

    def entry(self, name: str, clave: str) -> CatalogEntry | None:
        """The row of a list with this key."""
        rows: tuple[CatalogEntry, ...] = getattr(self, name)
        return next((row for row in rows if row.clave == clave.strip().upper()), None)


def listed(names: Any) -> str:
    """A few names for a person to compare with."""
    shown = [name for name in names if name]
    return ", ".join(shown[:8]) + ("…" if len(shown) > 8 else "") if shown else "ninguna"  # a line
