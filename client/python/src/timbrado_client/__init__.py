"""timbrado, from an application's side: send invoices, and read what becomes of them.

    from timbrado_client import Timbrado

    timbrado = Timbrado("redis://redis:6379/0", encryption_keys=os.environ["TIMBRADO_ENCRYPTION_KEYS"])
    timbrado.submit(invoice)

- `Timbrado`: submit, cancel, retry, withdraw, replace, connect, validate_connection, disconnect, over the broker.
- `submit_in`, `cancel_in`, `retry_in`, `withdraw_in`, `replace_in`: the same in your own database transaction.
- `verify`, `parse`, `is_newer`: the events that come back.
- `check`, `Invoice` and its nodes, `json_schema`: the invoice, with every fault of its shape in Spanish.
- `FIELD_LABELS`, `STATUS_LABELS`, `CONNECTION_LABELS`, `REASON_LABELS`: Spanish names of fields, statuses and reasons.
"""

from typing import TYPE_CHECKING, Any

from timbrado_client.errors import (
    BrokerUnavailable,
    EventUnreadable,
    InvoiceInvalid,
    RequestInvalid,
    TimbradoError,
    VerificationFailed,
)
from timbrado_client.events import (
    ConnectionEvent,
    Document,
    Event,
    InvoiceEvent,
    OtherEvent,
    ProviderEvent,
    RequestEvent,
    is_newer,
    parse,
)
from timbrado_client.faults import Fault
from timbrado_client.inbox import cancel_in, replace_in, retry_in, submit_in, withdraw_in
from timbrado_client.invoice import (
    CfdiRelacionados,
    Concepto,
    Impuestos,
    InformacionGlobal,
    Invoice,
    Receptor,
    Retencion,
    Traslado,
)
from timbrado_client.labels import CONNECTION_LABELS, FIELD_LABELS, REASON_LABELS, STATUS_LABELS, label_of
from timbrado_client.reading import check, json_schema
from timbrado_client.webhook import verify

if TYPE_CHECKING:  # they are imported when they are asked for, below
    from timbrado_client.sending import Sent, Timbrado

__version__ = "0.1.0"

__all__ = [
    "CONNECTION_LABELS",
    "FIELD_LABELS",
    "REASON_LABELS",
    "STATUS_LABELS",
    "BrokerUnavailable",
    "CfdiRelacionados",
    "Concepto",
    "ConnectionEvent",
    "Document",
    "Event",
    "EventUnreadable",
    "Fault",
    "Impuestos",
    "InformacionGlobal",
    "Invoice",
    "InvoiceEvent",
    "InvoiceInvalid",
    "OtherEvent",
    "ProviderEvent",
    "Receptor",
    "RequestEvent",
    "RequestInvalid",
    "Retencion",
    "Sent",
    "Timbrado",
    "TimbradoError",
    "Traslado",
    "VerificationFailed",
    "cancel_in",
    "check",
    "is_newer",
    "json_schema",
    "label_of",
    "parse",
    "replace_in",
    "retry_in",
    "submit_in",
    "verify",
    "withdraw_in",
]


def __getattr__(name: str) -> Any:
    """Import what speaks with a broker when it is first asked for: the schema needs pydantic alone."""
    if name in {"Sent", "Timbrado"}:
        from timbrado_client import sending  # noqa: PLC0415  # kombu and cryptography

        return getattr(sending, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
