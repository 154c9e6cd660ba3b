"""The shapes of answers, as OpenAPI shows them, with an example of each."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json
from timbrado_client.invoice import Invoice

FAULT: dict[str, JsonValue] = {
    "code": "CFDI40161",
    "field": "receptor.uso_cfdi",
    "label": "Uso del CFDI",
    "message": "El uso G03 no corresponde al régimen del receptor.",
    "fix": "Elige un uso que su régimen permita.",
    "source": "timbrado",
    "whose": "user",
}


class _Shape(BaseModel):
    model_config = ConfigDict(extra="allow")

    @classmethod
    def in_order(cls, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer as FastAPI writes it: every field in the shape's order, then what else it has."""
        return {**_defaults(cls), **found}


def as_json(found: Any) -> Response:
    """Return an answer as it is, in the order of its shape: having FastAPI check our own words took longer than the
    rest of a read."""
    return Response(to_json(found), media_type="application/json")


@cache
def _defaults(shape: type[BaseModel]) -> dict[str, Any]:
    return {name: field.get_default() for name, field in shape.model_fields.items()}


class FaultShape(_Shape):
    """What is wrong, where, and who can correct it."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [FAULT]})

    code: str
    field: str
    label: str | None = None
    message: str
    fix: str | None = None
    source: str
    whose: str | None = None


def faults(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return faults in the order of their shape."""
    return [FaultShape.in_order(each) for each in found]


class DocumentShape(_Shape):
    """A stored document."""

    kind: str
    key: str
    sha256: str
    bytes: int
    url: str | None = None


class NextShape(_Shape):
    """What comes next by itself, and who must act."""

    what: str
    at: str | None = None
    who: str = Field(description="nobody, user or operator")
    action: str = ""
    fixes: list[str] = []


class InvoiceShape(_Shape):
    """Where an invoice stands, as its events say it."""

    account: str
    external_id: str
    invoice_id: str
    version: int
    status: str
    reason: str | None = None
    message: str = ""
    errors: list[FaultShape] = []
    warnings: list[FaultShape] = []
    uuid: str | None = None
    serie: str | None = None
    folio: str | None = None
    fecha_timbrado: str | None = None
    documents: list[DocumentShape] = []
    created_at: str | None = None
    updated_at: str | None = None
    expires_at: str | None = None
    next: NextShape | None = None
    story: list[dict[str, Any]] | None = None


class InvoicePage(_Shape):
    """A page of invoices."""

    items: list[InvoiceShape]
    cursor: str | None = Field(description="Of the next page; null at the end.")


class CheckedShape(_Shape):
    """What a submission would get."""

    errors: list[FaultShape]
    warnings: list[FaultShape]
    totals: dict[str, Any] | None = Field(
        description="What it adds up to, as texts; null where it cannot be read as an invoice."
    )


class LinksShape(_Shape):
    """Links by kind of document."""

    links: dict[str, str]
    expires_at: str


class ConnectionShape(_Shape):
    """An account's connection to ContaDigital."""

    account: str
    connection_id: str
    version: int
    status: str
    reason: str | None = None
    message: str | None = None
    fix: str | None = None
    errors: list[dict[str, Any]] = []
    paused: bool = False
    key_last4: str | None = None
    stamps_left: int | None = None


class EventShape(_Shape):
    """One event, with its id: the cursor that the next ones follow."""

    id: str
    type: str
    timestamp: str
    data: dict[str, Any]


class EventPage(_Shape):
    """Events in their order."""

    items: list[EventShape]
    cursor: str | None = Field(description="What the next ones follow: `after`.")


class CatalogShape(_Shape):
    """Entries of one of the SAT's catalogues."""

    items: list[dict[str, Any]]


