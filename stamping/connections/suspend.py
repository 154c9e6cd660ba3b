"""A connection breaks once, not once per invoice; once fixed, what was on hold goes on by itself.

Breaking is one guarded UPDATE: whoever wins it reports it, everybody else only puts its own invoice on hold. The
account's other open invoices are put on hold in batches, without a call and without spending an attempt; one in doubt
stays in doubt, and one whose call is under way settles by its own answer.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cfdi.faults import Fault
from contadigital.reasons import ID_REFUSED
from models.tables import connections, invoices
from models.vocabulary import DUE, BrokenReason, ConnectionStatus, InvoiceStatus
from stamping import notify
from stamping.claims import Claimed
from stamping.retries import Failure
from stamping.texts import stamps_differ
from stamping.tools import Tools

BATCH = 200
PROBED = frozenset(BrokenReason) - {
    BrokenReason.KEY_REJECTED,  # some providers lock an account after three: it waits for a new key
    BrokenReason.KEY_MALFORMED,
    BrokenReason.STAMPS_DIFFER,  # only a person, a calibration or another dialect ends it
}
"""Reasons that may end by themselves, so that a probe asks now and then."""


def is_probed(reason: str | None, detail: Mapping[str, Any] | None) -> bool:
    """Whether a broken connection may work again without anybody's doing."""
    return reason in PROBED and (detail or {}).get("cause") != ID_REFUSED


CONNECTION_BACK = timedelta(minutes=10)
"""What must be looked up, fetched or mailed waits this long at a time for a connection that is broken."""
RELEASE_SPREAD = timedelta(milliseconds=20)  # between two invoices that are let go, so that they go gently


def break_connection(
    db: sa.Connection,
    account: str,
    reason: BrokenReason,
    detail: dict[str, Any],
    tools: Tools,
    now: datetime,
    *,
    through: sa.Row[Any] | None = None,
) -> sa.Row[Any] | None:
    """Break an active connection and report it; None when it was not active, or is not the one that was refused.

    `through` is the connection as it was when the refused call was prepared. One that has another key by now, or was
    validated since, is not broken by it: should it be refused again, the next call says so.
    """
    which = [connections.c.account == account, connections.c.status == ConnectionStatus.ACTIVE]
    if through is not None:
        which += [
            connections.c[name].is_not_distinct_from(getattr(through, name))
            for name in ("key_fingerprint", "validated_at")
        ]
    row = db.execute(
        sa.update(connections)
        .where(*which)
        .values(
            status=ConnectionStatus.BROKEN,
            reason=reason,
            detail=detail,
            broken_at=now,
            probes=0,
            next_probe_at=now + tools.policy.probe_first if is_probed(reason, detail) else None,
            version=connections.c.version + 1,
            updated_at=now,
        )
        .returning(*connections.c)
    ).one_or_none()
    if row is not None:
        notify.connection(db, row, tools, "connection.broken")
    return row


def break_for(
    db: sa.Connection, claimed: Claimed, failure: Failure, tools: Tools, now: datetime
) -> sa.Row[Any] | None:
    """Break the connection that a call was refused through; None where it is another one by now."""
    if failure.breaks is None:
        raise ValueError(f"{failure.next} breaks no connection")
    reason, detail = failure.breaks
    return break_connection(db, claimed.account, reason, detail, tools, now, through=claimed.connection)


def after_a_difference(
    db: sa.Connection, claimed: Claimed, faults: Sequence[Fault], tools: Tools, now: datetime
) -> None:
    """Break the connection where the stamp before this one differed as well, or none was ever as it was sent."""
    before = db.execute(
        sa.select(invoices.c.status)
        .where(
            invoices.c.account == claimed.account,
            invoices.c.stamped_at.is_not(None),
            invoices.c.id != claimed.id,
            invoices.c.stamped_at >= claimed.connection.validated_at,
        )
        .order_by(invoices.c.stamped_at.desc())
        .limit(1)
    ).scalar_one_or_none()
    ever_good = db.execute(
        sa.select(invoices.c.id)
        .where(
            invoices.c.account == claimed.account,
            invoices.c.stamped_at.is_not(None),
            invoices.c.status != InvoiceStatus.DIFFERS,
            invoices.c.id != claimed.id,
        )
        .limit(1)
    ).scalar_one_or_none()
    if before == InvoiceStatus.DIFFERS or ever_good is None:
        rows = db.execute(
            sa.select(*(invoices.c[name] for name in ("external_id", "uuid", "serie", "folio")))
            .where(
                invoices.c.account == claimed.account,
                invoices.c.status == InvoiceStatus.DIFFERS,
                invoices.c.stamped_at >= claimed.connection.validated_at,
            )
            .order_by(invoices.c.stamped_at.desc(), invoices.c.id.desc())
            .limit(2)
        ).all()
        differing = [each._asdict() for each in rows]
        detail = {
            "faults": [fault.as_dict() for fault in faults],
            "invoices": differing,
            "message": stamps_differ(differing),
        }
        break_connection(
            db, claimed.account, BrokenReason.STAMPS_DIFFER, detail, tools, now, through=claimed.connection
        )


