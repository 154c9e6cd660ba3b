"""What the doctor reports of one thing: its level, what was seen, and how to fix it.

A customer's broken connection is `warn`, not `bad`: bad is what keeps this installation from doing its work.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a thing is."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of the doctor: what was checked, its level, what was found, and how to fix it."""

    what: str
    level: Level
    found: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it as plain values."""
        return {"what": self.what, "level": self.level.value, "found": self.found, "fix": self.fix}


CheckResults = Iterator[CheckResult]


def ok(what: str, found: str) -> CheckResult:
    """Return a thing that is well."""
    return CheckResult(what, Level.OK, found)


def warn(what: str, found: str, fix: str) -> CheckResult:
    """Return a thing that a person should look at."""
    return CheckResult(what, Level.WARN, found, fix)


def bad(what: str, found: str, fix: str) -> CheckResult:
    """Return a thing that keeps this installation from its work."""
    return CheckResult(what, Level.BAD, found, fix)
