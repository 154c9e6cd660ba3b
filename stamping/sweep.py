"""What is due and that nobody has enqueued: one indexed query each, so that losing the broker loses nothing.

The sweep enqueues; it does no work of its own beyond ending claims that ran out. A message that comes twice finds
nothing to do, and two sweeps at once do no harm: rows are taken with SKIP LOCKED, and what was enqueued is left alone
while its message may still wait. After an outage accounts are served in turn, whoever was served longest ago first, and
invoices with little left of their 72 hours before all others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from contadigital.auth import SKEW
from events import dispatch
from models.tables import connections, inbox, invoices, providers
from models.vocabulary import DUE, ConnectionStatus, InvoiceStatus
from stamping import expired_claims, heartbeat
from stamping.deadlines import BUDGET
from stamping.intake import seen_messages
from stamping.recovery import mark
from stamping.tools import Tools

BATCH = 200
URGENT = timedelta(hours=6)
"""An invoice with less than this left of its 72 hours goes before all turns."""
URGENT_AT_ONCE = 50
UNKNOWN_WAIT = timedelta(minutes=10)
"""How long a message is taken to wait in a queue whose broker does not report when its oldest was sent."""


@dataclass(frozen=True)
class Queued:
    """What a queue holds: how many messages, and when the oldest of them was sent, where the broker reports it."""

    length: int = 0
    since: datetime | None = None


EMPTY: Mapping[str, Queued] = MappingProxyType({})


@dataclass
class Due:
    """What to enqueue."""

    stamp: list[UUID] = field(default_factory=list)
    stamp_bulk: list[UUID] = field(default_factory=list)
    look_up: list[UUID] = field(default_factory=list)
    cancel: list[UUID] = field(default_factory=list)
    documents: list[UUID] = field(default_factory=list)
    mail: list[UUID] = field(default_factory=list)
    reminders: list[UUID] = field(default_factory=list)
    probes: list[UUID] = field(default_factory=list)
    out_of_step: list[UUID] = field(default_factory=list)
    """Connections whose invoices on hold, or due, don't fit their status."""
    inbox: list[UUID] = field(default_factory=list)
    rescued: int = 0  # claims that had run out
    is_crowded: bool = False  # more accounts have something due than the queues have room for


def sweep(tools: Tools, queued: Mapping[str, Queued] = EMPTY) -> Due:
    """Find everything that is due, and mark it as enqueued; `queued` is what waits in the queues already."""
    due = Due()
    with tools.engine.begin() as db:
        tools.clock.sync(db)
    now = tools.clock.now()
    if not mark.note(tools):  # the database was set back: nothing is sent from it
        return due
    due.rescued = expired_claims.end(tools, now)
    with tools.engine.begin() as db:
        correct_instants(db, tools, now)
        seen_messages.forget_old(db, now)
    look = Look(tools, now, queued)
    with tools.engine.begin() as db:
        # What is rare comes first: an invoice that is due all the while, and can't be sent, would leave it no turn.
        due.reminders = _ids(db, look.mark("upkeep", reminders(now)))
        due.mail = _ids(db, look.mark("stamp.bulk", unsent_mail(now)))
        due.documents = _ids(db, look.mark("stamp.bulk", lacking_documents(now)))
    with tools.engine.begin() as db:
        _stamps(db, look, due)
    with tools.engine.begin() as db:
        for row in db.execute(look.mark("stamp", look_ups(now))):
            (due.cancel if row.status == InvoiceStatus.CANCELLING else due.look_up).append(row.id)
        if look.room("upkeep"):
            due.probes = _ids(db, probes(now))
            due.out_of_step = _ids(db, out_of_step())
        due.inbox = _ids(db, waiting_inbox())
        heartbeat.note(db, heartbeat.SWEEP, tools.worker, is_crowded=due.is_crowded)
    return due


