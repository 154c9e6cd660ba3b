"""Claim and fence: one worker wins an invoice, for a time, under a number that every later write names.

A message names one invoice, and stands for one free place of its account: if that invoice is not due any more, the
account's most urgent one is taken in its stead. What is over the account's cap stays where it is, in the table.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.compiled import Compiled, param
from models.tables import CLAIM_COLUMNS, CONNECTION_COLUMNS, DUE_SQL, connections, invoices
from models.transitions import advance
from models.vocabulary import BrokenReason, ConnectionStatus, InvoiceStatus
from stamping.connections import remembered
from stamping.limits import circuit_breaker, concurrency
from stamping.sql import call
from stamping.tools import Tools

_INSTANT = sa.DateTime(timezone=True)
_IS_DUE = sa.text(f"invoices.{DUE_SQL}")  # spelled out, so that a prepared plan finds the partial index

_IN_FLIGHT = Compiled(
    lambda: (
        sa.select(sa.func.count())
        .select_from(invoices)
        .where(invoices.c.account == param("account"), sa.text("invoices.status = 'stamping'"))
    )
)
_CLAIM = Compiled(
    lambda: (
        sa.update(invoices)
        .where(
            invoices.c.id == param("invoice_id"),
            _IS_DUE,
            invoices.c.next_attempt_at <= param("now", _INSTANT),
        )
        .values(
            status=InvoiceStatus.STAMPING,
            claim=invoices.c.claim + 1,
            claimed_until=param("until"),
            claimed_by=param("worker"),
            enqueued_at=None,
            updated_at=param("now", _INSTANT),
        )
        .returning(*CLAIM_COLUMNS)
    )
)


_FOLLOWING = Compiled(
    lambda: (
        sa.select(invoices.c.id)
        .where(
            invoices.c.account == param("account"),
            _IS_DUE,
            invoices.c.next_attempt_at <= param("now", _INSTANT),
        )
        .order_by(invoices.c.next_attempt_at)
        .limit(param("most", sa.Integer))
    )
)
_NEXT = call(
    "take_next",
    ("invoice", "account", "now", "until", "worker", "most", "most_untried", "well", "count"),
    ", ".join(
        (
            "why, of_account, connection_version, of_address, following",
            *(f"(taken).{column.name}" for column in CLAIM_COLUMNS),
        )
    ),
)


@dataclass(frozen=True)
class Claimed:
    """An invoice that is ours until its claim runs out, and the connection it goes through."""

    invoice: sa.Row[Any]
    connection: sa.Row[Any]
    is_probe: bool = False  # sent to see whether a broken connection works again
    taken_at: float = -math.inf
    """The clock's count before the commit that claimed it; unknown, and so long ago, unless said."""
    following: "Following | None" = None
    """What is due next of the account, where another place of it is free."""

    @property
    def id(self) -> UUID:
        """The invoice's id."""
        return self.invoice.id  # type: ignore[no-any-return]  # Uuid column

    @property
    def claim(self) -> int:
        """The number that fences our writes."""
        return self.invoice.claim  # type: ignore[no-any-return]  # integer column

    @property
    def account(self) -> str:
        """Apunto's id of the emisor's account."""
        return self.invoice.account  # type: ignore[no-any-return]  # text column


@dataclass(frozen=True)
class Unclaimed:
    """Nothing was claimed, and why: nothing due, the account is full, or its connection can't be used."""

    why: str  # gone | full | closed | broken
    account: str | None = None
    invoice_id: UUID | None = None


class LateError(Exception):
    """The claim passed to another worker while we worked: whatever we hold must not be written."""


def take(invoice_id: UUID, tools: Tools) -> Claimed | Unclaimed:
    """Claim an invoice to stamp it, or its account's most urgent one where that is not due any more."""
    return _take(tools, invoice_id=invoice_id)


def take_of(account: str, tools: Tools) -> Claimed | Unclaimed:
    """Claim an account's most urgent invoice; what follows it is not asked for."""
    return _take(tools, account=account)


