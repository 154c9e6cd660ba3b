"""utiles.json in shapes that nobody announced: the unambiguous is recognised, the rest reported and not taken."""

from typing import Any

import pytest

from contadigital.catalogs import Catalogs
from contadigital.recognise import recognise

RFC, NAME = "EKU9003173C9", "ESCUELA KEMPER URGATE"

SHAPES: dict[str, Any] = {
    "the names of the fields": {
        "IdRFC": [{"IdRFC": 5, "RFC": RFC.lower(), "Nombre": NAME}],
        "IdSerie": [{"IdSerie": 6, "Serie": "A"}],
        "IdSucursal": [{"IdSucursal": 8, "Nombre": "MATRIZ"}],
        "IdLugarDeExpedicion": [{"IdLugarDeExpedicion": 9, "CP": 64000}],
        "IdMoneda": [{"IdMoneda": 1, "Moneda": "PESOS"}, {"IdMoneda": 2, "Moneda": "USD"}],
        "IdFormaDePago": [{"IdFormaDePago": 11, "FormaDePago": "03 Transferencia electrónica de fondos"}],
        "IdUM": [{"IdUM": 12, "UM": "E48"}],
    },
    "one list under every key of another": {
        "ok": True,
        "payload": {
            "contribuyentes": {"items": [{"key": 5, "rfc": RFC, "label": NAME}]},
            "folios_series": {"items": [{"key": 6, "label": "A"}]},
            "sucursales": {"items": [{"key": 8, "label": "Centro"}]},
            "lugares": {"items": [{"key": 9, "label": "64000"}]},
            "divisas": {"items": [{"key": 1, "label": "Peso mexicano"}, {"key": 2, "label": "Dólar americano"}]},
            "formas_pago": {"items": [{"key": 11, "label": "Transferencia electrónica de fondos"}]},
            "unidades": {"items": [{"key": 12, "label": "E48 | Unidad de servicio"}]},
        },
    },
    "a table with a column that says the list": [
        {"catalogo": "Emisores", "id": 5, "valor": f"{RFC} {NAME}"},
        {"catalogo": "Series", "id": 6, "valor": "A"},
        {"catalogo": "Series", "id": 7, "valor": "B"},
        {"catalogo": "Sucursales", "id": 8, "valor": "MATRIZ"},
        {"catalogo": "Lugares de expedición", "id": 9, "valor": "64000"},
        {"catalogo": "Monedas", "id": 1, "valor": "PESOS"},
        {"catalogo": "Monedas", "id": 2, "valor": "USD"},
        {"catalogo": "Formas de pago", "id": 11, "valor": "03 - Transferencia"},
        {"catalogo": "Unidades", "id": 12, "valor": "E48"},
    ],
    "objects by id": {
        "RFC": {"5": {"rfc": RFC, "razon": NAME}},
        "series": {"6": {"nombre": "A", "activa": 1}},
        "sucursal": {"8": {"nombre": "MATRIZ"}},
        "cp": {"9": {"cp": "64000"}},
        "moneda": {"1": {"clave": "MXN"}, "2": {"clave": "USD"}},
        "formaPago": {"11": {"clave": "03"}},
        "um": {"12": {"clave": "E48"}},
    },
    "ids by key": {
        "rfcs": {RFC: 5},
        "series": {"A": 6},
        "sucursales": {"MATRIZ": 8},
        "lugares_de_expedicion": {"64000": 9},
        "monedas": {"MXN": 1, "USD": 2},
        "formas_de_pago": {"03": 11},
        "unidades_de_medida": {"E48": 12},
    },
    "pairs with the id last": {
        "Emisores": [[RFC, 5]], "Series": [["A", 6]], "Sucursales": [["MATRIZ", 8]], "Lugares": [["64000", 9]],
        "Monedas": [["MXN", 1], ["USD", 2]], "FormasPago": [["03", 11]], "Unidades": [["E48", 12]],
    },
    "inside the company, beside another company": {
        "empresas": [
            {"IdEmpresa": 99, "rfcs": [{"id": 55, "rfc": "XIA190128J61"}], "series": [{"id": 66, "serie": "A"}]},
            {
                "IdEmpresa": 12,
                "rfcs": [{"id": 5, "rfc": RFC}],
                "series": [{"id": 6, "serie": "A"}],
                "sucursales": [{"id": 8, "nombre": "MATRIZ", "CP": "64000"}],
                "lugares": [{"id": 9, "codigo": "64000"}],
            },
        ],
        "sat": {
            "moneda": [{"id": 1, "c_Moneda": "MXN"}, {"id": 2, "c_Moneda": "USD"}],
            "formaPago": [{"id": 11, "c_FormaPago": "03"}],
            "unidad": [{"id": 12, "c_ClaveUnidad": "E48"}],
            "usoCFDI": [{"id": 70, "c_UsoCFDI": "G03"}],
            "banco": [{"id": 71, "clave": "002"}],
        },
    },
    "drop-downs": {
        name: [{"Value": str(number), "Text": text, "Selected": False} for number, text in rows]
        for name, rows in {
            "ddlRFC": [(5, f"{RFC} - {NAME}")],
            "ddlSerie": [(6, "A")],
            "ddlSucursal": [(8, "MATRIZ")],
            "ddlLugarDeExpedicion": [(9, "64000 - MONTERREY")],
            "ddlMoneda": [(1, "PESOS"), (2, "USD")],
            "ddlFormaDePago": [(11, "03 - Transferencia electrónica de fondos")],
            "ddlUnidad": [(12, "E48 - Unidad de servicio")],
        }.items()
    },
    "shouting": {
        "RFCS": [{"ID": 5, "RFC": RFC, "RAZON_SOCIAL": NAME}],
        "SERIES": [{"ID": 6, "SERIE": "A", "ESTATUS": "ACTIVA"}],
        "SUCURSALES": [{"ID": 8, "SUCURSAL": "MATRIZ"}],
        "LUGARES_EXPEDICION": [{"ID": 9, "CODIGO_POSTAL": "64000"}],
        "MONEDAS": [{"ID": 1, "CLAVE": "mxn"}, {"ID": 2, "CLAVE": "usd"}],
        "FORMAS_PAGO": [{"ID": 11, "CLAVE": 3, "DESCRIPCION": "TRANSFERENCIA"}],
        "UNIDADES": [{"ID": 12, "CLAVE": "e48"}],
    },
    "by content alone": {
        "a": [{"id": 5, "x": RFC}],
        "series": [{"id": 6, "x": "A"}],
        "sucursales": [{"id": 8, "x": "MATRIZ"}],
        "b": [{"id": 9, "x": "64000"}],
        "c": [{"id": 1, "x": "MXN"}, {"id": 2, "x": "USD"}],
        "d": [{"id": 11, "x": "03 Transferencia electrónica de fondos"}],
        "e": [{"id": 12, "x": "E48"}],
        "f": [{"id": 13, "x": "Administrador"}],
    },
}  # fmt: skip


