"""`provider.degraded` and `provider.recovered`: once each way, for everybody; and what events say besides."""

from typing import Any

from events import channels, dispatch
from events.delivery import Delivered
from models.vocabulary import Channel
from stamping.intake.check import check
from stamping.limits import circuit_breaker
from tests.support.builders import a_receptor, an_invoice


def test_an_outage_is_emitted_when_it_begins_and_when_it_ends(harness):
    """However many calls fail in it; a call that is answered while all is well emits nothing."""
    tools = harness.tools
    note = circuit_breaker.watch(tools.engine, tools.clock.now, tools.policy)
    url = harness.sandbox.url
    for _ in range(tools.policy.breaker_failures + 3):
        note(url, is_usable=False)
    harness.later(seconds=2)
    note(url, is_usable=True)
    harness.later(seconds=2)
    note(url, is_usable=True)

    found = harness.all("SELECT * FROM events WHERE subject_kind = 'provider' ORDER BY version")
    assert [(each.type, each.version, each.data["status"]) for each in found] == [
        ("provider.degraded", 1, "degraded"),
        ("provider.recovered", 2, "recovered"),
    ]
    assert found[0].subject_id == found[1].subject_id
    assert all("ContaDigital" in each.data["message"] and "http" not in str(each.data) for each in found)


def test_what_only_seems_wrong_goes_with_the_event(harness):
    """`warnings` are in the event of an accepted invoice, and in none of its errors."""
    changes = {"fecha": None, "receptor": a_receptor(uso_cfdi="G01")}
    warned = check(an_invoice(account=harness.account, external_id="W-1", **changes), harness.tools)
    invoice_id = harness.submit("W-1", **changes)

    (event,) = harness.all("SELECT * FROM events WHERE subject_id = :id", id=invoice_id)
    assert event.data["errors"] == []
    assert [each["code"] for each in event.data["warnings"]] == [each.code for each in warned.warnings]
    assert harness.row(invoice_id).warnings == event.data["warnings"]


def test_a_delivered_event_says_where_its_documents_are(harness):
    """The address is that of the process that sends, so that a new one is right at the next try."""
    with harness.tools.engine.begin() as db:
        channels.set_current(db, (Channel.WEBHOOK,), harness.tools.clock.now())
    harness.stamp(harness.submit("U-1"))
    sent: list[Any] = []

    dispatch.deliver_due(
        harness.tools.engine,
        Channel.WEBHOOK,
        lambda outgoing, now: sent.append(outgoing.event) or Delivered(204, now - now),
        address="https://control.example",
        clock=harness.tools.clock.now,
        chance=lambda: 0.5,
        public_url="https://timbrado.example",
    )

    (stamped,) = [each for each in sent if each["type"] == "invoice.stamped"]
    assert [each["url"] for each in stamped["data"]["documents"]] == [
        f"https://timbrado.example/v1/invoices/{harness.account}/U-1/{kind}" for kind in ("xml", "pdf")
    ]
