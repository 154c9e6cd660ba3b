"""A lost answer may hide a stamp: how each doubt ends, and that nothing is ever stamped twice."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stamping.connections import connect
from stamping.outcome import Differs, Failed, InDoubt, Later, NotOurs, Stamped
from stamping.timeline import read as timeline
from stamping.timeline.next_action import Actor
from storage import open_store
from tests.support.harness import Harness, open_harness, sweep

LOST_AFTER: list[dict[str, Any]] = [
    {"fault": "drop_after"},
    {"fault": "cut_body"},
    {"fault": "status_after", "status": 500},
    {"fault": "status_after", "status": 502},
    {"fault": "status_after", "status": 503},
    {"fault": "status_after", "status": 504},
    {"fault": "html"},
    {"fault": "not_object"},
    {"fault": "not_json"},
    {"fault": "empty_envelope"},
    {"fault": "no_uuid"},
    {"fault": "refuses_after"},
    {"fault": "slow_drip", "seconds": 20},
    {"fault": "silence_after", "seconds": 20},
    {"fault": "no_documents"},
]


@pytest.mark.parametrize("rule", LOST_AFTER, ids=lambda rule: f"{rule['fault']}{rule.get('status', '')}")
def test_a_stamp_whose_answer_was_lost_is_found_and_adopted(harness: Harness, rule: dict[str, Any]) -> None:
    """It was stamped: one look-up finds the UUID, its evidence holds, and nothing was sent a second time."""
    invoice_id = harness.submit()
    harness.sandbox.play(account=harness.account, call="stamp", times=1, **rule)

    assert isinstance(harness.stamp(invoice_id), InDoubt)
    assert harness.row(invoice_id).status == "in_doubt"
    harness.look_until(invoice_id, "stamped", most=3)

    assert (harness.stamps(), harness.duplicates()) == (1, 0)
    assert [call for call, _ in harness.attempts(invoice_id)].count("stamp") == 1
    assert harness.event_types()[-2:] == ["invoice.in_doubt", "invoice.stamped"]


LOST_BEFORE: list[dict[str, Any]] = [
    {"fault": "drop_before"},
    {"fault": "status_before", "status": 500},
    {"fault": "status_before", "status": 503},
    {"fault": "silence_before", "seconds": 20},
    {"fault": "html", "done": False},
]


@pytest.mark.parametrize("rule", LOST_BEFORE, ids=lambda rule: f"{rule['fault']}{rule.get('status', '')}")
def test_a_no_is_believed_after_a_whole_quarantine_and_then_the_same_id_is_stamped(
    harness: Harness, rule: dict[str, Any]
) -> None:
    """It was not stamped: look-ups say so for fifteen minutes, a control answers, and the same Id goes again."""
    harness.stamped("CONTROL")
    invoice_id = harness.submit()
    harness.sandbox.play(account=harness.account, call="stamp", times=1, **rule)

    assert isinstance(harness.stamp(invoice_id), InDoubt)
    first = harness.row(invoice_id)
    assert harness.look_until(invoice_id, "waiting") >= 5
    waited = harness.tools.clock.now() - first.doubt_since
    assert isinstance(harness.stamp(invoice_id), Stamped)

    after = harness.row(invoice_id)
    assert waited >= harness.tools.policy.quarantine
    assert (after.record_id, after.fecha) == (first.record_id, first.fecha)
    assert harness.duplicates() == 0
    assert harness.stamps() == 2
    assert ("stamp", "proven_no") in harness.attempts(invoice_id)


def test_nothing_is_sent_while_the_outcome_is_unknown(harness: Harness) -> None:
    """A message for an invoice in doubt finds nothing to do, however often it is sent."""
    invoice_id = harness.submit()
    harness.sandbox.play("drop_before", account=harness.account, call="stamp", times=1)
    harness.stamp(invoice_id)

    outcomes = [harness.stamp(invoice_id) for _ in range(5)]

    assert outcomes == [NotOurs()] * 5
    assert [call for call, _ in harness.attempts(invoice_id)].count("stamp") == 1


def test_without_a_control_a_no_is_never_believed(harness: Harness) -> None:
    """Where no known stamp can be looked up in the same breath, no time is long enough."""
    invoice_id = harness.submit()
    harness.sandbox.play("drop_before", account=harness.account, call="stamp", times=1)
    harness.stamp(invoice_id)

    for _ in range(20):
        harness.look(invoice_id)

    assert harness.row(invoice_id).status == "in_doubt"
    assert harness.tools.clock.now() - harness.row(invoice_id).doubt_since > timedelta(hours=1)


def test_a_doubt_that_nothing_can_end_names_a_person_and_is_looked_up_on(harness: Harness) -> None:
    """An account's first stamp, lost, has no known stamp beside it: after an hour its user gets one event, and an
    operator is named; the sweep goes on looking it up for days, and sends nothing."""
    invoice_id = harness.submit()
    harness.sandbox.play("drop_before", account=harness.account, call="stamp", times=1)
    harness.stamp(invoice_id)
    known = {}
    for minutes in (0, 55, 10, 600, 3_000):
        harness.later(minutes=minutes)
        harness.go_on()  # what it is reminded of and what is looked up come in two sweeps
        harness.go_on()
        known[minutes] = (acts(harness), harness.event_types().count("invoice.in_doubt"))

    assert known == {
        0: (Actor.NOBODY, 1),
        55: (Actor.NOBODY, 1),
        10: (Actor.OPERATOR, 2),
        600: (Actor.OPERATOR, 2),
        3_000: (Actor.OPERATOR, 2),
    }
    assert harness.attempts(invoice_id).count(("look_up", "no")) >= 4
    assert harness.stamps() == 0


def acts(harness: Harness) -> Actor:
    """Who must act, as `timbrado status` says it of the account's only invoice."""
    now, quarantine = harness.tools.clock.now(), harness.tools.policy.quarantine
    with harness.tools.engine.connect() as db:
        found = timeline.read(db, harness.account, "OP-1", now=now, quarantine=quarantine)
    assert found is not None
    return found.act.who


