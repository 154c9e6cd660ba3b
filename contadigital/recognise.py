"""What the lists of `utiles.json` are, recognised by their content: nobody ever wrote their shape down.

A list is recognised by what stands in it (an RFC, a postcode, a currency, a form of payment, a unit) in any nesting and
naming; series, branches, kinds of withholding and products, whose content is just names, by what they are called.
Where two readings are possible nothing is taken, and both are reported: a wrong id is a wrong fiscal invoice.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from cfdi.sat import catalogs as sat
from contadigital.catalogs import CatalogEntry, Catalogs, Emisor, Id, Serie, id_of
from contadigital.text import fold, is_off, shown_name

Row = dict[str, Any]

MOST_ROWS = 5_000
MOST_DEPTH = 8
"""How much of an answer is looked at."""
KEY, VALUE = "(clave)", "(valor)"
"""The columns of a list that is written as an object: {"MXN": 1}."""

CURRENCY_NAMES: Final = {
    "pesos": "MXN", "peso": "MXN", "peso mexicano": "MXN", "pesos mexicanos": "MXN", "moneda nacional": "MXN",
    "m.n.": "MXN", "mn": "MXN", "dolar": "USD", "dolares": "USD", "dolar americano": "USD",
    "dolares americanos": "USD", "dolar estadounidense": "USD", "euro": "EUR", "euros": "EUR",
    "dolar canadiense": "CAD", "dolares canadienses": "CAD", "libra esterlina": "GBP", "yen": "JPY",
    "yen japones": "JPY", "peso chileno": "CLP", "peso colombiano": "COP",
}  # fmt: skip
"""How currencies are called besides their ISO code; PESOS is what ContaDigital's bulk template says (observed)."""


@dataclass(frozen=True, slots=True)
class ListKind:
    """One of the lists that stamping needs: how its keys look, and what it is called."""

    name: str
    exact: frozenset[str]
    """Names (folded, letters only) that mean this list and no other: those of the field it fills."""
    hints: tuple[str, ...]
    """Parts of names that speak for it."""
    key_of: Callable[[object], str | None] | None = None
    """The key in a value; None where it is none. A kind without it is known by its name alone."""


def _text(value: object) -> str:
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _first(text: str) -> tuple[str, str]:
    """A text's first word and the rest: "03 - Efectivo" is "03" and "Efectivo"."""
    found = re.match(r"([^\s\-–|:]+)\s*[\s\-–|:]\s*(.*)$", text)
    return (found[1], found[2]) if found else (text, "")


_RFC = re.compile(r"[A-ZÑ&]{3,4}\d{6}[A-Z0-9]{3}")


def _rfc(value: object) -> str | None:
    word = _first(_text(value).upper())[0]
    return word if _RFC.fullmatch(word) else None


def _postcode(value: object) -> str | None:
    text = _text(value)
    word = text.zfill(5) if isinstance(value, int) and 1000 <= value <= 99999 else _first(text)[0]
    return word if sat.postcode(word) is not None else None


