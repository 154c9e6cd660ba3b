"""An invoice is taken back, or sent; never both, and never while nobody knows which."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
import sqlalchemy as sa

from models.tables import inbox as inbox_table
from stamping import claims, sweep
from stamping.connections import suspend
from stamping.intake import inbox
from stamping.intake.operator_retry import CommandResult
from stamping.intake.seen_messages import Message
from stamping.intake.withdraw import withdraw
from stamping.outcome import InDoubt
from tests.support.harness import Harness


def take_back(harness: Harness, external_id: str = "OP-1", by: Message | None = None) -> CommandResult:
    return withdraw(harness.account, external_id, harness.tools, message=by)


def accepted(harness: Harness) -> UUID:
    return harness.submit()


def rejected(harness: Harness) -> UUID:
    return harness.submit(total="1.00")


def on_hold(harness: Harness) -> UUID:
    invoice_id = harness.submit()
    with harness.tools.engine.begin() as db:
        db.execute(sa.text("UPDATE connections SET status = 'broken', reason = 'unreachable'"))
    suspend.put_on_hold(harness.account, harness.tools)
    return invoice_id


def waiting(harness: Harness) -> UUID:
    invoice_id = harness.submit()
    harness.sandbox.play("status_before", account=harness.account, call="save", times=1, status=429)
    harness.stamp(invoice_id)
    return invoice_id


@pytest.mark.parametrize("arrange", [accepted, rejected, on_hold, waiting], ids=lambda each: each.__name__)
def test_what_is_certainly_not_stamped_goes_at_once(
    harness: Harness, arrange: Callable[[Harness], UUID]
) -> None:
    """Its user gets an event, nothing sends it any more, and asked again it only says so."""
    invoice_id = arrange(harness)
    assert harness.row(invoice_id).status == arrange.__name__

    assert take_back(harness).done
    harness.later(hours=2)
    harness.go_on()
    assert not take_back(harness).done

    assert harness.row(invoice_id).status == "withdrawn"
    assert harness.event_types()[-2:] == ["invoice.withdrawn"] * 2
    assert harness.stamps() == 0


def test_a_stamped_one_is_cancelled_and_not_withdrawn(harness: Harness) -> None:
    """The refusal says so, and the invoice stands."""
    invoice_id = harness.stamped("OP-1")

    assert not take_back(harness).done

    assert harness.row(invoice_id).status == "stamped"
    (event,) = harness.all("SELECT data FROM events ORDER BY position DESC, id DESC LIMIT 1")
    assert [each["code"] for each in event.data["errors"]] == ["timbrado.ya_timbrada"]


def test_one_in_doubt_that_was_stamped_is_reported_to_be(harness: Harness) -> None:
    """The look-up decides: it found the stamp, so nothing was taken back."""
    harness.stamped("CONTROL")
    invoice_id = harness.submit()
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
    assert isinstance(harness.stamp(invoice_id), InDoubt)

    verdict = take_back(harness)
    harness.look_until(invoice_id, "stamped", "withdrawn")

    assert verdict.task == "stamping.reconcile_invoice"
    assert harness.row(invoice_id).status == "stamped"
    assert harness.event_types()[-1] == "invoice.stamped"


def test_one_in_doubt_that_was_not_stamped_is_withdrawn_then(harness: Harness) -> None:
    """Once the look-ups have proven that, and it is not sent again."""
    harness.stamped("CONTROL")
    invoice_id = harness.submit()
    harness.sandbox.play("drop_before", account=harness.account, call="stamp", times=1)
    assert isinstance(harness.stamp(invoice_id), InDoubt)

    take_back(harness)
    harness.look_until(invoice_id, "stamped", "withdrawn")

    assert harness.row(invoice_id).status == "withdrawn"
    assert harness.event_types()[-1] == "invoice.withdrawn"
    assert harness.stamps() == 1


def test_one_that_is_being_sent_ends_by_its_answer(harness: Harness) -> None:
    """Its worker died before anything left: with its claim it is withdrawn, and not sent by another."""
    invoice_id = harness.submit()
    assert isinstance(claims.take(invoice_id, harness.tools), claims.Claimed)

    assert take_back(harness).done
    assert harness.row(invoice_id).status == "stamping"
    harness.later(seconds=harness.tools.policy.lease.total_seconds() + 1)
    sweep.sweep(harness.tools)

    assert harness.row(invoice_id).status == "withdrawn"


def test_it_never_races_with_a_stamp(harness: Harness) -> None:
    """Both at once, many times over: each invoice is stamped or withdrawn, and its stamps agree with that."""
    harness.stamped("CONTROL")
    ids = {f"R-{number}": harness.submit(f"R-{number}") for number in range(24)}
    ready = threading.Barrier(2)

    def send(invoice_id: UUID) -> None:
        ready.wait(10)
        harness.stamp(invoice_id)

    with ThreadPoolExecutor(2) as pool:
        for external_id, invoice_id in ids.items():
            sent = pool.submit(send, invoice_id)
            ready.wait(10)
            take_back(harness, external_id)
            sent.result()
    for _ in range(3):
        harness.later(minutes=5)
        harness.go_on()

    ends = {external_id: harness.row(each).status for external_id, each in ids.items()}
    stamped = {name for name, status in ends.items() if status == "stamped"}
    assert set(ends.values()) <= {"stamped", "withdrawn"}
    assert set(harness.sandbox.ledger(harness.account)["folios"][harness.account]) == stamped | {"CONTROL"}
    assert harness.duplicates() == 0


def test_an_unknown_one_is_refused_and_creates_nothing(harness: Harness) -> None:
    """A request about no invoice, once a message."""
    one = Message(str(uuid.uuid4()), "stamping.withdraw_invoice", harness.tools.clock.now())

    for _ in range(2):
        assert not take_back(harness, "NONE", one).done

    events = harness.all("SELECT type, data FROM events WHERE external_id = 'NONE'")
    assert [(event.type, event.data["invoice_id"]) for event in events] == [("request.refused", None)]
    assert harness.all("SELECT 1 FROM invoices") == []


def test_the_inbox_takes_it_too(harness: Harness) -> None:
    """A row of kind withdraw, written in the caller's own transaction."""
    invoice_id = harness.submit()
    payload = {"account": harness.account, "external_id": "OP-1"}
    with harness.tools.engine.begin() as db:
        db.execute(sa.insert(inbox_table).values(id=uuid.uuid4(), kind="withdraw", payload=payload))

    list(inbox.take(harness.tools))

    assert harness.row(invoice_id).status == "withdrawn"
