"""Reading events: typed, tolerant of what a newer worker says, and ordered by version alone."""

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from timbrado_client import (
    ConnectionEvent,
    EventUnreadable,
    InvoiceEvent,
    OtherEvent,
    ProviderEvent,
    RequestEvent,
    is_newer,
    parse,
)

STAMPED: dict[str, Any] = {
    "type": "invoice.stamped",
    "timestamp": "2026-11-23T16:15:03Z",
    "data": {
        "account": "acme",
        "external_id": "OP-10234-1",
        "invoice_id": "01970000-0000-7000-8000-000000000001",
        "version": 4,
        "status": "stamped",
        "message": "Factura timbrada.",
        "errors": [],
        "uuid": "6A5F0000-0000-4000-8000-000000000001",
        "serie": "A",
        "folio": "1045",
        "fecha_timbrado": "2026-11-23T10:15:03",
        "documents": [{"kind": "xml", "key": "acme/2026/11/6a5f.xml", "sha256": "ab", "bytes": 6120}],
    },
}
BROKEN: dict[str, Any] = {
    "type": "connection.broken",
    "timestamp": "2026-11-23T16:15:03Z",
    "data": {
        "account": "acme",
        "connection_id": "01970000-0000-7000-8000-000000000002",
        "version": 2,
        "status": "broken",
        "reason": "key_rejected",
        "message": "ContaDigital ya no acepta el API Key de esta conexión.",
        "fix": "Cópialo de nuevo.",
        "errors": [],
        "stamps_left": None,
    },
}


def invoice_event(version: int, **data: Any) -> InvoiceEvent:
    event = parse({**STAMPED, "data": {**STAMPED["data"], "version": version, **data}})
    assert isinstance(event, InvoiceEvent)
    return event


def test_a_connection_stopped_for_its_stamps_names_them() -> None:
    """The invoices that differ come typed; of any other event there are none."""
    one = {"external_id": "OP-1", "uuid": STAMPED["data"]["uuid"], "serie": "A", "folio": "7"}
    event = parse({**BROKEN, "data": {**BROKEN["data"], "reason": "stamps_differ", "invoices": [one]}})
    assert isinstance(event, ConnectionEvent)

    assert [(each.external_id, each.folio) for each in event.data.invoices] == [("OP-1", "7")]
    other = parse(BROKEN)
    assert isinstance(other, ConnectionEvent)
    assert other.data.invoices == ()


def test_an_invoice_s_event_is_typed() -> None:
    """Every field of the contract, with its type."""
    event = parse(STAMPED, id="01970000-0000-7000-8000-00000000000a")

    assert isinstance(event, InvoiceEvent)
    assert event.timestamp == datetime(2026, 11, 23, 16, 15, 3, tzinfo=UTC)
    assert event.data.fecha_timbrado == datetime(2026, 11, 23, 10, 15, 3)  # local, as the TFD has it
    assert (event.data.uuid, event.data.folio) == ("6A5F0000-0000-4000-8000-000000000001", "1045")
    assert event.data.documents[0].bytes == 6120
    assert event.id == "01970000-0000-7000-8000-00000000000a"


def test_a_rejection_brings_its_faults() -> None:
    """The same Fault that `check` gives, with label and owner, also from a worker that does not say them yet."""
    fault = {"code": "CFDI40147", "field": "receptor.rfc", "message": "m", "fix": "f", "source": "sat"}
    newer = {**fault, "label": "RFC", "whose": "somebody new", "detail": "d", "mood": "calm"}

    event = invoice_event(2, status="rejected", errors=[fault], warnings=[newer])

    (error,), (warning,) = event.data.errors, event.data.warnings
    assert (error.code, error.field, error.source) == ("CFDI40147", "receptor.rfc", "sat")
    assert (error.label, error.whose, error.detail) == ("RFC del cliente", "user", "")
    assert (warning.label, warning.whose, warning.detail) == ("RFC", "somebody new", "d")


@pytest.mark.parametrize(
    ("type", "status"),
    [
        ("invoice.differs", "differs"),
        ("invoice.withdrawn", "withdrawn"),
        ("invoice.cancel_refused", "stamped"),
    ],
)
def test_the_newer_events_of_an_invoice_are_its_events(type: str, status: str) -> None:
    """Same subject, same version rule, and where a document is downloaded."""
    document = {**STAMPED["data"]["documents"][0], "url": "https://timbrado.example/d/1"}

    event = parse(
        {**STAMPED, "type": type, "data": {**STAMPED["data"], "status": status, "documents": [document]}}
    )

    assert isinstance(event, InvoiceEvent)
    assert (event.subject, event.data.status) == (f"invoice:{STAMPED['data']['invoice_id']}", status)
    assert event.data.documents[0].url == "https://timbrado.example/d/1"