def currency_of(value: object) -> str | None:
    """The ISO code of a currency, from its code or any of its names."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    word, rest = _first(text)
    if (
        re.fullmatch(r"[A-Z]{3}", word.upper())
        and (not rest or word.isupper())
        and sat.currency(word.upper())
    ):
        return word.upper()
    return CURRENCY_NAMES.get(fold(text)) or (CURRENCY_NAMES.get(fold(rest)) if rest else None)


@cache
def _forms() -> tuple[Mapping[str, str], Mapping[str, str]]:
    forms = sat.formas_pago()
    return forms, {fold(name): clave for clave, name in forms.items()}


def _form(value: object) -> str | None:
    forms, names = _forms()
    text = _text(value)
    if not text or (isinstance(value, int) and value > 99):
        return None
    word = _first(text)[0].zfill(2) if text[0].isdigit() else ""
    if len(word) == 2 and word in forms:
        return word
    return names.get(fold(text))


def _unit(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    word = _first(value.strip())[0].upper()
    return word if 1 < len(word) <= 3 and sat.clave_unidad(word) is not None else None


def _rate_word(value: object) -> str | None:
    """The percentage in the words of a kind of withholding: "4 %", "10.6667%", "No aplica" (which is 0)."""
    text = fold(_text(value))
    if text in ("no aplica", "ninguna", "sin retencion", "n/a"):
        return "0"
    found = re.search(r"(\d{1,2}(?:\.\d{1,6})?)\s*%", text)
    return found[1] if found else None


def _kind(
    name: str, exact: str, hints: str, key_of: Callable[[object], str | None] | None = None
) -> ListKind:
    return ListKind(name, frozenset(exact.split()), tuple(hints.split()), key_of)


KINDS: Final = (
    _kind("emisores", "rfc rfcs idrfc emisor emisores", "rfc emisor datosfiscales contribuyente issuer", _rfc),
    _kind("lugares_expedicion", "lugardeexpedicion lugaresdeexpedicion idlugardeexpedicion lugaresexpedicion",
          "lugar expedicion codigospostales codigopostal cp zipcode", _postcode),
    _kind("monedas", "moneda monedas idmoneda", "moneda divisa currency currencies", currency_of),
    _kind("formas_pago", "formadepago formasdepago idformadepago formaspago formapago",
          "formadepago formapago formaspago formasdepago mediosdepago mediopago paymentform", _form),
    _kind("unidades", "unidaddemedida unidadesdemedida idum unidades um", "unidad um medida", _unit),
    _kind("retenciones", "tiporetencioniva tiporetiva tiposderetencion retenciones", "retencion retiva", _rate_word),
    _kind("series", "serie series idserie", "serie folios"),
    _kind("sucursales", "sucursal sucursales idsucursal", "sucursal establecimiento branch"),
)  # fmt: skip
_BY_NAME: Final = {kind.name: kind for kind in KINDS}
_OTHERS: Final = re.compile(
    r"cliente|receptor|proveedor|usuario|vendedor|banco|cuenta|usocfdi|usoscfdi|regimen|metodo|relacion|pais|estado|"
    r"addenda|complemento|impuesto|producto|servicio|alumno"
)
"""Lists that are none of ours whatever stands in them, unless their name says so too."""


@dataclass(frozen=True, slots=True)
class Table:
    """A list of rows found somewhere in an answer, under the names that led to it."""

    path: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def place(self) -> str:
        """Where it stands: `Catalogos.Monedas`."""
        return ".".join(map(shown_name, self.path)) or "(raíz)"


@dataclass(slots=True)
class _Reading:
    """One table read as one kind."""

    kind: ListKind
    table: Table
    strength: int
    id_column: str
    key_column: str
    entries: list[tuple[Id, str, Row]] = field(default_factory=list)


def recognise(payload: object, *, id_empresa: int | None = None) -> Catalogs | None:
    """The account's lists in an answer; None where not one of them is there.

    `Catalogs.recognised` says what was taken for what, what was ambiguous and therefore not taken, and what was left.
    """
    tables = list(_tables(payload, (), id_empresa, 0))
    readings: dict[str, list[_Reading]] = {}
    ambiguous: list[dict[str, Any]] = []
    ignored: list[str] = []
    empty: set[str] = set()
    for table in tables:
        if not table.rows:
            empty |= {kind.name for kind in KINDS if _strength(kind, table, "") >= 2}
            continue
        found, why = _read(table)
        if found is not None:
            readings.setdefault(found.kind.name, []).append(found)
        elif why:
            ambiguous.append({"list": why[0], "from": [table.place], "why": why[1]})
        else:
            ignored.append(table.place)
    lists: list[dict[str, Any]] = []
    taken: dict[str, list[tuple[Id, str, Row]]] = {}
    for name, several in readings.items():
        chosen, clash = _choose(several)
        if clash:
            ambiguous.append({"list": name, "from": [each.table.place for each in several], "why": clash})
            continue
        taken[name] = chosen.entries
        lists.append(
            {
                "list": name, "from": chosen.table.place, "rows": len(chosen.entries),
                "id": shown_name(chosen.id_column), "key": shown_name(chosen.key_column),
                "named": chosen.strength >= 2,
            }
        )  # fmt: skip
    if not lists and not ambiguous and not empty:
        return None
    lists += [{"list": name, "from": "", "rows": 0, "named": True} for name in sorted(empty - set(taken))]
    return Catalogs(
        emisores=tuple(_emisor(*each) for each in taken.get("emisores", ())),
        series=tuple(_serie(*each) for each in taken.get("series", ())),
        sucursales=_entries(taken, "sucursales"),
        lugares_expedicion=_entries(taken, "lugares_expedicion"),
        monedas=_entries(taken, "monedas"),
        formas_pago=_entries(taken, "formas_pago"),
        unidades=_entries(taken, "unidades"),
        retenciones=_entries(taken, "retenciones"),
        stamps_left=_stamps_left(payload),
        recognised={"lists": lists, "ambiguous": ambiguous, "ignored": sorted(set(ignored))[:40]},
    )


# --- tables ------------------------------------------------------------------------------------------


def _tables(value: object, path: tuple[str, ...], id_empresa: int | None, depth: int) -> Iterator[Table]:
    """Every list of rows in an answer, whatever it is written as."""
    if depth > MOST_DEPTH:
        return
    if isinstance(value, list):
        yield from _list_tables(value, path, id_empresa, depth)
    elif isinstance(value, Mapping):
        yield from _object_tables(value, path, id_empresa, depth)


def _list_tables(
    value: list[Any], path: tuple[str, ...], id_empresa: int | None, depth: int
) -> Iterator[Table]:
    rows: list[Row] = []
    inner: list[Mapping[str, Any]] = []
    for each in value[:MOST_ROWS]:
        if isinstance(each, Mapping):
            row = _flattened(each)
            if row:
                rows.append(row)
            if any(isinstance(item, list | Mapping) for item in each.values()):
                inner.append(each)
        elif isinstance(each, list):
            head = value[0] if _is_a_head(value) else range(len(each))
            if each is not head:
                rows.append({str(name): item for name, item in zip(head, each, strict=False)})
    if rows or not value:
        yield from _split(Table(path, tuple(rows)))
    if inner:
        for each in _of_company(inner, id_empresa):
            title = _title(each)
            for name, item in each.items():
                if isinstance(item, list):
                    yield from _tables(item, (*path, title or str(name)), id_empresa, depth + 1)


def _is_a_head(value: list[Any]) -> bool:
    """Whether the first of several rows of plain values has the names of the columns."""
    if len(value) < 2 or not all(isinstance(each, list) for each in value):  # one row is no table
        return False
    names = value[0]
    texts = all(isinstance(name, str) and name and id_of(name) is None for name in names)
    return texts and len(set(names)) == len(names) and any(id_of(item) is not None for item in value[1])


def _title(row: Mapping[str, Any]) -> str:
    """What the one list inside a row is called by a text beside it: {"nombre": "Sucursales", "elementos": [...]}."""
    texts = [item for item in row.values() if isinstance(item, str)]
    named = [text for text in texts if any(_name_strength(kind, text) for kind in KINDS)]
    lists = [item for item in row.values() if isinstance(item, list)]
    return named[0] if len(named) == len(lists) == 1 else ""


def _of_company(rows: Sequence[Mapping[str, Any]], id_empresa: int | None) -> Sequence[Mapping[str, Any]]:
    """Of several companies in one answer, ours."""
    ours = [
        row
        for row in rows
        if any(
            plain_name(name) in ("idempresa", "id") and id_of(item) == id_empresa
            for name, item in row.items()
        )
    ]
    return ours if id_empresa is not None and ours else rows


def _object_tables(
    value: Mapping[str, Any], path: tuple[str, ...], id_empresa: int | None, depth: int
) -> Iterator[Table]:
    scalars = {str(name): item for name, item in value.items() if not isinstance(item, list | Mapping)}
    if scalars and len(scalars) == len(value):
        if path and all(id_of(item) is not None or id_of(name) is not None for name, item in scalars.items()):
            yield Table(path, tuple({KEY: name, VALUE: item} for name, item in scalars.items()))
        elif path:
            yield Table(path, (scalars,))
        return
    objects = [item for item in value.values() if isinstance(item, Mapping)]
    is_keyed = len(objects) == len(value) and all(
        any(not isinstance(inner, list | Mapping) for inner in item.values()) for item in objects
    )
    if path and is_keyed and objects:
        yield Table(path, tuple({KEY: str(name), **_flattened(item)} for name, item in value.items()))
        return
    for name, item in value.items():
        if isinstance(item, list | Mapping):
            yield from _tables(item, (*path, str(name)), id_empresa, depth + 1)


def _flattened(row: Mapping[str, Any]) -> Row:
    flat: Row = {}
    for name, item in row.items():
        if isinstance(item, Mapping):
            flat |= {
                f"{name}.{inner}": each
                for inner, each in item.items()
                if not isinstance(each, list | Mapping)
            }
        elif not isinstance(item, list):
            flat[str(name)] = item
    return flat


def _split(table: Table) -> Iterator[Table]:
    """A table, or, where one of its columns says which list each row is of, each of these lists."""
    for column in _columns(table):
        values = {_text(row.get(column)) for row in table.rows}
        if len(table.rows) > len(values) > 1 and all(value and not value.isdigit() for value in values):
            named = [value for value in values if any(_name_strength(kind, value) for kind in KINDS)]
            if len(named) >= 2:  # one name alone may be a word of some row
                for value in sorted(values):
                    rows = tuple(
                        {name: item for name, item in row.items() if name != column}
                        for row in table.rows
                        if _text(row.get(column)) == value
                    )
                    yield Table((*table.path, value), rows)
                return
    yield table


def _columns(table: Table) -> list[str]:
    return list(dict.fromkeys(name for row in table.rows for name in row))


# --- one table ---------------------------------------------------------------------------------------


def _read(table: Table) -> tuple[_Reading | None, tuple[str, str] | None]:
    """What a table is; or the kind it may be and why it was not taken; or neither, where it is none of ours."""
    is_other = _OTHERS.search(plain_name(table.path[-1])) is not None if table.path else False
    candidates: list[tuple[int, ListKind, str]] = []
    for kind in KINDS:
        if kind.key_of is None:
            strength = max(_strength(kind, table, column) for column in ("", *_columns(table)))
            if strength >= 2 or (strength == 1 and not is_other):  # 2: the path itself says it
                candidates.append((strength, kind, ""))
            continue
        for column in _columns(table):
            values = [row[column] for row in table.rows if row.get(column) not in (None, "")]
            strength = _strength(kind, table, column)
            good = sum(kind.key_of(value) is not None for value in values)
            # under a name of its own a list may have rows of a kind that we do not know
            is_it = bool(values) and good >= len(values) * (0.5 if strength else 1)
            may_be = not is_other and kind.name != "retenciones" and _speaks_for_itself(kind, table, column)
            if is_it and (strength or may_be):
                candidates.append((strength, kind, column))
    if not candidates:
        return None, None
    best = max(strength for strength, _, _ in candidates)
    if is_other and best < 2:
        return None, None
    kinds = {kind.name for strength, kind, _ in candidates if strength == best}
    if len(kinds) > 1 and "emisores" in kinds and best == 0:
        kinds = {"emisores"}  # a postcode or a name stands beside an RFC; an RFC beside nothing else
    if len(kinds) > 1:
        return None, ("/".join(sorted(kinds)), "su contenido puede ser de varias listas")
    kind = _BY_NAME[kinds.pop()]
    columns = list(dict.fromkeys(column for _, each, column in candidates if each is kind))
    return _with_ids(kind, table, best, columns)


def _speaks_for_itself(kind: ListKind, table: Table, column: str) -> bool:
    """Whether a column is what it looks like even where nothing is called so.

    Two digits may be any of the SAT's keys, so a form of payment says its name; another number is the id.
    """
    values = [_text(row.get(column)) for row in table.rows]
    if kind.name == "formas_pago":
        return all(fold(_first(value)[1] or value) in _forms()[1] for value in values if value)
    return any(_is_an_id(table, name) for name in _columns(table) if name != column)


def _with_ids(
    kind: ListKind, table: Table, strength: int, columns: list[str]
) -> tuple[_Reading | None, tuple[str, str] | None]:
    key_column = _key_column(kind, table, columns)
    if key_column is None:
        return None, (kind.name, f"pueden ser su clave: {', '.join(map(shown_name, columns))}")
    id_column, why = _id_column(kind, table, key_column)
    if id_column is None:
        return None, (kind.name, why)
    found = _Reading(kind, table, strength, id_column, key_column)
    for row in table.rows:
        number = id_of(row.get(id_column))
        value = row.get(key_column)
        key = kind.key_of(value) if kind.key_of else _text(value)
        if (
            number is not None
            and (isinstance(number, str) or number > 0 - (kind.name in ("sucursales", "retenciones")))
            and key is not None
        ):
            found.entries.append((number, key, row))
    return found, None


def _key_column(kind: ListKind, table: Table, columns: list[str]) -> str | None:
    """The column that a row is known by; None where two may be."""
    if kind.key_of is None:
        texts = [
            name
            for name in _columns(table)
            if any(_text(row.get(name)) and id_of(row.get(name)) is None for row in table.rows)
            and not _is_flag(name)
        ]
        return min(
            texts,
            key=lambda name: _rank(name, (*kind.hints, "clave", "codigo", "nombre", "text")),
            default="",
        )

    def order(name: str) -> tuple[bool, bool, bool, int]:
        is_id = _id_rank(kind, name) < 99 and name != KEY and plain_name(name) not in ("clave", "codigo")
        is_number = all(isinstance(row.get(name), int) for row in table.rows)
        return _name_strength(kind, name) == 0, is_id, is_number, _rank(name, ("clave", "codigo"))

    best = min(map(order, columns))
    top = [name for name in columns if order(name) == best]
    alike = all(len({kind.key_of(row.get(name)) for name in top}) == 1 for row in table.rows)
    return top[0] if len(top) == 1 or alike else None


def _rank(name: str, wanted: Sequence[str]) -> int:
    plain = plain_name(name)
    return next((place for place, each in enumerate(wanted) if each in plain), len(wanted))


def _is_flag(name: str) -> bool:
    return re.search(r"activ|estatus|status|vigente|habilitad", plain_name(name)) is not None


_IDS: Final = (
    "value",
    "valor",
    "key",
    "identificador",
    "numero",
    "codigo",
    "clave",
    "(clave)",
    "(valor)",
    "0",
    "1",
)


def _id_column(kind: ListKind, table: Table, key_column: str) -> tuple[str | None, str]:
    """The column of ContaDigital's id: whole numbers or GUIDs, all different, and called so."""
    candidates = [name for name in _columns(table) if name != key_column and _is_an_id(table, name)]
    if not candidates:
        return None, "no trae nada que pueda ser sus ids"
    best = min(_id_rank(kind, name) for name in candidates)
    top = [name for name in candidates if _id_rank(kind, name) == best]
    same = all(len({id_of(row.get(name)) for name in top}) == 1 for row in table.rows)
    if len(top) > 1 and not same:
        return None, f"pueden ser sus ids: {', '.join(map(shown_name, top))}"
    return top[0], ""


