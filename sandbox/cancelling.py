"""Cancelling before the SAT (DELETE /api/cfdi.json), and mailing documents.

The SAT's 201 says that the request was received, not that the CFDI is
cancelled. Where the receptor must accept (RMF 2.7.1.34), the record stays `Cancelacion solicitada` until the receptor
does, or refuses.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from lxml import etree

from cfdi.sat import files as sat_files
from sandbox import sat_list
from sandbox.accounts import Account
from sandbox.provider import Provider
from sandbox.records import Record
from sandbox.refusals import Codigo, Refusal
from sandbox.scenarios import Plan

_ACUSE: Final = "http://cancelacfd.sat.gob.mx"
_NO_ACCEPTANCE_BELOW: Final = Decimal(1000)


class Cancelling:
    """The cancellation calls, over the store of a provider."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._records = provider.store.records

    def cancel(self, account: Account, body: object, plan: Plan) -> dict[str, Any]:
        """Ask the SAT to cancel a stamped record; raises `Refusal` (11) with the SAT's code in its text."""
        if not isinstance(body, dict):
            raise _no("El cuerpo debe ser un objeto")
        self._provider.check_empresa(account, body.get("IdEmpresa"))
        record_id = body.get("IdFactura")
        record = self._records.find(account.name, record_id) if isinstance(record_id, int) else None
        if record is None:
            raise Refusal(Codigo.NOT_FOUND, "No se encontró la factura")
        if record.uuid is None or record.xml is None:
            raise _no("El comprobante no está timbrado")
        record = self.settle(account, record)
        known = record.cancellation
        if known is not None and known["state"] != "refused":
            return {"AcuseBase64": known["acuse"]} | record.states
        now = self._provider.clock.now()
        if now.timestamp() - (record.stamped_at or 0) < account.behaviour.unknown_uuid_seconds:
            raise _no("205 - UUID no existe en los registros del SAT")
        refused = plan.get("cancel_refused")
        if refused:
            raise _no(f"{refused.code or '204'} - El comprobante no es cancelable")
        self._motivo(record, body)
        state = "requested" if self._needs_acceptance(account, record, now) else "cancelled"
        acuse = base64.b64encode(_acuse(record, now)).decode("ascii")
        cancellation = {
            "state": state,
            "motivo": body["Motivo"],
            "uuid_sustitucion": body.get("UUIDSustitucion"),
            "requested_at": now.timestamp(),
            "acuse": acuse,
            "accepted": False,
            "requests": 1 + (known["requests"] if known else 0),
        }
        self._records.save_cancellation(record.id, cancellation)
        return {"AcuseBase64": acuse} | self._records.get(account.name, record.id).states

    def settle(self, account: Account, record: Record) -> Record:
        """The record as it stands now: a request whose time of acceptance is over is a cancellation."""
        known, wait = record.cancellation, account.behaviour.acceptance_seconds
        if known is None or known["state"] != "requested" or wait is None:
            return record
        if self._provider.clock.now().timestamp() - known["requested_at"] < wait:
            return record
        return self.decide(account, record, "cancelled")

    def decide(self, account: Account, record: Record, state: str) -> Record:
        """Play the receptor: `cancelled` (accepted) or `refused`; raises ValueError where nothing was requested."""
        known = record.cancellation
        if known is None:
            raise ValueError(f"no cancellation of record {record.id} was requested")
        self._records.save_cancellation(record.id, known | {"state": state, "accepted": state == "cancelled"})
        return self._records.get(account.name, record.id)

    def mail(self, account: Account, record_id: int, email: str) -> None:
        """Send the documents of a stamped record to an address."""
        record = self._records.find(account.name, record_id)
        if record is None:
            raise Refusal(Codigo.NOT_FOUND, "No se encontró la factura")
        if record.uuid is None:
            raise Refusal(Codigo.MAIL, "El comprobante no está timbrado")
        if "@" not in email:
            raise Refusal(Codigo.MAIL, "El correo no es válido")
        self._provider.store.ledger.add_mail(account.name, record.id, email, self._provider.clock.now())

    def _motivo(self, record: Record, body: Mapping[str, Any]) -> None:
        motivo, substitute = body.get("Motivo"), body.get("UUIDSustitucion")
        if motivo not in ("01", "02", "03", "04"):
            raise _no("207 - No se especificó el motivo de cancelación o el motivo no es válido")
        if motivo != "01":
            if substitute:
                raise _no("209 - El Folio Sustitución no es requerido")
            return
        other = self._records.with_uuid(substitute) if isinstance(substitute, str) else None
        if other is None or other.xml is None or other.uuid == record.uuid:
            raise _no("208 - Folio Sustitución inválido")
        if not _replaces(other.xml, record.uuid or ""):
            raise _no("208 - El Folio Sustitución no está relacionado (04) con el CFDI que se cancela")

    def _needs_acceptance(self, account: Account, record: Record, now: datetime) -> bool:
        if account.behaviour.acceptance != "sat":
            return account.behaviour.acceptance == "always"
        root = etree.fromstring(record.xml or b"")
        receptor = root.find(f"{{{sat_files.CFDI}}}Receptor")
        if (
            receptor is None
            or receptor.get("Rfc") in sat_list.GENERIC
            or root.get("TipoDeComprobante") == "E"
        ):
            return False
        pesos = Decimal(root.get("Total", "0")) * Decimal(root.get("TipoCambio", "1"))
        if pesos <= _NO_ACCEPTANCE_BELOW:
            return False
        issued_at = datetime.fromtimestamp(record.stamped_at or 0, UTC)
        return now > _next_business_day(issued_at)


def _no(text: str) -> Refusal:
    return Refusal(Codigo.CANCELLATION, text)


def _replaces(xml: bytes, uuid: str) -> bool:
    root = etree.fromstring(xml)
    return any(
        node.get("UUID", "").upper() == uuid
        for related in root.findall(f"{{{sat_files.CFDI}}}CfdiRelacionados")
        if related.get("TipoRelacion") == "04"
        for node in related
    )


def _next_business_day(issued_at: datetime) -> datetime:
    """The end of the business day after the issue (RMF 2.7.1.35); Saturdays and Sundays are none."""
    day = issued_at + timedelta(days=1)
    while day.weekday() >= 5:
        day += timedelta(days=1)
    return day.replace(hour=23, minute=59, second=59)


def _acuse(record: Record, now: datetime) -> bytes:
    """The SAT's answer to the request, as it words it (its own XML signature apart)."""
    root = etree.Element(f"{{{_ACUSE}}}Acuse", nsmap={None: _ACUSE})
    root.set("Fecha", sat_list.local_time(now, "06000").isoformat(timespec="seconds"))
    emisor = etree.fromstring(record.xml or b"").find(f"{{{sat_files.CFDI}}}Emisor")
    root.set("RfcEmisor", "" if emisor is None else emisor.get("Rfc", ""))
    folios = etree.SubElement(root, f"{{{_ACUSE}}}Folios")
    etree.SubElement(folios, f"{{{_ACUSE}}}UUID").text = record.uuid
    etree.SubElement(folios, f"{{{_ACUSE}}}EstatusUUID").text = "201"
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")
