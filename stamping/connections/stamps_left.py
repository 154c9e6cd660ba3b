"""How many stamps an account has left, when its user is warned, and for how many days they will do."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from models.tables import connections, invoices
from models.vocabulary import HAS_UUID
from stamping import notify
from stamping.tools import Tools

USAGE_WINDOW = timedelta(days=7)
"""The days whose stamps say how long the rest will do."""


def count_stamp(
    db: sa.Connection, connection: sa.Row[Any], reported: int | None, tools: Tools, now: datetime
) -> None:
    """Keep the number of stamps left: as the provider reports it, else counted down from what the user gave.

    Emits `connection.stamps_low` once, when the number first comes to the limit.
    """
    if reported is None and connection.stamps_left is None:
        return
    row = db.execute(
        sa.update(connections)
        .where(
            connections.c.id == connection.id,
            sa.true() if reported is not None else connections.c.stamps_left.is_not(None),
        )
        .values(
            stamps_left=reported
            if reported is not None
            else sa.func.greatest(connections.c.stamps_left - 1, 0),
            updated_at=now,
        )
        .returning(connections.c.stamps_left, connections.c.stamps_low_notified)
    ).one_or_none()
    if row is None:  # unknown again since the invoice was claimed
        return
    low = row.stamps_left <= tools.policy.stamps_low_at
    if low and not row.stamps_low_notified:
        now_low = db.execute(
            sa.update(connections)
            .where(connections.c.id == connection.id, connections.c.stamps_low_notified.is_(False))
            .values(stamps_low_notified=True, version=connections.c.version + 1)
            .returning(*connections.c)
        ).one_or_none()
        if now_low is not None:
            notify.connection(
                db, now_low, tools, "connection.stamps_low", forecast=forecast(db, now_low, now)
            )
    elif not low and row.stamps_low_notified:
        db.execute(
            sa.update(connections).where(connections.c.id == connection.id).values(stamps_low_notified=False)
        )


def forecast(db: sa.Connection, connection: sa.Row[Any], now: datetime) -> float | None:
    """Return for how many days the stamps left will do, at the rate of the last days; None without a rate.

    The rate is that of the last seven days, or of the days since the account's first stamp where they are fewer.
    """
    used, first = db.execute(
        sa.select(sa.func.count(), sa.func.min(invoices.c.stamped_at)).where(
            invoices.c.account == connection.account,
            invoices.c.status.in_(sorted(HAS_UUID)),
            invoices.c.stamped_at > now - USAGE_WINDOW,
        )
    ).one()
    if not used:
        return None
    days = max((now - first) / timedelta(days=1), 1.0)
    return round(float(connection.stamps_left / (used / days)), 1)
