"""The bells of the corridor: one invoice each."""

from uuid import UUID

from celery import shared_task

from stamping import cancel, claims, duties, pipeline, reconcile
from stamping.outcome import Failed, Full, InDoubt, Later, NotOurs, OnHold, Outcome, Rejected, Stamped
from stamping.tools import Tools
from tasks import toolbox


@shared_task(name="stamping.stamp_invoice", max_retries=None)
def stamp_invoice(invoice_id: str) -> None:
    """Stamp one invoice, or the account's most urgent one where that is not due any more."""
    tools = toolbox.tools()
    finish(pipeline.stamp(UUID(invoice_id), tools), tools)


@shared_task(name="stamping.reconcile_invoice", max_retries=None)
def reconcile_invoice(invoice_id: str) -> None:
    """Look one invoice in doubt up."""
    tools = toolbox.tools()
    finish(reconcile.reconcile(UUID(invoice_id), tools), tools)


@shared_task(name="stamping.settle_cancellation", max_retries=None)
def settle_cancellation(invoice_id: str) -> None:
    """Ask for a cancellation, or ask how it stands."""
    tools = toolbox.tools()
    cancel.settle_cancellation(UUID(invoice_id), tools)
    tell_outside(tools)


@shared_task(name="stamping.fetch_documents", max_retries=None)
def fetch_documents(invoice_id: str) -> None:
    """Fetch a PDF that was late."""
    tools = toolbox.tools()
    if duties.fetch_pdf(UUID(invoice_id), tools):
        tell_outside(tools)


@shared_task(name="stamping.send_mail", max_retries=None)
def send_mail(invoice_id: str) -> None:
    """Have ContaDigital mail the documents."""
    tools = toolbox.tools()
    duties.send_mail(UUID(invoice_id), tools)
    tell_outside(tools)


def finish(outcome: Outcome, tools: Tools) -> None:
    """Ring for what follows: the outbox where something was told, and the account's next, whose place is free now."""
    match outcome:
        case Stamped() | Rejected() | Failed() | InDoubt():
            tell_outside(tools)
            ring_next(outcome.account, tools)
        case OnHold():
            tell_outside(tools)
        case Later():
            ring_next(outcome.account, tools)
        case Full() | NotOurs():
            return


def ring_next(account: str, tools: Tools) -> None:
    """Ring for the account's next, on the bell that its backlog deserves."""
    following = claims.following(account, tools)
    if following is not None:
        toolbox.ring(
            "stamping.stamp_invoice",
            [following.invoice_id],
            queue="stamp.bulk" if following.bulk else "stamp",
        )


def tell_outside(tools: Tools) -> None:
    """Ring for the outbox, where anything leaves from it."""
    if tools.channels:
        toolbox.ring_bell("stamping.deliver_events")
