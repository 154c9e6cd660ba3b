"""Telling that it takes long: once when ContaDigital keeps a user waiting, and as the SAT's 72 hours run out."""

from datetime import timedelta
from uuid import UUID

import pytest

from stamping import deadlines
from stamping.claims import take
from tests.support.harness import Harness, sweep

pytestmark = pytest.mark.one_database


def emitted(harness: Harness, invoice_id: UUID) -> list[str]:
    rows = harness.all("SELECT type FROM events WHERE subject_id = :id ORDER BY version", id=invoice_id)
    return [row.type.removeprefix("invoice.") for row in rows]


def message(harness: Harness, invoice_id: UUID) -> str:
    rows = harness.all("SELECT data FROM events WHERE subject_id = :id ORDER BY version", id=invoice_id)
    return str(rows[-1].data["message"])


def wait(harness: Harness, invoice_id: UUID, **time: float) -> None:
    """Let time pass, and give notice whenever that falls due in it."""
    end = harness.tools.clock.now() + timedelta(**time)
    while True:
        at = harness.row(invoice_id).reminder_at
        if at is None or at > end:
            break
        left = (at - harness.tools.clock.now()).total_seconds()
        harness.later(seconds=max(0.0, left) + 0.01)
        deadlines.remind(invoice_id, harness.tools)
    harness.later(seconds=(end - harness.tools.clock.now()).total_seconds())


def an_hour_old(harness: Harness, external_id: str = "OP-1", hours: float = 1) -> UUID:
    """An invoice whose `fecha` lies so many hours back."""
    fecha = harness.tools.clock.now() - timedelta(hours=hours)
    return harness.submit(external_id, fecha=fecha.isoformat())


def test_an_outage_is_reported_once_to_who_waits(harness: Harness) -> None:
    """After five minutes, and not each minute; the sweep enqueues it, and the stamp comes as if nothing had been."""
    invoice_id = harness.submit()
    harness.sandbox.play("status_before", account=harness.account, call="utiles", status=503)
    harness.later(minutes=4.9)
    assert invoice_id not in sweep.sweep(harness.tools).reminders
    harness.later(minutes=0.5)

    assert invoice_id in sweep.sweep(harness.tools).reminders
    assert deadlines.remind(invoice_id, harness.tools) == "delayed"
    wait(harness, invoice_id, hours=10)
    harness.stamp(invoice_id)

    assert emitted(harness, invoice_id) == ["accepted", "delayed", "stamped"]
    assert harness.row(invoice_id).reminder_at is None


def test_a_quick_stamp_is_never_called_slow(harness: Harness) -> None:
    """Nothing is due once it is settled."""
    invoice_id = harness.stamped("OP-1")
    harness.later(minutes=6)

    assert deadlines.remind(invoice_id, harness.tools) is None
    assert invoice_id not in sweep.sweep(harness.tools).reminders


def test_two_workers_report_it_once(harness: Harness) -> None:
    """The row is locked by whoever reminds; the other finds it done."""
    invoice_id = harness.submit()
    harness.later(minutes=6)

    assert [deadlines.remind(invoice_id, harness.tools) for _ in range(2)] == ["delayed", None]


def test_one_in_doubt_had_its_event_and_gets_one_for_a_delay_only_when_it_waits_again(
    harness: Harness,
) -> None:
    """The doubt explains the wait; once it is over and ContaDigital is slow, that is news."""
    harness.stamped("CONTROL")
    invoice_id = harness.submit()
    harness.sandbox.play("drop_before", account=harness.account, call="stamp", times=1)
    harness.stamp(invoice_id)
    wait(harness, invoice_id, minutes=12)
    assert emitted(harness, invoice_id) == ["accepted", "in_doubt"]
    harness.look_until(invoice_id, "waiting")

    wait(harness, invoice_id, minutes=6)

    assert emitted(harness, invoice_id) == ["accepted", "in_doubt", "delayed"]


def test_one_on_hold_had_its_event_and_gets_one_for_a_delay_only_when_it_goes_on(harness: Harness) -> None:
    """Its connection explains the wait; once fixed, it may still meet an outage."""
    invoice_id = harness.submit()
    harness.sandbox.change(harness.account, series={"A": False})
    harness.stamp(invoice_id)
    wait(harness, invoice_id, hours=2)
    assert emitted(harness, invoice_id) == ["accepted", "on_hold"]
    harness.sandbox.change(harness.account, series={"A": True})
    harness.connect(harness.sandbox.account(harness.account)["api_key"])

    wait(harness, invoice_id, minutes=6)

    assert emitted(harness, invoice_id) == ["accepted", "on_hold", "delayed"]


