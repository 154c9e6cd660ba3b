"""What beat rings for: the sweep, and the duties it finds."""

from uuid import UUID

from celery import shared_task

from stamping import connect, hold, inbox, notices
from stamping import sweep as sweeping
from tasks import toolbox
from tasks.intake import ring_for
from tasks.stamp import tell_outside


@shared_task(name="stamping.sweep", max_retries=None)
def sweep() -> None:
    """Ring for everything that is due."""
    tools = toolbox.tools()
    due = sweeping.sweep(tools)
    toolbox.ring("stamping.stamp_invoice", due.stamp, queue="stamp")
    toolbox.ring("stamping.stamp_invoice", due.stamp_bulk, queue="stamp.bulk")
    toolbox.ring("stamping.reconcile_invoice", due.look_up)
    toolbox.ring("stamping.settle_cancellation", due.cancel)
    toolbox.ring("stamping.fetch_documents", due.documents)
    toolbox.ring("stamping.send_mail", due.mail)
    toolbox.ring("stamping.give_notice", due.notices)
    toolbox.ring("stamping.probe_connection", due.probes)
    toolbox.ring("stamping.hold_or_release", due.hold)
    if (
        due.inbox or tools.inbox is not None
    ):  # one elsewhere is asked by its own task: it may be slow, or away
        toolbox.ring_bell("stamping.take_inbox")
    if due.rescued:
        tell_outside(tools)


@shared_task(name="stamping.give_notice", max_retries=None)
def give_notice(invoice_id: str) -> None:
    """Tell that an invoice takes long, or that its 72 hours end."""
    tools = toolbox.tools()
    if notices.notice(UUID(invoice_id), tools) is not None:
        tell_outside(tools)


@shared_task(name="stamping.probe_connection", max_retries=None)
def probe_connection(connection_id: str) -> None:
    """Ask whether a broken connection is mended."""
    tools = toolbox.tools()
    if connect.probe(UUID(connection_id), tools):
        toolbox.ring_bell("stamping.sweep")
    tell_outside(tools)


@shared_task(name="stamping.hold_or_release", max_retries=None)
def hold_or_release(connection_id: str) -> None:
    """Bring what an account has open into step with its connection."""
    tools = toolbox.tools()
    if hold.bring_into_step(UUID(connection_id), tools):
        tell_outside(tools)


@shared_task(name="stamping.take_inbox", max_retries=None)
def take_inbox() -> None:
    """Take in what clients wrote in their own transactions."""
    tools = toolbox.tools()
    for taken in inbox.take(tools):
        ring_for(taken)
    tell_outside(tools)


@shared_task(name="stamping.beat_alive", max_retries=None)
def beat_alive() -> None:
    """Note that beat rings and a worker answers: `timbrado health beat` reads how long ago."""
    toolbox.tools().note_beat()
