"""What a process remembers of the connections that it works with, so that the usual invoice asks for none of it.

Nothing remembered is believed by itself: whoever commits with it names the version of the row that it was read from,
and the statement of that commit writes nothing where the row is another by then.
"""

import threading
from collections import OrderedDict
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cfdi.issuer import Issuer
from models.compiled import AtOnce, Compiled, param
from models.tables import CONNECTION_COLUMNS, connections
from stamping.tools import Tools

REMEMBERED = 500
"""Accounts whose connections, customers and products one process remembers."""

_VERSION: sa.ColumnElement[str] = sa.literal_column(
    "connections.xmin::text || ' ' || extract(epoch FROM connections.updated_at)::text"
)
"""What is another one after each change of a row; stamping/sql/ says the same."""
_READ = Compiled(
    lambda: sa.select(*CONNECTION_COLUMNS, _VERSION.label("row_version")).where(
        connections.c.account == param("account")
    )
)
_connections: "OrderedDict[tuple[int, str], sa.Row[Any]]" = OrderedDict()
_refs: "OrderedDict[tuple[int, UUID, str], dict[tuple[str, str], tuple[int, str]]]" = OrderedDict()
_lock = threading.Lock()


def connection_of(account: str, tools: Tools, *, version: str | None = None) -> sa.Row[Any] | None:
    """Return an account's connection: as it is remembered, or read where it is not, or is not of this version."""
    key = (id(tools.engine), account)
    known = _connections.get(key)
    if known is not None and version in (None, known.row_version):
        return known
    row = read(tools.at_once, account)
    if row is not None:
        with _lock:
            _keep(_connections, key, row)
    return row


def read(db: sa.Connection | AtOnce, account: str) -> sa.Row[Any] | None:
    """Return an account's connection as it is now, with the version of its row."""
    return _READ.run(db, account=account).one_or_none()  # type: ignore[no-any-return]  # a row or None


def forget(account: str, tools: Tools) -> None:
    """Have an account's connection read again."""
    with _lock:
        _connections.pop((id(tools.engine), account), None)


def issuer_of(connection: sa.Row[Any] | None) -> Issuer | None:
    """Return the emisor as a connection knows it; None without a connection."""
    if connection is None:
        return None
    return Issuer(
        rfc=connection.rfc,
        nombre=connection.registered_name or connection.razon_social,
        regimen_fiscal=connection.regimen_fiscal,
        serie=connection.serie,
    )


MOST_REFS = 5_000
"""Customers and products of one connection that are remembered; past it all are asked for again."""


def keep_refs(connection: sa.Row[Any], found: dict[tuple[str, str], tuple[int, str]], tools: Tools) -> None:
    """Remember ContaDigital's ids of customers and products, each with the fingerprint of what it was given."""
    key = (id(tools.engine), connection.id, connection.key_fingerprint)
    with _lock:
        known = _refs.get(key, {})
        _keep(_refs, key, {**known, **found} if len(known) < MOST_REFS else dict(found))


def refs_of(connection: sa.Row[Any], tools: Tools) -> dict[tuple[str, str], tuple[int, str]]:
    """Return the ids that are remembered for the key of this connection."""
    return _refs.get((id(tools.engine), connection.id, connection.key_fingerprint), {})


def _keep(known: "OrderedDict[Any, Any]", key: Any, value: Any) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > REMEMBERED:
        known.popitem(last=False)
