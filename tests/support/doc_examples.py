"""The pieces of code in docs/, so that tests run what readers copy: `<!-- example: NAME -->`, then a fenced block."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
_EXAMPLE = re.compile(r"<!-- example: (?P<name>[\w-]+) -->\n```\w+\n(?P<text>.*?)```", re.DOTALL)


def page(name: str) -> str:
    """A page's text."""
    return (DOCS / name).read_text(encoding="utf-8")


def examples(name: str) -> dict[str, str]:
    """Every marked piece of code of a page, by its name."""
    return {found["name"]: found["text"] for found in _EXAMPLE.finditer(page(name))}
