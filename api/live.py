"""Events as they happen, for any number of listeners: the database is asked once, whoever listens.

A listener reads what it missed from the table, and then what the one reader of this process found since.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool

from api.keys import Key
from events import feed
from events.feed import FeedEvent
from models.tables import events

KEPT = 2_000
"""The newest events that are kept in memory; who is further behind reads the table."""
EVERY = 0.5
PAGE = 200


class Live:
    """The newest events of the installation, read again and again while anybody listens."""

    def __init__(self, engine: sa.Engine, public_url: str, *, every: float = EVERY) -> None:
        self._public_url = public_url
        self._engine = engine
        self._every = every
        self._recent: deque[FeedEvent] = deque(maxlen=KEPT)
        self._start: UUID | None = None
        """What `_recent` follows; None: the beginning of all."""
        self._newest: tuple[int, UUID] | None = None
        """The place of the last one of `_recent`, or of `_start`."""
        self._changed = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None
        self._listeners = 0

    async def listen(
        self, cursor: UUID | None, key: Key, chosen: Callable[[FeedEvent], bool]
    ) -> AsyncIterator[FeedEvent]:
        """Yield what follows a cursor, without end. Raises UnknownCursor."""
        self._listeners += 1
        try:
            await self._begin()
            while True:
                found = self._since(cursor)
                if found is None:
                    newest = self._newest  # what the table gives from now on has all up to here
                    page = await run_in_threadpool(self._page, cursor, key)
                    for each in page:
                        if newest is not None and each.place > newest:
                            break
                        cursor = each.id
                        if chosen(each):
                            yield each
                    else:
                        if len(page) == PAGE:
                            continue
                    cursor = newest[1] if newest is not None else None
                    continue
                for each in found:
                    cursor = each.id
                    if (not each.account or key.sees(each.account)) and chosen(each):
                        yield each
                if not found:
                    async with self._changed:
                        if not self._since(cursor):
                            await self._changed.wait()
        finally:
            self._listeners -= 1

    def _since(self, cursor: UUID | None) -> list[FeedEvent] | None:
        """Return what memory has after a cursor, or None where that cursor is not in it."""
        if cursor == self._start:
            return list(self._recent)
        newer: list[FeedEvent] = []
        for each in reversed(self._recent):
            if each.id == cursor:
                return newer[::-1]
            newer.append(each)
        return None

    def _page(self, cursor: UUID | None, key: Key) -> list[FeedEvent]:
        with self._engine.connect() as db:
            return feed.after(db, cursor, accounts=sees(key), public_url=self._public_url, limit=PAGE)

    async def _begin(self) -> None:
        if self._reader is None or self._reader.done():
            self._recent.clear()
            self._newest = await run_in_threadpool(self._latest)
            self._start = self._newest[1] if self._newest is not None else None
            self._reader = asyncio.create_task(self._read(), name="events")

    def _latest(self) -> tuple[int, UUID] | None:
        with self._engine.connect() as db:
            return feed.latest(db)

    def _next(self, cursor: UUID | None) -> list[FeedEvent]:
        with self._engine.connect() as db:
            return feed.after(db, cursor, public_url=self._public_url, limit=PAGE)

    async def _read(self) -> None:
        newest = self._start
        while self._listeners:
            try:
                found = await run_in_threadpool(self._next, newest)
            except sa.exc.DBAPIError:  # away for a moment: the listeners wait
                found = []
                await asyncio.sleep(2)
            if found:
                newest = found[-1].id
                async with self._changed:
                    for each in found:
                        if len(self._recent) == KEPT:
                            self._start = self._recent[0].id
                        self._recent.append(each)
                        self._newest = each.place
                    self._changed.notify_all()
            if len(found) < PAGE:
                await asyncio.sleep(self._every)


def sees(key: Key) -> sa.ColumnElement[bool]:
    """Return which events a key may read: those of its accounts, and those about ContaDigital itself."""
    return sa.or_(events.c.subject_kind == "provider", key.sees_of(events.c.account))
