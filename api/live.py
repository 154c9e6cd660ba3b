"""Events as they happen, for any number of listeners: the database is asked once, whoever listens.

A listener reads what it missed from the table, and then what the one reader of this process found since.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from functools import lru_cache

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool

from api.keys import Key, sees_of
from events import feed
from events.feed import BEGINNING, FeedEvent, Place
from models.tables import events

KEPT = 2_000
"""The newest events that are kept in memory; who is further behind reads the table."""
EVERY = 0.5
PAGE = 200


class Live:
    """The newest events of the installation, read again and again while anybody listens."""

    def __init__(
        self, reading: Callable[[], sa.Connection], public_url: str, *, every: float = EVERY
    ) -> None:
        self._public_url = public_url
        self._reading = reading
        self._every = every
        self._recent: deque[FeedEvent] = deque(maxlen=KEPT)
        self._start: Place = BEGINNING
        """What `_recent` follows."""
        self._changed = asyncio.Condition()
        self._beginning = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._listeners = 0

    async def listen(
        self, place: Place, key: Key, chosen: Callable[[FeedEvent], bool]
    ) -> AsyncGenerator[FeedEvent, None]:
        """Yield what follows a place, without end."""
        self._listeners += 1
        try:
            await self._begin()
            while True:
                found = self._since(place)
                if found is None:
                    newest = self._newest()  # what the table gives from now on has all up to here
                    found = await run_in_threadpool(self._page, place, key)
                    if len(found) < PAGE:
                        found = [each for each in found if each.place <= newest]
                        for each in found:
                            if chosen(each):
                                yield each
                        place = max(place, newest)
                        continue
                for each in found:
                    place = each.place
                    if may_read(key, each) and chosen(each):
                        yield each
                if not found:
                    async with self._changed:
                        if not self._since(place):
                            await self._changed.wait()
        finally:
            self._listeners -= 1

    def _newest(self) -> Place:
        return self._recent[-1].place if self._recent else self._start

    def _since(self, place: Place) -> list[FeedEvent] | None:
        """Return what memory has after a place, or None where it begins later."""
        if place < self._start:
            return None
        newer: list[FeedEvent] = []
        for each in reversed(self._recent):
            if each.place <= place:
                break
            newer.append(each)
        return newer[::-1]

    def _page(self, place: Place, key: Key) -> list[FeedEvent]:
        with self._reading() as db:
            return feed.after(db, place, which=kinds_of(key), public_url=self._public_url, limit=PAGE)

    async def _begin(self) -> None:
        async with self._beginning:  # of many that listen at once, one begins
            if self._reader is None or self._reader.done():
                self._recent.clear()
                self._start = await run_in_threadpool(self._latest)
                self._reader = asyncio.create_task(self._read(), name="events")

    def _latest(self) -> Place:
        with self._reading() as db:
            return feed.latest(db)

    def _next(self, place: Place) -> list[FeedEvent]:
        with self._reading() as db:
            return feed.after(db, place, public_url=self._public_url, limit=PAGE)

    async def _read(self) -> None:
        newest = self._start
        while self._listeners:
            try:
                found = await run_in_threadpool(self._next, newest)
            except sa.exc.DBAPIError:  # away for a moment: the listeners wait
                found = []
                await asyncio.sleep(2)
            if found:
                newest = found[-1].place
                async with self._changed:
                    for each in found:
                        if len(self._recent) == KEPT:
                            self._start = self._recent[0].place
                        self._recent.append(each)
                    self._changed.notify_all()
            if len(found) < PAGE:
                await asyncio.sleep(self._every)


def may_read(key: Key, event: FeedEvent) -> bool:
    """Whether an event is of a key's accounts, or about ContaDigital itself."""
    return event.event["type"].startswith("provider.") or key.sees(event.account)


def kinds_of(key: Key, account: str | None = None) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the same as conditions in SQL, none where a key may read all; of one account, where it is named."""
    return _kinds(key.account_glob, account)


@lru_cache(maxsize=256)  # the statement is kept by them
def _kinds(glob: str | None, account: str | None) -> tuple[sa.ColumnElement[bool], ...]:
    mine = sees_of(glob, events.c.account)
    if account is not None:
        return (sa.and_(events.c.account == account, mine),)
    if glob is None:
        return ()
    about_provider = events.c.subject_kind == "provider"
    return sa.and_(mine, ~about_provider), sa.and_(events.c.account == "", about_provider)