def test_a_control_that_does_not_answer_proves_nothing(harness: Harness) -> None:
    """Where the look-up denies even a stamp that we know of, its no about another is worth nothing."""
    harness.stamped("CONTROL")
    invoice_id = harness.submit()
    harness.sandbox.play("drop_before", account=harness.account, call="stamp", times=1)
    harness.sandbox.play("deny", account=harness.account, call="look_up", seconds=10_000_000)
    harness.stamp(invoice_id)

    for _ in range(15):
        harness.look(invoice_id)
    assert harness.row(invoice_id).status == "in_doubt"
    harness.sandbox.calm()
    harness.look(invoice_id)

    assert harness.row(invoice_id).status == "waiting"


def test_stamps_that_are_too_new_to_be_reported_do_not_keep_a_doubt_open(harness: Harness) -> None:
    """The control is as old as the doubt: under load the newest stamp is denied each time somebody asks."""
    harness.stamped("BEFORE")
    invoice_id = harness.submit()
    harness.sandbox.play("drop_before", account=harness.account, call="stamp", times=1)
    harness.stamp(invoice_id)
    harness.stamped("SINCE")
    harness.sandbox.play("deny", account=harness.account, call="look_up", seconds=60)

    for number in range(30):
        due_in = harness.row(invoice_id).next_attempt_at - harness.tools.clock.now()
        harness.later(seconds=max(due_in.total_seconds(), 0) + 0.01)
        harness.stamped(f"NEW-{number}")
        harness.look(invoice_id)
        if harness.row(invoice_id).status != "in_doubt":
            break

    assert harness.row(invoice_id).status == "waiting"
    assert isinstance(harness.stamp(invoice_id), Stamped)
    assert harness.duplicates() == 0


def test_one_look_up_that_nobody_answers_costs_a_doubt_seconds(harness: Harness) -> None:
    """After a quarantine of noes too: what was not answered is asked again soon, and less often the longer it lasts."""
    harness.stamped("CONTROL")
    invoice_id = harness.submit()
    harness.sandbox.play("drop_before", account=harness.account, call="stamp", times=1)
    harness.stamp(invoice_id)
    while harness.row(invoice_id).next_attempt_at - harness.row(invoice_id).doubt_since < timedelta(
        minutes=15
    ):
        harness.look(invoice_id)
    harness.sandbox.play("status_before", account=harness.account, call="look_up", status=500, times=6)

    waits = []
    for _ in range(6):
        outcome = harness.look(invoice_id)
        assert isinstance(outcome, InDoubt)
        waits.append(outcome.delay)
    harness.look(invoice_id)

    assert waits[0] < timedelta(seconds=6)
    assert waits == sorted(waits)
    assert harness.row(invoice_id).status == "waiting"


