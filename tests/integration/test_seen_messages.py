"""A message is done once, and an older one never undoes what a newer one did: in whatever order they come."""

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from models.tables import inbox as inbox_table
from stamping.cancellation import cancel
from stamping.connections import connect, suspend
from stamping.intake import inbox, operator_retry, seen_messages, submit
from stamping.intake.seen_messages import Message
from tests.support.apunto import NAME, POSTCODE, RFC
from tests.support.builders import a_concepto, an_invoice
from tests.support.harness import Harness


def message(harness: Harness, *, ago: float = 0.0, task: str = "stamping.submit_invoice") -> Message:
    """A message with an id of its own, sent so many seconds ago."""
    return Message(str(uuid.uuid4()), task, harness.tools.clock.now() - timedelta(seconds=ago))


def send(harness: Harness, by: Message | None = None, **changes: Any) -> submit.Accepted | submit.Settled:
    raw = an_invoice(account=harness.account, external_id="OP-1", **{"fecha": None, **changes})
    return submit.submit(raw, harness.tools, message=by)


def the_invoice(harness: Harness) -> Any:
    return harness.one("SELECT * FROM invoices WHERE external_id = 'OP-1'")


def break_it(harness: Harness) -> None:
    with harness.tools.engine.begin() as db:
        db.execute(sa.text("UPDATE connections SET status = 'broken', reason = 'unreachable'"))


WRONG = {"total": "1.00"}
DEARER = {
    "conceptos": [a_concepto(valor_unitario="18000.00")],
    "subtotal": "18000.00",
    "total": "20160.00",
}


def test_a_refused_invoice_that_comes_again_leaves_its_correction(harness: Harness) -> None:
    """v1 refused, v2 on hold, v1's message once more: v2 stands, and its status is reported."""
    first = message(harness)
    send(harness, first, **WRONG)
    break_it(harness)
    send(harness, message(harness))

    assert send(harness, first, **WRONG) == submit.Settled(the_invoice(harness).id, harness.account, "known")

    assert the_invoice(harness).status == "on_hold"
    assert harness.event_types()[-1] == "invoice.on_hold"


def test_a_superseded_amount_is_never_stamped(harness: Harness) -> None:
    """v1 and v2 of another price on hold, v1 delivered again, the connection back: v2 is stamped."""
    first = message(harness)
    break_it(harness)
    send(harness, first)
    send(harness, message(harness), **DEARER)
    send(harness, first)
    with harness.tools.engine.begin() as db:
        db.execute(sa.text("UPDATE connections SET status = 'active', reason = NULL"))
    suspend.release(harness.account, harness.tools)
    harness.later(seconds=5)
    harness.stamp(the_invoice(harness).id)

    assert (the_invoice(harness).status, the_invoice(harness).content["total"]) == ("stamped", "20160.00")


def test_a_stamped_invoice_is_not_in_conflict_with_a_message_that_was_done(harness: Harness) -> None:
    """v1 refused, v2 stamped, v1 delivered again: nobody did anything, so no conflict is reported."""
    first = message(harness)
    send(harness, first, **WRONG)
    taken = send(harness, message(harness))
    assert taken.invoice_id is not None
    harness.stamp(taken.invoice_id)
    send(harness, first, **WRONG)

    last = harness.all("SELECT type, data FROM events ORDER BY id DESC LIMIT 1")[0]
    assert (last.type, last.data["errors"]) == ("invoice.stamped", [])


@pytest.mark.parametrize("changes", [WRONG, {}])
def test_an_older_message_that_comes_later_changes_nothing(harness: Harness, changes: dict[str, Any]) -> None:
    """Requeued behind a newer one, or out of an old file: its id is new, its content is superseded."""
    break_it(harness)
    send(harness, message(harness, ago=10), **DEARER)
    before = the_invoice(harness)

    assert send(harness, message(harness, ago=20), **changes).what == "known"  # type: ignore[union-attr]

    after = the_invoice(harness)
    assert (after.status, after.content, after.sent_at) == (before.status, before.content, before.sent_at)


def test_what_came_while_the_clock_was_ahead_is_corrected_once_it_is_right(harness: Harness) -> None:
    """The database's clock was three days ahead for a while: a correction and a new key that come then are newer."""
    harness.later(hours=73)
    send(harness, message(harness), **WRONG)
    key = harness.sandbox.account(harness.account)["api_key"]
    connect.connect(a_request(harness, key), harness.tools, message=message(harness, task="stamping.connect"))
    harness.later(hours=-73)
    new = harness.sandbox.regenerate_key(harness.account)

    row = connect.connect(a_request(harness, new), harness.tools, message=message(harness))
    send(harness, message(harness))

    assert (row.status, row.key_last4) == ("active", new[-4:])
    assert the_invoice(harness).status == "accepted"


def test_a_row_of_an_inbox_whose_clock_was_ahead_is_corrected(harness: Harness) -> None:
    """A row says to be of tomorrow; what corrects it today is newer than when it was taken in."""
    for changes, written in ((WRONG, "now() + interval '1 day'"), ({}, "now()")):
        raw = an_invoice(account=harness.account, external_id="OP-1", **{"fecha": None, **changes})
        with harness.tools.engine.begin() as db:
            db.execute(sa.insert(inbox_table).values(payload=raw, created_at=sa.text(written)))
        list(inbox.take(harness.tools))

    assert the_invoice(harness).status == "accepted"