class ProblemShape(_Shape):
    """An RFC 9457 problem object."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:timbrado:problem:not_found",
                    "title": "There is no such thing",
                    "status": 404,
                    "detail": "There is no such invoice.",
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str
    message: str | None = Field(None, description="What a user may read of it, in Spanish.")
    errors: list[FaultShape] | None = None
    warnings: list[FaultShape] | None = None


_MEANINGS = {
    400: "The request could not be read.",
    401: "No key, or none in force.",
    403: "The key has not the scope, or not the account.",
    404: "There is no such thing.",
    409: "Its state does not allow this.",
    410: "It is gone.",
    413: "The body is too large.",
    422: "The data are wrong: every fault.",
    429: "Too many requests: `Retry-After` says when.",
    500: "Our mistake.",
    503: "Something that is needed does not answer: `Retry-After` says when.",
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how refusals are documented."""
    return {
        status: {
            "model": ProblemShape,
            "description": _MEANINGS[status],
            "content": {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemShape"}}
            },
        }
        for status in statuses
    }


USUAL = answers(400, 401, 403, 413, 429, 500, 503)


def body_of(name: str, *, required: bool = True) -> dict[str, Any]:
    """Return how a body that we read ourselves is documented."""
    schema, example = _bodies()[name]
    content = {"schema": schema, "example": example}
    return {"requestBody": {"required": required, "content": {"application/json": content}}}


@cache
def _bodies() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    text = {"type": "string", "minLength": 1}
    some = {"type": ["string", "null"]}
    return {
        "Invoice": ({"$ref": "#/components/schemas/Invoice"}, _invoice()),
        "Anything": ({"description": "An invoice; what is none is reported as it would be."}, _invoice()),
        "Reason": (
            {"type": "object", "properties": {"reason": some}, "description": "Kept in the history."},
            {"reason": "El cliente lo pidió"},
        ),
        "Decision": (
            {"type": "object", "required": ["reason"], "properties": {"reason": text}},
            {"reason": "Solo cambia la descripción"},
        ),
        "Cancellation": (
            {
                "type": "object",
                "required": ["motivo"],
                "properties": {
                    "motivo": {"type": "string", "enum": ["01", "02", "03", "04"]},
                    "uuid_sustitucion": some,
                    "reason": some,
                },
                "if": {"properties": {"motivo": {"const": "01"}}},
                "then": {"required": ["uuid_sustitucion"], "properties": {"uuid_sustitucion": text}},
            },
            {"motivo": "02"},
        ),
        "Resolution": (
            {
                "type": "object",
                "required": ["reason"],
                "properties": {
                    "reason": text,
                    "not_stamped": {"type": "boolean"},
                    "xml": {**some, "description": "The CFDI that was found, as text."},
                },
                "oneOf": [
                    {"required": ["xml"], "properties": {"xml": text, "not_stamped": {"const": False}}},
                    {
                        "required": ["not_stamped"],
                        "properties": {"not_stamped": {"const": True}, "xml": {"type": "null"}},
                    },
                ],
            },
            {"not_stamped": True, "reason": "No está en ContaDigital ni en el SAT"},
        ),
        "Replacement": (
            {
                "type": "object",
                "required": ["invoice"],
                "properties": {"invoice": {"type": "object"}, "reason": text},
            },
            {"invoice": {**_invoice(), "external_id": "OP-10234-2"}},
        ),
        "Connection": (
            {
                "type": "object",
                "required": ["api_key", "rfc", "razon_social", "codigo_postal"],
                "properties": {
                    **dict.fromkeys(("api_key", "rfc", "razon_social", "codigo_postal"), text),
                    **dict.fromkeys(("serie", "base_url"), some),
                    "empresa_id": {"type": ["integer", "string", "null"]},
                    "ids": {"type": ["object", "null"]},
                    "move": {
                        "type": "boolean",
                        "description": "Move although invoices are open at the old address.",
                    },
                },
            },
            {
                "api_key": "…",
                "rfc": "EKU9003173C9",
                "razon_social": "ESCUELA KEMPER URGATE",
                "codigo_postal": "42501",
            },
        ),
    }


def _invoice() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(__file__).with_name("example.json").read_text(encoding="utf-8"))
    return found


@cache
def invoice_schemas() -> dict[str, Any]:
    """Return the published schema of an invoice, and of its parts, for the document's components."""
    schema = Invoice.model_json_schema(ref_template="#/components/schemas/{model}")
    parts: dict[str, Any] = schema.pop("$defs", {})
    return {**parts, "Invoice": schema}
