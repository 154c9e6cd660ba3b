"""Reads invoices from files, folders and standard input, for `submit` and `demo`.

An invoice that is wrong is sent like any other, and the product reports its faults. Only what is no JSON, or names
no invoice, is refused here, with its file and line; then nothing at all is sent.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

SUFFIXES = (".json", ".jsonl", ".ndjson")


class NotAnInvoice(ValueError):
    """What was read is no JSON, or names no invoice; the text says where."""


@dataclass(frozen=True, slots=True)
class Read:
    """One invoice as it was written, and where."""

    invoice: dict[str, Any]
    where: str

    @property
    def key(self) -> tuple[str, str]:
        """(account, external_id)."""
        return self.invoice["account"], self.invoice["external_id"]


def read_all(names: list[str], stdin: TextIO, *, account: str | None = None) -> list[Read]:
    """Read every invoice of these files, folders or `-`; `account` stands in for theirs. Raises NotAnInvoice, OSError.

    A folder gives its JSON files, by name, and those of the folders in it.
    """
    found: list[Read] = []
    for name in names:
        if name == "-":
            found += _named(read_text(stdin.read(), "standard input"), account)
            continue
        path = Path(name)
        paths = (
            sorted(each for each in path.rglob("*") if each.suffix in SUFFIXES) if path.is_dir() else [path]
        )
        if not paths:
            raise NotAnInvoice(f"{path}: no {', '.join(SUFFIXES)} file in this folder")
        for each in paths:
            try:
                text = each.read_text(encoding="utf-8-sig")
            except UnicodeDecodeError as error:
                raise NotAnInvoice(f"{each}: not UTF-8 at byte {error.start}") from None
            found += _named(read_text(text, str(each)), account)
    return found


def read_text(text: str, name: str) -> Iterator[tuple[Any, str]]:
    """Read one JSON document, a list of them, or JSON Lines; each with where it stands. Raises NotAnInvoice."""
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    if not first:
        raise NotAnInvoice(f"{name}: empty")
    if first.strip().startswith("{") and _is_whole(first) and sum(bool(line.strip()) for line in lines) > 1:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _parse(line, name, number), f"{name}:{number}"
        return
    value = _parse(text, name, 1)
    if isinstance(value, list):
        for number, each in enumerate(value, 1):
            yield each, f"{name}, number {number}"
    else:
        yield value, name


def _named(values: Iterator[tuple[Any, str]], account: str | None) -> Iterator[Read]:
    for value, where in values:
        if not isinstance(value, dict):
            raise NotAnInvoice(f"{where}: an invoice is a JSON object, this is {_kind(value)}")
        if account is not None:
            value["account"] = account
        for name in ("account", "external_id"):
            if not isinstance(value.get(name), str) or not value[name].strip():
                hint = " (or give --account)" if name == "account" else ""
                raise NotAnInvoice(f"{where}: no {name}, so nobody could learn what came of it{hint}")
        yield Read(value, where)


def _parse(text: str, name: str, line: int) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise NotAnInvoice(
            f"{name}:{line + error.lineno - 1}: not JSON: {error.msg} (column {error.colno})"
        ) from None
    except (ValueError, RecursionError) as error:
        raise NotAnInvoice(f"{name}:{line}: not JSON: {error}") from None


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case _:
            return "a list"
