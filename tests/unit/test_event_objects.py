"""The event as it leaves: the contract's names, every field always there, the same bytes at every retry."""

import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from events.types import (
    TYPE_OF_CONNECTION_STATUS,
    TYPE_OF_STATUS,
    ConnectionData,
    DocumentRef,
    EventType,
    InvoiceData,
    body,
    render,
)
from models.vocabulary import ConnectionStatus, InvoiceStatus

AT = datetime(2026, 11, 23, 16, 15, 3, 987_000, tzinfo=UTC)
INVOICE_ID = UUID("01970000-0000-7000-8000-000000000001")


def a_stamped_invoice(**other: object) -> InvoiceData:
    facts = {
        "account": "acme",
        "external_id": "OP-10234-1",
        "invoice_id": INVOICE_ID,
        "version": 4,
        "status": InvoiceStatus.STAMPED,
        "message": "Factura timbrada.",
        "uuid": "6A5F0B9C-2D41-4E7F-9C35-0D6E4F1B2A77",
        "serie": "A",
        "folio": "1045",
        "fecha_timbrado": datetime(2026, 11, 23, 10, 15, 3),
        "documents": (DocumentRef("xml", "acme/2026/11/6a5f.xml", "ab" * 32, 6120),),
    }
    return InvoiceData(**{**facts, **other})  # type: ignore[arg-type]


def test_a_stamped_invoice_is_shaped_as_in_the_contract():
    """Letter by letter the object of contract section 3."""
    assert render(EventType.INVOICE_STAMPED, AT, a_stamped_invoice().as_dict()) == {
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
            "warnings": [],
            "uuid": "6A5F0B9C-2D41-4E7F-9C35-0D6E4F1B2A77",
            "serie": "A",
            "folio": "1045",
            "fecha_timbrado": "2026-11-23T10:15:03",
            "documents": [
                {"kind": "xml", "key": "acme/2026/11/6a5f.xml", "sha256": "ab" * 32, "bytes": 6120}
            ],
        },
    }


def test_every_invoice_event_has_the_same_shape():
    """A receiver reads one shape: what is not known is null, never absent."""
    bare = InvoiceData(
        account="acme", external_id="1", invoice_id=INVOICE_ID, version=1, status="accepted", message="m"
    )

    assert list(bare.as_dict()) == list(a_stamped_invoice().as_dict())
    assert bare.as_dict()["uuid"] is None
    assert bare.as_dict()["documents"] == []


def test_a_connection_event_carries_reason_and_fix():
    """The dictionary has each field of the contract."""
    data = ConnectionData(
        account="acme",
        connection_id=INVOICE_ID,
        version=2,
        status=ConnectionStatus.BROKEN,
        reason="key_rejected",
        message="ContaDigital ya no acepta el API Key de esta conexión.",
        fix="Cópialo de nuevo.",
    )

    assert data.as_dict() == {
        "account": "acme",
        "connection_id": str(INVOICE_ID),
        "version": 2,
        "status": "broken",
        "reason": "key_rejected",
        "message": "ContaDigital ya no acepta el API Key de esta conexión.",
        "fix": "Cópialo de nuevo.",
        "errors": [],
        "invoices": [],
        "stamps_left": None,
    }


def test_the_bytes_are_the_same_whatever_order_the_database_gives_back():
    """A JSON column keeps no order; the text that is signed must not change between two tries."""
    data = a_stamped_invoice(
        errors=({"code": "c", "field": "f", "message": "m", "fix": "x", "source": "sat"},)
    )
    forth = data.as_dict()
    back = {name: forth[name] for name in sorted(forth, reverse=True)}
    back["documents"] = [dict(reversed(each.items())) for each in forth["documents"]]

    text = body(render("invoice.stamped", AT, back))

    assert text == body(render("invoice.stamped", AT, forth))
    assert text.startswith(
        '{"type":"invoice.stamped","timestamp":"2026-11-23T16:15:03Z","data":{"account":"acme"'
    )
    assert list(json.loads(text)["data"]) == list(forth)


def test_documents_say_where_they_are_downloaded_where_there_is_a_public_address():
    """With ids encoded as a path needs them; without an address nothing is added."""
    data = {**a_stamped_invoice().as_dict(), "external_id": "OP/1 ñ"}

    documents = render("invoice.stamped", AT, data, public_url="https://timbrado.example")["data"][
        "documents"
    ]

    assert documents[0]["url"] == "https://timbrado.example/v1/invoices/acme/OP%2F1%20%C3%B1/xml"
    assert all("url" not in each for each in render("invoice.stamped", AT, data)["data"]["documents"])


def test_accents_travel_as_they_are():
    """The body is UTF-8, not escaped."""
    text = body(render("invoice.rejected", AT, {"message": "Corrígelo, Ñandú & Cía."}))

    assert "Corrígelo, Ñandú & Cía." in text


def test_the_timestamp_is_utc_whatever_zone_the_instant_has():
    """It ends in Z."""
    there = AT.astimezone(timezone(timedelta(hours=-6)))

    assert render("invoice.accepted", there, {})["timestamp"] == "2026-11-23T16:15:03Z"


def test_an_instant_without_zone_is_refused_and_so_is_a_fecha_with_one():
    """Both would be off by six hours without a word."""
    with pytest.raises(ValueError, match="time zone"):
        render("invoice.accepted", datetime(2026, 11, 23), {})
    with pytest.raises(ValueError, match="no time zone"):
        a_stamped_invoice(fecha_timbrado=AT).as_dict()


def test_every_status_says_what_it_emits():
    """A new status must decide which event tells of it, or that none does."""
    assert set(TYPE_OF_STATUS) == set(InvoiceStatus)
    assert set(TYPE_OF_CONNECTION_STATUS) == set(ConnectionStatus)


def test_the_events_are_those_of_the_contract():
    """All eighteen types, and no other."""
    assert {str(each) for each in EventType} == {
        "invoice.accepted",
        "invoice.rejected",
        "invoice.on_hold",
        "invoice.delayed",
        "invoice.in_doubt",
        "invoice.stamped",
        "invoice.documents_ready",
        "invoice.failed",
        "invoice.differs",
        "invoice.withdrawn",
        "invoice.cancelled",
        "invoice.cancel_refused",
        "request.refused",
        "provider.degraded",
        "provider.recovered",
        "connection.active",
        "connection.broken",
        "connection.stamps_low",
    }
