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
from sandbox.faults import Plan
from sandbox.provider import Provider
from sandbox.records import StoredInvoice
from sandbox.refusals import Codigo, Refusal

_ACUSE: Final = "http://cancelacfd.sat.gob.mx"
# EstatusUUID of an acuse that is a no, as PACs word them.
_ESTATUS: Final = {
    "203": "UUID no corresponde al emisor",
    "204": "UUID no aplicable para cancelación",
    "205": "UUID no existe en los registros del SAT",
    "206": "UUID no corresponde a un CFDI del sector primario",
    "207": "No se especificó el motivo de cancelación o el motivo no es válido",
    "208": "Folio Sustitución inválido",
    "209": "El Folio Sustitución no es requerido",
    "210": "La fecha de solicitud de cancelación es mayor a la fecha de declaración",
    "211": "La fecha de solicitud de cancelación límite para factura global",
    "212": "Relación no válida o inexistente",
}
_NO_ACCEPTANCE_BELOW: Final = Decimal(1000)


class Cancelling:
    """The cancellation calls, over the store of a provider."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._records = provider.store.records

    def cancel(self, account: Account, body: object, plan: Plan) -> dict[str, Any] | None:
        """Ask the SAT to cancel a stamped record; what the SAT refuses is a `Refusal` (11) with its code in the words,
        or, where the account answers so (`cancel_refusal`), an acuse that says it under Codigo 1."""
        try:
            return self._cancel(account, body, plan)
        except _SatRefusal as no:
            if account.behaviour.cancel_refusal == "words":
                raise
            return {"AcuseBase64": _encoded(_acuse(no.record, self._provider.clock.now(), no.code))}

    def _cancel(self, account: Account, body: object, plan: Plan) -> dict[str, Any] | None:
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
            raise _SatRefusal(record, "205 - UUID no existe en los registros del SAT")
        refused = plan.get("cancel_refused")
        if refused or account.behaviour.acceptance == "impossible":
            code = (refused.code if refused else "") or "204"
            raise _SatRefusal(record, f"{code} - {_ESTATUS.get(code, 'El comprobante no es cancelable')}")
        self._motivo(record, body)
        state = "requested" if self._needs_acceptance(account, record, now) else "cancelled"
        acuse = _encoded(_acuse(record, now, "201"))
        cancellation = {
            "state": state,
            "motivo": body["Motivo"],
            "uuid_sustitucion": body.get("UUIDSustitucion"),
            "requested_at": now.timestamp(),
            "acuse": acuse,
            "how": None,
            "requests": 1 + (known["requests"] if known else 0),
        }
        self._records.save_cancellation(record.id, cancellation)
        odd = plan.get("odd_acuse")
        if odd:
            return _odd_acuse(self._records.get(account.name, record.id), now, odd.form, odd.code)
        return {"AcuseBase64": acuse} | self._records.get(account.name, record.id).states

    def settle(self, account: Account, record: StoredInvoice) -> StoredInvoice:
        """The record as it stands now: a request whose time of acceptance is over is a cancellation."""
        known, wait = record.cancellation, account.behaviour.acceptance_seconds
        if known is None or known["state"] != "requested" or wait is None:
            return record
        if self._provider.clock.now().timestamp() - known["requested_at"] < wait:
            return record
        if known["requests"] > 1:
            return record  # after a refusal the SAT sets no term
        return self.decide(account, record, "expired")

    def decide(self, account: Account, record: StoredInvoice, state: str) -> StoredInvoice:
        """Play the receptor: `cancelled` (accepted), `refused`, or `expired` (silence for the whole term, which is
        acceptance). Raises ValueError where nothing was requested."""
        known = record.cancellation
        if known is None:
            raise ValueError(f"no cancellation of record {record.id} was requested")
        how = {"cancelled": "accepted", "expired": "expired"}.get(state)
        decided = {"state": "refused" if how is None else "cancelled", "how": how}
        self._records.save_cancellation(record.id, known | decided)
        return self._records.get(account.name, record.id)

    def cancelable(self, account: Account, record: StoredInvoice) -> str:
        """EsCancelable, as the SAT words it."""
        if account.behaviour.acceptance == "impossible":
            return "No cancelable"
        asks = self._needs_acceptance(account, record, self._provider.clock.now())
        return f"Cancelable {'con' if asks else 'sin'} aceptación"

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

    def _motivo(self, record: StoredInvoice, body: Mapping[str, Any]) -> None:
        motivo, substitute = body.get("Motivo"), body.get("UUIDSustitucion")
        if motivo not in ("01", "02", "03", "04"):
            raise _SatRefusal(
                record, "207 - No se especificó el motivo de cancelación o el motivo no es válido"
            )
        if motivo != "01":
            if substitute:
                raise _SatRefusal(record, "209 - El Folio Sustitución no es requerido")
            return
        other = self._records.with_uuid(substitute) if isinstance(substitute, str) else None
        if other is None or other.xml is None or other.uuid == record.uuid:
            raise _SatRefusal(record, "208 - Folio Sustitución inválido")
        if not _replaces(other.xml, record.uuid or ""):
            raise _SatRefusal(
                record, "208 - El Folio Sustitución no está relacionado (04) con el CFDI que se cancela"
            )

    def _needs_acceptance(self, account: Account, record: StoredInvoice, now: datetime) -> bool:
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


class _SatRefusal(Refusal):
    """What the SAT refuses, by the number at the head of the text (EstatusUUID of an acuse)."""

    def __init__(self, record: StoredInvoice, text: str) -> None:
        super().__init__(Codigo.CANCELLATION, text)
        self.record = record
        self.code = text[:3]


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


def _acuse(record: StoredInvoice, now: datetime, estatus: str | None) -> bytes:
    """The SAT's answer to the request, as it words it (its own XML signature apart); without folios for None."""
    root = etree.Element(f"{{{_ACUSE}}}Acuse", nsmap={None: _ACUSE})
    root.set("Fecha", sat_list.local_time(now, "06000").isoformat(timespec="seconds"))
    emisor = etree.fromstring(record.xml or b"").find(f"{{{sat_files.CFDI}}}Emisor")
    root.set("RfcEmisor", "" if emisor is None else emisor.get("Rfc", ""))
    folios = etree.SubElement(root, f"{{{_ACUSE}}}Folios")
    if estatus is not None:
        etree.SubElement(folios, f"{{{_ACUSE}}}UUID").text = record.uuid
        etree.SubElement(folios, f"{{{_ACUSE}}}EstatusUUID").text = estatus
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def _odd_acuse(record: StoredInvoice, now: datetime, form: str, code: str) -> dict[str, Any] | None:
    """An answer to a request that was taken, which says it badly or not at all."""
    match form:
        case "null":
            return None
        case "none":
            return {"Estatus": "OK"}
        case "empty":
            return {"AcuseBase64": _encoded(_acuse(record, now, None))}
        case "garbage":
            return {"AcuseBase64": "<<no es base64>>"}
        case _:
            return {"AcuseBase64": _encoded(_acuse(record, now, code or "202"))}


def _encoded(acuse: bytes) -> str:
    return base64.b64encode(acuse).decode("ascii")