def _stamps(db: sa.Connection, look: "Look", due: Due) -> None:
    """Choose what is stamped next: what is urgent, and then one account after the other."""
    tools, now = look.tools, look.now
    room = min(look.room("stamp"), look.room("stamp.bulk"))
    if not room:
        due.is_crowded = True
        return
    places: Counter[str] = Counter()
    soon = []
    for row in db.execute(urgent(look)):
        if places[row.account] < (row.concurrency_limit or tools.policy.in_flight):
            places[row.account] += 1
            soon.append(row.id)
    marked = set(_ids(db, look.mark("stamp", these(soon)))) if soon else set()
    due.stamp += [each for each in soon if each in marked]
    found = db.execute(due_to_stamp(look, room)).all()
    due.is_crowded = bool(found) and found[0].accounts > room
    waiting = {row.id: row.waiting for row in found}
    served = {row.id: row.account for row in found}
    chosen = _ids(db, look.mark("stamp", these(list(waiting)))) if waiting else []
    for invoice_id in chosen:
        few = waiting[invoice_id] <= tools.policy.bulk_threshold
        (due.stamp if few else due.stamp_bulk).append(invoice_id)
    if due.is_crowded:
        _note_served(db, sorted({served[each] for each in chosen}), now)


def _note_served(db: sa.Connection, accounts: Sequence[str], now: datetime) -> None:
    """Note that these accounts had their turn; one whose row is being used is being served, and left alone."""
    free = (
        sa.select(connections.c.id)
        .where(connections.c.account == sa.any_(sa.bindparam("accounts", list(accounts), sa.ARRAY(sa.Text))))
        .with_for_update(skip_locked=True, key_share=True)
    )
    db.execute(sa.update(connections).where(connections.c.id.in_(free)).values(served_at=now))