def _id_rank(kind: ListKind, name: str) -> int:
    """How much a column is called an id of this kind: 0 most, 99 not at all."""
    plain = plain_name(name)
    if plain == "id" or (plain.removeprefix("id") in {*kind.exact, *kind.hints} and plain.startswith("id")):
        return 0
    if plain.startswith("id") or plain.endswith("id"):
        return 1
    return 2 + _IDS.index(plain) if plain in _IDS else 99


def _is_an_id(table: Table, column: str) -> bool:
    """Whether every row has another whole number there, or another GUID."""
    numbers = [id_of(row.get(column)) for row in table.rows]
    known = [each for each in numbers if each is not None]
    return len(known) * 2 >= len(numbers) and bool(known) and len(set(known)) == len(known)


def plain_name(name: object) -> str:
    """A name by its letters alone: `Id_Serie`, `idSerie` and `ID SERIE` are one."""
    return re.sub(r"[^a-z0-9()]", "", fold(str(name)))


def _name_strength(kind: ListKind, name: object) -> int:
    plain = plain_name(name)
    if plain in kind.exact:
        return 3
    return (
        2 if any(hint in plain for hint in kind.hints if len(hint) > 2) or plain in kind.hints else 0
    )  # rfc, cp, um


def _strength(kind: ListKind, table: Table, column: str) -> int:
    """How much names speak for a kind: 3 the list's own name, 2 a part of its path's, 1 of a column's, 0 nothing."""
    path = _name_strength(kind, table.path[-1]) if table.path else 0
    if len(table.path) > 1 and not any(_name_strength(each, table.path[-1]) for each in KINDS):
        path = min(
            _name_strength(kind, table.path[-2]), 2
        )  # the name just above says nothing: the one above that
    return path or (1 if column and _name_strength(kind, column) else 0)


