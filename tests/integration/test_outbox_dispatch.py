"""The outbox on a real PostgreSQL: who may be sent, in which order, and how a try ends. Time is an
argument."""

import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
import sqlalchemy as sa
import uuid_utils.compat as uuids

from events import channels, dispatch, endpoints, outbox
from events.delivery import ClaimedDelivery, Delivered, DeliveryFailed, Gone, Outcome, Outgoing
from events.schedule import LIFETIME, SCHEDULE
from models.tables import deliveries
from models.vocabulary import Channel

T0 = datetime(2026, 11, 23, 16, 0, tzinfo=UTC)
HOOK = Channel.WEBHOOK
ADDRESS = "https://control.example/hooks"
OK = Delivered(204, timedelta(milliseconds=12))
BROKEN = DeliveryFailed(500, "HTTP 500: no", timedelta(milliseconds=9))


@pytest.fixture
def engine(database_url):
    engine = sa.create_engine(database_url)
    yield engine
    engine.dispose()


class World:
    """An outbox with a clock of its own; what was sent is in `sent`, as (subject, version)."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.now = T0
        self.sent: list[tuple[UUID, int]] = []
        self.says: Outcome | None = OK
        self.failures = 0

    def emit(self, subject: UUID, *versions: int, over: tuple[Channel, ...] = (HOOK,)) -> list[UUID]:
        several = [
            outbox.Event(
                subject_kind="invoice",
                subject_id=subject,
                account="acme",
                external_id=f"OP-{subject.hex[-4:]}",
                version=version,
                type="invoice.accepted",
                data={"version": version, "invoice_id": str(subject)},
            )
            for version in versions
        ]
        with self.engine.begin() as db:
            channels.set_current(db, over, self.now)
            return outbox.emit(db, several, now=self.now)

    def claim_all(self, **other: object) -> list[ClaimedDelivery]:
        with self.engine.begin() as db:
            batch, self.failures = dispatch.claim(db, HOOK, address=ADDRESS, now=self.now, **other)  # type: ignore[arg-type]
            return batch

    def claim(self, **other: object) -> ClaimedDelivery | None:
        return next(iter(self.claim_all(limit=1, **other)), None)

    def settle_all(self, *results: dispatch.Result) -> list[str]:
        with self.engine.begin() as db:
            return dispatch.settle(
                db, HOOK, results, now=self.now, chance=lambda: 0.5, failures=self.failures
            )

    def settle(self, claimed, outcome: Outcome) -> str:
        (end,) = self.settle_all((claimed, outcome))
        return end

    def send(self, outgoing: Outgoing, now: datetime) -> Outcome:
        self.sent.append((UUID(outgoing.event["data"]["invoice_id"]), outgoing.event["data"]["version"]))
        return self.says

    def deliver(self, send=None, **other: object) -> dispatch.Round:
        return dispatch.deliver_due(
            self.engine,
            HOOK,
            send or self.send,
            address=ADDRESS,
            clock=lambda: self.now,
            chance=lambda: 0.5,
            **other,  # type: ignore[arg-type]
        )

    def row(self, event_id: UUID):
        with self.engine.begin() as db:
            return db.execute(sa.select(deliveries).where(deliveries.c.event_id == event_id)).one()

    def later(self, **delta: float) -> None:
        self.now += timedelta(**delta)


@pytest.fixture
def world(engine) -> World:
    return World(engine)


def test_a_delivery_is_sent_once_and_its_history_is_kept(world):
    """A notice is sent once and its story is kept."""
    invoice = uuids.uuid7()
    (event_id,) = world.emit(invoice, 1)
    world.later(seconds=1)

    assert world.deliver().delivered == 1
    assert world.deliver().tried == 0
    assert world.sent == [(invoice, 1)]
    with world.engine.begin() as db:
        entry = outbox.show(db, event_id)
    assert entry is not None
    (delivery,) = entry.deliveries
    assert (delivery.status, delivery.tries, delivery.last_status, delivery.latency_ms) == (
        "delivered",
        1,
        204,
        12,
    )
    assert delivery.delivered_at == world.now


def test_an_event_of_a_commit_that_failed_is_never_sent(world):
    """What was not made true does not leave."""
    event = outbox.Event(
        subject_kind="invoice",
        subject_id=uuids.uuid7(),
        account="acme",
        external_id="1",
        version=1,
        type="invoice.stamped",
        data={},
    )
    with world.engine.connect() as db, db.begin() as commit:
        channels.set_current(db, (HOOK,), world.now)
        outbox.emit(db, [event], now=world.now)
        commit.rollback()

    world.later(seconds=1)
    assert world.deliver().tried == 0


def test_a_subjects_deliveries_leave_in_order(world):
    """A subjects notices leave in order."""
    one, other = uuids.uuid7(), uuids.uuid7()
    world.emit(one, 1, 2, 3)
    world.emit(other, 1)
    world.emit(one, 4)
    world.later(seconds=1)

    world.deliver()

    assert [version for subject, version in world.sent if subject == one] == [1, 2, 3, 4]
    assert len(world.sent) == 5


def test_only_one_delivery_of_a_subject_is_in_flight(world):
    """Only one notice of a subject is in flight."""
    world.emit(uuids.uuid7(), 1, 2)
    world.later(seconds=1)
    first = world.claim()

    assert first.version == 1
    assert world.claim() is None
    world.settle(first, OK)
    assert world.claim().version == 2


def test_an_older_delivery_that_was_never_tried_goes_first(world):
    """Even where its own time comes a little later, as with two hosts whose clocks differ."""
    invoice = uuids.uuid7()
    world.later(seconds=2)
    world.emit(invoice, 1)
    world.later(seconds=-1)
    world.emit(invoice, 2)
    world.later(milliseconds=500)

    assert world.claim() is None
    world.later(seconds=1)
    assert world.claim().version == 1


def test_one_that_waits_in_its_backoff_holds_nobody_up(world):
    """A newer event of the invoice goes first, and never two of one invoice at once."""
    invoice = uuids.uuid7()
    world.emit(invoice, 1)
    world.later(seconds=1)
    assert world.settle(world.claim(), BROKEN) == "failed"
    world.emit(invoice, 2)
    world.later(seconds=1)

    newer = world.claim()
    assert newer.version == 2
    world.later(seconds=10)  # the older one's wait is over, but the newer one is in flight
    assert world.claim() is None
    world.settle(newer, OK)
    assert world.claim().version == 1


def test_claims_that_overlap_never_take_two_deliveries_of_one_subject(world):
    """The second can't see the first's row change yet: it has to wait for it, locked rows or not."""
    invoice = uuids.uuid7()
    world.emit(invoice, 1)
    world.later(seconds=1)
    world.settle(world.claim(), BROKEN)
    world.emit(invoice, 2)
    world.later(seconds=1)
    seconds: list[object] = []
    with world.engine.connect() as db, db.begin() as commit:
        (first,), _ = dispatch.claim(db, HOOK, address=ADDRESS, now=world.now)
        world.later(seconds=10)  # by now the older one's wait is over too
        thread = threading.Thread(target=lambda: seconds.append(world.claim()))
        thread.start()
        thread.join(0.3)
        commit.commit()
    thread.join()

    assert first.version == 2
    assert seconds == [None]


def test_the_published_schedule_is_kept_and_ends_visibly(world):
    """Ten tries, each after its published wait; then `dead`, with its last error, and replayable."""
    (event_id,) = world.emit(uuids.uuid7(), 1)
    tries = []
    while (row := world.row(event_id)).status == "pending":
        world.now = max(world.now, row.next_attempt_at)
        tries.append(world.now - T0)
        world.settle(world.claim(), BROKEN)

    waits = [after - before for before, after in pairwise(tries)]
    assert waits == list(SCHEDULE[1:])
    assert tries[-1] == LIFETIME
    assert (row.status, row.tries, row.last_status, row.last_error) == ("dead", 10, 500, "HTTP 500: no")
    with world.engine.begin() as db:
        assert [(each.status, each.count) for each in outbox.backlogs(db)] == [("dead", 1)]
        assert outbox.replay_dead(db, HOOK, now=world.now) == 1
    world.later(minutes=2)
    assert world.deliver().delivered == 1


def test_a_settlement_that_comes_late_changes_nothing(world):
    """The lease ended and another deliverer holds the notice: the fence keeps the first one out."""
    (event_id,) = world.emit(uuids.uuid7(), 1)
    world.later(seconds=1)
    first = world.claim(lease=timedelta(seconds=60))
    assert world.claim() is None
    world.later(seconds=61)
    second = world.claim()

    assert second.claim == first.claim + 1
    assert world.settle(first, BROKEN) == "late"
    assert world.settle(second, OK) == "delivered"
    assert world.settle(second, BROKEN) == "late"
    assert world.row(event_id).status == "delivered"


def test_retry_after_is_respected(world):
    """A 429's Retry-After sets the next try, to the second."""
    (event_id,) = world.emit(uuids.uuid7(), 1)
    world.later(seconds=1)
    world.settle(world.claim(), DeliveryFailed(429, "HTTP 429", timedelta(), timedelta(minutes=10)))

    assert world.row(event_id).next_attempt_at == world.now + timedelta(minutes=10)


