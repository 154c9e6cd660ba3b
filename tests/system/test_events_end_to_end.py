"""What Apunto learns, with a real worker and a receiver that has every fault: in the end it knows the truth.

TIMBRADO_FULL=1 tells the whole story of 300 invoices; without it there are 60.
"""

import base64
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from standardwebhooks import Webhook

from config.values import redis_from_broker
from devstack.ports import any_port
from tests.support.apunto import Apunto
from tests.support.builders import an_invoice
from tests.support.receiver import Answer, Receiver, Request

FULL = os.environ.get("TIMBRADO_FULL") == "1"
COUNT = 300 if FULL else 60
SECRETS = ["whsec_" + base64.b64encode(word * 4).decode() for word in (b"timbrado", b"timbrad2")]
QUEUE = "apunto"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600 if FULL else 180)]


class EventStack:
    """A worker that tells by webhook and by message, and a clock in the test's hand."""

    def __init__(self, make_stack: Callable[..., Any], folder: Path) -> None:
        self.port = any_port()
        self.clock = folder / "clock"
        self.shift = timedelta()
        self.stack = make_stack(
            env={
                "TIMBRADO_WEBHOOK_URL": f"http://127.0.0.1:{self.port}/hooks/timbrado",
                "TIMBRADO_WEBHOOK_SECRET": ",".join(SECRETS),
                "TIMBRADO_WEBHOOK_HOSTS": "127.0.0.1",
                "TIMBRADO_EVENTS_TASK": "apunto.stamping_event",
                "TIMBRADO_EVENTS_QUEUE": QUEUE,
                "TIMBRADO_TEST_CLOCK_FILE": str(self.clock),
            }
        )
        self.apunto = Apunto(self.stack)
        self.broker = redis.Redis.from_url(redis_from_broker(self.stack.broker_url))
        self.receiver: Receiver | None = None

    def listen(self, manners: "Moody") -> Receiver:
        """From now on somebody listens; with these manners."""
        if self.receiver is None:
            self.receiver = Receiver(manners, port=self.port)
        self.receiver.manners = manners
        return self.receiver

    def close(self) -> None:
        if self.receiver is not None:
            self.receiver.close()
        self.apunto.close()
        self.broker.close()

    def later(self, **times: float) -> None:
        """Let time pass for the worker."""
        self.shift += timedelta(**times)
        self.clock.with_suffix(".new").write_text(str(self.shift.total_seconds()))
        self.clock.with_suffix(".new").rename(self.clock)

    def trigger(self) -> None:
        """What beat does every five seconds, eight deliverers at once."""
        for _ in range(8):
            self.apunto.app.send_task("stamping.deliver_events", queue="events")

    def waiting(self, channel: str = "webhook") -> int:
        (row,) = self.apunto.query(
            "SELECT count(*) AS n FROM deliveries WHERE channel = :channel AND status = 'pending'",
            channel=channel,
        )
        return int(row.n)

    def in_flight(self) -> int:
        (row,) = self.apunto.query("SELECT count(*) AS n FROM deliveries WHERE claimed_until IS NOT NULL")
        return int(row.n)

    def deliver_all(self, seconds: float) -> None:
        """Enqueue and let time pass, eleven minutes a round, until nothing waits."""
        deadline = time.monotonic() + seconds
        while left := self.waiting():
            assert time.monotonic() < deadline, f"{left} notices still wait"
            if not self.in_flight():  # whose lease a leap of the clock would end
                self.later(minutes=11)
                self.trigger()
            time.sleep(0.2)

    def messages(self) -> dict[str, Any]:
        """What lies in Apunto's own queue: the `event` argument of each message by its `event_id`."""
        found: dict[str, Any] = {}
        for raw in self.broker.lrange(QUEUE, 0, -1):
            message = json.loads(raw)
            _, kwargs, _ = json.loads(base64.b64decode(message["body"]))
            assert message["headers"]["task"] == "apunto.stamping_event"
            assert message["headers"]["kwargsrepr"] == "(hidden)"
            assert message["headers"]["id"] == kwargs["event_id"]
            found[kwargs["event_id"]] = kwargs["event"]
        return found


@pytest.fixture(scope="module")
def event_stack(
    make_stack: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EventStack]:
    made = EventStack(make_stack, tmp_path_factory.mktemp("clock"))
    yield made
    made.close()


class Moody:
    """A receiver that takes what it likes; what it took is remembered, and whether two of one subject met in it."""

    def __init__(self, seed: int, faults: float) -> None:
        self.chance = random.Random(seed)
        self.faults = faults
        self.hangs = int(FULL)
        self.lock = threading.Lock()
        self.taken: list[Request] = []
        self.inside: dict[str, int] = {}
        self.met: list[str] = []

    def __call__(self, request: Request) -> Answer:
        subject = subject_of(request.event["data"])
        with self.lock:
            self.inside[subject] = self.inside.get(subject, 0) + 1
            if self.inside[subject] > 1:
                self.met.append(subject)
            luck = self.chance.random()
            hang = luck > 0.5 and self.hangs > 0 and len(self.taken) > 20
            self.hangs -= hang
            answer = self._answer(luck, hang, request)
        time.sleep(0.002)
        with self.lock:
            self.inside[subject] -= 1
        return answer

    def _answer(self, luck: float, hang: bool, request: Request) -> Answer:
        if hang:
            return Answer(204, hang=30)
        if luck >= self.faults:
            self.taken.append(request)
            return Answer(204)
        if luck < self.faults * 0.2:
            self.taken.append(request)
            return Answer(0)  # it has it, and the answer is lost: it comes again
        if luck < self.faults * 0.6:
            return Answer(500, body=b"lo siento")
        if luck < self.faults * 0.8:
            return Answer(302, {"Location": "/elsewhere"})
        return Answer(429, {"Retry-After": "30"})


