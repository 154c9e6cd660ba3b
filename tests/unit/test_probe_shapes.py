"""`probe` at providers whose lists have shapes of their own: it never breaks, guesses no id, and shows nobody."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from contadigital.inspection import GivenConnection, inspect
from contadigital.probe import ProbeReport, as_toml, probe
from contadigital.resolve_ids import GivenIds
from tests.support.prepared_answers import KEY, Replies, a_client, a_provider, an_answer, some_credentials

RFC, CP = "EKU9003173C9", "64000"
CANARIES = (
    KEY, RFC, "XIA190128J61", "ESCUELA KEMPER", "XENON INDUSTRIAL", "cxp@xenon.mx", "Lic. Perez", "Maria Lopez",
    "CACX7605101P8", "Morelos 8", "token-1", "4611234567",
)  # fmt: skip
EMISORES = [{"Id": 7, "RFC": RFC, "RazonSocial": "ESCUELA KEMPER URGATE", "RegimenFiscal": "601 - General"}]
SERIES = [{"Id": 11, "Serie": "A", "Activa": True}, {"Id": 12, "Serie": "NC", "Activa": False}]
SUCURSALES = [{"Id": 3, "Nombre": "Matriz", "Responsable": "Maria Lopez"}]
LUGARES = [{"Id": 5, "CP": CP}, {"Id": 6, "CP": "42501"}]
MONEDAS = [{"Id": 1, "Clave": "MXN"}, {"Id": 2, "Clave": "USD"}]
FORMAS = [{"Id": 103, "Clave": "03", "Descripcion": "Transferencia electrónica de fondos"},
          {"Id": 199, "Clave": "99", "Descripcion": "Por definir"}]  # fmt: skip
UNIDADES = [{"Id": 201, "Clave": "E48", "Nombre": "Unidad de servicio"}]
LISTS = {"RFCs": EMISORES, "Series": SERIES, "Sucursales": SUCURSALES, "LugaresDeExpedicion": LUGARES,
         "Monedas": MONEDAS, "FormasDePago": FORMAS, "UnidadesDeMedida": UNIDADES}  # fmt: skip
RIGHT = {
    "rfc": 7,
    "serie": 11,
    "sucursal": 3,
    "lugar_expedicion": 5,
    "moneda": 1,
    "forma_pago": 103,
    "unidad": 201,
}
"""The ids that any reading of LISTS may find, and no other."""


def renamed(names: dict[str, str]) -> Callable[[Any], Any]:
    def change(value: Any) -> Any:
        if isinstance(value, dict):
            return {names.get(name, name): change(each) for name, each in value.items()}
        return [change(each) for each in value] if isinstance(value, list) else value

    return change


ENGLISH = renamed({
    "RFCs": "issuers", "Series": "series", "Sucursales": "branches", "LugaresDeExpedicion": "places", "Monedas":
    "currencies", "FormasDePago": "paymentForms", "UnidadesDeMedida": "units", "Id": "id", "RFC": "taxId",
    "RazonSocial": "legalName", "RegimenFiscal": "taxRegime", "Serie": "series", "Activa": "active", "Nombre": "name",
    "CP": "zipCode", "Clave": "code", "Descripcion": "description", "Responsable": "manager",
})  # fmt: skip


def mapped(change: Callable[[str, Any], Any], value: Any = LISTS, name: str = "") -> Any:
    """The same structure with every plain value changed."""
    if isinstance(value, dict):
        return {key: mapped(change, each, key) for key, each in value.items()}
    return [mapped(change, each, name) for each in value] if isinstance(value, list) else change(name, value)


def keyed(lists: dict[str, Any]) -> dict[str, Any]:
    """Each list as an object by the id of its rows."""
    return {
        name: {str(row["Id"]): {key: each for key, each in row.items() if key != "Id"} for row in rows}
        for name, rows in lists.items()
    }


def rows_of_texts(lists: dict[str, Any]) -> dict[str, Any]:
    """Each list as a list of lists, its first row the names."""
    return {name: [list(rows[0]), *(list(row.values()) for row in rows)] for name, rows in lists.items()}


def as_guids(name: str, value: Any) -> Any:
    return f"6f1c0b1e-0000-4000-8000-{value:012d}" if name == "Id" else value


def body(content: bytes | str, content_type: str = "application/json") -> httpx.Response:
    raw = content.encode() if isinstance(content, str) else content
    return httpx.Response(200, content=raw, headers={"content-type": content_type})


XML = f"<Catalogos><RFC Id='7'>{RFC}</RFC><Contacto>Maria Lopez, cxp@xenon.mx</Contacto></Catalogos>"
PEOPLE = [{"Id": 44, "RFC": "XIA190128J61", "RazonSocial": "XENON INDUSTRIAL", "Email": "cxp@xenon.mx",
           "Telefono": "4611234567"}, {"Id": 45, "RFC": "CACX7605101P8", "RazonSocial": "Lic. Perez"}]  # fmt: skip
PLAIN = json.dumps({"Codigo": 1, "Resultado": LISTS}, ensure_ascii=False)
SHAPES: dict[str, Replies] = {
    "data, items": an_answer({"data": {"items": LISTS}}, codigo=None),
    "OData, d.results": an_answer(
        {"d": {name: {"results": rows} for name, rows in LISTS.items()}}, codigo=None
    ),
    "a list of named lists": an_answer([{"nombre": name, "elementos": rows} for name, rows in LISTS.items()]),
    "objects by id": an_answer(keyed(LISTS)),
    "lists of lists under their names": an_answer(rows_of_texts(LISTS)),
    "JSON inside a text": an_answer(json.dumps(LISTS)),
    "everything inside a text": body(json.dumps(json.dumps({"Codigo": 1, "Resultado": LISTS}))),
    "XML inside a text": an_answer(XML),
    "XML": body(XML, "application/xml"),
    "English": an_answer(ENGLISH(LISTS)),
    "everything a text": an_answer(mapped(lambda _, value: str(value))),
    "GUIDs": an_answer(mapped(as_guids)),
    "ids that are words": an_answer(mapped(lambda name, value: f"SER-{value}" if name == "Id" else value)),
    "paged": an_answer(
        {name: {"total": 90, "page": 1, "pageSize": 2, "rows": rows} for name, rows in LISTS.items()}
    ),
    "a page of HTML": body("<!DOCTYPE html><html><body>Maria Lopez cxp@xenon.mx</body></html>", "text/html"),
    "HTML said to be JSON": body("<html><body>Error de XENON INDUSTRIAL</body></html>"),
    "a byte order mark": body(b"\xef\xbb\xbf" + PLAIN.encode()),
    "latin-1": body(PLAIN.encode("latin-1"), "application/json; charset=iso-8859-1"),
    "UTF-16": body(PLAIN.encode("utf-16")),
    "a JSON a line": body("\n".join(json.dumps({name: rows}) for name, rows in LISTS.items())),
    "a row a line": body(
        "\r\n".join(json.dumps({"Tipo": name, **row}) for name, rows in LISTS.items() for row in rows)
    ),
    "a line cut short": body(f"{json.dumps({'Monedas': LISTS['Monedas']})}\n{PLAIN[:-40]}"),
    "empty lists": an_answer({name: [] for name in LISTS}),
    "S and N": an_answer(
        mapped(lambda name, value: ("S" if value else "N") if name == "Activa" else value)
    ),
    "nulls": an_answer(dict.fromkeys(LISTS)),
    "nulls in rows": an_answer(
        {name: [*rows, dict.fromkeys(rows[0]), None] for name, rows in LISTS.items()}
    ),
    "wrapped rows": an_answer(
        {name: [{"node": row, "cursor": "abc"} for row in rows] for name, rows in LISTS.items()}
    ),
    "camel and prefixes": an_answer(
        renamed({"Id": "pk_id", "Clave": "cve_sat", "CP": "cve_cp", "RFC": "txt_rfc", "Serie": "txt_serie"})(LISTS)
    ),
    "two ids a row": an_answer(mapped(lambda _, value: value, {
        name: [row | {"IdExterno": 900 + row["Id"]} for row in rows] for name, rows in LISTS.items()
    })),
    "other parties' RFCs": an_answer(LISTS | {"Clientes": PEOPLE, "Proveedores": PEOPLE}),
    "only other parties": an_answer({"Directorio": PEOPLE, "Contactos": PEOPLE}),
    "keyed by people": an_answer({"cxp@xenon.mx": {"XIA190128J61": "XENON INDUSTRIAL"}, "Maria Lopez": LISTS}),
    "a number": body("42"),
    "nothing": body(""),
    "an envelope of words alone": an_answer(None, mensaje="Sin catálogos para cxp@xenon.mx"),
    "a thousand names": an_answer({f"{RFC}{place}": {"Id": place, "Nombre": "Maria Lopez"} for place in range(1_000)}),
    "deep": an_answer(json.loads('{"a":' * 60 + json.dumps(LISTS) + "}" * 60)),
}  # fmt: skip


def probed(shape: str) -> ProbeReport:
    customer = {
        "Id": 44,
        "RFC": RFC,
        "RazonSocial": "XENON INDUSTRIAL",
        "Email": "cxp@xenon.mx",
        "Contacto": "Lic. Perez",
    }
    answers: dict[str, Replies] = {
        "utiles": SHAPES[shape],
        "cliente": an_answer(customer | {"Calle": "Morelos 8"}),
    }
    return probe(
        a_client(a_provider(answers)), some_credentials(), GivenIds(), rfc=RFC, serie="A", codigo_postal=CP
    )


def found_in(ids: dict[str, Any]) -> dict[str, Any]:
    """The ids of RIGHT, as far as they were found."""
    keys = {"lugar_expedicion": CP, "moneda": "MXN", "forma_pago": "03", "unidad": "E48"}
    flat = {name: ids[name].get(keys[name]) if name in keys else ids[name] for name in RIGHT}
    return {name: value for name, value in flat.items() if value is not None}


def right_in(shape: str) -> dict[str, Any]:
    """The ids of RIGHT as this shape writes them."""
    return {name: as_guids("Id", value) for name, value in RIGHT.items()} if shape == "GUIDs" else RIGHT


@pytest.mark.parametrize("shape", ["GUIDs", "a JSON a line", "a row a line", "everything a text"])
def test_every_id_is_found_in_a_shape_that_says_them_all(shape: str):
    """Ids that are no numbers, and lists that come as one object a line, are read like any other."""
    report = probed(shape)

    assert found_in(report.ids) == right_in(shape)
    assert report.missing == []


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_breaks_a_probe_makes_it_guess_or_shows_anybody(shape: str):
    """What it finds is right or not found; no key, RFC, name, address or telephone stands in what is shown or kept."""
    report = probed(shape)

    assert found_in(report.ids).items() <= right_in(shape).items()
    shown = json.dumps(report.as_dict()["calls"] + [report.recognised], ensure_ascii=False)
    assert not [word for word in CANARIES if word.lower() in shown.lower()]
    assert len(shown) < 20_000
    assert as_toml(report.ids)
    needed = {"rfc", "serie", "sucursal", f"lugar_expedicion.{CP}"}
    lacking = {name for name in needed if report.ids.get(name.partition(".")[0]) in (None, {CP: None})}
    assert set(report.missing) == lacking or shape == "empty lists"  # there the account itself has no series


@pytest.mark.parametrize("shape", SHAPES)
def test_what_its_user_reads_of_a_shape_is_true(shape: str):
    """One with such lists is active, or its user reads which ids are missing, not that ContaDigital is silent."""
    given = GivenConnection(RFC, "ESCUELA KEMPER URGATE", CP, "A")
    answers: dict[str, Replies] = {"utiles": SHAPES[shape]}
    found = inspect(a_client(a_provider(answers)), some_credentials(), given)

    if found.settings is not None:
        settings = found.settings
        right = right_in(shape)
        assert (settings.id_rfc, settings.id_serie, settings.id_lugar_expedicion) == (
            right["rfc"], right["serie"], right["lugar_expedicion"],
        )  # fmt: skip
    else:
        empty = {"serie_inactive", "lugar_expedicion_unknown"} if shape == "empty lists" else set()
        assert {fault.reason for fault in found.faults} <= {"ids_missing"} | empty
        assert all("no responde" not in fault.message for fault in found.faults)
