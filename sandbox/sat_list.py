"""What only the SAT knows: names and postcodes of taxpayers, and the keys of its catalogues.

Taxpayers come from `data/taxpayers.json` (the SAT's public test taxpayers) and from whatever a test adds;
catalogue keys from the SAT's own data, which `cfdi.sat.data` finds: the file is shared, the reading is not.

The postcode catalogue names the zone `Tiempo del Centro en Frontera` for
Ciudad Juárez too, whose clocks are an hour behind. That is the SAT's own table, and the SAT's clock is what
counts here.
"""

from __future__ import annotations

import json
import pickle
import sqlite3
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from cfdi.sat import data

PUBLICO_EN_GENERAL: Final = "XAXX010101000"
EXTRANJERO: Final = "XEXX010101000"
GENERIC: Final = frozenset({PUBLICO_EN_GENERAL, EXTRANJERO})

# Which régimen a persona may have, and which UsoCFDI goes with it (c_RegimenFiscal and c_UsoCFDI; satcfdi's data leave
# these columns out). Typed apart from cfdi/sat/usos.py and compared entry by entry on 2026-11-29 with the SAT's tables
# as phpcfdi/resources-sat-catalogs publishes them (675be01, 2026-08-06): all 19 régimenes and 24 uses are equal.
_MORAL: Final = frozenset(["601", "603", "620", "622", "623", "624"])
_FISICA: Final = frozenset(["605", "606", "607", "608", "611", "612", "614", "615", "616", "621", "625"])
_BOTH: Final = frozenset(["610", "626"])
_BUSINESS: Final = frozenset(["601", "603", "606", "612", "620", "621", "622", "623", "624", "625", "626"])
_DEDUCTIONS: Final = frozenset(["605", "606", "607", "608", "611", "612", "614", "615", "625"])
_USOS: Final[dict[str, frozenset[str]]] = {
    **dict.fromkeys(["G01", "G03", *(f"I0{n}" for n in range(1, 9))], _BUSINESS),
    "G02": _BUSINESS | {"616"},
    **dict.fromkeys([*(f"D0{n}" for n in range(1, 10)), "D10"], _DEDUCTIONS),
    "S01": _MORAL | _FISICA | _BOTH,
    "CP01": _MORAL | _FISICA | _BOTH,
    "CN01": frozenset({"605"}),
}
_ZONES: Final = {
    "Tiempo del Centro": "America/Mexico_City",
    "Tiempo del Centro en Frontera": "America/Matamoros",
    "Tiempo del Noroeste": "America/Tijuana",
    "Tiempo del Pacífico": "America/Mazatlan",
    "Tiempo del Sureste": "America/Cancun",
}


class SatList:
    """The list of registered taxpayers: RFC -> (name, fiscal postcode)."""

    def __init__(self) -> None:
        found = json.loads((Path(__file__).parent / "data" / "taxpayers.json").read_text("utf-8"))
        self._taxpayers: dict[str, tuple[str, str]] = {
            rfc: (name, postcode) for rfc, (name, postcode) in found["taxpayers"].items()
        }

    def add(self, rfc: str, name: str, postcode: str) -> None:
        """Register a taxpayer, or change one."""
        self._taxpayers[rfc] = (name, postcode)

    def find(self, rfc: str) -> tuple[str, str] | None:
        """The registered name and fiscal postcode of an RFC; None where the SAT knows none."""
        return self._taxpayers.get(rfc)

    def has_name(self, name: str) -> bool:
        """Whether any taxpayer is registered under this name, letter by letter."""
        return any(name == registered for registered, _ in self._taxpayers.values())


def fits_persona(regimen: str, rfc: str) -> bool:
    """Whether a taxpayer with this RFC (12 characters: moral, 13: física) can have the régimen."""
    return regimen in _BOTH or regimen in (_MORAL if len(rfc) == 12 else _FISICA)


def is_regimen(regimen: str) -> bool:
    """Whether c_RegimenFiscal holds this key today."""
    return regimen in _MORAL or regimen in _FISICA or regimen in _BOTH


def is_uso(uso: str) -> bool:
    """Whether c_UsoCFDI holds this key today (P01 is no longer there)."""
    return uso in _USOS


def fits_uso(uso: str, regimen: str, rfc: str) -> bool:
    """Whether a receptor of this régimen and persona may put the invoice to this use."""
    if len(rfc) == 12 and (uso.startswith("D") or uso == "CN01"):
        return False
    return regimen in _USOS[uso]


def has_postcode(postcode: str) -> bool:
    """Whether c_CodigoPostal holds it."""
    return catalogue("c_CodigoPostal", postcode) is not None


def is_border(postcode: str) -> bool:
    """Whether the postcode lies in the northern or southern border region, where IVA may be 8 %."""
    row = catalogue("c_CodigoPostal", postcode)
    return row is not None and row[3] in ("1", "2")


def local_time(instant: datetime, postcode: str) -> datetime:
    """The wall clock at a postcode, without a zone, as `Fecha` is written; the centre's where it is unknown."""
    row = catalogue("c_CodigoPostal", postcode)
    zone = _ZONES[row[4]] if row is not None else "America/Mexico_City"
    return instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None, microsecond=0)


@lru_cache(maxsize=4096)
def catalogue(name: str, key: str) -> Any:
    """The entry of an SAT catalogue under `key`, or None; lists and texts as the data have them."""
    # The table's name comes from this module, never from a request.
    row = (
        _database()
        .execute(
            f"SELECT value FROM C756_{name} WHERE key = ?",  # noqa: S608
            (pickle.dumps(key, protocol=4),),
        )
        .fetchone()
    )
    return None if row is None else pickle.loads(row[0])  # noqa: S301 - a file of an installed package


@lru_cache(maxsize=1)
def _database() -> sqlite3.Connection:
    path = data.current().catalogs
    return sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True, check_same_thread=False)