# --- several tables ----------------------------------------------------------------------------------


def _choose(several: list[_Reading]) -> tuple[_Reading, str]:
    """The table of a kind: the one whose name says so most; and why none can be chosen, where two claim it alike."""
    best = max(each.strength for each in several)
    top = [
        each for each in several if each.strength >= (best if best == 3 else 1) or best == 0
    ]  # 3: its very name
    chosen = max(top, key=lambda each: len(each.entries))
    for other in top:
        ids = {key: number for number, key, _ in other.entries}
        if any(ids.get(key, number) != number for number, key, _ in chosen.entries):
            return chosen, "dos listas dan ids distintos para lo mismo"
        if other is not chosen and not set(ids) <= {key for _, key, _ in chosen.entries}:
            return chosen, "dos listas pueden serlo"
    return chosen, ""


# --- rows --------------------------------------------------------------------------------------------


def _rest_of(key: str, row: Row) -> str:
    """What a row is called besides its key."""
    for name, value in sorted(
        row.items(), key=lambda item: _rank(item[0], ("descrip", "nombre", "razon", "text"))
    ):
        text = _text(value)
        if not text or id_of(value) is not None or _is_flag(name) or name == KEY:
            continue
        if text.upper() == key.upper():
            continue
        word, rest = _first(text)
        return rest if rest and word.upper().lstrip("0") == key.upper().lstrip("0") else text
    return ""


