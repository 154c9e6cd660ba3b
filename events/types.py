"""Every event of the contract (section 3), and the one form in which it leaves.

`version` orders what is said of one subject, never the clock: receivers may get an older event after a newer
one and must drop it. All fields are always there, `null` where nothing is known, so that a receiver reads one
shape.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any
from urllib.parse import quote
from uuid import UUID

from models.vocabulary import ConnectionStatus, InvoiceStatus


class EventType(StrEnum):
    """What can happen, in the past tense."""

    INVOICE_ACCEPTED = "invoice.accepted"  # stored and waiting
    INVOICE_REJECTED = "invoice.rejected"  # its data is wrong: `errors`
    INVOICE_ON_HOLD = "invoice.on_hold"  # its connection is broken; goes on by itself
    INVOICE_DELAYED = "invoice.delayed"  # down or slow for longer than a user would wait in silence
    INVOICE_IN_DOUBT = "invoice.in_doubt"  # an answer was lost; being looked up
    INVOICE_STAMPED = "invoice.stamped"  # the CFDI exists and its XML is safe
    INVOICE_DOCUMENTS_READY = "invoice.documents_ready"  # a PDF that was late has come
    INVOICE_FAILED = "invoice.failed"  # the 72 hours ran out, or a person must look
    INVOICE_DIFFERS = "invoice.differs"  # the CFDI exists and says something else than what was sent
    INVOICE_WITHDRAWN = "invoice.withdrawn"  # taken back before it was stamped
    INVOICE_CANCELLED = "invoice.cancelled"  # cancelled before the SAT
    INVOICE_CANCEL_REFUSED = "invoice.cancel_refused"  # the cancellation was refused; it is still valid
    REQUEST_REFUSED = "request.refused"  # about no invoice that exists
    CONNECTION_ACTIVE = "connection.active"  # validated
    CONNECTION_BROKEN = "connection.broken"  # once per change, not once per invoice
    CONNECTION_STAMPS_LOW = "connection.stamps_low"  # few stamps left, where it can be known
    PROVIDER_DEGRADED = "provider.degraded"  # ContaDigital does not answer
    PROVIDER_RECOVERED = "provider.recovered"  # it answers again


TYPE_OF_STATUS: Mapping[InvoiceStatus, EventType | None] = {
    InvoiceStatus.ACCEPTED: EventType.INVOICE_ACCEPTED,
    InvoiceStatus.STAMPING: None,  # a moment; its end is the event
    InvoiceStatus.IN_DOUBT: EventType.INVOICE_IN_DOUBT,
    InvoiceStatus.STAMPED: EventType.INVOICE_STAMPED,
    InvoiceStatus.REJECTED: EventType.INVOICE_REJECTED,
    InvoiceStatus.ON_HOLD: EventType.INVOICE_ON_HOLD,
    InvoiceStatus.WAITING: None,  # `invoice.delayed` once it lasts
    InvoiceStatus.FAILED: EventType.INVOICE_FAILED,
    InvoiceStatus.CANCELLING: None,  # "requested" is not "cancelled"
    InvoiceStatus.CANCELLED: EventType.INVOICE_CANCELLED,
    InvoiceStatus.DIFFERS: EventType.INVOICE_DIFFERS,
    InvoiceStatus.WITHDRAWN: EventType.INVOICE_WITHDRAWN,
}
"""The event that reports a status; None where the user has nothing to learn."""

TYPE_OF_CONNECTION_STATUS: Mapping[ConnectionStatus, EventType | None] = {
    ConnectionStatus.PENDING: None,
    ConnectionStatus.ACTIVE: EventType.CONNECTION_ACTIVE,
    ConnectionStatus.BROKEN: EventType.CONNECTION_BROKEN,
    ConnectionStatus.DISCONNECTED: None,  # the user did it; its open invoices say `invoice.on_hold`
}


@dataclass(frozen=True, slots=True)
class DocumentRef:
    """A stored document as an event names it; `bytes` is its size."""

    kind: str
    key: str
    sha256: str
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"kind": self.kind, "key": self.key, "sha256": self.sha256, "bytes": self.bytes}


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceData:
    """The `data` of an invoice's event.

    `external_id` and `invoice_id` are None only for a message in which no invoice could be read.
    `fecha_timbrado` has no time zone: it is the TimbreFiscalDigital's own text.
    """

    account: str
    external_id: str | None
    invoice_id: UUID | None
    version: int
    status: str
    message: str
    errors: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[Mapping[str, Any]] = ()
    uuid: str | None = None
    serie: str | None = None
    folio: str | None = None
    fecha_timbrado: datetime | None = None
    documents: Sequence[DocumentRef] = ()

    def as_dict(self) -> dict[str, Any]:
        """The JSON object, with the contract's names in the contract's order."""
        return {
            "account": self.account,
            "external_id": self.external_id,
            "invoice_id": None if self.invoice_id is None else str(self.invoice_id),
            "version": self.version,
            "status": str(self.status),
            "message": self.message,
            "errors": [dict(error) for error in self.errors],
            "warnings": [dict(warning) for warning in self.warnings],
            "uuid": self.uuid,
            "serie": self.serie,
            "folio": self.folio,
            "fecha_timbrado": None if self.fecha_timbrado is None else _local(self.fecha_timbrado),
            "documents": [document.as_dict() for document in self.documents],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionData:
    """The `data` of a connection's event; `reason` and `fix` are None unless it is broken.

    `errors` says more where the reason has facts of its own (which postcode, which name); `invoices` names those whose
    stamps differ, the last first.
    """

    account: str
    connection_id: UUID
    version: int
    status: str
    message: str
    reason: str | None = None
    fix: str | None = None
    errors: Sequence[Mapping[str, Any]] = ()
    invoices: Sequence[Mapping[str, Any]] = ()
    stamps_left: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The JSON object, in one order."""
        return {
            "account": self.account,
            "connection_id": str(self.connection_id),
            "version": self.version,
            "status": str(self.status),
            "reason": None if self.reason is None else str(self.reason),
            "message": self.message,
            "fix": self.fix,
            "errors": [dict(error) for error in self.errors],
            "invoices": [dict(each) for each in self.invoices],
            "stamps_left": self.stamps_left,
        }


