"""What certainly was not done is tried again: as late as was asked for, as often as 72 hours allow, and gently."""

import socket
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from stamping import deadlines
from stamping.outcome import Full, InDoubt, Later, Stamped
from tests.support.apunto import NAME, POSTCODE, RFC
from tests.support.harness import Harness, open_harness, sweep

MINUTE = timedelta(minutes=1)


@pytest.fixture
def harness(database_url: str, sandbox: Any) -> Iterator[Harness]:
    with open_harness(database_url, sandbox) as opened:
        opened.stamped("CONTROL")
        yield opened


def beside(harness: Harness) -> Harness:
    """Another account of the same installation, at the same provider."""
    name = f"acme-{uuid.uuid4().hex[:8]}"
    emitted = harness.sandbox.open_account(
        name, rfc=RFC, razon_social=NAME, regimen_fiscal="601", lugares=[POSTCODE, "64000"]
    )
    other = replace(harness, account=name)
    assert other.connect(emitted["api_key"]).status == "active"
    return other


def until_back(harness: Harness) -> None:
    """Wait until an outage that is over is really over: the sandbox listens again within some milliseconds."""
    deadline = time.monotonic() + 5
    while True:
        try:
            socket.create_connection(("127.0.0.1", harness.sandbox.port), 1).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


# --- too fast ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "a date"])
@pytest.mark.parametrize("call", ["save", "stamp", "clientes"])
def test_retry_after_is_obeyed(harness: Harness, call: str, as_date: bool) -> None:
    """Not a second before, in either of its two forms, whichever call was refused; nothing is in doubt."""
    invoice_id = harness.submit(receptor=SOMEBODY_NEW) if call == "clientes" else harness.submit()
    harness.sandbox.play(
        "status_before",
        account=harness.account,
        call=call,
        times=1,
        status=429,
        retry_after=400,
        retry_after_date=as_date,
    )

    outcome = harness.stamp(invoice_id)

    assert isinstance(outcome, Later)
    now, row = harness.tools.clock.now(), harness.row(invoice_id)
    assert timedelta(seconds=390) < row.next_attempt_at - now <= timedelta(seconds=400)
    assert row.status == "waiting"
    harness.later(seconds=380)
    assert isinstance(harness.stamp(invoice_id), Full)
    harness.later(seconds=25)
    assert isinstance(harness.stamp(invoice_id), Stamped)


SOMEBODY_NEW = {
    "rfc": "URE180429TM6",
    "nombre": "UNIVERSIDAD ROBOTICA ESPAÑOLA",
    "domicilio_fiscal_receptor": "86991",
    "regimen_fiscal_receptor": "601",
    "uso_cfdi": "G03",
}


def test_too_fast_throttles_that_account_alone(harness: Harness) -> None:
    """Its other invoices wait without a call; another account's invoice does not wait at all."""
    other = beside(harness)
    first, second, elsewhere = harness.submit("A-1"), harness.submit("A-2"), other.submit("B-1")
    harness.sandbox.play(
        "status_before", account=harness.account, call="stamp", times=1, status=429, retry_after=300
    )
    assert isinstance(harness.stamp(first), Later)

    enqueued = sweep.sweep(harness.tools).stamp
    outcomes = harness.stamp(second), other.stamp(elsewhere)

    assert enqueued == [elsewhere]
    assert isinstance(outcomes[0], Full)
    assert isinstance(outcomes[1], Stamped)
    assert harness.attempts(second) == []
    assert other.connection().throttled_until is None


def test_too_fast_without_a_time_waits_half_a_minute(harness: Harness) -> None:
    """429 alone names no time; coming back at once would be the wrong guess."""
    invoice_id = harness.submit()
    harness.sandbox.play("status_before", account=harness.account, call="stamp", times=1, status=429)

    outcome = harness.stamp(invoice_id)

    assert isinstance(outcome, Later)
    assert outcome.delay >= timedelta(seconds=30)


def test_a_wait_of_days_does_not_outlive_the_72_hours(harness: Harness) -> None:
    """Whatever Retry-After says, the invoice ends by its own budget, and an event says so."""
    invoice_id = harness.submit()
    harness.sandbox.play(
        "status_before", account=harness.account, call="stamp", times=1, status=429, retry_after=10**7
    )
    harness.stamp(invoice_id)

    harness.later(hours=72)
    for due in sweep.sweep(harness.tools).reminders:
        harness.expire(due)

    row = harness.row(invoice_id)
    assert (row.status, row.reason) == ("failed", "expired")
    assert harness.event_types()[-1] == "invoice.failed"


WARNED = ("24 horas", "6 horas", "una hora")


# --- nothing left this machine -------------------------------------------------------------------------------------


