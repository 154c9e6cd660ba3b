"""Tokens shared by all processes, in Redis: encrypted values under names that hold no account, RFC or key.

The one thing a newcomer would get wrong: Redis is a convenience here too. When it is away, each process
asks for its own token and remembers refusals by itself; a handful of exchanges more, and no invoice waits.
"""

import json
import random
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import cast

from cryptography.fernet import InvalidToken, MultiFernet
from redis import Redis
from redis.exceptions import RedisError

from contadigital.auth import REFUSAL_LIFE, Ask, MemoryTokens, RememberedRefusal, is_good, still_holds
from contadigital.errors import ConnectionRefused, NotSent
from contadigital.reasons import Reason
from contadigital.records import Session

TRUSTED_FOR = 1.0
"""Seconds for which a process takes a token for kept without asking Redis; a refused one is asked for at once."""


class RedisTokens:
    """Tokens of all processes, in Redis: encrypted values under names that hold no account, RFC or key."""

    def __init__(
        self,
        redis: Redis,
        fernet: MultiFernet,
        *,
        clock: Callable[[], datetime],
        prefix: str = "timbrado:token",
        timeout: timedelta = timedelta(seconds=20),
        exchange_limit: timedelta = timedelta(seconds=60),
        invalidate_customer: timedelta = timedelta(seconds=5),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`exchange_limit` outlasts the longest ask: after it another process may take a dead one's turn.

        `invalidate_customer` is how long Redis is left alone after it failed.
        """
        self._redis = redis
        self._fernet = fernet
        self._clock = clock
        self._prefix = prefix
        self._timeout = timeout
        self._exchange_limit = exchange_limit
        self._distrust = invalidate_customer.total_seconds()
        self._monotonic = monotonic
        self._sleep = sleep
        self._local = MemoryTokens(clock=clock, timeout=timeout)
        self._away_until = 0.0
        self._seen: dict[str, tuple[Session, float]] = {}
        self._release = redis.register_script(
            "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
        )

    def session(self, slot: str, ask: Ask, *, refused: str | None = None, afresh: bool = False) -> Session:
        """See `TokenStore`. While Redis is away, every process asks for itself."""
        if self._monotonic() < self._away_until:
            return self._local.session(slot, ask, refused=refused, afresh=afresh)
        began = self._clock()
        if not afresh and (trusted := self._trusted(slot, refused)) is not None:
            return trusted
        try:
            if not afresh and (found := self._kept(slot, refused)) is not None:
                return found
            with self._local.turn(slot, began):
                return self._in_turn(slot, ask, refused, afresh, began)
        except RedisError:
            self._away_until = self._monotonic() + self._distrust
            return self._local.session(slot, ask, refused=refused, afresh=afresh)

    def refuse(self, slot: str, error: ConnectionRefused) -> None:
        """See `TokenStore`."""
        self._seen.pop(slot, None)
        self._local.refuse(slot, error)
        self._write_refusal(slot, error)

    def forget(self, slot: str) -> None:
        """See `TokenStore`. While Redis is away, what lies there ends with its token's life."""
        self._local.forget(slot)
        try:
            self._redis.delete(self._name("session", slot), self._name("refused", slot))
        except RedisError:
            self._away_until = self._monotonic() + self._distrust

    def _in_turn(self, slot: str, ask: Ask, refused: str | None, afresh: bool, began: datetime) -> Session:
        """Win the turn among the processes and ask, or wait for what the winner brings."""
        mine = secrets.token_hex(16)
        give_up = self._monotonic() + self._timeout.total_seconds()
        while True:
            found = self._brought(slot, refused, afresh, began)
            if found is not None:
                return found
            lock_life = int(self._exchange_limit.total_seconds() * 1000)
            if self._redis.set(self._name("lock", slot), mine, nx=True, px=lock_life):
                try:
                    # Between our look and our turn the last winner may have brought it, or learnt that it is refused.
                    return self._brought(slot, refused, afresh, began) or self._ask(slot, ask)
                finally:
                    self._release_turn(slot, mine)
            if self._monotonic() >= give_up:
                raise NotSent("waited too long for another process's token", call="conectar")
            self._sleep(random.uniform(0.03, 0.07))

    def _brought(self, slot: str, refused: str | None, afresh: bool, began: datetime) -> Session | None:
        """What another process has brought: a token, or a refusal, which is raised; None for neither."""
        found = self._kept(slot, refused)
        if found is not None and (not afresh or found.issued_at > began):
            return found
        remembered = self._read_refusal(slot)
        if remembered is not None and still_holds(remembered, self._clock(), began, afresh):
            raise remembered.as_error()
        return None

    def _ask(self, slot: str, ask: Ask) -> Session:
        """Ask, and tell all processes; a Redis that fails here does not cost the token that was brought."""
        try:
            session = self._local.ask(slot, ask)
        except ConnectionRefused as error:
            self._write_refusal(slot, error)
            raise
        life = session.expires_at - self._clock()
        try:
            self._redis.set(
                self._name("session", slot),
                self._sealed(
                    {
                        "token": session.token,
                        "id_empresa": session.id_empresa,
                        "issued_at": session.issued_at.timestamp(),
                        "expires_at": session.expires_at.timestamp(),
                    }
                ),
                px=max(1, int(life.total_seconds() * 1000)),
            )
            self._redis.delete(self._name("refused", slot))
        except RedisError:
            self._away_until = self._monotonic() + self._distrust
        return session

    def _release_turn(self, slot: str, mine: str) -> None:
        try:
            self._release(keys=[self._name("lock", slot)], args=[mine])
        except RedisError:
            self._away_until = self._monotonic() + self._distrust

    def _write_refusal(self, slot: str, error: ConnectionRefused) -> None:
        fact = RememberedRefusal.of(error, self._clock())
        try:
            self._redis.set(
                self._name("refused", slot),
                self._sealed(
                    {
                        "reason": fact.reason,
                        "cause": fact.cause,
                        "detail": fact.detail,
                        "http_status": fact.http_status,
                        "codigo": fact.codigo,
                        "at": fact.at.timestamp(),
                    }
                ),
                px=int(REFUSAL_LIFE.total_seconds() * 1000),
            )
            self._redis.delete(self._name("session", slot))
        except RedisError:
            self._away_until = self._monotonic() + self._distrust

    def _kept(self, slot: str, refused: str | None) -> Session | None:
        facts = self._opened(self._redis.get(self._name("session", slot)))
        if facts is None:
            return None
        session = Session(
            token=str(facts["token"]),
            id_empresa=cast("int | None", facts["id_empresa"]),
            issued_at=_instant(facts["issued_at"]),
            expires_at=_instant(facts["expires_at"]),
        )
        if not is_good(session, refused, self._clock()):
            return None
        self._local.keep(slot, session)
        self._seen[slot] = (session, self._monotonic() + TRUSTED_FOR)
        return session

    def _trusted(self, slot: str, refused: str | None) -> Session | None:
        """The token that Redis told a moment ago: not worth a round trip for every call of every thread."""
        session, until = self._seen.get(slot, (None, 0.0))
        if session is None or self._monotonic() >= until or not is_good(session, refused, self._clock()):
            return None
        return session

    def _read_refusal(self, slot: str) -> RememberedRefusal | None:
        facts = self._opened(self._redis.get(self._name("refused", slot)))
        if facts is None:
            return None
        return RememberedRefusal(
            reason=cast("Reason", facts["reason"]),
            cause=str(facts["cause"]),
            detail=str(facts["detail"]),
            http_status=cast("int | None", facts["http_status"]),
            codigo=cast("int | None", facts["codigo"]),
            at=_instant(facts["at"]),
        )

    def _name(self, kind: str, slot: str) -> str:
        return f"{self._prefix}:{kind}:{slot}"

    def _sealed(self, facts: dict[str, object]) -> bytes:
        return self._fernet.encrypt(json.dumps(facts).encode())

    def _opened(self, value: object) -> dict[str, object] | None:
        """What `_sealed` wrote; None for nothing, and for what a key that is gone has sealed."""
        if not isinstance(value, bytes | str):
            return None
        try:
            return cast("dict[str, object]", json.loads(self._fernet.decrypt(value)))
        except (InvalidToken, ValueError):
            return None


def _instant(value: object) -> datetime:
    return datetime.fromtimestamp(float(cast("float", value)), UTC)
