"""Every status and every move, in one place.

Only the standard library is imported here, so that anything may read it: the migrations repeat these sets
as CHECK constraints and as the rows of `invoice_moves`, and a test holds the two against each other.
"""

from enum import StrEnum


class InvoiceStatus(StrEnum):
    """Where an invoice stands (contract, section 3)."""

    ACCEPTED = "accepted"  # stored, valid, never claimed yet
    STAMPING = "stamping"  # a worker holds its claim and is talking to ContaDigital
    IN_DOUBT = "in_doubt"  # an answer was lost: it may be stamped; looked up, never sent
    STAMPED = "stamped"  # the CFDI exists and its XML is safe
    REJECTED = "rejected"  # its data is wrong; a correction starts it anew
    ON_HOLD = "on_hold"  # its connection is broken; goes on by itself once mended
    WAITING = "waiting"  # for its next try; certainly not stamped
    FAILED = "failed"  # given up: 72 hours ran out, or a person must look
    CANCELLING = "cancelling"  # a cancellation is asked for and not yet granted
    CANCELLED = "cancelled"  # cancelled before the SAT


S = InvoiceStatus

TRANSITIONS: dict[InvoiceStatus, frozenset[InvoiceStatus]] = {
    S.ACCEPTED: frozenset({S.STAMPING, S.REJECTED, S.ON_HOLD, S.FAILED}),
    S.STAMPING: frozenset({S.STAMPED, S.REJECTED, S.IN_DOUBT, S.WAITING, S.ON_HOLD, S.FAILED}),
    S.IN_DOUBT: frozenset({S.STAMPED, S.WAITING, S.FAILED}),
    S.WAITING: frozenset({S.STAMPING, S.ON_HOLD, S.ACCEPTED, S.REJECTED, S.FAILED}),
    S.ON_HOLD: frozenset({S.WAITING, S.ACCEPTED, S.REJECTED, S.FAILED}),
    S.REJECTED: frozenset({S.ACCEPTED, S.ON_HOLD}),
    S.FAILED: frozenset({S.ACCEPTED, S.ON_HOLD, S.IN_DOUBT, S.REJECTED}),
    S.STAMPED: frozenset({S.CANCELLING}),
    S.CANCELLING: frozenset({S.CANCELLED, S.STAMPED}),
    S.CANCELLED: frozenset(),
}

OPEN = frozenset({S.ACCEPTED, S.STAMPING, S.IN_DOUBT, S.WAITING, S.ON_HOLD})
"""Not yet settled: somebody still expects an answer."""

DUE = frozenset({S.ACCEPTED, S.WAITING})
"""What a worker may claim to send."""

HAS_UUID = frozenset({S.STAMPED, S.CANCELLING, S.CANCELLED})
"""Statuses that say that a CFDI exists."""

MAY_HOLD_CLAIM = frozenset({S.STAMPING, S.IN_DOUBT, S.CANCELLING})
"""Statuses in which a worker may be at work on the invoice."""


class FailedReason(StrEnum):
    """Why an invoice was given up."""

    EXPIRED = "expired"  # the SAT's 72 hours ran out, certainly not stamped
    NEEDS_PERSON = "needs_person"  # the outcome is unknown and nothing safe is left to try


class ConnectionStatus(StrEnum):
    """Where an account's link to ContaDigital stands (contract, section 3)."""

    PENDING = "pending"
    ACTIVE = "active"
    BROKEN = "broken"
    DISCONNECTED = "disconnected"


class BrokenReason(StrEnum):
    """Why a connection is broken (contract, section 3)."""

    KEY_REJECTED = "key_rejected"
    KEY_MALFORMED = "key_malformed"
    API_NOT_ENABLED = "api_not_enabled"
    SERIE_INACTIVE = "serie_inactive"
    RFC_MISMATCH = "rfc_mismatch"
    RAZON_SOCIAL_MISMATCH = "razon_social_mismatch"
    LUGAR_EXPEDICION_UNKNOWN = "lugar_expedicion_unknown"
    EMPRESA_UNKNOWN = "empresa_unknown"
    NO_STAMPS = "no_stamps"
    UNREACHABLE = "unreachable"


class Call(StrEnum):
    """What an attempt asks of ContaDigital."""

    SAVE = "save"
    STAMP = "stamp"
    LOOK_UP = "look_up"
    CANCEL = "cancel"
    DOCUMENT = "document"
    MAIL = "mail"


SENDS = frozenset({Call.SAVE, Call.STAMP})
"""Calls whose lost answer may hide a stamp."""


class AttemptOutcome(StrEnum):
    """How an attempt ended; an attempt without one began and was never heard of again."""

    DONE = "done"
    NOT_SENT = "not_sent"
    REFUSED = "refused"
    LOST = "lost"
    NO = "no"  # a look-up that was answered: no UUID
    LATE = "late"  # the answer came to a worker whose claim had passed to another
    PROVEN_NO = "proven_no"  # was lost; look-ups over a whole quarantine say it did nothing


class DocumentKind(StrEnum):
    """The files of one invoice."""

    XML = "xml"
    PDF = "pdf"
    ACUSE = "acuse"


class DeliveryStatus(StrEnum):
    """Where one event stands on one channel."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class Channel(StrEnum):
    """The ways an event leaves."""

    WEBHOOK = "webhook"
    CELERY = "celery"
