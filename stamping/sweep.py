"""What is due and nobody rang for: one indexed query each, so that losing the broker loses nothing.

The sweep rings, it does no work of its own beyond ending claims that ran out. A bell rung twice finds nothing to do.
Two sweeps at once do no harm: rows are taken with SKIP LOCKED, and what was rung a moment ago is left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.tables import attempts as attempts_table
from models.tables import connections, inbox, invoices
from models.vocabulary import DUE, SENDS, AttemptOutcome, ConnectionStatus, InvoiceStatus
from stamping import attempts, notify
from stamping.limits.backoff import before_lookup
from stamping.recovery import mark
from stamping.tools import Tools

BATCH = 200


@dataclass
class Due:
    """Whom to ring for."""

    stamp: list[UUID] = field(default_factory=list)
    stamp_bulk: list[UUID] = field(default_factory=list)
    look_up: list[UUID] = field(default_factory=list)
    cancel: list[UUID] = field(default_factory=list)
    documents: list[UUID] = field(default_factory=list)
    mail: list[UUID] = field(default_factory=list)
    notices: list[UUID] = field(default_factory=list)
    probes: list[UUID] = field(default_factory=list)
    hold: list[UUID] = field(
        default_factory=list
    )  # connections whose held or due invoices don't fit their status
    inbox: list[UUID] = field(default_factory=list)
    rescued: int = 0  # claims that had run out


def sweep(tools: Tools) -> Due:
    """Find everything that is due, and mark it as rung for."""
    due = Due()
    with tools.engine.begin() as db:
        tools.clock.sync(db)
    now = tools.clock.now()
    if not mark.note(tools):  # the database was set back: nothing is sent from it
        return due
    due.rescued = end_claims(tools, now)
    with tools.engine.begin() as db:
        # What is rare comes first: an invoice that is due all the while, and can't be sent, would leave it no turn.
        due.notices = _ids(db, ring(tools, now, notices(now)))
        due.mail = _ids(db, ring(tools, now, unsent_mail(now)))
        due.documents = _ids(db, ring(tools, now, lacking_documents(now)))
    with tools.engine.begin() as db:
        waiting = {row.id: row.waiting for row in db.execute(due_to_stamp(tools, now))}
        for invoice_id in _ids(db, ring(tools, now, these(list(waiting)))) if waiting else ():
            (due.stamp if waiting[invoice_id] <= tools.policy.bulk_threshold else due.stamp_bulk).append(
                invoice_id
            )
    with tools.engine.begin() as db:
        for row in db.execute(ring(tools, now, look_ups(now))):
            (due.cancel if row.status == InvoiceStatus.CANCELLING else due.look_up).append(row.id)
        due.probes = _ids(db, probes(now))
        due.hold = _ids(db, out_of_step())
        due.inbox = _ids(db, waiting_inbox())
    return due


def end_claims(tools: Tools, now: datetime) -> int:
    """End the claims that ran out: in doubt when something may have been sent, back to waiting when nothing was.

    The claim number grows, so that the worker that held it is refused when it comes back late.
    """
    with tools.engine.begin() as db:
        rows = db.execute(expired_claims(now)).all()
        for row in rows:
            sent = db.execute(attempts.begun(row.id, row.claim)).one_or_none()
            _end_claim(db, row, sent, tools, now)
    tools.meter.rescued(len(rows))
    return len(rows)


def _end_claim(db: sa.Connection, row: sa.Row[Any], sent: Any, tools: Tools, now: datetime) -> None:
    values: dict[str, Any] = {
        "claim": invoices.c.claim + 1,
        "claimed_until": None,
        "claimed_by": None,
        "updated_at": now,
    }
    if row.status != InvoiceStatus.STAMPING:  # a look-up, or a cancellation: look again
        values |= {"next_attempt_at": now}
    elif sent is not None and sent.call in SENDS:
        values |= {
            "status": InvoiceStatus.IN_DOUBT,
            "doubt": sent.call,
            "doubt_since": now,
            "lookups": 0,
            "tries": 0,
            "next_attempt_at": now + before_lookup(0),
            "version": invoices.c.version + 1,
        }
    else:
        values |= {"status": InvoiceStatus.WAITING, "next_attempt_at": now}
    if sent is not None:
        db.execute(
            sa.update(attempts_table)
            .where(attempts_table.c.invoice_id == row.id, attempts_table.c.number == sent.number)
            .values(outcome=AttemptOutcome.LOST, finished_at=now, detail="the worker's claim ran out")
        )
    moved = db.execute(
        sa.update(invoices).where(invoices.c.id == row.id).values(**values).returning(*invoices.c)
    ).one()
    if moved.status == InvoiceStatus.IN_DOUBT and row.status == InvoiceStatus.STAMPING:
        notify.invoice(db, moved, tools, "invoice.in_doubt")


def expired_claims(now: datetime) -> sa.Select[Any]:
    """Claims that ran out (ix_invoices_claims)."""
    return (
        sa.select(invoices.c.id, invoices.c.status, invoices.c.claim)
        .where(invoices.c.claimed_until <= now)
        .order_by(invoices.c.claimed_until)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )


def due_to_stamp(tools: Tools, now: datetime) -> sa.Select[Any]:
    """What each account may have stamped now: as many as it has free places, its most urgent first.

    The accounts that have something due are found by jumping through ix_invoices_due from one to the next, so that the
    cost does not grow with the invoices that wait behind them.
    """
    accounts = (
        sa.select(
            sa.select(sa.func.min(invoices.c.account))
            .where(_stands(invoices, *DUE))
            .scalar_subquery()
            .label("account")
        )
    ).cte("accounts", recursive=True)
    accounts = accounts.union_all(
        sa.select(
            sa.select(sa.func.min(invoices.c.account))
            .where(_stands(invoices, *DUE), invoices.c.account > accounts.c.account)
            .scalar_subquery()
        ).where(accounts.c.account.is_not(None))
    )
    busy = invoices.alias("busy")
    in_flight = (
        sa.select(sa.func.count())
        .select_from(busy)
        .where(busy.c.account == connections.c.account, _stands(busy, InvoiceStatus.STAMPING))
        .correlate(connections)
        .scalar_subquery()
    )
    free = sa.func.greatest(
        sa.func.coalesce(connections.c.concurrency_limit, tools.policy.in_flight) - in_flight, 0
    )
    mine = invoices.alias("mine")
    first = (
        sa.select(mine.c.id, mine.c.enqueued_at)
        .where(
            mine.c.account == accounts.c.account,
            _stands(mine, *DUE),
            mine.c.next_attempt_at <= now,
        )
        .order_by(mine.c.next_attempt_at)
        .limit(free)
        .lateral("first")
    )
    behind = invoices.alias("behind")
    waiting = (
        sa.select(sa.func.count())
        .select_from(
            sa.select(behind.c.id)
            .where(behind.c.account == accounts.c.account, _stands(behind, *DUE))
            .limit(tools.policy.bulk_threshold + 1)
            .correlate(accounts)
            .subquery()
        )
        .correlate(accounts)
        .scalar_subquery()
    )
    return (
        sa.select(first.c.id, waiting.label("waiting"))
        .select_from(accounts)
        .join(connections, connections.c.account == accounts.c.account)
        .join(first, sa.true())
        .where(
            connections.c.status == ConnectionStatus.ACTIVE,
            connections.c.paused.is_(False),
            sa.or_(connections.c.throttled_until.is_(None), connections.c.throttled_until <= now),
            _not_rung(first.c.enqueued_at, tools, now),
        )
        .limit(BATCH)
    )


def _stands(row: Any, *statuses: InvoiceStatus) -> sa.ColumnElement[bool]:
    """Whether an invoice stands in one of these statuses; spelled out in the SQL.

    Passed as parameters they would keep PostgreSQL from its partial indexes, once it has one plan for all values: it
    was seen to read every invoice of an account that ever was.
    """
    spelled: sa.BindParameter[Any] = sa.bindparam(
        None, sorted(statuses), expanding=True, literal_execute=True
    )
    return row.c.status.in_(spelled)  # type: ignore[no-any-return]  # a table or an alias of it


def _not_rung(column: Any, tools: Tools, now: datetime) -> sa.ColumnElement[bool]:
    return sa.or_(column.is_(None), column <= now - tools.policy.requeue_after)


def ring(tools: Tools, now: datetime, which: sa.Select[Any]) -> Any:
    """Mark what a query finds as rung for, leaving out what was rung a moment ago or is in another sweep's hands."""
    pick = (
        which.where(_not_rung(invoices.c.enqueued_at, tools, now))
        .limit(BATCH)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return (
        sa.update(invoices)
        .where(invoices.c.id == sa.any_(sa.func.array(pick)))  # an array, so that each is found by its key
        .values(enqueued_at=now)
        .returning(invoices.c.id, invoices.c.status)
    )


def these(ids: Sequence[UUID]) -> sa.Select[Any]:
    """The invoices of these ids."""
    return sa.select(invoices.c.id).where(
        invoices.c.id == sa.any_(sa.bindparam("ids", list(ids), sa.ARRAY(sa.Uuid)))
    )


def look_ups(now: datetime) -> sa.Select[Any]:
    """Doubts and cancellations to look at (ix_invoices_look_ups)."""
    return (
        sa.select(invoices.c.id)
        .where(
            _stands(invoices, InvoiceStatus.IN_DOUBT, InvoiceStatus.CANCELLING),
            invoices.c.claimed_until.is_(None),
            invoices.c.next_attempt_at <= now,
        )
        .order_by(invoices.c.next_attempt_at)
    )


def lacking_documents(now: datetime) -> sa.Select[Any]:
    """Stamped invoices whose PDF is still to come (ix_invoices_pdf_due)."""
    return sa.select(invoices.c.id).where(invoices.c.pdf_due_at <= now).order_by(invoices.c.pdf_due_at)


def unsent_mail(now: datetime) -> sa.Select[Any]:
    """Stamped invoices that are still to be mailed (ix_invoices_mail_due)."""
    return sa.select(invoices.c.id).where(invoices.c.mail_due_at <= now).order_by(invoices.c.mail_due_at)


def notices(now: datetime) -> sa.Select[Any]:
    """Invoices that take long, or whose 72 hours end (ix_invoices_reminder)."""
    return sa.select(invoices.c.id).where(invoices.c.reminder_at <= now).order_by(invoices.c.reminder_at)


def probes(now: datetime) -> sa.Select[Any]:
    """Broken connections to ask again (ix_connections_probe)."""
    return (
        sa.select(connections.c.id)
        .where(connections.c.next_probe_at <= now)
        .order_by(connections.c.next_probe_at)
        .limit(BATCH)
    )


def out_of_step() -> sa.Select[Any]:
    """Connections in use with something still on hold, or out of use with something still due."""
    held = sa.exists().where(
        invoices.c.account == connections.c.account, _stands(invoices, InvoiceStatus.ON_HOLD)
    )
    due = sa.exists().where(invoices.c.account == connections.c.account, _stands(invoices, *DUE))
    active = connections.c.status == ConnectionStatus.ACTIVE
    return (
        sa.select(connections.c.id).where(sa.or_(sa.and_(active, held), sa.and_(~active, due))).limit(BATCH)
    )


def waiting_inbox() -> sa.Select[Any]:
    """Submissions written by a client in its own transaction (ix_timbrado_inbox_waiting)."""
    return sa.select(inbox.c.id).where(inbox.c.taken_at.is_(None)).order_by(inbox.c.created_at).limit(BATCH)


def _ids(db: sa.Connection, statement: Any) -> list[UUID]:
    return [row.id for row in db.execute(statement)]
