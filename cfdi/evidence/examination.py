"""Nothing that comes back is believed unseen: is this XML the stamped CFDI of the invoice we sent?

`examine` answers with a report in which every check stands by name: passed, failed, not reached (an earlier
failure left nothing to look at) or not asked (what it needs was not handed in). The report is kept with the
document; a document whose report is not `ok` is quarantined, and a person looks at it.

What a newcomer would get wrong: a stamp that fails here exists all the same. The SAT has it; so nothing is
sent again because of a bad report, however bad.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from lxml import etree

from cfdi.document import Invoice
from cfdi.evidence import as_sent, strict_xml
from cfdi.evidence.differences import Tolerated
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
_TOLD: Final = 5
"""Differences shown in the detail of one check; the others are counted."""
_LONGEST: Final = 500
"""Characters of one difference that are kept: what came may be anything."""


class Result(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_REACHED = "not_reached"
    """An earlier failure left nothing to check: as bad as failed."""
    NOT_ASKED = "not_asked"
    """What it compares with was not handed in (no PAC certificate, no UUID told): neither good nor bad."""


OF_THE_DOCUMENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "size": "not empty, and not larger than the limit",
        "parse": "well-formed XML in UTF-8, without DTD, entities or processing instructions",
        "comprobante": "one Comprobante, the root, in the namespace and version of CFDI 4.0",
        "schema": "valid by the SAT's XSD of CFDI 4.0 and TimbreFiscalDigital 1.1",
        "timbre": "exactly one TimbreFiscalDigital, in the Comprobante's Complemento",
        "uuid": "the folio fiscal is well formed, and the one ContaDigital told",
        "sello_cfd": "the timbre's SelloCFD is the Comprobante's Sello",
        "certificado": "the certificate inside can be read, and its 20 digits are NoCertificado",
        "certificado_rfc": "the certificate is the emisor's",
        "certificado_vigencia": "the certificate was valid at Fecha",
        "sello": "the issuer's seal is good over the cadena original",
        "sello_sat": "the PAC's seal is good over the timbre's cadena, where its certificate is known",
        "fecha_timbrado": "stamped after Fecha and within its 72 hours (FechaTimbrado is Zona Centro)",
    }
)
"""The checks of the document itself, in the order of the report, each with what it promises."""

CHECKS: Final = (*OF_THE_DOCUMENT, *as_sent.QUESTIONS)
"""Every check of every report, in its order."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What was sent, which the XML must be."""

    invoice: Invoice
    issuer: Issuer
    fecha: datetime
    """Fecha as sent: the naive clock of the place of issue, whole seconds."""
    uuid: str | None = None
    """The folio fiscal ContaDigital told beside the XML; None where it told none."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a report; `detail` says what differs, also where the difference was tolerated."""

    name: str
    result: Result
    detail: str = ""

    @property
    def passed(self) -> bool | None:
        """True for good, False for failed or out of reach, None where it was not asked."""
        return None if self.result is Result.NOT_ASKED else self.result is Result.PASSED


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked and found, and what the document says of itself (None where it does not say)."""

    checks: tuple[Check, ...]
    uuid: str | None = None
    """In upper case, as the SAT writes it."""
    serie: str | None = None
    folio: str | None = None
    fecha_timbrado: datetime | None = None
    """As written: naive, the clock of the Zona Centro."""
    no_certificado: str | None = None
    """Of the emisor's CSD."""
    rfc_pac: str | None = None

    @property
    def ok(self) -> bool:
        """Whether this is the stamped CFDI of what was sent: nothing failed and nothing was out of reach."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks to look at, the cause first."""
        return tuple(check for check in self.checks if check.result in (Result.FAILED, Result.NOT_REACHED))

    def as_dict(self) -> dict[str, object]:
        """The report as plain JSON values, to be kept with the document."""
        return {
            "ok": self.ok,
            "uuid": self.uuid,
            "serie": self.serie,
            "folio": self.folio,
            "fecha_timbrado": self.fecha_timbrado.isoformat() if self.fecha_timbrado else None,
            "no_certificado": self.no_certificado,
            "rfc_pac": self.rfc_pac,
            "checks": [
                {"name": check.name, "result": check.result.value, "detail": check.detail}
                for check in self.checks
            ],
        }