def test_the_first_success_brings_what_waits_forward(world):
    """A receiver that was away for a moment learns all it missed with the first event that reaches it."""
    (missed,) = world.emit(uuids.uuid7(), 1)
    world.says = BROKEN
    for _ in range(2):  # at once, and after five seconds: the next try would come in five minutes
        world.later(seconds=6)
        world.deliver()
    world.says = OK
    world.later(seconds=10)
    assert world.deliver().tried == 0
    world.emit(uuids.uuid7(), 1)
    world.later(milliseconds=1)

    assert world.deliver().delivered == 2
    assert world.row(missed).status == "delivered"


def test_a_success_shortens_the_waits_of_its_endpoint(world):
    """After an outage nothing waits for hours: due now, but five minutes at least after its own last try."""
    several = [*world.emit(uuids.uuid7(), 1), *world.emit(uuids.uuid7(), 1)]
    world.says = BROKEN
    world.later(seconds=1)
    world.deliver()
    with world.engine.begin() as db:
        db.execute(sa.update(deliveries).values(tries=4, next_attempt_at=world.now + timedelta(hours=5)))
    world.says = OK
    world.later(minutes=4)
    world.emit(uuids.uuid7(), 1)
    world.later(seconds=1)

    assert world.deliver().delivered == 1
    world.later(minutes=1)
    assert world.deliver().delivered == 2
    assert {world.row(each).status for each in several} == {"delivered"}


