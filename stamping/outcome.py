"""The ways an attempt can end, as values: a task matches them, and the type checker asks for the one we forgot."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Stamped:
    """The CFDI exists, its XML is safe, and its event is written."""

    account: str
    uuid: str
    lacks_pdf: bool = False
    mail: bool = False


@dataclass(frozen=True)
class Differs:
    """The CFDI exists and says something else than what was sent: somebody accepts or cancels it."""

    account: str
    uuid: str


@dataclass(frozen=True)
class Rejected:
    """Its data is wrong; its event says what to correct."""

    account: str


@dataclass(frozen=True)
class Later:
    """Certainly not stamped; due again by itself after `delay`."""

    account: str
    delay: timedelta


@dataclass(frozen=True)
class InDoubt:
    """An answer was lost: it is looked up after `delay`, and not sent meanwhile."""

    account: str
    delay: timedelta


@dataclass(frozen=True)
class OnHold:
    """Its connection is broken; it goes on once that is repaired."""

    account: str


@dataclass(frozen=True)
class Failed:
    """Given up, with a reason that a person can read."""

    account: str


@dataclass(frozen=True)
class Full:
    """The account has as many calls in flight as it may: whoever finishes enqueues the next."""

    account: str


@dataclass(frozen=True)
class NotOurs:
    """Nothing to do: another worker has it, it is not due, or the claim passed to another while we worked."""


Outcome = Stamped | Differs | Rejected | Later | InDoubt | OnHold | Failed | Full | NotOurs
