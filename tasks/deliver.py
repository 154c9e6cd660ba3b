"""What leaves the outbox: webhooks, and the same object as a Celery message to Apunto's own queue."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from celery import current_app, shared_task
from kombu.exceptions import OperationalError

from events.delivery import Delivered, Failed, Notice, Outcome
from events.dispatch import deliver_due
from models.vocabulary import Channel
from stamping.tools import Tools
from tasks import context, enqueue


@shared_task(name="stamping.deliver_events")
def deliver_events() -> None:
    """Send what is due on every channel that is switched on; rings again where more is due than one round sends."""
    tools = context.tools()
    for channel in tools.channels:
        send, address = _way_of(channel, tools)
        done = deliver_due(
            tools.engine, channel, send, address=address, clock=tools.clock.now, chance=random.random
        )
        if done.more:
            enqueue.once("stamping.deliver_events")


class NoWay(RuntimeError):  # named for what happened, like the errors of the other rooms
    """A channel is switched on and nothing was opened to send over it: a mistake of the runtime, never a silence."""


def _way_of(channel: Channel, tools: Tools) -> tuple[Callable[[Notice, datetime], Outcome], str]:
    """Return how a channel sends, and its far end's address."""
    match channel:
        case Channel.WEBHOOK if tools.webhook is not None:
            return tools.webhook.send, tools.webhook.address
        case Channel.CELERY if tools.events_task and tools.events_queue:
            return lambda notice, _: send_message(notice, tools), f"{tools.events_queue}:{tools.events_task}"
        case _:
            raise NoWay(f"the channel {channel} is on and has no sender")


def send_message(notice: Notice, tools: Tools) -> Outcome:
    """Put the event's object into Apunto's queue, as the keyword argument `event`; its id is the message's id."""
    began = tools.clock.now()
    try:
        current_app.send_task(
            str(tools.events_task),
            kwargs={"event": dict(notice.event), "event_id": str(notice.id)},
            queue=tools.events_queue,
            task_id=str(notice.id),
            argsrepr="(hidden)",
            kwargsrepr="(hidden)",
            headers={"trace_id": notice.trace_id} if notice.trace_id else None,
            retry=False,
        )
    except (OperationalError, OSError) as error:
        return Failed(None, type(error).__name__, tools.clock.now() - began, timedelta(seconds=5))
    return Delivered(None, tools.clock.now() - began)
