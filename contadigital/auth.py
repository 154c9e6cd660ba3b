"""Tokens: one exchange of the key for all threads, and one refusal of it for all of them too.

Whoever finds the token missing, spent or refused asks for a turn; the others wait for what comes of it. Here
is what one process does; `stamping/connections/tokens.py` does it among all of them. A refused *token* proves nothing
about the key, but a refused *key* must not be tried again by the next forty-nine threads: some providers lock an
account after three.
"""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from contadigital.errors import ConnectionRefused, ContaDigitalError, NotSent, Throttled
from contadigital.reasons import Reason
from contadigital.records import Credentials, Session

TOKEN_LIFE = timedelta(minutes=50)
"""How long a token is used: the seen integration keeps it so long; it lives about an hour (inferred)."""
REFUSAL_LIFE = timedelta(seconds=60)
"""How long a refused key is not tried again unasked: the database has marked its connection long before."""
SKEW = timedelta(seconds=60)
"""Further ahead than the clocks of two processes are apart: such an instant was written while a clock was wrong."""
Ask = Callable[[], Session]


class Slot(NamedTuple):
    """Whose token it is, and a digest of the address and the key that it belongs to: a new key starts anew."""

    account: str
    digest: str


class TokenStore(Protocol):
    """Where tokens are kept, and who may exchange a key for one."""

    def session(self, slot: Slot, ask: Ask, *, refused: str | None = None, afresh: bool = False) -> Session:
        """A token that is good as far as known: the kept one, or what `ask` brings, asked once for all.

        `refused` is a token that ContaDigital has just refused: it is never returned again. `afresh` wants an
        exchange that began no earlier than this call. Raises
        `ConnectionRefused` where the key was refused, by this ask or one remembered (with `afresh`, only one
        that began no earlier than this call); `NotSent` or `Throttled` where no token could be had now.
        """

    def refuse(self, slot: Slot, error: ConnectionRefused) -> None:
        """Drop the token and remember that its key is refused."""


def slot_of(credentials: Credentials, key: str) -> Slot:
    """Where a connection's token is kept."""
    digest = hashlib.sha256("\0".join((credentials.account, credentials.base_url, key)).encode()).hexdigest()
    return Slot(credentials.account, digest)


def session_of(token: str, id_empresa: int | None, now: datetime) -> Session:
    """A session and the end of its use: five sixths of a JWT's own life, never more than 50 minutes."""
    claims = jwt_claims(token)
    life = TOKEN_LIFE
    start, end = claims.get("iat"), claims.get("exp")
    if isinstance(end, int):
        # Against its own iat where it has one: the two clocks need not agree.
        given_life = timedelta(seconds=end - (start if isinstance(start, int) else int(now.timestamp())))
        if timedelta(0) < given_life < timedelta(days=1):
            life = min(life, given_life * 5 / 6)
    for claim in ID_CLAIMS if id_empresa is None else ():
        value = claims.get(claim)
        if isinstance(value, int | str) and str(value).isdecimal() and int(value) > 0:
            id_empresa = int(value)
            break
    return Session(token, id_empresa, now, now + life)


ID_CLAIMS = ("IdEmpresa", "idEmpresa", "id_empresa", "idempresa")
"""Claims of a JWT in which the company's id is looked for (assumed)."""


def jwt_claims(token: str) -> dict[str, object]:
    """What a JWT says of itself, unverified (we are not its audience); empty for any other token."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


@dataclass(frozen=True, slots=True)
class RememberedRefusal:
    """A remembered ConnectionRefused, as plain facts."""

    reason: Reason
    cause: str
    detail: str
    http_status: int | None
    codigo: int | None
    at: datetime

    @classmethod
    def of(cls, error: ConnectionRefused, at: datetime) -> "RememberedRefusal":
        """The facts of a refusal."""
        return cls(error.reason, error.cause, error.detail, error.http_status, error.codigo, at)

    def as_error(self) -> ConnectionRefused:
        """The refusal once more, for somebody who did not ask himself."""
        return ConnectionRefused(
            self.reason,
            self.detail,
            cause=self.cause,
            call="conectar",
            http_status=self.http_status,
            codigo=self.codigo,
        )


def _again(error: ContaDigitalError) -> ContaDigitalError:
    """The failure of somebody else's ask, for one who waited for it."""
    if isinstance(error, Throttled):
        return Throttled(
            error.text, call=error.call, http_status=error.http_status, retry_after=error.retry_after
        )
    return NotSent(error.text, call=error.call, http_status=error.http_status, retry_after=error.retry_after)