def test_the_same_content_sent_again_is_the_newest(harness: Harness) -> None:
    """v1 at 30 s, v1 again at 10 s, and only then v2 of 20 s ago: the user went back to v1 after it."""
    break_it(harness)
    send(harness, message(harness, ago=30))
    send(harness, message(harness, ago=10))
    send(harness, message(harness, ago=20), **DEARER)

    assert the_invoice(harness).content["total"] == "16800.00"


def test_a_crash_before_the_commit_leaves_the_message_to_be_done(harness: Harness) -> None:
    """The id is noted by the transaction that does the work: what was rolled back is new again."""
    one = message(harness)
    with harness.tools.engine.connect() as db:
        assert seen_messages.is_new(db, one, harness.account, harness.tools.clock.now())
        db.rollback()

    assert isinstance(send(harness, one), submit.Accepted)


def a_request(harness: Harness, key: str) -> connect.ConnectRequest:
    return connect.ConnectRequest(
        account=harness.account,
        api_key_encrypted=harness.tools.fernet.encrypt(key.encode()).decode(),
        rfc=RFC,
        razon_social=NAME,
        codigo_postal=POSTCODE,
        serie="A",
    )


@pytest.mark.parametrize("is_redelivered", [True, False], ids=["the same message", "an older one"])
def test_an_old_key_never_replaces_a_newer_one(harness: Harness, is_redelivered: bool) -> None:
    """The connect of a key that was regenerated meanwhile, once more: the right key stays, and is not called bad."""
    old = a_request(harness, harness.sandbox.account(harness.account)["api_key"])
    first = message(harness, ago=20, task="stamping.connect")
    late = first if is_redelivered else message(harness, ago=15, task="stamping.connect")
    with harness.tools.engine.begin() as db:
        db.execute(sa.text("UPDATE connections SET sent_at = NULL"))
    connect.connect(old, harness.tools, message=first)
    new = harness.sandbox.regenerate_key(harness.account)
    connect.connect(a_request(harness, new), harness.tools, message=message(harness, ago=10))

    row = connect.connect(old, harness.tools, message=late)

    assert (row.status, row.key_last4) == ("active", new[-4:])
    assert harness.event_types()[-1] == "connection.active"


def test_a_disconnect_that_comes_again_forgets_no_key(harness: Harness) -> None:
    """Disconnected, connected anew, and the old message once more: the connection stands."""
    first = message(harness, task="stamping.disconnect")
    assert connect.disconnect(harness.account, harness.tools, message=first)
    key = harness.sandbox.account(harness.account)["api_key"]
    connect.connect(a_request(harness, key), harness.tools, message=message(harness))

    assert not connect.disconnect(harness.account, harness.tools, message=first)

    assert harness.connection().status == "active"


def test_a_cancellation_and_a_retry_are_asked_for_once_a_message(harness: Harness) -> None:
    """Delivered again they tell the status; also where there is no such invoice, they say so once."""
    taken = harness.stamped("OP-1")
    one, other = (message(harness, task=f"stamping.{name}_invoice") for name in ("cancel", "retry"))

    def ask(external_id: str) -> tuple[Any, bool]:
        asked = cancel.request(harness.account, external_id, "02", None, harness.tools, message=one)
        return asked, operator_retry.retry(harness.account, external_id, harness.tools, message=other).done

    assert ask("NONE")[1] is False
    assert ask("OP-1") == (None, False)
    assert harness.row(taken).status == "stamped"
    unknown = harness.all("SELECT id FROM events WHERE external_id = 'NONE'")
    assert len(unknown) == 2


def test_a_row_of_the_inbox_is_one_message(harness: Harness) -> None:
    """Taken twice, as after a crash between the two databases, it does not undo the correction that came between."""
    break_it(harness)
    raw = an_invoice(account=harness.account, external_id="OP-1", fecha=None)
    with harness.tools.engine.begin() as db:
        db.execute(sa.insert(inbox_table).values(id=uuid.uuid4(), kind="submit", payload=raw))
    list(inbox.take(harness.tools))
    send(harness, message(harness), **DEARER)
    with harness.tools.engine.begin() as db:
        db.execute(sa.update(inbox_table).values(taken_at=None))
    list(inbox.take(harness.tools))

    assert the_invoice(harness).content["total"] == "20160.00"


def test_old_ids_are_forgotten(harness: Harness) -> None:
    """The table holds two months of ids, and no more."""
    send(harness, message(harness))
    now: datetime = harness.tools.clock.now()

    def left(after: timedelta) -> int:
        with harness.tools.engine.begin() as db:
            seen_messages.forget_old(db, now + after)
            return int(db.execute(sa.text("SELECT count(*) FROM seen_messages")).scalar_one())

    assert left(seen_messages.REMEMBERED - timedelta(minutes=1)) == 1
    assert left(seen_messages.REMEMBERED + timedelta(minutes=1)) == 0
