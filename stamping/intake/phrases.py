"""What became of a piece of work, as one short phrase without personal data: what Flower shows as its result."""

import re

import sqlalchemy as sa

from models.tables import CONNECTION_COLUMNS, connections, providers
from models.vocabulary import BrokenReason, ConnectionStatus, InvoiceStatus
from stamping.intake import submit
from stamping.outcome import (
    Differs,
    Failed,
    Full,
    InDoubt,
    Later,
    NotOurs,
    OnHold,
    Outcome,
    Rejected,
    Stamped,
)
from stamping.tools import Tools

WAITING = "waiting"
WHY = ("provider down", "storage", "throttled", "paused", "retry", "its turn", "disconnected", "pending")
SINGLE = (
    "asked", "done", "enqueued", "known", "conflict", "dead letter", "nothing to do", "no such connection",
    "refused", "delivered", "already swept",
)  # fmt: skip
PHRASE = re.compile(
    rf"(?:{'|'.join(re.escape(str(each)) for each in (*InvoiceStatus, *ConnectionStatus, *SINGLE))})"
    rf"(?:: (?:{'|'.join(re.escape(str(each)) for each in (*BrokenReason, *WHY))}|\d{{1,6}}))?"
    r"(?:, and \d{1,4} more)?"
)
"""Every phrase that a task may return: worker/redaction.py lets these through, and nothing else."""


def of_outcome(outcome: Outcome, tools: Tools) -> str:
    """Say how an attempt ended, and what it waits for."""
    match outcome:
        case Stamped():
            return InvoiceStatus.STAMPED
        case Differs():
            return InvoiceStatus.DIFFERS
        case Rejected():
            return InvoiceStatus.REJECTED
        case InDoubt():
            return InvoiceStatus.IN_DOUBT
        case Failed():
            return InvoiceStatus.FAILED
        case OnHold():
            return on_hold(outcome.account, tools)
        case Later():
            return f"{WAITING}: {_why(outcome.account, tools, otherwise='retry')}"
        case Full():
            return f"{WAITING}: {_why(outcome.account, tools, otherwise='its turn')}"
        case NotOurs():
            return "nothing to do"


def of_intake(taken: submit.Accepted | submit.Settled, tools: Tools) -> str:
    """Say what became of a message that was taken in."""
    match taken:
        case submit.Accepted(enqueue=True):
            return InvoiceStatus.ACCEPTED
        case submit.Accepted():
            return f"{InvoiceStatus.ACCEPTED}: its turn"
        case submit.Settled(what="on_hold", account=str(account)):
            return on_hold(account, tools)
        case submit.Settled(what="unreadable"):
            return "dead letter"
        case _:
            return taken.what if PHRASE.fullmatch(taken.what) else "done"


def of_connection(row: "sa.Row[tuple[object, ...]] | None") -> str:
    """Say how a connection stands."""
    if row is None:
        return "no such connection"
    return f"{row.status}: {row.reason}" if row.reason else str(row.status)


def on_hold(account: str, tools: Tools) -> str:
    """Say why an account's invoices are on hold."""
    row = _connection(account, tools)
    why = "disconnected" if row is None else row.reason or row.status
    return f"{InvoiceStatus.ON_HOLD}: {why}"


def _why(account: str, tools: Tools, *, otherwise: str) -> str:
    if tools.store.fault is not None:
        return "storage"
    row = _connection(account, tools)
    if row is None:
        return "disconnected"
    with tools.engine.begin() as db:
        is_down = db.execute(
            sa.select(providers.c.opened_at.is_not(None)).where(providers.c.base_url == row.base_url)
        ).scalar_one_or_none()
    if is_down:
        return "provider down"
    if row.paused:
        return "paused"
    is_throttled = row.throttled_until is not None and row.throttled_until > tools.clock.now()
    return "throttled" if is_throttled else otherwise


def _connection(account: str, tools: Tools) -> "sa.Row[tuple[object, ...]] | None":
    with tools.engine.begin() as db:
        return db.execute(
            sa.select(*CONNECTION_COLUMNS).where(connections.c.account == account)
        ).one_or_none()
