"""What ContaDigital remembers, in one SQLite file: accounts, customers, products, records, keys, and how it was called.

What a newcomer would get wrong: a stamp is committed before its answer leaves, so a client may know less than the
books, never more. WAL with `synchronous=NORMAL` survives a kill -9 of this process (not a power cut, which is no
fear of a sandbox).
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sandbox.accounts import Account

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS accounts (name TEXT PRIMARY KEY, data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS stamps_left (account TEXT PRIMARY KEY, value INTEGER);
CREATE TABLE IF NOT EXISTS folios (account TEXT, serie TEXT, folio INTEGER NOT NULL, PRIMARY KEY (account, serie));
CREATE TABLE IF NOT EXISTS customers (
    id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, rfc TEXT NOT NULL, data TEXT NOT NULL,
    UNIQUE (account, rfc));
CREATE TABLE IF NOT EXISTS products (
    id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, clave TEXT NOT NULL, clave_prod_serv TEXT NOT NULL,
    data TEXT NOT NULL, UNIQUE (account, clave));
CREATE INDEX IF NOT EXISTS products_by_key ON products (account, clave_prod_serv);
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, folio_original TEXT NOT NULL, body TEXT NOT NULL,
    uuid TEXT UNIQUE, serie TEXT, folio INTEGER, fecha TEXT, total TEXT, xml BLOB, stamped_at REAL,
    cancel TEXT);
CREATE INDEX IF NOT EXISTS records_by_folio ON records (account, folio_original) WHERE uuid IS NOT NULL;
CREATE TABLE IF NOT EXISTS identities (name TEXT PRIMARY KEY, certificate BLOB NOT NULL, key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS taxpayers (rfc TEXT PRIMARY KEY, name TEXT NOT NULL, postcode TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    account TEXT, call TEXT, result TEXT, times INTEGER NOT NULL, PRIMARY KEY (account, call, result));
CREATE TABLE IF NOT EXISTS mails (account TEXT, record INTEGER, email TEXT, sent_at REAL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""
_COLUMNS: Final = (
    "id, account, folio_original, body, uuid, serie, folio, fecha, total, xml, stamped_at, cancel"
)


@dataclass(frozen=True)
class Record:
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
        """What is known of its cancellation: motivo, state, requested_at, acuse."""
        return None if self.cancel is None else dict(json.loads(self.cancel))


class Books:
    """The file and everything that is read from it or written to it."""

    def __init__(self, path: Path | str) -> None:
        if str(path) != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("PRAGMA busy_timeout=3000")
        self._db.executescript(_SCHEMA)
        self._calls: Counter[tuple[str, str, str]] = Counter()

    def close(self) -> None:
        """Write what is still only counted, and close the file."""
        self.write_calls()
        self._db.close()

    @contextmanager
    def commit(self) -> Iterator[None]:
        """Everything inside is written together or not at all."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def secret(self, name: str) -> bytes:
        """Thirty-two random bytes, the same over restarts."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        if row is None:
            made = secrets.token_bytes(32)
            self._db.execute("INSERT INTO facts VALUES (?, ?)", (name, made))
            return made
        return bytes(row[0])

    def forget_everything(self) -> None:
        """Back to empty books, keys apart (making them anew would only cost time)."""
        self._calls.clear()
        with self.commit():
            for table in (
                "accounts",
                "stamps_left",
                "folios",
                "customers",
                "products",
                "records",
                "taxpayers",
                "calls",
                "mails",
            ):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - names from the line above

    # -- accounts

    def accounts(self) -> list[Account]:
        """Every account, with its stamps and folios as they stand."""
        left = dict(self._db.execute("SELECT account, value FROM stamps_left"))
        folios = {(a, s): f for a, s, f in self._db.execute("SELECT account, serie, folio FROM folios")}
        found = [
            Account.model_validate_json(data) for (data,) in self._db.execute("SELECT data FROM accounts")
        ]
        for account in found:
            account.stamps_left = left.get(account.name, account.stamps_left)
            for row in account.catalogues["Series"]:
                row["FolioActual"] = folios.get((account.name, row["Serie"]), row["FolioActual"])
        return found

    def save_account(self, account: Account) -> None:
        """Write an account and its stamps left."""
        with self.commit():
            self._db.execute(
                "INSERT OR REPLACE INTO accounts VALUES (?, ?)", (account.name, account.model_dump_json())
            )
            self._db.execute(
                "INSERT OR REPLACE INTO stamps_left VALUES (?, ?)", (account.name, account.stamps_left)
            )

    def deal_other_ids(self, account: str) -> None:
        """Give the customers and products of an account other ids."""
        with self.commit():
            for table in ("customers", "products"):
                # Both names stand on the line above.
                rows = self._db.execute(
                    f"SELECT id FROM {table} WHERE account = ? ORDER BY id", (account,)
                ).fetchall()  # noqa: S608
                (top,) = self._db.execute(f"SELECT COALESCE(MAX(id), 0) FROM {table}").fetchone()  # noqa: S608
                for step, (row_id,) in enumerate(rows):
                    self._db.execute(f"UPDATE {table} SET id = ? WHERE id = ?", (top + 17 + step, row_id))  # noqa: S608

    # -- customers and products

    def customer(self, account: str, rfc: str) -> dict[str, Any] | None:
        """A customer by RFC, with its `Id`."""
        return self._row("SELECT id, data FROM customers WHERE account = ? AND rfc = ?", account, rfc)

    def customer_by_id(self, account: str, customer_id: int) -> dict[str, Any] | None:
        """A customer by id, if it is this account's."""
        return self._row("SELECT id, data FROM customers WHERE account = ? AND id = ?", account, customer_id)

    def save_customer(self, account: str, rfc: str, data: dict[str, Any]) -> dict[str, Any]:
        """Write a customer, new or known, and give it back with its `Id`."""
        self._db.execute(
            "INSERT INTO customers (account, rfc, data) VALUES (?, ?, ?)"
            " ON CONFLICT (account, rfc) DO UPDATE SET data = excluded.data",
            (account, rfc, json.dumps(data, ensure_ascii=False)),
        )
        saved = self.customer(account, rfc)
        if saved is None:
            raise LookupError(f"customer {rfc} of {account} was written and is not there")
        return saved

    def products(self, account: str, clave_prod_serv: str) -> list[dict[str, Any]]:
        """The products of an account under one ClaveProdServ."""
        rows = self._db.execute(
            "SELECT id, data FROM products WHERE account = ? AND clave_prod_serv = ? ORDER BY id",
            (account, clave_prod_serv),
        )
        return [{"Id": row_id} | json.loads(data) for row_id, data in rows]

    def product_by_id(self, account: str, product_id: int) -> dict[str, Any] | None:
        """A product by id, if it is this account's."""
        return self._row("SELECT id, data FROM products WHERE account = ? AND id = ?", account, product_id)

    def add_product(self, account: str, data: dict[str, Any]) -> dict[str, Any] | None:
        """Write a new product and give it back with its `Id`; None where its `Clave` is taken."""
        try:
            cursor = self._db.execute(
                "INSERT INTO products (account, clave, clave_prod_serv, data) VALUES (?, ?, ?, ?)",
                (account, data["Clave"], data["ClaveProdServ"], json.dumps(data, ensure_ascii=False)),
            )
        except sqlite3.IntegrityError:
            return None
        return {"Id": cursor.lastrowid} | data

    def _row(self, query: str, *values: object) -> dict[str, Any] | None:
        row = self._db.execute(query, values).fetchone()
        return None if row is None else {"Id": row[0]} | json.loads(row[1])

    # -- records

    def add_record(self, account: str, folio_original: str, body: str) -> int:
        """A new draft; gives its id."""
        cursor = self._db.execute(
            "INSERT INTO records (account, folio_original, body) VALUES (?, ?, ?)",
            (account, folio_original, body),
        )
        if cursor.lastrowid is None:
            raise LookupError("SQLite gave no id for a new record")
        return cursor.lastrowid

    def rewrite_record(self, record_id: int, folio_original: str, body: str) -> None:
        """Give a draft other content."""
        self._db.execute(
            "UPDATE records SET folio_original = ?, body = ? WHERE id = ? AND uuid IS NULL",
            (folio_original, body, record_id),
        )

    def record(self, account: str, record_id: int) -> Record | None:
        """A record by id, if it is this account's."""
        row = self._db.execute(
            f"SELECT {_COLUMNS} FROM records WHERE id = ? AND account = ?",  # noqa: S608 - a constant
            (record_id, account),
        ).fetchone()
        return None if row is None else Record(*row)

    def record_by_uuid(self, uuid: str) -> Record | None:
        """The record that carries a UUID, whoever's it is."""
        row = self._db.execute(
            f"SELECT {_COLUMNS} FROM records WHERE uuid = ?",  # noqa: S608 - a constant
            (uuid.upper(),),
        ).fetchone()
        return None if row is None else Record(*row)

    def other_stamp(self, account: str, record_id: int) -> Record | None:
        """Any other stamped record of an account (to play a provider that mixes answers up)."""
        row = self._db.execute(
            f"SELECT {_COLUMNS} FROM records"  # noqa: S608 - a constant
            " WHERE account = ? AND uuid IS NOT NULL AND id <> ? ORDER BY id DESC LIMIT 1",
            (account, record_id),
        ).fetchone()
        return None if row is None else Record(*row)

    def next_folio(self, account: str, serie: str) -> int:
        """Take the next number of a series."""
        self._db.execute(
            "INSERT INTO folios VALUES (?, ?, 1) ON CONFLICT (account, serie) DO UPDATE SET folio = folio + 1",
            (account, serie),
        )
        (folio,) = self._db.execute(
            "SELECT folio FROM folios WHERE account = ? AND serie = ?", (account, serie)
        ).fetchone()
        return int(folio)

    def spend_stamp(self, account: Account) -> None:
        """Take one stamp off an account that counts them."""
        if account.stamps_left is None:
            return
        account.stamps_left -= 1
        self._db.execute(
            "UPDATE stamps_left SET value = ? WHERE account = ?", (account.stamps_left, account.name)
        )

    def keep_stamp(
        self,
        record_id: int,
        *,
        folio_original: str,
        body: str,
        uuid: str,
        serie: str,
        folio: int,
        fecha: str,
        total: str,
        xml: bytes,
        stamped_at: datetime,
    ) -> None:
        """Write the stamp of a record that had none."""
        self._db.execute(
            "UPDATE records SET folio_original = ?, body = ?, uuid = ?, serie = ?, folio = ?, fecha = ?, total = ?,"
            " xml = ?, stamped_at = ? WHERE id = ? AND uuid IS NULL",
            (folio_original, body, uuid, serie, folio, fecha, total, xml, stamped_at.timestamp(), record_id),
        )

    def keep_cancellation(self, record_id: int, cancellation: dict[str, Any]) -> None:
        """Write how the cancellation of a record stands."""
        self._db.execute(
            "UPDATE records SET cancel = ? WHERE id = ?",
            (json.dumps(cancellation, ensure_ascii=False), record_id),
        )

    def keep_mail(self, account: str, record_id: int, email: str, at: datetime) -> None:
        """Write that the documents of a record were mailed."""
        self._db.execute("INSERT INTO mails VALUES (?, ?, ?, ?)", (account, record_id, email, at.timestamp()))

    # -- keys and taxpayers

    def identity(self, name: str) -> tuple[bytes, bytes] | None:
        """The certificate and private key (DER) kept under a name."""
        row = self._db.execute("SELECT certificate, key FROM identities WHERE name = ?", (name,)).fetchone()
        return None if row is None else (bytes(row[0]), bytes(row[1]))

    def keep_identity(self, name: str, certificate: bytes, key: bytes) -> None:
        """Keep a certificate and its private key."""
        self._db.execute("INSERT INTO identities VALUES (?, ?, ?)", (name, certificate, key))

    def taxpayers(self) -> list[tuple[str, str, str]]:
        """The taxpayers that were added by hand: RFC, name, postcode."""
        return list(self._db.execute("SELECT rfc, name, postcode FROM taxpayers"))

    def keep_taxpayer(self, rfc: str, name: str, postcode: str) -> None:
        """Add a taxpayer to the SAT's list."""
        self._db.execute("INSERT OR REPLACE INTO taxpayers VALUES (?, ?, ?)", (rfc, name, postcode))

    # -- the ledger

    def count(self, account: str, call: str, result: str) -> None:
        """Count one call; written within a second, or at the next `write_calls`."""
        self._calls[account, call, result] += 1

    def write_calls(self) -> None:
        """Write the calls counted since the last time."""
        if not self._calls:
            return
        counted, self._calls = self._calls, Counter()
        with self.commit():
            self._db.executemany(
                "INSERT INTO calls VALUES (?, ?, ?, ?)"
                " ON CONFLICT (account, call, result) DO UPDATE SET times = times + excluded.times",
                [(*key, times) for key, times in counted.items()],
            )

    def ledger(self, account: str | None) -> dict[str, Any]:
        """Which UUIDs each FolioOriginal has, and how the provider was called; of one account or of all."""
        self.write_calls()
        folios: dict[str, dict[str, list[str]]] = {}
        for name, folio, uuid in self._db.execute(
            "SELECT account, folio_original, uuid FROM records WHERE uuid IS NOT NULL AND (?1 IS NULL OR account = ?1)"
            " ORDER BY id",
            (account,),
        ):
            folios.setdefault(name, {}).setdefault(folio, []).append(uuid)
        calls: dict[str, dict[str, dict[str, int]]] = {}
        for name, call, result, times in self._db.execute(
            "SELECT account, call, result, times FROM calls WHERE (?1 IS NULL OR account = ?1) ORDER BY 1, 2, 3",
            (account,),
        ):
            calls.setdefault(name, {}).setdefault(call, {})[result] = times
        records, stamped, cancelled = self._db.execute(
            "SELECT COUNT(*), COUNT(uuid), COALESCE(SUM(json_extract(cancel, '$.state') = 'cancelled'), 0)"
            " FROM records WHERE (?1 IS NULL OR account = ?1)",
            (account,),
        ).fetchone()
        twins = sum(len(uuids) > 1 for of_account in folios.values() for uuids in of_account.values())
        return {
            "twins": twins,
            "stamps": stamped,
            "drafts": records - stamped,
            "cancelled": cancelled,
            "folios": folios,
            "calls": calls,
            "mails": [
                {"account": name, "id": record, "email": email}
                for name, record, email in self._db.execute(
                    "SELECT account, record, email FROM mails WHERE (?1 IS NULL OR account = ?1) ORDER BY rowid",
                    (account,),
                )
            ],
        }
