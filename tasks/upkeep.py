"""What beat rings for: the sweep, and the duties it finds."""

from uuid import UUID

from celery import shared_task

from stamping import reminders
from stamping import sweep as sweeping
from stamping.connections import connect, suspend
from stamping.intake import inbox
from tasks import context, enqueue
from tasks.intake import ring_for
from tasks.stamp import tell_outside


@shared_task(name="stamping.sweep", max_retries=None)
def sweep() -> None:
    """Ring for everything that is due."""
    tools = context.tools()
    due = sweeping.sweep(tools)
    enqueue.for_each("stamping.stamp_invoice", due.stamp, queue="stamp")
    enqueue.for_each("stamping.stamp_invoice", due.stamp_bulk, queue="stamp.bulk")
    enqueue.for_each("stamping.reconcile_invoice", due.look_up)
    enqueue.for_each("stamping.settle_cancellation", due.cancel)
    enqueue.for_each("stamping.fetch_documents", due.documents)
    enqueue.for_each("stamping.send_mail", due.mail)
    enqueue.for_each("stamping.give_notice", due.notices)
    enqueue.for_each("stamping.probe_connection", due.probes)
    enqueue.for_each("stamping.hold_or_release", due.hold)
    if (
        due.inbox or tools.inbox is not None
    ):  # one elsewhere is asked by its own task: it may be slow, or away
        enqueue.once("stamping.take_inbox")
    if due.rescued:
        tell_outside(tools)


@shared_task(name="stamping.give_notice", max_retries=None)
def give_notice(invoice_id: str) -> None:
    """Tell that an invoice takes long, or that its 72 hours end."""
    tools = context.tools()
    if reminders.notice(UUID(invoice_id), tools) is not None:
        tell_outside(tools)


@shared_task(name="stamping.probe_connection", max_retries=None)
def probe_connection(connection_id: str) -> None:
    """Ask whether a broken connection is mended."""
    tools = context.tools()
    if connect.probe(UUID(connection_id), tools):
        enqueue.once("stamping.sweep")
    tell_outside(tools)


@shared_task(name="stamping.hold_or_release", max_retries=None)
def hold_or_release(connection_id: str) -> None:
    """Bring what an account has open into step with its connection."""
    tools = context.tools()
    if suspend.bring_into_step(UUID(connection_id), tools):
        tell_outside(tools)


@shared_task(name="stamping.take_inbox", max_retries=None)
def take_inbox() -> None:
    """Take in what clients wrote in their own transactions."""
    tools = context.tools()
    for taken in inbox.take(tools):
        ring_for(taken)
    tell_outside(tools)


@shared_task(name="stamping.beat_alive", max_retries=None)
def beat_alive() -> None:
    """Note that beat rings and a worker answers: `timbrado health beat` reads how long ago."""
    context.tools().note_beat()
