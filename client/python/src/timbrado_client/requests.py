"""What an application can ask for besides stamping, as the payloads of the contract, checked before they leave.

Only the shape is checked here. Whether the invoice is stamped, the substitute related, or the key good is the worker's
to find out, and it answers with an event.
"""

import re
from collections.abc import Mapping
from typing import Any

from timbrado_client import ids
from timbrado_client.errors import RequestInvalid
from timbrado_client.explain import NOT_YOUR_FAULT
from timbrado_client.faults import Fault
from timbrado_client.invoice import Invoice
from timbrado_client.labels import label_of
from timbrado_client.reading import check

MOTIVOS = {
    "01": "otra factura la sustituye",
    "02": "tiene errores y ninguna la sustituye",
    "03": "la operación no se llevó a cabo",
    "04": "ya está en una factura global",
}
"""Why an invoice may be cancelled, by the SAT's key."""
MAX_ID = 200
"""Characters of `account` and of `external_id`."""
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")

Payload = dict[str, Any]


def cancellation(account: str, external_id: str, motivo: str, uuid_sustitucion: str | None) -> Payload:
    """Return the arguments of `stamping.cancel_invoice`; raise RequestInvalid with all that is wrong."""
    faults = _names(account=account, external_id=external_id)
    sustitucion = str(uuid_sustitucion) if uuid_sustitucion is not None else None
    if motivo not in MOTIVOS:
        faults.append(
            Fault(
                "CANC207",
                "motivo",
                f"El motivo de cancelación «{str(motivo)[:10]}» no existe.",
                f"Elige uno de estos: {'; '.join(f'{key} ({says})' for key, says in MOTIVOS.items())}.",
            )
        )
    elif motivo == "01" and (sustitucion is None or not _UUID.fullmatch(sustitucion)):
        faults.append(
            Fault(
                "CANC208",
                "uuid_sustitucion",
                "Falta el folio fiscal de la factura que sustituye a esta.",
                "Timbra primero la que la sustituye, relacionada con esta como sustitución, y elígela al cancelar.",
            )
        )
    elif motivo != "01" and sustitucion is not None:
        faults.append(
            Fault(
                "CANC209",
                "uuid_sustitucion",
                f"El motivo {motivo} ({MOTIVOS[motivo]}) no lleva una factura que la sustituya.",
                "Quita la factura que la sustituye, o elige el motivo 01.",
            )
        )
    _refuse(faults)
    payload = {"account": account, "external_id": external_id, "motivo": motivo}
    return payload if sustitucion is None else {**payload, "uuid_sustitucion": sustitucion}


def of_invoice(account: str, external_id: str) -> Payload:
    """Return the arguments of `stamping.retry_invoice` and `withdraw_invoice`; raise RequestInvalid."""
    _refuse(_names(account=account, external_id=external_id))
    return {"account": account, "external_id": external_id}


def replacement(account: str, external_id: str, invoice: Invoice | Mapping[str, Any]) -> Payload:
    """Return the arguments of `stamping.replace_invoice`; raise RequestInvalid, or InvoiceInvalid for the new one."""
    payload = of_invoice(account, external_id)
    new = check(invoice)
    if new["account"] != account or new["external_id"] == external_id:
        name = "account" if new["account"] != account else "external_id"
        says = "is another account's" if name == "account" else "has the external_id of the one it replaces"
        raise RequestInvalid(
            [_sent_wrong("timbrado.identificador", f"invoice.{name}", f"the new one {says}")]
        )
    return {**payload, "invoice": new}


def of_account(account: str) -> Payload:
    """Return the arguments of `stamping.validate_connection` and `disconnect`; raise RequestInvalid."""
    _refuse(_names(account=account))
    return {"account": account}


def connection(account: str, api_key: object, facts: Mapping[str, object]) -> Payload:
    """Return the arguments of `stamping.connect` less the key; raise RequestInvalid. What is None is left out."""
    faults = _names(account=account)
    if not isinstance(api_key, str):
        faults.append(_sent_wrong("timbrado.tipo", "api_key", "expected is a string, as it was pasted"))
    for name in ("rfc", "razon_social", "codigo_postal"):
        value = facts.get(name)
        if value is None or value == "":
            faults.append(
                Fault(
                    "timbrado.falta",
                    name,
                    f"Falta un dato: {label_of(name)}.",
                    "Complétalo en los datos fiscales de tu cuenta en Apunto y conéctala de nuevo.",
                    whose="user",
                )
            )
        elif not isinstance(value, str) or not value.strip():
            faults.append(_sent_wrong("timbrado.tipo", name, "expected is a string that is more than blanks"))
    for name in ("serie", "base_url"):
        if facts.get(name) is not None and not isinstance(facts[name], str):
            faults.append(_sent_wrong("timbrado.tipo", name, "expected is a string"))
    if isinstance(facts.get("empresa_id"), bool) or not isinstance(facts.get("empresa_id"), int | str | None):
        faults.append(_sent_wrong("timbrado.tipo", "empresa_id", "expected is a number"))
    given = facts.get("ids")
    if isinstance(given, Mapping):
        faults += ids.faults_of(given)
    elif given is not None:
        faults.append(_sent_wrong("timbrado.tipo", "ids", "expected is an object"))
    _refuse(faults)
    return {"account": account, **{name: value for name, value in facts.items() if value is not None}}


def _names(**names: object) -> list[Fault]:
    """Find fault with an identifier that the worker could not answer to."""
    faults = []
    for name, value in names.items():
        if not isinstance(value, str) or not value.strip():
            faults.append(
                _sent_wrong("timbrado.identificador", name, "expected is a string that is not empty")
            )
        elif len(value) > MAX_ID or not value.isprintable():
            faults.append(
                _sent_wrong(
                    "timbrado.identificador", name, f"at most {MAX_ID} characters, all of them printable"
                )
            )
    return faults


def _sent_wrong(code: str, field: str, detail: str) -> Fault:
    message = f"Apunto envió mal un dato: {label_of(field) or field}."
    return Fault(code, field, message, NOT_YOUR_FAULT, whose="apunto", detail=detail)


def _refuse(faults: list[Fault]) -> None:
    if faults:
        raise RequestInvalid(faults)
