"""The tasks of the contract: what Apunto sends, by name, with keyword arguments.

Their arguments never show in Flower, whoever sent them (worker/redaction.py).
"""

import math
import time
from datetime import timedelta
from typing import Any

from celery import Task, shared_task

from cfdi.faults import Fault
from models.vocabulary import ConnectionStatus, InvoiceStatus
from stamping.cancellation import cancel, replace
from stamping.claims import Claimed
from stamping.connections import connect
from stamping.intake import dead_letters, operator_retry, phrases, seen_messages, submit, untrusted, withdraw
from stamping.sweep import Queued
from stamping.tools import Tools
from tasks import context, enqueue
from tasks.requeue import gives_back
from tasks.stamp import at_work, enqueue_delivery, work


@shared_task(name="stamping.submit_invoice", bind=True)
def submit_invoice(self: "Task[Any, Any]", *args: Any, **kwargs: Any) -> str:
    """Take one invoice in, and stamp it at once; or enqueue it, where its account has a backlog.

    Once it is taken in nothing gives the message back or makes a dead letter of it: the invoice is safe, and the sweep
    finds it.
    """
    tools = context.tools()
    taken = take_in(self, *args, **kwargs)
    enqueue_delivery(tools)
    match taken:
        case submit.Accepted(claimed=Claimed() as claimed):
            return work(claimed.id, tools, claimed, taken.prepared)
        case submit.Accepted(invoice_id=invoice_id, enqueue=True, bulk=False) if not intake_load.is_long():
            return work(invoice_id, tools)
        case _:
            enqueue_accepted(taken)
            return phrases.of_intake(taken, tools)


class IntakeLoad:
    """Whether more waits in the queue of what comes in than is taken in within a moment; asked for once a second.

    Then, unless stamping is quick, a thread that takes an invoice in does not stamp it too, so that whoever comes
    behind waits for rows to be written and not for ContaDigital.
    """

    LONG = 20  # messages

    def __init__(self) -> None:
        self._asked_at = -math.inf
        self._is_long = False

    def is_long(self) -> bool:
        """Whether many messages wait."""
        if time.monotonic() - self._asked_at > 1:
            self._asked_at = time.monotonic()
            self._is_long = enqueue.queued(["intake"]).get("intake", Queued()).length > self.LONG
        return self._is_long


intake_load = IntakeLoad()


@gives_back
def take_in(task: "Task[Any, Any]", *, invoice: Any) -> submit.Accepted | submit.Settled:
    """Take one invoice in; also a message whose arguments are not these is kept."""
    return submit.submit(
        invoice,
        context.tools(),
        message=message_of(task),
        trace_id=trace_of(task),
        claim=at_work.is_quick() or not intake_load.is_long(),
    )


@shared_task(name="stamping.cancel_invoice", bind=True)
@gives_back
def cancel_invoice(
    self: "Task[Any, Any]",
    *,
    account: str,
    external_id: str,
    motivo: str | None = None,
    uuid_sustitucion: str | None = None,
) -> str:
    """Ask for the cancellation of a stamped invoice."""
    tools = context.tools()
    invoice_id = cancel.request(
        account,
        external_id,
        motivo,
        uuid_sustitucion,
        tools,
        message=message_of(self),
        trace_id=trace_of(self),
    )
    if invoice_id is not None:
        enqueue.for_each("stamping.settle_cancellation", [invoice_id])
    enqueue_delivery(tools)
    return InvoiceStatus.CANCELLING if invoice_id is not None else "refused"


@shared_task(name="stamping.replace_invoice", bind=True)
def replace_invoice(self: "Task[Any, Any]", *args: Any, **kwargs: Any) -> str:
    """Take in the invoice that substitutes a stamped one; the old one is cancelled in the commit that stamps it."""
    tools = context.tools()
    taken = take_substitute_in(self, *args, **kwargs)
    enqueue_delivery(tools)
    enqueue_accepted(taken)
    return phrases.of_intake(taken, tools)


@gives_back
def take_substitute_in(
    task: "Task[Any, Any]", *, account: str, external_id: str, invoice: Any
) -> submit.Accepted | submit.Settled:
    """Take a substitute in; also a message whose arguments are not these is kept."""
    return replace.replace(
        account, external_id, invoice, context.tools(), message=message_of(task), trace_id=trace_of(task)
    )


@shared_task(name="stamping.retry_invoice", bind=True)
@gives_back
def retry_invoice(self: "Task[Any, Any]", *, account: str, external_id: str) -> str:
    """Try again what stopped; one whose outcome is unknown is looked up first."""
    tools = context.tools()
    verdict = operator_retry.retry(
        account, external_id, tools, message=message_of(self), trace_id=trace_of(self)
    )
    return _go_on(verdict, tools)


