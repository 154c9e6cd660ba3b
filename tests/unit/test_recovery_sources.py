"""What an audit reads: the SAT's metadata, XMLs, ZIPs and folders, and what is none of them."""

import zipfile
from decimal import Decimal
from pathlib import Path

import pytest

from stamping.recovery import sources
from stamping.recovery.sources import UnreadableSource
from tests.support.builders import an_invoice
from tests.support.signed_xml import stamped

HEAD = (
    "Uuid~RfcEmisor~NombreEmisor~RfcReceptor~NombreReceptor~RfcPac~FechaEmision~FechaCertificacionSat~Monto~"
)
HEAD += "EfectoComprobante~Estatus~FechaCancelacion"
LINE = "6a5f0000-1111-4222-8333-abc010203ab1~EKU9003173C9~E~XIA190128J61~X~SAT970701NN3~2026-11-20 10:15:00~"
LINE += "2026-11-20 10:16:00~1234.50~I~1~"


def test_the_metadata_of_the_sat_is_read_by_its_columns(tmp_path: Path) -> None:
    """UUID in upper case, the total exact, and whether the SAT calls it cancelled."""
    path = tmp_path / "metadata.txt"
    path.write_text(f"{HEAD}\n{LINE}\n{LINE.replace('~1~', '~0~').replace('6a5f', '6a60')}\n")

    first, second = sources.read(path)

    assert first.uuid == "6A5F0000-1111-4222-8333-ABC010203AB1"
    assert (first.emisor, first.receptor, first.total) == ("EKU9003173C9", "XIA190128J61", Decimal("1234.50"))
    assert (first.cancelled, second.cancelled) == (False, True)


@pytest.mark.parametrize("text", ["", "a,b,c\n1,2,3\n", f"{HEAD}\nnot-a-uuid~A~B~C~D~E~F~G~H~I~1~\n"])
def test_what_is_no_metadata_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    """A file of another form is never taken for an empty one."""
    path = tmp_path / "something.txt"
    path.write_text(text)

    with pytest.raises(UnreadableSource, match=r"something\.txt"):
        list(sources.read(path))


def test_an_xml_is_read_alone_in_a_zip_and_in_a_folder(tmp_path: Path) -> None:
    """The same CFDI, wherever it lies; two stamps of one invoice have the same content and other folios fiscales."""
    one, two = stamped(an_invoice()), stamped(an_invoice())
    folder = tmp_path / "folder" / "2026"
    folder.mkdir(parents=True)
    (folder / "one.xml").write_bytes(one)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("deep/two.XML", two)
        archive.writestr("readme.pdf", b"%PDF-")

    (first,) = sources.read(tmp_path / "folder")
    (second,) = sources.read(tmp_path / "all.zip", keep_xml=False)

    assert first.xml == one
    assert second.xml is None
    assert first.content == second.content
    assert first.total == second.total


@pytest.mark.parametrize("data", [b"", b"<a/>", b"not xml", b"<?xml version='1.0'?><Comprobante/>"])
def test_what_is_no_stamped_cfdi_is_refused(data: bytes) -> None:
    """An XML without a timbre proves nothing, and is named."""
    with pytest.raises(UnreadableSource, match="one"):
        sources.of_xml(data, "one")


def test_an_xml_with_a_namespace_that_is_no_address_is_refused_by_its_name() -> None:
    """Its parts can't be compared with another stamp's; it is named, and the audit goes no further by guessing."""
    data = stamped(an_invoice()).replace(b"http://www.w3.org/2001/XMLSchema-instance", b"XMLSchema-instance")

    with pytest.raises(UnreadableSource, match="one"):
        sources.of_xml(data, "one")


def test_a_zip_that_is_none_is_refused(tmp_path: Path) -> None:
    """A download that was cut short is not an empty month."""
    path = tmp_path / "cut.zip"
    path.write_bytes(b"PK\x03\x04 and no more")

    with pytest.raises(UnreadableSource, match=r"cut\.zip"):
        list(sources.read(path))
