"""The breaker per provider: an outage is noticed once, and one probe at a time asks whether it is over.

It counts failures in a row over all workers, in the database. While it is open nothing is sent, no attempt is
spent, and every `breaker_probe` one invoice goes ahead to see; its success closes the breaker.
"""

import threading
import time
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from models.tables import providers
from stamping.tools import Tools

_quiet: dict[tuple[int, str], float] = {}  # (engine, address) known to be well, and when that was read
_lock = threading.Lock()
TRUSTED_FOR = 1.0  # seconds for which a process believes that a provider is well


def lets_through(db: sa.Connection, base_url: str, tools: Tools, now: datetime) -> bool:
    """Say whether a call to this provider may be made now; of many who ask at once, one becomes the probe."""
    key = (id(tools.engine), base_url)
    if time.monotonic() - _quiet.get(key, -TRUSTED_FOR) < TRUSTED_FOR:
        return True
    row = db.execute(
        sa.select(providers.c.opened_at, providers.c.next_probe_at).where(providers.c.base_url == base_url)
    ).one_or_none()
    if row is None or row.opened_at is None:
        with _lock:
            _quiet[key] = time.monotonic()
        return True
    if row.next_probe_at > now:
        return False
    probe = db.execute(
        sa.update(providers)
        .where(providers.c.base_url == base_url, providers.c.next_probe_at == row.next_probe_at)
        .values(next_probe_at=now + tools.policy.breaker_probe, updated_at=now)
    )
    return probe.rowcount == 1


def failed(db: sa.Connection, base_url: str, tools: Tools, now: datetime) -> None:
    """Count a call that the provider did not answer, or answered with a fault of its own."""
    _quiet.pop((id(tools.engine), base_url), None)
    count = db.execute(
        insert(providers)
        .values(base_url=base_url, failures=1, updated_at=now)
        .on_conflict_do_update(
            index_elements=[providers.c.base_url],
            set_={"failures": providers.c.failures + 1, "updated_at": now},
        )
        .returning(providers.c.failures)
    ).scalar_one()
    if count >= tools.policy.breaker_failures:
        db.execute(
            sa.update(providers)
            .where(providers.c.base_url == base_url, providers.c.opened_at.is_(None))
            .values(opened_at=now, next_probe_at=now + tools.policy.breaker_probe)
        )


def answered(db: sa.Connection, base_url: str, tools: Tools, now: datetime) -> None:
    """Note that the provider answers; writes only when there was something to forget."""
    key = (id(tools.engine), base_url)
    if time.monotonic() - _quiet.get(key, -TRUSTED_FOR) < TRUSTED_FOR:
        return
    db.execute(
        sa.update(providers)
        .where(
            providers.c.base_url == base_url,
            sa.or_(providers.c.failures > 0, providers.c.opened_at.is_not(None)),
        )
        .values(failures=0, opened_at=None, next_probe_at=None, updated_at=now)
    )
    with _lock:
        _quiet[key] = time.monotonic()
