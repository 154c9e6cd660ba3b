"""What the sandbox has seen: which UUIDs each FolioOriginal has, and how often each call came to which end.

A duplicate is a FolioOriginal of one account with more than one UUID, cancelled
or not. Calls are counted in memory and written once a second, so a kill -9 may forget a second of counts;
it never forgets a stamp.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from datetime import datetime
from typing import Any


class Ledger:
    """Counts, and adds up."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._calls: Counter[tuple[str, str, str]] = Counter()

    def count(self, account: str, call: str, result: str) -> None:
        """Count one call."""
        self._calls[account, call, result] += 1

    def add_mail(self, account: str, record_id: int, email: str, at: datetime) -> None:
        """Write that the documents of a record were mailed."""
        self._db.execute("INSERT INTO mails VALUES (?, ?, ?, ?)", (account, record_id, email, at.timestamp()))

    def write(self) -> None:
        """Write the calls counted since the last time."""
        if not self._calls:
            return
        counted, self._calls = self._calls, Counter()
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "INSERT INTO calls VALUES (?, ?, ?, ?)"
            " ON CONFLICT (account, call, result) DO UPDATE SET times = times + excluded.times",
            [(*key, times) for key, times in counted.items()],
        )
        self._db.execute("COMMIT")

    def forget(self) -> None:
        """Forget what is counted and not written."""
        self._calls.clear()

    def report(self, account: str | None = None) -> dict[str, Any]:
        """The ledger of one account, or of all.

        `folios`: {account: {FolioOriginal: [UUID]}}; `calls`: {account: {call: {result: times}}}, where a result is
        `ok`, `refused:<Codigo>`, or `fault:<name>` (counted beside the result of what took effect).
        """
        self.write()
        folios = self._folios(account)
        records, stamped, cancelled = self._db.execute(
            "SELECT COUNT(*), COUNT(uuid), COALESCE(SUM(json_extract(cancel, '$.state') = 'cancelled'), 0)"
            " FROM records WHERE (?1 IS NULL OR account = ?1)",
            (account,),
        ).fetchone()
        return {
            "duplicates": sum(
                len(uuids) > 1 for of_account in folios.values() for uuids in of_account.values()
            ),
            "stamps": stamped,
            "drafts": records - stamped,
            "cancelled": cancelled,
            "folios": folios,
            "calls": self._counted(account),
            "mails": self._mails(account),
        }

    def _folios(self, account: str | None) -> dict[str, dict[str, list[str]]]:
        folios: dict[str, dict[str, list[str]]] = {}
        for name, folio, uuid in self._db.execute(
            "SELECT account, folio_original, uuid FROM records"
            " WHERE uuid IS NOT NULL AND (?1 IS NULL OR account = ?1) ORDER BY id",
            (account,),
        ):
            folios.setdefault(name, {}).setdefault(folio, []).append(uuid)
        return folios

    def _counted(self, account: str | None) -> dict[str, dict[str, dict[str, int]]]:
        calls: dict[str, dict[str, dict[str, int]]] = {}
        for name, call, result, times in self._db.execute(
            "SELECT account, call, result, times FROM calls WHERE (?1 IS NULL OR account = ?1)"
            " ORDER BY account, call, result",
            (account,),
        ):
            calls.setdefault(name, {}).setdefault(call, {})[result] = times
        return calls

    def _mails(self, account: str | None) -> list[dict[str, Any]]:
        rows = self._db.execute(
            "SELECT account, record, email FROM mails WHERE (?1 IS NULL OR account = ?1) ORDER BY rowid",
            (account,),
        )
        return [{"account": name, "id": record, "email": email} for name, record, email in rows]
