"""Events as they happen: what listeners get, from where, and what they cost the database."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
import uuid_utils.compat as uuids

from api import live
from api.keys import Key
from api.live import Live
from events import feed, outbox
from models.tables import events

NOW = datetime(2026, 11, 23, 16, 0, tzinfo=UTC)
EVERYTHING = Key(uuids.uuid7(), "all", False, None, frozenset({"read"}), None)
MINE = Key(uuids.uuid7(), "mine", False, None, frozenset({"read"}), "mine")


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(database_url, pool_size=20)
    yield engine
    engine.dispose()


def emit(engine: sa.Engine, *names: str, account: str = "mine", kind: str = "invoice") -> list[UUID]:
    several = [
        outbox.Event(
            subject_kind=kind, subject_id=uuids.uuid7(), account=account, external_id=name, version=1,
            type="invoice.accepted", data={"external_id": name},
        )
        for name in names
    ]  # fmt: skip
    with engine.begin() as db:
        return outbox.emit(db, several, now=NOW)


async def received(listening: AsyncGenerator[feed.FeedEvent, None], count: int) -> list[str]:
    """The next events of a line, which is then closed; within 30 seconds."""
    found: list[str] = []

    async def listen() -> None:
        async with aclosing(listening) as events_of_line:
            async for each in events_of_line:
                found.append(each.event["data"]["external_id"])
                if len(found) == count:
                    return

    await asyncio.wait_for(listen(), 30)
    return found


def line(opened: Live, cursor: UUID, key: Key = EVERYTHING) -> AsyncGenerator[feed.FeedEvent, None]:
    with opened._reading() as db:
        place = feed.place_of(db, cursor)
    return opened.listen(place, key, lambda _: True)


def ran(opened: Live, work: Coroutine[Any, Any, Any]) -> Any:
    """What comes of some work; the reader has ended before the loop does, and given its connection back."""

    async def whole() -> Any:
        found = await work
        if opened._reader is not None:
            await opened._reader
        return found

    return asyncio.run(whole())


@pytest.fixture
def opened(engine: sa.Engine) -> Live:
    return Live(engine.connect, "https://x", every=0.02)


def test_a_line_begins_where_the_listener_left_off_and_goes_on(engine, opened):
    """What was missed comes from the table, then what happens: each once, in order, with no gap between."""
    cursor = emit(engine, "seen")[0]
    emit(engine, *(f"missed-{number}" for number in range(live.PAGE + 30)))

    async def run() -> list[str]:
        listening = line(opened, cursor)
        missed = await received(listening, live.PAGE + 30)
        listening = line(opened, emit(engine, "mark")[0])
        waiting = asyncio.create_task(received(listening, 3))
        await asyncio.sleep(0.1)
        emit(engine, "new-1", "new-2")
        emit(engine, "new-3")
        return missed + await waiting

    found = ran(opened, run())
    assert found == [*(f"missed-{number}" for number in range(live.PAGE + 30)), "new-1", "new-2", "new-3"]


def test_a_line_of_a_process_that_was_restarted_goes_on_from_the_last_event(engine, opened):
    """`Last-Event-ID` is the event's own id: any process can go on from it."""
    first, second = emit(engine, "one", "two")

    async def run() -> list[str]:
        return await received(line(opened, first), 1)

    assert ran(opened, run()) == ["two"]
    with engine.connect() as db:
        assert [each.id for each in feed.after(db, feed.place_of(db, second))] == []


def test_a_listener_gets_its_own_accounts_alone(engine, opened):
    """From the table and from memory; also nothing of a message that named no account."""
    cursor = emit(engine, "start")[0]
    emit(engine, "theirs-1", account="other")
    emit(engine, "nobody's-1", account="", kind="message")

    async def run() -> list[str]:
        waiting = asyncio.create_task(received(line(opened, cursor, MINE), 2))
        await asyncio.sleep(0.1)
        emit(engine, "theirs-2", account="other")
        emit(engine, "nobody's-2", account="", kind="message")
        emit(engine, "mine-1")
        await asyncio.sleep(0.1)
        emit(engine, "mine-2")
        return await waiting

    assert ran(opened, run()) == ["mine-1", "mine-2"]


def test_a_thousand_listeners_ask_the_database_no_more_than_one(engine, opened):
    """One reader for all; each of them gets each event."""
    cursor = emit(engine, "start")[0]
    asked = 0

    @sa.event.listens_for(engine, "before_cursor_execute")
    def count(*_: object) -> None:
        nonlocal asked
        asked += 1

    async def run() -> set[tuple[str, ...]]:
        waiting = [asyncio.create_task(received(line(opened, cursor), 2)) for _ in range(1_000)]
        while opened._listeners < 1_000 or opened._reader is None:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        before = asked
        emit(engine, "one", "two")
        found = {tuple(each) for each in await asyncio.gather(*waiting)}
        assert asked - before < 100
        return found

    assert ran(opened, run()) == {("one", "two")}


def test_what_another_cluster_wrote_comes_before_what_this_one_writes(engine):
    """After a restore from a dump, transaction numbers start again: nobody's cursor may point past them."""
    (old,) = emit(engine, "old")
    with engine.begin() as db:
        db.execute(sa.update(events).values(position=2**62))
    (new,) = emit(engine, "new")
    with engine.begin() as db:
        feed.start_anew(db)
    with engine.connect() as db:
        assert [each.id for each in feed.after(db, feed.place_of(db, old))] == [new]
        assert [each.id for each in feed.after(db, feed.BEGINNING)] == [old, new]


def test_a_cursor_that_is_gone_is_reported(engine):
    """Nobody can say what follows an event that there is none of."""
    with engine.connect() as db, pytest.raises(feed.UnknownCursor):
        feed.place_of(db, uuids.uuid7())
