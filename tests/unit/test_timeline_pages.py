"""`timbrado status`: eleven lives of an invoice, each on one page that is held against a file."""

import io
from datetime import timedelta

import pytest
from rich.console import Console

from cli.status_page import page
from stamping.timeline.entries import Timeline
from stamping.timeline.read import compose
from tests.support.golden import assert_golden
from tests.support.invoice_histories import HISTORIES, QUARANTINE


def timeline_of(name: str) -> Timeline:
    past, seconds = HISTORIES[name]()
    return compose(past.rows(), now=past.now + timedelta(seconds=seconds), quarantine=QUARANTINE)


def rendered(timeline: Timeline, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, no_color=True, highlight=False, color_system=None)
    console.print(page(timeline))
    text = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


@pytest.mark.parametrize("name", HISTORIES)
def test_a_timeline_reads_as_it_did(name):
    """A story reads as it did."""
    assert_golden(f"timelines/{name}.txt", rendered(timeline_of(name), 100))


@pytest.mark.parametrize("name", HISTORIES)
def test_a_timeline_fits_a_narrow_terminal(name):
    """A story fits a narrow terminal."""
    assert max(map(len, rendered(timeline_of(name), 80).splitlines())) <= 80