def test_after_an_outage_what_is_new_does_not_wait_for_the_whole_backlog(world):
    """Every second place of a batch is for what became due within the last minute."""
    old = {world.emit(uuids.uuid7(), 1)[0] for _ in range(100)}
    world.later(minutes=10)
    new = {world.emit(uuids.uuid7(), 1)[0] for _ in range(10)}
    world.later(milliseconds=1)

    batch = [each.outgoing.id for each in world.claim_all()]

    assert len(batch) == dispatch.BATCH
    assert set(batch[:20]) >= new
    assert len(set(batch) & old) == dispatch.BATCH - len(new)


def test_a_batch_holds_one_event_of_a_subject(world):
    """However many are due, one is in flight; the batch has the first of each."""
    for _ in range(3):
        world.emit(uuids.uuid7(), 1, 2, 3)
    world.later(seconds=1)

    batch = world.claim_all()

    assert [each.version for each in batch] == [1, 1, 1]
    assert len({each.subject_id for each in batch}) == 3
    assert world.claim_all() == []
    assert world.settle_all(*((each, OK) for each in batch)) == ["delivered"] * 3
    assert [each.version for each in world.claim_all()] == [2, 2, 2]


def test_what_a_batch_did_not_come_to_is_released(world):
    """It keeps its place and its number of tries, and is due at once."""
    world.emit(uuids.uuid7(), 1)
    (event_id,) = world.emit(uuids.uuid7(), 1)
    world.later(seconds=1)
    sent, left = world.claim_all()

    assert world.settle_all((sent, OK), (left, None)) == ["delivered"]
    row = world.row(event_id)
    assert (row.status, row.tries, row.claimed_until, row.next_attempt_at) == ("pending", 0, None, T0)
    assert world.deliver().delivered == 1


