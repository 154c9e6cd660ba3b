"""The pages that are made from the code say what the code does today."""

import os

import pytest

from config.settings import Settings
from contadigital.reasons import REASONS
from events.types import EventType
from models.transitions import TRANSITIONS
from models.vocabulary import ConnectionStatus, InvoiceStatus
from tools.docs import errors, settings, states
from tools.docs.publish import HERE, PAGES, fill, made
from tools.docs.source import ROOT, comments_of, fields_of, functions_of


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_current(name):
    """`./dev publish` has nothing to change; `./dev golden` does the same."""
    page = made(name)
    if os.environ.get("UPDATE_GOLDEN"):
        (HERE / name).write_text(page, encoding="utf-8")

    assert (HERE / name).read_text(encoding="utf-8") == page, f"docs/{name}: ./dev publish"


def test_a_page_without_a_place_for_what_is_made_is_refused():
    """Only what stands between the marks is replaced."""
    page = "# T\n\n<!-- made: one -->\nold\n<!-- end: one -->\n\nkept\n"

    assert fill(page, {"one": ["new", "er"]}) == page.replace("old", "new\ner")
    with pytest.raises(ValueError, match="places"):
        fill(page, {"one": [], "two": []})


def test_every_move_is_explained_and_no_other():
    """docs/states.md has a sentence for each row of TRANSITIONS."""
    moves = {(source, target) for source, targets in TRANSITIONS.items() for target in targets}

    assert set(states.MOVES) == moves


@pytest.mark.parametrize("place", sorted({place for _, places in states.MOVES.values() for place in places}))
def test_who_is_named_to_make_a_move_exists(place):
    """Who is said to make a move exists."""
    path, _, function = place.partition(":")

    assert (ROOT / path).is_file()
    assert function in functions_of(path)


def test_every_status_says_what_it_means_and_who_acts():
    """Each status has a comment in the code and somebody in the table."""
    reported = comments_of("models/vocabulary.py", "InvoiceStatus")

    assert all(reported[status.name] for status in InvoiceStatus)
    assert set(states.WHO_ACTS) == set(InvoiceStatus)
    page = (HERE / "states.md").read_text(encoding="utf-8")
    assert all(f"| `{status}` |" in page for status in ConnectionStatus)


@pytest.mark.parametrize("field", fields_of("config/settings.py", "Settings"), ids=lambda field: field.name)
def test_a_setting_is_explained_in_one_place(field):
    """By its docstring, or where it has none by the page's own table."""
    assert bool(field.says) != (field.name in settings.MEANINGS)
    assert field.group in settings.GROUPS


def test_the_page_lists_every_setting_and_shows_no_default_of_a_secret():
    """settings.md has each field, and six secrets."""
    page = (HERE / "settings.md").read_text(encoding="utf-8")

    assert all(f"`TIMBRADO_{name.upper()}`" in page for name in Settings.model_fields)
    assert page.count("*(secret)*") == 6


def test_support_knows_what_to_do_about_each_code_of_ours():
    """A new code fails here until somebody says what support does about it; one that is gone, too."""
    assert set(errors.own_codes()) == set(errors.SUPPORT_CODES)


def test_support_knows_what_to_do_about_each_reason_and_event():
    """The support tables have a row for every one."""
    assert set(errors.SUPPORT_REASONS) == set(REASONS)
    assert set(errors.SUPPORT_EVENTS) == set(EventType)


def test_codes_are_found_wherever_a_package_builds_a_fault():
    """Also by a helper, with the text of a constant, and with what is only known later left open."""
    codes = errors.own_codes()

    (needs_relation, *_) = codes["CANC209"]
    assert needs_relation.field == "uuid_sustitucion"
    assert "…" in needs_relation.message
    assert {words.path for words in codes["timbrado.requiere_revision"]} == {"stamping/texts.py"}
    assert "timbrado.numero_sin_comillas" in codes
