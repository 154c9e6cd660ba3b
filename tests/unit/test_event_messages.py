"""What an event says to Apunto's user."""

import re
from types import SimpleNamespace

import pytest

from events.messages import MESSAGES, message
from events.types import EventType
from stamping.notify import invoice_event
from stamping.texts import EXPIRED, NEVER_SENT

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


def message_of(kind, **facts):
    """The message of an event of an invoice with these facts."""
    names = ("id", "uuid", "serie", "folio", "fecha_timbrado", "trace_id", "reason", "doubt")
    row = {
        "account": "acme", "external_id": "1", "version": 1, "status": kind.partition(".")[2], "errors": [],
        "warnings": [], **dict.fromkeys(names), **facts,
    }  # fmt: skip
    return invoice_event(SimpleNamespace(**row), kind).data["message"]


@pytest.mark.parametrize(("whose", "says"), [
    (("user",), "un dato por corregir"), (("apunto", "user"), "2 datos por corregir"),
    (("contadigital",), "un dato por corregir"),
    (("apunto",), "tú no puedes corregir"), (("apunto", "support"), "tú no puedes corregir"),
])  # fmt: skip
def test_nobody_is_asked_to_correct_what_only_others_can(whose, says):
    """A refusal for what the application or the system did wrong leads to support, and not back to the data."""
    assert says in message_of("invoice.rejected", errors=[{"whose": each} for each in whose])


def test_one_that_could_not_be_sent_is_not_put_down_to_the_sat_s_72_hours():
    """It has no date of its own yet: the 72 hours are the SAT's only where one was given."""
    never = message_of("invoice.failed", reason="expired", errors=[NEVER_SENT.as_dict()])
    late = message_of("invoice.failed", reason="expired", errors=[EXPIRED.as_dict()])

    assert ("72 horas" in never, "72 horas" in late) == (False, True)
    assert "Contacta a soporte" in never


def test_an_accepted_invoice_with_warnings_says_that_it_has_some():
    """Else its user reads that there is nothing to do, and nothing of them."""
    assert "No tienes que hacer nada" in message_of("invoice.accepted")
    assert "avisos" in message_of("invoice.accepted", warnings=[{"code": "timbrado.carta_porte"}])
