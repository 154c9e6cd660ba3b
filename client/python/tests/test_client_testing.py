"""The test double keeps the contract, so that an application tested with it works with the worker."""

import inspect
from typing import Any

import pytest
from timbrado_client import (
    ConnectionEvent,
    InvoiceEvent,
    InvoiceInvalid,
    RequestEvent,
    Timbrado,
    is_newer,
    verify,
)
from timbrado_client.errors import NotThere
from timbrado_client.testing import FakeTimbrado

JSON = dict[str, Any]
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def types_of(timbrado: FakeTimbrado) -> list[str]:
    return [event.type for event in timbrado.events()]


@pytest.mark.parametrize(
    ("ending", "types"),
    [
        ("stamped", ["invoice.accepted", "invoice.stamped"]),
        ("rejected", ["invoice.rejected"]),
        ("on_hold", ["invoice.on_hold"]),
        ("in_doubt", ["invoice.accepted", "invoice.in_doubt"]),
    ],
)
def test_each_ending_emits_the_worker_s_events(invoice: JSON, ending: Any, types: list[str]) -> None:
    """In order, with growing versions, texts in Spanish, and what belongs to the ending."""
    timbrado = FakeTimbrado()
    timbrado.plays[invoice["external_id"]] = ending

    timbrado.submit(invoice)
    events = list(timbrado.events())

    assert [event.type for event in events] == types
    assert [event.version for event in events] == list(range(1, len(types) + 1))
    last = events[-1]
    assert isinstance(last, InvoiceEvent)
    assert last.data.status == ending
    assert last.data.message
    assert bool(last.data.uuid) == bool(last.data.documents) == (ending == "stamped")
    assert [fault.label for fault in last.data.errors] == (
        ["Código postal del domicilio fiscal del cliente"] if ending == "rejected" else []
    )


@pytest.mark.parametrize("ending", ["on_hold", "in_doubt"])
def test_what_is_open_ends_stamped(invoice: JSON, ending: Any) -> None:
    """A connection corrected, a look-up that found the stamp: the invoice goes on by itself."""
    timbrado = FakeTimbrado()
    timbrado.plays[invoice["external_id"]] = ending
    timbrado.submit(invoice)

    timbrado.settle("acme", invoice["external_id"])

    assert types_of(timbrado)[-1] == "invoice.stamped"
    assert timbrado.read("acme", invoice["external_id"]).status == "stamped"


def test_a_new_key_lets_what_was_on_hold_go_on(invoice: JSON) -> None:
    """As the worker does: nobody sends the invoice again."""
    timbrado = FakeTimbrado()
    timbrado.plays[invoice["external_id"]] = "on_hold"
    timbrado.connection("acme", "broken", "key_rejected", "ContaDigital ya no acepta el API Key.", "Pégalo.")
    timbrado.submit(invoice)

    timbrado.connect("acme", "k", "EKU9003173C9", "ESCUELA", "42501")

    assert types_of(timbrado) == [
        "connection.broken",
        "invoice.on_hold",
        "connection.active",
        "invoice.stamped",
    ]


def test_the_same_invoice_twice_is_stamped_once(invoice: JSON) -> None:
    """Its status is emitted again, with the same version and the same UUID."""
    timbrado = FakeTimbrado()

    timbrado.submit(invoice)
    *_, first = timbrado.events()
    timbrado.submit(invoice)
    (again,) = timbrado.events()

    assert isinstance(first, InvoiceEvent)
    assert isinstance(again, InvoiceEvent)
    assert again.data.uuid == first.data.uuid
    assert not is_newer(again, first.version)


def test_a_stamped_invoice_is_never_changed(invoice: JSON) -> None:
    """Other content is refused, and the refusal is no event of the invoice; a rejected one is corrected."""
    timbrado = FakeTimbrado()
    timbrado.submit(invoice)
    stamped = timbrado.read("acme", invoice["external_id"])
    list(timbrado.events())

    timbrado.submit({**invoice, "total": "1.00"})

    (refused,) = timbrado.events()
    assert isinstance(refused, RequestEvent)
    assert timbrado.read("acme", invoice["external_id"]) == stamped


def test_a_rejected_invoice_is_corrected_under_its_id(invoice: JSON) -> None:
    """Its version goes on growing."""
    timbrado = FakeTimbrado()
    timbrado.plays[invoice["external_id"]] = "rejected"
    timbrado.submit(invoice)
    timbrado.plays[invoice["external_id"]] = "stamped"

    timbrado.submit({**invoice, "forma_pago": "04"})

    assert [event.version for event in timbrado.events()] == [1, 2, 3]
    assert timbrado.read("acme", invoice["external_id"]).status == "stamped"


def test_cancel_withdraw_and_replace_end_as_the_contract_says(invoice: JSON) -> None:
    """Cancelled, withdrawn before the stamp, and the new one stamped before the old one is cancelled."""
    timbrado = FakeTimbrado()
    timbrado.plays["W"] = "on_hold"
    for external_id in ("C", "W", "R"):
        timbrado.submit({**invoice, "external_id": external_id})
    list(timbrado.events())

    timbrado.cancel("acme", "C", "02")
    timbrado.withdraw("acme", "W")
    timbrado.replace("acme", "R", {**invoice, "external_id": "R-2"})

    found = [(event.type, event.data.external_id) for event in timbrado.events()]  # type: ignore[union-attr]  # all are invoices'
    assert found == [
        ("invoice.cancelled", "C"),
        ("invoice.withdrawn", "W"),
        ("invoice.accepted", "R-2"),
        ("invoice.stamped", "R-2"),
        ("invoice.cancelled", "R"),
    ]
    assert [task for task, _ in timbrado.sent][-3:] == [
        "stamping.cancel_invoice",
        "stamping.withdraw_invoice",
        "stamping.replace_invoice",
    ]


def test_a_request_about_no_invoice_makes_none() -> None:
    """`request.refused`, and still nothing to read."""
    timbrado = FakeTimbrado()

    timbrado.retry("acme", "NO-SUCH")

    assert types_of(timbrado) == ["request.refused"]
    with pytest.raises(NotThere):
        timbrado.read("acme", "NO-SUCH")


def test_what_the_client_refuses_it_refuses(invoice: JSON) -> None:
    """A test that passes with it does not fail for the shape of an invoice later."""
    with pytest.raises(InvoiceInvalid):
        FakeTimbrado().submit({**invoice, "total": 16800.0})


def test_its_webhooks_are_verified_as_the_worker_s(invoice: JSON) -> None:
    """Signed in the form of Standard Webhooks with the secret that is given."""
    timbrado = FakeTimbrado()
    timbrado.connection("acme", "active")
    timbrado.submit(invoice)

    events = [verify(body, headers, SECRET) for headers, body in timbrado.webhooks(SECRET)]

    assert [type(event) for event in events] == [ConnectionEvent, InvoiceEvent, InvoiceEvent]
    assert list(timbrado.webhooks(SECRET)) == []


def test_it_has_every_request_of_the_real_one() -> None:
    """Same names, and the same positional arguments."""
    requests = [name for name in vars(Timbrado) if not name.startswith("_")]

    for name in requests:
        real, fake = (inspect.signature(getattr(each, name)) for each in (Timbrado, FakeTimbrado))
        positional = [p.name for p in real.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert [p.name for p in fake.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD] == positional