def test_tries_are_unlimited_within_72_hours_and_end_with_them(harness: Harness) -> None:
    """Each hour of the three days it is tried again; events come at 5 minutes, and at 24, 6 and 1 hours left."""
    harness.sandbox.play("down", seconds=10**7)
    invoice_id = harness.submit(fecha=harness.tools.clock.now().isoformat())
    for _ in range(72):
        for due in sweep.sweep(harness.tools).reminders:
            deadlines.remind(due, harness.tools)
        assert isinstance(harness.stamp(invoice_id), Later | Full)
        harness.later(hours=1)
    before = harness.row(invoice_id)
    emitted = [
        row.data for row in harness.all("SELECT data FROM events WHERE type = 'invoice.delayed' ORDER BY id")
    ]

    harness.later(minutes=2)
    outcome = harness.stamp(invoice_id)

    assert before.status == "waiting"
    assert before.tries > 60
    assert len(emitted) == 4
    assert [each["message"].count(hours) for each, hours in zip(emitted[1:], WARNED, strict=True)] == [
        1,
        1,
        1,
    ]
    after = harness.row(invoice_id)
    assert isinstance(outcome, Later | Full)
    for due in sweep.sweep(harness.tools).reminders:
        harness.expire(due)
    after = harness.row(invoice_id)
    assert (after.status, after.reason) == ("failed", "expired")
    assert harness.event_types()[-1] == "invoice.failed"
    assert after.errors[0]["code"] == "timbrado.plazo_vencido"


def test_a_date_is_given_when_it_is_first_sent_and_kept(harness: Harness) -> None:
    """Waiting before that costs nothing of the 72 hours; after it the date never changes, however often it is sent."""
    invoice_id = harness.submit()
    harness.sandbox.play("down", seconds=3 * 3600)
    harness.stamp(invoice_id)
    before = harness.row(invoice_id)
    harness.later(hours=4)
    until_back(harness)
    harness.sandbox.play("status_before", account=harness.account, call="stamp", times=2, status=429)
    dated = []
    for _ in range(2):
        assert isinstance(harness.stamp(invoice_id), Later)
        dated.append(harness.row(invoice_id))
        harness.later(minutes=5)
    assert isinstance(harness.stamp(invoice_id), Stamped)
    dated.append(harness.row(invoice_id))

    assert (before.fecha, before.expires_at) == (None, None)
    assert len({(row.fecha, row.expires_at) for row in dated}) == 1
    assert abs(dated[0].expires_at - dated[0].updated_at - timedelta(hours=72)) < 2 * MINUTE


# --- an outage -----------------------------------------------------------------------------------------------------


def test_an_outage_is_asked_about_by_one_invoice_at_a_time(harness: Harness) -> None:
    """After five failures in a row nothing is sent; every quarter of a minute one goes ahead to see."""
    ids = [harness.submit(f"O-{number}") for number in range(20)]
    harness.sandbox.play("down", seconds=10**7)
    tried = Counter(type(harness.stamp(invoice_id)) for invoice_id in ids)

    rounds = []
    for _ in range(6):
        harness.later(seconds=16)
        rounds.append(Counter(type(harness.stamp(invoice_id)) for invoice_id in ids)[Later])

    assert tried == {Later: 5, Full: 15}
    assert rounds == [1] * 6
    harness.sandbox.calm()
    until_back(harness)
    harness.later(seconds=16)
    assert Counter(type(harness.stamp(invoice_id)) for invoice_id in ids)[Stamped] >= 10


def test_a_message_that_finds_nothing_due_is_no_probe(harness: Harness) -> None:
    """Of those who ask at once one may go; one with nothing to send does not take that place."""
    stamped = harness.stamped("DONE")
    ids = [harness.submit(f"O-{number}") for number in range(5)]
    other = beside(harness)
    elsewhere = other.submit("B-1")
    harness.sandbox.play("down", seconds=100)
    for invoice_id in ids:
        harness.stamp(invoice_id)
    with harness.tools.engine.begin() as db:
        db.exec_driver_sql(
            "UPDATE invoices SET next_attempt_at = now() + interval '9 days' WHERE starts_with(external_id, 'O-')"
        )
    harness.later(seconds=101)
    until_back(harness)

    harness.stamp(stamped)

    assert isinstance(other.stamp(elsewhere), Stamped)


def test_a_doubt_is_asked_about_ever_less_often_while_nobody_answers(harness: Harness) -> None:
    """An hour's outage with a hundred doubts must not be a hundred knocks every few seconds."""
    invoice_id = harness.submit()
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
    assert isinstance(harness.stamp(invoice_id), InDoubt)
    harness.sandbox.play("down", seconds=3600)
    began = harness.tools.clock.now()

    for _ in range(25):
        harness.look(invoice_id)
        if harness.row(invoice_id).status == "stamped":
            break

    assert harness.tools.clock.now() - began >= timedelta(hours=1)
    assert harness.row(invoice_id).status == "stamped"
    assert harness.duplicates() == 0