@pytest.mark.parametrize("form", ["", "not_found"])
@pytest.mark.parametrize("seconds", [5, 300, 1740])
def test_a_real_stamp_that_is_denied_for_a_while_is_never_stamped_again(
    harness: Harness, seconds: int, form: str
) -> None:
    """Providers deny real stamps for seconds, one for 29 minutes: longer than the quarantine, and still one stamp."""
    harness.stamped("CONTROL")
    harness.later(hours=1)
    invoice_id = harness.submit()
    harness.sandbox.play("deny", account=harness.account, call="look_up", seconds=seconds, form=form)
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
    harness.stamp(invoice_id)

    for _ in range(60):
        status = harness.row(invoice_id).status
        if status == "stamped":
            break
        if status == "waiting":
            harness.stamp(invoice_id)
        else:
            harness.look(invoice_id)

    assert harness.row(invoice_id).status == "stamped"
    assert (harness.stamps(), harness.duplicates()) == (2, 0)


def test_a_record_stamped_before_is_adopted_from_the_refusal(harness: Harness) -> None:
    """ "Previamente timbrado", with the stamp in the answer: take it, after its evidence."""
    harness.stamped("CONTROL")
    invoice_id = harness.submit()
    harness.sandbox.play("refuses_after", account=harness.account, call="stamp", times=1, with_xml=True)

    assert isinstance(harness.stamp(invoice_id), Stamped)

    assert (harness.stamps(), harness.duplicates()) == (2, 0)


def test_a_lost_save_is_made_anew_where_saving_was_seen_not_to_stamp(harness: Harness) -> None:
    """A draft that nobody knows of is no invoice; the new one is stamped once."""
    harness.stamped("TEACHER")
    invoice_id = harness.submit()
    harness.sandbox.play("drop_after", account=harness.account, call="save", times=1)

    assert isinstance(harness.stamp(invoice_id), InDoubt)
    harness.look(invoice_id)
    assert isinstance(harness.stamp(invoice_id), Stamped)

    assert (harness.stamps(), harness.duplicates()) == (2, 0)


def test_a_lost_save_waits_while_nothing_is_known_of_saving(harness: Harness) -> None:
    """The first save ever, lost: perhaps this provider stamps on saving. Another invoice's save teaches."""
    invoice_id = harness.submit()
    harness.sandbox.play("drop_after", account=harness.account, call="save", times=1)
    harness.stamp(invoice_id)
    harness.look(invoice_id)
    assert harness.row(invoice_id).status == "in_doubt"

    harness.stamped("TEACHER")
    harness.look(invoice_id)
    harness.stamp(invoice_id)

    assert harness.row(invoice_id).status == "stamped"
    assert harness.duplicates() == 0


def test_a_lost_save_with_nothing_to_learn_from_stands_before_a_person(harness: Harness) -> None:
    """After a whole quarantine without a word on what saving does, only a person can know."""
    invoice_id = harness.submit()
    harness.sandbox.play("drop_after", account=harness.account, call="save", times=1)
    harness.stamp(invoice_id)

    harness.look_until(invoice_id, "failed")

    row = harness.row(invoice_id)
    assert row.reason == "needs_person"
    assert row.errors[0]["code"] == "timbrado.requiere_revision"
    assert harness.event_types()[-1] == "invoice.failed"


def test_a_lost_save_is_not_given_up_while_another_is_still_to_be_saved(harness: Harness) -> None:
    """The account's first save was lost in an outage that outlasts the quarantine: what waits for its end teaches."""
    invoice_id, other = harness.submit(), harness.submit("WAITING")
    harness.sandbox.play("drop_after", account=harness.account, call="save", times=1)
    harness.stamp(invoice_id)
    for _ in range(16):  # about 20 minutes
        harness.look(invoice_id)
    row = harness.row(invoice_id)
    assert row.status == "in_doubt"
    assert harness.tools.clock.now() - row.doubt_since > harness.tools.policy.quarantine

    harness.stamp(other)
    harness.look(invoice_id)
    harness.stamp(invoice_id)

    assert harness.row(invoice_id).status == "stamped"
    assert (harness.stamps(), harness.duplicates()) == (2, 0)


def test_a_lost_save_waits_for_another_no_longer_than_its_72_hours(harness: Harness) -> None:
    """The other one is never sent (an account that is held): then this one stands before a person all the same."""
    invoice_id = harness.submit()
    harness.submit("NEVER SENT")
    harness.sandbox.play("drop_after", account=harness.account, call="save", times=1)
    harness.stamp(invoice_id)
    harness.later(hours=71)
    harness.look(invoice_id)
    assert harness.row(invoice_id).status == "in_doubt"

    harness.later(hours=1)
    harness.look(invoice_id)

    assert (harness.row(invoice_id).status, harness.row(invoice_id).reason) == ("failed", "needs_person")


