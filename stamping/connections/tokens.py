"""Tokens shared by all processes: encrypted on their connection's row, exchanged by one process at a time.

No transaction is open while ContaDigital is asked: a process claims the exchange in the row, asks, and writes what
came of it. A process that died leaves a claim that ends by itself.
"""

import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from cryptography.fernet import InvalidToken, MultiFernet

from contadigital.auth import (
    REFUSAL_LIFE,
    SKEW,
    Ask,
    MemoryTokens,
    RememberedRefusal,
    Slot,
    is_good,
    is_since,
    raise_if_refused,
)
from contadigital.errors import ConnectionRefused, NotSent
from contadigital.records import Session
from models.tables import connections

AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)
"""What SQLAlchemy raises where the database does not answer, or no connection to it is free."""
NO_TOKEN: dict[str, None] = dict.fromkeys(("token_encrypted", "token_expires_at", "token_claimed_until"))
"""The columns' values where no token is to be kept: written along with every change of a key."""


class ConnectionTokens:
    """Tokens of all processes, each on the row of its connection; one of an account without a row stays in memory."""

    def __init__(
        self,
        engine: sa.Engine,
        fernet: MultiFernet,
        *,
        clock: Callable[[], datetime],
        timeout: timedelta = timedelta(seconds=20),
        exchange_limit: timedelta = timedelta(seconds=60),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`timeout` is how long another process is waited for; `exchange_limit`, which outlasts the longest
        exchange, how long its claim holds.
        """
        self._engine = engine
        self._fernet = fernet
        self._clock = clock
        self._timeout = timeout
        self._exchange_limit = exchange_limit
        self._sleep = sleep
        self._local = MemoryTokens(clock=clock, timeout=timeout)

    def session(self, slot: Slot, ask: Ask, *, refused: str | None = None, afresh: bool = False) -> Session:
        """See `TokenStore`. Where the database is away it is NotSent: nothing is sent without it."""
        began = self._clock()
        if not afresh and (found := self._local.kept(slot, refused)) is not None:
            return found

        def find(sealed: str | None) -> Session | None:
            """What another process has brought: a token, or a refusal, which is raised; None for neither."""
            facts = self._opened(slot, sealed)
            if "token" in facts:
                found, now = Session(**facts), self._clock()
                if is_good(found, refused, now) and (not afresh or is_since(began, found.issued_at, now)):
                    self._local.keep(slot, found)
                    return found
                return None
            refusal = RememberedRefusal(**facts) if facts else self._local.refusal(slot)
            raise_if_refused(refusal, self._clock(), began, afresh)
            return None

        try:
            if self._read(slot) is None:
                return self._local.session(slot, ask, refused=refused, afresh=afresh)
            with self._local.turn(slot):
                return self._in_turn(slot, ask, find)
        except AWAY as error:
            raise NotSent("the database that keeps the token does not answer", call="conectar") from error

    def _in_turn(self, slot: Slot, ask: Ask, find: Callable[[str | None], Session | None]) -> Session:
        """Claim the exchange among the processes and ask, or wait for what the one that claimed it brings."""
        give_up = time.monotonic() + self._timeout.total_seconds()
        while time.monotonic() < give_up:
            row = self._read(slot)
            if row is not None and (found := find(row.token_encrypted)) is not None:
                return found
            until = self._clock() + self._exchange_limit
            if (row := self._claim(slot, until)) is not None:
                try:
                    # before the claim the last process that asked may have brought it, or learnt that it is refused
                    return find(row.token_encrypted) or self._ask(slot, ask)
                finally:
                    self._give_back(slot, until)
            self._sleep(random.uniform(0.03, 0.07))
        raise NotSent("waited too long for another process's token", call="conectar")

    def _ask(self, slot: Slot, ask: Ask) -> Session:
        try:
            session = self._local.ask(slot, ask)
        except ConnectionRefused as error:
            self._write(slot, error)
            raise
        self._write(slot, session)
        return session

    def refuse(self, slot: Slot, error: ConnectionRefused) -> None:
        """See `TokenStore`."""
        self._local.refuse(slot, error)
        self._write(slot, error)

    def _read(self, slot: Slot) -> sa.Row[Any] | None:
        with self._engine.begin() as db:
            return db.execute(
                sa.select(connections.c.token_encrypted).where(connections.c.account == slot.account)
            ).one_or_none()

    def _claim(self, slot: Slot, until: datetime) -> sa.Row[Any] | None:
        """Claim the exchange under the row's lock; the row as it was then, None where another process has the claim."""
        claimed = connections.c.token_claimed_until
        now = self._clock()
        with self._engine.begin() as db:
            return db.execute(
                sa.update(connections)
                .where(
                    connections.c.account == slot.account,
                    # one that ends later than any that is taken now was taken while the clock was wrong
                    sa.or_(claimed.is_(None), claimed <= now, claimed > now + self._exchange_limit + SKEW),
                )
                .values(token_claimed_until=until)
                .returning(connections.c.token_encrypted)
            ).one_or_none()

    def _give_back(self, slot: Slot, until: datetime) -> None:
        with suppress(*AWAY), self._engine.begin() as db:
            db.execute(
                sa.update(connections)
                .where(connections.c.account == slot.account, connections.c.token_claimed_until == until)
                .values(token_claimed_until=None)
            )

    def _write(self, slot: Slot, brought: Session | ConnectionRefused) -> None:
        """Keep what an exchange brought, unless the key was forgotten; it is good also where it can't be kept."""
        now = self._clock()
        if isinstance(brought, Session):
            facts, end = asdict(brought), brought.expires_at
        else:
            facts, end = asdict(RememberedRefusal.of(brought, now)), now + REFUSAL_LIFE
        plain = {name: at.timestamp() if isinstance(at, datetime) else at for name, at in facts.items()}
        sealed = self._fernet.encrypt(json.dumps({**plain, "slot": slot.digest}).encode()).decode()
        with suppress(*AWAY), self._engine.begin() as db:
            db.execute(
                sa.update(connections)
                .where(connections.c.account == slot.account, connections.c.key_encrypted.is_not(None))
                .values(token_encrypted=sealed, token_expires_at=end)
            )

    def _opened(self, slot: Slot, sealed: str | None) -> dict[str, Any]:
        """What `_write` kept for this slot; nothing for another key's, and for what a key that is gone has sealed."""
        try:
            facts: dict[str, Any] = json.loads(self._fernet.decrypt(sealed or ""))
        except (InvalidToken, ValueError):
            return {}
        if facts.pop("slot", None) != slot.digest:
            return {}
        instants = {"at", "issued_at", "expires_at"}
        return {
            name: datetime.fromtimestamp(value, UTC) if name in instants else value
            for name, value in facts.items()
        }
