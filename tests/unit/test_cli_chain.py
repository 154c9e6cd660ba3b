"""The hash chain of a history: it holds as it was written, and any change to it shows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from models.chain import CurrentState, HistoryEntry, breaks, chain_hash

INVOICE = UUID("019aa1c2-7d10-7c5e-8a44-0d5b6f3c2a10")
FOLIO_FISCAL = "9932113E-09AC-47BA-8E8C-6F83100C814F"
AT = datetime(2026, 11, 23, 16, 20, 0, 120, tzinfo=UTC)


def a_history() -> list[HistoryEntry]:
    found: list[HistoryEntry] = []
    for number, (source, target) in enumerate(
        [(None, "accepted"), ("accepted", "stamping"), ("stamping", "stamped")], 1
    ):
        entry = HistoryEntry(
            id=number,
            invoice_id=INVOICE,
            at=AT + timedelta(seconds=number),
            from_status=source,
            to_status=target,
            reason=None,
            uuid=FOLIO_FISCAL if target == "stamped" else None,
            claim=number - 1,
            content_hash="c" * 64,
            previous=found[-1].hash if found else None,
            hash=b"",
        )
        found.append(replace(entry, hash=chain_hash(entry)))
    return found


CURRENT = CurrentState("stamped", None, FOLIO_FISCAL, "c" * 64)


def test_a_history_holds_as_it_was_written():
    """An untouched chain of hashes has no break."""
    assert breaks(INVOICE, CURRENT, a_history()) == []


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    "change",
    [
        {"at": AT},
        {"to_status": "failed"},
        {"from_status": "waiting"},
        {"reason": "expired"},
        {"uuid": "00000000-0000-0000-0000-000000000000"},
        {"claim": 99},
        {"content_hash": "d" * 64},
        {"previous": b"other"},
        {"hash": b"other"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_entry_shows(place, change):
    """Any field of any entry changed is a break."""
    history = a_history()
    history[place] = replace(history[place], **change)

    assert breaks(INVOICE, CURRENT, history)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_changed_entry_shows_although_its_hash_was_made_anew(place):
    """Whoever knows the formula must rewrite all that comes after; and at the end the invoice itself disagrees."""
    history = a_history()
    changed = replace(history[place], content_hash="d" * 64)
    history[place] = replace(changed, hash=chain_hash(changed))

    assert breaks(INVOICE, CURRENT, history)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_removed_entry_shows(place):
    """The first, a middle or the last entry gone is a break."""
    history = a_history()
    del history[place]

    assert breaks(INVOICE, CURRENT, history)


def test_an_entry_that_was_slipped_in_shows():
    """A copy of a genuine entry in between is a break."""
    history = a_history()
    history.insert(1, history[0])

    assert breaks(INVOICE, CURRENT, history)


def test_a_history_that_is_gone_shows():
    """An invoice without entries is reported as such."""
    assert [each.what for each in breaks(INVOICE, CURRENT, [])] == ["the invoice has no history"]


@pytest.mark.parametrize(
    "change", [{"status": "cancelled"}, {"reason": "expired"}, {"uuid": None}, {"content_hash": "d" * 64}]
)
def test_an_invoice_that_was_changed_behind_the_trigger_shows(change):
    """A row that differs from its last entry is a break of the invoice itself."""
    [found] = breaks(INVOICE, replace(CURRENT, **change), a_history())

    assert found.entry_id is None
