"""What a 429 does: the account sends nothing for as long as it asks for, and then fewer calls at once.

`stamping/sql/take.sql` and `next.sql` let nothing of the account be claimed until then; so does the sweep.
"""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from models.tables import connections
from stamping.limits import concurrency
from stamping.tools import Tools

BUSY = timedelta(seconds=30)
"""After a 429 that names no time."""


def slow_down(
    db: sa.Connection, connection: sa.Row[Any], wait: timedelta, tools: Tools, now: datetime
) -> None:
    """Let nothing of an account be sent for so long, and half as many calls at once after it."""
    db.execute(
        sa.update(connections)
        .where(connections.c.account == connection.account)
        .values(throttled_until=now + wait, updated_at=now)
    )
    concurrency.decrease(db, connection, tools, now)
