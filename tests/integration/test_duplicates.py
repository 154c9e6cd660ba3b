"""Each way that leads to a second `save` or `stamp`, walked against a provider that would make a duplicate of it.

A duplicate is a FolioOriginal with two UUIDs, and the sandbox's ledger counts them. Most of
these need two things to go wrong at once, and both do on the first day with a provider that nobody has seen yet.
"""

from datetime import timedelta
from typing import Any

import pytest

from stamping import pipeline, sweep
from stamping.intake import operator_retry
from stamping.outcome import Failed, InDoubt, Later, Rejected, Stamped
from tests.support.builders import a_concepto
from tests.support.harness import Harness


def work_on(harness: Harness, *invoices: Any, rounds: int = 40) -> None:
    """Do what the workers do, for hours: whatever is due is looked up or sent."""
    for _ in range(rounds):
        for invoice_id in invoices:
            match harness.row(invoice_id).status:
                case "in_doubt":
                    harness.look(invoice_id)
                case "accepted" | "waiting":
                    harness.later(minutes=1)
                    harness.stamp(invoice_id)


# --- a provider that ignores the Id ----------------------------------------------------------------------------------


def test_a_stamp_under_another_id_teaches_also_when_its_xml_is_late(harness: Harness) -> None:
    """It was stamped under an Id of its own, and found by that one: a no about a saved Id still says nothing."""
    harness.sandbox.play("ignores_id", account=harness.account, call="stamp")
    harness.sandbox.play("no_documents", account=harness.account, call="stamp", times=1)
    first = harness.submit("FIRST")
    assert isinstance(harness.stamp(first), InDoubt)
    harness.look_until(first, "stamped")
    lost = harness.submit("LOST")
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)

    harness.stamp(lost)
    work_on(harness, lost)

    assert harness.connection().honours_id is False
    assert (harness.row(lost).status, harness.row(lost).reason) == ("failed", "needs_person")
    assert harness.duplicates() == 0


def test_a_stamp_under_another_id_teaches_also_when_its_xml_is_not_believed(harness: Harness) -> None:
    """What stands in quarantine is looked up by the Id that it came under, and never sent again."""
    harness.sandbox.play("ignores_id", account=harness.account, call="stamp")
    harness.sandbox.play("wrong_xml", account=harness.account, call="stamp", times=1, form="broken_seal")
    invoice_id = harness.submit()
    assert isinstance(harness.stamp(invoice_id), Failed)
    taught = harness.connection().honours_id

    assert operator_retry.retry(harness.account, "OP-1", harness.tools).done
    harness.look(invoice_id)

    assert taught is False
    assert harness.row(invoice_id).status == "stamped"
    assert harness.duplicates() == 0


# --- a provider that stamps on saving --------------------------------------------------------------------------------


def test_too_fast_is_not_believed_of_a_save_that_stamps(harness: Harness) -> None:
    """A gateway says 429 after the save has stamped; saved again it would be stamped again."""
    harness.sandbox.play("stamps_on_save", account=harness.account, call="save")
    harness.stamped("FIRST")
    invoice_id = harness.submit()
    harness.sandbox.play("status_after", account=harness.account, call="save", times=1, status=429)

    assert isinstance(harness.stamp(invoice_id), InDoubt)
    work_on(harness, invoice_id)

    assert (harness.row(invoice_id).status, harness.row(invoice_id).reason) == ("failed", "needs_person")
    assert harness.duplicates() == 0


def test_a_save_that_stamped_and_was_not_believed_can_be_looked_up(harness: Harness) -> None:
    """Its Id is known: a person may have it looked up, and does not read that there is none."""
    harness.sandbox.play("stamps_on_save", account=harness.account, call="save")
    harness.sandbox.play("wrong_xml", account=harness.account, call="save", times=1, form="broken_seal")
    invoice_id = harness.submit()
    assert isinstance(harness.stamp(invoice_id), Failed)

    assert operator_retry.retry(harness.account, "OP-1", harness.tools).done
    harness.look(invoice_id)

    assert harness.row(invoice_id).status == "stamped"
    assert harness.duplicates() == 0


# --- what ContaDigital has called stamped ----------------------------------------------------------------------------

LATE_ANSWERS: dict[str, dict[str, Any]] = {
    "already stamped": {"fault": "refuses_after"},
    "a UUID without its XML": {"fault": "no_documents"},
}


