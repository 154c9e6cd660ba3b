"""The SAT's catalogues: is this key in force, and what does it stand for.

The data are satcfdi's (see `data`), one SQLite file opened read-only. It keeps keys which the SAT has retired, so a key
found there is not yet a key in force; `EXPIRED` lists the dead ones.
"""

import io
import os
import pickle
import re
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, NoReturn

from cfdi.sat import data

EXPIRED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        # Retired by the SAT, still in the catalogue's table (Anexo 20, column "fecha fin de vigencia").
        "c_UsoCFDI": frozenset({"P01"}),
        "c_RegimenFiscal": frozenset({"609", "628", "629", "630"}),
        "c_FormaPago": frozenset({"07", "09", "10", "11", "16", "98"}),
        # 08 and 09 left with CFDI 4.0: parcialidades are reported by a CFDI of type P.
        "c_TipoRelacion": frozenset({"08", "09"}),
        # In the table, and in none of the SAT's schemas.
        "c_ClaveUnidad": frozenset({"Dx"}),
    }
)


_SHAPES: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "c_ClaveProdServ": re.compile("[0-9]{8}"),
        "c_ClaveUnidad": re.compile("[0-9A-Z]{1,3}"),
        "c_CodigoPostal": re.compile("[0-9]{5}"),
        "c_FormaPago": re.compile("[0-9]{2}"),
        "c_Meses": re.compile("[0-9]{2}"),
        "c_ObjetoImp": re.compile("[0-9]{2}"),
        "c_Periodicidad": re.compile("[0-9]{2}"),
        "c_RegimenFiscal": re.compile("6[0-9]{2}"),
        "c_TipoRelacion": re.compile("[0-9]{2}"),
        "c_UsoCFDI": re.compile("[A-Z]{1,2}[0-9]{2}"),
    }
)
"""How the keys of each catalogue are written."""


def may_be_new(catalog: str, key: str) -> bool:
    """Whether a key that our data do not have could be one the SAT added: well formed, and not retired."""
    return _SHAPES[catalog].fullmatch(key) is not None and key not in EXPIRED.get(catalog, frozenset())


@dataclass(frozen=True, slots=True)
class Postcode:
    """What c_CodigoPostal has of one postcode."""

    estado: str
    is_border: bool
    """Whether the 8 % IVA of the northern or southern border region can apply there."""
    huso_horario: str


@dataclass(frozen=True, slots=True)
class Currency:
    """What c_Moneda has of one currency."""

    nombre: str
    decimals: int


