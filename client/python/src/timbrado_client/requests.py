"""What an application can ask for besides stamping, as the payloads of the contract, checked before they leave.

The one thing a newcomer would get wrong: only the shape is checked here. Whether the invoice is stamped, the
substitute related, or the key good is the worker's to find out, and it answers with an event.
"""

import re
from collections.abc import Mapping
from typing import Any

from timbrado_client.errors import RequestInvalid
from timbrado_client.faults import Fault

MOTIVOS = ("01", "02", "03", "04")
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
            _fault(
                "CANC207",
                "motivo",
                f"El motivo de cancelación «{str(motivo)[:10]}» no existe.",
                "Usa 01, 02, 03 o 04.",
            )
        )
    elif motivo == "01" and (sustitucion is None or not _UUID.fullmatch(sustitucion)):
        faults.append(
            _fault(
                "CANC208",
                "uuid_sustitucion",
                "El motivo 01 necesita el folio fiscal (UUID) de la factura que la sustituye.",
                "Timbra primero la que la sustituye, con relación 04 a esta, y envía su folio fiscal.",
            )
        )
    elif motivo != "01" and sustitucion is not None:
        faults.append(
            _fault(
                "CANC209",
                "uuid_sustitucion",
                f"El motivo {motivo} no lleva folio fiscal de sustitución.",
                "Quítalo, o usa el motivo 01 si otra factura la sustituye.",
            )
        )
    _refuse(faults)
    payload = {"account": account, "external_id": external_id, "motivo": motivo}
    return payload if sustitucion is None else {**payload, "uuid_sustitucion": sustitucion}


def retrial(account: str, external_id: str) -> Payload:
    """Return the arguments of `stamping.retry_invoice`; raise RequestInvalid."""
    _refuse(_names(account=account, external_id=external_id))
    return {"account": account, "external_id": external_id}


def of_account(account: str) -> Payload:
    """Return the arguments of `stamping.validate_connection` and `disconnect`; raise RequestInvalid."""
    _refuse(_names(account=account))
    return {"account": account}


def connection(account: str, api_key: object, facts: Mapping[str, object]) -> Payload:
    """Return the arguments of `stamping.connect` less the key; raise RequestInvalid. What is None is left out."""
    faults = _names(account=account)
    if not isinstance(api_key, str):
        faults.append(
            _fault("timbrado.tipo", "api_key", "El API Key no es un texto.", "Envíalo como se pegó.")
        )
    for name in ("rfc", "razon_social", "codigo_postal"):
        value = facts.get(name)
        if not isinstance(value, str) or not value.strip():
            faults.append(
                _fault("timbrado.falta", name, f"Falta {name} de la cuenta.", f"Agrega {name} como texto.")
            )
    for name in ("serie", "base_url"):
        if facts.get(name) is not None and not isinstance(facts[name], str):
            faults.append(_fault("timbrado.tipo", name, f"{name} no es un texto.", "Envía un texto."))
    if isinstance(facts.get("empresa_id"), bool) or not isinstance(facts.get("empresa_id"), int | str | None):
        faults.append(
            _fault("timbrado.tipo", "empresa_id", "empresa_id no es un número.", "Envía un número.")
        )
    _refuse(faults)
    return {"account": account, **{name: value for name, value in facts.items() if value is not None}}


def _names(**names: object) -> list[Fault]:
    """Find fault with an identifier that the worker could not answer to."""
    faults = []
    for name, value in names.items():
        if not isinstance(value, str) or not value.strip():
            faults.append(_fault("timbrado.falta", name, f"Falta {name}.", f"Envía {name} como texto."))
        elif len(value) > MAX_ID or not value.isprintable():
            faults.append(
                _fault(
                    "timbrado.identificador",
                    name,
                    f"{name} es demasiado largo o trae caracteres que no se pueden ver.",
                    f"Usa a lo más {MAX_ID} caracteres, sin saltos de línea.",
                )
            )
    return faults


def _fault(code: str, field: str, message: str, fix: str) -> Fault:
    return Fault(code=code, field=field, message=message, fix=fix)


def _refuse(faults: list[Fault]) -> None:
    if faults:
        raise RequestInvalid(faults)
