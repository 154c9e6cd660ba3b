"""Keys that look like the SAT's: a CSD for each emisor and one certificate for the PAC, made at first use.

`NoCertificado` is not the serial number's digits but its bytes read as
ASCII, and the RFC of a CSD stands in the subject's x500UniqueIdentifier (2.5.4.45), before a slash.

No third party's key is here, and none expires while anyone uses the sandbox: they last four years from
their making.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from lxml import etree

from cfdi.sat import files as sat_files

PAC_RFC: Final = "CDI200101AB5"
PAC_NAME: Final = "CONTADIGITAL SANDBOX"
_PADDING: Final = padding.PKCS1v15()
_SHA256: Final = hashes.SHA256()


class KeyStore(Protocol):
    """Where keys are stored between two runs."""

    def identity(self, name: str) -> tuple[bytes, bytes] | None:
        """The certificate and the private key (both DER) stored under a name."""

    def save_identity(self, name: str, certificate: bytes, key: bytes) -> None:
        """Store both under a name."""


@dataclass(frozen=True)
class Identity:
    """A certificate with its private key."""

    certificate: bytes
    key: rsa.RSAPrivateKey

    @cached_property
    def number(self) -> str:
        """The 20 digits of NoCertificado."""
        return (
            x509.load_der_x509_certificate(self.certificate).serial_number.to_bytes(20, "big").decode("ascii")
        )

    @cached_property
    def certificate_base64(self) -> str:
        """The certificate as the Comprobante carries it."""
        return base64.b64encode(self.certificate).decode("ascii")

    def seal(self, cadena: str) -> str:
        """RSA-SHA256 over a cadena original, in Base64."""
        return base64.b64encode(self.key.sign(cadena.encode("utf-8"), _PADDING, _SHA256)).decode("ascii")


class Seals:
    """Hands out identities, the same ones over restarts."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._known: dict[str, Identity] = {}

    @cached_property
    def pac(self) -> Identity:
        """The PAC's own identity, which seals the TimbreFiscalDigital."""
        return self._identity(f"PAC {PAC_RFC}", PAC_NAME, PAC_RFC, f"PAC{PAC_RFC}", number=9999)

    def csd(self, rfc: str, nombre: str) -> Identity:
        """The look-alike CSD of an emisor."""
        return self._identity(f"CSD {rfc}", nombre, rfc, "Matriz", number=_number_of(rfc))

    def _identity(self, name: str, common_name: str, rfc: str, unit: str, number: int) -> Identity:
        known = self._known.get(name)
        if known is not None:
            return known
        stored = self._keys.identity(name)
        if stored is None:
            stored = _make(common_name, rfc, unit, f"3000100000050{number:07d}")
            self._keys.save_identity(name, *stored)
        key = serialization.load_der_private_key(stored[1], password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError(f"the key stored as {name!r} is not RSA")
        self._known[name] = Identity(stored[0], key)
        return self._known[name]


def seal_comprobante(root: etree._Element, csd: Identity) -> None:
    """Write the emisor's certificate and seal into a Comprobante; it must not change afterwards."""
    root.set("NoCertificado", csd.number)
    root.set("Certificado", csd.certificate_base64)
    root.set("Sello", csd.seal(sat_files.cadena_original(root)))


def seal_timbre(timbre: etree._Element, pac: Identity) -> None:
    """Write the PAC's number and seal into a TimbreFiscalDigital."""
    timbre.set("NoCertificadoSAT", pac.number)
    timbre.set("SelloSAT", pac.seal(sat_files.cadena_original_tfd(timbre)))


def _number_of(rfc: str) -> int:
    return int.from_bytes(rfc.encode("utf-8"), "big") % 9_000_000 + 10_000


def _make(common_name: str, rfc: str, unit: str, number: str) -> tuple[bytes, bytes]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    holder = f"{rfc} / XEXX010101000"
    text = common_name[:64]
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, text),
            x509.NameAttribute(x509.ObjectIdentifier("2.5.4.41"), text),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, text),
            x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, holder),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, " / XEXX010101HNEXXXA4"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
        ]
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(number.encode("ascii"), "big"))
        .not_valid_before(now - timedelta(days=30))  # older than any Fecha the SAT still takes
        .not_valid_after(now + timedelta(days=4 * 365))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=True,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=False,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.DER), private
