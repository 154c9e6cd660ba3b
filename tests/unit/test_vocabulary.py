"""The product's words are the field's: docs/glossary.md has them, and no removed term is left."""

import ast
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from models.tables import metadata

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
PRODUCT = (
    *(
        "api",
        "cfdi",
        "cli",
        "client",
        "config",
        "contadigital",
        "devstack",
        "events",
        "migrations",
        "models",
        "net",
    ),
    *("sandbox", "stamping", "storage", "tasks", "worker"),
)
REST = ("benchmarks", "docs", "tests", "tools")


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


REMOVED = words(
    "bell bells ring rings rung rang tell tells told tap taps handful pace slower door doors said hear heard hears "
    "corridor house rooms aside looks standing standings story stories chapter chapters turns duty duties notice "
    "notices wish wishes patience patient patiently mend mends mended lane lanes bury buried fears desk quiet held"
)
"""Words of docs/glossary.md's table of removed terms, in the forms that identifiers had."""

FOREIGN = {
    "api": "story",  # the contract's query parameter `?story=1`
    "client": "story",  # likewise
    "devstack": "tell",  # `file.tell()`
    "cli": "quiet",  # `--quiet`, as every Unix command has it
    "tests": "story",  # the contract's query parameter
}
"""Removed words that somebody else's interface asks for."""

IN_PROSE = words(
    "bell bells ring rings rung rang told tap taps handful door doors heard hears corridor house rooms stories chapter "
    "chapters mend mends mended patience wish wishes lane lanes bury buried desk fears"
)
"""Removed terms that no sentence needs either; the others are everyday words too (`a notice`, `to tell support`)."""

MIRRORED = frozenset({"ConnectionData", "InvoiceData"})
"""The client's public copy of what the worker sends: the same names on purpose."""


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def sources(folder: str) -> Iterator[Path]:
    yield from sorted((ROOT / folder).rglob("*.py"))


def names_in(tree: ast.AST) -> Iterator[str]:
    """Identifiers, and texts that name a column, a metric, an event or a task."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.alias(name=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.keyword(arg=str(name)):
                yield name
            case ast.Constant(value=str(text)) if re.fullmatch(r"[a-z][a-z0-9_.]+", text):
                yield text


def pages() -> Iterator[Path]:
    """What people read: pages, alerts, dashboards, compose files, SQL and templates; not the list of removed terms."""
    for pattern in ("*.md", "*.yml", "*.json", "*.sql", "*.html", "*.conf", "*.service"):
        for folder in (
            ".github",
            "api",
            "benchmarks",
            "client",
            "deploy",
            "docs",
            "examples",
            "sandbox",
            "stamping",
        ):
            yield from sorted((ROOT / folder).rglob(pattern))
        yield from sorted(ROOT.glob(pattern))


def prose_in(path: Path) -> Iterator[str]:
    """Comments and docstrings of a module."""
    with path.open("rb") as file:
        yield from (each.string for each in tokenize.tokenize(file.readline) if each.type == tokenize.COMMENT)
    for node in ast.walk(parsed(path)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.value.value


def words_of(name: str) -> set[str]:
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


@pytest.mark.parametrize("folder", [*PRODUCT, *REST])
def test_no_removed_term_is_left_in_a_name(folder):
    """Identifiers, columns, metrics, events and tasks use the terms of docs/glossary.md."""
    allowed = words(FOREIGN.get(folder, ""))
    found = defaultdict(set)
    for path in sources(folder):
        if path == Path(__file__):
            continue
        for name in names_in(parsed(path)):
            for word in words_of(name) & REMOVED - allowed:
                found[word].add(f"{path.relative_to(ROOT)}: {name}")

    assert not found


def test_no_removed_term_is_left_on_a_page():
    """Pages and their names, headings, alerts, dashboards, SQL and the titles of decisions use the terms too."""
    found = defaultdict(set)
    for path in pages():
        for text in (path.stem, *path.read_text(encoding="utf-8").splitlines()):
            if path != GLOSSARY and (left := words_of(text) & IN_PROSE):
                found[str(path.relative_to(ROOT))].add((*sorted(left), text.strip()[:200]))

    assert not found


@pytest.mark.parametrize("folder", [*PRODUCT, *REST])
def test_no_removed_term_is_left_in_a_comment(folder):
    """Comments and docstrings, of tests and tools too."""
    found = [
        (str(path.relative_to(ROOT)), *sorted(left), text)
        for path in sources(folder)
        if path != Path(__file__)
        for text in prose_in(path)
        if (left := words_of(text) & IN_PROSE)
    ]

    assert not found


def test_no_removed_term_is_left_in_a_table():
    """Tables and columns as PostgreSQL has them."""
    names = [table.name for table in metadata.sorted_tables]
    names += [column.name for table in metadata.sorted_tables for column in table.c]

    assert not [name for name in names if words_of(name) & REMOVED]


def test_no_module_has_a_removed_name():
    """A file is found by the field's term."""
    paths = [path for folder in (*PRODUCT, *REST) for path in sources(folder)]

    assert not [path for path in paths if words_of(path.stem) & REMOVED]


def test_no_two_classes_of_the_product_share_a_name():
    """One name, one meaning; the client's public mirror of the events is the exception."""
    where = defaultdict(set)
    for folder in PRODUCT:
        for path in sources(folder):
            if "tests" in path.parts:
                continue
            for node in ast.walk(parsed(path)):
                if isinstance(node, ast.ClassDef):
                    where[node.name].add(str(path.relative_to(ROOT)))
    shared = {name: places for name, places in where.items() if len(places) > 1}

    assert not {name: places for name, places in shared.items() if name not in MIRRORED}


def test_every_removed_term_is_in_the_glossary():
    """The table of removed terms says what to write instead."""
    text = GLOSSARY.read_text(encoding="utf-8")

    assert not [word for word in REMOVED if not re.search(rf"\b{word}\b", text)]
