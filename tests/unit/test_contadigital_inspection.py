"""Validating a connection tells every fault at once, or what it resolves to."""

from typing import Any

import httpx
import pytest

from contadigital.catalogs import Catalogs
from contadigital.inspection import GivenConnection, inspect, is_same_razon_social
from tests.support.prepared_answers import a_client, a_page, a_provider, an_answer, some_credentials

SAME = [
    ("ESCUELA KEMPER URGATE", "ESCUELA KEMPER URGATE"),
    ("Escuela Kemper Urgate", "ESCUELA KEMPER URGATE"),
    ("  ESCUELA  KEMPER   URGATE ", "ESCUELA KEMPER URGATE"),
    ("ESCUELA\u00a0KEMPER URGATE", "ESCUELA KEMPER URGATE"),
    ("ESCUELA KEMPER URGATE SA DE CV", "ESCUELA KEMPER URGATE"),
    ("ESCUELA KEMPER URGATE", "ESCUELA KEMPER URGATE, S.A. DE C.V."),
    ("ESCUELA KEMPER URGATE SA DE CV", "ESCUELA KEMPER URGATE S.A. de C.V."),
    ("Transportes García", "TRANSPORTES GARCIA"),
    ("TRANSPORTES GARCÍA SAPI DE CV", "TRANSPORTES GARCIA"),
    ("LOGÍSTICA ÁGIL S. DE R.L. DE C.V.", "LOGISTICA AGIL"),
    ("UNIVERSIDAD ROBOTICA ESPAÑOLA", "Universidad Robótica Española"),
    ("ORGANICOS ÑAVEZ OSORIO SC", "ORGANICOS ÑAVEZ OSORIO"),
    ("H & E HERRERIA", "h & e herreria"),
    ("S & SOFTWARE", "S  &  SOFTWARE S.A.S."),
    ("FLETES PINGÜINO", "FLETES PINGUINO"),
    ("XOCHILT CASAS CHAVEZ", "Xóchilt Casas Chávez"),
    ("ORGANICOS N\u0303AVEZ", "ORGANICOS ÑAVEZ"),
]
OTHER = [
    ("ESCUELA KEMPER URGATE", "ESCUELA KEMPER"),
    ("ESCUELA KEMPER URGATE", "ESCUELA KEMPER URGATTE"),
    ("UNIVERSIDAD ROBOTICA ESPAÑOLA", "UNIVERSIDAD ROBOTICA ESPANOLA"),
    ("LUCES & OBRAS", "LUCES Y OBRAS"),
    ("H&E HERRERIA", "H & E HERRERIA"),
    ("TRANSPORTES GARCIA", "TRANSPORTES GARZA"),
    ("GRUPO NORTE SA DE CV", "GRUPO SUR SA DE CV"),
    ("", "ESCUELA KEMPER URGATE"),
    ("S.A. DE C.V.", "ESCUELA KEMPER URGATE"),
    ("FLETES 24", "FLETES 25"),
    ("KERNEL-INDUSTIA JUGUETERA", "KERNEL INDUSTIA JUGUETERA"),
    ("INICIATIVA DE LA SOCIEDAD CIVIL", "INICIATIVA"),
]


@pytest.mark.parametrize(("apunto", "contadigital"), SAME)
def test_one_company_in_two_spellings_is_the_same(apunto: str, contadigital: str):
    """Case, accents, punctuation and the regimen de capital make no other company."""
    assert is_same_razon_social(apunto, contadigital)
    assert is_same_razon_social(contadigital, apunto)


@pytest.mark.parametrize(("apunto", "contadigital"), OTHER)
def test_two_companies_are_not_the_same(apunto: str, contadigital: str):
    """Names that differ in a word are refused both ways round."""
    assert not is_same_razon_social(apunto, contadigital)
    assert not is_same_razon_social(contadigital, apunto)


def utiles(**changes: Any) -> dict[str, Any]:
    return {
        "RFCs": [
            {"Id": 5, "RFC": "EKU9003173C9", "RazonSocial": "ESCUELA KEMPER URGATE", "RegimenFiscal": "601"}
        ],
        "Series": [{"Id": 6, "Serie": "A", "Activa": True}, {"Id": 7, "Serie": "B", "Activa": False}],
        "Sucursales": [{"Id": 8, "Nombre": "MATRIZ"}],
        "LugaresDeExpedicion": [{"Id": 9, "CP": "64000"}],
        "Monedas": [{"Id": 10, "Clave": "MXN"}],
        "FormasDePago": [{"Id": 11, "Clave": "03", "Descripcion": "Transferencia electrónica de fondos"}],
        "UnidadesDeMedida": [{"Id": 12, "Clave": "E48", "Descripcion": "Unidad de servicio"}],
        "TimbresDisponibles": 40,
    } | changes