def test_a_provider_that_stamps_on_saving_is_noticed_and_its_stamp_taken(harness: Harness) -> None:
    """The save's answer holds a UUID: take it, do not stamp again, and remember what saving does here."""
    harness.sandbox.play("stamps_on_save", account=harness.account, call="save")
    invoice_id = harness.submit()

    assert isinstance(harness.stamp(invoice_id), Stamped)
    lost = harness.submit("LOST")
    harness.sandbox.play("drop_after", account=harness.account, call="save", times=1)
    harness.stamp(lost)
    harness.look(lost)

    assert [call for call, _ in harness.attempts(invoice_id)] == ["save"]
    assert harness.connection().saves_only is False
    assert (harness.row(lost).status, harness.row(lost).reason) == ("failed", "needs_person")
    assert harness.duplicates() == 0


def test_a_provider_that_ignores_the_id_is_noticed_and_its_doubts_go_to_a_person(harness: Harness) -> None:
    """Its stamps come under Ids of their own, so a no about the saved one says nothing."""
    harness.sandbox.play("ignores_id", account=harness.account, call="stamp")
    invoice_id = harness.submit()

    assert isinstance(harness.stamp(invoice_id), Stamped)
    lost = harness.submit("LOST")
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
    harness.stamp(lost)
    harness.look_until(lost, "failed")

    assert harness.connection().honours_id is False
    assert harness.row(lost).reason == "needs_person"
    assert harness.duplicates() == 0


@pytest.mark.parametrize("form", ["other_invoice", "broken_seal", "truncated"])
def test_an_xml_that_is_not_this_invoices_is_quarantined_before_a_person(harness: Harness, form: str) -> None:
    """No event says stamped, nothing is sent again, and the bytes are there to be looked at."""
    harness.stamped("OTHER")
    invoice_id = harness.submit()
    harness.sandbox.play("wrong_xml", account=harness.account, call="stamp", times=1, form=form)

    assert isinstance(harness.stamp(invoice_id), Failed)

    row = harness.row(invoice_id)
    (document,) = harness.all("SELECT * FROM documents WHERE invoice_id = :id", id=invoice_id)
    assert (row.status, row.reason, row.uuid) == ("failed", "needs_person", None)
    assert document.quarantined_reason.startswith("failed: ")
    assert harness.tools.store.get(document.key)
    assert harness.event_types()[-1] == "invoice.failed"
    assert isinstance(harness.stamp(invoice_id), NotOurs)


def test_a_good_cfdi_that_says_something_else_is_stored_and_reported_to_differ(harness: Harness) -> None:
    """It exists: its UUID, XML and differences are there for whoever accepts or cancels it; nothing is sent again."""
    harness.stamped("GOOD")
    invoice_id = harness.submit(send_to=["cliente@ejemplo.mx"])
    harness.sandbox.play("wrong_xml", account=harness.account, call="stamp", times=1, form="total")

    assert isinstance(harness.stamp(invoice_id), Differs)

    row = harness.row(invoice_id)
    documents = harness.all("SELECT * FROM documents WHERE invoice_id = :id", id=invoice_id)
    assert (row.status, row.reason, row.mail_due_at) == ("differs", None, None)
    assert (row.uuid is not None, row.stamped_at is not None) == (True, True)
    assert [each["field"] for each in row.differences if each["severity"] == "substantial"] == ["total"]
    assert [error["code"] for error in row.errors] == ["timbrado.difiere"]
    assert {(each.kind, each.quarantined_reason) for each in documents} == {("xml", None), ("pdf", None)}
    assert harness.event_types()[-1] == "invoice.differs"
    assert isinstance(harness.stamp(invoice_id), NotOurs)