def lists_of(payload: Any) -> Catalogs:
    found = recognise(payload, id_empresa=12)
    assert found is not None
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_that_nobody_announced_is_recognised(shape: str):
    """Ten shapes, none of which stands in the code: each gives the same ids."""
    found = lists_of(SHAPES[shape])

    assert found.recognised["ambiguous"] == []
    assert [(row.id, row.rfc) for row in found.emisores] == [(5, RFC)]
    assert [(row.id, row.serie) for row in found.series if row.serie == "A" and row.activa] == [(6, "A")]
    assert [row.id for row in found.sucursales] == [8]
    assert [(row.id, row.clave) for row in found.lugares_expedicion] == [(9, "64000")]
    assert {(row.id, row.clave) for row in found.monedas} == {(1, "MXN"), (2, "USD")}
    assert [(row.id, row.clave) for row in found.formas_pago] == [(11, "03")]
    assert [(row.id, row.clave) for row in found.unidades] == [(12, "E48")]


def test_what_was_taken_for_what_is_reported():
    """The names of an answer, and no value of it, are kept beside what they were taken for."""
    found = lists_of(SHAPES["shouting"])

    by_list = {each["list"]: each for each in found.recognised["lists"]}
    assert by_list["monedas"] == {
        "list": "monedas", "from": "MONEDAS", "rows": 2, "id": "ID", "key": "CLAVE", "named": True,
    }  # fmt: skip
    assert RFC not in str(found.recognised)
    assert NAME not in str(found.recognised)


