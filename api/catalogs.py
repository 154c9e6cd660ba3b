"""The SAT's catalogues over HTTP: what a form's fields offer."""

import unicodedata
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from api.authentication import Reader
from api.context import TheApi
from api.problems import HttpProblem
from api.shapes import CatalogShape, answers
from cfdi.sat import catalogs

router = APIRouter(tags=["Catálogos"])

NAMES = {
    "clave_prod_serv": "c_ClaveProdServ",
    "clave_unidad": "c_ClaveUnidad",
    "uso_cfdi": "c_UsoCFDI",
    "regimen_fiscal": "c_RegimenFiscal",
    "forma_pago": "c_FormaPago",
    "metodo_pago": "c_MetodoPago",
    "moneda": "c_Moneda",
    "objeto_imp": "c_ObjetoImp",
    "tipo_relacion": "c_TipoRelacion",
    "periodicidad": "c_Periodicidad",
    "meses": "c_Meses",
    "exportacion": "c_Exportacion",
    "codigo_postal": "c_CodigoPostal",
}


@router.get("/catalogs", summary="Which catalogues there are")
def names(key: Reader) -> dict[str, list[str]]:
    """Their names."""
    return {"items": sorted(NAMES)}


@router.get(
    "/catalogs/{name}", response_model=CatalogShape, responses=answers(404), summary="Search a catalogue"
)
def search(
    key: Reader,
    api: TheApi,
    name: Annotated[str, Path(description="clave_prod_serv, uso_cfdi, codigo_postal...", max_length=50)],
    q: Annotated[str, Query(description="The beginning of a key, or words of a name.", max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 20,
) -> Any:
    """Keys that begin with it first, then names that hold all its words; accents and letter case do not count."""
    if name not in NAMES:
        raise HttpProblem(404, f"There is no catalogue {name}: {', '.join(sorted(NAMES))}.", code="not_found")
    return {"items": found(name, q, limit)}


def found(name: str, q: str, limit: int) -> list[dict[str, Any]]:
    """Return entries, those whose key begins with the text first."""
    wanted, words = q.strip().upper(), plain(q).split()
    by_key: list[dict[str, Any]] = []
    by_name: list[dict[str, Any]] = []
    for key, label, searched in _entries(name):
        if key.upper().startswith(wanted):
            by_key.append({"key": key, "name": label})
            if len(by_key) == limit:
                break
        elif len(by_name) < limit and words and all(word in searched for word in words):
            by_name.append({"key": key, "name": label})
    return (by_key + by_name)[:limit]


def plain(text: str) -> str:
    """Return a text without accents, in lower case."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(each for each in decomposed if not unicodedata.combining(each)).lower()


@cache
def _entries(name: str) -> list[tuple[str, str, str]]:
    """Return (key, name, name to search in) of a catalogue, sorted by key; read once a process."""
    rows = []
    for key, value in catalogs.entries(NAMES[name]).items():
        label = _label(value)
        rows.append((str(key), label, plain(label)))
    return sorted(rows)


def _label(value: Any) -> str:
    """Return the name in a catalogue's value, which is a text, or a list that begins with it."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return next((each for each in value if isinstance(each, str)), "")
    return "" if value is None else str(value)
