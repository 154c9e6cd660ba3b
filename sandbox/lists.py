"""utiles.json in every shape that an account's dialect can ask for: the same ids under other names and nestings.

Which shape the real one has is unknown (the only known integration shows its text to a person); `assumed` is one
guess. Each shape gets the same catalogues, so that nothing but the form differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.accounts import Account, Row
from sandbox.dialects import RETENCIONES
from sandbox.refusals import Codigo, Refusal

_MONEDAS: Final[dict[str, dict[str, str]]] = {
    "sat": {},
    "pesos": {"MXN": "PESOS"},
    "names": {
        "MXN": "Peso mexicano",
        "USD": "Dólar americano",
        "EUR": "Euro",
        "CAD": "Dólar canadiense",
        "GBP": "Libra esterlina",
        "JPY": "Yen",
        "CLP": "Peso chileno",
        "COP": "Peso colombiano",
    },
}
_CAMEL: Final = {
    "RFCs": "rfcs",
    "LugaresDeExpedicion": "lugaresExpedicion",
    "FormasDePago": "formasPago",
    "UnidadesDeMedida": "unidades",
    "RFC": "rfc",
    "CP": "codigoPostal",
    "Activa": "activo",
}
_OTHER: Final = {
    "RFCs": "Emisores",
    "Series": "Folios",
    "Sucursales": "Establecimientos",
    "LugaresDeExpedicion": "CodigosPostales",
    "Monedas": "Divisas",
    "FormasDePago": "MediosDePago",
    "UnidadesDeMedida": "Unidades",
    "TiposDeRetencion": "Retenciones",
    "Id": "Identificador",
    "Clave": "Codigo",
    "Descripcion": "Nombre",
    "RazonSocial": "Denominacion",
    "Activa": "Vigente",
}
_OWN_IDS: Final = {
    "RFCs": "IdRFC",
    "Series": "IdSerie",
    "Sucursales": "IdSucursal",
    "LugaresDeExpedicion": "IdLugarDeExpedicion",
    "Monedas": "IdMoneda",
    "FormasDePago": "IdFormaDePago",
    "UnidadesDeMedida": "IdUM",
    "TiposDeRetencion": "IdTipoRetencion",
}


@dataclass(frozen=True)
class _Entry:
    """One row: its id, what it is known by, what it is called, and whether it is in use."""

    id: int | str
    key: str
    name: str
    row: Row
    """The row as `assumed` has it."""
    active: bool = True

    @property
    def text(self) -> str:
        """Key and name in one text."""
        return " - ".join(part for part in (self.key, self.name) if part)


@dataclass(frozen=True)
class _List:
    title: str
    entries: list[_Entry] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        return [entry.row for entry in self.entries]

    @property
    def in_use(self) -> list[_Entry]:
        return [entry for entry in self.entries if entry.active]


def utiles(account: Account) -> Any:
    """`Resultado` of utiles.json as the account's dialect has it; raises `Refusal` where there is no such call."""
    shape = account.dialect.utiles
    if shape == "404":
        raise Refusal(Codigo.NOT_FOUND, "No se encontró el recurso", status=404)
    content = _SHAPES[shape](_lists(account), account)
    if isinstance(content, dict) and account.behaviour.reports_stamps and account.stamps_left is not None:
        content["TimbresDisponibles"] = account.stamps_left
    return content


def _lists(account: Account) -> list[_List]:
    found = [
        _List(title, [_entry(title, row, account) for row in rows]) for title, rows in _catalogues(account)
    ]
    match account.dialect.extra_lists:
        case "unknown":
            return [*found[:2], *map(_extra, _UNKNOWN), *found[2:]]
        case "ambiguous":
            return [*found, *_second_lists(account)]
        case _:
            return found


def _catalogues(account: Account) -> Iterable[tuple[str, list[Row]]]:
    yield from account.catalogues.items()
    dialect = account.dialect
    if dialect.lists_withholdings and dialect.tipo_retencion in ("list", "word"):
        yield "TiposDeRetencion", [{"Id": number, "Descripcion": word} for number, word, _ in RETENCIONES]


def _entry(title: str, row: Row, account: Account) -> _Entry:
    number = row["Id"] if title == "TiposDeRetencion" else account.shown_id(row["Id"])
    row = row | {"Id": number}
    match title:
        case "RFCs":
            return _Entry(number, row["RFC"], row["RazonSocial"], dict(row))
        case "Series":
            return _serie(row, account)
        case "LugaresDeExpedicion":
            cp = _key(row["CP"], account)
            return _Entry(number, str(cp), "", row | {"CP": cp})
        case "FormasDePago":
            forma = _key(row["Clave"], account)
            return _Entry(number, str(forma), row["Descripcion"], row | {"Clave": forma})
        case "Monedas":
            word = str(_MONEDAS[account.dialect.moneda].get(row["Clave"], row["Clave"]))
            return _Entry(number, word, "", {"Id": number, "Clave": word})
        case _:
            key, name = row.get("Clave", ""), row.get("Descripcion") or row.get("Nombre", "")
            return _Entry(number, key, name, dict(row))


def _key(text: str, account: Account) -> str | int:
    return int(text) if account.dialect.list_keys == "number" else text


_FLAGS: Final[dict[str, tuple[Any, Any]]] = {
    "bool": (True, False),
    "number": (1, 0),
    "word": ("Activo", "Inactivo"),
    "letter": ("S", "N"),
}


