"""Whether an invoice has the shape of the contract: every fault of it at once, in Spanish, before anything is sent.

A clean check is not a stamp: catalogues, sums and the SAT's rules are the worker's to know, and what they refuse comes
back as an `invoice.rejected` event.
"""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from pydantic import ValidationError

from timbrado_client.errors import InvoiceInvalid
from timbrado_client.explain import explain
from timbrado_client.faults import Fault
from timbrado_client.invoice import MAX_BYTES, MAX_LINES, Invoice
from timbrado_client.kinds import plain


def check(invoice: Invoice | Mapping[str, Any]) -> dict[str, Any]:
    """Return the invoice as the JSON object that is sent, or raise `InvoiceInvalid` with every fault of its shape.

    A dict goes out with the texts it came with. `Decimal`, aware `datetime` and `UUID` are written as JSON has them.
    """
    try:
        raw = plain(invoice)
    except RecursionError:
        raise InvoiceInvalid([_NO_JSON]) from None
    refusal = _too_much(raw)
    if refusal is not None:
        raise InvoiceInvalid([refusal])
    try:
        Invoice.model_validate(raw)
    except ValidationError as error:
        raise InvoiceInvalid(explain(error, Invoice)) from None
    if isinstance(invoice, Invoice):
        raw = {"version": 1, **raw}
    return raw  # type: ignore[no-any-return]  # `_too_much` has seen a dict


def json_schema() -> dict[str, Any]:
    """Return the published JSON Schema of the invoice, for editors and other languages.

    It asks more than `check`: patterns and lengths, which the worker tells with the SAT's own codes.
    """
    text = resources.files(__package__).joinpath("invoice.schema.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]  # the file is a JSON object


_NO_JSON = Fault(
    code="timbrado.no_es_json",
    message="La factura trae valores que no existen en JSON.",
    fix="Envía solo textos, números, listas, objetos y null.",
)


def _too_much(raw: object) -> Fault | None:
    """Refuse what is no JSON object, or too big to look at."""
    if not isinstance(raw, dict):
        return Fault(
            code="timbrado.no_es_objeto",
            message="La factura no es un objeto JSON.",
            fix='Envía un objeto con los campos de la factura: {"version": 1, "account": ...}.',
        )
    conceptos = raw.get("conceptos")
    if isinstance(conceptos, list) and len(conceptos) > MAX_LINES:
        return Fault(
            code="timbrado.demasiadas_lineas",
            field="conceptos",
            message=f"La factura tiene {len(conceptos):,} conceptos y el máximo es {MAX_LINES:,}.",
            fix="Divide la operación en varias facturas.",
        )
    try:
        text = json.dumps(raw, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        return _NO_JSON
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        return Fault(
            code="timbrado.demasiado_grande",
            message=f"La factura ocupa {size:,} bytes y el máximo es {MAX_BYTES:,}.",
            fix="Divide la operación en varias facturas o acorta las descripciones.",
        )
    return None
