"""The SAT's public status service (ConsultaCFDIService, SOAP) over the sandbox's records.

A client asks with the expression that the QR holds: RFC of emisor and receptor, total, UUID. Field names, values and
namespaces are the SAT's (Documentación del Servicio de Consulta de CFDI, 1.3; values as public clients list them).
"""

from __future__ import annotations

import html
import re
from decimal import Decimal, InvalidOperation
from typing import Final

from lxml import etree

from cfdi.sat import files as sat_files
from sandbox.cancelling import Cancelling
from sandbox.fault_player import HttpAnswer
from sandbox.provider import Provider
from sandbox.records import StoredInvoice

PATH: Final = "/sat/ConsultaCFDIService.svc"
_SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
_TEMPURI: Final = "http://tempuri.org/"
_DATA: Final = "http://schemas.datacontract.org/2004/07/Sat.Cfdi.Negocio.ConsultaCfdi.Servicio"
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
_FIELD: Final = re.compile(r"(?:^\?|&)(re|rr|tt|id|fe)=")

_FOUND: Final = "S - Comprobante obtenido satisfactoriamente."
_INVALID: Final = "N - 601: La expresión impresa proporcionada no es válida."
_NOT_FOUND: Final = "N - 602: Comprobante no encontrado."
_NOT_LISTED: Final = "200"  # the emisor is not on the list of article 69-B


class SandboxSat:
    """Answers the one operation of the service."""

    def __init__(self, provider: Provider, cancelling: Cancelling) -> None:
        self._provider = provider
        self._cancelling = cancelling

    def record_of(self, raw: bytes) -> StoredInvoice | None:
        """The record that a request names by UUID, whether or not the rest is right."""
        facts = _expression(raw)
        return None if facts is None else self._provider.store.records.with_uuid(facts.get("id", ""))

    def answer(self, raw: bytes) -> HttpAnswer:
        """How a CFDI stands at the SAT: XML, always under HTTP 200, but for what is no SOAP."""
        facts = _expression(raw)
        if facts is None:
            return HttpAnswer(
                500, _fault("The message is not a Consulta."), "text/xml; charset=utf-8", "http:500"
            )
        if not {"re", "rr", "tt", "id"} <= facts.keys():
            return _result(_INVALID, "No Encontrado")
        record = self.record_of(raw)
        if (
            record is None
            or record.xml is None
            or not self._is_known(record)
            or not _matches(record.xml, facts)
        ):
            return _result(_NOT_FOUND, "No Encontrado")
        account = self._provider.account(record.account)
        record = self._cancelling.settle(account, record)
        states = record.states
        cancelled = states["Estado"] == "Cancelado"
        cancelable = "No cancelable" if cancelled else self._cancelling.cancelable(account, record)
        return _result(_FOUND, states["Estado"], cancelable, states["EstatusCancelacion"])

    def _is_known(self, record: StoredInvoice) -> bool:
        """The SAT learns of a stamp some time after it."""
        age = self._provider.clock.now().timestamp() - (record.stamped_at or 0)
        return age >= self._provider.account(record.account).behaviour.unknown_uuid_seconds


def _expression(raw: bytes) -> dict[str, str] | None:
    """The parts of expresionImpresa; None for what is no request of the service."""
    try:
        root = etree.fromstring(raw, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError:
        return None
    found = root.find(f".//{{{_TEMPURI}}}Consulta/{{{_TEMPURI}}}expresionImpresa")
    if found is None:
        return None
    # An & in an RFC comes as &amp; within the expression; the parts are found by their names.
    parts = _FIELD.split((found.text or "").strip())[1:]
    return {name: html.unescape(value) for name, value in zip(parts[::2], parts[1::2], strict=True)}


def _matches(xml: bytes, facts: dict[str, str]) -> bool:
    root = etree.fromstring(xml)
    emisor, receptor = (root.find(f"{{{sat_files.CFDI}}}{name}") for name in ("Emisor", "Receptor"))
    if emisor is None or receptor is None:
        return False
    try:
        same_total = Decimal(facts["tt"]) == Decimal(root.get("Total", "0"))
    except InvalidOperation:
        return False
    seal = facts.get("fe")
    return (
        same_total
        and (facts["re"], facts["rr"]) == (emisor.get("Rfc"), receptor.get("Rfc"))
        and (seal is None or root.get("Sello", "").endswith(seal))
    )


def _result(codigo: str, estado: str, cancelable: str = "", cancelacion: str = "") -> HttpAnswer:
    root = etree.Element(f"{{{_SOAP}}}Envelope", nsmap={"s": _SOAP})
    body = etree.SubElement(root, f"{{{_SOAP}}}Body")
    response = etree.SubElement(body, f"{{{_TEMPURI}}}ConsultaResponse", nsmap={None: _TEMPURI})
    result = etree.SubElement(response, f"{{{_TEMPURI}}}ConsultaResult", nsmap={"a": _DATA, "i": _XSI})
    for name, value in (
        ("CodigoEstatus", codigo),
        ("EsCancelable", cancelable),
        ("Estado", estado),
        ("EstatusCancelacion", cancelacion),
        ("ValidacionEFOS", _NOT_LISTED if codigo == _FOUND else ""),
    ):
        etree.SubElement(result, f"{{{_DATA}}}{name}").text = value or None
    return HttpAnswer(
        200, etree.tostring(root), "text/xml; charset=utf-8", "ok" if codigo == _FOUND else codigo[4:7]
    )


def _fault(text: str) -> bytes:
    root = etree.Element(f"{{{_SOAP}}}Envelope", nsmap={"s": _SOAP})
    fault = etree.SubElement(etree.SubElement(root, f"{{{_SOAP}}}Body"), f"{{{_SOAP}}}Fault")
    etree.SubElement(fault, "faultcode").text = "s:Client"
    etree.SubElement(fault, "faultstring").text = text
    return etree.tostring(root)
