"""What the doctor reports of one thing: its level, what was seen, and how to fix it.

A customer's broken connection is `warn`, not `bad`: bad is what keeps this installation from doing its work.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from celery import Celery

from config.logging import clean
from config.settings import Settings
from stamping.tools import Tools


class Level(StrEnum):
    """How a thing is."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's: what was looked at, how it is, what was seen, and what to mend."""

    what: str
    level: Level
    said: str
    mend: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it as plain values."""
        return {"what": self.what, "level": self.level.value, "said": self.said, "mend": self.mend}


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined."""

    settings: Settings
    tools: Tools
    app: Celery


Findings = Iterator[Finding]


def ok(what: str, said: str) -> Finding:
    """Return a thing that is well."""
    return Finding(what, Level.OK, said)


def warn(what: str, said: str, mend: str) -> Finding:
    """Return a thing that somebody should look at."""
    return Finding(what, Level.WARN, said, mend)


def bad(what: str, said: str, mend: str) -> Finding:
    """Return a thing that keeps this installation from its work."""
    return Finding(what, Level.BAD, said, mend)


def one_line(error: Exception) -> str:
    """Return an error on one line, without a secret."""
    text = " ".join(str(error).split()) or type(error).__name__
    return clean(text)[:240]