class MemoryTokens:
    """Tokens of this process alone."""

    def __init__(self, *, clock: Callable[[], datetime], timeout: timedelta = timedelta(seconds=20)) -> None:
        self._clock = clock
        self._timeout = timeout
        self._lock = threading.Lock()
        self._locks: dict[Slot, threading.Lock] = {}
        self._sessions: dict[Slot, Session] = {}
        self._refusals: dict[Slot, RememberedRefusal] = {}
        self._failures: dict[Slot, tuple[float, ContaDigitalError]] = {}

    def session(self, slot: Slot, ask: Ask, *, refused: str | None = None, afresh: bool = False) -> Session:
        """See `TokenStore`."""
        began = self._clock()
        if not afresh and (found := self.kept(slot, refused)) is not None:
            return found
        with self.turn(slot):
            found = self.kept(slot, refused)
            now = self._clock()
            if found is not None and (not afresh or is_since(began, found.issued_at, now)):
                return found
            raise_if_refused(self.refusal(slot), now, began, afresh)
            return self.ask(slot, ask)

    def refuse(self, slot: Slot, error: ConnectionRefused) -> None:
        """See `TokenStore`."""
        self._sessions.pop(slot, None)
        self._refusals[slot] = RememberedRefusal.of(error, self._clock())

    def refusal(self, slot: Slot) -> RememberedRefusal | None:
        """The refusal remembered here."""
        return self._refusals.get(slot)

    def kept(self, slot: Slot, refused: str | None) -> Session | None:
        """The token kept here, if it is still good."""
        found = self._sessions.get(slot)
        return found if found is not None and is_good(found, refused, self._clock()) else None

    def keep(self, slot: Slot, session: Session) -> None:
        """Remember a token, and forget those whose time is over."""
        now = self._clock()
        with self._lock:
            for spent in [name for name, old in self._sessions.items() if old.expires_at <= now]:
                del self._sessions[spent]
            self._sessions[slot] = session
            self._refusals.pop(slot, None)

    def ask(self, slot: Slot, ask: Ask) -> Session:
        """Ask, and remember what came of it for those who wait (the lock is taken)."""
        try:
            session = ask()
        except ConnectionRefused as error:
            self.refuse(slot, error)
            raise
        except ContaDigitalError as error:
            self._failures[slot] = (time.monotonic(), error)
            raise
        self.keep(slot, session)
        return session

    @contextmanager
    def turn(self, slot: Slot) -> Iterator[None]:
        """One thread of this process at a time; a failure that came while waiting is everybody's."""
        began = time.monotonic()
        with self._lock:
            lock = self._locks.setdefault(slot, threading.Lock())
        if not lock.acquire(timeout=self._timeout.total_seconds()):
            raise NotSent("waited too long for a token", call="conectar")
        try:
            failed_at, error = self._failures.get(slot, (None, None))
            if failed_at is not None and error is not None and failed_at > began:
                raise _again(error)
            yield
        finally:
            lock.release()


def is_good(session: Session, refused: str | None, now: datetime) -> bool:
    """Whether a token is worth sending."""
    return session.token != refused and session.expires_at > now


def is_since(began: datetime, at: datetime, now: datetime) -> bool:
    """Whether something happened after `began`."""
    return began < at <= now + SKEW


def raise_if_refused(
    remembered: RememberedRefusal | None, now: datetime, began: datetime, afresh: bool
) -> None:
    """Raise a remembered refusal that answers this call: a person who asks again gets a new try, one for all."""
    if remembered is None:
        return
    if is_since(began if afresh else now - REFUSAL_LIFE, remembered.at, now):
        raise remembered.as_error()
