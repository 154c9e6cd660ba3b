"""The claims on ContaDigital's customers and products: one worker makes each known, the others wait for it.

A row says whose id something has there, and what it was last given. What was asked to be changed is not believed,
either way, before ContaDigital has answered.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from contadigital.auth import SKEW
from models.compiled import Compiled, param
from models.tables import connections, provider_refs
from stamping.claims import Claimed
from stamping.tools import Tools

WAIT = 8.0  # seconds for which an invoice waits for another that is making its customer known
POLL = 0.1
UNSURE = "?"
"""Stands before the fingerprint of data that were asked to be changed and may be changed by now."""
BUSY = timedelta(seconds=2)
STUCK = timedelta(seconds=20)
"""How long to stay away from what somebody has been at for longer than that usually takes: most likely it is dead."""

Make = Callable[[Callable[[], None], bool], int]
"""Finds something at ContaDigital, or makes it; given what to call between two calls (it may raise), and whether what
is there may be something else than we believe."""
MayChange = Callable[[str], bool]
"""Whether what ContaDigital holds (by its fingerprint) may be changed now: no invoice on its way relies on it."""


class NotReady(Exception):  # named for what happened, like the errors of the other packages
    """Somebody else is at work on something this invoice needs: come back after `wait`."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__(f"come back in {wait}")
        self.wait = wait


_KNOWN = Compiled(
    lambda: sa.select(
        provider_refs.c.kind,
        provider_refs.c.key,
        provider_refs.c.provider_id,
        provider_refs.c.fingerprint,
        provider_refs.c.claimed_until,
    ).where(
        provider_refs.c.connection_id == param("connection_id"),
        sa.exists().where(
            connections.c.id == provider_refs.c.connection_id,
            connections.c.key_fingerprint == param("key_fingerprint"),
        ),
        sa.tuple_(provider_refs.c.kind, provider_refs.c.key).in_(
            sa.select(
                sa.func.unnest(param("kinds", sa.ARRAY(sa.Text))),
                sa.func.unnest(param("keys", sa.ARRAY(sa.Text))),
            )
        ),
    )
)


def known(
    connection: sa.Row[Any], wanted: dict[tuple[str, str], str], tools: Tools
) -> dict[tuple[str, str], int]:
    """Return the ids that are known for the key of this connection: with another one, another account's would do."""
    now = tools.clock.now()
    kinds, keys = zip(*wanted, strict=True)
    rows = _KNOWN.run(
        tools.at_once,
        connection_id=connection.id,
        key_fingerprint=connection.key_fingerprint,
        kinds=list(kinds),
        keys=list(keys),
    ).all()
    return {
        (row.kind, row.key): row.provider_id
        for row in rows
        if row.provider_id is not None
        and row.fingerprint == wanted[row.kind, row.key]
        and (row.claimed_until is None or row.claimed_until <= now)
    }


def make_known(
    claimed: Claimed,
    kind: str,
    key: str,
    fingerprint: str,
    make: Make,
    tools: Tools,
    *,
    is_shared: bool = False,
    may_change: MayChange = lambda _: True,
) -> int:
    """Make one customer or product known at ContaDigital, one worker for all; the others wait for it.

    It is ours for a lease, which outlasts any one call, and is renewed between two.
    """
    deadline = time.monotonic() + WAIT
    while True:
        now = tools.clock.now()
        until = now + tools.policy.lease
        with tools.engine.begin() as db:
            _same_key(db, claimed)
            mine = db.execute(
                insert(provider_refs)
                .values(
                    connection_id=claimed.connection.id,
                    kind=kind,
                    key=key,
                    claim=1,
                    claimed_until=until,
                    updated_at=now,
                )
                .on_conflict_do_update(
                    index_elements=[provider_refs.c.connection_id, provider_refs.c.kind, provider_refs.c.key],
                    set_={"claim": provider_refs.c.claim + 1, "claimed_until": until},
                    # one that ends later than any that is taken now was taken while the clock was wrong
                    where=sa.or_(
                        provider_refs.c.claimed_until.is_(None),
                        provider_refs.c.claimed_until <= now,
                        provider_refs.c.claimed_until > until + SKEW,
                    ),
                )
                .returning(provider_refs.c.claim, provider_refs.c.provider_id, provider_refs.c.fingerprint)
            ).one_or_none()
        if mine is not None:
            return _with_ref(claimed, kind, key, fingerprint, mine, make, tools, is_shared, may_change)
        if time.monotonic() > deadline:
            raise NotReady(BUSY)
        if _is_stuck(claimed, kind, key, tools):
            raise NotReady(STUCK)  # and keep none of the account's places meanwhile
        time.sleep(POLL)
        found = known(claimed.connection, {(kind, key): fingerprint}, tools)
        if found and not is_shared:
            return found[kind, key]


