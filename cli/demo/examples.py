"""The invoices of `examples/` and what should become of each: what `timbrado demo` sends.

The folder says what is expected: those of `good` are stamped, those of `wrong` are refused. The period of a global
invoice is set to the month in which it is sent.
"""

import copy
import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from cli.console import Problem

GOOD, WRONG = "good", "wrong"
CENTRO = ZoneInfo("America/Mexico_City")


@dataclass(frozen=True, slots=True)
class Example:
    """One invoice to send: under its own name, and whether it should be stamped."""

    name: str
    invoice: dict[str, Any]
    should_stamp: bool
    codes: tuple[str, ...] = ()
    """Codes that its refusal must have, where the examples name them."""


def load(folder: Path) -> list[Example]:
    """Read every example, by name, the good ones first. Raises Problem."""
    expected = _expected(folder)
    found = []
    for kind in (GOOD, WRONG):
        for path in sorted((folder / kind).glob("*.json")):
            name = f"{kind}/{path.name}"
            try:
                invoice = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise Problem(f"{path}: not JSON: {error}") from None
            found.append(Example(path.stem, invoice, kind == GOOD, expected.get(name, ())))
    if not any(each.should_stamp for each in found):
        raise Problem(f"{folder}: no examples there (good/*.json, wrong/*.json)")
    return found


def _expected(folder: Path) -> dict[str, tuple[str, ...]]:
    """Read which codes each wrong example must be refused with: the table of the folder's README."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    found = {}
    for name, codes in _ROW.findall(text):
        found[f"{WRONG}/{name}.json"] = tuple(_CODE.findall(codes))
    return found


_ROW = re.compile(r"^\| `([\w.-]+)` \| (?:timbrado|contadigital|sat) \|([^|]*)\|", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")


def of_one_run(
    examples: list[Example], *, account: str, prefix: str, how_many: int | None, now: datetime
) -> list[Example]:
    """Return the examples with ids of one run's own, repeated up to `how_many`, so that a second run stamps again."""
    total = how_many if how_many is not None else len(examples)
    made = []
    for index in range(total):
        example = examples[index % len(examples)]
        invoice = copy.deepcopy(example.invoice)
        round_ = index // len(examples)
        suffix = f"-{round_ + 1}" if round_ else ""
        invoice["account"] = account
        invoice["external_id"] = f"{prefix}{example.name}{suffix}"
        if example.should_stamp:
            _date_to(invoice, now)
        made.append(Example(example.name, invoice, example.should_stamp, example.codes))
    return made


def _date_to(invoice: dict[str, Any], now: datetime) -> None:
    """Set the period of a global invoice to the month in which it is sent."""
    period = invoice.get("informacion_global")
    if isinstance(period, dict) and period.get("periodicidad") != "05":  # 05: two months, named from 13 to 18
        today = now.astimezone(CENTRO)
        period["meses"], period["anio"] = f"{today:%m}", today.year