@dataclass(frozen=True)
class Look:
    """One look of the sweep: when, and what waits in the queues."""

    tools: Tools
    now: datetime
    queued: Mapping[str, Queued]

    def room(self, queue: str) -> int:
        """How many messages a queue may still take: they are bounded to a few times the threads."""
        return max(0, self.tools.policy.queue_bound - self.queued.get(queue, Queued()).length)

    def may_enqueue(self, column: Any, queue: str) -> sa.ColumnElement[bool]:
        """Whether no message of an invoice waits: it was never enqueued, or its message is gone."""
        waiting = self.queued.get(queue, Queued())
        gone = self.now - self.tools.policy.requeue_after
        if waiting.length and waiting.since is not None:  # a queue is first in, first out
            gone = min(gone, waiting.since)
        elif waiting.length:
            gone = self.now - UNKNOWN_WAIT
        ahead = self.now + self.tools.policy.requeue_after  # the clock was set back since
        return sa.or_(column.is_(None), column < gone, column > ahead)

    def mark(self, queue: str, which: sa.Select[Any]) -> Any:
        """Mark what a query finds as enqueued, leaving out what still waits or is in another sweep's hands."""
        pick = (
            which.where(self.may_enqueue(invoices.c.enqueued_at, queue))
            .limit(self.room(queue))
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        return (
            sa.update(invoices)
            .where(
                invoices.c.id == sa.any_(sa.func.array(pick))
            )  # an array, so that each is found by its key
            .values(enqueued_at=self.now)
            .returning(invoices.c.id, invoices.c.status)
        )


def is_crowded(tools: Tools) -> bool:
    """Whether the last sweep found more accounts with something due than there was room for."""
    with tools.engine.begin() as db:
        swept = heartbeat.last(db, heartbeat.SWEEP)
    return swept is not None and bool(swept.detail.get("is_crowded"))


# --- claims and instants that can't be right --------------------------------------------------------------------------

LONGEST_DELAY = timedelta(hours=2)
"""Further ahead than anything that is waited for between two tries or look-ups: back-offs end at 10 minutes,
look-ups at 15, a 429 at an hour. Such an instant was written while the database's clock was wrong."""
LONGEST_FOLLOWUP = timedelta(hours=12)
"""The same for a late PDF or a mail, whose back-off ends at 6 hours."""


def correct_instants(db: sa.Connection, tools: Tools, now: datetime) -> None:
    """Make due what waits for an instant further ahead than any delay that we set: the clock was set back since."""
    far = now + LONGEST_DELAY
    late = invoices.alias("late")
    accounts = _accounts_with_due()
    last = (
        sa.select(sa.func.max(late.c.next_attempt_at))
        .where(late.c.account == accounts.c.account, _stands(late, *DUE))
        .scalar_subquery()
    )
    wrong = list(db.execute(sa.select(accounts.c.account).where(last > far).limit(BATCH)).scalars())
    if wrong:
        db.execute(
            sa.update(invoices)
            .where(
                invoices.c.account == sa.any_(sa.bindparam("accounts", wrong, sa.ARRAY(sa.Text))),
                _stands(invoices, *DUE),
                invoices.c.next_attempt_at > far,
            )
            .values(next_attempt_at=now, enqueued_at=None)
        )
    db.execute(
        sa.update(invoices)
        .where(
            _stands(invoices, InvoiceStatus.IN_DOUBT, InvoiceStatus.CANCELLING),
            invoices.c.claimed_until.is_(None),
            invoices.c.next_attempt_at > far,
        )
        .values(next_attempt_at=now, enqueued_at=None)
    )
    db.execute(
        sa.update(invoices)
        .where(
            _stands(invoices, InvoiceStatus.IN_DOUBT),
            invoices.c.claimed_until.is_(None),
            invoices.c.doubt_since > now + LONGEST_DELAY,
        )
        .values(doubt_since=now, next_attempt_at=now, enqueued_at=None)  # its quarantine begins now
    )
    for column in (invoices.c.pdf_due_at, invoices.c.mail_due_at):
        db.execute(_due_now(column, column > now + LONGEST_FOLLOWUP, now))
    is_late = sa.or_(
        invoices.c.expires_at.is_(None), invoices.c.reminder_at > invoices.c.expires_at + LONGEST_DELAY
    )
    reminder_at = invoices.c.reminder_at
    db.execute(_due_now(reminder_at, sa.and_(reminder_at > now + BUDGET + LONGEST_DELAY, is_late), now))
    for column in (connections.c.throttled_until, connections.c.next_probe_at):
        db.execute(sa.update(connections).where(column > far).values({column: now}))
    db.execute(sa.update(connections).where(connections.c.served_at > now + SKEW).values(served_at=None))
    db.execute(sa.update(providers).where(providers.c.next_probe_at > far).values(next_probe_at=now))
    dispatch.correct_instants(db, now)


def _due_now(column: Any, which: sa.ColumnElement[bool], now: datetime) -> sa.Update:
    """Make an instant of these invoices now, from the furthest ahead on.

    In the order of its index and with a bound: a plan for any instant takes a third of the table to lie ahead of it,
    and would read all of it.
    """
    furthest = sa.select(invoices.c.id).where(which).order_by(column.desc()).limit(BATCH).scalar_subquery()
    return (
        sa.update(invoices)
        .where(invoices.c.id == sa.any_(sa.func.array(furthest)))
        .values({column: now, "enqueued_at": None})
    )


def _accounts_with_due() -> sa.CTE:
    """The accounts that have something to stamp, found by jumping through ix_invoices_due from one to the next.

    The cost does not grow with the invoices that wait behind them.
    """
    accounts = (
        sa.select(
            sa.select(sa.func.min(invoices.c.account))
            .where(_stands(invoices, *DUE))
            .scalar_subquery()
            .label("account")
        )
    ).cte("accounts", recursive=True)
    return accounts.union_all(
        sa.select(
            sa.select(sa.func.min(invoices.c.account))
            .where(_stands(invoices, *DUE), invoices.c.account > accounts.c.account)
            .scalar_subquery()
        ).where(accounts.c.account.is_not(None))
    )


def _is_open(now: datetime) -> sa.ColumnElement[bool]:
    """Whether a connection lets anything through now."""
    return sa.and_(
        connections.c.status == ConnectionStatus.ACTIVE,
        connections.c.paused.is_(False),
        sa.or_(connections.c.throttled_until.is_(None), connections.c.throttled_until <= now),
    )


def urgent(look: Look) -> sa.Select[Any]:
    """What is due and has little left of its 72 hours, the least first (ix_invoices_expiring)."""
    return (
        sa.select(invoices.c.id, invoices.c.account, connections.c.concurrency_limit)
        .join(connections, connections.c.account == invoices.c.account)
        .where(
            _stands(invoices, *DUE),
            invoices.c.expires_at <= look.now + URGENT,
            invoices.c.next_attempt_at <= look.now,
            look.may_enqueue(invoices.c.enqueued_at, "stamp"),
            _is_open(look.now),
        )
        .order_by(invoices.c.expires_at)
        .limit(URGENT_AT_ONCE)
    )


def due_to_stamp(look: Look, room: int) -> sa.Select[Any]:
    """What accounts may have stamped now: as many as each has free places, its oldest first, and while there is no room
    for all, one each of those that were served longest ago.

    `accounts` is how many have something due.
    """
    tools, now = look.tools, look.now
    accounts = _accounts_with_due()
    first_due = (
        sa.select(sa.func.min(invoices.c.next_attempt_at))
        .where(invoices.c.account == accounts.c.account, _stands(invoices, *DUE))
        .correlate(accounts)
        .scalar_subquery()
    )
    next_served = (
        sa.select(
            connections.c.account,
            connections.c.served_at,
            connections.c.concurrency_limit,
            first_due.label("first_due"),
            sa.func.count().over().label("accounts"),
        )
        .select_from(accounts)
        .join(connections, connections.c.account == accounts.c.account)
        .where(_is_open(now), first_due <= now)
        .order_by(connections.c.served_at.asc().nulls_first(), sa.literal_column("first_due"))
        .limit(room)
        .cte("next_served")
    )
    busy = invoices.alias("busy")
    in_flight = (
        sa.select(sa.func.count())
        .select_from(busy)
        .where(busy.c.account == next_served.c.account, _stands(busy, InvoiceStatus.STAMPING))
        .correlate(next_served)
        .scalar_subquery()
    )
    free = sa.func.greatest(
        sa.func.coalesce(next_served.c.concurrency_limit, tools.policy.in_flight) - in_flight, 0
    )
    mine = invoices.alias("mine")
    first = (
        sa.select(
            mine.c.id,
            mine.c.enqueued_at,
            sa.func.row_number().over(order_by=mine.c.next_attempt_at).label("place"),
        )
        .where(mine.c.account == next_served.c.account, _stands(mine, *DUE), mine.c.next_attempt_at <= now)
        .order_by(mine.c.next_attempt_at)
        .limit(free)
        .lateral("first")
    )
    behind = invoices.alias("behind")
    waiting = (
        sa.select(sa.func.count())
        .select_from(
            sa.select(behind.c.id)
            .where(behind.c.account == next_served.c.account, _stands(behind, *DUE))
            .limit(tools.policy.bulk_threshold + 1)
            .correlate(next_served)
            .subquery()
        )
        .correlate(next_served)
        .scalar_subquery()
    )
    return (
        sa.select(first.c.id, next_served.c.account, next_served.c.accounts, waiting.label("waiting"))
        .select_from(next_served)
        .join(first, sa.true())
        .where(look.may_enqueue(first.c.enqueued_at, "stamp.bulk"))
        .order_by(first.c.place, next_served.c.served_at.asc().nulls_first(), next_served.c.first_due)
        .limit(room)
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


def reminders(now: datetime) -> sa.Select[Any]:
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
    waiting = sa.exists().where(
        invoices.c.account == connections.c.account, _stands(invoices, InvoiceStatus.ON_HOLD)
    )
    due = sa.exists().where(invoices.c.account == connections.c.account, _stands(invoices, *DUE))
    active = connections.c.status == ConnectionStatus.ACTIVE
    return (
        sa.select(connections.c.id)
        .where(sa.or_(sa.and_(active, waiting), sa.and_(~active, due)))
        .limit(BATCH)
    )


def waiting_inbox() -> sa.Select[Any]:
    """Submissions written by a client in its own transaction (ix_timbrado_inbox_waiting)."""
    return sa.select(inbox.c.id).where(inbox.c.taken_at.is_(None)).order_by(inbox.c.created_at).limit(BATCH)


def _ids(db: sa.Connection, statement: Any) -> list[UUID]:
    return [row.id for row in db.execute(statement)]
