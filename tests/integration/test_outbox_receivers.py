"""Outbox, webhook and a real receiver with bad manners: in the end it has every event, and knows the truth.

Hours are arguments: the clock is moved by the test, and only what hangs waits for real, for some tenths of a
second.
"""

import base64
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
import uuid_utils.compat as uuids
from standardwebhooks import Webhook

from events import channels, dispatch, endpoints, outbox
from events.types import InvoiceData
from events.webhook import WebhookSender
from models.tables import deliveries
from models.vocabulary import Channel
from tests.support.receiver import Answer, Receiver, Request, receiving

SECRET = "whsec_" + base64.b64encode(b"timbrado" * 4).decode()
HOOK = Channel.WEBHOOK

PROGRESS = ("accepted", "in_doubt", "stamped", "cancelled")


@pytest.fixture
def engine(database_url):
    engine = sa.create_engine(database_url, pool_size=10)
    yield engine
    engine.dispose()


class Office:
    """Emits and delivers with a clock that a test moves."""

    def __init__(self, engine: sa.Engine, url: str, whole_call: float = 1.0) -> None:
        self.engine = engine
        self.started_at = datetime.now(UTC)  # receivers refuse signatures that are old by their own clock
        self.now = self.started_at
        self.sender = WebhookSender(
            url, [SECRET], allowed_hosts=["127.0.0.1"], whole_call=timedelta(seconds=whole_call)
        )
        self.chance = random.Random(7)

    def emit(self, invoice: UUID, version: int, status: str) -> UUID:
        data = InvoiceData(
            account="acme",
            external_id=f"OP-{invoice.hex[-6:]}",
            invoice_id=invoice,
            version=version,
            status=status,
            message="Factura timbrada.",
        )
        event = outbox.Event(
            subject_kind="invoice",
            subject_id=invoice,
            account="acme",
            external_id=data.external_id,
            version=version,
            type=f"invoice.{status}",
            data=data.as_dict(),
        )
        with self.engine.begin() as db:
            channels.set_current(db, [HOOK], self.now)
            return outbox.emit(db, [event], now=self.now)[0]

    def deliver(self, **other: object) -> dispatch.Round:
        return dispatch.deliver_due(
            self.engine,
            HOOK,
            lambda outgoing, _: self.sender.send(outgoing, datetime.now(UTC)),
            address=self.sender.address,
            clock=lambda: self.now,
            chance=self.chance.random,
            **other,  # type: ignore[arg-type]
        )

    def deliver_by(self, threads: int, **other: object) -> None:
        with ThreadPoolExecutor(threads) as pool:
            for future in [pool.submit(self.deliver, **other) for _ in range(threads)]:
                future.result()

    def waiting(self) -> dict[str, int]:
        with self.engine.begin() as db:
            return {each.status: each.count for each in outbox.backlogs(db)}


@pytest.fixture
def office(engine):
    offices = []

    def make(url: str, **other: float) -> Office:
        offices.append(Office(engine, url, **other))
        return offices[-1]

    yield make
    for each in offices:
        each.sender.close()


def seen_by(receiver: Receiver) -> list[tuple[UUID, int]]:
    """Subject and version of each request, in order of arrival."""
    return [
        (UUID(request.event["data"]["invoice_id"]), request.event["data"]["version"])
        for request in receiver.requests
    ]


def truth_of(requests: list[Request]) -> dict[UUID, str]:
    """What a receiver knows that applies events by version, as the contract tells it to."""
    known: dict[UUID, tuple[int, str]] = {}
    for request in requests:
        data = request.event["data"]
        invoice = UUID(data["invoice_id"])
        if data["version"] > known.get(invoice, (0, ""))[0]:
            known[invoice] = (data["version"], data["status"])
    return {invoice: status for invoice, (_, status) in known.items()}


def test_where_the_receiver_is_up_it_gets_everything_once_and_in_order(office):
    """Four processes deliver ten invoices' events: each once, each invoice's in order."""
    with receiving() as receiver:
        app = office(receiver.url)
        invoices = [uuids.uuid7() for _ in range(10)]
        for version, status in enumerate(PROGRESS, 1):
            for invoice in invoices:
                app.emit(invoice, version, status)
        app.now += timedelta(seconds=1)
        app.deliver_by(4)

        seen = seen_by(receiver)
    assert len(seen) == len(set(seen)) == 40
    for invoice in invoices:
        assert [version for each, version in seen if each == invoice] == [1, 2, 3, 4]


def test_a_receiver_that_was_down_for_a_day_gets_every_event(office, engine):
    """Nobody listens for a day; when somebody does, one success brings all that waited."""
    with receiving() as before:
        pass  # its port is free again
    app = office(before.url)
    invoices = [uuids.uuid7() for _ in range(25)]
    for hour in range(24):
        app.emit(invoices[hour], 1, "accepted")
        for _ in range(6):
            app.now += timedelta(minutes=10)
            app.deliver()
    assert app.waiting() == {"pending": 24}

    receiver = Receiver(lambda _: Answer(204), port=before.port)
    try:
        app.now += timedelta(minutes=1)
        app.emit(invoices[24], 1, "accepted")
        for _ in range(3):  # the first success shortens the waits; then five minutes at most
            app.now += timedelta(minutes=5)
            app.deliver(limit=100)

        assert app.waiting() == {}
        assert {invoice for invoice, _ in seen_by(receiver)} == set(invoices)
    finally:
        receiver.close()


