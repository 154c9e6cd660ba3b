"""Follows invoices in the table until they settle: used by `submit --wait` and `demo`.

An invoice may exist before it is sent again, so its version at the start is noted, and only what came later counts.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from models.tables import connections, events, invoices
from models.vocabulary import ConnectionStatus, InvoiceStatus

Key = tuple[str, str]
BATCH = 1_000
UNTAKEN = "sent"
"""The status of an invoice that no worker has accepted yet."""
ENDS = frozenset(
    {InvoiceStatus.STAMPED, InvoiceStatus.REJECTED, InvoiceStatus.FAILED, InvoiceStatus.CANCELLED}
)


@dataclass(frozen=True, slots=True)
class Ending:
    """The state of one invoice; `errors` are those of its last event, also of a conflict."""

    account: str
    external_id: str
    status: str
    reason: str | None = None
    uuid: str | None = None
    serie: str | None = None
    folio: str | None = None
    message: str | None = None
    errors: tuple[dict[str, Any], ...] = ()
    settled: bool = False
    conflict: bool = False

    @property
    def is_stamped(self) -> bool:
        """Whether what was sent is stamped."""
        return self.status == InvoiceStatus.STAMPED and not self.conflict

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "account": self.account,
            "external_id": self.external_id,
            "status": "conflict" if self.conflict else self.status,
            "reason": self.reason,
            "uuid": self.uuid,
            "serie": self.serie,
            "folio": self.folio,
            "message": self.message,
            "errors": list(self.errors),
        }


class Followed:
    """Some invoices, from before they were sent."""

    def __init__(self, engine: sa.Engine, keys: Iterable[Key]) -> None:
        """Note each one's version now."""
        self._engine = engine
        self._keys = list(dict.fromkeys(keys))
        with engine.connect() as db:
            self._before: dict[Key, int] = {
                (row.account, row.external_id): row.version
                for part in _parts(self._keys)
                for row in db.execute(_versions(part))
            }
        self._open = set(self._keys)
        self._endings: dict[Key, Ending] = {key: Ending(*key, status=UNTAKEN) for key in self._keys}

    def refresh(self) -> None:
        """Read the state of those that have not settled."""
        waiting = [key for key in self._keys if key in self._open]
        with self._engine.connect() as db:
            for part in _parts(waiting):
                rows = [row for row in db.execute(_states(part)) if row.version > self._before_of(row)]
                settled = [row for row in rows if _is_settled(row)]
                last_events = _last_events(db, [row.id for row in settled])
                for row in rows:
                    key = (row.account, row.external_id)
                    last = last_events.get(row.id)
                    self._endings[key] = _ending(row, last, settled=last is not None)
                    if last is not None:
                        self._open.discard(key)

    def _before_of(self, row: sa.Row[Any]) -> int:
        return self._before.get((row.account, row.external_id), 0)

    @property
    def settled(self) -> int:
        """How many have."""
        return len(self._keys) - len(self._open)

    @property
    def is_settled(self) -> bool:
        """Whether all have."""
        return not self._open

    @property
    def endings(self) -> list[Ending]:
        """The state of each, in the order they were given."""
        return [self._endings[key] for key in self._keys]

    def counts(self) -> Counter[str]:
        """How many are at each status."""
        return Counter("conflict" if each.conflict else each.status for each in self._endings.values())


def _parts(keys: Sequence[Key]) -> list[Sequence[Key]]:
    return [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]


def _chosen(part: Sequence[Key]) -> sa.ColumnElement[bool]:
    return sa.tuple_(invoices.c.account, invoices.c.external_id).in_(part)


def _versions(part: Sequence[Key]) -> sa.Select[Any]:
    return sa.select(invoices.c.account, invoices.c.external_id, invoices.c.version).where(_chosen(part))


def _states(part: Sequence[Key]) -> sa.Select[Any]:
    columns = (
        "id",
        "account",
        "external_id",
        "status",
        "reason",
        "version",
        "uuid",
        "serie",
        "folio",
        "errors",
    )
    return (
        sa.select(*(invoices.c[name] for name in columns), connections.c.status.label("connection"))
        .outerjoin(connections, connections.c.account == invoices.c.account)
        .where(_chosen(part))
    )


def _is_settled(row: sa.Row[Any]) -> bool:
    """Whether waiting longer is of no use: settled, or on hold behind a connection that a person must fix."""
    if row.status == InvoiceStatus.ON_HOLD:
        return row.connection not in {ConnectionStatus.ACTIVE, ConnectionStatus.PENDING}
    return row.status in ENDS


def _last_events(db: sa.Connection, ids: Sequence[Any]) -> dict[Any, Any]:
    """Return the last event of each invoice, which has the result of its last message."""
    if not ids:
        return {}
    last = (
        sa.select(events.c.subject_id, events.c.data)
        .distinct(events.c.subject_id)
        .where(events.c.subject_id.in_(ids))
        .order_by(events.c.subject_id, events.c.version.desc())
    )
    return {row.subject_id: row for row in db.execute(last)}


def _ending(row: sa.Row[Any], last: sa.Row[Any] | None, *, settled: bool) -> Ending:
    data = last.data if last is not None else {}
    errors = tuple(data.get("errors") or row.errors or ())
    return Ending(
        row.account,
        row.external_id,
        row.status,
        row.reason,
        row.uuid,
        row.serie,
        row.folio,
        data.get("message"),
        errors,
        settled,
        conflict=any(error.get("code") == "timbrado.conflict" for error in errors),
    )
