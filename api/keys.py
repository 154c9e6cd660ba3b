"""Who may ask for what: keys of programs and of persons, kept as hashes.

A key is 256 random bits, so one SHA-256 is hash enough. It is shown once, when it is made.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import uuid_utils.compat as uuids

from models.compiled import Compiled, param
from models.tables import api_keys, panel_sessions

SCOPES = ("submit", "read", "operate")
ROLES = {"viewer": ("read",), "operator": ("read", "operate")}
PREFIX = "tk_"
NOTED_EVERY = timedelta(minutes=1)
"""`last_used_at` is written no more often: a read must not cost a write each time."""


class NameTaken(ValueError):
    """There is a key of that name already, perhaps a revoked one."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is in force."""

    id: UUID
    name: str
    is_person: bool
    role: str | None
    scopes: frozenset[str]
    account_glob: str | None

    def may(self, scope: str) -> bool:
        """Whether it has a scope."""
        return scope in self.scopes

    def sees(self, account: str) -> bool:
        """Whether an account's data are its own."""
        return self.account_glob is None or bool(_pattern(self.account_glob).fullmatch(account))

    def sees_of(self, column: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        """Return the same as a condition in SQL."""
        return sees_of(self.account_glob, column)


def sees_of(glob: str | None, column: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Return whether a glob takes an account, as a condition in SQL.

    A pattern stands in it, and is no parameter: a plan that is made once must know how it begins to go by an index.
    """
    if glob is None:
        return sa.true()
    if not set("*?") & set(glob):
        return column == glob
    escaped = re.sub(r"([%_\\])", r"\\\1", glob)
    pattern = sa.literal(escaped.replace("*", "%").replace("?", "_"), sa.Text, literal_execute=True)
    return column.like(pattern, escape="\\")


@lru_cache(maxsize=1024)
def _pattern(glob: str) -> re.Pattern[str]:
    """Return a glob as an expression: `*` is any text, `?` one character, nothing else is special."""
    parts = [{"*": ".*", "?": "."}.get(each, re.escape(each)) for each in glob]
    return re.compile("".join(parts), re.DOTALL)


def hash_of(secret: str) -> str:
    """Return what is stored of a key or a session."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create(
    db: sa.Connection,
    name: str,
    *,
    now: datetime,
    scopes: Sequence[str] = (),
    role: str | None = None,
    account_glob: str | None = None,
    expires_at: datetime | None = None,
) -> str:
    """Make a key, of a person where a role is given, and return it: nothing can show it again. Raises NameTaken."""
    secret = PREFIX + secrets.token_urlsafe(32)
    wanted = ROLES[role] if role is not None else tuple(scopes)
    if unknown := set(wanted) - set(SCOPES):
        raise ValueError(f"no such scope: {', '.join(sorted(unknown))}")
    if db.execute(sa.select(api_keys.c.id).where(api_keys.c.name == name)).one_or_none() is not None:
        raise NameTaken(name)
    db.execute(
        sa.insert(api_keys).values(
            id=uuids.uuid7(),
            name=name,
            is_person=role is not None,
            role=role,
            scopes=list(wanted),
            account_glob=account_glob,
            key_hash=hash_of(secret),
            created_at=now,
            expires_at=expires_at,
        )
    )
    return secret


def find(db: sa.Connection, digest: str, now: datetime) -> Key | None:
    """Return the key in force whose hash this is, and note its use."""
    return _noted(db, _BY_HASH.run(db, which=digest, now=now).one_or_none(), now)


def of_session(db: sa.Connection, digest: str, now: datetime) -> Key | None:
    """Return the key in force of the panel's session whose hash this is, and note its use."""
    return _noted(db, _OF_SESSION.run(db, which=digest, now=now).one_or_none(), now)


_NAMES = ("id", "name", "is_person", "role", "scopes", "account_glob", "last_used_at")
_SELECT = sa.select(*(api_keys.c[name] for name in _NAMES)).where(
    api_keys.c.revoked_at.is_(None),
    sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > param("now")),
)
_BY_HASH = Compiled(lambda: _SELECT.where(api_keys.c.key_hash == param("which")))
_OF_SESSION = Compiled(
    lambda: _SELECT.join(panel_sessions, panel_sessions.c.api_key_id == api_keys.c.id).where(
        panel_sessions.c.token_hash == param("which"), panel_sessions.c.expires_at > param("now")
    )
)


def _noted(db: sa.Connection, row: Any, now: datetime) -> Key | None:
    if row is None:
        return None
    if row.last_used_at is None or row.last_used_at < now - NOTED_EVERY:
        db.execute(sa.update(api_keys).where(api_keys.c.id == row.id).values(last_used_at=now))
    return Key(row.id, row.name, row.is_person, row.role, frozenset(row.scopes), row.account_glob)


def revoke(db: sa.Connection, name: str, now: datetime) -> bool:
    """Take a key out of force, its sessions too; whether there was one."""
    revoked = sa.update(api_keys).where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
    return db.execute(revoked.values(revoked_at=now)).rowcount > 0


def listed(db: sa.Connection) -> list[dict[str, Any]]:
    """Return every key as it may be shown: nothing of the key itself."""
    columns = [each for each in api_keys.c if each.name not in {"id", "key_hash"}]
    return [row._asdict() for row in db.execute(sa.select(*columns).order_by(api_keys.c.name))]
