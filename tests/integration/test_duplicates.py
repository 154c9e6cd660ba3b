"""Each way that leads to a second `save` or `stamp`, walked against a provider that would make a duplicate of it.

A duplicate is a FolioOriginal with two UUIDs, and the sandbox's ledger counts them. Most of
these need two things to go wrong at once, and both do on the first day with a provider that nobody has seen yet.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from stamping import pipeline, sweep
from stamping.intake import operator_retry
from stamping.outcome import Failed, InDoubt, Later, Rejected, Stamped
from tests.support.builders import a_concepto
from tests.support.harness import Corridor, open_corridor


@pytest.fixture
def corridor(database_url: str, sandbox: Any) -> Iterator[Corridor]:
    with open_corridor(database_url, sandbox) as opened:
        yield opened


def work_on(corridor: Corridor, *invoices: Any, rounds: int = 40) -> None:
    """Do what the workers do, for hours: whatever is due is looked up or sent."""
    for _ in range(rounds):
        for invoice_id in invoices:
            match corridor.row(invoice_id).status:
                case "in_doubt":
                    corridor.look(invoice_id)
                case "accepted" | "waiting":
                    corridor.later(minutes=1)
                    corridor.stamp(invoice_id)


# --- a provider that ignores the Id ----------------------------------------------------------------------------------


def test_a_stamp_under_another_id_teaches_also_when_its_xml_is_late(corridor: Corridor) -> None:
    """It was stamped under an Id of its own, and found by that one: a no about a saved Id still says nothing."""
    corridor.sandbox.play("ignores_id", account=corridor.account, call="stamp")
    corridor.sandbox.play("no_documents", account=corridor.account, call="stamp", times=1)
    first = corridor.submit("FIRST")
    assert isinstance(corridor.stamp(first), InDoubt)
    corridor.look_until(first, "stamped")
    lost = corridor.submit("LOST")
    corridor.sandbox.play("drop_after", account=corridor.account, call="stamp", times=1)

    corridor.stamp(lost)
    work_on(corridor, lost)

    assert corridor.connection().honours_id is False
    assert (corridor.row(lost).status, corridor.row(lost).reason) == ("failed", "needs_person")
    assert corridor.duplicates() == 0


def test_a_stamp_under_another_id_teaches_also_when_its_xml_is_not_believed(corridor: Corridor) -> None:
    """What stands in quarantine is looked up by the Id that it came under, and never sent again."""
    corridor.sandbox.play("ignores_id", account=corridor.account, call="stamp")
    corridor.sandbox.play("wrong_xml", account=corridor.account, call="stamp", times=1, form="total")
    invoice_id = corridor.submit()
    assert isinstance(corridor.stamp(invoice_id), Failed)
    taught = corridor.connection().honours_id

    assert operator_retry.retry(corridor.account, "OP-1", corridor.tools).done
    corridor.look(invoice_id)

    assert taught is False
    assert corridor.row(invoice_id).status == "stamped"
    assert corridor.duplicates() == 0


# --- a provider that stamps on saving --------------------------------------------------------------------------------


def test_too_fast_is_not_believed_of_a_save_that_stamps(corridor: Corridor) -> None:
    """A gateway says 429 after the save has stamped; saved again it would be stamped again."""
    corridor.sandbox.play("stamps_on_save", account=corridor.account, call="save")
    corridor.stamped("FIRST")
    invoice_id = corridor.submit()
    corridor.sandbox.play("status_after", account=corridor.account, call="save", times=1, status=429)

    assert isinstance(corridor.stamp(invoice_id), InDoubt)
    work_on(corridor, invoice_id)

    assert (corridor.row(invoice_id).status, corridor.row(invoice_id).reason) == ("failed", "needs_person")
    assert corridor.duplicates() == 0


def test_a_save_that_stamped_and_was_not_believed_can_be_looked_up(corridor: Corridor) -> None:
    """Its Id is known: a person may have it looked up, and is not told that there is none."""
    corridor.sandbox.play("stamps_on_save", account=corridor.account, call="save")
    corridor.sandbox.play("wrong_xml", account=corridor.account, call="save", times=1, form="total")
    invoice_id = corridor.submit()
    assert isinstance(corridor.stamp(invoice_id), Failed)

    assert operator_retry.retry(corridor.account, "OP-1", corridor.tools).done
    corridor.look(invoice_id)

    assert corridor.row(invoice_id).status == "stamped"
    assert corridor.duplicates() == 0


# --- what ContaDigital has called stamped ----------------------------------------------------------------------------

TOLD: dict[str, dict[str, Any]] = {
    "already stamped": {"fault": "refuses_after"},
    "a UUID without its XML": {"fault": "no_documents"},
}


@pytest.mark.parametrize("how", TOLD)
def test_what_was_called_stamped_is_never_taken_for_unstamped(corridor: Corridor, how: str) -> None:
    """However long look-ups deny it, and with a control that answers: a no does not outweigh a yes."""
    corridor.stamped("CONTROL")
    corridor.later(hours=2)
    invoice_id = corridor.submit()
    corridor.sandbox.play(account=corridor.account, call="stamp", times=1, **TOLD[how])
    corridor.sandbox.play("deny", account=corridor.account, call="look_up", seconds=5400)

    assert isinstance(corridor.stamp(invoice_id), InDoubt)
    corridor.look_until(invoice_id, "stamped", "waiting", "failed")

    assert corridor.row(invoice_id).status == "stamped"
    assert [call for call, _ in corridor.attempts(invoice_id)].count("stamp") == 1
    assert corridor.duplicates() == 0


def test_a_corrected_draft_that_is_already_stamped_stops_before_a_person(corridor: Corridor) -> None:
    """It was told as refused and stamped all the same: saving the correction says so, once, and that is looked up."""
    corridor.stamped("CONTROL")
    corridor.sandbox.change(corridor.account, behaviour={"already_stamped": "without_xml"})
    invoice_id = corridor.submit()
    corridor.sandbox.play("drop_after", account=corridor.account, call="stamp", times=1)
    corridor.stamp(invoice_id)
    with corridor.tools.engine.begin() as db:  # a refusal that was none (docs/unknowns.md, row 2)
        db.exec_driver_sql(
            "UPDATE invoices SET status = 'failed', reason = 'expired', next_attempt_at = NULL, doubt = NULL"
            " WHERE status = 'in_doubt'"
        )
    assert corridor.submit(conceptos=[a_concepto(cantidad="2")]) == invoice_id

    corridor.stamp(invoice_id)
    work_on(corridor, invoice_id, rounds=10)

    row = corridor.row(invoice_id)
    assert (row.status, row.reason) == ("failed", "needs_person")
    assert [call for call, _ in corridor.attempts(invoice_id)].count("save") == 2
    assert corridor.duplicates() == 0


# --- another company, another address --------------------------------------------------------------------------------


def denied_for_longer_than_the_quarantine(corridor: Corridor) -> Any:
    """Return an invoice that is stamped, and that look-ups with a good control have called unstamped for 15 minutes."""
    corridor.stamped("CONTROL")
    corridor.later(hours=1)
    invoice_id = corridor.submit()
    corridor.sandbox.play("deny", account=corridor.account, call="look_up", seconds=1740)
    corridor.sandbox.play("drop_after", account=corridor.account, call="stamp", times=1)
    corridor.stamp(invoice_id)
    corridor.look_until(invoice_id, "waiting")
    return invoice_id


def test_what_was_once_in_doubt_is_not_saved_anew_for_another_company(corridor: Corridor) -> None:
    """A key of another IdEmpresa: the record that a second stamp would meet is not there."""
    invoice_id = denied_for_longer_than_the_quarantine(corridor)
    key = corridor.sandbox.regenerate_key(corridor.account, other_empresa=True)
    assert corridor.connect(key).status == "active"

    outcome = corridor.stamp(invoice_id)

    assert isinstance(outcome, Failed)
    assert corridor.row(invoice_id).reason == "needs_person"
    assert corridor.duplicates() == 0


def test_what_was_once_in_doubt_is_not_saved_anew_at_another_address(corridor: Corridor) -> None:
    """The same IdEmpresa, and yet another house: tests and production deal their Ids out apart."""
    invoice_id = denied_for_longer_than_the_quarantine(corridor)
    move_house(corridor)

    assert isinstance(corridor.stamp(invoice_id), Failed)

    assert corridor.row(invoice_id).reason == "needs_person"
    assert corridor.duplicates() == 0


def test_a_draft_of_another_address_is_not_stamped_there(corridor: Corridor) -> None:
    """Its Id may be another invoice's by now: it is saved anew, and the old draft stays what it is."""
    invoice_id = corridor.submit()
    corridor.sandbox.play("status_before", account=corridor.account, call="stamp", times=1, status=429)
    assert isinstance(corridor.stamp(invoice_id), Later)
    draft = corridor.row(invoice_id).record_id
    move_house(corridor)
    corridor.later(minutes=1)

    assert isinstance(corridor.stamp(invoice_id), Stamped)

    assert corridor.row(invoice_id).record_id != draft
    assert corridor.duplicates() == 0


