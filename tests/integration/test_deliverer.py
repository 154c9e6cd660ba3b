"""The thread of a process that sends events: how often it looks for what is due."""

import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

from events import channels
from events.delivery import Delivered, Outgoing
from events.webhook import WebhookSender
from models.vocabulary import Channel
from tasks.deliver import PAUSE, Deliverer
from tests.support.harness import open_harness, statements


class Receiver:
    """A far end that takes everything; what it took is in `taken`."""

    address = "https://control.example/hooks"

    def __init__(self) -> None:
        self.taken: list[Outgoing] = []
        self.is_whole = threading.Event()

    def send(self, outgoing: Outgoing, _: datetime) -> Delivered:
        self.taken.append(outgoing)
        if len(self.taken) == EVENTS:
            self.is_whole.set()
        return Delivered(204, timedelta(milliseconds=1))


EVENTS = 60


def test_events_that_come_one_by_one_leave_several_at_a_time(database_url: str, sandbox: Any) -> None:
    """Each wakes the deliverer, which looks once in a pause; the first leaves at once, and none is left behind."""
    receiver = Receiver()
    with open_harness(database_url, sandbox) as harness:
        tools = replace(harness.tools, channels=(Channel.WEBHOOK,), webhook=cast("WebhookSender", receiver))
        with tools.engine.begin() as db:
            channels.set_current(db, tools.channels, tools.clock.now())
        with statements(tools.engine) as asked:
            deliverer = Deliverer(Channel.WEBHOOK, tools)
            for number in range(EVENTS):
                harness.submit(f"OP-{number}")
                deliverer.wake()
                time.sleep(PAUSE / 20)
            arrived = receiver.is_whole.wait(30)
            deliverer.stop(30)
    claims = sum("pg_advisory_xact_lock" in str(statement) for statement, _ in asked)

    assert arrived
    assert 0 < claims < EVENTS / 2
