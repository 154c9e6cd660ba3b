"""TIMBRADO_PAC_CERTIFICATES and TIMBRADO_SAT_AUTHORITIES: files read at the start; a wrong one stops it."""

import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest

from config.settings import SettingsError
from tests.support.signed_xml import a_csd, a_pac, an_authority
from worker.resources import pac_certificates, sat_authorities


def read(*paths: Path) -> dict[str, bytes]:
    return pac_certificates(SimpleNamespace(pac_certificates=paths))  # type: ignore[arg-type]


def test_der_pem_and_several_in_one_file_are_read_by_their_number(tmp_path: Path) -> None:
    """With text between them; no file gives none."""
    pac, csd = a_pac(), a_csd()
    der, pem = tmp_path / "pac.cer", tmp_path / "both.pem"
    der.write_bytes(pac.der)
    pem.write_text("".join(f"A comment\n{ssl.DER_cert_to_PEM_cert(each.der)}" for each in (pac, csd)))

    assert read(der) == {pac.no_certificado: pac.der}
    assert read(pem) == {pac.no_certificado: pac.der, csd.no_certificado: csd.der}
    assert read() == {}


@pytest.mark.parametrize(
    "content", [b"", b"hush", b"-----BEGIN CERTIFICATE-----\naHVzaA==\n-----END CERTIFICATE-----\n"]
)
def test_a_file_that_is_no_certificate_stops_the_start_with_one_line(tmp_path: Path, content: bytes) -> None:
    """The line names the setting and shows nothing of the file."""
    file = tmp_path / "pac.cer"
    file.write_bytes(content)

    with pytest.raises(SettingsError) as caught:
        read(file)

    assert str(caught.value).startswith("timbrado: TIMBRADO_PAC_CERTIFICATES ")
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_does_too(tmp_path: Path) -> None:
    """The system's own words are in the line."""
    with pytest.raises(
        SettingsError, match="TIMBRADO_PAC_CERTIFICATES names a file that cannot be read: No such file"
    ):
        read(tmp_path / "absent.cer")


def test_authorities_are_read_as_they_are(tmp_path: Path) -> None:
    """Theirs are no CSD: no 20 digits, no RFC."""
    file = tmp_path / "ac.cer"
    file.write_bytes(an_authority())

    assert sat_authorities(SimpleNamespace(sat_authorities=(file,))) == (an_authority(),)  # type: ignore[arg-type]


def test_an_authority_that_is_none_stops_the_start(tmp_path: Path) -> None:
    """The line names the file of TIMBRADO_SAT_AUTHORITIES."""
    file = tmp_path / "ac.cer"
    file.write_bytes(b"hush")

    with pytest.raises(
        SettingsError, match=r"TIMBRADO_SAT_AUTHORITIES names a file that is no certificate: ac\.cer"
    ):
        sat_authorities(SimpleNamespace(sat_authorities=(file,)))  # type: ignore[arg-type]
