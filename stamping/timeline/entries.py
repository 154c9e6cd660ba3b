"""The entries of an invoice's timeline, as plain values: `read.py` makes them, the command line and the API show them.

An attempt without an outcome is no mistake: it is a call that began and whose answer never came.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from events.outbox import DeliveryEntry
from stamping.timeline.next_action import NextAction, NextStep


@dataclass(frozen=True, slots=True)
class AttemptEntry:
    """One call to ContaDigital; `outcome` None: begun, without an answer (yet)."""

    number: int
    call: str
    claim: int
    record_id: int | None
    worker: str | None
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    http_status: int | None
    codigo: int | None
    latency_ms: int | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class StatusEntry:
    """One change of status; `source` None where it came in, the same as `target` where its content or UUID changed."""

    at: datetime
    source: str | None
    target: str
    reason: str | None
    uuid: str | None
    claim: int
    corrected: bool
    """Whether other content came in with it."""


@dataclass(frozen=True, slots=True)
class DoubtEntry:
    """A time in which it was not known whether it is stamped; `until` None while that lasts."""

    since: datetime
    until: datetime | None
    lost: str | None
    """The call whose answer was lost; of an older doubt None where the attempts do not show it."""
    lookups: int
    """Look-ups in it, of whatever outcome."""
    ended: str | None
    """The status in which it ended."""

    def lasted(self, now: datetime) -> timedelta:
        """Return how long it took, or has taken until now."""
        return (self.until or now) - self.since


@dataclass(frozen=True, slots=True)
class CheckEntry:
    """One check of a document's evidence that is worth a line."""

    name: str
    result: str
    detail: str


@dataclass(frozen=True, slots=True)
class DocumentEntry:
    """A stored file, and what its evidence said; `checks` None where none was asked for."""

    kind: str
    key: str
    sha256: str
    size: int
    stored_at: datetime
    quarantined_reason: str | None
    passed: int | None = None
    asked: int | None = None
    """Checks that were looked at, or should have been; those that could not be asked are not among them."""
    failed: tuple[CheckEntry, ...] = ()
    not_asked: tuple[str, ...] = ()
    """Checks that could not be made: the certificate that they need is not known here."""
    condition: str | None = None
    """intact, changed, missing or unreadable, where the store was asked."""


@dataclass(frozen=True, slots=True)
class SentEvent:
    """One event and its deliveries."""

    id: UUID
    version: int
    type: str
    created_at: datetime
    message: str
    errors: tuple[Mapping[str, Any], ...]
    deliveries: tuple[DeliveryEntry, ...]


@dataclass(frozen=True, slots=True)
class ActionEntry:
    """What a person did to it, and why."""

    at: datetime
    action: str
    actor: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class ConnectionEntry:
    """The account's connection, as far as it matters to one invoice."""

    status: str
    reason: str | None
    message: str | None
    fix: str | None
    broken_at: datetime | None
    next_probe_at: datetime | None
    paused: bool
    throttled_until: datetime | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything that is known of one invoice; `read` makes it."""

    id: UUID
    account: str
    external_id: str
    status: str
    reason: str | None
    version: int
    trace_id: str | None
    created_at: datetime
    updated_at: datetime
    # what was asked for
    tipo_de_comprobante: str | None
    receptor_rfc: str | None
    receptor_nombre: str | None
    total: str | None
    moneda: str | None
    lugar_expedicion: str | None
    fecha: datetime | None
    expires_at: datetime | None
    # its result
    record_id: int | None
    serie: str | None
    folio: str | None
    uuid: str | None
    fecha_timbrado: datetime | None
    stamped_at: datetime | None
    cancelled_at: datetime | None
    motivo: str | None
    uuid_sustitucion: str | None
    errors: tuple[Mapping[str, Any], ...]
    warnings: tuple[Mapping[str, Any], ...]
    differences: tuple[Mapping[str, Any], ...]
    replaces_id: UUID | None
    withdraw_asked_at: datetime | None
    # its history
    claim: int
    claimed_by: str | None
    claimed_until: datetime | None
    tries: int
    lookups: int
    changes: tuple[StatusEntry, ...]
    attempts: tuple[AttemptEntry, ...]
    doubts: tuple[DoubtEntry, ...]
    documents: tuple[DocumentEntry, ...]
    events: tuple[SentEvent, ...]
    actions: tuple[ActionEntry, ...]
    connection: ConnectionEntry | None
    # what follows
    next: NextStep
    act: NextAction
    as_of: datetime

    def as_dict(self) -> dict[str, Any]:
        """Return the timeline as plain values, instants and ids as they are."""
        return asdict(self)
