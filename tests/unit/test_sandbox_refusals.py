"""What the sandbox refuses before it stamps, and with which words."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox import sat_list
from sandbox.accounts import NewAccount
from sandbox.provider import Provider
from sandbox.refusals import Codigo, Refusal
from tests.support.sandbox_client import XIA, SandboxClient, a_line

PUBLIC = ("XAXX010101000", "PUBLICO EN GENERAL", "64000", "616")
WEIR = ("WERX631016S30", "XAIME WEIR ROJO", "01279", "612")


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    provider = Provider(":memory:", demo=True)
    yield provider
    provider.store.close()


@pytest.fixture
def client(provider: Provider) -> SandboxClient:
    provider.reset()
    return SandboxClient(provider)


def refusal(client: SandboxClient, *lines: Any, **changes: Any) -> Refusal:
    """How an invoice is refused; it must be, and leave no stamp."""
    with pytest.raises(Refusal) as caught:
        client.submit(client.body(*lines, **changes))
    assert client.provider.store.ledger.report()["stamps"] == 0
    return caught.value


def receptor(**changes: str) -> dict[str, tuple[str, ...]]:
    names = ("rfc", "nombre", "cp", "regimen")
    return {"receptor": tuple(changes.get(name, value) for name, value in zip(names, XIA, strict=True))}


@pytest.mark.parametrize(
    ("code", "line", "changes"),
    [
        ("CFDI40143", {}, receptor(rfc="XYZ010101AB1")),
        ("CFDI40145", {}, receptor(nombre="XENON INDUSTRIAL")),
        ("CFDI40145", {}, receptor(nombre="LUCES & OBRAS")),
        ("CFDI40145", {}, receptor(nombre="XENON INDUSTRIAL ARTICLES SA DE CV")),
        ("CFDI40148", {}, receptor(cp="06000")),
        ("CFDI40147", {}, receptor(cp="00001")),
        ("CFDI40158", {}, receptor(regimen="612")),
        ("CFDI40157", {}, receptor(regimen="609")),
        ("CFDI40160", {}, {"UsoCFDI": "P01"}),
        ("CFDI40161", {}, {"UsoCFDI": "D01"}),
        ("CFDI40161", {}, {"receptor": (*WEIR[:3], "605"), "UsoCFDI": "G03"}),
        ("CFDI40149", {}, {"receptor": ("XEXX010101000", "ACME", "06000", "616"), "UsoCFDI": "S01"}),
        ("CFDI40159", {}, {"receptor": ("XEXX010101000", "ACME", "64000", "601"), "UsoCFDI": "S01"}),
        ("CFDI40130", {}, {"receptor": PUBLIC, "UsoCFDI": "S01"}),
        (
            "CFDI40146",
            {},
            {"receptor": ("XEXX010101000", "PUBLICO EN GENERAL", "64000", "616"), "UsoCFDI": "S01"},
        ),
        ("CFDI40105", {}, {"MetodoDePago": "PPD"}),
        ("CFDI40124", {}, {"MetodoDePago": "PAGO"}),
        ("CFDI40114", {}, {"TipoDeCambio": "18.20"}),
        ("CFDI40115", {}, {"moneda": "USD", "TipoDeCambio": 0}),
        ("CFDI40117", {}, {"moneda": "USD", "TipoDeCambio": "18.1234567"}),
        ("CFDI40137", {}, {"TipoRelacion": 9, "CFDIRelacionados": ["9932113E-09AC-47BA-8E8C-6F83100C814F"]}),
        ("301", {}, {"TipoRelacion": 1, "CFDIRelacionados": ["no soy un UUID"]}),
        ("301", {"comentarios": "con | barra"}, {}),
        ("301", {"comentarios": "con \x0b control"}, {}),
        ("CFDI40162", {"clave": "99999999"}, {}),
        ("CFDI40166", {"precio": "0.00"}, {}),
        ("CFDI40167", {"cantidad": "1.00", "Importe": "1450.41"}, {}),
        ("CFDI40169", {"descuento": "1300.00"}, {}),
        ("CFDI40172", {"objeto": "01", "iva": None, "IVA": "200.06", "Total": "1450.41"}, {}),
        ("CFDI40179", {"iva": "8"}, {}),
        ("CFDI40179", {"iva": "15"}, {}),
        ("CFDI40180", {"IVA": "250.00", "Total": "1500.35"}, {}),
        ("CFDI40177", {"iva": None, "IVA": "10.00"}, {}),
        ("CFDI40181", {"ret_iva": "4", "BaseRetIVA": "1000.00"}, {}),
        ("CFDI40185", {"ret_isr": "36"}, {}),
        ("CFDI40186", {"ret_iva": "4", "RetIVA": "60.00"}, {}),
        ("CFDI40108", {}, {"Subtotal": "1250.36"}),
        ("CFDI40111", {}, {"Descuento": "0.01"}),
        ("CFDI40221", {}, {"IVA": "200.07"}),
        ("CFDI40211", {}, {"RetencionIVA": "50.00"}),
        ("CFDI40210", {}, {"RetencionISR": "50.00"}),
        ("CFDI40119", {}, {"Total": "1450.40"}),
    ],
)
def test_the_sats_codes_come_in_the_words(
    client: SandboxClient, code: str, line: dict[str, Any], changes: dict[str, Any]
) -> None:
    """A document is refused under HTTP 200 with the code at the head of Mensaje."""
    no = refusal(client, a_line(**line), **changes)

    assert (no.status, no.codigo) == (200, Codigo.DOCUMENT)
    assert no.mensaje.startswith(f"{code} - ")


@pytest.mark.parametrize(
    ("age", "code"),
    [
        (timedelta(hours=71, minutes=59), None),
        (timedelta(hours=72, minutes=1), "401"),
        (-timedelta(minutes=4), None),
        (-timedelta(minutes=6), "CFDI40101"),
    ],
)
@pytest.mark.parametrize("lugar", ["64000", "22000", "77500"])
def test_fecha_is_compared_with_the_clock_of_the_place(
    client: SandboxClient, lugar: str, age: timedelta, code: str | None
) -> None:
    """Not older than 72 hours, not in the future, by the wall clock of LugarExpedicion."""
    fecha = sat_list.local_time(datetime.now(UTC) - age, lugar)
    if code is None:
        assert client.submit(client.body(lugar=lugar, fecha=fecha))["UUID"]
    else:
        assert refusal(client, lugar=lugar, fecha=fecha).mensaje.startswith(f"{code} - ")


@pytest.mark.parametrize(
    ("codigo", "words", "changes"),
    [
        (Codigo.BODY, "Campo desconocido: Extra", {"Extra": 1}),
        (Codigo.BODY, "Total debe ser un número", {"Total": "mil"}),
        (Codigo.BODY, "Total debe ser un número", {"Total": "NaN"}),
        (Codigo.BODY, "IdSerie debe ser un número entero", {"IdSerie": "A"}),
        (Codigo.BODY, "dd-MM-yyyy", {"Fecha": "2026-11-23T10:00:00"}),
        (Codigo.BODY, "Factura o Nota de Credito", {"TipoComprobante": "I"}),
        (Codigo.BODY, "FormaDePago no corresponde", {"FormaDePago": "01 Efectivo"}),
        (Codigo.BODY, "LugarDeExpedicion no corresponde", {"LugarDeExpedicion": "06000"}),
        (Codigo.BODY, "al menos una partida", {"Productos": []}),
        (Codigo.BODY, "IEPS no está habilitado", {"IEPS": "1.00"}),
        (Codigo.NOT_FOUND, "IdEmpresa", {"IdEmpresa": 1}),
        (Codigo.NOT_FOUND, "No se encontró la factura", {"Id": 4711}),
        (Codigo.UNKNOWN_ID, "IdMoneda 1 no existe", {"IdMoneda": 1}),
        (Codigo.UNKNOWN_ID, "IdCliente 4711 no existe", {"IdCliente": 4711}),
    ],
)
def test_a_wrong_body_is_refused_by_the_name_of_its_field(
    client: SandboxClient, codigo: Codigo, words: str, changes: dict[str, Any]
) -> None:
    """So that a mistake of the wire is found at once."""
    no = refusal(client, **changes)

    assert no.codigo == codigo
    assert words in no.mensaje


def test_a_missing_field_is_named(client: SandboxClient) -> None:
    """Root and lines alike."""
    body = client.body()
    del body["Productos"][0]["TasaCero"]

    with pytest.raises(Refusal, match=r"Falta el campo Productos\[0\]\.TasaCero"):
        client.submit(body)


def test_an_empty_list_of_relations_is_an_internal_error(client: SandboxClient) -> None:
    """As it was seen: null is how to say that there are none."""
    assert refusal(client, CFDIRelacionados=[]).status == 500


def test_an_inactive_series_is_refused_at_the_save(client: SandboxClient) -> None:
    """B of the demo account is not active."""
    assert refusal(client, serie="B", only_save=True).codigo == Codigo.SERIE


def test_an_inactive_customer_is_refused_until_it_is_revived(client: SandboxClient) -> None:
    """Estatus false stops it; a PUT with Estatus true revives it."""
    body = client.body()
    known = {"IdEmpresaCliente": client.id_empresa, "RFC": XIA[0]}
    client.provider.change_customer(client.account, known | {"Estatus": False})

    with pytest.raises(Refusal) as caught:
        client.submit(body)
    assert caught.value.codigo == Codigo.CUSTOMER_INACTIVE

    client.provider.change_customer(client.account, known | {"Estatus": True})
    assert client.submit(body)["UUID"]


def test_without_stamps_the_invoice_is_saved_and_not_stamped(client: SandboxClient) -> None:
    """Codigo 3 with an Id, which is stamped once stamps are bought."""
    client.provider.set_stamps(client.account, 1)
    client.submit(client.body(FolioOriginal="OP-0"))
    with pytest.raises(Refusal) as caught:
        client.submit(client.body())
    record = caught.value.resultado["Id"]

    assert caught.value.codigo == Codigo.NO_STAMPS
    assert caught.value.resultado["UUID"] == ""
    client.provider.set_stamps(client.account, 5)
    assert client.submit(client.body(record=record))["Id"] == record
    assert client.account.stamps_left == 4


def test_a_refused_draft_can_be_corrected_and_stamped(client: SandboxClient) -> None:
    """The same Id, with other content."""
    record = client.submit(client.body(only_save=True))["Id"]
    with pytest.raises(Refusal):
        client.submit(client.body(record=record, Total="1.00"))

    assert client.submit(client.body(record=record))["Id"] == record


def test_a_stamped_id_is_refused_with_what_it_has(client: SandboxClient) -> None:
    """307 with the UUID and the documents; nothing is stamped or changed, whatever the body says."""
    stamped = client.submit(client.body())
    for only_save in (False, True):
        with pytest.raises(Refusal) as caught:
            client.submit(client.body(record=stamped["Id"], only_save=only_save, FolioOriginal="OP-2"))
        assert caught.value.codigo == Codigo.ALREADY_STAMPED
        assert caught.value.mensaje == "307 - CFDI previamente timbrado"
        assert caught.value.resultado["XmlBase64"] == stamped["XmlBase64"]

    assert client.provider.store.ledger.report()["folios"] == {"demo": {"OP-1": [stamped["UUID"]]}}


def test_submitting_twice_without_an_id_makes_a_duplicate(client: SandboxClient) -> None:
    """Which is why it must not be done; the ledger counts them."""
    client.submit(client.body())
    client.submit(client.body())
    client.submit(client.body(FolioOriginal="OP-2"))

    report = client.provider.store.ledger.report()
    assert (report["duplicates"], report["stamps"]) == (1, 3)
    assert len(report["folios"]["demo"]["OP-1"]) == 2


def test_ids_differ_from_account_to_account(client: SandboxClient) -> None:
    """Nobody can hard-code one."""
    other = client.provider.open_account(NewAccount(name="other"))

    assert other.catalogues["Monedas"][0]["Id"] != client.account.catalogues["Monedas"][0]["Id"]
    assert other.id_empresa != client.account.id_empresa


def test_a_regenerated_key_can_bring_other_ids(client: SandboxClient) -> None:
    """Old ids are refused by name; the drafts stay where they were."""
    body = client.body(only_save=True)
    record = client.submit(body)["Id"]
    before = (client.account.api_key, client.account.id_empresa)
    client.provider.regenerate_key(client.account, other_ids=True, other_empresa=True)
    client._products.clear()

    assert client.account.api_key != before[0]
    with pytest.raises(Refusal, match="IdEmpresa"):
        client.submit(body)
    with pytest.raises(Refusal, match="no existe"):
        client.submit(body | {"IdEmpresa": client.id_empresa})
    assert client.submit(client.body(record=record))["UUID"]


def test_a_taxpayer_can_be_added_to_the_list(client: SandboxClient) -> None:
    """For receptors of one's own."""
    new = ("PAM910101AB1", "PRUEBAS Y MAS", "64000", "601")
    assert refusal(client, receptor=new).mensaje.startswith("CFDI40143")
    client.provider.sat.add(*new[:3])

    assert client.submit(client.body(receptor=new))["UUID"]


