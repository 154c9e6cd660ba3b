"""An invoice is taken back, or sent; never both, and never while nobody knows which."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID

import pytest
import sqlalchemy as sa

from models.tables import inbox as inbox_table
from stamping import claims, pipeline, sweep
from stamping.connections import connect, suspend
from stamping.intake import decisions, inbox
from stamping.intake.operator_retry import CommandResult
from stamping.intake.seen_messages import Message
from stamping.intake.withdraw import withdraw
from stamping.outcome import InDoubt
from stamping.prepare import MOST_TRIES
from stamping.recovery import audit, repair, restore, sources
from tests.support.apunto import RFC
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


def refused_as_a_probe(harness: Harness) -> UUID:
    """The one that was sent to see whether a connection has stamps again: it has none."""
    harness.sandbox.change(harness.account, stamps=0)
    invoice_id = harness.submit()
    harness.stamp(invoice_id)
    assert harness.row(invoice_id).status == "on_hold"
    probe = claims.take_as_probe(harness.connection().id, harness.tools)
    assert probe is not None
    take_back(harness)
    pipeline.stamp_claimed(probe, harness.tools)
    return invoice_id


def refused_before_a_repair(harness: Harness) -> UUID:
    """Its account was refused, and its connection has been validated since: it would be sent again at once."""
    invoice_id = harness.submit()
    claimed = harness.claim(invoice_id)
    take_back(harness)
    connect.validate(harness.account, harness.tools)
    harness.sandbox.change(harness.account, stamps=0)
    pipeline.stamp_claimed(claimed, harness.tools)
    return invoice_id


def never_sent(harness: Harness) -> UUID:
    """Each of its tries ended before anything left, and this one is the last."""
    invoice_id = harness.submit()
    harness.all(
        "UPDATE invoices SET tries = :most WHERE id = :id RETURNING id", most=MOST_TRIES, id=invoice_id
    )
    claimed = harness.claim(invoice_id)
    take_back(harness)
    pipeline.stamp_claimed(claimed, harness.tools)
    return invoice_id


def found_by_a_person(harness: Harness) -> UUID:
    """Nobody could tell whether it was stamped, until somebody looked."""
    invoice_id = harness.submit()
    harness.sandbox.play("drop_before", account=harness.account, call="stamp", times=1)
    harness.stamp(invoice_id)
    take_back(harness)
    decisions.resolve(
        harness.account, "OP-1", stamped_xml=None, reason="no está", actor="cli:ana", tools=harness.tools
    )
    return invoice_id


def found_by_an_audit(harness: Harness) -> UUID:
    """A restore had put it in doubt, and complete files of its days have nothing like it."""
    stamped = harness.row(harness.stamped("CONTROL"))
    invoice_id = harness.submit()
    restore.recover(harness.tools, actor="test", reason="a backup")
    take_back(harness)
    line = sources.Issued(
        stamped.uuid, RFC, "XIA190128J61", Decimal(stamped.content["total"]), stamped.fecha, "metadata.txt:2"
    )
    found = audit.audit(harness.account, [line], harness.tools)
    assert repair.repair(found, harness.tools, actor="test", reason="an audit", complete=True).released
    return invoice_id


@pytest.mark.parametrize(
    "known_not_to_be_stamped",
    [refused_as_a_probe, refused_before_a_repair, never_sent, found_by_a_person, found_by_an_audit],
    ids=lambda each: each.__name__,
)
def test_once_it_is_known_not_to_be_stamped_it_is_withdrawn(
    harness: Harness, known_not_to_be_stamped: Callable[[Harness], UUID]
) -> None:
    """However that becomes known, it is never sent after its user has taken it back."""
    invoice_id = known_not_to_be_stamped(harness)

    assert harness.row(invoice_id).status == "withdrawn"
    assert harness.event_types().count("invoice.withdrawn") == 1


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
