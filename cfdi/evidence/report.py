"""What an examination found: checks of the document by name, and differences from what was sent.

Two questions are kept apart. `is_good_cfdi`: is it a stamped CFDI with good seals, of these parties? A document for
which that is False proves no stamp. `differences`: where does it say something else than what was sent? Each is
`presentational` (the invoice is stamped as it was meant) or `substantial` (somebody has to accept it or cancel it).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Result(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_REACHED = "not_reached"
    """An earlier failure left nothing to check: as bad as failed."""
    NOT_ASKED = "not_asked"
    """What it compares with was not handed in (no PAC certificate, no UUID): neither good nor bad."""


class Severity(StrEnum):
    """Whether a difference changes what the invoice says."""

    PRESENTATIONAL = "presentational"
    SUBSTANTIAL = "substantial"


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a report; `detail` says what differs, also where the difference is presentational."""

    name: str
    result: Result
    detail: str = ""

    @property
    def passed(self) -> bool | None:
        """True for good, False for failed or out of reach, None where it was not asked."""
        return None if self.result is Result.NOT_ASKED else self.result is Result.PASSED


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the CFDI says otherwise than the invoice that was sent."""

    code: str
    """The comparison that found it: one of `content.COMPARISONS`."""
    field: str
    """The path in the invoice as Apunto sent it; empty where the whole of it is meant."""
    severity: Severity
    sent: str
    """What was sent, as a person reads it ("$20,720.00"); empty for nothing."""
    received: str
    """What the CFDI says, likewise."""
    message: str
    """The difference as a sentence for Apunto's user, in Spanish."""

    @property
    def is_substantial(self) -> bool:
        """Whether somebody has to decide about it."""
        return self.severity is Severity.SUBSTANTIAL

    def as_dict(self) -> dict[str, str]:
        """The difference as plain JSON values."""
        return {
            "code": self.code,
            "field": self.field,
            "severity": self.severity.value,
            "sent": self.sent,
            "received": self.received,
            "message": self.message,
        }


MOST_DIFFERENCES = 100
"""Differences written out in a stored report; 5,000 lines could differ in every field."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked and found, and what the document says of itself (None where it does not say)."""

    checks: tuple[Check, ...]
    differences: tuple[Difference, ...] = ()
    is_good_cfdi: bool = False
    """Whether it is a stamped CFDI with good seals, of the parties of the invoice."""
    uuid: str | None = None
    """In upper case, as the SAT writes it."""
    serie: str | None = None
    folio: str | None = None
    fecha_timbrado: datetime | None = None
    """As written: naive, the clock of the Zona Centro."""
    no_certificado: str | None = None
    """Of the emisor's CSD."""
    rfc_pac: str | None = None

    @property
    def substantial(self) -> tuple[Difference, ...]:
        """The differences that somebody has to accept, or cancel the CFDI for."""
        return tuple(each for each in self.differences if each.is_substantial)

    @property
    def presentational(self) -> tuple[Difference, ...]:
        """The differences that are recorded and change nothing."""
        return tuple(each for each in self.differences if not each.is_substantial)

    @property
    def ok(self) -> bool:
        """Whether this is the stamped CFDI of what was sent: a good one, without a substantial difference."""
        return self.is_good_cfdi and not self.substantial

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks to look at, the cause first."""
        return tuple(check for check in self.checks if check.result in (Result.FAILED, Result.NOT_REACHED))

    def as_dict(self) -> dict[str, object]:
        """The report as plain JSON values, to be stored with the document."""
        return {
            "ok": self.ok,
            "is_good_cfdi": self.is_good_cfdi,
            "uuid": self.uuid,
            "serie": self.serie,
            "folio": self.folio,
            "fecha_timbrado": self.fecha_timbrado.isoformat() if self.fecha_timbrado else None,
            "no_certificado": self.no_certificado,
            "rfc_pac": self.rfc_pac,
            "checks": [
                {"name": check.name, "result": check.result.value, "detail": check.detail}
                for check in self.checks
            ],
            "differences": [
                each.as_dict() for each in (*self.substantial, *self.presentational)[:MOST_DIFFERENCES]
            ],
        }