@pytest.mark.parametrize(
    ("manners", "why"),
    [
        (Answer(500, body=b"lo siento"), "HTTP 500: lo siento"),
        (Answer(302, {"Location": "/login"}), "redirects are not followed"),
        (Answer(0), "the connection broke"),
        (Answer(200, hang=20), "no answer within"),
    ],
    ids=["500", "redirect", "cut", "hang"],
)
def test_a_receiver_with_bad_manners_gets_it_when_it_learns_better(office, engine, manners, why):
    """Error, redirect, cut and hang are recorded, and the same id arrives later."""
    polite = threading.Event()
    with receiving(lambda _: Answer(204) if polite.is_set() else manners) as receiver:
        app = office(receiver.url, whole_call=0.25)
        event_id = app.emit(uuids.uuid7(), 1, "stamped")
        app.now += timedelta(seconds=1)
        assert app.deliver().failed == 1
        with engine.begin() as db:
            entry = outbox.show(db, event_id)
        assert entry.deliveries[0].last_error.startswith(why)
        polite.set()
        app.now += timedelta(seconds=6)
        assert app.deliver().delivered == 1

        assert {request.headers["webhook-id"] for request in receiver.requests} == {str(event_id)}
        for request in receiver.requests:
            Webhook(SECRET).verify(request.body, request.headers)


def test_a_receiver_that_moved_away_is_left_alone_until_its_address_changes(office, engine):
    """After 410 nothing is sent there; the new address gets all of it."""
    with receiving(Answer(410)) as old, receiving() as new:
        app = office(old.url)
        for _ in range(3):
            app.emit(uuids.uuid7(), 1, "stamped")
        app.now += timedelta(seconds=1)
        assert app.deliver().gone == 1
        app.now += timedelta(days=2)
        assert app.deliver().tried == 0
        with engine.begin() as db:
            assert endpoints.state(db, HOOK).disabled_at is not None

        app.sender.close()
        app.sender = WebhookSender(new.url, [SECRET], allowed_hosts=["127.0.0.1"])
        assert app.deliver().delivered == 3
        assert len(old.requests) == 1


def test_no_transaction_is_open_while_a_receiver_is_waited_for(office, engine):
    """A receiver that hangs holds no lock and no connection of the database."""
    asked = threading.Event()
    open_meanwhile: list[int] = []

    def manners(_: Request) -> Answer:
        with engine.connect() as db:
            open_meanwhile.append(
                db.execute(
                    sa.text(
                        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                        "AND pid <> pg_backend_pid() AND xact_start IS NOT NULL AND backend_type = 'client backend'"
                    )
                ).scalar_one()
            )
        asked.set()
        return Answer(204)

    with receiving(manners) as receiver:
        app = office(receiver.url)
        app.emit(uuids.uuid7(), 1, "stamped")
        app.now += timedelta(seconds=1)
        app.deliver()

    assert asked.is_set()
    assert open_meanwhile == [0]


def test_300_invoices_are_known_truly_after_chaos(office, engine):
    """A receiver that is down for a day, fails, cuts, redirects and answers twice for one, while 300 invoices
    unfold.

    Three deliverers work at once. What it applies by version in the end is what is true, nothing is lost, and
    no two notices of one invoice were ever with it at the same time.
    """
    chance = random.Random(2026)
    lock = threading.Lock()
    down_until = timedelta(hours=26)
    inside: dict[str, int] = {}
    together: list[str] = []
    accepted: list[Request] = []

    def manners(request: Request) -> Answer:
        invoice = request.event["data"]["invoice_id"]
        with lock:
            inside[invoice] = inside.get(invoice, 0) + 1
            if inside[invoice] > 1:
                together.append(invoice)
            luck = chance.random()
            down = timedelta(hours=2) < app.now - app.started_at < down_until
            if down:
                answer = Answer(503)
            elif luck < 0.70:
                accepted.append(request)
                answer = Answer(204)
            elif luck < 0.80:
                accepted.append(request)  # it has it, but the answer is lost: it will come again
                answer = Answer(0)
            elif luck < 0.90:
                answer = Answer(500)
            elif luck < 0.95:
                answer = Answer(307, {"Location": "/elsewhere"})
            else:
                answer = Answer(429, {"Retry-After": "60"})
            inside[invoice] -= 1
            return answer

    with receiving(manners) as receiver:
        app = office(receiver.url)
        invoices = [uuids.uuid7() for _ in range(300)]
        true: dict[UUID, str] = {}
        reported = 0
        for invoice in invoices:
            true[invoice] = chance.choice(PROGRESS)
        histories = [
            (invoice, version, status)
            for invoice in invoices
            for version, status in enumerate(PROGRESS[: PROGRESS.index(true[invoice]) + 1], 1)
        ]
        # Invoices go on side by side, each in its own order, over three hours.
        histories.sort(key=lambda history: (history[1] + chance.random() * 0.9, history[0]))
        for number, (invoice, version, status) in enumerate(histories):
            app.emit(invoice, version, status)
            reported += 1
            if number % 50 == 49:
                app.now += timedelta(minutes=10)
                app.deliver_by(3, limit=60)
        for _ in range(400):
            if not app.waiting():
                break
            app.now += timedelta(minutes=11)
            app.deliver_by(3, limit=400)

    assert app.waiting() == {}
    assert together == []
    with engine.begin() as db:
        settled = db.execute(
            sa.select(sa.func.count()).where(deliveries.c.status == "delivered")
        ).scalar_one()
    assert settled == reported
    assert {UUID(request.event["data"]["invoice_id"]) for request in accepted} == set(invoices)
    assert truth_of(accepted) == true
    assert {request.headers["webhook-id"] for request in accepted} == {
        r.headers["webhook-id"] for r in receiver.requests
    }