def test_a_refused_request_is_about_no_invoice() -> None:
    """An application that makes a row of each invoice's event makes none of this one."""
    data = {"account": "acme", "external_id": "NO-SUCH", "invoice_id": None, "version": 1, "message": "m"}

    event = parse({"type": "request.refused", "timestamp": "2026-11-23T16:15:03Z", "data": data}, id="e-1")

    assert isinstance(event, RequestEvent)
    assert (event.subject, event.data.external_id, event.data.message) == ("message:e-1", "NO-SUCH", "m")


@pytest.mark.parametrize("type", ["provider.degraded", "provider.recovered"])
def test_the_provider_s_state_is_one_subject(type: str) -> None:
    """There is one ContaDigital: the higher version is what holds."""
    event = parse({"type": type, "timestamp": "2026-11-23T16:15:03Z", "data": {"version": 7, "message": "m"}})

    assert isinstance(event, ProviderEvent)
    assert (event.subject, event.version, event.data.message) == ("provider", 7, "m")


def test_a_connection_s_event_is_typed() -> None:
    """Status, reason, and what its owner does."""
    event = parse(BROKEN)

    assert isinstance(event, ConnectionEvent)
    assert (event.data.status, event.data.reason, event.data.fix) == (
        "broken",
        "key_rejected",
        "Cópialo de nuevo.",
    )


@pytest.mark.parametrize("known", [STAMPED, BROKEN])
def test_what_is_new_is_kept_and_breaks_nothing(known: dict[str, Any]) -> None:
    """New fields, new statuses, new types of known subjects: all readable by an older client."""
    subject = known["type"].partition(".")[0]
    newer = {
        **known,
        "type": f"{subject}.renamed",
        "region": "norte",
        "data": {**known["data"], "status": "resting", "mood": {"calm": True}},
    }

    event = parse(newer)

    assert type(event) is type(parse(known))
    assert event.data.status == "resting"
    assert event.data.mood == {"calm": True}
    assert event.model_dump()["region"] == "norte"


def test_an_event_of_an_unknown_subject_is_readable() -> None:
    """It has a type and its data, and is never taken for newer than what is known."""
    event = parse({"type": "company.merged", "timestamp": "2026-11-23T16:15:03Z", "data": {"version": 9}})

    assert isinstance(event, OtherEvent)
    assert event.data == {"version": 9}
    assert not is_newer(event, None)


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        ({}, "type"),
        ({**STAMPED, "data": {"account": "acme", "status": "stamped"}}, "data.version"),
        ({**STAMPED, "data": {**STAMPED["data"], "version": "four"}}, "data.version"),
        ({**STAMPED, "timestamp": "yesterday"}, "timestamp"),
        ({**STAMPED, "data": None}, "data"),
        ("[1]", "object"),
        (b"{", "JSON"),
    ],
)
def test_what_is_no_event_says_where(sent: Any, named: str) -> None:
    """The text names the field, and never the content."""
    with pytest.raises(EventUnreadable, match=named) as refused:
        parse(sent)

    assert "acme" not in str(refused.value)


def test_only_a_higher_version_is_newer() -> None:
    """A repeated event is not, and a late one is not; the first one is."""
    event = invoice_event(4)

    assert is_newer(event, None)
    assert is_newer(event, 3)
    assert not is_newer(event, 4)
    assert not is_newer(event, 5)


def test_in_whatever_order_they_come_the_end_is_the_same() -> None:
    """All 120 orders of five events, each twice, end at the fifth."""
    events = [invoice_event(version, status=f"at-{version}") for version in range(1, 6)]

    for order in itertools.permutations(events):
        version, status = None, None
        for event in (*order, *order):
            if is_newer(event, version):
                version, status = event.data.version, event.data.status
        assert (version, status) == (5, "at-5")


@pytest.mark.parametrize(
    ("sent", "subject", "version"),
    [
        (STAMPED, "invoice:01970000-0000-7000-8000-000000000001", 4),
        ({**STAMPED, "data": {**STAMPED["data"], "invoice_id": None, "version": 1}}, "message:e-1", 1),
        (BROKEN, "connection:01970000-0000-7000-8000-000000000002", 2),
        ({**STAMPED, "type": "company.merged"}, "event:e-1", 0),
    ],
)
def test_an_event_says_what_its_version_belongs_to(sent: dict[str, Any], subject: str, version: int) -> None:
    """A message that could not be read is a subject of its own, never a newer state of some invoice."""
    event = parse(sent, id="e-1")

    assert (event.subject, event.version) == (subject, version)
