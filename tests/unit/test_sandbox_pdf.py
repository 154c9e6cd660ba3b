"""The page: its QR is the standard's, and its text what the XML says."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
import segno
from lxml import etree

from cfdi.sat import files as sat_files
from sandbox import canvas, pdf, qr
from sandbox.provider import Provider
from tests.support.sandbox_client import Desk, a_line


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk(Provider(":memory:", demo=True))


def words(page: bytes) -> str:
    """All text of a page, in the order in which it is drawn."""
    content = page.split(b"stream\n", 1)[1].split(b"\nendstream", 1)[0].decode("cp1252")
    return "\n".join(re.sub(r"\\(.)", r"\1", text) for text in re.findall(r"Td \((.*)\) Tj", content))


@pytest.mark.parametrize("version", range(1, 26))
def test_a_qr_is_module_by_module_what_segno_makes(version: int) -> None:
    """With texts that fill the symbol (segno pads the others with one byte more than the standard asks)."""
    capacity = sum(size for size, _ in qr._frame(version).blocks) - (2 if version < 10 else 3)
    text = (
        ("https://VERIFICA?id=&ñ" * 60)
        .encode()[:capacity]
        .decode("latin-1")
        .encode("ascii", "replace")
        .decode()
    )
    drawn = segno.make(text.encode(), error="m", micro=False, boost_error=False, mask=2, mode="byte")

    assert drawn.version == version
    assert qr.rows(text) == [int("".join(str(int(module)) for module in row), 2) for row in drawn.matrix]


def test_reed_solomon_is_the_standards() -> None:
    """The example of ISO/IEC 18004, annex I: 16 data codewords, 10 of correction."""
    data = bytes([32, 91, 11, 120, 209, 114, 220, 77, 67, 64, 236, 17, 236, 17, 236, 17])

    assert list(qr._correction(data, 10)) == [196, 35, 39, 119, 235, 215, 231, 226, 93, 23]


def test_the_page_says_what_the_xml_says(desk: Desk) -> None:
    """Parties, lines, amounts, UUID and certificates."""
    xml = desk.stamped_xml(
        a_line(comentarios="Flete (urgente) Ñuñoa", ret_iva="4"),
        receptor=("OÑO120726RX3", "ORGANICOS ÑAVEZ OSORIO", "40501", "601"),
    )
    root = etree.fromstring(xml)
    timbre = next(root.iter(sat_files.TIMBRE))
    text = words(pdf.render(xml))

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
    assert root.get("Sello", "")[:150] in text
    assert sat_files.cadena_original_tfd(timbre) in text.replace("\n", "")


def test_the_page_is_a_well_formed_pdf(desk: Desk) -> None:
    """Every object stands where the table of references says, and the same XML gives the same bytes."""
    xml = desk.stamped_xml()
    page = pdf.render(xml)
    start = int(page.rsplit(b"startxref\n", 1)[1].split(b"\n")[0])
    offsets = [int(line[:10]) for line in page[start:].split(b"\n") if line.endswith(b" n ")]

    assert page.startswith(b"%PDF-1.4")
    assert page[start : start + 4] == b"xref"
    assert [page[offset:].split(b" ", 1)[0] for offset in offsets] == [
        b"%d" % n for n in range(1, len(offsets) + 1)
    ]
    assert pdf.render(xml) == page


def test_a_long_invoice_stays_on_one_page_and_says_what_is_left(desk: Desk) -> None:
    """The rest is counted, and its totals still stand there."""
    text = words(pdf.render(desk.stamped_xml(*[a_line(comentarios=f"Tramo {n}") for n in range(60)])))
    shown = len(re.findall(r"^Tramo \d+$", text, re.MULTILINE))

    assert f"... y {60 - shown} conceptos más, en el XML" in text
    assert 5 < shown < 60
    assert "TOTAL MXN" in text


def test_the_qr_leads_to_the_sats_verification(desk: Desk) -> None:
    """RFCs with & and Ñ are escaped, as the address must be."""
    xml = desk.stamped_xml(receptor=("H&E951128469", "HERRERIA & ELECTRICOS", "06002", "601"))
    root = etree.fromstring(xml)
    url = pdf.verification_url(root, next(root.iter(sat_files.TIMBRE)))

    assert url.startswith("https://verificacfdi.facturaelectronica.sat.gob.mx/default.aspx?id=")
    assert "&rr=H%26E951128469&tt=1400.40&fe=" in url
    assert parse_qs(urlsplit(url).query)["fe"] == [root.get("Sello", "")[-8:]]


@pytest.mark.parametrize(
    ("text", "room", "wanted"),
    [
        ("uno dos", 500, ["uno dos"]),
        ("uno dos tres", 30, ["uno dos", "tres"]),
        ("uno dos tres cuatro", 30, ["uno dos", "tres…"]),
    ],
)
def test_text_is_broken_between_words(text: str, room: float, wanted: list[str]) -> None:
    """What is beyond the last line ends in an ellipsis."""
    assert canvas.wrapped(text, 8, room, 2) == wanted