def test_an_account_whose_stamps_differ_stops_after_the_second(harness: Harness) -> None:
    """One may be chance. After two in a row nothing more is stamped, and the user learns what differs."""
    harness.stamped("GOOD")
    harness.sandbox.play("wrong_xml", account=harness.account, call="stamp", times=2, form="total")
    first, second, third = (harness.submit(f"D-{number}") for number in range(3))

    harness.stamp(first)
    assert harness.connection().status == "active"
    harness.stamp(second)
    harness.stamp(third)

    assert [harness.row(each).status for each in (first, second, third)] == ["differs", "differs", "on_hold"]
    assert (harness.connection().status, harness.connection().reason) == ("broken", "stamps_differ")
    assert harness.stamps() == 3
    uuids = [harness.row(each).uuid for each in (second, first)]
    broken = harness.one("SELECT data FROM events WHERE type = 'connection.broken'").data
    assert [(each["external_id"], each["uuid"]) for each in broken["invoices"]] == [
        ("D-1", uuids[0]), ("D-0", uuids[1]),
    ]  # fmt: skip
    assert broken["message"].endswith(
        f"distintas de las que se enviaron: A 3 (folio fiscal {uuids[0]}) y A 2 (folio fiscal {uuids[1]})."
    )


def test_an_account_whose_first_stamp_differs_stops_at_once(harness: Harness) -> None:
    """Nothing was ever stamped as it was sent: a dialect that is wrong is wrong for the whole queue."""
    harness.sandbox.play("wrong_xml", account=harness.account, call="stamp", times=1, form="total")
    first, second = (harness.submit(f"D-{number}") for number in range(2))

    harness.stamp(first)
    harness.stamp(second)

    assert [harness.row(each).status for each in (first, second)] == ["differs", "on_hold"]
    assert harness.event_types().count("connection.broken") == 1
    assert connect.go_on(harness.tools.policy.production_url, harness.tools) == [harness.account]
    assert harness.row(second).status == "waiting"


def test_many_lost_answers_are_one_stamp_each(harness: Harness) -> None:
    """Half of them were stamped and half were not; in the end each is stamped once."""
    harness.stamped("CONTROL")
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=20)
    ids = [harness.submit(f"L-{number}") for number in range(40)]
    for invoice_id in ids[:20]:
        harness.stamp(invoice_id)
    harness.sandbox.calm()
    harness.sandbox.play("drop_before", account=harness.account, call="stamp", times=20)
    for invoice_id in ids[20:]:
        harness.stamp(invoice_id)
        harness.later(seconds=30)  # the breaker opens on so many failures, and lets a probe through
    harness.sandbox.calm()

    for _ in range(40):
        for invoice_id in ids:
            status = harness.row(invoice_id).status
            if status == "in_doubt":
                harness.look(invoice_id)
            elif status in {"accepted", "waiting"}:
                harness.later(seconds=1)
                harness.stamp(invoice_id)
        if all(harness.row(invoice_id).status == "stamped" for invoice_id in ids):
            break

    assert {harness.row(invoice_id).status for invoice_id in ids} == {"stamped"}
    assert (harness.stamps(), harness.duplicates()) == (41, 0)


def test_a_stamp_that_cannot_be_stored_waits_for_the_storage(
    database_url: str, sandbox: Any, tmp_path: Path
) -> None:
    """Full, read-only, away: nobody says "stamped", and nothing is sent again; once it can be stored it is adopted."""
    with open_harness(database_url, sandbox, store=open_store(tmp_path.as_uri())) as harness:
        in_its_way = tmp_path / harness.account  # a file where a folder is wanted: no byte can be put there
        in_its_way.touch()
        invoice_id = harness.submit()

        assert isinstance(harness.stamp(invoice_id), InDoubt)
        for _ in range(15):  # longer than the quarantine
            harness.look(invoice_id)
        before = harness.row(invoice_id)
        in_its_way.unlink()
        harness.look(invoice_id)

        after = harness.row(invoice_id)
        assert (before.status, before.uuid, after.status) == ("in_doubt", None, "stamped")
        assert harness.event_types().count("invoice.stamped") == 1
        assert harness.stamps() == 1


def test_an_answer_that_is_not_sent_is_tried_again_without_a_doubt(harness: Harness) -> None:
    """Nothing left this machine: wait and send again."""
    invoice_id = harness.submit()
    harness.sandbox.stop()
    try:
        outcome = harness.stamp(invoice_id)
    finally:
        harness.sandbox.start()

    assert isinstance(outcome, Later)
    harness.later(minutes=1)
    assert isinstance(harness.stamp(invoice_id), Stamped)
    assert harness.duplicates() == 0


def test_the_sweep_enqueues_doubts_that_are_due(harness: Harness) -> None:
    """Waiting is a column: whoever lost the message finds the doubt again in the table."""
    invoice_id = harness.submit()
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
    harness.stamp(invoice_id)

    harness.later(seconds=10)
    due = sweep.sweep(harness.tools)
    again = sweep.sweep(harness.tools)

    assert due.look_up == [invoice_id]
    assert again.look_up == []
