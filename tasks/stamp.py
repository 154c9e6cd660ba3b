"""The tasks of the pipeline: each message names one invoice, and uses one free place of its account."""

import math
import time
from uuid import UUID

from celery import shared_task

from stamping import claims, pipeline, reconcile, sweep
from stamping.cancellation import cancel
from stamping.followups import late_pdf, mail
from stamping.intake import phrases
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
from tasks import context, deliver, enqueue

BATCH_SECONDS = 2.0
"""Seconds for which one message goes on with its account's next: some calls long, and short beside a warm stop."""


@shared_task(name="stamping.stamp_invoice")
def stamp_invoice(invoice_id: str) -> str:
    """Stamp one invoice, or the account's most urgent one where that is not due any more; then what comes next."""
    return work(UUID(invoice_id), context.tools())


@shared_task(name="stamping.reconcile_invoice")
def reconcile_invoice(invoice_id: str) -> str:
    """Look one invoice in doubt up."""
    tools = context.tools()
    outcome = reconcile.reconcile(UUID(invoice_id), tools)
    enqueue_following(finish(outcome, tools), tools)
    return phrases.of_outcome(outcome, tools)


@shared_task(name="stamping.settle_cancellation")
def settle_cancellation(invoice_id: str) -> str:
    """Ask for a cancellation, or ask how it stands."""
    tools = context.tools()
    cancel.settle_cancellation(UUID(invoice_id), tools)
    enqueue_delivery(tools)
    return "asked"


@shared_task(name="stamping.fetch_documents")
def fetch_documents(invoice_id: str) -> str:
    """Fetch a PDF that was late."""
    tools = context.tools()
    if not late_pdf.fetch_pdf(UUID(invoice_id), tools):
        return "waiting: retry"
    enqueue_delivery(tools)
    return "done"


@shared_task(name="stamping.send_mail")
def send_mail(invoice_id: str) -> str:
    """Have ContaDigital mail the documents."""
    tools = context.tools()
    mail.send_mail(UUID(invoice_id), tools)
    enqueue_delivery(tools)
    return "asked"


def work(invoice_id: UUID, tools: Tools, claimed: claims.Claimed | None = None) -> str:
    """Stamp one invoice, and go on with its account's next: its place is free. Return how the first one ended.

    It is `claimed` already where it came in a moment ago. One message an invoice would cost as much as Celery's share
    of it does. So one message is good for `BATCH_SECONDS` seconds; then the next invoice is enqueued, so that other
    messages get a thread and a stopping worker ends no later.
    """
    until = time.monotonic() + BATCH_SECONDS
    first = (
        pipeline.stamp_claimed(claimed, tools) if claimed is not None else pipeline.stamp(invoice_id, tools)
    )
    following, more = finish(first, tools), 0
    while following is not None and time.monotonic() < until:
        following = finish(pipeline.stamp(following.invoice_id, tools), tools)
        more += 1
    enqueue_following(following, tools)
    return phrases.of_outcome(first, tools) + (f", and {more} more" if more else "")


def finish(outcome: Outcome, tools: Tools) -> claims.Following | None:
    """Have what was emitted sent; return the account's next, where a place is free for it now."""
    match outcome:
        case Stamped() | Differs() | Rejected() | Failed() | InDoubt():
            enqueue_delivery(tools)
            return claims.following(outcome.account, tools)
        case OnHold():
            enqueue_delivery(tools)
            return None
        case Later():
            return claims.following(outcome.account, tools)
        case Full() | NotOurs():
            return None


def enqueue_following(following: claims.Following | None, tools: Tools) -> None:
    """Enqueue the account's next, in the queue that its backlog deserves.

    While more accounts wait than can be served, one with a backlog gives its thread back: the sweep chooses whose turn
    it is, and is asked for as soon as there is room.
    """
    if following is None:
        return
    if following.bulk and crowd.waits(tools):
        crowd.ask_for_a_sweep()
        return
    enqueue.for_each(
        "stamping.stamp_invoice", [following.invoice_id], queue="stamp.bulk" if following.bulk else "stamp"
    )


class Crowd:
    """Whether accounts wait for their turn, as the last sweep found; asked for at most once a second, like a sweep."""

    def __init__(self) -> None:
        self._asked_at = self._swept_at = -math.inf
        self._waits = False

    def waits(self, tools: Tools) -> bool:
        """Whether more accounts have something due than the queues have room for."""
        if time.monotonic() - self._asked_at > 1:
            self._asked_at = time.monotonic()
            self._waits = sweep.is_crowded(tools)
        return self._waits

    def ask_for_a_sweep(self) -> None:
        """Have the next turns chosen now instead of when beat next asks for it."""
        if time.monotonic() - self._swept_at > 1:
            self._swept_at = time.monotonic()
            enqueue.once("stamping.sweep")


crowd = Crowd()


def enqueue_delivery(tools: Tools) -> None:
    """Have what was just emitted sent; no message: a flag of this process."""
    deliver.wake(tools)
