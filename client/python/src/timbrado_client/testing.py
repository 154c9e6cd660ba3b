"""A worker to test an application against: no broker, no database, no ContaDigital, and every ending on request.

    from timbrado_client.testing import FakeTimbrado

    timbrado = FakeTimbrado()                  # in the place of timbrado_client.Timbrado
    timbrado.plays["OP-2"] = "rejected"        # or stamped (the default), on_hold, in_doubt

    timbrado.submit(invoice)
    for headers, body in timbrado.webhooks(secret):
        client.post("/hooks/timbrado", body, headers=headers)

It checks what it is sent as the worker's client does and keeps the contract's rules: the same invoice twice is one, a
stamped one is never changed, versions grow. It knows no catalogue, no sum and no rule of the SAT.
"""

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from timbrado_client import requests
from timbrado_client.errors import NotThere
from timbrado_client.events import Event, InvoiceData, parse
from timbrado_client.faults import Fault
from timbrado_client.invoice import Invoice
from timbrado_client.reading import check
from timbrado_client.sending import Sent

Ending = Literal["stamped", "rejected", "on_hold", "in_doubt"]

REJECTION = Fault(
    "CFDI40147",
    "receptor.domicilio_fiscal_receptor",
    "El código postal no es el del domicilio fiscal de tu cliente.",
    "Escribe el que está en su Constancia de Situación Fiscal.",
)
"""What an invoice that is to be rejected is rejected for; `errors` of FakeTimbrado says otherwise."""
_MESSAGES = {
    "accepted": "Recibimos tu factura y está en la fila para timbrarse. No tienes que hacer nada.",
    "stamped": "Factura timbrada.",
    "rejected": "La factura no se timbró: hay un dato por corregir. Corrígelo y envíala de nuevo.",
    "on_hold": "Tu factura está en pausa y seguirá sola cuando la conexión funcione; no la envíes de nuevo.",
    "in_doubt": "Se perdió la respuesta de ContaDigital. Lo estamos consultando; no la envíes de nuevo.",
    "cancelled": "La factura se canceló ante el SAT.",
    "withdrawn": "La factura se retiró antes de timbrarse.",
    "conflict": "Esta factura ya se timbró con otros datos, así que no cambiamos nada.",
    "no_such": "No encontramos la factura de esta solicitud, así que no hicimos nada.",
}
_OPEN = ("on_hold", "in_doubt")


