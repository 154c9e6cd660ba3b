"""The printed representation: its text is what the XML says, and its QR leads to the SAT."""

import re
import zlib
from urllib.parse import parse_qs, urlsplit

import pytest
from lxml import etree

from cfdi.sat import files as sat_files
from sandbox import pdf, slip
from sandbox.provider import Provider
from tests.support.sandbox_client import SandboxClient, a_line


@pytest.fixture(scope="module")
def client() -> SandboxClient:
    return SandboxClient(Provider(":memory:", demo=True))


def words(page: bytes) -> str:
    """All text of a file, in the order in which it is drawn."""
    streams = re.findall(rb"stream\n(.*?)\nendstream", page, re.DOTALL)
    content = b"".join(zlib.decompress(part) if part[:1] == b"x" else part for part in streams)
    drawn = re.findall(r"\((.*?)(?<!\\)\) Tj", content.decode("cp1252", "replace"))
    return "\n".join(re.sub(r"\\(.)", r"\1", text) for text in drawn)


def test_the_page_says_what_the_xml_says(client: SandboxClient) -> None:
    """Parties, lines, amounts, UUID and certificates."""
    xml = client.stamped_xml(
        a_line(comentarios="Flete (urgente) Ñuñoa", ret_iva="4"),
        receptor=("OÑO120726RX3", "ORGANICOS ÑAVEZ OSORIO", "40501", "601"),
    )
    root = etree.fromstring(xml)
    timbre = next(root.iter(sat_files.TIMBRE))
    text = words(pdf.page(xml))

    for word in (
        "ESCUELA KEMPER URGATE",
        "RFC OÑO120726RX3",
        "ORGANICOS ÑAVEZ OSORIO",
        "Flete (urgente) Ñuñoa",
        "1,250.35",
        "$1,400.40",
        "-50.01",
        timbre.get("UUID"),
        root.get("NoCertificado"),
        timbre.get("NoCertificadoSAT"),
    ):
        assert str(word) in text
    assert root.get("Sello", "") in text.replace("\n", "")
    assert sat_files.cadena_original_tfd(timbre) in text.replace("\n", "")


def test_the_slip_says_which_invoice_it_is(client: SandboxClient) -> None:
    """UUID, folio and total, in a file of the same length for every invoice (its offsets are the template's)."""
    first, second = client.stamped_xml(), client.stamped_xml(a_line(precio="98765.43"))
    slips = [slip.slip(xml) for xml in (first, second)]
    root = etree.fromstring(second)

    assert len(slips[0]) == len(slips[1])
    assert slips[1].startswith(b"%PDF-")
    for word in (
        next(root.iter(sat_files.TIMBRE)).get("UUID"),
        f"FACTURA A {root.get('Folio')}",
        "114,567.90 MXN",
    ):
        assert str(word) in words(slips[1])
    assert "#" not in words(slips[1])


def test_the_template_of_slips_is_what_the_page_maker_draws() -> None:
    """`data/slip.pdf` is a file only because drawing it takes longer than starting the sandbox."""
    assert pdf.slip_template() == slip.TEMPLATE.read_bytes()


def test_the_same_xml_gives_the_same_bytes(client: SandboxClient) -> None:
    """No clock and no chance in either form."""
    xml = client.stamped_xml()

    assert (pdf.page(xml), slip.slip(xml)) == (pdf.page(xml), slip.slip(xml))


def test_a_long_invoice_has_every_line(client: SandboxClient) -> None:
    """On as many pages as it takes, totals at the end."""
    xml = client.stamped_xml(*[a_line(comentarios=f"Tramo {number}") for number in range(60)])
    text = words(pdf.page(xml))

    assert [f"Tramo {number}\n" in text for number in range(60)] == [True] * 60
    assert "TOTAL MXN" in text


def test_the_qr_leads_to_the_sats_verification(client: SandboxClient) -> None:
    """RFCs with & and Ñ are escaped, as the address must be."""
    xml = client.stamped_xml(receptor=("H&E951128469", "HERRERIA & ELECTRICOS", "06002", "601"))
    root = etree.fromstring(xml)
    url = pdf.verification_url(root, next(root.iter(sat_files.TIMBRE)))

    assert url.startswith("https://verificacfdi.facturaelectronica.sat.gob.mx/default.aspx?id=")
    assert "&rr=H%26E951128469&tt=1400.40&fe=" in url
    assert parse_qs(urlsplit(url).query)["fe"] == [root.get("Sello", "")[-8:]]
