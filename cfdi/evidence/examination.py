"""Is what came back a stamped CFDI, and is it the invoice that was sent?

`examine` answers with a report in which every check stands by name, and with every difference from what was sent
(see `report`). A stamp that fails here exists all the same: the SAT has it, so nothing is sent again because of a
bad report, however bad.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from lxml import etree

from cfdi.amounts import Amounts
from cfdi.document import Invoice
from cfdi.evidence import content, strict_xml
from cfdi.evidence.reading import without_blanks
from cfdi.evidence.report import Check, Difference, Report, Result, Severity
from cfdi.issuer import Issuer
from cfdi.sat import files as sat_files
from cfdi.sat import seals, zones
from cfdi.sat.files import CFDI, COMPLEMENTO, TIMBRE

MAX_BYTES: Final = 10_000_000
"""The largest XML that is looked at; 5,000 lines, the most we send, are about 3 MB."""

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""By how much the PAC's clock may differ from the one Fecha was read from."""

_EMISOR: Final = f"{{{CFDI}}}Emisor"
_COMPROBANTE: Final = f"{{{CFDI}}}Comprobante"
_ADDENDA: Final = f"{{{CFDI}}}Addenda"
_CENTRO: Final = ZoneInfo(zones.CENTRO)
_UUID: Final = re.compile(r"[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}", re.IGNORECASE)
_FECHA: Final = re.compile(r"20[1-9][0-9]-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")  # t_FechaH, tdCFDI
_SHOWN: Final = 5
"""Differences shown in the detail of one check; the others are counted."""
_LONGEST: Final = 500
"""Characters of one difference that are kept: what came may be anything."""

OF_THE_DOCUMENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "size": "no está vacío ni pasa del tamaño máximo",
        "parse": "XML bien formado en UTF-8, sin DTD, entidades ni instrucciones de proceso",
        "comprobante": "un solo Comprobante, la raíz, en el espacio de nombres y la versión de CFDI 4.0",
        "schema": "válido según el XSD del SAT de CFDI 4.0 y TimbreFiscalDigital 1.1; una clave nueva o un "
        "complemento sin esquema aquí no lo invalidan",
        "timbre": "un solo TimbreFiscalDigital, en el Complemento del Comprobante",
        "uuid": "el folio fiscal está bien formado y es el que dio ContaDigital",
        "sello_cfd": "el SelloCFD del timbre es el Sello del Comprobante",
        "certificado": "el certificado se puede leer y sus 20 dígitos son NoCertificado",
        "certificado_rfc": "el certificado es del emisor",
        "certificado_sat": "una autoridad del SAT firmó el certificado, donde se conocen las autoridades",
        "certificado_vigencia": "el certificado estaba vigente en Fecha",
        "sello": "el sello del emisor corresponde a la cadena original",
        "sello_sat": "el sello del PAC corresponde a la cadena del timbre, donde se conoce su certificado",
        "fecha_timbrado": "se timbró después de Fecha y dentro de sus 72 horas (FechaTimbrado va en Zona Centro)",
        "partes": "el RFC del emisor y el del cliente son los de la factura",
    }
)
"""The checks of the document itself, in the order of the report: all of them together are `is_good_cfdi`."""

ENVELOPE: Final = "envoltura"
"""The code of differences around the XML itself, which is no part of what was sent."""
NEW_KEYS: Final = "claves_nuevas"
"""The code of keys that the SAT took and our lists do not know yet."""

CHECKS: Final = (*OF_THE_DOCUMENT, *content.COMPARISONS)
"""Every check of every report, in its order."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What was sent, which the XML must be."""

    invoice: Invoice
    issuer: Issuer
    fecha: datetime
    """Fecha as sent: the naive clock of the place of issue, whole seconds."""
    uuid: str | None = None
    """The folio fiscal that ContaDigital gave beside the XML; None where it gave none."""
    amounts: Amounts | None = None
    """What the invoice adds up to, where that is known already."""


