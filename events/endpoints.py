"""What is known of the far end of a channel: whether it is switched off, and how it has been answering.

A row is true of one address only. When the address changes, in a setting or a new deployment, it starts anew:
that is how an endpoint that said 410 comes back without anybody touching the database.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables import endpoints

FAILING = 5
"""Failures in a row after which an endpoint is taken for down: one event at a time asks whether it is
back."""

_FIRST_PAUSE = timedelta(seconds=5)
_LONGEST_PAUSE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The state of a channel's far end; `since` is when it last changed."""

    failures: int
    disabled_at: datetime | None
    disabled_reason: str | None
    since: datetime
    moved: bool = False
    """The address has just changed: what waited for the old one need not wait for the new."""

    def may_send(self, now: datetime) -> bool:
        """Whether it may be tried: always while it answers; after a pause while it fails, and also where it failed
        further ahead than any pause, while the clock was wrong."""
        if self.failures < FAILING:
            return True
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * (1 << min(self.failures - FAILING, 10)))
        again_at = self.since + pause
        return again_at <= now or again_at > now + 2 * _LONGEST_PAUSE


_FIND = sa.select(endpoints).where(endpoints.c.channel == sa.bindparam("on_channel"))


def state(db: sa.Connection, channel: str) -> Endpoint | None:
    """What is known of a channel's endpoint; None before its first try."""
    row = db.execute(_FIND, {"on_channel": channel}).one_or_none()
    if row is None:
        return None
    return Endpoint(row.failures, row.disabled_at, row.disabled_reason, row.updated_at)


def state_at(db: sa.Connection, channel: str, address: str, now: datetime) -> Endpoint:
    """The state of the endpoint at `address`; a new address starts anew."""
    address_hash = hashlib.sha256(address.encode()).hexdigest()
    found = db.execute(_FIND, {"on_channel": channel}).one_or_none()
    if found is not None and found.address_hash == address_hash:
        return Endpoint(found.failures, found.disabled_at, found.disabled_reason, found.updated_at)
    fresh = {
        "address_hash": address_hash,
        "failures": 0,
        "disabled_at": None,
        "disabled_reason": None,
        "updated_at": now,
    }
    written = insert(endpoints).values(channel=channel, **fresh)
    db.execute(written.on_conflict_do_update(index_elements=["channel"], set_=fresh))
    return Endpoint(0, None, None, now, moved=found is not None)


def failed(db: sa.Connection, channel: str, now: datetime, *, times: int = 1) -> None:
    """Note more failures in a row."""
    _write(db, channel, failures=endpoints.c.failures + times, updated_at=now)


def answered(db: sa.Connection, channel: str, now: datetime, *, failures_since: int = 0) -> None:
    """Note a success, and the failures after it. A healthy endpoint costs no write."""
    db.execute(
        sa.update(endpoints)
        .where(endpoints.c.channel == channel, endpoints.c.failures != failures_since)
        .values(failures=failures_since, updated_at=now)
    )


def switch_off(db: sa.Connection, channel: str, reason: str, now: datetime) -> None:
    """Send nothing more to this address until it changes or is enabled."""
    _write(db, channel, disabled_at=now, disabled_reason=reason, updated_at=now)


def enable(db: sa.Connection, channel: str, now: datetime) -> bool:
    """Send again to an endpoint that was switched off; whether it was."""
    enabled = (
        sa.update(endpoints)
        .where(endpoints.c.channel == channel, endpoints.c.disabled_at.is_not(None))
        .values(failures=0, disabled_at=None, disabled_reason=None, updated_at=now)
    )
    return db.execute(enabled).rowcount > 0


def _write(db: sa.Connection, channel: str, **values: object) -> None:
    db.execute(sa.update(endpoints).where(endpoints.c.channel == channel).values(**values))