def move_house(corridor: Corridor) -> None:
    """Connect again at another address, behind which the sandbox has the same store."""
    key = corridor.sandbox.account(corridor.account)["api_key"]
    assert corridor.connect(key, base_url=f"{corridor.sandbox.url}/dev/pruebas").status == "active"


# --- answers that would be asked for again and again -----------------------------------------------------------------


def test_saves_that_are_always_lost_are_made_ever_less_often(corridor: Corridor) -> None:
    """ContaDigital answers this one invoice's save with 500 each time: an hour of that is no storm."""
    corridor.stamped("TEACHER")
    corridor.sandbox.play("status_before", account=corridor.account, call="save", status=500)
    invoice_id = corridor.submit()
    until = corridor.tools.clock.now() + timedelta(hours=1)

    while corridor.tools.clock.now() < until:
        wait_for(corridor, invoice_id)
        if corridor.row(invoice_id).status == "in_doubt":
            corridor.look(invoice_id)
        else:
            corridor.stamp(invoice_id)

    saves = [call for call, _ in corridor.attempts(invoice_id)].count("save")
    assert 6 <= saves <= 40


def wait_for(corridor: Corridor, invoice_id: Any) -> None:
    """Let the time pass until an invoice is due, and the breaker asks."""
    wait = corridor.row(invoice_id).next_attempt_at - corridor.tools.clock.now()
    corridor.later(seconds=max(wait.total_seconds(), 0) + 1)