def examine(
    xml: bytes,
    expected: Expected | None,
    *,
    known_pac_certificates: Mapping[str, bytes] = MappingProxyType({}),
    sat_authorities: tuple[bytes, ...] = (),
    max_bytes: int = MAX_BYTES,
) -> Report:
    """Check a returned XML; never raises for what is in it, whatever is in it.

    `expected` None asks only whether it is a stamped CFDI with good seals (what is stored is checked again).
    `known_pac_certificates` maps NoCertificadoSAT to the certificate's DER bytes; `sat_authorities` are certificates
    (DER) of the SAT's authorities, one of which must have signed the emisor's: without any it is not asked.
    """
    examination = _Examination(expected, known_pac_certificates, sat_authorities)
    root = examination.read(xml, max_bytes)
    if root is not None:
        timbre = examination.document(root)
        examination.certificate(root)
        if expected is not None:
            examination.content(root, expected)
        if timbre is not None:
            examination.timbre(root, timbre)
    return examination.report(root)


class _Examination:
    """One look at one document; notes each check by its name."""

    def __init__(
        self,
        expected: Expected | None,
        pac_certificates: Mapping[str, bytes],
        sat_authorities: tuple[bytes, ...],
    ) -> None:
        self._expected = expected
        self._pac_certificates = pac_certificates
        self._sat_authorities = sat_authorities
        self._found: dict[str, Check] = {}
        self._differences: list[Difference] = []

    # --- may it be read at all ------------------------------------------------------------------------

    def read(self, xml: bytes, max_bytes: int) -> etree._Element | None:
        """The root of a document that is safe to look at and is a Comprobante, or None."""
        if not 0 < len(xml) <= max_bytes:
            self._note("size", [f"{len(xml)} bytes; the limit is {max_bytes}" if xml else "empty"])
            return None
        self._note("size", [])
        try:
            parsed = strict_xml.parse(xml)
        except strict_xml.UnsafeXml as error:
            self._note("parse", [str(error)])
            return None
        self._put("parse", Result.PASSED, "; ".join(parsed.forgiven))
        if not self._note("comprobante", _not_one_comprobante(parsed.root)):
            return None
        for what in parsed.forgiven:
            self._envelope(f"Alrededor del XML timbrado {what}; no es parte de la factura.")
        return parsed.root

    # --- is it a stamped CFDI -------------------------------------------------------------------------

    def document(self, root: etree._Element) -> etree._Element | None:
        """Look at its structure; the one timbre, where there is one."""
        timbres = list(root.iter(TIMBRE))
        for addenda in root.findall(_ADDENDA):  # not part of the CFDI: neither sealed nor in the XSD
            root.remove(addenda)
        self._schema(root)
        if len(timbres) != 1:
            self._note("timbre", [f"{len(timbres)} TimbreFiscalDigital"])
            return None
        [timbre] = timbres
        holder = timbre.getparent()
        if holder is None or holder.tag != COMPLEMENTO or holder.getparent() is not root:
            self._note("timbre", ["TimbreFiscalDigital is not in the Comprobante's Complemento"])
            return None
        self._note("timbre", [])
        return timbre

    def _schema(self, root: etree._Element) -> None:
        """A key that our lists do not know is no fault: the SAT stamped it, so its list is newer than ours."""
        faults = sat_files.schema_faults(root)
        errors = [fault.text for fault in faults if not fault.is_unknown_key]
        keys = [fault.text for fault in faults if fault.is_unknown_key]
        if not errors:
            for key in keys:
                message = "El CFDI timbrado lleva una clave que nuestros catálogos todavía no conocen."
                self._differences.append(
                    Difference(NEW_KEYS, "", Severity.PRESENTATIONAL, "", _value_in(key), message)
                )
            self._put("schema", Result.PASSED, _joined(keys))
            return
        self._note("schema", errors)

    def timbre(self, root: etree._Element, timbre: etree._Element) -> None:
        """Look at the stamp: folio fiscal, seals, time."""
        uuid = timbre.get("UUID", "")
        given = self._expected.uuid if self._expected is not None else None
        if not _UUID.fullmatch(uuid):
            self._note("uuid", [f"{uuid!r} is no UUID"])
        else:
            other = given is not None and not _same_uuid(uuid, given)
            self._note("uuid", [f"ContaDigital gave {given!r}, the XML has {uuid!r}"] if other else [])
        sello = without_blanks(root.get("Sello", ""))
        same = sello != "" and without_blanks(timbre.get("SelloCFD", "")) == sello
        self._note("sello_cfd", [] if same else ["SelloCFD is not the Comprobante's Sello"])
        self._sello_sat(timbre)
        self._fecha_timbrado(root, timbre)

    def _sello_sat(self, timbre: etree._Element) -> None:
        number = timbre.get("NoCertificadoSAT", "")
        der = self._pac_certificates.get(number)
        if der is None:
            self._put("sello_sat", Result.NOT_ASKED, f"the PAC's certificate {number} is not known here")
            return
        try:
            certificate = seals.from_der(der)
        except seals.UnreadableCertificate as error:
            self._note("sello_sat", [f"the known certificate {number} can't be read: {error}"])
            return
        cadena = sat_files.cadena_original_tfd(timbre)
        if certificate.no_certificado != number:
            self._note("sello_sat", [f"the certificate known as {number} is {certificate.no_certificado}"])
        else:
            good = certificate.has_sealed(cadena, without_blanks(timbre.get("SelloSAT", "")))
            self._note("sello_sat", [] if good else ["SelloSAT is not the PAC's seal of this timbre"])

    def _fecha_timbrado(self, root: etree._Element, timbre: etree._Element) -> None:
        stamped, issued_at = _fecha(timbre.get("FechaTimbrado")), _issued_at(root)
        if stamped is None or issued_at is None:
            return
        stamped_at = stamped.replace(tzinfo=_CENTRO)
        earliest, latest = issued_at - CLOCK_TOLERANCE, issued_at + zones.STAMPING_PERIOD + CLOCK_TOLERANCE
        if not earliest <= stamped_at <= latest:
            self._note("fecha_timbrado", [f"{stamped.isoformat()} (Centro), Fecha is {root.get('Fecha')}"])
        else:
            self._note("fecha_timbrado", [])

    # --- who sealed it --------------------------------------------------------------------------------

    def certificate(self, root: etree._Element) -> None:
        """Look at the issuer's certificate and seal."""
        if any(
            without_blanks(text) != text for text in (root.get(name, "") for name in ("Certificado", "Sello"))
        ):
            self._envelope(
                "El sello o el certificado del XML trae espacios o saltos de línea; son los mismos."
            )
        try:
            certificate = seals.from_base64(without_blanks(root.get("Certificado", "")))
        except seals.UnreadableCertificate as error:
            self._note("certificado", [str(error)])
            return
        number, claimed = certificate.no_certificado, root.get("NoCertificado")
        self._note(
            "certificado", [] if number == claimed else [f"it is {number}, NoCertificado is {claimed!r}"]
        )
        emisor = root.find(_EMISOR)
        rfc = None if emisor is None else emisor.get("Rfc")
        self._note(
            "certificado_rfc", [] if certificate.rfc == rfc else [f"it is {certificate.rfc}'s, not {rfc!r}'s"]
        )
        self._certificate_of_the_sat(certificate)
        issued_at = _issued_at(root)
        if issued_at is not None:
            valid = certificate.was_valid_at(issued_at)
            dates = (
                f"from {certificate.valid_from_at.isoformat()} to {certificate.valid_until_at.isoformat()}"
            )
            self._note("certificado_vigencia", [] if valid else [f"it is valid {dates}"])
        sealed = certificate.has_sealed(
            sat_files.cadena_original(root), without_blanks(root.get("Sello", ""))
        )
        self._note("sello", [] if sealed else ["Sello is not the certificate's seal of this document"])

    def _certificate_of_the_sat(self, certificate: seals.Certificate) -> None:
        if not self._sat_authorities:
            self._put("certificado_sat", Result.NOT_ASKED, "no authority of the SAT is known here")
            return
        try:
            signed = seals.is_signed_by(certificate.der, self._sat_authorities)
        except seals.UnreadableCertificate as error:
            self._note("certificado_sat", [f"a certificate of an authority can't be read: {error}"])
            return
        self._note("certificado_sat", [] if signed else ["no known authority of the SAT signed it"])

    # --- is it what was sent --------------------------------------------------------------------------

    def content(self, root: etree._Element, expected: Expected) -> None:
        """Hold every field against what was sent."""
        it = content.pair(expected.invoice, expected.issuer, expected.fecha, root, expected.amounts)
        for name, comparison in content.COMPARISONS.items():
            if not it.lines and name in content.OF_EACH_LINE:
                continue
            found = [_bounded(difference) for difference in comparison.compare(it)]
            if not found:
                self._put(name, Result.PASSED)
                continue
            self._differences += found
            substantial = [each.message for each in found if each.is_substantial]
            detail = _joined(substantial or [each.message for each in found])
            self._put(name, Result.FAILED if substantial else Result.PASSED, detail)
        wrong = [each.message for each in self._differences if each.field in ("emisor.rfc", "receptor.rfc")]
        self._note("partes", wrong)

    # --- notes ----------------------------------------------------------------------------------------

    def _note(self, name: str, faults: Iterable[str]) -> bool:
        """Note a check by its faults; True where there are none."""
        found = list(faults)
        self._put(name, Result.FAILED if found else Result.PASSED, _joined(found) if found else "")
        return not found

    def _envelope(self, message: str) -> None:
        self._differences.append(Difference(ENVELOPE, "", Severity.PRESENTATIONAL, "", "", message))

    def _put(self, name: str, result: Result, detail: str = "") -> None:
        self._found[name] = Check(name, result, detail)

    def report(self, root: etree._Element | None) -> Report:
        """Every check in its order: what was not noted was not reached."""
        checks = tuple(self._found.get(name) or self._unseen(name) for name in CHECKS)
        if root is None:
            return Report(checks)
        document = [check for check in checks if check.name in OF_THE_DOCUMENT]
        timbre = next(root.iter(TIMBRE), etree.Element(TIMBRE))
        uuid = timbre.get("UUID")
        return Report(
            checks,
            tuple(self._differences),
            is_good_cfdi=all(check.result in (Result.PASSED, Result.NOT_ASKED) for check in document),
            uuid=uuid and uuid.upper(),
            serie=root.get("Serie"),
            folio=root.get("Folio"),
            fecha_timbrado=_fecha(timbre.get("FechaTimbrado")),
            no_certificado=root.get("NoCertificado"),
            rfc_pac=timbre.get("RfcProvCertif"),
        )

    def _unseen(self, name: str) -> Check:
        if self._expected is None and (name in content.COMPARISONS or name == "partes"):
            return Check(name, Result.NOT_ASKED)
        return Check(name, Result.NOT_REACHED)


