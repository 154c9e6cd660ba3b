"""The circuit breaker per provider: an outage is noticed once, and one invoice at a time asks whether it is over.

Only silence (no connection, no answer in time) and 502, 503 or 504 are an outage. What a provider answers to one
account, however useless, is that account's problem: it opens nothing, and closes nothing either. Every call notes how
it was answered, so that the five in a row are calls, and any answer that was understood ends the outage. While it is
open nothing is sent, no attempt is spent, and every `breaker_probe` one invoice goes ahead, each time of another
account than the last where another has something due.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from contadigital.client import Watch
from events.types import EventType
from models.tables import DUE_SQL, connections, invoices, providers
from models.vocabulary import ConnectionStatus
from stamping import notify
from stamping.tools import Policy, Tools

_well: dict[tuple[int, str], datetime] = {}  # (engine, address) known to be well, and when that was read
_lock = threading.Lock()
TRUSTED_FOR = timedelta(seconds=1)
"""For how long a process believes that a provider is well: another process's silence goes on counting for so long,
also where this one had an answer."""


def watch(engine: sa.Engine, now: Callable[[], datetime], policy: Policy) -> Watch:
    """Return what the client calls after each exchange; it never fails, since an answer may be in hand."""

    def noted(base_url: str, *, is_usable: bool) -> None:
        with suppress(sa.exc.SQLAlchemyError):
            (_answered(engine, base_url, now) if is_usable else _failed(engine, base_url, now, policy))

    return noted


def known_well(tools: Tools, now: datetime) -> list[str]:
    """Return the addresses whose provider this process knows to be well."""
    return [key[1] for key in tuple(_well) if key[0] == id(tools.engine) and _is_trusted(key, now)]


def is_closed(base_url: str, tools: Tools, now: datetime) -> bool:
    """Whether calls to this provider may be made without asking who makes the probe."""
    key = (id(tools.engine), base_url)
    if _is_trusted(key, now):
        return True
    with tools.engine.begin() as db:
        row = db.execute(
            sa.select(providers.c.opened_at, providers.c.failures).where(providers.c.base_url == base_url)
        ).one_or_none()
    if row is None or row.failures == 0:
        _trust(key, now)
    return row is None or row.opened_at is None


def lets_through(db: sa.Connection, base_url: str, account: str, tools: Tools, now: datetime) -> bool:
    """Say whether a call to this provider may be made now; of many who ask at once, one becomes the probe."""
    key = (id(tools.engine), base_url)
    if _is_trusted(key, now):
        return True
    row = db.execute(
        sa.select(
            providers.c.opened_at,
            providers.c.next_probe_at,
            providers.c.failures,
            providers.c.last_probe_account,
        ).where(providers.c.base_url == base_url)
    ).one_or_none()
    if row is None or row.opened_at is None:
        if row is None or row.failures == 0:
            _trust(key, now)
        return True
    if row.next_probe_at > now:
        return False
    if row.last_probe_account == account:
        # what is due is asked for again every `requeue_after`: in twice that time every other account had an answer
        others_turn = now < row.next_probe_at + 2 * tools.policy.requeue_after
        if others_turn and _another_waits(db, base_url, account, now):
            return False
    probe = db.execute(
        sa.update(providers)
        .where(providers.c.base_url == base_url, providers.c.next_probe_at == row.next_probe_at)
        .values(
            next_probe_at=now + tools.policy.breaker_probe,
            last_probe_account=account,
            updated_at=now,
        )
    )
    return probe.rowcount == 1


def _another_waits(db: sa.Connection, base_url: str, account: str, now: datetime) -> bool:
    return bool(
        db.execute(
            sa.select(
                sa.exists().where(
                    connections.c.base_url == base_url,
                    connections.c.status == ConnectionStatus.ACTIVE,
                    connections.c.account != account,
                    connections.c.paused.is_(False),
                    sa.or_(connections.c.throttled_until.is_(None), connections.c.throttled_until <= now),
                    invoices.c.account == connections.c.account,
                    sa.text(f"invoices.{DUE_SQL}"),
                    invoices.c.next_attempt_at <= now,
                )
            )
        ).scalar_one()
    )


def _failed(engine: sa.Engine, base_url: str, at: Callable[[], datetime], policy: Policy) -> None:
    """Count a call that the provider did not answer."""
    now = at()
    with _lock:
        _well.pop((id(engine), base_url), None)
    with engine.begin() as db:
        count = db.execute(
            insert(providers)
            .values(base_url=base_url, failures=1, updated_at=now)
            .on_conflict_do_update(
                index_elements=[providers.c.base_url],
                set_={"failures": providers.c.failures + 1, "updated_at": now},
            )
            .returning(providers.c.failures)
        ).scalar_one()
        if count >= policy.breaker_failures:
            opened = db.execute(
                sa.update(providers)
                .where(providers.c.base_url == base_url, providers.c.opened_at.is_(None))
                .values(
                    opened_at=now, next_probe_at=now + policy.breaker_probe, version=providers.c.version + 1
                )
                .returning(providers.c.base_url, providers.c.version)
            ).one_or_none()
            if opened is not None:
                notify.provider(db, opened, EventType.PROVIDER_DEGRADED, now)


def _answered(engine: sa.Engine, base_url: str, at: Callable[[], datetime]) -> None:
    """Note that the provider answers; writes only where there is something to forget."""
    key, now = (id(engine), base_url), at()
    if _is_trusted(key, now):
        return
    with engine.begin() as db:
        closed = {"failures": 0, "opened_at": None, "next_probe_at": None, "last_probe_account": None}
        recovered = db.execute(
            sa.update(providers)
            .where(providers.c.base_url == base_url, providers.c.opened_at.is_not(None))
            .values(**closed, updated_at=now, version=providers.c.version + 1)
            .returning(providers.c.base_url, providers.c.version)
        ).one_or_none()
        if recovered is not None:
            notify.provider(db, recovered, EventType.PROVIDER_RECOVERED, now)
        else:
            db.execute(
                sa.update(providers)
                .where(providers.c.base_url == base_url, providers.c.failures > 0)
                .values(**closed, updated_at=now)
            )
    _trust(key, now)


def _is_trusted(key: tuple[int, str], now: datetime) -> bool:
    since = _well.get(key)
    return since is not None and abs(now - since) < TRUSTED_FOR  # also where the clock was put back


def _trust(key: tuple[int, str], now: datetime) -> None:
    with _lock:
        _well[key] = now
