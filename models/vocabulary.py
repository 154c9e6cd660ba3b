"""Every status, reason and outcome: the words that tables, events and the contract share.

Only the standard library is imported here, so that anything may read it; the tables repeat these sets as CHECK
constraints. The allowed moves are in models/transitions.py.
"""

from enum import StrEnum


class InvoiceStatus(StrEnum):
    """Where an invoice stands (contract, section 3)."""

    ACCEPTED = "accepted"  # stored, valid, never claimed yet
    STAMPING = "stamping"  # a worker holds its claim and is talking to ContaDigital
    IN_DOUBT = "in_doubt"  # an answer was lost: it may be stamped; looked up, never sent
    STAMPED = "stamped"  # the CFDI exists and its XML is safe
    REJECTED = "rejected"  # its data is wrong; a correction starts it anew
    ON_HOLD = "on_hold"  # its connection is broken; goes on by itself once it is fixed
    WAITING = "waiting"  # for its next try; certainly not stamped
    FAILED = "failed"  # given up: 72 hours ran out, or a person must look
    CANCELLING = "cancelling"  # a cancellation is asked for and not yet granted
    CANCELLED = "cancelled"  # cancelled before the SAT
    DIFFERS = "differs"  # the CFDI exists with good seals, and says something else than what was sent
    WITHDRAWN = "withdrawn"  # taken back before it was stamped


S = InvoiceStatus

OPEN = frozenset({S.ACCEPTED, S.STAMPING, S.IN_DOUBT, S.WAITING, S.ON_HOLD})
"""Not yet settled: somebody still expects an answer."""

DUE = frozenset({S.ACCEPTED, S.WAITING})
"""What a worker may claim to send."""

HAS_UUID = frozenset({S.STAMPED, S.DIFFERS, S.CANCELLING, S.CANCELLED})
"""Statuses that say that a CFDI exists."""

MAY_HOLD_CLAIM = frozenset({S.STAMPING, S.IN_DOUBT, S.CANCELLING})
"""Statuses in which a worker may be at work on the invoice."""


class FailedReason(StrEnum):
    """Why an invoice was given up."""

    EXPIRED = "expired"  # the SAT's 72 hours ran out, certainly not stamped
    NEEDS_PERSON = "needs_person"  # the outcome is unknown and nothing safe is left to try
    NOT_STAMPED = "not_stamped"  # a person found that it is certainly not stamped and closed it


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
    IDS_MISSING = "ids_missing"
    STAMPS_DIFFER = "stamps_differ"


class Call(StrEnum):
    """What an attempt asks of ContaDigital."""

    SAVE = "save"
    STAMP = "stamp"
    LOOK_UP = "look_up"
    CANCEL = "cancel"
    DOCUMENT = "document"
    MAIL = "mail"
    AUTH = "auth"
    CATALOGS = "catalogs"
    CUSTOMER = "customer"
    PRODUCT = "product"
    SAT_STATUS = "sat_status"  # the SAT's own service, not ContaDigital


SENDS = frozenset({Call.SAVE, Call.STAMP})
"""Calls whose lost answer may hide a stamp."""


class AttemptOutcome(StrEnum):
    """How an attempt ended; an attempt without one began and never ended."""

    DONE = "done"
    NOT_SENT = "not_sent"
    REFUSED = "refused"
    LOST = "lost"
    NO = "no"  # a look-up that was answered: no UUID
    LATE = "late"  # the answer came to a worker whose claim had passed to another
    UNUSABLE = "unusable"  # answered, and the answer was not understood
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
