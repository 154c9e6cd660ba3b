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

from stamping import reminders
from stamping.outcome import Failed, Full, InDoubt, Later, Stamped
from tests.support.apunto import NAME, POSTCODE, RFC
from tests.support.harness import Corridor, open_corridor, sweep

MINUTE = timedelta(minutes=1)


@pytest.fixture
def corridor(database_url: str, sandbox: Any) -> Iterator[Corridor]:
    with open_corridor(database_url, sandbox) as opened:
        opened.stamped("CONTROL")
        yield opened


def beside(corridor: Corridor) -> Corridor:
    """Another account of the same house, at the same provider."""
    name = f"acme-{uuid.uuid4().hex[:8]}"
    told = corridor.sandbox.open_account(
        name, rfc=RFC, razon_social=NAME, regimen_fiscal="601", lugares=[POSTCODE, "64000"]
    )
    other = replace(corridor, account=name)
    assert other.connect(told["api_key"]).status == "active"
    return other


def until_back(corridor: Corridor) -> None:
    """Wait until an outage that is over is really over: the sandbox listens again within some milliseconds."""
    deadline = time.monotonic() + 5
    while True:
        try:
            socket.create_connection(("127.0.0.1", corridor.sandbox.port), 1).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


# --- too fast ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "a date"])
@pytest.mark.parametrize("call", ["save", "stamp", "clientes"])
def test_retry_after_is_obeyed(corridor: Corridor, call: str, as_date: bool) -> None:
    """Not a second before, in either of its two forms, whichever call was refused; nothing is in doubt."""
    invoice_id = corridor.submit(receptor=SOMEBODY_NEW) if call == "clientes" else corridor.submit()
    corridor.sandbox.play(
        "status_before",
        account=corridor.account,
        call=call,
        times=1,
        status=429,
        retry_after=400,
        retry_after_date=as_date,
    )

    outcome = corridor.stamp(invoice_id)

    assert isinstance(outcome, Later)
    now, row = corridor.tools.clock.now(), corridor.row(invoice_id)
    assert timedelta(seconds=390) < row.next_attempt_at - now <= timedelta(seconds=400)
    assert row.status == "waiting"
    corridor.later(seconds=380)
    assert isinstance(corridor.stamp(invoice_id), Full)
    corridor.later(seconds=25)
    assert isinstance(corridor.stamp(invoice_id), Stamped)


SOMEBODY_NEW = {
    "rfc": "URE180429TM6",
    "nombre": "UNIVERSIDAD ROBOTICA ESPAÑOLA",
    "domicilio_fiscal_receptor": "86991",
    "regimen_fiscal_receptor": "601",
    "uso_cfdi": "G03",
}


def test_too_fast_closes_the_tap_of_that_account_alone(corridor: Corridor) -> None:
    """Its other invoices wait without a call; another account's invoice does not wait at all."""
    other = beside(corridor)
    first, second, elsewhere = corridor.submit("A-1"), corridor.submit("A-2"), other.submit("B-1")
    corridor.sandbox.play(
        "status_before", account=corridor.account, call="stamp", times=1, status=429, retry_after=300
    )
    assert isinstance(corridor.stamp(first), Later)

    rung = sweep.sweep(corridor.tools).stamp
    outcomes = corridor.stamp(second), other.stamp(elsewhere)

    assert rung == [elsewhere]
    assert isinstance(outcomes[0], Full)
    assert isinstance(outcomes[1], Stamped)
    assert corridor.attempts(second) == []
    assert other.connection().tap_closed_until is None


def test_too_fast_without_a_time_waits_half_a_minute(corridor: Corridor) -> None:
    """429 alone names no time; coming back at once would be the wrong guess."""
    invoice_id = corridor.submit()
    corridor.sandbox.play("status_before", account=corridor.account, call="stamp", times=1, status=429)

    outcome = corridor.stamp(invoice_id)

    assert isinstance(outcome, Later)
    assert outcome.delay >= timedelta(seconds=30)


def test_a_wait_of_days_does_not_outlive_the_72_hours(corridor: Corridor) -> None:
    """Whatever Retry-After says, the invoice ends by its own budget, and is told."""
    invoice_id = corridor.submit()
    corridor.sandbox.play(
        "status_before", account=corridor.account, call="stamp", times=1, status=429, retry_after=10**7
    )
    corridor.stamp(invoice_id)

    corridor.later(hours=72)
    for due in sweep.sweep(corridor.tools).notices:
        reminders.notice(due, corridor.tools)

    row = corridor.row(invoice_id)
    assert (row.status, row.reason) == ("failed", "expired")
    assert corridor.told()[-1] == "invoice.failed"


WARNED = ("24 horas", "6 horas", "una hora")


# --- nothing left this machine -------------------------------------------------------------------------------------


