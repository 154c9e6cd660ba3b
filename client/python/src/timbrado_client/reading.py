"""Whether an invoice has the shape of the contract: every fault of it at once, in Spanish, before anything is sent.

A clean check is not a stamp: catalogues, sums and the SAT's rules are the worker's to know, and what they refuse comes
back as an `invoice.rejected` event.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from timbrado_client.errors import InvoiceInvalid
from timbrado_client.explain import NOT_YOUR_FAULT, explain
from timbrado_client.faults import Fault
from timbrado_client.invoice import MAX_BYTES, MAX_LINES, Invoice
from timbrado_client.kinds import plain

MAX_FAULTS = 1_000
"""Faults reported of one invoice: whoever has more finds the others after correcting these."""
_AS_SENT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_SCHEMA = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a JSON value is as an invoice: the invoice, or every fault of its shape."""

    invoice: Invoice | None
    faults: tuple[Fault, ...] = ()
    broken: frozenset[tuple[str | int, ...]] = frozenset()
    """The locations that could not be read; empty where nothing could."""


def read(raw: object) -> Reading:
    """Read parsed JSON as an invoice; never raises."""
    refusal = _too_much(raw)
    if refusal is not None:
        return Reading(None, (refusal,))
    try:
        return Reading(Invoice.model_validate(raw))
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
    faults = tuple(explain(Invoice, detail) for detail in details[: MAX_FAULTS + 1])
    broken = frozenset(detail["loc"] for detail in details)
    return Reading(None, faults, frozenset() if () in broken else broken)


def check(invoice: Invoice | Mapping[str, Any]) -> dict[str, Any]:
    """Return the invoice as the JSON object that is sent, or raise `InvoiceInvalid` with every fault of its shape.

    A dict goes out with the texts it came with. `Decimal`, aware `datetime` and `UUID` are written as JSON has them.
    """
    try:
        raw = plain(invoice)
    except RecursionError:
        raise InvoiceInvalid([_NO_JSON]) from None
    reading = read(raw)
    if reading.faults:
        raise InvoiceInvalid(reading.faults)
    if isinstance(invoice, Invoice):
        raw = {"version": 1, **raw}
    return raw  # type: ignore[no-any-return]  # `read` found it to be a dict


def json_schema() -> dict[str, Any]:
    """Return the published JSON Schema of the invoice, for editors and other languages.

    It asks more than `check`: patterns and lengths, which the worker refuses with the SAT's own codes.
    """
    return {
        "$schema": _SCHEMA,
        **Invoice.model_json_schema(),
        "title": "Factura de Apunto, versión 1",
        "description": (
            f"Lo que recibe stamping.submit_invoice. Hasta {MAX_LINES:,} conceptos y {MAX_BYTES:,} bytes. "
            "Las reglas del SAT que un esquema no puede decir están en validation.md."
        ),
    }


_NO_JSON = Fault(
    "timbrado.no_es_json",
    "",
    "Apunto envió la factura con datos que no se pueden leer.",
    NOT_YOUR_FAULT,
    detail="it holds values that JSON has not; send strings, numbers, arrays, objects and null alone",
)


def _too_much(raw: object) -> Fault | None:
    """Refuse what is no JSON object, or too big to look at."""
    if not isinstance(raw, dict):
        return Fault(
            "timbrado.no_es_objeto",
            "",
            "Apunto envió algo que no es una factura.",
            NOT_YOUR_FAULT,
            detail='send an object with the fields of the invoice: {"version": 1, "account": ...}',
        )
    conceptos = raw.get("conceptos")
    if isinstance(conceptos, list) and len(conceptos) > MAX_LINES:
        return Fault(
            "timbrado.demasiadas_lineas",
            "conceptos",
            f"La factura tiene {len(conceptos):,} líneas y el máximo es {MAX_LINES:,}.",
            "Divide la operación en varias facturas.",
        )
    try:
        size = len(_AS_SENT(raw).encode("utf-8", "surrogatepass"))
    except (TypeError, ValueError, RecursionError):
        return _NO_JSON
    if size > MAX_BYTES:
        return Fault(
            "timbrado.demasiado_grande",
            "",
            "La factura es demasiado grande.",
            "Divide la operación en varias facturas o acorta las descripciones.",
            detail=f"{size:,} bytes as compact JSON; at most {MAX_BYTES:,}",
        )
    return None