@pytest.mark.parametrize("how", LATE_ANSWERS)
def test_what_was_called_stamped_is_never_taken_for_unstamped(harness: Harness, how: str) -> None:
    """However long look-ups deny it, and with a control that answers: a no does not outweigh a yes."""
    harness.stamped("CONTROL")
    harness.later(hours=2)
    invoice_id = harness.submit()
    harness.sandbox.play(account=harness.account, call="stamp", times=1, **LATE_ANSWERS[how])
    harness.sandbox.play("deny", account=harness.account, call="look_up", seconds=5400)

    assert isinstance(harness.stamp(invoice_id), InDoubt)
    harness.look_until(invoice_id, "stamped", "waiting", "failed")

    assert harness.row(invoice_id).status == "stamped"
    assert [call for call, _ in harness.attempts(invoice_id)].count("stamp") == 1
    assert harness.duplicates() == 0


def test_a_corrected_draft_that_is_already_stamped_differs(harness: Harness) -> None:
    """It was refused and stamped all the same: saving the correction says so once, and a look-up what exists."""
    harness.stamped("CONTROL")
    harness.sandbox.change(harness.account, behaviour={"already_stamped": "without_xml"})
    invoice_id = harness.submit()
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
    harness.stamp(invoice_id)
    with harness.tools.engine.begin() as db:  # a refusal that was none (docs/unknowns.md, row 2)
        db.exec_driver_sql(
            "UPDATE invoices SET status = 'failed', reason = 'expired', next_attempt_at = NULL, doubt = NULL"
            " WHERE status = 'in_doubt'"
        )
    assert harness.submit(conceptos=[a_concepto(cantidad="2")]) == invoice_id

    harness.stamp(invoice_id)
    work_on(harness, invoice_id, rounds=10)

    row = harness.row(invoice_id)
    assert (row.status, row.uuid is not None) == ("differs", True)
    assert {each["field"] for each in row.differences} >= {"total"}
    assert [call for call, _ in harness.attempts(invoice_id)].count("save") == 2
    assert harness.duplicates() == 0


# --- another company, another address --------------------------------------------------------------------------------


def denied_for_longer_than_the_quarantine(harness: Harness) -> Any:
    """Return an invoice that is stamped, and that look-ups with a good control have called unstamped for 15 minutes."""
    harness.stamped("CONTROL")
    harness.later(hours=1)
    invoice_id = harness.submit()
    harness.sandbox.play("deny", account=harness.account, call="look_up", seconds=1740)
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
    harness.stamp(invoice_id)
    harness.look_until(invoice_id, "waiting")
    return invoice_id


def test_what_was_once_in_doubt_is_not_saved_anew_for_another_company(harness: Harness) -> None:
    """A key of another IdEmpresa: the record that a second stamp would meet is not there."""
    invoice_id = denied_for_longer_than_the_quarantine(harness)
    key = harness.sandbox.regenerate_key(harness.account, other_empresa=True)
    assert harness.connect(key).status == "active"

    outcome = harness.stamp(invoice_id)

    assert isinstance(outcome, Failed)
    assert harness.row(invoice_id).reason == "needs_person"
    assert harness.duplicates() == 0


def test_what_was_once_in_doubt_is_not_saved_anew_at_another_address(harness: Harness) -> None:
    """The same IdEmpresa, and yet another installation: tests and production deal their Ids out apart."""
    invoice_id = denied_for_longer_than_the_quarantine(harness)
    move(harness)

    assert isinstance(harness.stamp(invoice_id), Failed)

    assert harness.row(invoice_id).reason == "needs_person"
    assert harness.duplicates() == 0


def test_a_draft_of_another_address_is_not_stamped_there(harness: Harness) -> None:
    """Its Id may be another invoice's by now: it is saved anew, and the old draft stays what it is."""
    invoice_id = harness.submit()
    harness.sandbox.play("status_before", account=harness.account, call="stamp", times=1, status=429)
    assert isinstance(harness.stamp(invoice_id), Later)
    draft = harness.row(invoice_id).record_id
    move(harness)
    harness.later(minutes=1)

    assert isinstance(harness.stamp(invoice_id), Stamped)

    assert harness.row(invoice_id).record_id != draft
    assert harness.duplicates() == 0


