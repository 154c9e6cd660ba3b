"""The bells of the pipeline: each names one invoice, and stands for one free place of its account."""

import time
from uuid import UUID

from celery import shared_task

from stamping import claims, pipeline, reconcile
from stamping.cancellation import cancel
from stamping.followups import late_pdf, mail
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
"""Seconds for which one bell goes on with its account's next: some calls long, and short beside a warm stop."""


@shared_task(name="stamping.stamp_invoice")
def stamp_invoice(invoice_id: str) -> None:
    """Stamp one invoice, or the account's most urgent one where that is not due any more; then what comes next."""
    work(UUID(invoice_id), context.tools())


@shared_task(name="stamping.reconcile_invoice")
def reconcile_invoice(invoice_id: str) -> None:
    """Look one invoice in doubt up."""
    tools = context.tools()
    ring(finish(reconcile.reconcile(UUID(invoice_id), tools), tools))


@shared_task(name="stamping.settle_cancellation")
def settle_cancellation(invoice_id: str) -> None:
    """Ask for a cancellation, or ask how it stands."""
    tools = context.tools()
    cancel.settle_cancellation(UUID(invoice_id), tools)
    enqueue_delivery(tools)


@shared_task(name="stamping.fetch_documents")
def fetch_documents(invoice_id: str) -> None:
    """Fetch a PDF that was late."""
    tools = context.tools()
    if late_pdf.fetch_pdf(UUID(invoice_id), tools):
        enqueue_delivery(tools)


@shared_task(name="stamping.send_mail")
def send_mail(invoice_id: str) -> None:
    """Have ContaDigital mail the documents."""
    tools = context.tools()
    mail.send_mail(UUID(invoice_id), tools)
    enqueue_delivery(tools)


def work(invoice_id: UUID, tools: Tools) -> None:
    """Stamp one invoice, and go on with its account's next: the place that it leaves is free.

    One message an invoice would cost as much as Celery's share of it does. So one message is good for `BATCH_SECONDS`
    seconds; then the next invoice is enqueued, so that other messages get a thread and a stopping worker ends no later.
    """
    until = time.monotonic() + BATCH_SECONDS
    following = finish(pipeline.stamp(invoice_id, tools), tools)
    while following is not None and time.monotonic() < until:
        following = finish(pipeline.stamp(following.invoice_id, tools), tools)
    ring(following)


def finish(outcome: Outcome, tools: Tools) -> claims.Following | None:
    """Ring for the outbox where something was told; return the account's next, where a place is free for it now."""
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


def ring(following: claims.Following | None) -> None:
    """Ring for the account's next, on the bell that its backlog deserves."""
    if following is not None:
        enqueue.for_each(
            "stamping.stamp_invoice",
            [following.invoice_id],
            queue="stamp.bulk" if following.bulk else "stamp",
        )


def enqueue_delivery(tools: Tools) -> None:
    """Have what was just emitted sent; no message: a flag of this process."""
    deliver.wake(tools)