@shared_task(name="stamping.withdraw_invoice", bind=True)
@gives_back
def withdraw_invoice(self: "Task[Any, Any]", *, account: str, external_id: str) -> str:
    """Take back an invoice that is not stamped; one whose outcome is unknown is looked up first."""
    tools = context.tools()
    verdict = withdraw.withdraw(
        account, external_id, tools, message=message_of(self), trace_id=trace_of(self)
    )
    return _go_on(verdict, tools)


def _go_on(verdict: operator_retry.CommandResult, tools: Tools) -> str:
    if verdict.task is not None and verdict.invoice_id is not None:
        enqueue.for_each(verdict.task, [verdict.invoice_id])
    enqueue_delivery(tools)
    return "done" if verdict.done else "nothing to do"


@shared_task(name="stamping.connect", bind=True)
@gives_back
def connect_account(
    self: "Task[Any, Any]",
    *,
    account: str,
    api_key_encrypted: str,
    rfc: str,
    razon_social: str,
    codigo_postal: str,
    empresa_id: int | str | None = None,
    serie: str | None = None,
    base_url: str | None = None,
    ids: object = None,
) -> str:
    """Store or replace a connection, validate it, and let go what waited for it."""
    tools = context.tools()
    request = connect.ConnectRequest(
        account=account,
        api_key_encrypted=api_key_encrypted,
        rfc=rfc,
        razon_social=razon_social,
        codigo_postal=codigo_postal,
        empresa_id=empresa_id,
        serie=serie,
        base_url=base_url,
        ids=ids,
    )
    row = None
    try:
        row = connect.connect(request, tools, message=message_of(self))
    except connect.NoAccount:
        asked = {"task": self.name, "account": account, "rfc": rfc}
        dead_letters.store(
            asked,
            tools,
            faults=(NO_ACCOUNT,),
            reason="it names no account",
            origin=dead_letters.Origin(task=self.name, queue="intake"),
            trace_id=trace_of(self),
        )
    enqueue.once("stamping.sweep")
    enqueue_delivery(tools)
    return phrases.of_connection(row) if row is not None else "dead letter"


@shared_task(name="stamping.validate_connection", bind=True)
@gives_back
def validate_connection(self: "Task[Any, Any]", *, account: str) -> str:
    """Validate a connection again."""
    tools = context.tools()
    row = connect.validate(account, tools, message=message_of(self))
    enqueue.once("stamping.sweep")
    enqueue_delivery(tools)
    return phrases.of_connection(row)


@shared_task(name="stamping.disconnect", bind=True)
@gives_back
def disconnect(self: "Task[Any, Any]", *, account: str) -> str:
    """Forget a connection's key; its open invoices are put on hold."""
    tools = context.tools()
    is_done = connect.disconnect(account, tools, message=message_of(self))
    enqueue_delivery(tools)
    return ConnectionStatus.DISCONNECTED if is_done else "nothing to do"


NO_ACCOUNT = Fault(
    code="timbrado.cuenta_ilegible",
    field="account",
    message="Apunto no dijo de qué cuenta es la conexión.",
    fix="No es culpa tuya: escribe a soporte de Apunto.",
    source="timbrado",
    detail="account must be a text of 1 to 200 characters",
)


def enqueue_accepted(taken: submit.Accepted | submit.Settled) -> None:
    """Enqueue an invoice that came in, unless threads or messages enough are there for what its account has due."""
    match taken:
        case submit.Accepted(invoice_id=invoice_id, account=account, due=due, bulk=bulk):
            if 0 < due - at_work.count(account) <= submit.ENQUEUED_AHEAD:
                enqueue.for_each(
                    "stamping.stamp_invoice", [invoice_id], queue="stamp.bulk" if bulk else "stamp"
                )
        case _:
            return


def trace_of(task: "Task[Any, Any]") -> str:
    """Return the trace id that Apunto's message carries, or the message's own id."""
    headers = getattr(task.request, "headers", None) or {}
    found = headers.get("trace_id") or headers.get("traceparent") or getattr(task.request, "trace_id", None)
    return str(untrusted.storable(str(found or task.request.root_id or task.request.id)))[:100]


def message_of(task: "Task[Any, Any]") -> seen_messages.Message:
    """Return which message a task runs for. One that says no sending time is dated by its first arrival."""
    now = context.now()
    request = task.request
    properties = getattr(request, "properties", None) or {}
    found = [getattr(request, name, None) for name in (untrusted.SENT_AT, untrusted.ARRIVED_AT)]
    times = [untrusted.instant(each) for each in (found[0], properties.get("timestamp"), found[1])]
    sent_at = next((each for each in times if each is not None and now - LONGEST_AWAY < each), now)
    return seen_messages.Message(id=str(request.id), task=str(task.name), sent_at=min(sent_at, now))


LONGEST_AWAY = timedelta(days=30)
"""No message is so old: a sender that says so has another clock, and its message is dated by its arrival."""
