"""What leaves the outbox: webhooks, and the same object as a Celery message to Apunto's own queue.

One deliverer a channel and process, a thread of its own: whoever wrote an event sets its flag (`wake`), so that no
event costs a message, and a dead or slow receiver takes no thread from stamping.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from celery import current_app, shared_task

from events import channels, feed
from events.delivery import Delivered, DeliveryFailed, Outcome, Outgoing
from events.dispatch import BATCH, Round, deliver_due
from models.vocabulary import Channel
from stamping.tools import Tools
from tasks import context, enqueue

_log = logging.getLogger(__name__)


@shared_task(name="stamping.deliver_events")
def deliver_events() -> str:
    """Have this process send what is due: for what was written elsewhere, and what waited for another try."""
    tools = context.tools()
    set_channels(tools)
    wake(tools)
    return "asked"


class NoSender(RuntimeError):
    """A channel is switched on and nothing was opened to send over it: a mistake of the runtime, never a silence."""


PAUSE = 0.2
"""Seconds from one claim of what is due to the next, unless the batch was full: events that come one by one would each
cost the statements of a whole batch. The first one after a quiet time leaves at once."""


class Deliverer:
    """Sends what is due over one channel, in a thread of its own, whenever it is woken."""

    def __init__(self, channel: Channel, tools: Tools) -> None:
        self._channel = channel
        self._tools = tools
        self._send, self._address = _sender_of(channel, tools)
        self._flag, self._stopping = threading.Event(), threading.Event()
        # a daemon: what it holds when the process ends is sent again after its lease
        self._thread = threading.Thread(target=self._run, name=f"deliver-{channel}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Have it look for what is due."""
        self._flag.set()

    def stop(self, timeout: float) -> None:
        """Let it finish the batch that it has."""
        self._stopping.set()
        self._flag.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._flag.wait()
            self._flag.clear()
            began, done = time.monotonic(), Round()
            try:
                done = self._round()
            except sa.exc.DBAPIError as error:  # the database is away; the next tick of beat wakes it again
                _log.warning("no events are delivered: %s", type(error.orig).__name__)
            except Exception:  # noqa: BLE001  # a bug is logged, and the thread goes on with what else is due
                _log.exception("an event could not be delivered")
            if done.more:  # also what was behind another one of its subject
                self._flag.set()
            if done.tried < BATCH:
                self._stopping.wait(began + PAUSE - time.monotonic())

    def _round(self) -> Round:
        tools = self._tools
        return deliver_due(
            tools.engine,
            self._channel,
            self._send,
            address=self._address,
            public_url=tools.public_url,
            clock=tools.clock.now,
            chance=random.random,
            batches=1,
            threads=1 if self._channel is Channel.CELERY else 8,
        )


_channels_are_set = False


def set_channels(tools: Tools) -> None:
    """Make this worker's channels the installation's, once a process; what stands in the way is tried again later.

    After a restore it also puts the events of the database before in front of those to come.
    """
    global _channels_are_set  # noqa: PLW0603  # one per process
    if _channels_are_set:
        return
    try:
        with tools.engine.begin() as db:
            before = channels.set_current(db, tools.channels, tools.clock.now())
            feed.start_anew(db)
    except sa.exc.DBAPIError as error:
        _log.warning("the channels of events are not set yet: %s", type(error.orig).__name__)
        return
    _channels_are_set = True
    if before is not None and before != tools.channels:
        _log.warning("events now leave over %s, no longer over %s", _listed(tools.channels), _listed(before))


def _listed(several: Sequence[Channel]) -> str:
    return ", ".join(several) or "no channel"


_deliverers: dict[Channel, Deliverer] = {}
_lock = threading.Lock()


def wake(tools: Tools) -> None:
    """Have what was just written sent, over every channel that this process can send over."""
    for channel in tools.channels:
        with _lock:
            if channel not in _deliverers:
                _deliverers[channel] = Deliverer(channel, tools)
        _deliverers[channel].wake()


def stop(timeout: float = 20.0) -> None:
    """Let each deliverer finish its batch, before what it works with is closed."""
    with _lock:
        for each in _deliverers.values():
            each.stop(timeout)
        _deliverers.clear()


def _sender_of(channel: Channel, tools: Tools) -> tuple[Callable[[Outgoing, datetime], Outcome], str]:
    """Return how a channel sends, and its far end's address."""
    match channel:
        case Channel.WEBHOOK if tools.webhook is not None:
            return tools.webhook.send, tools.webhook.address
        case Channel.CELERY if tools.events_task and tools.events_queue:
            return lambda outgoing, _: send_message(
                outgoing, tools
            ), f"{tools.events_queue}:{tools.events_task}"
        case _:
            raise NoSender(f"the channel {channel} is on and has no sender")


def send_message(outgoing: Outgoing, tools: Tools) -> Outcome:
    """Put the event's object into Apunto's queue, as the keyword argument `event`; its id is the message's id."""
    began = tools.clock.now()
    try:
        current_app.send_task(
            str(tools.events_task),
            kwargs={"event": dict(outgoing.event), "event_id": str(outgoing.id)},
            queue=tools.events_queue,
            task_id=str(outgoing.id),
            argsrepr="(hidden)",
            kwargsrepr="(hidden)",
            headers={"trace_id": outgoing.trace_id} if outgoing.trace_id else None,
            retry=False,
            confirm_timeout=enqueue.CONFIRMED,
        )
    except enqueue.BROKER_REFUSES as error:
        return DeliveryFailed(None, type(error).__name__, tools.clock.now() - began, timedelta(seconds=5))
    return Delivered(None, tools.clock.now() - began)