def test_a_slow_receiver_is_sent_to_by_several_threads_and_holds_no_lease_too_long(world):
    """A batch begins no call after its budget: what is left is released before any lease ends."""
    for _ in range(40):
        world.emit(uuids.uuid7(), 1)
    world.later(seconds=1)
    lock = threading.Lock()
    threads: set[int] = set()
    starts: list[datetime] = []

    def send(outgoing: Outgoing, now: datetime) -> Outcome:
        with lock:
            threads.add(threading.get_ident())
            starts.append(now)
            world.later(milliseconds=120)
        threading.Event().wait(0.02)
        return Delivered(204, timedelta(milliseconds=120))

    began = world.now
    with world.engine.begin() as db:
        batch, failures = dispatch.claim(db, HOOK, address=ADDRESS, now=world.now)
    sending = dispatch._Sending(batch, send, lambda: world.now, failures)
    sending.run(dispatch.THREADS)

    assert 1 < len(threads) <= dispatch.THREADS
    assert max(starts) - began < dispatch.BUDGET + timedelta(milliseconds=120 * dispatch.THREADS)
    assert {None} == {outcome for _, outcome in sending.results[len(starts) :]}
    assert len(sending.results) == 40


def test_an_event_leaves_over_the_installations_channels_whoever_wrote_it(world):
    """Plain SQL, and a process that knows of no channel, write events that are delivered like any other."""
    world.emit(uuids.uuid7(), 1)  # the channels are set by now
    with world.engine.begin() as db:
        db.execute(
            sa.text(
                "INSERT INTO events (id, subject_kind, subject_id, account, version, type, data, created_at) "
                "VALUES (gen_random_uuid(), 'connection', gen_random_uuid(), 'acme', 1, 'connection.active', "
                "jsonb_build_object('version', 1, 'invoice_id', gen_random_uuid()), :now)"
            ),
            {"now": world.now},
        )
    world.later(seconds=1)

    assert world.deliver().delivered == 2


def test_what_was_written_before_the_first_worker_ran_is_delivered_too(world):
    """`timbrado connect` before the first start: its event waits for the channels that the first worker sets."""
    subject = uuids.uuid7()
    with world.engine.begin() as db:
        data = {"version": 1, "invoice_id": str(subject)}
        event = outbox.Event(
            subject_kind="invoice", subject_id=subject, account="acme", external_id="1", version=1,
            type="invoice.accepted", data=data,
        )  # fmt: skip
        outbox.emit(db, [event], now=world.now)
        assert channels.set_current(db, (HOOK,), world.now) is None
    world.later(seconds=1)

    assert world.deliver().delivered == 1
    with world.engine.begin() as db:
        assert channels.set_current(db, (HOOK, Channel.CELERY), world.now) == (HOOK,)
        assert channels.current(db) == (HOOK, Channel.CELERY)
    assert world.deliver().tried == 0


