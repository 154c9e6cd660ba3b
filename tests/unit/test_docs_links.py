"""Every link, file, command and setting that a page names exists."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from cli import VERBS, build
from config.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), DOCS / "llms.txt", ROOT / "CHANGELOG.md"]
OURS = [DOCS / name for name in ("architecture.md", "states.md", "operations.md", "errors.md", "settings.md")]
OURS += sorted((DOCS / "decisions").glob("*.md"))


def slug(heading: str) -> str:
    """The anchor of a heading."""
    kept = "".join(mark for mark in heading.strip().lower() if mark.isalnum() or mark in "-_ ")
    return kept.replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(line.lstrip("#")) for line in page.read_text().splitlines() if line.startswith("#")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_somewhere(page):
    """A relative link names a file, and its anchor a heading there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page

        assert other.exists(), target
        if anchor:
            assert anchor in anchors(other), target


@pytest.mark.parametrize("page", OURS, ids=lambda page: page.stem)
def test_a_file_that_is_named_exists(page):
    """A path in backticks is one of this repository."""
    packages = "worker|tasks|stamping|contadigital|storage|events|models|cfdi|config|sandbox|client|migrations|deploy"
    for path in re.findall(rf"`((?:{packages}|tests|docs)/[\w./-]*)`", page.read_text()):
        assert (ROOT / path).exists(), path


CALLED = r"(?:timbrado|\./dev run|docker compose exec worker python -m cli)"
COMMANDS = sorted(
    {
        (page.name, words)
        for page in PAGES
        for pattern in (rf"`{CALLED} ([a-z][^`]*)`", rf"^ +(?:\$ )?{CALLED} ([a-z][^#\n]*)")
        for words in re.findall(pattern, page.read_text(), re.MULTILINE)
    }
)


@pytest.mark.parametrize(("page", "words"), COMMANDS)
def test_a_command_that_is_named_exists_with_its_options(page, words):
    """Verb, sub-command and each option on a page are the command's."""
    verb, *rest = words.replace("[", "").replace("]", "").split()
    assert verb in {each.name for each in VERBS}

    found: Any = typer.main.get_command(build([verb])).commands[verb]
    while rest and rest[0] in getattr(found, "commands", {}):
        found = found.commands[rest.pop(0)]
    options = {name for each in found.params for name in each.opts} | {"--help"}
    assert {word for word in rest if word.startswith("--")} <= options


def test_a_picture_is_shown():
    """Each file of docs/images is on a page, and none is missing."""
    shown = {
        path for page in PAGES for path in re.findall(r"!\[[^\]]*\]\((images/[^)]+)\)", page.read_text())
    }
    assert shown == {f"images/{path.name}" for path in (DOCS / "images").iterdir()}


@pytest.mark.parametrize("page", OURS, ids=lambda page: page.stem)
def test_a_setting_that_is_named_exists(page):
    """A TIMBRADO_ name on a page is a field of Settings."""
    known = {f"TIMBRADO_{name.upper()}" for name in Settings.model_fields}
    known |= {f"{name}_FILE" for name in known} | {"TIMBRADO_REDIS_SERVER", "TIMBRADO_POSTGRES_BIN"}

    for name in re.findall(r"\bTIMBRADO_[A-Z_]+", page.read_text()):
        assert name in known | {"TIMBRADO_", "TIMBRADO_NAME_FILE"}, name


def test_decisions_are_numbered_listed_and_complete():
    """Each has its number, status and date, what was weighed against it and what follows, and is in the list."""
    pages = sorted((DOCS / "decisions").glob("0*.md"))
    listed = (DOCS / "decisions/README.md").read_text()

    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text()
        assert text.startswith(f"# {int(page.name[:4])}. ")
        assert re.search(
            r"^Status: (accepted|replaced by \d+)\. Date: 20\d\d-\d\d-\d\d\.$", text, re.MULTILINE
        ), page.name
        parts = re.findall(r"^## (Before|Decided|Alternatives|What follows)$", text, re.MULTILINE)
        assert parts == ["Before", "Decided", "Alternatives", "What follows"], page.name
        assert page.name in listed