class _PlainUnpickler(pickle.Unpickler):
    """Reads strings, numbers and lists; whatever names a class is refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"catalogues hold plain values, not {module}.{name}")


def _plain(blob: bytes) -> Any:
    return _PlainUnpickler(io.BytesIO(blob)).load()


# One connection for the process, and a lock: measured with 16 threads asking at once, a connection per thread is
# no faster (26 to 31 us a look-up against 29 to 39) and each would hold a page cache of its own. `immutable`
# spares the file locks and lets the file be read-only.
_lock = threading.Lock()


def _after_fork() -> None:
    """Let a child open the file anew: an SQLite connection, and a lock of another thread, do not outlive a fork."""
    global _lock  # noqa: PLW0603 - the one of this process
    _lock = threading.Lock()
    _connection.cache_clear()


os.register_at_fork(after_in_child=_after_fork)


@cache
def _connection() -> sqlite3.Connection:
    return sqlite3.connect(
        f"{data.current().catalogs.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
    )


def _fetch(sql: str, parameters: tuple[bytes, ...] = ()) -> list[tuple[bytes, bytes]]:
    with _lock:
        return _connection().execute(sql, parameters).fetchall()


@cache
def _table(catalog: str) -> Mapping[str, Any]:
    """Return a whole small catalogue, without its expired keys."""
    rows = _fetch(f"SELECT key, value FROM C756_{catalog}")  # noqa: S608 - a constant of this module
    dead = EXPIRED.get(catalog, frozenset())
    table = {_plain(key): _plain(value) for key, value in rows}
    return MappingProxyType({key: value for key, value in table.items() if key not in dead})


def _value(catalog: str, key: str) -> Any:
    """Return the value of one key of a big catalogue, or None."""
    sql = f"SELECT key, value FROM C756_{catalog} WHERE key = ?"  # noqa: S608 - a constant of this module
    rows = _fetch(sql, (pickle.dumps(key, protocol=4),))
    return _plain(rows[0][1]) if rows else None


def entries(catalog: str) -> Mapping[str, Any]:
    """Return a whole catalogue to search in, keys in force only: a name, or a list that begins with it, by key."""
    return _table(catalog)


def formas_pago() -> Mapping[str, str]:
    """Return c_FormaPago, keys in force only."""
    return _table("c_FormaPago")


def regimenes() -> Mapping[str, str]:
    """Return c_RegimenFiscal, keys in force only."""
    return _table("c_RegimenFiscal")


def usos_cfdi() -> Mapping[str, str]:
    """Return c_UsoCFDI, keys in force only."""
    return _table("c_UsoCFDI")


def tipos_relacion() -> Mapping[str, str]:
    """Return c_TipoRelacion, keys in force only."""
    return _table("c_TipoRelacion")


def objetos_imp() -> Mapping[str, str]:
    """Return c_ObjetoImp."""
    return _table("c_ObjetoImp")


def exportaciones() -> Mapping[str, str]:
    """Return c_Exportacion."""
    return _table("c_Exportacion")


def periodicidades() -> Mapping[str, str]:
    """Return c_Periodicidad."""
    return _table("c_Periodicidad")


def meses() -> Mapping[str, str]:
    """Return c_Meses: the months 01 to 12 and the pairs of months 13 to 18."""
    return _table("c_Meses")


def currency(clave: str) -> Currency | None:
    """Return a currency of c_Moneda, or None when the catalogue has none of that name."""
    row = _table("c_Moneda").get(clave)
    return None if row is None else Currency(nombre=row[0], decimals=row[1])


@lru_cache(maxsize=8192)
def _postcode(codigo_postal: str) -> Postcode | None:
    row = _value("c_CodigoPostal", codigo_postal)
    if row is None:
        return None
    estado, _municipio, _localidad, border, huso = row
    return Postcode(estado=estado, is_border=border in ("1", "2"), huso_horario=huso)


@lru_cache(maxsize=8192)
def _clave_prod_serv(clave: str) -> str | None:
    value: str | None = _value("c_ClaveProdServ", clave)
    return value


# The lengths are asked first, so that the caches never hold a megabyte of somebody's mistake.


def postcode(codigo_postal: str) -> Postcode | None:
    """Return a postcode of c_CodigoPostal, or None when the catalogue has no such postcode."""
    return _postcode(codigo_postal) if len(codigo_postal) == 5 else None


@lru_cache(maxsize=1024)
def neighbour_of(codigo_postal: str) -> Postcode | None:
    """Return the nearest postcode that the catalogue has, the lower of two; None for what is not five digits."""
    if not may_be_new("c_CodigoPostal", codigo_postal):
        return None
    number = int(codigo_postal)
    for distance in range(1, 100_000):
        for each in (number - distance, number + distance):
            place = _postcode(f"{each:05}") if 0 < each < 100_000 else None
            if place is not None:
                return place
    return None


def clave_prod_serv(clave: str) -> str | None:
    """Return the SAT's words for a product or service, or None for a key that is not in force."""
    return _clave_prod_serv(clave) if len(clave) == 8 else None


def clave_unidad(clave: str) -> str | None:
    """Return the SAT's words for a unit, or None for a key that is not in force."""
    words: str | None = _table("c_ClaveUnidad").get(clave)
    return words


for _cached in (_connection, _table, _postcode, _clave_prod_serv, neighbour_of):
    data.on_change(_cached.cache_clear)
