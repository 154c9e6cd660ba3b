"""Events in the order in which they were committed, read on from a cursor without missing any.

Ids and instants are given before the commit: a reader who goes by them passes over what commits late. `position` is the
transaction that wrote the event, and only what no transaction still in progress could come before is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from events.types import render
from models.compiled import Compiled, param
from models.tables import events

# Of the snapshot's own transactions: what another cluster wrote (restored from a dump) has positions beyond its end.
_SETTLED = sa.text(
    "NOT (events.position >= pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
    " AND events.position < pg_snapshot_xmax(pg_current_snapshot())::text::bigint)"
)


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One event as it is read; its id is the cursor that the next ones follow."""

    id: UUID
    position: int
    account: str
    event: dict[str, Any]

    @property
    def place(self) -> "Place":
        """Where it stands in the order."""
        return self.position, self.id

    def as_dict(self) -> dict[str, Any]:
        """Return the event with its id."""
        return {"id": str(self.id), **self.event}


class UnknownCursor(LookupError):
    """There is no such event, or it was deleted: nobody can say what follows it."""


Place = tuple[int, UUID]
"""Where an event stands in the order: its transaction, and its id within that."""
BEGINNING: Place = (-1, UUID(int=0))


def after(
    db: sa.Connection,
    place: Place,
    *,
    which: Sequence[sa.ColumnElement[bool]] = (),
    public_url: str | None = None,
    limit: int = 100,
) -> list[FeedEvent]:
    """Return what follows a place, of all or of several kinds that have no event in common.

    Each kind is read by an index of its own, as far as one page needs it: an account in which nothing happens does not
    read the others' events.
    """
    position, event_id = place
    rows = _following(tuple(which)).run(db, after_position=position, after_id=event_id, most=limit).all()
    return [_read(row, public_url) for row in rows]


@lru_cache(maxsize=256)
def _following(which: tuple[sa.ColumnElement[bool], ...]) -> Compiled:
    return Compiled(lambda: _build(which))


def _build(which: tuple[sa.ColumnElement[bool], ...]) -> sa.Select[Any]:
    most = param("most", sa.Integer)
    after = param("after_position", sa.BigInteger), param("after_id", sa.Uuid)
    query = (
        sa.select(
            events.c.id,
            events.c.position,
            events.c.account,
            events.c.type,
            events.c.created_at,
            events.c.data,
        )
        .where(_SETTLED, sa.tuple_(events.c.position, events.c.id) > sa.tuple_(*after))
        .order_by(events.c.position, events.c.id)
        .limit(most)
    )
    if which:
        kinds = [query.where(each).subquery() for each in which]
        found = sa.union_all(*(sa.select(each) for each in kinds)).subquery()
        query = sa.select(found).order_by(found.c.position, found.c.id).limit(most)
    return query


def latest(db: sa.Connection) -> Place:
    """Return the place of the newest event: what follows it is still to come."""
    row = _LATEST.run(db).one_or_none()
    return (row.position, row.id) if row is not None else BEGINNING


_LATEST = Compiled(
    lambda: (
        sa.select(events.c.position, events.c.id)
        .where(_SETTLED)
        .order_by(events.c.position.desc(), events.c.id.desc())
        .limit(1)
    )
)


def place_of(db: sa.Connection, cursor: UUID) -> Place:
    """Return the place of an event; the id of zeros is the beginning. Raises UnknownCursor."""
    if cursor == BEGINNING[1]:
        return BEGINNING
    found = _PLACE_OF.run(db, id=cursor).one_or_none()
    if found is None:
        raise UnknownCursor(str(cursor))
    return found.position, found.id


_PLACE_OF = Compiled(lambda: sa.select(events.c.position, events.c.id).where(events.c.id == param("id")))


def start_anew(db: sa.Connection) -> None:
    """Put what another cluster wrote before what this one will write: called when a worker starts, after a restore."""
    beyond = sa.text("position >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    if db.execute(sa.select(sa.exists(sa.select(events.c.id).where(beyond)))).scalar_one():
        db.execute(sa.update(events).values(position=0))


def _read(row: Any, public_url: str | None) -> FeedEvent:
    event = render(row.type, row.created_at, row.data, public_url=public_url)
    return FeedEvent(row.id, row.position, row.account, event)
