"""How the verbs print: results on standard output, the rest on standard error, colours on a terminal.

With `--json` standard output holds that JSON and nothing more, so that it can be piped. Tables and pages are as wide
as the terminal, and without padding in a file.
"""

import io
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console, RenderableType

from config.problem import Problem as Problem  # noqa: PLC0414 (exported: every verb raises it)
from config.redact import clean

Account = Annotated[str, typer.Argument(help="Apunto's id of the emisor's account.")]
ExternalId = Annotated[str, typer.Argument(help="Apunto's id of the invoice.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead, for programs.")]

WIDE = 200  # columns where there is no terminal to ask: a table in a log must not be cut


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else WIDE
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=False)


def out() -> Console:
    """Standard output, for results."""
    return _console(stderr=False)


def err() -> Console:
    """Standard error, for everything a person may want to know besides."""
    return _console(stderr=True)


def print_json(value: Any) -> None:
    """Print one JSON document, keys in the order given, text as it is written."""
    sys.stdout.write(_harmless(json.dumps(value, ensure_ascii=False, indent=2, default=_plain)) + "\n")
    sys.stdout.flush()


def print_json_line(value: Any) -> None:
    """Print one JSON document on one line (JSON Lines), for what goes on arriving."""
    sys.stdout.write(_harmless(json.dumps(value, ensure_ascii=False, default=_plain)) + "\n")
    sys.stdout.flush()


def _harmless(text: str) -> str:
    """Escape what moves a terminal's cursor, or its text about: JSON escapes only what is below a space."""
    return _MOVES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_MOVES = re.compile("[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""DEL, the C1 controls (\x9b begins a command as ESC [ does), and marks that turn the direction of text."""


def _plain(value: Any) -> Any:
    match value:
        case datetime() | date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal() | UUID() | Path():
            return str(value)
        case Enum():
            return value.value
        case Mapping():
            return dict(value)
        case Sequence() | set() | frozenset():
            return list(value)
    if hasattr(value, "as_dict"):
        return value.as_dict()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def explain(error: Exception) -> int:
    """Print why the command failed, in one line without a secret; return its exit code."""
    sys.stderr.write(f"timbrado: {clean(_one_line(error))}\n")
    return 1


def _one_line(error: Exception) -> str:

    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Problem):
        return text
    for module, name, what in (
        ("sqlalchemy.exc", "OperationalError", "the database does not answer (TIMBRADO_DATABASE_URL)"),
        ("sqlalchemy.exc", "ProgrammingError", "the database is not as expected: `timbrado migrate`?"),
        ("migrations", "NotUtf8", "the database will not do (TIMBRADO_DATABASE_URL)"),
        ("kombu.exceptions", "OperationalError", "the broker does not answer (TIMBRADO_BROKER_URL)"),
        ("redis.exceptions", "ConnectionError", "Redis does not answer (TIMBRADO_BROKER_URL)"),
    ):
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(error, kind):
            first = str(error).strip().splitlines()[:1]
            return f"{what}: {first[0][:200] if first else type(error).__name__}"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else text
    return f"unexpected {type(error).__name__}: {text[:300]} (--debug shows where)"


PAGE = (
    100  # columns of a page where there is no terminal to ask, so that what is set to the right can be read
)


def show(*parts: RenderableType, page: bool = False) -> None:
    """Print on standard output; a `page` is never wider than it reads well."""
    target = out()
    if target.is_terminal:
        width = min(target.width, PAGE + 20) if page else target.width
        for part in parts:
            target.print(part, width=width)
        return
    width = PAGE if page else target.width
    text = Console(file=io.StringIO(), width=width, no_color=True, color_system=None, highlight=False)
    for part in parts:
        text.print(part)
    lines = text.file.getvalue().splitlines()  # type: ignore[attr-defined]  # it is the StringIO above
    target.file.write("".join(f"{line.rstrip()}\n" for line in lines))
    target.file.flush()