def _entries(taken: Mapping[str, Iterable[tuple[Id, str, Row]]], name: str) -> tuple[CatalogEntry, ...]:
    return tuple(
        CatalogEntry(number, key, _description(name, key, row)) for number, key, row in taken.get(name, ())
    )


def _description(name: str, key: str, row: Row) -> str:
    if name == "retenciones":  # the word itself, as it is written there
        return next(
            (_text(value) for value in row.values() if _rate_word(value) == key and id_of(value) is None), key
        )
    return _rest_of(key, row)


def _emisor(number: Id, key: str, row: Row) -> Emisor:
    regimen = next(
        (
            found[0]
            for name, value in row.items()
            if "regimen" in plain_name(name) and (found := re.match(r"[0-9]{3}", _text(value)))
        ),
        "",
    )
    names = {
        name: value for name, value in row.items() if not re.search(r"regimen|mail|correo", plain_name(name))
    }
    named = next(
        (
            _text(value)
            for name, value in names.items()
            if re.search(r"razon|denominacion|nombre", plain_name(name))
        ),
        "",
    )
    return Emisor(number, key, named or _name_in(key, names), regimen)


def _name_in(key: str, row: Row) -> str:
    """A name behind an RFC in one text; nothing else that a row holds is taken for a name."""
    for value in row.values():
        word, rest = _first(_text(value))
        if word.upper() == key and rest:
            return rest
    return ""