def _serie(row: Row, account: Account) -> _Entry:
    letter, name = row["Serie"], row.get("Nombre") or f"Clientes {row['Serie'].lower()}"
    yes, no = _FLAGS[account.dialect.active_flag]
    flag = yes if row["Activa"] else no
    shown = {name: value for name, value in row.items() if name != "Nombre"} | {"Activa": flag}
    match account.dialect.series:
        case "name":
            del shown["Serie"]
            return _Entry(row["Id"], name, "", shown | {"Nombre": name}, row["Activa"])
        case "both":
            return _Entry(row["Id"], letter, name, shown | {"Nombre": name}, row["Activa"])
        case _:
            return _Entry(row["Id"], letter, "", shown, row["Activa"])


_UNKNOWN: Final[list[tuple[str, list[tuple[str, str]]]]] = [
    ("Bancos", [("002", "BANAMEX"), ("012", "BBVA MEXICO"), ("072", "BANORTE")]),
    ("Usuarios", [("", "Administrador"), ("", "Capturista")]),
    ("Vendedores", [("V01", "Mostrador")]),
    ("UsosCFDI", [("G01", "Adquisición de mercancías"), ("G03", "Gastos en general")]),
    ("RegimenesFiscales", [("601", "General de Ley Personas Morales"), ("612", "Personas Físicas")]),
    ("MetodosDePago", [("PUE", "Pago en una sola exhibición"), ("PPD", "Pago en parcialidades")]),
]


def _extra(extra: tuple[str, list[tuple[str, str]]]) -> _List:
    title, pairs = extra
    rows: list[Row] = [
        {"Id": 9001 + place, "Clave": key, "Nombre": name} for place, (key, name) in enumerate(pairs)
    ]
    return _List(title, [_Entry(row["Id"], row["Clave"], row["Nombre"], row) for row in rows])


def _second_lists(account: Account) -> list[_List]:
    """Places and currencies once more, under ids that stamping does not take."""
    again = {"CodigosPostalesFrecuentes": "LugaresDeExpedicion", "MonedasDeReportes": "Monedas"}
    found = []
    for title, source in again.items():
        rows = [row | {"Id": row["Id"] + 20_000} for row in account.catalogues[source]]
        found.append(_List(title, [_entry(source, row, account) for row in rows]))
    return found


def _renamed(value: Any, rename: Callable[[str], str]) -> Any:
    """The same structure under other names."""
    if isinstance(value, dict):
        return {rename(name): _renamed(inner, rename) for name, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, rename) for inner in value]
    return value


def _assumed(lists: list[_List], _: Account) -> Any:
    return {each.title: each.rows for each in lists}


def _lower(lists: list[_List], account: Account) -> Any:
    return _renamed(_assumed(lists, account), str.lower)


def _camel(lists: list[_List], account: Account) -> Any:
    return _renamed(_assumed(lists, account), lambda name: _CAMEL.get(name, name[:1].lower() + name[1:]))


def _other_names(lists: list[_List], account: Account) -> Any:
    return _renamed(_assumed(lists, account), lambda name: _OTHER.get(name, name))


def _own_ids(lists: list[_List], _: Account) -> Any:
    def rows(each: _List) -> list[Row]:
        own = _OWN_IDS.get(each.title, "Id")
        return [
            {own: row["Id"]} | {name: value for name, value in row.items() if name != "Id"}
            for row in each.rows
        ]

    return {each.title: rows(each) for each in lists}


def _value_text(lists: list[_List], _: Account) -> Any:
    return {
        each.title: [{"Value": str(entry.id), "Text": entry.text} for entry in each.in_use] for each in lists
    }


def _nested(lists: list[_List], account: Account) -> Any:
    return {"Catalogos": {"Facturacion": _assumed(lists, account), "Version": 3}}


def _flat(lists: list[_List], _: Account) -> Any:
    return [
        {
            "Tipo": each.title,
            "Id": entry.id,
            "Clave": entry.key,
            "Nombre": entry.name,
            "Activo": entry.row.get("Activa", entry.active),
        }
        for each in lists
        for entry in each.entries
    ]


def _by_key(lists: list[_List], _: Account) -> Any:
    return {each.title: {entry.key or entry.name: entry.id for entry in each.in_use} for each in lists}


def _by_id(lists: list[_List], _: Account) -> Any:
    return {each.title: {str(entry.id): entry.text for entry in each.in_use} for each in lists}


def _pairs(lists: list[_List], _: Account) -> Any:
    return {each.title: [[entry.id, entry.text] for entry in each.in_use] for each in lists}


def _by_company(lists: list[_List], account: Account) -> Any:
    of = {each.title: each.rows for each in lists}
    own = ("RFCs", "Series", "Sucursales", "LugaresDeExpedicion")
    branches = [
        row | {"LugaresDeExpedicion": of["LugaresDeExpedicion"], "Series": of["Series"]}
        for row in of["Sucursales"]
    ]
    company = {"IdEmpresa": account.id_empresa, "DatosFiscales": of["RFCs"], "Sucursales": branches}
    return {"Empresas": [company]} | {title: rows for title, rows in of.items() if title not in own}


def _mixed(lists: list[_List], account: Account) -> Any:
    """Each list in another form, as an API grows over the years."""
    forms = (_own_ids, _value_text, _lower, _by_key, _pairs, _other_names, _camel)
    content: dict[str, Any] = {}
    for place, each in enumerate(lists):
        content |= forms[place % len(forms)]([each], account)
    return {"data": content}


def _empty(_: list[_List], __: Account) -> Any:
    return {}


_SHAPES: Final[dict[str, Callable[[list[_List], Account], Any]]] = {
    "assumed": _assumed,
    "lower": _lower,
    "camel": _camel,
    "own_ids": _own_ids,
    "value_text": _value_text,
    "nested": _nested,
    "flat": _flat,
    "by_key": _by_key,
    "by_id": _by_id,
    "other_names": _other_names,
    "pairs": _pairs,
    "by_company": _by_company,
    "mixed": _mixed,
    "empty": _empty,
}