def test_who_waits_for_an_operator_is_not_informed_that_contadigital_is_slow(harness: Harness) -> None:
    """`timbrado hold` is maintenance, and is reported as such."""
    invoice_id = harness.submit()
    harness.all("UPDATE connections SET paused = true WHERE account = :a RETURNING id", a=harness.account)

    wait(harness, invoice_id, minutes=6)

    assert emitted(harness, invoice_id) == ["accepted", "delayed"]
    assert "mantenimiento" in message(harness, invoice_id)


def test_the_72_hours_are_warned_about_at_24_6_and_1(harness: Harness) -> None:
    """Each warning once, with the hours that are left; then it is given up, with the reason and never in silence."""
    invoice_id = an_hour_old(harness)
    harness.sandbox.change(harness.account, series={"A": False})
    harness.stamp(invoice_id)
    words = []
    for hours in (46.5, 1, 16, 2, 5, 1):
        wait(harness, invoice_id, hours=hours)
        words.append((emitted(harness, invoice_id)[-1], message(harness, invoice_id)))

    assert [kind for kind, _ in words] == ["on_hold", "delayed", "delayed", "delayed", "delayed", "failed"]
    assert "menos de 24 horas" in words[1][1]
    assert words[1] == words[2]
    assert "menos de 6 horas" in words[3][1]
    assert "menos de una hora" in words[4][1]
    assert emitted(harness, invoice_id).count("delayed") == 3
    row = harness.row(invoice_id)
    assert (row.status, row.reason, row.errors[0]["code"]) == ("failed", "expired", "timbrado.plazo_vencido")
    assert harness.stamps() == 0


def test_warnings_that_were_slept_through_are_not_reported_one_after_the_other(harness: Harness) -> None:
    """After a long outage of ours only the sharpest is worth telling."""
    invoice_id = an_hour_old(harness)
    harness.later(hours=70.5)

    deadlines.remind(invoice_id, harness.tools)

    assert emitted(harness, invoice_id) == ["accepted", "delayed"]
    assert "menos de una hora" in message(harness, invoice_id)


@pytest.mark.parametrize("status", ["accepted", "waiting", "on_hold"])
def test_what_is_certainly_not_stamped_is_given_up_when_its_time_is_over(
    harness: Harness, status: str
) -> None:
    """Wherever it stands; sent again with a new date it starts anew."""
    invoice_id = an_hour_old(harness)
    if status == "waiting":
        harness.sandbox.play("status_before", account=harness.account, call="stamp", status=429, times=1)
        harness.stamp(invoice_id)
    if status == "on_hold":
        harness.sandbox.revoke_key(harness.account)
        harness.stamp(invoice_id)
    assert harness.row(invoice_id).status == status

    wait(harness, invoice_id, hours=72)

    assert harness.row(invoice_id).status == "failed"
    assert emitted(harness, invoice_id)[-1] == "failed"
    harness.submit()
    assert harness.row(invoice_id).status == ("on_hold" if status == "on_hold" else "accepted")


def test_no_timer_ends_a_doubt(harness: Harness) -> None:
    """Past the 72 hours it is warned about and looked up as before: it may be stamped."""
    invoice_id = an_hour_old(harness)
    harness.sandbox.play("drop_after", account=harness.account, call="stamp", times=1)
    harness.sandbox.play("deny", account=harness.account, call="look_up", seconds=10_000_000)
    harness.stamp(invoice_id)

    wait(harness, invoice_id, hours=100)
    assert harness.row(invoice_id).status == "in_doubt"
    harness.sandbox.calm()
    harness.look_until(invoice_id, "stamped", most=2)

    assert emitted(harness, invoice_id) == ["accepted", "in_doubt", "in_doubt", *["delayed"] * 3, "stamped"]


def test_a_call_under_way_when_the_time_is_over_decides_by_its_answer(harness: Harness) -> None:
    """Nobody gives up what a worker holds in hand."""
    invoice_id = an_hour_old(harness, hours=60)
    harness.later(hours=11.99)
    deadlines.remind(invoice_id, harness.tools)
    claimed = take(invoice_id, harness.tools)
    harness.later(minutes=1)

    deadlines.remind(invoice_id, harness.tools)

    row = harness.row(invoice_id)
    assert (row.status, claimed.id) == ("stamping", invoice_id)  # type: ignore[union-attr]
    assert row.reminder_at - harness.tools.clock.now() <= deadlines.LOOK_AGAIN


def test_what_is_past_its_72_hours_is_not_sent_any_more(harness: Harness) -> None:
    """Also where its message comes before the reminder, which gives it up at its second look."""
    invoice_id = an_hour_old(harness)
    harness.later(hours=72)

    harness.stamp(invoice_id)

    assert harness.attempts(invoice_id) == []
    assert harness.expire(invoice_id) == "expired"
    assert (harness.row(invoice_id).status, harness.row(invoice_id).reason) == ("failed", "expired")
    assert harness.stamps() == 0
