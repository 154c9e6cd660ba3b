"""docs/unknowns.md stays true: each line is numbered once, and the place it names exists in contadigital/."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "unknowns.md"
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if re.match(r"\| \d+ \|", line)
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_place_of_an_unknown_exists(row: list[str]):
    """Each row of docs/unknowns.md names an object of contadigital/ that can be imported."""
    place = re.fullmatch(r"`(\w+)\.py: ([\w.]+)`", row[4])

    assert place is not None, f"row {row[0]} names no place"
    found = importlib.import_module(f"contadigital.{place[1]}")
    for name in place[2].split("."):
        found = getattr(found, name)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_an_unknown_says_how_sure_it_is_and_what_it_costs(row: list[str]):
    """A row has its kind of knowledge, from the list, and what it costs us if it is otherwise."""
    assert len(row) == 5
    assert set(row[2].split(", ")) <= {"written", "inferred", "assumed", "ours"}
    assert len(row[3]) > 5


def test_unknowns_are_numbered_in_order():
    """The rows count from 1 without a gap, so that other pages can refer to a number."""
    assert [int(row[0]) for row in ROWS] == list(range(1, len(ROWS) + 1))