def test_a_lost_save_is_not_made_anew_at_another_address(harness: Harness) -> None:
    """Saving stamps at the first address and nobody knows; at the second it was seen not to: that says nothing of the
    first, where the invoice has its stamp. Connected back, it would be looked for there; else a person decides."""
    lost = harness.submit("LOST")
    harness.sandbox.play("stamps_on_save", account=harness.account, call="save")
    harness.sandbox.play("drop_after", account=harness.account, call="save", times=1)
    assert isinstance(harness.stamp(lost), InDoubt)
    harness.sandbox.calm()
    move(harness)
    harness.stamped("OTHER")
    harness.look_until(lost, "failed", "waiting", "stamped")

    assert (harness.row(lost).status, harness.row(lost).reason) == ("failed", "needs_person")
    assert (harness.stamps(), harness.duplicates()) == (2, 0)


def move(harness: Harness) -> None:
    """Connect again at another address, behind which the sandbox has the same store."""
    key = harness.sandbox.account(harness.account)["api_key"]
    assert harness.connect(key, base_url=f"{harness.sandbox.url}/dev/pruebas").status == "active"


# --- answers that would be asked for again and again -----------------------------------------------------------------


def test_saves_that_are_always_lost_are_made_ever_less_often(harness: Harness) -> None:
    """ContaDigital answers this one invoice's save with 500 each time: an hour of that is no storm."""
    harness.stamped("TEACHER")
    harness.sandbox.play("status_before", account=harness.account, call="save", status=500)
    invoice_id = harness.submit()
    until = harness.tools.clock.now() + timedelta(hours=1)

    while harness.tools.clock.now() < until:
        wait_for(harness, invoice_id)
        if harness.row(invoice_id).status == "in_doubt":
            harness.look(invoice_id)
        else:
            harness.stamp(invoice_id)

    saves = [call for call, _ in harness.attempts(invoice_id)].count("save")
    assert 6 <= saves <= 40


def wait_for(harness: Harness, invoice_id: Any) -> None:
    """Let the time pass until an invoice is due, and the breaker asks."""
    wait = harness.row(invoice_id).next_attempt_at - harness.tools.clock.now()
    harness.later(seconds=max(wait.total_seconds(), 0) + 1)


def test_a_new_draft_that_is_called_stamped_stops_before_a_person(harness: Harness) -> None:
    """There is no Id to look it up by, and sending it again would only be answered the same."""
    harness.stamped("TEACHER")
    invoice_id = harness.submit()
    harness.sandbox.play("refuses_after", account=harness.account, call="save", times=1)

    assert isinstance(harness.stamp(invoice_id), Failed)

    assert harness.row(invoice_id).reason == "needs_person"


def test_a_corrected_draft_that_is_gone_is_saved_anew(harness: Harness) -> None:
    """Somebody removed it at ContaDigital meanwhile: the user does not read that his data is wrong for that."""
    invoice_id = harness.submit()
    harness.sandbox.play("unsure_before", account=harness.account, call="stamp", times=1, code="607")
    assert isinstance(harness.stamp(invoice_id), Rejected)
    with harness.tools.engine.begin() as db:
        db.exec_driver_sql("UPDATE invoices SET record_id = 999999999 WHERE status = 'rejected'")
    assert harness.submit(conceptos=[a_concepto(cantidad="2")]) == invoice_id

    assert isinstance(harness.stamp(invoice_id), Later)
    harness.later(minutes=1)
    assert isinstance(harness.stamp(invoice_id), Stamped)

    assert harness.duplicates() == 0


# --- a bug of ours ---------------------------------------------------------------------------------------------------


class OurBug(RuntimeError):
    """What nobody thought of."""


@pytest.mark.parametrize(
    ("place", "status", "outcome"),
    [("after_prepare", "waiting", None), ("before_save", "in_doubt", "lost"), ("before_stamp", "in_doubt", "lost")],
)  # fmt: skip
def test_a_bug_of_ours_gives_the_claim_back_at_once(
    harness: Harness, place: str, status: str, outcome: str | None
) -> None:
    """It rises, and the account's place is free: a doubt where something may have left, else a try that failed."""

    class Buggy:
        def reach(self, here: str) -> None:
            if here == place:
                raise OurBug(here)

    harness.stamped("CONTROL")
    invoice_id = harness.submit()

    with pytest.raises(OurBug):
        pipeline.stamp(invoice_id, harness.another_worker(failpoints=Buggy()).tools)

    row = harness.row(invoice_id)
    assert (row.status, row.claimed_until) == (status, None)
    assert row.next_attempt_at > row.updated_at
    assert [ended for _, ended in harness.attempts(invoice_id)][-1:] == ([outcome] if outcome else [])
    assert sweep.sweep(harness.tools).rescued == 0