def test_tries_are_unlimited_within_72_hours_and_end_with_them(corridor: Corridor) -> None:
    """Each hour of the three days it is tried again; it is told of at 5 minutes, and at 24, 6 and 1 hours left."""
    corridor.sandbox.play("down", seconds=10**7)
    invoice_id = corridor.submit(fecha=corridor.tools.clock.now().isoformat())
    for _ in range(72):
        for due in sweep.sweep(corridor.tools).notices:
            reminders.notice(due, corridor.tools)
        assert isinstance(corridor.stamp(invoice_id), Later | Full)
        corridor.later(hours=1)
    before = corridor.row(invoice_id)
    told = [
        row.data for row in corridor.all("SELECT data FROM events WHERE type = 'invoice.delayed' ORDER BY id")
    ]

    corridor.later(minutes=2)
    outcome = corridor.stamp(invoice_id)

    assert before.status == "waiting"
    assert before.tries > 60
    assert len(told) == 4
    assert [each["message"].count(hours) for each, hours in zip(told[1:], WARNED, strict=True)] == [1, 1, 1]
    after = corridor.row(invoice_id)
    assert isinstance(outcome, Failed | Full)
    for due in sweep.sweep(corridor.tools).notices:
        reminders.notice(due, corridor.tools)
    after = corridor.row(invoice_id)
    assert (after.status, after.reason) == ("failed", "expired")
    assert corridor.told()[-1] == "invoice.failed"
    assert after.errors[0]["code"] == "timbrado.plazo_vencido"


def test_a_date_is_given_when_it_is_first_sent_and_kept(corridor: Corridor) -> None:
    """Waiting before that costs nothing of the 72 hours; after it the date never changes, however often it is sent."""
    invoice_id = corridor.submit()
    corridor.sandbox.play("down", seconds=3 * 3600)
    corridor.stamp(invoice_id)
    before = corridor.row(invoice_id)
    corridor.later(hours=4)
    until_back(corridor)
    corridor.sandbox.play("status_before", account=corridor.account, call="stamp", times=2, status=429)
    dated = []
    for _ in range(2):
        assert isinstance(corridor.stamp(invoice_id), Later)
        dated.append(corridor.row(invoice_id))
        corridor.later(minutes=5)
    assert isinstance(corridor.stamp(invoice_id), Stamped)
    dated.append(corridor.row(invoice_id))

    assert (before.fecha, before.expires_at) == (None, None)
    assert len({(row.fecha, row.expires_at) for row in dated}) == 1
    assert abs(dated[0].expires_at - dated[0].updated_at - timedelta(hours=72)) < 2 * MINUTE


# --- an outage -----------------------------------------------------------------------------------------------------


def test_an_outage_is_asked_about_by_one_invoice_at_a_time(corridor: Corridor) -> None:
    """After five failures in a row nothing is sent; every quarter of a minute one goes ahead to see."""
    ids = [corridor.submit(f"O-{number}") for number in range(20)]
    corridor.sandbox.play("down", seconds=10**7)
    tried = Counter(type(corridor.stamp(invoice_id)) for invoice_id in ids)

    rounds = []
    for _ in range(6):
        corridor.later(seconds=16)
        rounds.append(Counter(type(corridor.stamp(invoice_id)) for invoice_id in ids)[Later])

    assert tried == {Later: 5, Full: 15}
    assert rounds == [1] * 6
    corridor.sandbox.calm()
    until_back(corridor)
    corridor.later(seconds=16)
    assert Counter(type(corridor.stamp(invoice_id)) for invoice_id in ids)[Stamped] >= 10


def test_a_bell_that_finds_nothing_due_is_no_probe(corridor: Corridor) -> None:
    """Of those who ask at once one may go; one with nothing to send does not take that place."""
    stamped = corridor.stamped("DONE")
    ids = [corridor.submit(f"O-{number}") for number in range(5)]
    other = beside(corridor)
    elsewhere = other.submit("B-1")
    corridor.sandbox.play("down", seconds=100)
    for invoice_id in ids:
        corridor.stamp(invoice_id)
    with corridor.tools.engine.begin() as db:
        db.exec_driver_sql(
            "UPDATE invoices SET next_attempt_at = now() + interval '9 days' WHERE starts_with(external_id, 'O-')"
        )
    corridor.later(seconds=101)
    until_back(corridor)

    corridor.stamp(stamped)

    assert isinstance(other.stamp(elsewhere), Stamped)


def test_a_doubt_is_asked_about_ever_less_often_while_nobody_answers(corridor: Corridor) -> None:
    """An hour's outage with a hundred doubts must not be a hundred knocks every few seconds."""
    invoice_id = corridor.submit()
    corridor.sandbox.play("drop_after", account=corridor.account, call="stamp", times=1)
    assert isinstance(corridor.stamp(invoice_id), InDoubt)
    corridor.sandbox.play("down", seconds=3600)
    began = corridor.tools.clock.now()

    for _ in range(25):
        corridor.look(invoice_id)
        if corridor.row(invoice_id).status == "stamped":
            break

    assert corridor.tools.clock.now() - began >= timedelta(hours=1)
    assert corridor.row(invoice_id).status == "stamped"
    assert corridor.duplicates() == 0
