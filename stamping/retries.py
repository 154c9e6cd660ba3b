"""Whether and when what failed is tried again: what each failed call means, and how long to wait.

The classes of contadigital/errors.py are cut by what the caller does next; this is that cut as a table, with what the
storage and ourselves can add to it.
"""

import random
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from cfdi.faults import Fault
from contadigital.errors import (
    AlreadyStamped,
    AnswerLost,
    ConnectionRefused,
    ContaDigitalError,
    DocumentRejected,
    IdRefused,
    NotSent,
    Refused,
    Throttled,
    UnknownRecord,
)
from contadigital.replies import refused_without_words
from models.vocabulary import AttemptOutcome, BrokenReason, Call
from stamping.store_documents import XmlMissing
from stamping.texts import refused_by_contadigital
from storage import StorageUnavailable

FAILED_CALL = (ContaDigitalError, StorageUnavailable, XmlMissing)
"""What a call, or the storing of what it brought, can end with."""


class Next(StrEnum):
    """What comes after a call that failed."""

    HOLD = "hold"  # the account cannot invoice: its connection breaks, once
    REFUSE = "refuse"  # what was asked for is wrong: it is not asked for again unchanged
    SLOW_DOWN = "slow_down"  # too fast: the account waits
    LEARN_AGAIN = "learn_again"  # an id that we remembered is refused
    GONE = "gone"  # ContaDigital knows no such record
    ADOPT = "adopt"  # there is a stamp
    AGAIN = "again"  # nothing was done
    LOOK_UP = "look_up"  # it may have been done


_NEXT: tuple[tuple[type[Exception], Next, AttemptOutcome], ...] = (
    (ConnectionRefused, Next.HOLD, AttemptOutcome.REFUSED),
    (DocumentRejected, Next.REFUSE, AttemptOutcome.REFUSED),
    (Throttled, Next.SLOW_DOWN, AttemptOutcome.REFUSED),
    (IdRefused, Next.LEARN_AGAIN, AttemptOutcome.REFUSED),
    (UnknownRecord, Next.GONE, AttemptOutcome.REFUSED),
    (AlreadyStamped, Next.ADOPT, AttemptOutcome.LOST),  # there is a stamp, and this answer did not bring it
    (Refused, Next.REFUSE, AttemptOutcome.REFUSED),
    (NotSent, Next.AGAIN, AttemptOutcome.NOT_SENT),
    (AnswerLost, Next.LOOK_UP, AttemptOutcome.LOST),
    (Exception, Next.LOOK_UP, AttemptOutcome.LOST),
)
"""The first row whose class fits decides; a subclass stands before its class."""

_CALLS = {
    "conectar": Call.AUTH,
    "utiles": Call.CATALOGS,
    "cliente": Call.CUSTOMER,
    "cliente_guardar": Call.CUSTOMER,
    "producto": Call.PRODUCT,
    "producto_guardar": Call.PRODUCT,
}


@dataclass(frozen=True)
class Failure:
    """One failed call, read: every caller matches `next`, and none looks at the error's class."""

    next: Next
    outcome: AttemptOutcome
    text: str
    wait: timedelta | None = None
    http_status: int | None = None
    codigo: int | None = None
    faults: tuple[Fault, ...] = ()
    has_words: bool = True
    """Whether `text` is what ContaDigital said: only then a user reads it."""
    breaks: tuple[BrokenReason, dict[str, str]] | None = None
    """Why a connection breaks, and what it keeps of the refusal: of `hold` alone."""

    def faults_or(self, fix: str) -> tuple[Fault, ...]:
        """Return what is wrong, in ContaDigital's own words where it named nothing."""
        if self.faults:
            return self.faults
        return (refused_by_contadigital(self.text, fix) if self.has_words else refused_without_words(),)


def decide(error: Exception) -> Failure:
    """Decide what comes after a failed call."""
    following, outcome = next((n, o) for kind, n, o in _NEXT if isinstance(error, kind))
    if not isinstance(error, ContaDigitalError):
        return Failure(following, outcome, str(error))
    if isinstance(error, AnswerLost) and error.http_status is not None and not error.is_outage:
        outcome = AttemptOutcome.UNUSABLE  # answered, and nobody knows what: no outage, and just as open
    return Failure(
        following,
        outcome,
        error.text,
        wait=error.retry_after,
        http_status=error.http_status,
        codigo=error.codigo,
        has_words=error.has_words,
        faults=error.faults if isinstance(error, DocumentRejected) else (),
        breaks=(BrokenReason(error.reason), detail_of(error))
        if isinstance(error, ConnectionRefused)
        else None,
    )


def call_of(error: ContaDigitalError) -> Call | None:
    """Return which of the calls before a save failed; None for any other call."""
    return _CALLS.get(error.call)


def detail_of(error: ConnectionRefused) -> dict[str, str]:
    """Return what a connection keeps of the refusal that broke it."""
    return {"cause": error.cause, "text": error.detail, "message": error.message, "fix": error.fix}


# --- how long to wait: exponential with full jitter for tries, growing steps for look-ups ---------------------------

BASE = timedelta(seconds=2)
CAP = timedelta(minutes=10)
FIRST_LOOKUP = timedelta(seconds=2)
LOOKUP_CAP = timedelta(minutes=2)
LATE_LOOKUP_CAP = timedelta(minutes=15)


def before_try(tries: int, chance: random.Random | None = None) -> timedelta:
    """Return the wait before the next try, after `tries` failed ones (from 1): full jitter, at most ten minutes.

    Never below a fifth of the step, so that a storm is spread and yet nobody comes back at once.
    """
    step = min(CAP, BASE * float(2 ** min(tries - 1, 16)))
    return step * _between(chance, 0.2, 1.0)


def before_lookup(
    lookups: int, *, past_quarantine: bool = False, chance: random.Random | None = None
) -> timedelta:
    """Return the wait before look-up number `lookups` + 1: two seconds, then twice as long each time."""
    cap = LATE_LOOKUP_CAP if past_quarantine else LOOKUP_CAP
    step = min(cap, FIRST_LOOKUP * float(2 ** min(lookups, 12)))
    return step * _between(chance, 0.8, 1.2)


def _between(chance: random.Random | None, low: float, high: float) -> float:
    return chance.uniform(low, high) if chance is not None else random.uniform(low, high)