def subject_of(data: dict[str, Any]) -> str:
    return str(data.get("invoice_id") or data.get("connection_id"))


def truth_by(events: list[dict[str, Any]]) -> dict[str, str]:
    """What somebody knows who applies events by version, whatever the order in which they came."""
    known: dict[str, tuple[int, str]] = {}
    for event in events:
        data = event["data"]
        if data["version"] > known.get(subject_of(data), (0, ""))[0]:
            known[subject_of(data)] = (data["version"], data["status"])
    return {subject: status for subject, (_, status) in known.items()}


def a_busy_day(event_stack: EventStack) -> list[str]:
    """Invoices good and bad, sent twice, in conflict, cancelled, lost on the way; their accounts, once all stand."""
    apunto, sandbox = event_stack.apunto, event_stack.stack.sandbox
    accounts = [apunto.open_account() for _ in range(3)]
    sandbox.play("drop_after", account=accounts[0], call="stamp", times=3, after=2)
    sandbox.play("drop_after", account=accounts[1], call="cancel", times=2)
    sandbox.play("pdf_late", account=accounts[2], call="stamp", times=4, seconds=3)
    sent = []
    for number in range(COUNT):
        raw = an_invoice(account=accounts[number % 3], external_id=f"OP-{number}", fecha=None)
        if number % 10 == 3:
            raw["total"] = "1.00"
        sent.append(raw)
    apunto.submit(sent)
    apunto.submit(sent[::7])
    wanted = {account: len(sent[place::3]) for place, account in enumerate(accounts)}
    for account, count in wanted.items():
        apunto.until(account, {"stamped", "rejected"}, count, seconds=240 if FULL else 90, every=0.3)
    apunto.submit([{**raw, "forma_pago": "01"} for raw in sent[5::20]])
    for raw in sent[::10]:
        apunto.send(
            "stamping.cancel_invoice", account=raw["account"], external_id=raw["external_id"], motivo="02"
        )
    asked = Counter(raw["account"] for raw in sent[::10])
    for account, count in asked.items():
        apunto.until(account, {"cancelled"}, count, seconds=120, every=0.3)
    return accounts


def test_a_dead_receiver_holds_up_no_invoice_and_knows_all_once_it_is_back(event_stack: EventStack) -> None:
    """Nobody listens while everything happens; then a receiver with every fault; in the end it knows what is true.

    A day passes in between. No two notices of one subject are ever with it at once, every signature holds under both
    secrets, and Apunto's own queue has the very same objects.
    """
    apunto = event_stack.apunto
    accounts = a_busy_day(event_stack)
    assert event_stack.waiting() > COUNT
    (endpoint,) = apunto.query("SELECT failures FROM endpoints WHERE channel = 'webhook'")
    assert endpoint.failures >= 1
    event_stack.later(hours=25)

    moody = Moody(seed=2026, faults=0.3)
    receiver = event_stack.listen(moody)
    event_stack.deliver_all(seconds=400 if FULL else 120)

    rows = [row for account in accounts for row in apunto.rows(account).values()]
    emitted = apunto.query("SELECT id, data FROM events")
    truth = {str(row.id): row.status for row in rows}
    known = truth_by([request.event for request in moody.taken])
    assert len(rows) == COUNT
    assert {each.status for each in rows} == {"stamped", "rejected", "cancelled"}
    assert {invoice: known.get(invoice) for invoice in truth} == truth
    assert {request.headers["webhook-id"] for request in moody.taken} == {str(each.id) for each in emitted}
    assert moody.met == []
    assert len(receiver.requests) > len(emitted)
    for request in receiver.requests[:: max(1, len(receiver.requests) // 50)]:
        signed_at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
        good = {
            Webhook(secret).sign(request.headers["webhook-id"], signed_at.replace(tzinfo=None), request.body)
            for secret in SECRETS
        }
        assert set(request.headers["webhook-signature"].split(" ")) == good

    messages = event_stack.messages()
    assert set(messages) == {str(each.id) for each in emitted}
    by_hook = {request.headers["webhook-id"]: request.event for request in moody.taken}
    assert messages == by_hook


def test_where_the_receiver_is_well_it_is_notified_within_a_moment(event_stack: EventStack) -> None:
    """A user who looks at Apunto's screen sees the stamp before he has asked for it."""
    apunto = event_stack.apunto
    calm = Moody(seed=1, faults=0)
    calm.hangs = 0
    event_stack.listen(calm)
    event_stack.deliver_all(seconds=60)
    sandbox = event_stack.stack.sandbox
    sandbox.move_clock(event_stack.shift.total_seconds())
    try:
        account = apunto.open_account()
        apunto.until_true(lambda: len(calm.taken), lambda n: n >= 1, 20)
        apunto.submit([an_invoice(account=account, external_id="NOW", fecha=None)])
        received = apunto.until_true(
            lambda: [each.event["type"] for each in calm.taken if each.event["data"].get("external_id")],
            lambda kinds: len(kinds) >= 2,
            20,
        )
    finally:
        sandbox.move_clock(0)

    assert received == ["invoice.accepted", "invoice.stamped"]