AMBIGUOUS: dict[str, tuple[Any, str]] = {
    "two lists of places that disagree": (
        {"CPs": [{"id": 9, "cp": "64000"}], "codigosPostales2": [{"id": 19, "cp": "64000"}]},
        "lugares_expedicion",
    ),
    "two numbers that may be the id": (
        {"moneda": [{"IdMoneda": 1, "id": 7, "clave": "MXN"}, {"IdMoneda": 2, "id": 8, "clave": "USD"}]},
        "monedas",
    ),
    "no number at all": ({"moneda": [{"clave": "MXN"}, {"clave": "USD"}]}, "monedas"),
    "postcodes on both sides": ({"lugares": [["20000", "64000"]]}, "lugares_expedicion"),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_is_ambiguous_is_reported_and_not_taken(case: str):
    """A wrong id is a wrong fiscal invoice: two readings are none."""
    payload, name = AMBIGUOUS[case]

    found = lists_of({"RFCs": [{"Id": 5, "RFC": RFC}], **payload})

    assert getattr(found, name) == ()
    assert not found.has(name)
    assert [each["list"] for each in found.recognised["ambiguous"]] == [name]


def test_others_lists_are_nobodys():
    """Banks, users, customers and uses of the CFDI are none of ours, whatever they hold."""
    found = lists_of(
        {
            "RFCs": [{"Id": 5, "RFC": RFC}],
            "Clientes": [{"Id": 7, "RFC": "XIA190128J61", "CP": "76343"}],
            "Bancos": [{"Id": 1, "Clave": "002"}],
            "Usuarios": [{"Id": 2, "Nombre": "Capturista"}],
        }
    )

    assert [row.rfc for row in found.emisores] == [RFC]
    assert (found.lugares_expedicion, found.formas_pago, found.series, found.unidades) == ((), (), (), ())
    assert found.recognised["ignored"] == ["Bancos", "Clientes", "Usuarios"]


def test_a_series_goes_by_its_letter_and_by_its_name():
    """The bulk template names series "Pacientes" where the CFDI says "HF" (observed)."""
    (serie,) = lists_of({"Series": [{"Id": 6, "Serie": "HF", "Nombre": "Pacientes"}]}).series

    assert serie.is_called("hf")
    assert serie.is_called("PACIENTES")
    assert not serie.is_called("A")


def test_an_empty_list_is_a_list():
    """A list without rows says that the account has none; a list that is not there says nothing."""
    found = lists_of({"Series": [], "RFCs": [{"Id": 5, "RFC": RFC}]})

    assert found.has("series")
    assert not found.has("monedas")


@pytest.mark.parametrize(
    "payload", [None, [], {}, {"hola": 1}, "x", {"RFCs": None}, [[[[[[[[[[[]]]]]]]]]]], {"a": {"b": {}}}]
)
def test_an_answer_without_any_list_is_none(payload: object):
    """Nothing is made of nothing, and nothing is raised."""
    assert recognise(payload) is None


@pytest.mark.parametrize(
    ("row", "serie", "name"),
    [
        ({"Id": 6, "Nombre": "Pacientes"}, "", "Pacientes"),
        ({"Id": 6, "Nombre": "Clientes a"}, "", "Clientes a"),
        ({"Id": 6, "Serie": "fact"}, "fact", ""),
        ({"Id": 6, "Nombre": "HF"}, "HF", ""),
    ],
)
def test_a_name_of_a_series_is_not_taken_for_the_cfdis_serie(row, serie, name):
    """Else every good stamp of the account would differ from what was sent."""
    found = recognise({"Series": [row]}).series[0]

    assert (found.serie, found.nombre) == (serie, name)
    assert found.is_called(serie or name)
