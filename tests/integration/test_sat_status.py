"""The SAT's own word on a cancellation and on what stands before a person, where its service may be asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from models.vocabulary import AttemptOutcome
from net.transport import open_http
from stamping.cancellation.sat_status import SatStatusService, StatusUnknown
from stamping.intake import decisions
from tests.integration.test_cancel import Canceller
from tests.integration.test_decisions import stands_before_a_person, xml_of
from tests.support.harness import Harness, open_harness


@contextmanager
def asking_the_sat(harness: Harness, url: str, **how: Any) -> Iterator[None]:
    with open_http(connections=2) as http:
        service = SatStatusService(url, http, **{"per_second": 1000, **how})
        harness.tools = replace(harness.tools, sat_status=service)
        yield


@pytest.fixture
def canceller(database: str, sandbox: Any) -> Iterator[Canceller]:
    """A provider whose look-ups say nothing of cancellations, as none was ever seen to, and the SAT that does."""
    with open_harness(database, sandbox) as opened, asking_the_sat(opened, sandbox.sat_url):
        sandbox.change(opened.account, behaviour={"reports_cancellation": False})
        yield Canceller(opened)


def asked(canceller: Canceller) -> list[tuple[str, str]]:
    rows = canceller.harness.all(
        "SELECT a.outcome, a.detail FROM attempts a JOIN invoices i ON i.id = a.invoice_id "
        "WHERE a.call = 'sat_status' AND i.account = :account ORDER BY a.started_at",
        account=canceller.harness.account,
    )
    return [(row.outcome, row.detail) for row in rows]


def test_the_sat_says_when_a_request_has_become_a_cancellation(canceller: Canceller) -> None:
    """In process, then Cancelado: the user learns of both, though ContaDigital says nothing after the request."""
    canceller.behave(acceptance="always")
    invoice_id = canceller.harness.stamped("OP-1")
    canceller.ask()
    for _ in range(3):
        canceller.step(invoice_id)
    assert canceller.harness.row(invoice_id).status == "cancelling"
    canceller.receptor(invoice_id, "cancelled")
    canceller.step_until(invoice_id, "cancelled", most=1)

    assert canceller.emitted(invoice_id) == [
        ("invoice.stamped", "cancelling"),
        ("invoice.cancelled", "cancelled"),
    ]
    assert canceller.requests() == 1
    answers = [detail for _, detail in asked(canceller)]
    assert answers[0] == "Vigente / Cancelable con aceptación"
    assert "En proceso" in answers[1]
    assert answers[-1].startswith("Cancelado")


def refused_once(canceller: Canceller) -> UUID:
    """Stamp one, ask for its cancellation, and have the receptor refuse: it stays in force."""
    canceller.behave(acceptance="always")
    invoice_id = canceller.harness.stamped("OP-1")
    canceller.ask()
    canceller.step(invoice_id)
    canceller.receptor(invoice_id, "refused")
    canceller.step_until(invoice_id, "stamped", most=1)
    return invoice_id


def test_a_receptor_who_refused_is_known_from_the_sat(canceller: Canceller) -> None:
    """Vigente, and his refusal: the invoice is in force, and the user learns that his receptor refused."""
    invoice_id = refused_once(canceller)

    assert [each["code"] for each in canceller.last(invoice_id)["errors"]] == [
        "timbrado.cancelacion_rechazada"
    ]


def test_an_old_refusal_at_the_sat_is_no_answer_to_a_new_request(canceller: Canceller) -> None:
    """For a day the SAT may still tell of the request before."""
    invoice_id = refused_once(canceller)
    canceller.harness.later(minutes=5)
    canceller.ask()
    canceller.step(invoice_id)
    canceller.receptor(invoice_id, "refused")
    canceller.step(invoice_id)

    assert canceller.harness.row(invoice_id).status == "cancelling"
    canceller.step_until(invoice_id, "stamped", most=40)
    assert canceller.harness.shift[0] < timedelta(hours=27)


def test_what_the_sat_calls_not_cancelable_is_not_asked_for(canceller: Canceller) -> None:
    """The user learns why at once; nothing is requested, and the invoice stays as it was."""
    canceller.behave(acceptance="impossible")
    invoice_id = canceller.harness.stamped("OP-1")
    canceller.ask()
    canceller.step(invoice_id)

    assert canceller.harness.row(invoice_id).status == "stamped"
    assert canceller.requests() == 0
    [error] = canceller.last(invoice_id)["errors"]
    assert (error["code"], error["source"]) == ("timbrado.no_cancelable", "sat")


def test_what_was_cancelled_by_another_way_is_not_asked_for_again(canceller: Canceller) -> None:
    """Cancelled in ContaDigital's own pages, and then here: the SAT says that it is done."""
    invoice_id = refused_once(canceller)
    canceller.receptor(invoice_id, "cancelled")
    canceller.ask()
    canceller.step(invoice_id)

    assert canceller.harness.row(invoice_id).status == "cancelled"
    assert canceller.requests() == 1