def _joined(sentences: list[str]) -> str:
    """A few sentences as one detail, the others counted."""
    shown = "; ".join(one[:_LONGEST] for one in sentences[:_SHOWN])
    return shown if len(sentences) <= _SHOWN else f"{shown}; y {len(sentences) - _SHOWN} más"


def _bounded(difference: Difference) -> Difference:
    """What came may be endless; what is kept of it is not."""
    if max(len(difference.received), len(difference.sent), len(difference.message)) <= _LONGEST:
        return difference
    return replace(
        difference,
        sent=difference.sent[:_LONGEST],
        received=difference.received[:_LONGEST],
        message=difference.message[:_LONGEST],
    )


def _value_in(fault: str) -> str:
    found = re.search(r"The value '([^']{1,40})'", fault)
    return found[1] if found else ""


def _not_one_comprobante(root: etree._Element) -> list[str]:
    if root.tag != _COMPROBANTE:
        return [f"the root is {root.tag!r}"]
    if root.get("Version") != "4.0":
        return [f"Version is {root.get('Version')!r}"]
    if any(node is not root for node in root.iter("{*}Comprobante")):
        return ["another Comprobante stands inside"]
    return []


def _same_uuid(one: str, other: str) -> bool:
    try:
        return UUID(one) == UUID(other)
    except ValueError:
        return False


def _fecha(text: str | None) -> datetime | None:
    """A moment as the SAT writes them, or None."""
    if text is None or not _FECHA.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # the 31st of a month that has none
        return None


def _issued_at(root: etree._Element) -> datetime | None:
    """The instant of Fecha at LugarExpedicion; None where either says nothing."""
    fecha = _fecha(root.get("Fecha"))
    if fecha is None:
        return None
    try:
        return zones.instant_of(fecha, root.get("LugarExpedicion", ""))
    except zones.UnknownPostcode:
        return None
