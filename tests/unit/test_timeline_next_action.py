"""Whose turn it is: what comes next, and who must act, for each way an invoice can stand."""

from datetime import timedelta

import pytest

from contadigital.reasons import explain
from models.tables import providers
from models.vocabulary import InvoiceStatus
from stamping.texts import NEVER_SENT
from stamping.timeline.next_action import Actor
from stamping.timeline.read import compose
from tests.support.invoice_histories import NOW, QUARANTINE, Past, a_connection, a_delivery, a_fault, a_row

AN_HOUR = timedelta(hours=1)
LATER = NOW + timedelta(seconds=30)


def next_of(past: Past, *, now=NOW):
    timeline = compose(past.rows(), now=now, quarantine=QUARANTINE)
    return timeline.next, timeline.act


def with_connection(past: Past, **changes) -> Past:
    past.connection = a_connection(**changes)
    return past


def test_nobody_acts_while_it_goes_on_by_itself():
    """An accepted invoice waits for its first try."""
    step, act = next_of(Past().came_in())

    assert (step.what, step.at) == ("the first try", NOW)
    assert act.who is Actor.NOBODY


def test_a_paused_account_is_released_by_an_operator():
    """A held account is released by an operator."""
    step, act = next_of(with_connection(Past().came_in(), paused=True))

    assert "once an operator releases" in step.what
    assert (act.who, act.commands) == (Actor.OPERATOR, ("timbrado release acme",))


def test_a_throttled_account_says_until_when():
    """A throttle says when it ends."""
    step, act = next_of(with_connection(Past().came_in(), throttled_until=LATER))

    assert step.at == LATER
    assert act.who is Actor.NOBODY


def test_past_its_time_with_nobody_at_work_somebody_checks_whether_anything_runs():
    """Past its time with nobody at work somebody looks whether anything runs."""
    _, act = next_of(Past().came_in(), now=NOW + AN_HOUR)

    assert (act.who, act.commands) == (Actor.OPERATOR, ("timbrado doctor",))


def test_past_its_time_behind_a_full_account_is_only_waiting():
    """The concurrency limit is the reason shown."""
    past = Past().came_in()
    past.in_flight = 4
    step, act = next_of(past, now=NOW + AN_HOUR)

    assert "4 under way" in step.what
    assert act.who is Actor.NOBODY


def test_a_call_under_way_is_named_with_the_end_of_its_claim():
    """Its number, its kind, and when the lease runs out."""
    past = Past().came_in().saved().tried(0.5, "stamp", None)
    step, act = next_of(past)

    assert step.what.startswith("the answer to call 2 (stamp)")
    assert step.at == NOW + timedelta(seconds=120)
    assert act.who is Actor.NOBODY


def in_doubt(**values) -> Past:
    past = Past().came_in().saved().tried(0.5, "stamp", "lost", 100)
    facts = {"doubt": "stamp", "doubt_since": NOW, "claimed_until": None, "next_attempt_at": LATER} | values
    return past.moved(1, "in_doubt", **facts)


def test_a_no_is_not_believed_before_the_quarantine_ends():
    """The sentence has the number of the look-up and the time."""
    step, act = next_of(in_doubt(lookups=2))

    assert step.what == "look-up 3; a no is believed from 16:35:00 UTC, and not before"
    assert (step.at, act.who) == (LATER, Actor.NOBODY)


def test_after_the_quarantine_a_no_is_believed_where_a_known_stamp_answers():
    """A control has to be found in the same way."""
    step, _ = next_of(in_doubt(next_attempt_at=NOW + AN_HOUR), now=NOW + AN_HOUR)

    assert "is believed now, where a look-up of a known stamp answers" in step.what


def test_a_no_is_never_believed_of_what_was_called_stamped():
    """An operator acts there."""
    step, act = next_of(in_doubt(next_attempt_at=NOW + AN_HOUR, record_hash=None), now=NOW + AN_HOUR)

    assert "ContaDigital has called it stamped" in step.what
    assert act.who is Actor.OPERATOR


def test_a_long_doubt_names_an_operator_and_is_looked_up_on():
    """After an hour: look-ups alone may never end it, and what a person finds at ContaDigital does."""
    step, act = next_of(in_doubt(lookups=9, next_attempt_at=NOW + AN_HOUR), now=NOW + AN_HOUR)

    assert step.what.startswith("look-up 10")
    assert (act.who, act.commands[0].split("  ")[0]) == (Actor.OPERATOR, "timbrado retry acme OP-10234-1")


def test_a_doubt_waits_for_its_connection():
    """While it is broken the user acts."""
    past = with_connection(in_doubt(next_attempt_at=NOW), status="broken", reason="key_rejected")
    step, act = next_of(past, now=NOW + AN_HOUR)

    assert "once its connection is active" in step.what
    assert (act.who, act.why) == (Actor.USER, "the connection is broken: key_rejected")


@pytest.mark.parametrize(
    ("connection", "who", "reported"),
    [
        (None, Actor.USER, "not connected"),
        ({"status": "disconnected"}, Actor.USER, "not connected"),
        ({"status": "pending"}, Actor.NOBODY, "being validated"),
        ({"status": "broken", "reason": "key_rejected"}, Actor.USER, "broken: key_rejected"),
        ({"status": "broken", "reason": "no_stamps", "next_probe_at": LATER}, Actor.USER, "no_stamps"),
        (
            {"status": "broken", "reason": "unreachable", "next_probe_at": LATER},
            Actor.NOBODY,
            "cannot be reached",
        ),
        ({"status": "broken", "reason": "stamps_differ"}, Actor.OPERATOR, "stamps_differ"),
        (
            {"status": "broken", "reason": "unreachable", "cause": "not_understood", "next_probe_at": LATER},
            Actor.OPERATOR,
            "broken: unreachable",
        ),
        ({"status": "active"}, Actor.NOBODY, "goes on by itself"),
    ],
)
def test_on_hold_whoever_can_fix_the_connection_acts(connection, who, reported):
    """The user for a key, nobody for an outage."""
    past = Past().came_in().moved(1, "on_hold", next_attempt_at=None)
    cause = (connection or {}).pop("cause", "")
    past.connection = a_connection(**connection) if connection is not None else None
    if past.connection is not None and past.connection["status"] == "broken":
        past.broken = explain(past.connection["reason"], cause)
    _, act = next_of(past)

    assert act.who is who
    assert reported in act.why


