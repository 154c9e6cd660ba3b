"""The invoice as Apunto sends it, as the worker reads it: the client's models, and what can be read of a broken one.

The shape has one definition, `timbrado_client.invoice`, so that an application and the worker give the same faults.
Whether the SAT would take it is for `cfdi.validation`.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel, TypeAdapter
from timbrado_client import reading
from timbrado_client.invoice import (
    MAX_BYTES,
    MAX_LINES,
    CfdiRelacionados,
    Concepto,
    FilaRetencion,
    FilaTraslado,
    Impuesto,
    Impuestos,
    InformacionGlobal,
    Invoice,
    Receptor,
    Retencion,
    Traslado,
    Unseen,
)
from timbrado_client.labels import node_in
from timbrado_client.reading import MAX_FAULTS

from cfdi.faults import Fault

__all__ = [
    "MAX_BYTES",
    "MAX_FAULTS",
    "MAX_LINES",
    "CfdiRelacionados",
    "Concepto",
    "FilaRetencion",
    "FilaTraslado",
    "Impuesto",
    "Impuestos",
    "InformacionGlobal",
    "Invoice",
    "Receptor",
    "Retencion",
    "Traslado",
    "Unreadable",
    "Unseen",
    "read",
]


class Unreadable(ValueError):
    """The invoice has not the shape of the contract; `faults` says everything that is wrong with it."""

    def __init__(self, faults: Sequence[Fault], readable: Invoice | None = None) -> None:
        super().__init__(f"unreadable invoice: {len(faults)} faults")
        self.faults = tuple(faults)
        self.readable = readable
        """What could be read all the same; a field that could not raises `Unseen`."""


def read(raw: object) -> Invoice:
    """Return the invoice that `raw` (parsed JSON) holds, or raise `Unreadable` with every fault of shape."""
    found = reading.read(raw)
    if found.invoice is not None:
        return found.invoice
    raise Unreadable(found.faults, _Salvage(found.broken).of(Invoice, raw) if found.broken else None)


@cache
def _reader(model: type[BaseModel], name: str) -> TypeAdapter[Any]:
    return TypeAdapter(model.model_fields[name].rebuild_annotation())


class _Salvage:
    """Builds a node from whatever parts of it are sound; a part that is not is left out, and so `Unseen`."""

    def __init__(self, broken: frozenset[tuple[str | int, ...]]) -> None:
        self._broken = broken
        self._touched = {loc[:end] for loc in broken for end in range(1, len(loc) + 1)}

    def of(self, model: type[BaseModel], raw: Any, at: tuple[str | int, ...] = ()) -> Any:
        parts: dict[str, Any] = {}
        for name, field in model.model_fields.items() if isinstance(raw, dict) else ():
            here = (*at, name)
            if here in self._broken:
                continue
            value = raw.get(name)
            inner, many = node_in(field.annotation)
            if name not in raw:
                parts[name] = field.default
            elif inner is None:
                if here not in self._touched:
                    parts[name] = _reader(model, name).validate_python(value)
            elif many and isinstance(value, dict):  # one relation, sent as an object
                parts[name] = (self.of(inner, value, here),)
            elif many:
                parts[name] = tuple(self.of(inner, row, (*here, n)) for n, row in enumerate(value or ()))
            else:
                parts[name] = None if value is None else self.of(inner, value, here)
        node = model.model_construct()
        node.__dict__.clear()
        node.__dict__.update(parts)
        return node