def examine(
    xml: bytes,
    expected: Expected | None,
    *,
    known_pac_certificates: Mapping[str, bytes] = MappingProxyType({}),
    max_bytes: int = MAX_BYTES,
) -> Report:
    """Check a returned XML; never raises for what is in it, whatever is in it.

    `expected` None asks only whether it is a stamped CFDI with good seals (what is stored is checked again).
    `known_pac_certificates` maps NoCertificadoSAT to the certificate's DER bytes.
    """
    examination = _Examination(expected, known_pac_certificates)
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

    def __init__(self, expected: Expected | None, pac_certificates: Mapping[str, bytes]) -> None:
        self._expected = expected
        self._pac_certificates = pac_certificates
        self._found: dict[str, Check] = {}

    # --- may it be read at all ------------------------------------------------------------------------

    def read(self, xml: bytes, max_bytes: int) -> etree._Element | None:
        """The root of a document that is safe to look at and is a Comprobante, or None."""
        if not 0 < len(xml) <= max_bytes:
            self._note("size", [f"{len(xml)} bytes; the limit is {max_bytes}" if xml else "empty"])
            return None
        self._note("size", [])
        try:
            root = strict_xml.parse(xml)
        except strict_xml.UnsafeXml as error:
            self._note("parse", [str(error)])
            return None
        self._note("parse", [])
        if self._note("comprobante", _not_one_comprobante(root)):
            return root
        return None

    # --- is it a stamped CFDI -------------------------------------------------------------------------

    def document(self, root: etree._Element) -> etree._Element | None:
        """Look at its structure; the one timbre, where there is one."""
        timbres = list(root.iter(TIMBRE))
        for addenda in root.findall(_ADDENDA):  # not part of the CFDI: neither sealed nor in the XSD
            root.remove(addenda)
        self._note("schema", sat_files.schema_errors(root))
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

    def timbre(self, root: etree._Element, timbre: etree._Element) -> None:
        """Look at the stamp: folio fiscal, seals, time."""
        uuid = timbre.get("UUID", "")
        told = self._expected.uuid if self._expected is not None else None
        if not _UUID.fullmatch(uuid):
            self._note("uuid", [f"{uuid!r} is no UUID"])
        else:
            other = told is not None and not _same_uuid(uuid, told)
            self._note("uuid", [f"told {told!r}, the XML has {uuid!r}"] if other else [])
        sello = root.get("Sello", "")
        same = sello != "" and timbre.get("SelloCFD") == sello
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
            good = certificate.has_sealed(cadena, timbre.get("SelloSAT", ""))
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
        try:
            certificate = seals.from_base64(root.get("Certificado", ""))
        except seals.UnreadableCertificate as error:
            self._note("certificado", [str(error)])
            return
        number, said = certificate.no_certificado, root.get("NoCertificado")
        self._note("certificado", [] if number == said else [f"it is {number}, NoCertificado is {said!r}"])
        emisor = root.find(_EMISOR)
        rfc = None if emisor is None else emisor.get("Rfc")
        self._note(
            "certificado_rfc", [] if certificate.rfc == rfc else [f"it is {certificate.rfc}'s, not {rfc!r}'s"]
        )
        issued_at = _issued_at(root)
        if issued_at is not None:
            valid = certificate.was_valid_at(issued_at)
            dates = (
                f"from {certificate.valid_from_at.isoformat()} to {certificate.valid_until_at.isoformat()}"
            )
            self._note("certificado_vigencia", [] if valid else [f"it is valid {dates}"])
        sealed = certificate.has_sealed(sat_files.cadena_original(root), root.get("Sello", ""))
        self._note("sello", [] if sealed else ["Sello is not the certificate's seal of this document"])

    # --- is it what was sent --------------------------------------------------------------------------

    def content(self, root: etree._Element, expected: Expected) -> None:
        """Hold every field against what was sent."""
        it = as_sent.compare(expected.invoice, expected.issuer, expected.fecha, root)
        for name, question in as_sent.QUESTIONS.items():
            if it.lines or name not in as_sent.OF_EACH_LINE:
                self._note(name, question(it))

    # --- notes ----------------------------------------------------------------------------------------

    def _note(self, name: str, told: Iterable[str]) -> bool:
        """Note a check by what was found; tolerated differences are told and do not fail it."""
        differences = list(told)
        if not differences:
            self._put(name, Result.PASSED)
            return True
        faults = [difference for difference in differences if not isinstance(difference, Tolerated)]
        shown = faults or differences
        detail = "; ".join(one[:_LONGEST] for one in shown[:_TOLD])
        if len(shown) > _TOLD:
            detail += f"; and {len(shown) - _TOLD} more"
        self._put(name, Result.FAILED if faults else Result.PASSED, detail)
        return not faults

    def _put(self, name: str, result: Result, detail: str = "") -> None:
        self._found[name] = Check(name, result, detail)

    def report(self, root: etree._Element | None) -> Report:
        """Every check in its order: what was not noted was not reached."""
        checks = tuple(self._found.get(name) or self._unseen(name) for name in CHECKS)
        if root is None:
            return Report(checks)
        timbre = next(root.iter(TIMBRE), etree.Element(TIMBRE))
        uuid = timbre.get("UUID")
        return Report(
            checks,
            uuid=uuid and uuid.upper(),
            serie=root.get("Serie"),
            folio=root.get("Folio"),
            fecha_timbrado=_fecha(timbre.get("FechaTimbrado")),
            no_certificado=root.get("NoCertificado"),
            rfc_pac=timbre.get("RfcProvCertif"),
        )

    def _unseen(self, name: str) -> Check:
        if self._expected is None and name in as_sent.QUESTIONS:
            return Check(name, Result.NOT_ASKED)
        return Check(name, Result.NOT_REACHED)


def _not_one_comprobante(root: etree._Element) -> list[str]:
    told = []
    if root.tag != _COMPROBANTE:
        told.append(f"the root is {root.tag!r}")
    elif root.get("Version") != "4.0":
        told.append(f"Version is {root.get('Version')!r}")
    elif any(node is not root for node in root.iter("{*}Comprobante")):
        told.append("another Comprobante stands inside")
    return told


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