GIVEN = GivenConnection(
    rfc="EKU9003173C9", razon_social="Escuela Kemper Urgate S.A. de C.V.", codigo_postal="64000"
)


def test_a_good_connection_resolves():
    """Two calls give company, RFC, series, regimen and stamps left, without a fault."""
    provider = a_provider({"utiles": an_answer(utiles())})

    inspection = inspect(a_client(provider), some_credentials(id_empresa=None), GIVEN)

    assert inspection.faults == ()
    assert inspection.settings is not None
    assert (inspection.settings.id_empresa, inspection.settings.id_rfc, inspection.settings.id_serie) == (
        12,
        5,
        6,
    )
    assert inspection.settings.razon_social == "ESCUELA KEMPER URGATE"
    assert inspection.settings.regimen_fiscal == "601"
    assert inspection.settings.stamps_left == 40
    assert provider.names() == ["conectar", "utiles"]
    assert Catalogs.from_json(inspection.settings.catalogs.to_json()) == inspection.settings.catalogs


def test_every_fault_that_can_be_seen_is_reported_at_once():
    """Several wrong facts of one account are several faults."""
    provider = a_provider({"utiles": an_answer(utiles(TimbresDisponibles=0))})
    given = GivenConnection("EKU9003173C9", "OTRA EMPRESA", "06000", serie="Z")

    inspection = inspect(a_client(provider), some_credentials(), given)

    assert [fault.reason for fault in inspection.faults] == [
        "razon_social_mismatch", "lugar_expedicion_unknown", "serie_inactive", "no_stamps",
    ]  # fmt: skip
    assert inspection.settings is None
    assert inspection.faults[0].detail == "Apunto: «OTRA EMPRESA»; ContaDigital: «ESCUELA KEMPER URGATE»"


@pytest.mark.parametrize(("given", "changes", "reason", "cause"), [
    ({"rfc": "XIA190128J61"}, {}, "rfc_mismatch", ""),
    ({}, {"RFCs": []}, "ids_missing", ""),  # an account has an RFC: an empty list says nothing of it
    ({"razon_social": "OTRA"}, {}, "razon_social_mismatch", ""),
    ({"codigo_postal": "06000"}, {}, "lugar_expedicion_unknown", ""),
    ({}, {"LugaresDeExpedicion": None}, "ids_missing", ""),
    ({"serie": "B"}, {}, "serie_inactive", ""),
    ({"serie": "C"}, {}, "serie_inactive", ""),
    ({}, {"Series": [{"Id": 1, "Serie": "A", "Activa": False}]}, "serie_inactive", "none_active"),
    ({}, {"Series": [{"Id": 1, "Serie": "A"}, {"Id": 2, "Serie": "B"}]}, "serie_inactive", "several_active"),
    ({}, {"TimbresDisponibles": 0}, "no_stamps", ""),
])  # fmt: skip
def test_each_fault_has_its_reason(given: dict[str, Any], changes: dict[str, Any], reason: str, cause: str):
    """One thing wrong in the account's lists is one fault with its reason and cause."""
    facts = {
        "rfc": GIVEN.rfc,
        "razon_social": GIVEN.razon_social,
        "codigo_postal": GIVEN.codigo_postal,
    } | given

    inspection = inspect(
        a_client(a_provider({"utiles": an_answer(utiles(**changes))})),
        some_credentials(),
        GivenConnection(**facts),
    )

    assert [(fault.reason, fault.cause) for fault in inspection.faults] == [(reason, cause)]
    assert inspection.faults[0].message
    assert inspection.faults[0].fix