def test_a_new_draft_that_is_called_stamped_stops_before_a_person(corridor: Corridor) -> None:
    """There is no Id to look it up by, and sending it again would only be told the same."""
    corridor.stamped("TEACHER")
    invoice_id = corridor.submit()
    corridor.sandbox.play("refuses_after", account=corridor.account, call="save", times=1)

    assert isinstance(corridor.stamp(invoice_id), Failed)

    assert corridor.row(invoice_id).reason == "needs_person"


def test_a_corrected_draft_that_is_gone_is_saved_anew(corridor: Corridor) -> None:
    """Somebody removed it at ContaDigital meanwhile: the user is not told that his data is wrong for that."""
    invoice_id = corridor.submit()
    corridor.sandbox.play("unsure_before", account=corridor.account, call="stamp", times=1, code="607")
    assert isinstance(corridor.stamp(invoice_id), Rejected)
    with corridor.tools.engine.begin() as db:
        db.exec_driver_sql("UPDATE invoices SET record_id = 999999999 WHERE status = 'rejected'")
    assert corridor.submit(conceptos=[a_concepto(cantidad="2")]) == invoice_id

    assert isinstance(corridor.stamp(invoice_id), Later)
    corridor.later(minutes=1)
    assert isinstance(corridor.stamp(invoice_id), Stamped)

    assert corridor.duplicates() == 0


# --- a bug of ours ---------------------------------------------------------------------------------------------------


class OurBug(RuntimeError):
    """What nobody thought of."""


@pytest.mark.parametrize(
    ("place", "status", "outcome"),
    [("after_prepare", "waiting", None), ("before_save", "in_doubt", "lost"), ("before_stamp", "in_doubt", "lost")],
)  # fmt: skip
def test_a_bug_of_ours_gives_the_claim_back_at_once(
    corridor: Corridor, place: str, status: str, outcome: str | None
) -> None:
    """It rises, and the account's place is free: a doubt where something may have left, else a try that failed."""

    class Buggy:
        def reach(self, here: str) -> None:
            if here == place:
                raise OurBug(here)

    corridor.stamped("CONTROL")
    invoice_id = corridor.submit()

    with pytest.raises(OurBug):
        pipeline.stamp(invoice_id, corridor.another_worker(failpoints=Buggy()).tools)

    row = corridor.row(invoice_id)
    assert (row.status, row.claimed_until) == (status, None)
    assert row.next_attempt_at > row.updated_at
    assert [ended for _, ended in corridor.attempts(invoice_id)][-1:] == ([outcome] if outcome else [])
    assert sweep.sweep(corridor.tools).rescued == 0