def test_one_that_the_receiver_refuses_is_not_hammered_with_its_successes(world):
    """A receiver that is up and refuses one notice sees it every five minutes at most, and never dead before
    time."""
    refused = uuids.uuid7()
    (event_id,) = world.emit(refused, 1)
    tries = []

    def receiver(outgoing: Outgoing, now: datetime) -> Outcome:
        if UUID(outgoing.event["data"]["invoice_id"]) == refused:
            tries.append(now)
            return BROKEN
        return OK

    for _ in range(60):  # an hour, an event a minute
        world.later(minutes=1)
        world.emit(uuids.uuid7(), 1)
        world.later(milliseconds=1)
        world.deliver(receiver)

    waits = [after - before for before, after in pairwise(tries)]
    assert 6 < len(tries) <= 14
    assert min(waits[2:]) >= timedelta(minutes=5)
    assert world.row(event_id).status == "pending"


def test_a_dead_receiver_is_knocked_at_gently(world):
    """After five failures in a row one notice at a time asks, with pauses that grow to a minute."""
    for _ in range(50):
        world.emit(uuids.uuid7(), 1)
    world.says = BROKEN
    tried = []
    for _ in range(200):  # ten minutes, a message every three seconds
        world.later(seconds=3)
        tried.append(world.deliver().tried)

    assert tried[0] == endpoints.FAILING
    assert sum(tried) < 20
    assert max(tried[1:]) == 1

    world.says = OK
    world.later(seconds=61)
    sent = world.deliver(limit=500)
    world.later(minutes=5)
    assert sent.delivered + world.deliver(limit=500).delivered == 50


def test_a_receiver_that_begins_to_fail_ends_the_batch(world):
    """Five failures in a row, and the rest of the batch is released: it is not tried for nothing."""
    for _ in range(40):
        world.emit(uuids.uuid7(), 1)
    world.says = BROKEN
    world.later(seconds=1)

    assert world.deliver().failed == endpoints.FAILING
    with world.engine.begin() as db:
        untried = db.execute(sa.select(sa.func.count()).where(deliveries.c.tries == 0)).scalar_one()
        assert (
            db.execute(sa.select(sa.func.count()).where(deliveries.c.claimed_until.is_not(None))).scalar_one()
            == 0
        )
    assert untried == 40 - endpoints.FAILING


def test_410_switches_the_endpoint_off_until_it_is_enabled(world):
    """Nothing is tried for nine days, and all that waited arrives once it is enabled."""
    (event_id,) = world.emit(uuids.uuid7(), 1)
    world.emit(uuids.uuid7(), 1)
    world.says = Gone(timedelta(milliseconds=3))
    world.later(seconds=1)

    assert world.deliver().gone == 1
    world.says = OK
    world.later(days=9)
    assert world.deliver().tried == 0
    with world.engine.begin() as db:
        assert endpoints.state(db, HOOK).disabled_reason == "it answered 410 Gone"
        assert dispatch.enable(db, HOOK, world.now)
        assert not dispatch.enable(db, HOOK, world.now)
    assert world.deliver().delivered == 2
    assert world.row(event_id).tries == 2


def test_a_new_address_is_on_again_and_gets_what_waited_for_the_old_one(world):
    """Switched off or in a backoff of hours: neither is the new address's fault."""
    world.emit(uuids.uuid7(), 1)
    world.emit(uuids.uuid7(), 1)
    world.later(seconds=1)
    world.settle(world.claim(), DeliveryFailed(503, "HTTP 503", timedelta(), timedelta(hours=9)))
    world.settle(world.claim(), Gone(timedelta()))
    world.later(minutes=6)
    assert world.deliver().tried == 0

    done = []
    for _ in range(2):
        done.append(
            dispatch.deliver_due(
                world.engine,
                HOOK,
                world.send,
                address="https://new.example/hooks",
                clock=lambda: world.now,
                chance=lambda: 0.5,
            )
        )
        world.later(seconds=1)
    assert sum(each.delivered for each in done) == 2


