"""SAT keys become the account's ids, and what the account lacks is reported to whoever can fix it."""

import json
from typing import Any

import pytest

from cfdi.document import Invoice, read
from contadigital.catalogs import Catalogs
from contadigital.errors import ConnectionRefused, DocumentRejected
from contadigital.recognise import recognise
from contadigital.resolve_ids import BadIds, GivenIds, ResolvedIds, resolve
from tests.support.builders import a_concepto, an_invoice

UTILES: dict[str, Any] = {
    "RFCs": [
        {
            "Id": 5,
            "RFC": "eku9003173c9",
            "RazonSocial": "ESCUELA KEMPER URGATE",
            "RegimenFiscal": "601 General",
        }
    ],
    "Series": [{"Id": "6", "Serie": "A", "Activa": True, "FolioActual": 7}],
    "Sucursales": [{"Id": 8, "Nombre": "MATRIZ"}, {"Id": 80, "Nombre": "NORTE"}],
    "LugaresDeExpedicion": [{"Id": 9, "CP": 64000}, {"Id": 90, "CP": 6002}],
    "Monedas": [{"Id": 10, "Clave": "MXN"}],
    "FormasDePago": [{"Id": 11, "Clave": 3, "Descripcion": "Transferencia electrónica de fondos"}],
    "UnidadesDeMedida": [
        {"Id": 12, "Clave": "E48", "Descripcion": "Unidad de servicio"},
        {"Id": None, "Clave": "X"},
    ],
}


def catalogs(**changes: Any) -> Catalogs:
    found = recognise(UTILES | changes)
    assert found is not None
    return found


def ids_of(invoice: Invoice, lists: Catalogs, **changes: Any) -> ResolvedIds:
    facts = {"id_empresa": 12, "rfc": "EKU9003173C9", "serie": None, "codigo_postal": "64000"} | changes
    return resolve(lists, invoice, **facts)


def test_keys_become_ids():
    """Currency, unit, place, series, company: each key of the SAT has the account's id."""
    ids = ids_of(read(an_invoice()), catalogs())

    assert ids == ResolvedIds(
        id_empresa=12, id_rfc=5, id_serie=6, id_sucursal=8, id_lugar_expedicion=9, id_moneda=10, id_forma_pago=11,
        forma_pago="Transferencia electrónica de fondos", id_ums=(12,), given_productos=(None,),
    )  # fmt: skip


def test_a_postcode_that_lost_its_zero_is_found():
    """06002 matches an entry that ContaDigital keeps as a number."""
    assert ids_of(read(an_invoice(lugar_expedicion="06002")), catalogs()).id_lugar_expedicion == 90


def test_an_account_without_branches_has_branch_zero():
    """No Sucursales in the answer means id 0."""
    assert ids_of(read(an_invoice()), catalogs(Sucursales=[])).id_sucursal == 0


@pytest.mark.parametrize("payload", [None, [], {}, {"hola": 1}, "x", {"RFCs": None}])
def test_an_answer_without_any_list_is_none(payload: object):
    """What has not one list that we know is not taken for catalogues."""
    assert recognise(payload) is None


def test_lists_are_kept_with_the_connection():
    """Written to JSON and read back they are equal."""
    lists = catalogs(TimbresDisponibles=3)

    assert Catalogs.from_json(json.loads(json.dumps(lists.to_json()))) == lists


@pytest.mark.parametrize(
    ("expected", "left"),
    [
        (0, 0),
        (40, 40),
        ("40", 40),
        (-1, None),
        (2**31, None),
        (10**30, None),
        ("ilimitados", None),
        (True, None),
    ],
)
def test_what_is_no_number_of_stamps_says_nothing(expected: object, left: int | None):
    """No limit may be written as -1, or as more than a column holds: neither may break anything."""
    assert catalogs(TimbresDisponibles=expected).stamps_left == left


def test_every_gap_of_one_invoice_is_reported_at_once_and_breaks_nothing_else():
    """Each missing key is a fault of its own field; the connection stays."""
    invoice = read(
        an_invoice(
            moneda="USD", tipo_cambio="18.5", forma_pago="01", lugar_expedicion="22000",
            conceptos=[a_concepto(), a_concepto(clave_unidad="H87")],
        )
    )  # fmt: skip

    with pytest.raises(DocumentRejected) as refused:
        ids_of(invoice, catalogs())

    assert [fault.field for fault in refused.value.faults] == [
        "lugar_expedicion", "moneda", "forma_pago", "conceptos[1].clave_unidad",
    ]  # fmt: skip
    assert "H87" in refused.value.faults[-1].message


@pytest.mark.parametrize(("changes", "expected", "reason"), [
    ({"rfc": "XIA190128J61"}, {}, "rfc_mismatch"),
    ({"serie": "B"}, {}, "serie_inactive"),
    ({}, {"Series": []}, "serie_inactive"),
    ({}, {"LugaresDeExpedicion": []}, "lugar_expedicion_unknown"),
])  # fmt: skip
def test_what_the_account_always_needs_breaks_the_connection(
    changes: dict[str, Any], expected: dict[str, Any], reason: str
):
    """No id for RFC, series or place is a ConnectionRefused with its fix."""
    with pytest.raises(ConnectionRefused) as refused:
        ids_of(read(an_invoice()), catalogs(**expected), **changes)

    assert refused.value.reason == reason
    assert refused.value.fix


GUID = "0b8f5c9e-1d2a-4f3b-8c4d-5e6f7a8b9c0d"


@pytest.mark.parametrize(("typed", "kept"), [
    (7, 7), ("7", 7), (" 7 ", 7), (2**63 - 1, 2**63 - 1), (GUID, GUID), ("SER-00123", "SER-00123"),
    ("a1234567", "a1234567"),
])  # fmt: skip
def test_an_id_typed_by_hand_is_a_number_or_a_guid(typed: Any, kept: Any):
    """A number written as text is that number; a text with digits that is no key and no name stays as it is."""
    found = GivenIds.read({"serie": typed}).serie

    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize("typed", [
    0, -3, 2**63, "12345678901234567890", True, "", "A", "1.5", "1e3", "a123456", "abcdefgh", "PUE 12345", "A1" * 33,
    [7],
])  # fmt: skip
def test_what_can_be_no_id_is_refused_by_its_name(typed: Any):
    """The letter of a series, a key, a blank, a number that no column holds: nothing of it is sent to find out."""
    with pytest.raises(BadIds) as raised:
        GivenIds.read({"serie": typed, "unidad": {"E48": typed}, "otro": 1})

    assert raised.value.names == ("serie", "unidad.E48")
    assert raised.value.problems[0] == "ids.otro: no existe"
    assert raised.value.problems[1].startswith("ids.serie: debe ser")