def _serie(number: Id, key: str, row: Row) -> Serie:
    flag = next((value for name, value in row.items() if _is_flag(name)), None)
    is_active = not is_off(flag)
    name = _rest_of(key, row)
    both = re.fullmatch(r"(\S+)\s+[-–|]\s+(.+)", key)
    if both and not name:
        return Serie(number, both[1], is_active, both[2], key)
    if not _is_letter(key, row):
        return Serie(number, "", is_active, key)
    return Serie(number, key, is_active, name)


LETTER = re.compile(r"[A-Z0-9-]{1,25}")
"""How a CFDI's Serie looks; a name of a series usually does not."""


def _is_letter(key: str, row: Row) -> bool:
    """Whether a text is the CFDI's Serie: by its column, or in capitals; else it is a name of its own."""
    named = any(
        plain_name(name) in ("serie", "letra", "prefijo") and _text(value) == key
        for name, value in row.items()
    )
    return named or LETTER.fullmatch(key) is not None


_STAMPS = re.compile(r"timbres(?:disponibles|restantes|libres)?|foliosdisponibles|creditos(?:disponibles)?")


def _stamps_left(payload: object, depth: int = 0) -> int | None:
    """The stamps left, where they are reported; -1 and numbers that nobody buys mean "no limit" (assumed): unknown."""
    if not isinstance(payload, Mapping) or depth > 3:  # they stand near the top
        return None
    for name, value in payload.items():
        number = id_of(value)
        if _STAMPS.fullmatch(plain_name(name)) and isinstance(number, int):
            return number if 0 <= number < 1_000_000_000 else None
    found = (_stamps_left(value, depth + 1) for value in payload.values())
    return next((each for each in found if each is not None), None)