_ORDER = (
    # of the object
    *("type", "timestamp", "data"),
    # of `data`
    *("account", "external_id", "invoice_id", "connection_id", "version", "status", "reason"),
    *(
        "message",
        "fix",
        "errors",
        "warnings",
        "uuid",
        "serie",
        "folio",
        "fecha_timbrado",
        "documents",
        "invoices",
        "stamps_left",
    ),
    # of an error, and of a document
    *("code", "field", "label", "source", "whose", "kind", "key", "sha256", "bytes", "url"),
)
_PLACE = {name: place for place, name in enumerate(_ORDER)}


def render(
    type_: str, created_at: datetime, data: Mapping[str, Any], *, public_url: str | None = None
) -> dict[str, Any]:
    """The event as the JSON object that leaves: the same for webhook and Celery, the same at every retry.

    The order of keys is fixed here, since a JSON column forgets it. `created_at` must know its time zone. With the
    public address of the HTTP API each document says where it is downloaded.
    """
    if created_at.tzinfo is None:
        raise ValueError("created_at needs a time zone")
    if public_url is not None and data.get("documents"):
        data = {**data, "documents": [_with_url(each, data, public_url) for each in data["documents"]]}
    timestamp = created_at.astimezone(UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"
    ordered: dict[str, Any] = _ordered({"type": str(type_), "timestamp": timestamp, "data": data})
    return ordered


def document_url(public_url: str, account: str, external_id: str, kind: str) -> str:
    """Return where a document is downloaded over HTTP."""
    return f"{public_url}/v1/invoices/{quote(account, safe='')}/{quote(external_id, safe='')}/{kind}"


def _with_url(document: Mapping[str, Any], data: Mapping[str, Any], public_url: str) -> dict[str, Any]:
    url = document_url(public_url, data["account"], data["external_id"], document["kind"])
    return {**document, "url": url}


def body(event: Mapping[str, Any]) -> str:
    """The text that is signed and sent: compact JSON, accents as they are."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _ordered(value: Any) -> Any:
    if isinstance(value, (dict, Mapping)):  # most are of the class that is asked for first
        return {
            name: each if type(each := value[name]) in _PLAIN else _ordered(each)
            for name in _in_order(tuple(value))
        }
    if isinstance(value, (list, tuple)):
        return [_ordered(each) for each in value]
    return value


_PLAIN = frozenset({str, int, bool, float, type(None)})


@lru_cache(maxsize=1024)
def _in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: (_PLACE.get(name, len(_PLACE)), name)))


def _local(instant: datetime) -> str:
    if instant.tzinfo is not None:
        raise ValueError("fecha_timbrado has no time zone")
    return instant.isoformat(timespec="seconds")
