"""What became of an invoice, a connection or a request, as the worker emits it: typed, and tolerant of what is new.

Events may come twice and out of order. `version` only grows for one `subject` (an invoice, a connection), so what is
kept is the highest of each, never the last to arrive:

    if is_newer(event, last_version):
        ...
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from timbrado_client.errors import EventUnreadable
from timbrado_client.faults import Fault, path_of


class _Tolerant(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)  # a newer worker may say more; it is kept


class Document(_Tolerant):
    """A stored document. `bytes` is its size; `key` is its place in the document store."""

    kind: str
    """xml, pdf or acuse; there may be others."""
    key: str
    sha256: str
    bytes: int
    url: str | None = None
    """Where it is downloaded over HTTP, where the installation has a public address."""


class InvoiceData(_Tolerant):
    """Where an invoice stands."""

    account: str
    external_id: str | None = None
    invoice_id: str | None = None
    """The worker's own id; None where no invoice could be read in a message."""
    version: int
    status: str
    message: str = ""
    """For the user, in Spanish."""
    errors: tuple[Fault, ...] = ()
    """What stands in the way: everything at once."""
    warnings: tuple[Fault, ...] = ()
    """What looks wrong and stands in nobody's way."""
    uuid: str | None = None
    """Folio fiscal, once stamped."""
    serie: str | None = None
    folio: str | None = None
    fecha_timbrado: datetime | None = None
    """As the TimbreFiscalDigital has it: local, without a time zone."""
    documents: tuple[Document, ...] = ()


class DifferingInvoice(_Tolerant):
    """A stamped invoice whose CFDI says something else than what was sent."""

    external_id: str
    uuid: str
    serie: str | None = None
    folio: str | None = None


class ConnectionData(_Tolerant):
    """Where an account's connection to ContaDigital stands."""

    account: str
    connection_id: str | None = None
    version: int
    status: str
    reason: str | None = None
    """Why it is broken: key_rejected, key_malformed, no_stamps ..."""
    message: str = ""
    fix: str | None = None
    """What its owner does about it, in Spanish."""
    errors: tuple[Fault, ...] = ()
    invoices: tuple[DifferingInvoice, ...] = ()
    """Those that differ where the reason is stamps_differ, the last first; `errors` is about that one."""
    stamps_left: int | None = None


class RequestData(_Tolerant):
    """A request about an invoice or an account that the worker does not have."""

    account: str | None = None
    external_id: str | None = None
    version: int = 1
    status: str | None = None
    message: str = ""
    errors: tuple[Fault, ...] = ()


class ProviderData(_Tolerant):
    """Whether ContaDigital answers, for everybody at once."""

    version: int = 0
    status: str = ""
    message: str = ""


class _Event(_Tolerant):
    type: str
    timestamp: datetime
    """When it became true; it orders nothing, `version` does."""
    id: str | None = None
    """The same over all retries: the `webhook-id`, or the Celery message's `event_id`."""


class InvoiceEvent(_Event):
    """`invoice.accepted`, `invoice.stamped` ... and any later `invoice.*`."""

    data: InvoiceData

    @property
    def subject(self) -> str:
        """What the version belongs to: keep the highest one of each subject."""
        return f"invoice:{self.data.invoice_id}" if self.data.invoice_id else f"message:{self.id}"

    @property
    def version(self) -> int:
        """Only grows for one subject."""
        return self.data.version


class ConnectionEvent(_Event):
    """`connection.active`, `connection.broken` ... and any later `connection.*`."""

    data: ConnectionData

    @property
    def subject(self) -> str:
        """What the version belongs to."""
        return f"connection:{self.data.connection_id or self.data.account}"

    @property
    def version(self) -> int:
        """Only grows for one subject."""
        return self.data.version


class RequestEvent(_Event):
    """`request.refused`: no invoice of yours changed; show it to whoever asked, and make no invoice of it."""

    data: RequestData

    @property
    def subject(self) -> str:
        """Itself: it is about no invoice that exists."""
        return f"message:{self.id}"

    @property
    def version(self) -> int:
        """Of the message alone."""
        return self.data.version


class ProviderEvent(_Event):
    """`provider.degraded` and `provider.recovered`: ContaDigital does not answer, or answers again."""

    data: ProviderData

    @property
    def subject(self) -> str:
        """There is one provider."""
        return "provider"

    @property
    def version(self) -> int:
        """Only grows for one subject."""
        return self.data.version


class OtherEvent(_Event):
    """An event about something that this version of the package does not know; answer 2xx and go on."""

    data: dict[str, Any]

    @property
    def subject(self) -> str:
        """Itself: nobody here knows what its version belongs to."""
        return f"event:{self.id}"

    @property
    def version(self) -> int:
        """Of nothing that is known."""
        return 0


Event = InvoiceEvent | ConnectionEvent | RequestEvent | ProviderEvent | OtherEvent

_KINDS: Mapping[str, type[Event]] = {
    "invoice": InvoiceEvent,
    "connection": ConnectionEvent,
    "request": RequestEvent,
    "provider": ProviderEvent,
}


def parse(event: Mapping[str, Any] | str | bytes, *, id: str | None = None) -> Event:
    """Read an event that came over a way you trust: a Celery message, or a webhook already verified.

    Raises EventUnreadable.
    """
    if isinstance(event, str | bytes):
        try:
            event = json.loads(event)
        except ValueError:
            raise EventUnreadable("the event is not JSON") from None
    if not isinstance(event, Mapping):
        raise EventUnreadable("the event is not a JSON object")
    model = _KINDS.get(str(event.get("type", "")).partition(".")[0], OtherEvent)
    try:
        return model.model_validate({**event, "id": id or event.get("id")})
    except ValidationError as error:
        places = sorted({path_of(detail["loc"]) for detail in error.errors(include_url=False)})
        raise EventUnreadable(f"the event is not as the contract has it: {', '.join(places)}") from None


def is_newer(event: Event, last_version: int | None) -> bool:
    """Whether an event is newer than what is known of its subject; `last_version` is None where nothing is."""
    if isinstance(event, OtherEvent):
        return False  # nobody here knows what its subject is
    return last_version is None or event.version > last_version