def test_the_sandboxes_tables_hold_the_keys_of_the_sats_catalogues() -> None:
    """Every régimen and every use of satcfdi's data, but for those that the SAT has withdrawn."""
    withdrawn = {"609", "628", "629", "630", "P01"}
    regimenes = {
        f"{number}" for number in range(600, 640) if sat_list.catalogue("c_RegimenFiscal", f"{number}")
    }
    letters = [
        f"{letter}{number:02d}" for letter in ("CN", "CP", "D", "G", "I", "P", "S") for number in range(1, 12)
    ]
    uses = {uso for uso in letters if sat_list.catalogue("c_UsoCFDI", uso)}

    assert {key for key in regimenes if sat_list.is_regimen(key)} == regimenes - withdrawn
    assert {key for key in uses if sat_list.is_uso(key)} == uses - withdrawn
    assert len(regimenes - withdrawn) + len(uses - withdrawn) == 19 + 24


def test_the_issuers_name_is_checked_too(client: SandboxClient) -> None:
    """CFDI40138 for nobody's name, CFDI40139 for someone else's."""
    row = client.account.catalogues["RFCs"][0]
    for name, code in (("ESCUELA KEMPER", "CFDI40138"), ("LUCES & OBRAS", "CFDI40139")):
        row["RazonSocial"] = name
        assert refusal(client).mensaje.startswith(code)