def _take(
    tools: Tools, *, invoice_id: UUID | None = None, account: str | None = None, address: str | None = None
) -> Claimed | Unclaimed:
    """Claim in one commit; `address` is a provider that may be called just now, whether it is known to be well."""
    taken_at, now, policy = tools.clock.elapsed(), tools.clock.now(), tools.policy
    row = _NEXT.run(
        tools.at_once,
        invoice=invoice_id,
        account=account,
        now=now,
        until=now + policy.lease,
        worker=tools.worker,
        most=policy.in_flight,
        most_untried=concurrency.UNTRIED,
        well=[*circuit_breaker.known_well(tools, now), *([address] if address is not None else ())],
        count=policy.bulk_threshold + 1 if invoice_id is not None else 0,
    ).one()
    if row.why == "unsure":
        with tools.engine.begin() as db:
            if not circuit_breaker.lets_through(db, row.of_address, row.of_account, tools, now):
                return Unclaimed("closed", row.of_account)
        return _take(tools, invoice_id=invoice_id, account=account, address=row.of_address)
    if row.why != "claimed":
        return Unclaimed(row.why, row.of_account, invoice_id if row.why == "broken" else None)
    connection = remembered.connection_of(row.of_account, tools, version=row.connection_version)
    if connection is None:
        raise LookupError("a connection is never deleted")
    return Claimed(row, connection, taken_at=taken_at, following=_next_of(row.following or [], tools))


def _in_flight(db: sa.Connection, account: str) -> int:
    return _IN_FLIGHT.run(db, account=account).scalar_one()  # type: ignore[no-any-return]  # a count


def _claim(db: sa.Connection, invoice_id: UUID, tools: Tools, now: datetime) -> sa.Row[Any] | None:
    return _CLAIM.run(  # type: ignore[no-any-return]  # a row or None
        db, invoice_id=invoice_id, now=now, until=now + tools.policy.lease, worker=tools.worker
    ).one_or_none()


def take_as_probe(connection_id: UUID, tools: Tools) -> Claimed | None:
    """Claim the most urgent invoice on hold of a connection that ran out of stamps, to see whether it has any."""
    now = tools.clock.now()
    with tools.engine.begin() as db:
        connection = db.execute(
            sa.select(*CONNECTION_COLUMNS)
            .where(connections.c.id == connection_id, connections.c.status == ConnectionStatus.BROKEN)
            .with_for_update(key_share=True)
        ).one_or_none()
        if connection is None or _in_flight(db, connection.account):
            return None
        on_hold = db.execute(
            sa.select(invoices.c.id)
            .where(invoices.c.account == connection.account, invoices.c.status == InvoiceStatus.ON_HOLD)
            .order_by(invoices.c.expires_at.asc().nulls_last(), invoices.c.created_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).scalar_one_or_none()
        if on_hold is None:
            return None
        advance(
            db,
            on_hold,
            target=InvoiceStatus.WAITING,
            source=InvoiceStatus.ON_HOLD,
            now=now,
            next_attempt_at=now,
        )
        row = _claim(db, on_hold, tools, now)
    return Claimed(row, connection, is_probe=True) if row is not None else None


@dataclass(frozen=True)
class Following:
    """The account's next invoice, and which queue its backlog goes to."""

    invoice_id: UUID
    bulk: bool


def following(account: str, tools: Tools) -> Following | None:
    """Return what the account has due next; None when nothing is."""
    now = tools.clock.now()
    most = tools.policy.bulk_threshold + 1
    ids = _FOLLOWING.run(tools.at_once, account=account, now=now, most=most).scalars()
    return _next_of(ids, tools)


def _next_of(ids: Sequence[UUID], tools: Tools) -> Following | None:
    return Following(ids[0], bulk=len(ids) > tools.policy.bulk_threshold) if ids else None


def claim_lookup(invoice_id: UUID, status: InvoiceStatus, tools: Tools) -> Claimed | Unclaimed:
    """Claim an invoice that stands `in_doubt` or `cancelling`, to look it up; its status stays."""
    now = tools.clock.now()
    with tools.engine.begin() as db:
        row = db.execute(
            sa.update(invoices)
            .where(
                invoices.c.id == invoice_id,
                invoices.c.status == status,
                invoices.c.next_attempt_at <= now,
                sa.or_(invoices.c.claimed_until.is_(None), invoices.c.claimed_until <= now),
            )
            .values(
                claim=invoices.c.claim + 1,
                claimed_until=now + tools.policy.lease,
                claimed_by=tools.worker,
                enqueued_at=None,
                updated_at=now,
            )
            .returning(*CLAIM_COLUMNS)
        ).one_or_none()
        if row is None:
            return Unclaimed("gone")
        connection = db.execute(
            sa.select(*CONNECTION_COLUMNS).where(connections.c.account == row.account)
        ).one_or_none()
        if connection is None or not _may_ask(connection):
            db.rollback()
            return Unclaimed("broken", row.account, invoice_id)
    return Claimed(row, connection)


def _may_ask(connection: sa.Row[Any]) -> bool:
    """Whether look-ups and cancellations go through a connection: also where only stamping was stopped.

    What differs is cancelled through the very connection that its difference has broken.
    """
    if connection.status == ConnectionStatus.BROKEN:
        return bool(connection.reason == BrokenReason.STAMPS_DIFFER)
    return bool(connection.status == ConnectionStatus.ACTIVE)
