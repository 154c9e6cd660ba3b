"""The tasks of the pipeline: each message names one invoice, and uses one free place of its account."""

import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from celery import Task, current_app, shared_task
from celery.signals import worker_init
from celery.worker import state

from stamping import claims, pipeline, reconcile, sweep
from stamping.cancellation import cancel
from stamping.followups import late_pdf, mail
from stamping.intake import phrases, untrusted
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
from stamping.prepare import Prepared
from stamping.tools import Tools
from tasks import context, deliver, enqueue

BATCH_SECONDS = 2.0
"""Seconds for which one message goes on with its account's next, whoever waits for its thread: some calls long."""
LONGEST_BATCH = 30.0
"""Seconds for which it goes on where nobody waits: short beside the time after which Redis gives a message back."""

IDLE = timedelta(seconds=0.5)
"""A message that waited no longer than this found an idle thread: there may be more of them."""


@shared_task(name="stamping.stamp_invoice", bind=True)
def stamp_invoice(self: "Task[Any, Any]", invoice_id: str) -> str:
    """Stamp one invoice, or the account's most urgent one where that is not due any more; then what comes next."""
    sent_at = untrusted.instant(getattr(self.request, untrusted.SENT_AT, None))
    waited = context.now() - sent_at if sent_at is not None else timedelta(0)
    return work(UUID(invoice_id), context.tools(), spreads=waited < IDLE)


@shared_task(name="stamping.reconcile_invoice")
def reconcile_invoice(invoice_id: str) -> str:
    """Look one invoice in doubt up."""
    tools = context.tools()
    outcome = reconcile.reconcile(UUID(invoice_id), tools)
    account = finish(outcome, tools)
    if account is not None:
        enqueue_following(claims.following(account, tools), tools)
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


def work(
    invoice_id: UUID,
    tools: Tools,
    claimed: claims.Claimed | None = None,
    prepared: Prepared | None = None,
    *,
    spreads: bool = False,
) -> str:
    """Stamp one invoice, and go on with its account's next: its place is free. Return how the first one ended.

    It is `claimed` already, and perhaps `prepared`, where it came in a moment ago. One message an invoice would cost as
    much as Celery's share of it does. So one message is good for `BATCH_SECONDS` seconds, and for longer while no other
    waits for a thread; then the next invoice is enqueued. With `spreads` another message is enqueued at once for what
    is due beside it: so as many threads work on an account as it may have calls in flight.
    """
    began = time.monotonic()
    taken = claimed or pipeline.take(tools, invoice_id=invoice_id)
    if spreads and isinstance(taken, claims.Claimed):
        enqueue_following(taken.following, tools)
    first = _stamp(taken, tools, prepared)
    account, more = finish(first, tools), 0
    while account is not None and _keeps_its_thread(time.monotonic() - began):
        taken = pipeline.take(tools, account=account)
        more += isinstance(taken, claims.Claimed)
        account = finish(_stamp(taken, tools), tools)
    if account is not None:
        enqueue_following(claims.following(account, tools), tools)
    return phrases.of_outcome(first, tools) + (f", and {more} more" if more else "")


def _keeps_its_thread(seconds: float) -> bool:
    """Whether a message that has had a thread for so long goes on; none does in a worker that stops or is drained."""
    exit_code = cast("int | bool | None", state.should_stop)
    if exit_code is not None and exit_code is not False:  # 0 is the code of a good end
        return False
    if not current_app.amqp.queues.consume_from:
        return False
    return seconds < BATCH_SECONDS or (seconds < LONGEST_BATCH and not threads.are_wanted())


class Threads:
    """Whether messages wait for a thread of this process.

    One that has been reserved and is not begun does. As many are reserved as there are threads, so while all are at
    work none is: what waits then is in the queues, which are looked at once a second at most.
    """

    number = math.inf
    """How many this process has; known once its worker starts."""

    def __init__(self) -> None:
        self._asked_at = -math.inf
        self._queue_up = False

    def are_wanted(self) -> bool:
        """Whether any message waits."""
        active = len(state.active_requests)
        return len(state.reserved_requests) > active or (active >= self.number and self._some_queue_up())

    def _some_queue_up(self) -> bool:
        if time.monotonic() - self._asked_at > 1:
            self._asked_at = time.monotonic()
            names = tuple(current_app.amqp.queues.consume_from)
            self._queue_up = any(each.length for each in enqueue.queued(names).values())
        return self._queue_up


threads = Threads()


@worker_init.connect(weak=False)
def _count_threads(sender: Any, **_: object) -> None:
    threads.number = sender.concurrency


def _stamp(
    taken: claims.Claimed | claims.Unclaimed, tools: Tools, prepared: Prepared | None = None
) -> Outcome:
    if isinstance(taken, claims.Unclaimed):
        return pipeline.stamp_taken(taken, tools)
    with at_work.on(taken.account):
        return pipeline.stamp_claimed(taken, tools, prepared)


class AtWork:
    """How many threads of this process work on each account, and for how long: each looks for what is due next once it
    is done.

    Whoever takes an invoice in and counts on them asks after its commit, and they look after they are counted no more:
    so one of the two sees the other.
    """

    QUICK = 3.0  # seconds: as many threads at work as a process has take about so long where no call does

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: Counter[str] = Counter()
        self._lately = 0.0

    @contextmanager
    def on(self, account: str) -> Iterator[None]:
        """Count the caller for as long as it works on this account."""
        began = time.monotonic()
        with self._lock:
            self._threads[account] += 1
        try:
            yield
        finally:
            with self._lock:
                self._lately += 0.1 * (time.monotonic() - began - self._lately)
                self._threads[account] -= 1
                if not self._threads[account]:
                    del self._threads[account]

    def is_quick(self) -> bool:
        """Whether an invoice takes little time from its claim to its end, by the last ones here."""
        return self._lately < self.QUICK

    def count(self, account: str) -> int:
        """How many work on an account."""
        return self._threads.get(account, 0)


at_work = AtWork()


def finish(outcome: Outcome, tools: Tools) -> str | None:
    """Have what was emitted sent; return the account whose place is free now."""
    match outcome:
        case Stamped() | Differs() | Rejected() | Failed() | InDoubt():
            enqueue_delivery(tools)
            return outcome.account
        case OnHold():
            enqueue_delivery(tools)
            return None
        case Later():
            return outcome.account
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
