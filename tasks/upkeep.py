"""What beat enqueues: the sweep, and the follow-ups that it finds."""

from datetime import timedelta
from uuid import UUID

from celery import shared_task

from models.vocabulary import ConnectionStatus
from stamping import deadlines, heartbeat
from stamping import sweep as sweeping
from stamping.connections import connect, suspend
from stamping.intake import inbox
from tasks import context, enqueue
from tasks.intake import enqueue_accepted
from tasks.stamp import enqueue_delivery


@shared_task(name="stamping.sweep")
def sweep() -> str:
    """Enqueue everything that is due; nothing where another sweep began a moment ago."""
    tools = context.tools()
    if not heartbeat.may_begin(tools, APART):
        return "already swept"
    due = sweeping.sweep(tools, enqueue.queued(("stamp", "stamp.bulk", "upkeep")))
    enqueue.for_each("stamping.stamp_invoice", due.stamp, queue="stamp")
    enqueue.for_each("stamping.stamp_invoice", due.stamp_bulk, queue="stamp.bulk")
    enqueue.for_each("stamping.reconcile_invoice", due.look_up)
    enqueue.for_each("stamping.settle_cancellation", due.cancel)
    enqueue.for_each("stamping.fetch_documents", due.documents)
    enqueue.for_each("stamping.send_mail", due.mail)
    enqueue.for_each("stamping.send_reminder", due.reminders)
    enqueue.for_each("stamping.probe_connection", due.probes)
    enqueue.for_each("stamping.sync_connection", due.out_of_step)
    if (
        due.inbox or tools.inbox is not None
    ):  # one elsewhere is asked by its own task: it may be slow, or away
        enqueue.once("stamping.drain_inbox")
    if due.rescued:
        enqueue_delivery(tools)
    if dropped := enqueue.dropped_keys():
        with tools.engine.begin() as db:
            heartbeat.note_dropped(db, dropped, tools.worker)
    return f"enqueued: {len(due.stamp) + len(due.stamp_bulk) + len(due.look_up) + len(due.cancel)}"


APART = timedelta(seconds=0.4)
"""Between the beginnings of two sweeps: beat and workers may ask for more."""


@shared_task(name="stamping.send_reminder")
def send_reminder(invoice_id: str) -> str:
    """Emit that an invoice takes long, or that its 72 hours end."""
    tools = context.tools()
    if deadlines.remind(UUID(invoice_id), tools) is None:
        return "nothing to do"
    enqueue_delivery(tools)
    return "done"


@shared_task(name="stamping.probe_connection")
def probe_connection(connection_id: str) -> str:
    """Ask whether a broken connection works again."""
    tools = context.tools()
    is_active = connect.probe(UUID(connection_id), tools)
    if is_active:
        enqueue.once("stamping.sweep")
    enqueue_delivery(tools)
    return ConnectionStatus.ACTIVE if is_active else "waiting: retry"


@shared_task(name="stamping.sync_connection")
def sync_connection(connection_id: str) -> str:
    """Bring what an account has open into step with its connection."""
    tools = context.tools()
    moved = suspend.sync_invoices(UUID(connection_id), tools)
    if moved:
        enqueue_delivery(tools)
    return f"done: {min(moved, 999_999)}"


@shared_task(name="stamping.drain_inbox")
def drain_inbox() -> str:
    """Take in what clients wrote in their own transactions."""
    tools = context.tools()
    count = 0
    for taken in inbox.take(tools):
        enqueue_accepted(taken)
        count += 1
    enqueue_delivery(tools)
    return f"done: {count}"