def test_a_lost_answer_is_settled_by_the_sat(canceller: Canceller) -> None:
    """The request was done and its answer lost: no second request, and no wait for a whole quarantine."""
    canceller.behave(acceptance="never")
    invoice_id = canceller.harness.stamped("OP-1")
    canceller.harness.sandbox.play("drop_after", account=canceller.harness.account, call="cancel", times=1)
    canceller.ask()
    canceller.step_until(invoice_id, "cancelled", most=3)

    assert canceller.requests() == 1


@pytest.mark.parametrize("how", ["unreachable", "slow", "nonsense"])
def test_a_sat_that_does_not_answer_changes_nothing(database: str, sandbox: Any, how: str) -> None:
    """The cancellation goes the way it goes without the SAT, and each question stands in the history as unanswered."""
    url = "http://127.0.0.1:9/" if how == "unreachable" else sandbox.sat_url
    with open_harness(database, sandbox) as opened, asking_the_sat(opened, url, timeout=0.3):
        canceller = Canceller(opened)
        if how == "slow":
            sandbox.play("silence_before", account=opened.account, call="sat_status", seconds=2)
        if how == "nonsense":
            sandbox.play("html", account=opened.account, call="sat_status")
        opened.stamped("OP-1")
        invoice_id = canceller.cancelled("OP-1")

        assert canceller.emitted(invoice_id) == [("invoice.cancelled", "cancelled")]
        assert [outcome for outcome, _ in asked(canceller)] == [AttemptOutcome.UNUSABLE]


def test_a_provider_that_fails_is_not_waited_for_where_the_sat_knows(canceller: Canceller) -> None:
    """ContaDigital is down after it took the request; the SAT says that it is done."""
    canceller.behave(acceptance="always")
    invoice_id = canceller.harness.stamped("OP-1")
    canceller.ask()
    canceller.step(invoice_id)
    canceller.receptor(invoice_id, "cancelled")
    canceller.harness.sandbox.play(
        "status_before", account=canceller.harness.account, call="look_up", status=503, times=1
    )
    canceller.step(invoice_id)

    assert canceller.harness.row(invoice_id).status == "cancelled"


def test_the_sat_is_asked_no_faster_than_allowed() -> None:
    """Every thread of a process shares the pace."""
    now, waited = [0.0], []

    def sleep(seconds: float) -> None:
        waited.append(round(seconds, 3))
        now[0] += seconds

    with open_http(connections=1) as http:
        service = SatStatusService(
            "http://127.0.0.1:9/", http, per_second=4, monotonic=lambda: now[0], sleep=sleep
        )
        for _ in range(3):
            with pytest.raises(StatusUnknown):
                service.ask("EKU9003173C9", "XIA190128J61", Decimal("1.00"), "6A5F")

    assert waited == [0.25, 0.25]


# --- what stands before a person -------------------------------------------------------------------------------------


def test_a_person_who_closes_it_as_stamped_sees_how_the_sat_has_it(database: str, sandbox: Any) -> None:
    """Vigente is kept with the decision; a cancelled one is not adopted."""
    with open_harness(database, sandbox) as harness, asking_the_sat(harness, sandbox.sat_url):
        stands_before_a_person(harness)
        xml = xml_of(harness, "OP-1")
        decision = decisions.resolve(
            harness.account, "OP-1", stamped_xml=xml, reason="found", actor="t", tools=harness.tools
        )

        assert (decision.status, decision.at_the_sat) == ("stamped", "Vigente")


def test_what_the_sat_has_in_force_is_not_closed_as_not_stamped(database: str, sandbox: Any) -> None:
    """An XML was put aside for its broken seal: the SAT knows its folio fiscal, so it is never sent a second time."""
    with open_harness(database, sandbox) as harness, asking_the_sat(harness, sandbox.sat_url):
        sandbox.play("wrong_xml", account=harness.account, call="stamp", times=1, form="broken_seal")
        invoice_id = harness.submit("OP-1")
        harness.stamp(invoice_id)
        before = harness.row(invoice_id)
        assert (before.status, before.reason) == ("failed", "needs_person")
        with pytest.raises(
            decisions.NotDecidedError, match="it is stamped: the SAT has a CFDI of it in force"
        ):
            decisions.resolve(
                harness.account, "OP-1", stamped_xml=None, reason="none found", actor="t", tools=harness.tools
            )

        assert harness.row(invoice_id) == before
