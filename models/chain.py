"""The hash chain of an invoice's history, as Python computes it.

The database writes it (the trigger of migrations/watch.py): each entry's hash covers the one before it, so that an
entry that was changed, removed or slipped in shows. The chain alone does not show that its *last* entries were cut
off; so the last one is also compared with the invoice as it stands.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One line of `history`, as it is stored."""

    id: int
    invoice_id: UUID
    at: datetime
    from_status: str | None
    to_status: str
    reason: str | None
    uuid: str | None
    claim: int
    content_hash: str
    previous: bytes | None
    hash: bytes


@dataclass(frozen=True, slots=True)
class CurrentState:
    """What the invoice's own row says, for the last entry to agree with."""

    status: str
    reason: str | None
    uuid: str | None
    content_hash: str


@dataclass(frozen=True, slots=True)
class Break:
    """One place where the chain does not hold; `entry_id` is None where an entry is missing at its end."""

    invoice_id: UUID
    entry_id: int | None
    what: str


def chain_input(entry: HistoryEntry) -> bytes:
    """Return what an entry's hash covers besides the hash before it: its facts, as the trigger writes them."""
    at = entry.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    facts = (
        str(entry.invoice_id),
        at,
        entry.from_status or "-",
        entry.to_status,
        entry.reason or "-",
        entry.uuid or "-",
        str(entry.claim),
        entry.content_hash,
    )
    return "|".join(facts).encode()


def chain_hash(entry: HistoryEntry) -> bytes:
    """Return the SHA-256 that an entry must have."""
    return hashlib.sha256((entry.previous or b"") + chain_input(entry)).digest()


def breaks(invoice_id: UUID, row: CurrentState, entries: Iterable[HistoryEntry]) -> list[Break]:
    """Say where the history of one invoice, in the order of its ids, was tampered with; empty where it holds."""
    found: list[Break] = []
    last: HistoryEntry | None = None
    for entry in entries:
        if chain_hash(entry) != entry.hash:
            found.append(Break(invoice_id, entry.id, "its facts are not those that were hashed"))
        if entry.previous != (last.hash if last is not None else None):
            found.append(Break(invoice_id, entry.id, "an entry before it was changed or removed"))
        if entry.from_status != (last.to_status if last is not None else None):
            found.append(Break(invoice_id, entry.id, "it does not begin where the entry before it ended"))
        last = entry
    if last is None:
        found.append(Break(invoice_id, None, "the invoice has no history"))
    elif CurrentState(last.to_status, last.reason, last.uuid, last.content_hash) != row:
        found.append(Break(invoice_id, None, "the invoice does not stand where its history ends"))
    return found
