"""The invoices ContaDigital holds: drafts, and stamped ones with their XML.

A record is stamped once. Every write that would touch a stamped one says
so in its WHERE and changes nothing; a second stamp for the same invoice is always a second record.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

_COLUMNS: Final = (
    "id, account, folio_original, body, uuid, serie, folio, fecha, total, xml, stamped_at, cancel"
)


# How the SAT's status service words each state of a cancellation: Estado and EstatusCancelacion.
_STATES: Final = {
    "none": ("Timbrada", "Vigente", ""),
    "requested": ("Cancelacion solicitada", "Vigente", "En proceso"),
    "refused": ("Timbrada", "Vigente", "Solicitud rechazada"),
    "cancelled": ("Cancelada", "Cancelado", "Cancelado sin aceptación"),
    "accepted": ("Cancelada", "Cancelado", "Cancelado con aceptación"),
    "expired": ("Cancelada", "Cancelado", "Plazo vencido"),
}


@dataclass(frozen=True)
class StoredInvoice:
    """One invoice at ContaDigital: a draft while `uuid` is None."""

    id: int
    account: str
    folio_original: str
    body: str
    uuid: str | None
    serie: str | None
    folio: int | None
    fecha: str | None
    total: str | None
    xml: bytes | None
    stamped_at: float | None
    cancel: str | None

    @property
    def cancellation(self) -> dict[str, Any] | None:
        """What is known of its cancellation: state, how it came to be (accepted, expired), motivo, requested_at..."""
        return None if self.cancel is None else dict(json.loads(self.cancel))

    @property
    def states(self) -> dict[str, str]:
        """How it stands: `Estatus` at ContaDigital, `Estado` and `EstatusCancelacion` at the SAT."""
        if self.uuid is None:
            return {"Estatus": "Borrador", "Estado": "", "EstatusCancelacion": ""}
        cancellation = self.cancellation
        state = "none" if cancellation is None else cancellation["how"] or cancellation["state"]
        return dict(zip(("Estatus", "Estado", "EstatusCancelacion"), _STATES[state], strict=True))


class Records:
    """Reads and writes records; several changes at once go inside `Store.commit`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, account: str, folio_original: str, body: str) -> int:
        """A new draft; gives its id."""
        cursor = self._db.execute(
            "INSERT INTO records (account, folio_original, body) VALUES (?, ?, ?)",
            (account, folio_original, body),
        )
        return int(cursor.lastrowid or 0)

    def rewrite(self, record_id: int, folio_original: str, body: str) -> None:
        """Give a draft other content."""
        self._db.execute(
            "UPDATE records SET folio_original = ?, body = ? WHERE id = ? AND uuid IS NULL",
            (folio_original, body, record_id),
        )

    def stamp(
        self,
        record_id: int,
        *,
        uuid: str,
        serie: str,
        folio: int,
        fecha: str,
        total: str,
        xml: bytes,
        stamped_at: datetime,
    ) -> None:
        """Write the stamp of a draft."""
        self._db.execute(
            "UPDATE records SET uuid = ?, serie = ?, folio = ?, fecha = ?, total = ?, xml = ?, stamped_at = ?"
            " WHERE id = ? AND uuid IS NULL",
            (uuid, serie, folio, fecha, total, xml, stamped_at.timestamp(), record_id),
        )

    def find(self, account: str, record_id: int) -> StoredInvoice | None:
        """A record by id, if it is this account's."""
        return self._one(" WHERE id = ? AND account = ?", record_id, account)

    def get(self, account: str, record_id: int) -> StoredInvoice:
        """A record that is known to be there; raises LookupError where it is not."""
        record = self.find(account, record_id)
        if record is None:
            raise LookupError(f"there is no record {record_id} of {account}")
        return record

    def with_uuid(self, uuid: str) -> StoredInvoice | None:
        """The record that carries a UUID, of any account."""
        return self._one(" WHERE uuid = ?", uuid.upper())

    def stamped(self, account: str) -> list[StoredInvoice]:
        """Every stamped record of an account, the oldest first."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM records WHERE account = ? AND uuid IS NOT NULL ORDER BY id",  # noqa: S608 - constants
            (account,),
        )
        return [StoredInvoice(*row) for row in rows]

    def another_stamped(self, account: str, record_id: int) -> StoredInvoice | None:
        """Any other stamped record of an account (to play a provider that mixes answers up)."""
        where = " WHERE account = ? AND uuid IS NOT NULL AND id <> ? ORDER BY id DESC LIMIT 1"
        return self._one(where, account, record_id)

    def save_cancellation(self, record_id: int, cancellation: dict[str, Any]) -> None:
        """Write how the cancellation of a record stands."""
        text = json.dumps(cancellation, ensure_ascii=False)
        self._db.execute("UPDATE records SET cancel = ? WHERE id = ?", (text, record_id))

    def _one(self, where: str, *values: object) -> StoredInvoice | None:
        # Both parts are constants of this module; what comes from outside is in `values`.
        row = self._db.execute(f"SELECT {_COLUMNS} FROM records{where}", values).fetchone()  # noqa: S608
        return None if row is None else StoredInvoice(*row)
