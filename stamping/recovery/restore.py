"""What is done once after the database was set back: everything whose outcome it may not know is in doubt.

An invoice that stood open in the backup may be stamped by now. One that has an Id at ContaDigital is looked up, as any
doubt is. One that has none cannot be looked up: it waits, without being sent, until `timbrado audit` finds its stamp or
a person says that there is none. Nothing is saved anew by itself, and nothing is dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.tables import connections, deliveries, inbox, installation, invoices, provider_refs
from models.vocabulary import DUE, DeliveryStatus, InvoiceStatus
from stamping import notify
from stamping.connections.tokens import NO_TOKEN
from stamping.intake import submit
from stamping.recovery import mark
from stamping.timeline import actions
from stamping.tools import Tools

VERSIONS_AHEAD = 1000
"""What versions grow by: Apunto was sent higher ones than the backup holds, and would take what comes now for old."""
SENT_ALONE = frozenset({*DUE, InvoiceStatus.STAMPING, InvoiceStatus.ON_HOLD})
"""Statuses from which an invoice is sent without anybody asking for it."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """An invoice whose outcome the database may not know, and how it will be known."""

    account: str
    external_id: str
    record_id: int | None
    was: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "account": self.account,
            "external_id": self.external_id,
            "record_id": self.record_id,
            "was": self.was,
            "next": "look-up" if self.record_id else "audit",
        }


@dataclass(slots=True)
class Recovered:
    """What was done, for the person who did it."""

    in_doubt: list[Unknown] = field(default_factory=list)
    taken_in: int = 0  # submissions of the inbox, now in doubt as well
    deliveries: int = 0  # events still to be delivered: they are, and an old one overwrites nothing
    rejected: int = 0  # refused in the backup: a correction may have been stamped since
    resumed: list[str] = field(default_factory=list)  # connections that the set-back had paused

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "in_doubt": [each.as_dict() for each in self.in_doubt],
            "taken_in": self.taken_in,
            "deliveries": self.deliveries,
            "rejected": self.rejected,
            "resumed": self.resumed,
        }


def recover(tools: Tools, *, actor: str, reason: str) -> Recovered:
    """Put in doubt what the database may not know, and let work go on; workers and beat are stopped meanwhile."""
    done = Recovered()
    done.taken_in = _take_in(tools)
    now = tools.clock.now()
    with tools.engine.begin() as db:
        # first of all, so that whatever is written below leaves with a version that Apunto takes for new
        for table in (invoices, connections):
            db.execute(sa.update(table).values(version=table.c.version + VERSIONS_AHEAD))
        before = _unsettled(db)
        _doubt(db, tools, before, now)
        done.in_doubt = [Unknown(row.account, row.external_id, row.record_id, row.status) for row in before]
        done.deliveries = db.execute(
            sa.select(sa.func.count())
            .select_from(deliveries)
            .where(deliveries.c.status == DeliveryStatus.PENDING)
        ).scalar_one()
        done.rejected = db.execute(
            sa.select(sa.func.count())
            .select_from(invoices)
            .where(invoices.c.status == InvoiceStatus.REJECTED)
        ).scalar_one()
        db.execute(sa.delete(provider_refs))  # ContaDigital's ids are learnt again
        db.execute(
            sa.update(connections)
            .where(connections.c.catalogs_at.is_not(None))
            .values(catalogs_at=sa.func.to_timestamp(0), **NO_TOKEN)
        )
        done.resumed = _resume(db)
        renewed = mark.renew(db, tools)
        detail = {"in_doubt": len(done.in_doubt), "taken_in": done.taken_in}
        actions.note(db, "recover", actor=actor, at=now, kind="installation", reason=reason, detail=detail)
    mark.copy(renewed, tools)
    return done


def _take_in(tools: Tools) -> int:
    """Store what waits in the inbox: it may have been taken in since the backup, so that it must not be sent either."""
    count = 0
    while True:
        with tools.inbox_engine.begin() as theirs:
            row = theirs.execute(
                sa.select(inbox)
                .where(inbox.c.taken_at.is_(None), inbox.c.kind == "submit")
                .order_by(inbox.c.created_at)
                .limit(1)
                .with_for_update(skip_locked=True)
            ).one_or_none()
            if row is None:
                return count
            submit.submit(row.payload, tools, trace_id=row.trace_id)
            theirs.execute(sa.update(inbox).where(inbox.c.id == row.id).values(taken_at=sa.func.now()))
        count += 1


def _unsettled(db: sa.Connection) -> Sequence[Any]:
    return db.execute(
        sa.select(
            invoices.c.id, invoices.c.account, invoices.c.external_id, invoices.c.record_id, invoices.c.status
        )
        .where(invoices.c.status.in_(sorted({*SENT_ALONE, InvoiceStatus.IN_DOUBT})))
        .order_by(invoices.c.account, invoices.c.created_at)
        .with_for_update()
    ).all()


def _doubt(db: sa.Connection, tools: Tools, rows: Sequence[Any], now: Any) -> None:
    """Move them to `in_doubt` in batches, each with its event; a claim that ran in the backup is over."""
    ids: list[UUID] = [row.id for row in rows]
    for first in range(0, len(ids), 500):
        moved = db.execute(
            sa.update(invoices)
            .where(invoices.c.id.in_(ids[first : first + 500]))
            .values(
                status=InvoiceStatus.IN_DOUBT,
                doubt=sa.case((invoices.c.record_id.is_(None), mark.DOUBT), else_="stamp"),
                doubt_since=now,
                lookups=0,
                tries=0,
                claim=invoices.c.claim + 1,
                claimed_until=None,
                claimed_by=None,
                enqueued_at=None,
                next_attempt_at=now,
                version=invoices.c.version + 1,
                updated_at=now,
            )
            .returning(*invoices.c)
        ).all()
        notify.invoices(db, moved, tools, "invoice.in_doubt")


def _resume(db: sa.Connection) -> list[str]:
    """Let go of the connections that the set-back had paused; an operator's own pauses stay."""
    known = db.execute(
        sa.select(installation.c.value).where(installation.c.name == mark.SET_BACK)
    ).scalar_one_or_none()
    if known is None:
        return []
    paused: list[str] = list(known["paused"])
    db.execute(sa.update(connections).where(connections.c.account.in_(paused)).values(paused=False))
    return paused