def put_on_hold(account: str, tools: Tools) -> int:
    """Put on hold what an account that can't be used has due, in batches; return how many.

    One that is being validated keeps what it has due: the verdict is seconds away, and says what becomes of it.
    """
    count = 0
    while True:
        now = tools.clock.now()
        with tools.engine.begin() as db:
            connection = db.execute(
                sa.select(connections).where(connections.c.account == account).with_for_update(key_share=True)
            ).one_or_none()
            if connection is not None and connection.status in {
                ConnectionStatus.ACTIVE,
                ConnectionStatus.PENDING,
            }:
                return count
            batch = (
                sa.select(invoices.c.id)
                .where(invoices.c.account == account, invoices.c.status.in_(sorted(DUE)))
                .limit(BATCH)
                .with_for_update(skip_locked=True)
                .cte("batch")
            )
            rows = db.execute(
                sa.update(invoices)
                .where(invoices.c.id.in_(sa.select(batch.c.id)), invoices.c.status.in_(sorted(DUE)))
                .values(
                    status=InvoiceStatus.ON_HOLD,
                    next_attempt_at=None,
                    version=invoices.c.version + 1,
                    updated_at=now,
                )
                .returning(*invoices.c)
            ).all()
            notify.invoices(db, rows, tools, "invoice.on_hold", connection=connection)
        count += len(rows)
        if len(rows) < BATCH:
            return count


def release(account: str, tools: Tools) -> int:
    """Let what was on hold go on: the most urgent of the 72 hours first, then the oldest, one after the other."""
    released = 0
    while True:
        now = tools.clock.now()
        with tools.engine.begin() as db:
            active = db.execute(
                sa.select(connections.c.id)
                .where(connections.c.account == account, connections.c.status == ConnectionStatus.ACTIVE)
                .with_for_update(key_share=True)
            ).one_or_none()
            if active is None:
                return released
            ids = (
                db.execute(
                    sa.select(invoices.c.id)
                    .where(invoices.c.account == account, invoices.c.status == InvoiceStatus.ON_HOLD)
                    .order_by(invoices.c.expires_at.asc().nulls_last(), invoices.c.created_at)
                    .limit(BATCH)
                    .with_for_update(skip_locked=True)
                )
                .scalars()
                .all()
            )
            if ids:
                turn = sa.func.array_position(sa.cast(ids, sa.ARRAY(sa.Uuid)), invoices.c.id)
                db.execute(
                    sa.update(invoices)
                    .where(invoices.c.id.in_(ids), invoices.c.status == InvoiceStatus.ON_HOLD)
                    .values(
                        status=InvoiceStatus.WAITING,
                        next_attempt_at=now + RELEASE_SPREAD * (turn + released),
                        reminder_at=watched_again(tools, now),
                        updated_at=now,
                    )
                )
            if released == 0:  # a doubt waits for its connection too
                db.execute(
                    sa.update(invoices)
                    .where(
                        invoices.c.account == account,
                        invoices.c.status.in_([InvoiceStatus.IN_DOUBT, InvoiceStatus.CANCELLING]),
                        invoices.c.claimed_until.is_(None),
                    )
                    .values(next_attempt_at=now, updated_at=now)
                )
        released += len(ids)
        if len(ids) < BATCH:
            return released


def watched_again(tools: Tools, now: datetime) -> sa.ColumnElement[Any]:
    """Return when to look at an invoice that goes on after a stop its user knows of: a delay from here is news."""
    soon = sa.literal(now + tools.policy.delayed_after, sa.DateTime(timezone=True))
    return sa.case(
        (invoices.c.last_reminder.is_(None), sa.func.least(invoices.c.reminder_at, soon)),
        else_=invoices.c.reminder_at,
    )


def wait_for_connection(invoice_id: UUID, account: str, tools: Tools) -> None:
    """Put off the look-up of a doubt or a cancellation whose connection can't be used: until it works again."""
    now = tools.clock.now()
    with tools.engine.begin() as db:
        db.execute(
            sa.update(invoices)
            .where(
                invoices.c.id == invoice_id,
                invoices.c.status.in_([InvoiceStatus.IN_DOUBT, InvoiceStatus.CANCELLING]),
                invoices.c.claimed_until.is_(None),
                ~sa.exists().where(
                    connections.c.account == account, connections.c.status == ConnectionStatus.ACTIVE
                ),
            )
            .values(next_attempt_at=now + CONNECTION_BACK, enqueued_at=None, updated_at=now)
        )


def sync_invoices(connection_id: UUID, tools: Tools) -> int:
    """Release what an active connection still holds, or hold what a broken one still has due; return how many."""
    with tools.engine.begin() as db:
        row = db.execute(
            sa.select(connections.c.account, connections.c.status).where(connections.c.id == connection_id)
        ).one_or_none()
    if row is None:
        return 0
    if row.status == ConnectionStatus.ACTIVE:
        return release(row.account, tools)
    return put_on_hold(row.account, tools)


def account_of(invoice_id: UUID, tools: Tools) -> str | None:
    """Return the account of an invoice; None where there is no such invoice."""
    with tools.engine.begin() as db:
        return db.execute(
            sa.select(invoices.c.account).where(invoices.c.id == invoice_id)
        ).scalar_one_or_none()
