"""Telling that it takes long: once when ContaDigital keeps a user waiting, and as the SAT's 72 hours run out."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from stamping import reminders
from stamping.claims import take
from tests.support.harness import Corridor, open_corridor, sweep


@pytest.fixture(scope="module")
def database(make_database: Callable[[], str]) -> str:
    """One database for this file: each test has an account of its own in it."""
    return make_database()


@pytest.fixture
def corridor(database: str, sandbox: Any) -> Iterator[Corridor]:
    with open_corridor(database, sandbox) as opened:
        yield opened


def told(corridor: Corridor, invoice_id: UUID) -> list[str]:
    rows = corridor.all("SELECT type FROM events WHERE subject_id = :id ORDER BY version", id=invoice_id)
    return [row.type.removeprefix("invoice.") for row in rows]


def message(corridor: Corridor, invoice_id: UUID) -> str:
    rows = corridor.all("SELECT data FROM events WHERE subject_id = :id ORDER BY version", id=invoice_id)
    return str(rows[-1].data["message"])


def wait(corridor: Corridor, invoice_id: UUID, **time: float) -> None:
    """Let time pass, and give notice whenever that falls due in it."""
    end = corridor.tools.clock.now() + timedelta(**time)
    while True:
        at = corridor.row(invoice_id).notice_at
        if at is None or at > end:
            break
        left = (at - corridor.tools.clock.now()).total_seconds()
        corridor.later(seconds=max(0.0, left) + 0.01)
        reminders.notice(invoice_id, corridor.tools)
    corridor.later(seconds=(end - corridor.tools.clock.now()).total_seconds())


def an_hour_old(corridor: Corridor, external_id: str = "OP-1", hours: float = 1) -> UUID:
    """An invoice whose `fecha` lies so many hours back."""
    fecha = corridor.tools.clock.now() - timedelta(hours=hours)
    return corridor.submit(external_id, fecha=fecha.isoformat())


def test_an_outage_is_told_once_to_who_waits(corridor: Corridor) -> None:
    """After five minutes, and not each minute; the sweep rings for it, and the stamp comes as if nothing had been."""
    invoice_id = corridor.submit()
    corridor.sandbox.play("status_before", account=corridor.account, call="utiles", status=503)
    corridor.later(minutes=4.9)
    assert invoice_id not in sweep.sweep(corridor.tools).notices
    corridor.later(minutes=0.5)

    assert invoice_id in sweep.sweep(corridor.tools).notices
    assert reminders.notice(invoice_id, corridor.tools) == "delayed"
    wait(corridor, invoice_id, hours=10)
    corridor.stamp(invoice_id)

    assert told(corridor, invoice_id) == ["accepted", "delayed", "stamped"]
    assert corridor.row(invoice_id).notice_at is None


def test_a_quick_stamp_is_never_called_slow(corridor: Corridor) -> None:
    """Nothing is due once it is settled."""
    invoice_id = corridor.stamped("OP-1")
    corridor.later(minutes=6)

    assert reminders.notice(invoice_id, corridor.tools) is None
    assert invoice_id not in sweep.sweep(corridor.tools).notices


def test_two_workers_tell_it_once(corridor: Corridor) -> None:
    """The row is locked by whoever tells; the other finds it told."""
    invoice_id = corridor.submit()
    corridor.later(minutes=6)

    assert [reminders.notice(invoice_id, corridor.tools) for _ in range(2)] == ["delayed", None]


def test_one_in_doubt_was_told_of_that_and_is_told_of_a_delay_only_when_it_waits_again(
    corridor: Corridor,
) -> None:
    """The doubt explains the wait; once it is over and ContaDigital is slow, that is news."""
    corridor.stamped("CONTROL")
    invoice_id = corridor.submit()
    corridor.sandbox.play("drop_before", account=corridor.account, call="stamp", times=1)
    corridor.stamp(invoice_id)
    wait(corridor, invoice_id, minutes=12)
    assert told(corridor, invoice_id) == ["accepted", "in_doubt"]
    corridor.look_until(invoice_id, "waiting")

    wait(corridor, invoice_id, minutes=6)

    assert told(corridor, invoice_id) == ["accepted", "in_doubt", "delayed"]


def test_one_on_hold_was_told_of_that_and_is_told_of_a_delay_only_when_it_goes_on(corridor: Corridor) -> None:
    """Its connection explains the wait; mended, it may still meet an outage."""
    invoice_id = corridor.submit()
    corridor.sandbox.change(corridor.account, series={"A": False})
    corridor.stamp(invoice_id)
    wait(corridor, invoice_id, hours=2)
    assert told(corridor, invoice_id) == ["accepted", "on_hold"]
    corridor.sandbox.change(corridor.account, series={"A": True})
    corridor.connect(corridor.sandbox.account(corridor.account)["api_key"])

    wait(corridor, invoice_id, minutes=6)

    assert told(corridor, invoice_id) == ["accepted", "on_hold", "delayed"]


def test_who_waits_for_an_operator_is_not_told_that_contadigital_is_slow(corridor: Corridor) -> None:
    """`timbrado hold` is maintenance, and is told as such."""
    invoice_id = corridor.submit()
    corridor.all("UPDATE connections SET held = true WHERE account = :a RETURNING id", a=corridor.account)

    wait(corridor, invoice_id, minutes=6)

    assert told(corridor, invoice_id) == ["accepted", "delayed"]
    assert "mantenimiento" in message(corridor, invoice_id)


def test_the_72_hours_are_warned_about_at_24_6_and_1(corridor: Corridor) -> None:
    """Each warning once, with the hours that are left; then it is given up, with the reason and never in silence."""
    invoice_id = an_hour_old(corridor)
    corridor.sandbox.change(corridor.account, series={"A": False})
    corridor.stamp(invoice_id)
    words = []
    for hours in (46.5, 1, 16, 2, 5, 1):
        wait(corridor, invoice_id, hours=hours)
        words.append((told(corridor, invoice_id)[-1], message(corridor, invoice_id)))

    assert [kind for kind, _ in words] == ["on_hold", "delayed", "delayed", "delayed", "delayed", "failed"]
    assert "menos de 24 horas" in words[1][1]
    assert words[1] == words[2]
    assert "menos de 6 horas" in words[3][1]
    assert "menos de una hora" in words[4][1]
    assert told(corridor, invoice_id).count("delayed") == 3
    row = corridor.row(invoice_id)
    assert (row.status, row.reason, row.errors[0]["code"]) == ("failed", "expired", "timbrado.plazo_vencido")
    assert corridor.stamps() == 0


def test_warnings_that_were_slept_through_are_not_told_one_after_the_other(corridor: Corridor) -> None:
    """After a long outage of ours only the sharpest is worth telling."""
    invoice_id = an_hour_old(corridor)
    corridor.later(hours=70.5)

    reminders.notice(invoice_id, corridor.tools)

    assert told(corridor, invoice_id) == ["accepted", "delayed"]
    assert "menos de una hora" in message(corridor, invoice_id)


@pytest.mark.parametrize("status", ["accepted", "waiting", "on_hold"])
def test_what_is_certainly_not_stamped_is_given_up_when_its_time_is_over(
    corridor: Corridor, status: str
) -> None:
    """Wherever it stands; sent again with a new date it starts anew."""
    invoice_id = an_hour_old(corridor)
    if status == "waiting":
        corridor.sandbox.play("status_before", account=corridor.account, call="stamp", status=429, times=1)
        corridor.stamp(invoice_id)
    if status == "on_hold":
        corridor.sandbox.revoke_key(corridor.account)
        corridor.stamp(invoice_id)
    assert corridor.row(invoice_id).status == status

    wait(corridor, invoice_id, hours=72)

    assert corridor.row(invoice_id).status == "failed"
    assert told(corridor, invoice_id)[-1] == "failed"
    corridor.submit()
    assert corridor.row(invoice_id).status == ("on_hold" if status == "on_hold" else "accepted")


def test_no_timer_ends_a_doubt(corridor: Corridor) -> None:
    """Past the 72 hours it is warned about and looked up as before: it may be stamped."""
    invoice_id = an_hour_old(corridor)
    corridor.sandbox.play("drop_after", account=corridor.account, call="stamp", times=1)
    corridor.sandbox.play("deny", account=corridor.account, call="look_up", seconds=10_000_000)
    corridor.stamp(invoice_id)

    wait(corridor, invoice_id, hours=100)
    assert corridor.row(invoice_id).status == "in_doubt"
    corridor.sandbox.calm()
    corridor.look_until(invoice_id, "stamped", most=2)

    assert told(corridor, invoice_id) == ["accepted", "in_doubt", *["delayed"] * 3, "stamped"]


def test_a_call_under_way_when_the_time_is_over_decides_by_its_answer(corridor: Corridor) -> None:
    """Nobody gives up what a worker holds in hand."""
    invoice_id = an_hour_old(corridor, hours=60)
    corridor.later(hours=11.99)
    reminders.notice(invoice_id, corridor.tools)
    claimed = take(invoice_id, corridor.tools)
    corridor.later(minutes=1)

    reminders.notice(invoice_id, corridor.tools)

    row = corridor.row(invoice_id)
    assert (row.status, claimed.id) == ("stamping", invoice_id)  # type: ignore[union-attr]
    assert row.notice_at - corridor.tools.clock.now() <= reminders.LOOK_AGAIN


def test_what_is_past_its_72_hours_is_not_sent_any_more(corridor: Corridor) -> None:
    """Also where the bell comes before the notice."""
    invoice_id = an_hour_old(corridor)
    corridor.later(hours=72)

    corridor.stamp(invoice_id)

    assert (corridor.row(invoice_id).status, corridor.row(invoice_id).reason) == ("failed", "expired")
    assert corridor.stamps() == 0
