"""How many calls an account may have in flight: halved when ContaDigital strains under them, and given back in steps.

A 429 and an answer that took very long both say "fewer at once". The calls that were in flight together all hear it
together. So each change names the cap that its call was claimed under, and of those calls only the first changes it.
An account at its full limit costs nothing here: no query, no write.

The cap is kept where an invoice is claimed, under the lock on its account: `stamping/sql/take.sql` and `next.sql`.
"""

import threading
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from models.tables import connections
from stamping.tools import Tools

UNTRIED = 2
"""Calls at once of an account that never stamped: should its first stamp differ, only one other is under way."""
STEP = timedelta(seconds=10)
"""How long an account must do well before one more call at once is given back to it."""

_well_since: dict[
    tuple[int, str], tuple[int, datetime]
] = {}  # (engine, account) -> its cap, and when it was first seen
_lock = threading.Lock()


def is_slow(latency_ms: int | None, tools: Tools) -> bool:
    """Whether a call took so long that fewer at once are wanted."""
    return latency_ms is not None and latency_ms >= tools.policy.slow.total_seconds() * 1000


def decrease(db: sa.Connection, connection: sa.Row[Any], tools: Tools, now: datetime) -> None:
    """Halve how many calls the account may have in flight; one always may be."""
    cap = connection.concurrency_limit or tools.policy.in_flight
    if cap > 1:
        _change(db, connection, cap // 2, now)


def increase(db: sa.Connection, connection: sa.Row[Any], tools: Tools, now: datetime) -> None:
    """Give one call at once back to an account that was slowed down, once it has done well for a `STEP`."""
    cap = connection.concurrency_limit
    if cap is None or cap >= tools.policy.in_flight:
        return
    key = (id(tools.engine), connection.account)
    with _lock:
        seen, since = _well_since.get(key, (None, now))
        if seen != cap or now - since < STEP:
            _well_since[key] = (cap, now if seen != cap else since)
            return
        del _well_since[key]
    _change(db, connection, cap + 1 if cap + 1 < tools.policy.in_flight else None, now)


def _change(db: sa.Connection, connection: sa.Row[Any], cap: int | None, now: datetime) -> None:
    db.execute(
        sa.update(connections)
        .where(
            connections.c.id == connection.id,
            connections.c.concurrency_limit.is_not_distinct_from(connection.concurrency_limit),
        )
        .values(concurrency_limit=cap, updated_at=now)
    )