def test_channels_go_their_own_ways(world):
    """One channel that is off or failing does not touch the other."""
    (event_id,) = world.emit(uuids.uuid7(), 1, over=(HOOK, Channel.CELERY))
    world.later(seconds=1)
    world.says = Gone(timedelta())
    world.deliver()

    sent = []
    done = dispatch.deliver_due(
        world.engine,
        Channel.CELERY,
        lambda outgoing, now: sent.append(outgoing.event) or Delivered(None, timedelta()),
        address="apunto apunto.stamping_event",
        clock=lambda: world.now,
        chance=lambda: 0.5,
    )

    assert done.delivered == 1
    assert sent[0]["type"] == "invoice.accepted"
    with world.engine.begin() as db:
        entry = outbox.show(db, event_id)
    assert {each.channel: each.status for each in entry.deliveries} == {
        "celery": "delivered",
        "webhook": "pending",
    }


def test_what_send_raises_is_a_failure_and_rises(world):
    """A bug is seen, and its notice still goes by its schedule."""
    (event_id,) = world.emit(uuids.uuid7(), 1)
    world.later(seconds=1)

    def buggy(outgoing: Outgoing, now: datetime) -> Outcome:
        raise RuntimeError("no such thing")

    with pytest.raises(RuntimeError):
        world.deliver(buggy)
    row = world.row(event_id)
    assert (row.status, row.last_error, row.claimed_until) == ("pending", "RuntimeError: no such thing", None)
    assert row.next_attempt_at == world.now + SCHEDULE[1]


def test_replay_sends_a_delivered_event_again_with_its_old_id(world):
    """The receiver can drop it by the id that it has seen; an unknown id is refused."""
    (event_id,) = world.emit(uuids.uuid7(), 1)
    world.later(seconds=1)
    ids = []
    remember = lambda outgoing, now: ids.append(outgoing.id) or OK  # noqa: E731
    world.deliver(remember)
    with world.engine.begin() as db:
        assert outbox.replay(db, event_id, channels=[HOOK], now=world.now)
        assert not outbox.replay(db, uuids.uuid7(), channels=[HOOK], now=world.now)
    world.deliver(remember)

    assert ids == [event_id, event_id]


def test_replay_reaches_a_channel_that_was_off_when_it_happened(world):
    """An event that no channel wanted is delivered after a replay to one."""
    (event_id,) = world.emit(uuids.uuid7(), 1, over=())
    world.later(seconds=1)
    assert world.deliver().tried == 0

    with world.engine.begin() as db:
        outbox.replay(db, event_id, channels=[HOOK], now=world.now)
    assert world.deliver().delivered == 1


def test_replay_of_one_in_flight_never_sends_it_twice_at_once(world):
    """The replay waits out the claim of the delivery that is under way."""
    (event_id,) = world.emit(uuids.uuid7(), 1)
    world.later(seconds=1)
    flying = world.claim()
    with world.engine.begin() as db:
        outbox.replay(db, event_id, channels=[HOOK], now=world.now)

    assert world.claim() is None
    assert world.settle(flying, OK) == "late"
    world.later(seconds=61)
    assert world.claim() is not None


def test_listing_filters_and_shows_the_newest_first(world):
    """By subject, account, id, type, status, channel and time, with a limit."""
    one, other = uuids.uuid7(), uuids.uuid7()
    world.emit(one, 1)
    world.later(seconds=1)
    world.emit(one, 2)
    world.emit(other, 1)
    world.later(seconds=1)
    world.settle(world.claim(), BROKEN)
    with world.engine.begin() as db:
        everything = outbox.list_events(db)
        assert [each.created_at for each in everything] == sorted(
            (e.created_at for e in everything), reverse=True
        )
        assert len(everything) == 3
        assert [each.version for each in outbox.list_events(db, subject_id=one)] == [2, 1]
        assert len(outbox.list_events(db, account="acme", external_id=f"OP-{other.hex[-4:]}")) == 1
        assert outbox.list_events(db, account="another") == []
        assert outbox.list_events(db, type_="invoice.stamped") == []
        assert len(outbox.list_events(db, status="pending", channel=HOOK)) == 3
        assert outbox.list_events(db, status="dead") == []
        assert len(outbox.list_events(db, before=T0 + timedelta(milliseconds=1))) == 1
        assert len(outbox.list_events(db, limit=2)) == 2
        assert outbox.show(db, uuids.uuid7()) is None


