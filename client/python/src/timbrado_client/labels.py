"""Spanish labels of fields, statuses and reasons, for whoever shows them to a person.

A field's label is made from its path in the invoice and the titles of the invoice's models, so that every field of
the schema has one: `conceptos[2].nombre` is "Nombre del producto, línea 3".
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import get_args

from pydantic import BaseModel

from timbrado_client.invoice import CfdiRelacionados, Invoice

Model = type[BaseModel]

_STEP = re.compile(r"([^.\[\]]+)|\[(\d*)\]")
_WITHIN = {
    "traslados": "impuesto trasladado",
    "retenciones": "impuesto retenido",
    "impuestos": "resumen de impuestos",
}
"""Nodes by which fields of one name are distinguished: a base, an importe and a tasa are in several."""


def node_in(annotation: object) -> tuple[Model | None, bool]:
    """Return the node a field holds and whether it holds many: (Concepto, True) for conceptos."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    arguments = get_args(annotation)
    for argument in arguments:
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return argument, Ellipsis in arguments
    return None, False


def _labels(model: Model, at: str, within: str) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        path = f"{at}.{name}" if at else name
        title = field.title or name
        label = title[:1].upper() + title[1:]
        inner, many = node_in(field.annotation)
        yield path, f"{label} ({within})" if within and inner is None else label
        if inner is not None:
            yield from _labels(inner, f"{path}[]" if many else path, _WITHIN.get(name, within))


FIELD_LABELS: dict[str, str] = {
    **dict(_labels(Invoice, "", "")),
    # one relation may be sent as an object
    **dict(_labels(CfdiRelacionados, "cfdi_relacionados", "")),
    # what requests about a connection or a cancellation hold
    "api_key": "API Key de ContaDigital",
    "rfc": "RFC de la cuenta",
    "razon_social": "Razón social de la cuenta",
    "codigo_postal": "Código postal de la cuenta",
    "empresa_id": "IdEmpresa de ContaDigital",
    "serie": "Serie",
    "base_url": "Dirección de ContaDigital",
    "ids": "Identificadores de ContaDigital",
    "motivo": "Motivo de cancelación",
    "uuid_sustitucion": "Folio fiscal de la factura que sustituye",
    "emisor": "Datos de tu cuenta",
    "emisor.rfc": "RFC de tu cuenta",
    "emisor.nombre": "Razón social de tu cuenta",
    "emisor.regimen_fiscal": "Régimen fiscal de tu cuenta",
}
"""The label of each field by its path, `[]` for any element of a list: `FIELD_LABELS["conceptos[].nombre"]`."""


@lru_cache(maxsize=4096)
def label_of(field: str) -> str:
    """Return the label of a path as faults have it; of an unknown field, that of the node it stands in; or ""."""
    path, label, line, place = "", "", "", ""
    for name, number in _STEP.findall(field):
        if name:
            path = f"{path}.{name}" if path else name
            if path not in FIELD_LABELS:
                break
            label, place = FIELD_LABELS[path], ""
        else:
            # of a list of plain values (`send_to`) no path with `[]` is known: its label stays the list's
            path += "[]"
            nth = int(number) + 1 if number else None
            if nth is None:
                continue
            if path == "conceptos[]":
                line = f", línea {nth}"
            else:
                place = f", número {nth}"
    return f"{label}{place}{line}" if label else ""


STATUS_LABELS: dict[str, str] = {
    "accepted": "En la fila para timbrarse",
    "stamping": "Timbrando",
    "in_doubt": "Confirmando con ContaDigital",
    "stamped": "Timbrada",
    "rejected": "Rechazada: hay que corregirla",
    "on_hold": "En pausa: revisa la conexión",
    "waiting": "En espera: se intenta de nuevo sola",
    "failed": "Detenida: la atiende soporte",
    "cancelling": "Cancelación en proceso",
    "cancelled": "Cancelada",
    "differs": "Timbrada con diferencias",
    "withdrawn": "Retirada",
}
"""What a user reads for each status of an invoice."""

CONNECTION_LABELS: dict[str, str] = {
    "pending": "Validando la conexión",
    "active": "Conexión exitosa",
    "broken": "Conexión con problema",
    "disconnected": "Desconectada",
}
"""What a user reads for each status of a connection."""

REASON_LABELS: dict[str, str] = {
    "key_rejected": "ContaDigital no acepta el API Key",
    "key_malformed": "El API Key no está completo",
    "api_not_enabled": "La cuenta de ContaDigital no tiene habilitada la API",
    "serie_inactive": "No hay una serie activa",
    "rfc_mismatch": "El RFC no es el de la cuenta de ContaDigital",
    "razon_social_mismatch": "La razón social no es la de la cuenta de ContaDigital",
    "lugar_expedicion_unknown": "El código postal no está dado de alta en ContaDigital",
    "empresa_unknown": "No se sabe qué empresa de ContaDigital es",
    "no_stamps": "No quedan timbres",
    "unreachable": "No hay respuesta de ContaDigital",
    "ids_missing": "Faltan identificadores de ContaDigital",
    "stamps_differ": "Lo timbrado no coincide con lo enviado: lo revisa soporte",
}
"""What a user reads for each reason why a connection is broken; the event's `fix` says what to do."""
