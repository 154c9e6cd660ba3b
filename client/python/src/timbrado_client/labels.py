"""Spanish labels of fields and of statuses, for whoever shows them to a person.

A field's label is made from its path in the invoice and the titles of the invoice's models, so that every field of
the schema has one: `conceptos[2].nombre` is "Nombre del producto, línea 3".
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import get_args

from pydantic import BaseModel

from timbrado_client.invoice import Invoice

Model = type[BaseModel]

_STEP = re.compile(r"([^.\[\]]+)|\[(\d*)\]")
_WITHIN = {
    "traslados": "impuesto trasladado",
    "retenciones": "impuesto retenido",
    "impuestos": "resumen de impuestos",
}
"""Nodes whose fields are told apart by the node they stand in: a base, an importe and a tasa are in several."""


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