def test_a_round_says_when_there_is_more(world):
    """Cut at its limit a round reports more, and the last one does not."""
    for _ in range(5):
        world.emit(uuids.uuid7(), 1)
    world.later(seconds=1)

    assert world.deliver(limit=3).more
    assert not world.deliver(limit=3).more


def test_one_batch_leaves_a_subjects_second_event_to_the_next(world):
    """It says that there may be more: the deliverer looks again, a pause later, with what else has come by then."""
    subject = uuids.uuid7()
    world.emit(subject, 1)
    world.emit(subject, 2)
    world.later(seconds=1)
    rounds = [world.deliver(batches=1) for _ in range(3)]

    assert [(each.delivered, each.more) for each in rounds] == [(1, True), (1, True), (0, False)]


def test_two_deliverers_never_send_one_subject_at_once_nor_one_delivery_twice(world):
    """Eight threads with claims of their own on twelve subjects, for as long as there is anything to send."""
    subjects = [uuids.uuid7() for _ in range(12)]
    for subject in subjects:
        world.emit(subject, *range(1, 9))
    world.later(seconds=1)
    lock = threading.Lock()
    flying: set[UUID] = set()
    sent: list[tuple[UUID, int]] = []
    collisions: list[UUID] = []

    def send(outgoing: Outgoing, now: datetime) -> Outcome:
        subject = UUID(outgoing.event["data"]["invoice_id"])
        with lock:
            if subject in flying:
                collisions.append(subject)
            flying.add(subject)
            sent.append((subject, outgoing.event["data"]["version"]))
        threading.Event().wait(0.002)
        with lock:
            flying.discard(subject)
        return OK

    def work() -> None:
        while world.deliver(send, limit=100).tried:
            pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.deliver(send, limit=200)

    assert collisions == []
    assert len(sent) == len(set(sent)) == 12 * 8
    for subject in subjects:
        assert [version for each, version in sent if each == subject] == list(range(1, 9))


def test_what_came_while_the_clock_was_ahead_is_sent_once_it_is_right(world):
    """An event of that time, one that a killed process had in its hands, and those of an endpoint that failed then."""
    waits, in_hand, failing = uuids.uuid7(), uuids.uuid7(), uuids.uuid7()
    world.later(hours=5)
    world.emit(in_hand, 1)
    assert world.claim() is not None
    world.emit(failing, 1)
    for _ in range(endpoints.FAILING):
        world.settle(world.claim(), BROKEN)
        world.later(minutes=10)
    world.emit(waits, 1)
    world.now = T0
    world.deliver()
    assert world.sent == []

    with world.engine.begin() as db:
        dispatch.correct_instants(db, world.now)
    world.later(seconds=1)
    world.deliver()
    world.later(minutes=5)
    world.deliver()

    assert sorted(world.sent) == sorted([(waits, 1), (in_hand, 1), (failing, 1)])


def test_what_is_right_is_left_as_it_is(world):
    """Nothing that waits by the schedule, or is under way, is made due."""
    world.emit(uuids.uuid7(), 1)
    world.settle(world.claim(), BROKEN)
    world.emit(uuids.uuid7(), 1)
    assert world.claim() is not None
    with world.engine.begin() as db:
        before = db.execute(sa.select(deliveries).order_by(deliveries.c.event_id)).all()
        dispatch.correct_instants(db, world.now)
        after = db.execute(sa.select(deliveries).order_by(deliveries.c.event_id)).all()

    assert before == after