def _is_stuck(claimed: Claimed, kind: str, key: str, tools: Tools) -> bool:
    """Whether somebody is at it for longer than anybody waits: slow as never, or killed."""
    with tools.engine.begin() as db:
        until = db.execute(
            sa.select(provider_refs.c.claimed_until).where(
                provider_refs.c.connection_id == claimed.connection.id,
                provider_refs.c.kind == kind,
                provider_refs.c.key == key,
            )
        ).scalar_one_or_none()
    if until is None:
        return False
    return bool(until - tools.policy.lease + timedelta(seconds=WAIT) < tools.clock.now())


def _same_key(db: sa.Connection, claimed: Claimed) -> None:
    """See that the connection still has the key that we work with, and hold it so until the commit.

    What is learnt with an old key, which may go on working for a while, is true of the old account only.
    """
    connection = claimed.connection
    same = db.execute(
        sa.select(connections.c.id)
        .where(connections.c.id == connection.id, connections.c.key_fingerprint == connection.key_fingerprint)
        .with_for_update(read=True)
    ).one_or_none()
    if same is None:
        raise NotReady(BUSY)


def _with_ref(
    claimed: Claimed,
    kind: str,
    key: str,
    fingerprint: str,
    mine: sa.Row[Any],
    make: Make,
    tools: Tools,
    is_shared: bool,
    may_change: MayChange,
) -> int:
    """Do what is to be done under our claim of a customer or product, and let go of it."""
    facts: dict[str, Any] = {}
    try:
        if mine.provider_id is not None and mine.fingerprint == fingerprint and not is_shared:
            return mine.provider_id  # type: ignore[no-any-return]  # made known while we waited for our turn
        before = (mine.fingerprint or "").removeprefix(UNSURE)
        is_unsure = (mine.fingerprint or "").startswith(UNSURE)
        if kind == "customer" and mine.provider_id is not None:
            if before != fingerprint and not may_change(before):
                raise NotReady(BUSY)
            _write(claimed, kind, key, mine, tools, fingerprint=UNSURE + before)
        made = make(lambda: _renew(claimed, kind, key, mine, tools), is_unsure)
        facts = {"provider_id": made, "fingerprint": fingerprint}
    finally:
        is_ours = _write(claimed, kind, key, mine, tools, claimed_until=None, **facts)
    if not is_ours:
        raise NotReady(BUSY)  # it took so long that somebody else is at it, perhaps with other data
    return made


def _renew(claimed: Claimed, kind: str, key: str, mine: sa.Row[Any], tools: Tools) -> None:
    """Keep it for another call; NotReady where it took so long that somebody else is at it."""
    if not _write(claimed, kind, key, mine, tools, claimed_until=tools.clock.now() + tools.policy.lease):
        raise NotReady(BUSY)


def _write(claimed: Claimed, kind: str, key: str, mine: sa.Row[Any], tools: Tools, **values: Any) -> bool:
    with tools.engine.begin() as db:
        written = db.execute(
            sa.update(provider_refs)
            .where(
                provider_refs.c.connection_id == claimed.connection.id,
                provider_refs.c.kind == kind,
                provider_refs.c.key == key,
                provider_refs.c.claim == mine.claim,
            )
            .values(updated_at=tools.clock.now(), **values)
        )
    return written.rowcount == 1


def forget(db: sa.Connection, claimed: Claimed, kind: str) -> None:
    """Forget the ids of every customer, or product, of a connection."""
    forget_all(db, claimed.connection.id, provider_refs.c.kind == kind)


def forget_all(db: sa.Connection, connection_id: UUID, *which: sa.ColumnElement[bool]) -> None:
    """Forget ids of a connection. Their rows stay, so that whoever is learning one at this moment comes too late."""
    db.execute(
        sa.update(provider_refs)
        .where(provider_refs.c.connection_id == connection_id, *which)
        .values(provider_id=None, fingerprint=None, claim=provider_refs.c.claim + 1, claimed_until=None)
    )
