"""Certificates and seals: who signed a CFDI, and whether every sealed byte of it is still what was signed.

A good seal proves that the document was not touched after the holder of *the certificate inside it* signed it, not
that it is the document we asked for. That is `evidence`'s question, and
so is whether that certificate is the emisor's.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

# A worker meets one certificate for each emisor, again and again; 256 of them are about 2 MB.
_CERTIFICATES_KEPT: Final = 256

_UNIQUE_IDENTIFIER: Final = bytes.fromhex("0603 55042d")  # OID 2.5.4.45 as it stands in a certificate


class UnreadableCertificate(ValueError):
    """These bytes are no X.509 certificate as the SAT makes them; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate of the SAT (CSD of an emisor, or of a PAC) says of its holder."""

    no_certificado: str
    """Its 20 digits, which the SAT writes as ASCII into the bytes of the serial number."""
    rfc: str
    """The holder's RFC: the part before the slash in x500UniqueIdentifier (OID 2.5.4.45)."""
    valid_from_at: datetime
    valid_until_at: datetime
    public_key: rsa.RSAPublicKey
    der: bytes = b""

    def has_sealed(self, cadena_original: str, sello: str) -> bool:
        """Whether `sello` (base64) is its holder's signature of this cadena (RSA, PKCS #1 v1.5, SHA-256)."""
        try:
            signature = base64.b64decode(sello, validate=True)
            self.public_key.verify(
                signature, cadena_original.encode("utf-8"), padding.PKCS1v15(), hashes.SHA256()
            )
        except (binascii.Error, ValueError, InvalidSignature):  # ValueError: a character that is not ASCII
            return False
        return True

    def was_valid_at(self, instant: datetime) -> bool:
        """Whether this instant (aware) lies between its two dates."""
        return self.valid_from_at <= instant <= self.valid_until_at


def from_base64(text: str) -> Certificate:
    """The certificate of a CFDI's `Certificado` attribute; raises UnreadableCertificate."""
    try:
        der = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnreadableCertificate(f"not base64: {error}") from error
    return from_der(der)


@lru_cache(maxsize=_CERTIFICATES_KEPT)
def from_der(der: bytes) -> Certificate:
    """The certificate of a .cer file as the SAT hands it out (DER); raises UnreadableCertificate."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        public_key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnreadableCertificate(f"not an X.509 certificate: {error}") from error
    if not isinstance(public_key, rsa.RSAPublicKey):
        raise UnreadableCertificate("its key is not RSA")
    return Certificate(
        no_certificado=_number(certificate.serial_number),
        rfc=_holder(certificate).partition("/")[0].strip(),
        valid_from_at=certificate.not_valid_before_utc,
        valid_until_at=certificate.not_valid_after_utc,
        public_key=public_key,
        der=der,
    )


@lru_cache(maxsize=_CERTIFICATES_KEPT)
def is_signed_by(der: bytes, authorities: tuple[bytes, ...]) -> bool:
    """Whether one of these authorities' certificates (DER) signed this one; each that is named is trusted.

    Raises UnreadableCertificate for an authority that is no certificate.
    """
    certificate = x509.load_der_x509_certificate(der)
    return any(_has_signed(_authority(each), certificate) for each in authorities)


@lru_cache(maxsize=32)
def _authority(der: bytes) -> rsa.RSAPublicKey:
    try:
        public_key = x509.load_der_x509_certificate(der).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnreadableCertificate(f"not an X.509 certificate: {error}") from error
    if not isinstance(public_key, rsa.RSAPublicKey):
        raise UnreadableCertificate("its key is not RSA")
    return public_key


def _has_signed(authority: rsa.RSAPublicKey, certificate: x509.Certificate) -> bool:
    try:
        algorithm = certificate.signature_hash_algorithm
        if algorithm is None:
            return False
        authority.verify(
            certificate.signature, certificate.tbs_certificate_bytes, padding.PKCS1v15(), algorithm
        )
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _number(serial: int) -> str:
    digits = serial.to_bytes((serial.bit_length() + 7) // 8, "big")
    if len(digits) != 20 or not digits.isdigit():
        raise UnreadableCertificate("its serial number is not the SAT's 20 digits")
    return digits.decode("ascii")


def _holder(certificate: x509.Certificate) -> str:
    """Its x500UniqueIdentifier, `RFC / RFC of a person`; raises UnreadableCertificate without one."""
    try:
        found = certificate.subject.get_attributes_for_oid(NameOID.X500_UNIQUE_IDENTIFIER)
        value = found[0].value if found else b""
    except ValueError:
        value = _holder_bytes(certificate.tbs_certificate_bytes)
    text = value if isinstance(value, str) else _decoded(value)
    if not text:
        raise UnreadableCertificate("it names no RFC (x500UniqueIdentifier)")
    return text


def _holder_bytes(der: bytes) -> bytes:
    """The same out of the raw bytes: one part in Latin-1 (an Ñ), and cryptography refuses the whole name.

    The SAT's own name comes first in a certificate and carries this OID too, so the last one counts.
    """
    found = der.rfind(_UNIQUE_IDENTIFIER)
    if found < 0:
        return b""
    length_at = found + len(_UNIQUE_IDENTIFIER) + 1  # the type's own byte stands between
    return der[length_at + 1 : length_at + 1 + der[length_at]]


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
