"""Claim and fence: one worker wins an invoice, for a time, under a number that every later write names.

A message names one invoice, and stands for one free place of its account: if that invoice is not due any more, the
account's most urgent one is taken in its stead. What is over the account's cap stays where it is, in the table.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.compiled import Compiled, param
from models.tables import CLAIM_COLUMNS, CONNECTION_COLUMNS, DUE_SQL, connections, invoices
from models.transitions import advance
from models.vocabulary import BrokenReason, ConnectionStatus, InvoiceStatus
from stamping.limits import circuit_breaker
from stamping.tools import Tools

_INSTANT = sa.DateTime(timezone=True)
_IS_DUE = sa.text(f"invoices.{DUE_SQL}")  # spelled out, so that a prepared plan finds the partial index

_LOCK_CONNECTION = Compiled(
    lambda: (
        sa.select(*CONNECTION_COLUMNS)
        .where(
            connections.c.account
            == sa.select(invoices.c.account).where(invoices.c.id == param("invoice_id")).scalar_subquery()
        )
        .with_for_update(key_share=True)  # one claim of an account at a time, so that its cap is exact
    )
)
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


def _due_of_account() -> sa.Select[Any]:
    return (
        sa.select(invoices.c.id)
        .where(
            invoices.c.account == param("account"),
            _IS_DUE,
            invoices.c.next_attempt_at <= param("now", _INSTANT),
        )
        .order_by(invoices.c.next_attempt_at)
    )


_MOST_URGENT = Compiled(lambda: _due_of_account().limit(1).with_for_update(skip_locked=True))
_FOLLOWING = Compiled(lambda: _due_of_account().limit(param("most", sa.Integer)))


_LOCK_ACCOUNT = Compiled(
    lambda: (
        sa.select(*CONNECTION_COLUMNS)
        .where(connections.c.account == param("account"))
        .with_for_update(key_share=True)
    )
)
_PLACES = Compiled(
    lambda: sa.select(
        sa.select(sa.func.count())
        .select_from(invoices)
        .where(invoices.c.account == param("account"), sa.text("invoices.status = 'stamping'"))
        .scalar_subquery()
        .label("in_flight"),
        sa.exists().where(invoices.c.account == param("account"), _IS_DUE).label("others_wait"),
    )
)


@dataclass(frozen=True)
class Claimed:
    """An invoice that is ours until its claim runs out, and the connection it goes through."""

    invoice: sa.Row[Any]
    connection: sa.Row[Any]
    is_probe: bool = False  # sent to see whether a broken connection works again

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
    """Claim an invoice to stamp it, in one short transaction."""
    now = tools.clock.now()
    with tools.engine.begin() as db:
        connection = _LOCK_CONNECTION.run(db, invoice_id=invoice_id).one_or_none()
        if connection is None or connection.status != ConnectionStatus.ACTIVE:
            account = connection.account if connection is not None else None
            return Unclaimed("broken", account, invoice_id)
        account = connection.account
        if connection.paused or (connection.throttled_until and connection.throttled_until > now):
            return Unclaimed("closed", account)
        if _in_flight(db, account) >= _most_at_once(connection, tools):
            return Unclaimed("full", account)
        if not circuit_breaker.lets_through(db, connection.base_url, account, tools, now):
            return Unclaimed("closed", account)
        row = _claim(db, invoice_id, tools, now)
        if row is None:
            urgent = _MOST_URGENT.run(db, account=account, now=now).scalar_one_or_none()
            row = _claim(db, urgent, tools, now) if urgent is not None else None
        if row is None:
            db.rollback()  # with nothing to send, the breaker's one probe is left to somebody else
            return Unclaimed("gone", account)
    return Claimed(row, connection)


UNTRIED = 2
"""Calls at once of an account that never stamped: should its first stamp differ, only one other is under way."""


def _most_at_once(connection: sa.Row[Any], tools: Tools) -> int:
    most: int = connection.concurrency_limit or tools.policy.in_flight
    never_stamped = connection.honours_id is None and connection.saves_only is not False
    return min(most, UNTRIED) if never_stamped else most


def place_for_a_new_one(
    db: sa.Connection, account: str, tools: Tools, now: datetime
) -> tuple[sa.Row[Any], dict[str, Any]] | None:
    """Take a place of an account for an invoice that is written in the same transaction; None where it has to wait.

    Returns the connection that it goes through, and the columns of its claim. Only where nothing of the account waits
    before it: what waits goes first, by the table. None too while documents can't be stored.
    """
    if tools.store.fault is not None:
        return None
    connection = _LOCK_ACCOUNT.run(db, account=account).one_or_none()
    if connection is None or connection.status != ConnectionStatus.ACTIVE or connection.paused:
        return None
    if connection.throttled_until and connection.throttled_until > now:
        return None
    places = _PLACES.run(db, account=account).one()
    if places.others_wait or places.in_flight >= _most_at_once(connection, tools):
        return None
    if not circuit_breaker.lets_through(db, connection.base_url, account, tools, now):
        return None
    return connection, {
        "status": InvoiceStatus.STAMPING,
        "claim": 1,
        "claimed_until": now + tools.policy.lease,
        "claimed_by": tools.worker,
        "next_attempt_at": None,
    }


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
    with tools.at_once.begin() as db:
        ids = _FOLLOWING.run(db, account=account, now=now, most=tools.policy.bulk_threshold + 1).scalars()
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