@pytest.mark.parametrize(("serie", "taken"), [("a", 6), (" A ", 6), (None, 6), ("", 6)])
def test_a_series_is_found_by_its_name_or_for_being_the_only_active_one(serie: str | None, taken: int):
    """Case and spaces do not matter; no name takes the only one."""
    given = GivenConnection(GIVEN.rfc, GIVEN.razon_social, GIVEN.codigo_postal, serie=serie)

    inspection = inspect(a_client(a_provider({"utiles": an_answer(utiles())})), some_credentials(), given)

    assert inspection.settings is not None
    assert inspection.settings.id_serie == taken


@pytest.mark.parametrize(("conectar", "reason"), [
    (an_answer(status=401), "key_rejected"),
    (an_answer(status=403), "key_rejected"),
    (an_answer(codigo=7, mensaje="ApiKey no válida"), "key_rejected"),
    (an_answer(codigo=7, mensaje="No"), "key_rejected"),
    (an_answer(codigo=7, mensaje="La cuenta no está habilitada para facturar por API"), "api_not_enabled"),
    (an_answer(codigo=7, mensaje="Servicio en mantenimiento"), "unreachable"),
    (a_page(502), "unreachable"),
    (a_page(403), "unreachable"),
    (a_page(200), "unreachable"),
    (an_answer(status=429), "unreachable"),
    (an_answer({"Token": ""}), "unreachable"),
    (httpx.ConnectError("refused"), "unreachable"),
    (httpx.ReadTimeout("slow"), "unreachable"),
])  # fmt: skip
def test_a_connection_that_gets_no_token_says_whose_fault_it_is(conectar: Any, reason: str):
    """Refused key, API off, or nobody's: and nothing more is asked."""
    provider = a_provider({"conectar": conectar})

    inspection = inspect(a_client(provider), some_credentials(), GIVEN)

    assert {fault.reason for fault in inspection.faults} == {reason}
    assert provider.names() == ["conectar"]


@pytest.mark.parametrize(("reply", "reason"), [
    (an_answer(status=404), "ids_missing"),
    (an_answer(codigo=5, mensaje="IdEmpresa no corresponde a la cuenta"), "empresa_unknown"),
    (an_answer(codigo=5, mensaje="La empresa no tiene permiso para usar el API"), "api_not_enabled"),
    (an_answer({"hola": 1}), "ids_missing"),
    (a_page(500), "unreachable"),
])  # fmt: skip
def test_a_connection_whose_lists_do_not_come_says_why(reply: Any, reason: str):
    """No lists, a wrong company, no right to the API, an outage: each has its reason."""
    inspection = inspect(a_client(a_provider({"utiles": reply})), some_credentials(), GIVEN)

    assert {fault.reason for fault in inspection.faults} == {reason}


def test_a_company_that_nobody_gave_is_asked_for():
    """A company that nobody named is asked for."""
    provider = a_provider({"conectar": an_answer({"Token": "t"}), "utiles": an_answer(utiles())})
    client = a_client(provider)

    untold = inspect(client, some_credentials(id_empresa=None), GIVEN)
    reported = inspect(
        client,
        some_credentials(id_empresa=None),
        GivenConnection(GIVEN.rfc, GIVEN.razon_social, "64000", empresa_id=77),
    )

    assert [fault.reason for fault in untold.faults] == ["empresa_unknown"]
    assert reported.settings is not None
    assert reported.settings.id_empresa == 77
    assert provider.requests[-1].url.path.endswith("/api/cfdi/utiles.json/77")


def test_validating_again_asks_again_even_with_a_token_at_hand():
    """An old token may go on working after its key was revoked."""
    provider = a_provider({"utiles": an_answer(utiles())})
    client = a_client(provider)
    client.catalogs(some_credentials())

    inspect(client, some_credentials(), GIVEN)

    assert provider.names().count("conectar") == 2


@pytest.mark.parametrize("base_url", ["http://app.contadigital.mx", "https://otro.example", "https://app.contadigital.mx@otro.example",
                                      "https://app.contadigital.mx.otro.example", "ftp://app.contadigital.mx",
                                      "https://app.contadigital.mx?x=1", "no es una dirección", "",
                                      "https://127.0.0.1"])  # fmt: skip
def test_an_address_that_is_not_contadigitals_is_never_called(base_url: str):
    """`address_forbidden` without a single request."""
    provider = a_provider()

    inspection = inspect(a_client(provider), some_credentials(base_url=base_url), GIVEN)

    assert [(fault.reason, fault.cause) for fault in inspection.faults] == [
        ("unreachable", "address_forbidden")
    ]
    assert provider.requests == []
