"""What the sandbox stamps is a CFDI: the official XSD accepts it, both seals verify, every shape adds up."""

import base64
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree

from cfdi.sat import files as sat_files
from sandbox.provider import Provider
from tests.support.sandbox_client import XIA, SandboxClient, a_line

NS = {"c": sat_files.CFDI, "t": sat_files.TFD}
PUBLIC = ("XAXX010101000", "PUBLICO EN GENERAL", "64000", "616")
ABROAD = ("XEXX010101000", "ACME LOGISTICS INC", "64000", "616")
RELATED = {"TipoRelacion": 1, "CFDIRelacionados": ["9932113E-09AC-47BA-8E8C-6F83100C814F"]}
NOTE = {"TipoComprobante": "Nota de Credito", "UsoCFDI": "G02", "IdBanco": 0}
GLOBAL = {"InformacionGlobal": {"Periodicidad": "01", "Meses": "11", "Anio": 0}, "UsoCFDI": "S01"}


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    provider = Provider(tmp_path_factory.mktemp("sandbox") / "store.sqlite", demo=True)
    yield provider
    provider.store.close()


@pytest.fixture
def client(provider: Provider) -> SandboxClient:
    provider.reset()
    return SandboxClient(provider)


def has_seal_of(certificate: x509.Certificate, seal: str, cadena: str) -> bool:
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    try:
        key.verify(base64.b64decode(seal), cadena.encode(), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def check(xml: bytes, provider: Provider) -> etree._Element:
    """Hold an XML against the official XSD and both certificates; gives its root."""
    root = etree.fromstring(xml)
    timbre = root.find("c:Complemento/t:TimbreFiscalDigital", NS)
    csd = x509.load_der_x509_certificate(base64.b64decode(root.get("Certificado", "")))
    pac = x509.load_der_x509_certificate(provider.seals.pac.certificate)
    holder = next(part.value for part in csd.subject if part.oid.dotted_string == "2.5.4.45")

    assert timbre is not None
    assert sat_files.schema_errors(root) == ()
    assert csd.serial_number.to_bytes(20, "big").decode() == root.get("NoCertificado")
    assert str(holder).split(" / ")[0] == root.find("c:Emisor", NS).get("Rfc")
    assert has_seal_of(csd, root.get("Sello", ""), sat_files.cadena_original(root))
    assert timbre.get("SelloCFD") == root.get("Sello")
    assert pac.serial_number.to_bytes(20, "big").decode() == timbre.get("NoCertificadoSAT")
    assert has_seal_of(pac, timbre.get("SelloSAT", ""), sat_files.cadena_original_tfd(timbre))
    return root


def rows(root: etree._Element, path: str) -> list[dict[str, str]]:
    return [
        {str(name): str(value) for name, value in node.attrib.items()} for node in root.iterfind(path, NS)
    ]


TRASLADOS = "c:Impuestos/c:Traslados/c:Traslado"
RETENCIONES = "c:Impuestos/c:Retenciones/c:Retencion"


@pytest.mark.parametrize(
    ("lines", "changes", "total"),
    [
        pytest.param([a_line()], {}, "1450.41", id="IVA 16"),
        pytest.param([a_line(iva="8")], {"lugar": "22000"}, "1350.38", id="IVA 8 at the border"),
        pytest.param([a_line(iva="0")], {}, "1250.35", id="tasa cero"),
        pytest.param([a_line(iva=None)], {}, "1250.35", id="exento"),
        pytest.param([a_line(objeto="01", iva=None)], {}, "1250.35", id="no objeto"),
        pytest.param([a_line(ret_iva="4")], {}, "1400.40", id="autotransporte, 4 % withheld"),
        pytest.param(
            [a_line(ret_iva="10.6667", ret_isr="10")], {}, "1192.00", id="honorarios, ISR and IVA withheld"
        ),
        pytest.param([a_line(ret_isr="1.25")], {}, "1434.78", id="RESICO, ISR 1.25 %"),
        pytest.param([a_line(descuento="250.35")], {}, "1160.00", id="discount"),
        pytest.param(
            [a_line(), a_line(iva="0"), a_line(iva=None), a_line(objeto="01", iva=None)],
            {},
            "5201.46",
            id="mixed",
        ),
        pytest.param([a_line()], {"moneda": "USD", "TipoDeCambio": "18.2345"}, "1450.41", id="USD"),
        pytest.param([a_line()], {"forma": "99", "MetodoDePago": "PPD"}, "1450.41", id="PPD"),
        pytest.param([a_line()], NOTE | RELATED, "1450.41", id="nota de crédito"),
        pytest.param([a_line()], RELATED | {"TipoRelacion": 4}, "1450.41", id="substitute"),
        pytest.param([a_line(iva="0")], {"receptor": ABROAD, "UsoCFDI": "S01"}, "1250.35", id="extranjero"),
        pytest.param(
            [a_line()],
            {"receptor": ("H&E951128469", "HERRERIA & ELECTRICOS", "06002", "601")},
            "1450.41",
            id="ampersand",
        ),
        pytest.param(
            [a_line()],
            {"receptor": ("OÑO120726RX3", "ORGANICOS ÑAVEZ OSORIO", "40501", "601")},
            "1450.41",
            id="eñe",
        ),
        pytest.param([a_line(comentarios='Flete <"A" & B> ñandú')], {}, "1450.41", id="characters of XML"),
    ],
)
def test_every_shape_is_valid_and_sealed(
    client: SandboxClient, lines: list, changes: dict, total: str
) -> None:
    """The XSD accepts it, both seals verify, and the total is the one that was worked out by hand."""
    root = check(client.stamped_xml(*lines, **changes), client.provider)

    assert root.get("Total") == total


def test_a_global_invoice_carries_its_period(client: SandboxClient) -> None:
    """InformacionGlobal goes with PUBLICO EN GENERAL."""
    changes = GLOBAL | {"receptor": PUBLIC, "forma": "01"}
    now = client.provider.clock.now()
    changes["InformacionGlobal"] = {"Periodicidad": "01", "Meses": "11", "Anio": now.year}

    root = check(client.stamped_xml(a_line(clave="01010101", unidad="ACT"), **changes), client.provider)

    assert rows(root, "c:InformacionGlobal") == [{"Periodicidad": "01", "Meses": "11", "Año": str(now.year)}]


def test_tax_rows_are_the_sums_of_the_rounded_lines(client: SandboxClient) -> None:
    """Three lines of 0.10 at 16 % are 0.06 of IVA, not 0.05 (CFDI40221)."""
    root = check(client.stamped_xml(*[a_line(precio="0.10", ret_iva="4")] * 3), client.provider)

    assert rows(root, TRASLADOS) == [
        {"Base": "0.30", "Impuesto": "002", "TipoFactor": "Tasa", "TasaOCuota": "0.160000", "Importe": "0.06"}
    ]
    assert rows(root, RETENCIONES) == [{"Impuesto": "002", "Importe": "0.00"}]


def test_each_rate_has_a_row_and_exempt_lines_have_no_amount(client: SandboxClient) -> None:
    """16 %, 0 % and exento stand apart; TotalImpuestosTrasladados is the sum of those with a rate."""
    root = check(
        client.stamped_xml(a_line(precio="100.00"), a_line(iva="0"), a_line(iva=None)), client.provider
    )
    taxes = root.find("c:Impuestos", NS)

    assert [
        (row["TipoFactor"], row.get("TasaOCuota"), row.get("Importe")) for row in rows(root, TRASLADOS)
    ] == [
        ("Tasa", "0.160000", "16.00"),
        ("Tasa", "0.000000", "0.00"),
        ("Exento", None, None),
    ]
    assert taxes is not None
    assert taxes.get("TotalImpuestosTrasladados") == "16.00"


def test_a_line_says_what_its_product_and_comment_say(client: SandboxClient) -> None:
    """Comentarios is Descripcion, ClaveIdentificacion NoIdentificacion; without a comment, the product's name."""
    xml = client.stamped_xml(a_line(comentarios="OP-10234"), a_line(comentarios=""))
    first, second = etree.fromstring(xml).iterfind("c:Conceptos/c:Concepto", NS)

    assert (first.get("Descripcion"), first.get("NoIdentificacion")) == ("OP-10234", "FLT-01")
    assert (first.get("ClaveUnidad"), first.get("Unidad")) == ("E48", "Unidad de servicio")
    assert second.get("Descripcion") == "Flete terrestre"


def test_a_changed_word_breaks_the_seal(client: SandboxClient) -> None:
    """The seals are over the whole document, so the check above can fail."""
    xml = client.stamped_xml().replace(b"Laredo", b"Tampico")

    with pytest.raises(AssertionError):
        check(xml, client.provider)


def test_folios_run_on_and_uuids_differ(client: SandboxClient) -> None:
    """Each stamp takes the next number of its series."""
    roots = [etree.fromstring(client.stamped_xml()) for _ in range(3)]

    assert [root.get("Folio") for root in roots] == ["1", "2", "3"]
    assert len({root.find("c:Complemento/t:TimbreFiscalDigital", NS).get("UUID") for root in roots}) == 3


def test_keys_are_the_same_after_a_restart(tmp_path: Path) -> None:
    """PAC and CSD are in the store, so an XML of yesterday still verifies."""
    first = Provider(tmp_path / "store.sqlite", demo=True)
    xml = SandboxClient(first).stamped_xml()
    first.store.close()
    second = Provider(tmp_path / "store.sqlite", demo=True)

    check(xml, second)
    assert etree.fromstring(SandboxClient(second).stamped_xml()).get("NoCertificado") == etree.fromstring(
        xml
    ).get("NoCertificado")
    second.store.close()


def test_amounts_are_read_from_their_text(client: SandboxClient) -> None:
    """0.1 + 0.2 as JSON numbers is 0.3 to the cent, since no number passes through a float."""
    line = a_line(precio="0.10", cantidad="3") | {"Precio": Decimal("0.1"), "Cantidad": 3}
    root = check(client.stamped_xml(line), client.provider)

    assert (root.get("SubTotal"), root.get("Total")) == ("0.30", "0.35")


def test_the_receptor_is_the_customer_as_contadigital_holds_it(client: SandboxClient) -> None:
    """The body only points at the customer: what is wrong there is wrong in the CFDI."""
    root = etree.fromstring(client.stamped_xml())

    assert (
        tuple(root.find("c:Receptor", NS).get(name) for name in ("Rfc", "Nombre", "DomicilioFiscalReceptor"))
        == XIA[:3]
    )