def test_the_user_corrects_what_is_rejected_and_each_fix_is_reported_once():
    """Each fix once, by the name that a person has for the field, not by its path."""
    faults = [
        a_fault("a", "conceptos[1].nombre", "mal", "Corrígelo."),
        a_fault("b", "conceptos[1].nombre", "peor", "Corrígelo."),
        a_fault("c", "", "mal", "Revísala."),
    ]
    _, act = next_of(Past().moved(0, "rejected", errors=faults, next_attempt_at=None))

    assert (act.who, act.fixes) == (
        Actor.USER,
        ("Nombre del producto, línea 2: Corrígelo.", "Factura: Revísala."),
    )


@pytest.mark.parametrize(("whose", "who"), [
    (("apunto",), Actor.OPERATOR), (("support", "apunto"), Actor.OPERATOR), (("apunto", "user"), Actor.USER),
    (("contadigital",), Actor.USER),
])  # fmt: skip
def test_a_refusal_is_of_whoever_its_faults_say(whose, who):
    """The same `whose` that the event's errors carry: no user is named for what only others can correct."""
    faults = [{**a_fault("a", "total", "mal", "Corrígelo."), "whose": each} for each in whose]
    _, act = next_of(Past().moved(0, "rejected", errors=faults, next_attempt_at=None))

    assert act.who is who


def test_one_that_could_not_be_sent_for_three_days_is_an_operator_s():
    """Its fix sends the user to support: then it is not the user who must act."""
    past = failed("expired", external_id="OP-1")
    past.stands(errors=[NEVER_SENT.as_dict()])
    _, act = next_of(past)

    assert (act.who, act.commands) == (Actor.OPERATOR, ("timbrado connections acme",))


def failed(reason: str, **values) -> Past:
    facts = {"reason": reason, "next_attempt_at": None, "errors": [a_fault("x", "", "m", "Qué hacer.")]}
    return Past(**values).came_in().moved(9, "failed", **facts)


def test_past_the_72_hours_the_user_sends_it_anew():
    """With the fix of its error and no command."""
    _, act = next_of(failed("expired"))

    assert (act.who, act.fixes, act.commands) == (Actor.USER, ("Qué hacer.",), ())


@pytest.mark.parametrize(("record", "commands"), [(48211, 3), (None, 2)])
def test_where_nobody_can_know_an_operator_checks_before_anything_is_sent(record, commands):
    """A retry is offered only where there is an Id to look up by."""
    _, act = next_of(failed("needs_person", record_id=record, external_id="OP 1"))

    assert act.who is Actor.OPERATOR
    assert "do not send it again" in act.why
    assert act.commands[0] == "timbrado documents acme 'OP 1'"
    assert len(act.commands) == commands


def test_deliveries_that_were_given_up_need_an_operator():
    """Notices that were given up need an operator."""
    dead = a_delivery(NOW, status="dead", delivered_at=None)
    past = Past().came_in().saved().was_stamped(1).sent(1, "invoice.stamped", deliveries=(dead,))
    _, act = next_of(past)

    assert (act.who, "given up" in act.why) == (Actor.OPERATOR, True)


@pytest.mark.parametrize(
    ("asked", "reported"),
    [(None, "is asked for"), ("done", "how the cancellation stands"), ("refused", "is asked for")],
)
def test_a_cancellation_is_asked_for_and_then_asked_about(asked, reported):
    """What comes next depends on the last call's outcome."""
    past = Past().came_in().saved().was_stamped(1).moved(60, "cancelling", motivo="02", next_attempt_at=LATER)
    if asked:
        past.tried(61, "cancel", asked, 90)
    step, act = next_of(past)

    assert reported in step.what
    assert act.who is Actor.NOBODY


@pytest.mark.parametrize("status", InvoiceStatus)
def test_every_status_has_a_next_step_and_somebody_or_nobody(status):
    """Whatever the row says besides, a timeline can be made of it."""
    past = Past()
    past.stands(
        status=status, reason="expired" if status == "failed" else None, doubt="stamp", doubt_since=NOW
    )
    past.provider = a_row(providers)
    step, act = next_of(past)

    assert step.what
    assert act.who in Actor


def test_a_stamp_that_differs_waits_for_an_operator_to_accept_or_cancel_it():
    """`differs` never ends by itself, so an operator is named with both commands."""
    _, act = next_of(Past().came_in().moved(2, "differs"))

    assert act.who is Actor.OPERATOR
    assert [command.split()[1] for command in act.commands] == ["accept", "cancel"]


def test_one_that_a_person_closed_as_not_stamped_is_sent_again_by_its_user():
    """After `resolve --not-stamped` nothing is unknown any more."""
    _, act = next_of(Past().came_in().moved(2, "failed", reason="not_stamped"))

    assert act.who is Actor.USER


def test_a_withdrawn_invoice_needs_nobody():
    """Withdrawn is an end: nothing comes next."""
    step, act = next_of(Past().came_in().moved(2, "withdrawn"))

    assert step.what == "nothing: it is done"
    assert act.who is Actor.NOBODY
    assert act.why == ""
