"""What an event says to Apunto's user."""

import re

import pytest

from events.messages import MESSAGES, message
from events.types import EventType

FACTS = {
    "count": 3,
    "why": "ContaDigital no responde.",
    "fix": "No hagas nada.",
    "hours": 6,
    "stamps_left": 12,
}

SENDING_AGAIN_IS_THE_MISTAKE = {"invoice.on_hold", "invoice.delayed", "invoice.in_doubt"}


def test_every_event_has_a_text():
    """Each type has its plain text, and no text is of an unknown type."""
    assert {type_ for type_, _ in MESSAGES} == set(EventType)
    assert all((type_, "") in MESSAGES for type_ in EventType)


@pytest.mark.parametrize(("type_", "variant"), list(MESSAGES))
def test_every_text_is_whole(type_, variant):
    """With its facts each is one or more whole Spanish sentences with nothing left open."""
    text = message(type_, variant, **FACTS)

    assert text[0].isupper()
    assert text.endswith(".")
    assert not re.search(r"[{}]|  |\n|None", text)
    assert not re.search(r"\b(usted|su factura|envíela|corríjal[oa]|contacte)\b", text.lower())


@pytest.mark.parametrize(
    ("type_", "variant"), [key for key in MESSAGES if key[0] in SENDING_AGAIN_IS_THE_MISTAKE]
)
def test_who_waits_is_advised_not_to_send_again_or_what_to_do(type_, variant):
    """Who waits reads not to send again or what to do."""
    text = message(type_, variant, **FACTS)

    assert re.search(r"no la (envíes|solicites) de nuevo|atiéndelo ya", text)


@pytest.mark.parametrize(
    ("type_", "variant", "facts", "says"),
    [
        ("invoice.stamped", "", {}, "Factura timbrada."),
        ("invoice.rejected", "", {"count": 1}, "un dato por corregir"),
        ("invoice.rejected", "", {"count": 7}, "7 datos por corregir"),
        ("invoice.on_hold", "", FACTS, "ContaDigital no responde. No hagas nada."),
        ("invoice.delayed", "hours", {"hours": 6}, "menos de 6 horas"),
        ("invoice.delayed", "hours", {"hours": 1}, "menos de una hora"),
        ("invoice.failed", "expired", {}, "72 horas"),
        ("invoice.failed", "needs_person", {}, "No la envíes de nuevo"),
        ("invoice.failed", "no_such_variant", {}, "contacta a soporte"),
        ("connection.broken", "", {"why": "Texto con {llaves} dentro."}, "Texto con {llaves} dentro."),
        ("connection.stamps_low", "", {"stamps_left": 12}, "12 timbres"),
        ("connection.stamps_low", "", {"stamps_left": 1}, "Te queda un timbre"),
        ("connection.stamps_low", "", {}, "pocos timbres"),
    ],
)
def test_a_text_says_the_facts(type_, variant, facts, says):
    """Counts, hours and reasons stand in it, in singular and plural."""
    assert says in message(type_, variant, **facts)


def test_a_missing_fact_is_an_error_not_a_hole_in_the_text():
    """The KeyError names the fact."""
    with pytest.raises(KeyError, match="why"):
        message("invoice.on_hold")