class FakeTimbrado:
    """Takes the requests of `Timbrado` and emits the events that the worker would."""

    def __init__(self, *, errors: tuple[Fault, ...] = (REJECTION,)) -> None:
        self.plays: dict[str, Ending] = {}
        """How the invoice of an external_id ends; stamped where nothing is set."""
        self.sent: list[tuple[str, dict[str, Any]]] = []
        """Every request: the task's name and its arguments."""
        self._errors = errors
        self._invoices: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]] = {}
        self._connections: dict[str, int] = {}
        self._events: list[tuple[str, dict[str, Any]]] = []

    # -- what an application calls

    def submit(self, invoice: Invoice | Mapping[str, Any], *, trace_id: str | None = None) -> Sent:
        """Play an invoice to the end that `plays` gives it."""
        raw = check(invoice)
        account, external_id = raw["account"], raw["external_id"]
        content, data = self._invoices.get((account, external_id), (None, None))
        if content is not None and data is not None:
            if content == raw:
                self._emit(data["status"], data)
            elif data["status"] in {"rejected", "on_hold"}:
                self._play(raw, data)
            else:
                self._refuse(account, external_id, "conflict", "timbrado.conflict")
        else:
            self._play(raw, {"invoice_id": str(uuid.uuid4()), "version": 0})
        return self._record("stamping.submit_invoice", {"invoice": raw}, trace_id)

    def cancel(
        self,
        account: str,
        external_id: str,
        motivo: str,
        uuid_sustitucion: str | None = None,
        *,
        trace_id: str | None = None,
    ) -> Sent:
        """Cancel a stamped invoice at once."""
        payload = requests.cancellation(account, external_id, motivo, uuid_sustitucion)
        self._move(account, external_id, {"stamped"}, "cancelled")
        return self._record("stamping.cancel_invoice", payload, trace_id)

    def retry(self, account: str, external_id: str, *, trace_id: str | None = None) -> Sent:
        """Go on with an invoice that is on hold or in doubt; of any other, only its status is emitted."""
        payload = requests.of_invoice(account, external_id)
        self.settle(account, external_id)
        return self._record("stamping.retry_invoice", payload, trace_id)

    def withdraw(self, account: str, external_id: str, *, trace_id: str | None = None) -> Sent:
        """Take back an invoice that is rejected or on hold; one in doubt turns out to be stamped."""
        payload = requests.of_invoice(account, external_id)
        if self.read(account, external_id).status == "in_doubt":
            self.settle(account, external_id)
        else:
            self._move(account, external_id, {"rejected", "on_hold"}, "withdrawn")
        return self._record("stamping.withdraw_invoice", payload, trace_id)

    def replace(
        self,
        account: str,
        external_id: str,
        invoice: Invoice | Mapping[str, Any],
        *,
        trace_id: str | None = None,
    ) -> Sent:
        """Stamp the new invoice, and cancel the old one once it is stamped."""
        payload = requests.replacement(account, external_id, invoice)
        self.submit(payload["invoice"])
        self.sent.pop()
        if self.read(account, payload["invoice"]["external_id"]).status == "stamped":
            self._move(account, external_id, {"stamped"}, "cancelled")
        return self._record("stamping.replace_invoice", payload, trace_id)

    def connect(
        self,
        account: str,
        api_key: str,
        rfc: str,
        razon_social: str,
        codigo_postal: str,
        *,
        trace_id: str | None = None,
        **more: Any,
    ) -> Sent:
        """Validate a connection at once, and go on with what was on hold for it."""
        facts = {"rfc": rfc, "razon_social": razon_social, "codigo_postal": codigo_postal, **more}
        payload = requests.connection(account, api_key, facts)
        self.connection(account, "active")
        for (owner, external_id), (_, data) in self._invoices.items():
            if owner == account and data["status"] == "on_hold":
                self.settle(account, external_id)
        return self._record("stamping.connect", payload, trace_id)

    def validate_connection(self, account: str, *, trace_id: str | None = None) -> Sent:
        """Find the connection good."""
        self.connection(account, "active")
        return self._record("stamping.validate_connection", requests.of_account(account), trace_id)

    def disconnect(self, account: str, *, trace_id: str | None = None) -> Sent:
        """Forget the connection."""
        return self._record("stamping.disconnect", requests.of_account(account), trace_id)

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    # -- what a test calls

    def read(self, account: str, external_id: str) -> InvoiceData:
        """Return where an invoice stands, as `timbrado_client.http.Api.read` does. Raises NotThere."""
        try:
            return InvoiceData.model_validate(self._invoices[account, external_id][1])
        except KeyError:
            raise NotThere(f"no invoice {account}/{external_id}") from None

    def settle(self, account: str, external_id: str) -> None:
        """End what is on hold or in doubt: the connection was corrected, the look-up found the stamp."""
        self._move(account, external_id, set(_OPEN), "stamped")

    def connection(
        self, account: str, status: str, reason: str | None = None, message: str = "", fix: str | None = None
    ) -> None:
        """Emit that a connection is active or broken: `connection("acme", "broken", "key_rejected", ...)`."""
        version = self._connections[account] = self._connections.get(account, 0) + 1
        data = {"account": account, "connection_id": f"connection-{account}", "version": version}
        facts: dict[str, Any] = {
            "status": status,
            "reason": reason,
            "message": message,
            "fix": fix,
            "errors": [],
        }
        self._events.append((f"connection.{status}", {**data, **facts, "stamps_left": None}))

    def events(self) -> Iterator[Event]:
        """Take the events that have not been taken, in their order."""
        for _, event in self._taken():
            yield parse(event)

    def webhooks(self, secret: str) -> Iterator[tuple[dict[str, str], bytes]]:
        """Take them as signed webhooks: (headers, body) of each."""
        for message_id, event in self._taken():
            body = json.dumps(event, ensure_ascii=False).encode()
            yield sign(body, secret, message_id), body

    # -- the rest

    def _play(self, raw: dict[str, Any], data: dict[str, Any]) -> None:
        ending = self.plays.get(raw["external_id"], "stamped")
        data = {**data, "account": raw["account"], "external_id": raw["external_id"], "errors": []}
        self._invoices[raw["account"], raw["external_id"]] = (raw, data)
        if ending in {"stamped", "in_doubt"}:
            self._advance(data, "accepted")
        self._advance(data, ending)

    def _move(self, account: str, external_id: str, sources: set[str], target: str) -> None:
        """Move an invoice that stands at one of the sources; of another, emit where it stands."""
        _, data = self._invoices.get((account, external_id), (None, None))
        if data is None:
            self._refuse(account, external_id, "no_such", "timbrado.no_existe")
        elif data["status"] in sources:
            self._advance(data, target)
        else:
            self._emit(data["status"], data)

    def _advance(self, data: dict[str, Any], status: str) -> None:
        data |= {"status": status, "message": _MESSAGES[status], "version": data["version"] + 1}
        data["errors"] = [fault.as_dict() for fault in self._errors] if status == "rejected" else []
        if status == "stamped" and not data.get("uuid"):
            folio_fiscal = str(uuid.uuid4()).upper()
            key = f"{data['account']}/{folio_fiscal.lower()}.xml"
            data |= {"uuid": folio_fiscal, "serie": "A", "folio": str(1000 + len(self._invoices))}
            data["fecha_timbrado"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
            data["documents"] = [
                {"kind": "xml", "key": key, "sha256": hashlib.sha256(key.encode()).hexdigest(), "bytes": 1}
            ]
        self._emit(status, data)

    def _emit(self, status: str, data: Mapping[str, Any]) -> None:
        self._events.append((f"invoice.{status}", {"warnings": [], "documents": [], **data}))

    def _refuse(self, account: str, external_id: str, message: str, code: str) -> None:
        fault = Fault(code, "external_id", _MESSAGES[message], "Revisa de qué factura se trata.")
        facts: dict[str, Any] = {
            "version": 1,
            "status": "refused",
            "message": _MESSAGES[message],
            "invoice_id": None,
        }
        self._events.append(
            (
                "request.refused",
                {**facts, "account": account, "external_id": external_id, "errors": [fault.as_dict()]},
            )
        )

    def _taken(self) -> Iterator[tuple[str, dict[str, Any]]]:
        while self._events:
            type_, data = self._events.pop(0)
            message_id = str(uuid.uuid4())
            yield (
                message_id,
                {"type": type_, "timestamp": datetime.now(UTC).isoformat(), "data": data, "id": message_id},
            )

    def _record(self, task: str, payload: dict[str, Any], trace_id: str | None) -> Sent:
        self.sent.append((task, payload))
        message_id = str(uuid.uuid4())
        return Sent(task, message_id, trace_id or message_id)


def sign(body: bytes, secret: str, message_id: str, *, at: float | None = None) -> dict[str, str]:
    """Return the headers of a Standard Webhook with this body; `at` is in seconds since 1970."""
    timestamp = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.partition("_")[2])
    signature = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }
