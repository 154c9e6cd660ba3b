"""What ContaDigital remembers, in one SQLite file: accounts, customers, products and keys.

Records (the invoices) are in `records.py` and what was counted in `ledger.py`, over the same file.

A stamp is committed before its answer leaves, so a client may know less
than the store, never more. WAL with `synchronous=NORMAL` survives a kill -9 of this process (not a power
cut).
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sandbox.accounts import Account
from sandbox.ledger import Ledger
from sandbox.records import Records

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS accounts (name TEXT PRIMARY KEY, data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS stamps_left (account TEXT PRIMARY KEY, value INTEGER);
CREATE TABLE IF NOT EXISTS folios (
    account TEXT, serie TEXT, folio INTEGER NOT NULL, PRIMARY KEY (account, serie));
CREATE TABLE IF NOT EXISTS customers (
    id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, rfc TEXT NOT NULL, data TEXT NOT NULL,
    UNIQUE (account, rfc));
CREATE TABLE IF NOT EXISTS products (
    id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, clave TEXT NOT NULL,
    clave_prod_serv TEXT NOT NULL, data TEXT NOT NULL, UNIQUE (account, clave));
CREATE INDEX IF NOT EXISTS products_by_key ON products (account, clave_prod_serv);
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, folio_original TEXT NOT NULL,
    body TEXT NOT NULL, uuid TEXT UNIQUE, serie TEXT, folio INTEGER, fecha TEXT, total TEXT, xml BLOB,
    stamped_at REAL, cancel TEXT);
CREATE INDEX IF NOT EXISTS records_by_folio ON records (account, folio_original) WHERE uuid IS NOT NULL;
CREATE TABLE IF NOT EXISTS identities (name TEXT PRIMARY KEY, certificate BLOB NOT NULL, key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS taxpayers (rfc TEXT PRIMARY KEY, name TEXT NOT NULL, postcode TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    account TEXT, call TEXT, result TEXT, times INTEGER NOT NULL, PRIMARY KEY (account, call, result));
CREATE TABLE IF NOT EXISTS mails (account TEXT, record INTEGER, email TEXT, sent_at REAL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""
_FORGET: Final = """
BEGIN IMMEDIATE;
DELETE FROM accounts; DELETE FROM stamps_left; DELETE FROM folios; DELETE FROM customers; DELETE FROM products;
DELETE FROM records; DELETE FROM taxpayers; DELETE FROM calls; DELETE FROM mails;
COMMIT;
"""


class Store:
    """The file, and everything of an account that is not an invoice."""

    def __init__(self, path: Path | str) -> None:
        if str(path) != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, cached_statements=256)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("PRAGMA busy_timeout=3000")
        self._db.executescript(_SCHEMA)
        self.records = Records(self._db)
        self.ledger = Ledger(self._db)

    def close(self) -> None:
        """Write what is still only counted, and close the file."""
        self.ledger.write()
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
        """Back to an empty store; the keys stay, since making them anew would only cost time."""
        self.ledger.forget()
        self._db.executescript(_FORGET)

    # -- accounts

    def accounts(self) -> list[Account]:
        """Every account, with its stamps and folios as they stand."""
        left = dict(self._db.execute("SELECT account, value FROM stamps_left"))
        folios = {(a, s): f for a, s, f in self._db.execute("SELECT account, serie, folio FROM folios")}
        texts = [data for (data,) in self._db.execute("SELECT data FROM accounts ORDER BY rowid")]
        found = [Account.model_validate_json(text) for text in texts]
        for account in found:
            account.stamps_left = left.get(account.name, account.stamps_left)
            for row in account.catalogues["Series"]:
                row["FolioActual"] = folios.get((account.name, row["Serie"]), row["FolioActual"])
        return found

    def save_account(self, account: Account) -> None:
        """Write an account and its stamps left."""
        data = account.model_dump_json()
        with self.commit():
            self._db.execute(
                "INSERT INTO accounts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET data = excluded.data",
                (account.name, data),
            )
            self._db.execute(
                "INSERT OR REPLACE INTO stamps_left VALUES (?, ?)", (account.name, account.stamps_left)
            )

    def deal_other_ids(self, account: str) -> None:
        """Give the customers and products of an account other ids, none of which anyone had before."""
        with self.commit():
            self._db.execute(
                "UPDATE customers SET id = id + (SELECT MAX(id) + 17 FROM customers) WHERE account = ?",
                (account,),
            )
            self._db.execute(
                "UPDATE products SET id = id + (SELECT MAX(id) + 17 FROM products) WHERE account = ?",
                (account,),
            )

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

    # -- customers and products

    def customer(self, account: str, rfc: str) -> dict[str, Any] | None:
        """A customer by RFC, with its `Id`."""
        return self._row("SELECT id, data FROM customers WHERE account = ? AND rfc = ?", account, rfc)

    def customer_by_id(self, account: str, customer_id: int) -> dict[str, Any] | None:
        """A customer by id, if it is this account's."""
        return self._row("SELECT id, data FROM customers WHERE account = ? AND id = ?", account, customer_id)

    def all_customers(self, account: str) -> list[dict[str, Any]]:
        """Every customer of an account."""
        rows = self._db.execute("SELECT id, data FROM customers WHERE account = ? ORDER BY id", (account,))
        return [{"Id": row_id} | json.loads(data) for row_id, data in rows]

    def save_customer(self, account: str, rfc: str, data: dict[str, Any]) -> dict[str, Any]:
        """Write a customer, new or known, and give it back with its `Id`."""
        self._db.execute(
            "INSERT INTO customers (account, rfc, data) VALUES (?, ?, ?)"
            " ON CONFLICT (account, rfc) DO UPDATE SET data = excluded.data",
            (account, rfc, json.dumps(data, ensure_ascii=False, default=str)),
        )
        (row_id,) = self._db.execute(
            "SELECT id FROM customers WHERE account = ? AND rfc = ?", (account, rfc)
        ).fetchone()
        return {"Id": row_id} | data

    def products(self, account: str, clave_prod_serv: str) -> list[dict[str, Any]]:
        """The products of an account under one ClaveProdServ."""
        rows = self._db.execute(
            "SELECT id, data FROM products WHERE account = ? AND clave_prod_serv = ? ORDER BY id",
            (account, clave_prod_serv),
        )
        return [{"Id": row_id} | json.loads(data) for row_id, data in rows]

    def all_products(self, account: str) -> list[dict[str, Any]]:
        """Every product of an account."""
        rows = self._db.execute("SELECT id, data FROM products WHERE account = ? ORDER BY id", (account,))
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

    # -- keys and taxpayers

    def identity(self, name: str) -> tuple[bytes, bytes] | None:
        """The certificate and private key (DER) stored under a name."""
        row = self._db.execute("SELECT certificate, key FROM identities WHERE name = ?", (name,)).fetchone()
        return None if row is None else (bytes(row[0]), bytes(row[1]))

    def save_identity(self, name: str, certificate: bytes, key: bytes) -> None:
        """Store a certificate and its private key."""
        self._db.execute("INSERT INTO identities VALUES (?, ?, ?)", (name, certificate, key))

    def taxpayers(self) -> list[tuple[str, str, str]]:
        """The taxpayers that were added by hand: RFC, name, postcode."""
        return list(self._db.execute("SELECT rfc, name, postcode FROM taxpayers"))

    def save_taxpayer(self, rfc: str, name: str, postcode: str) -> None:
        """Add a taxpayer to the SAT's list."""
        self._db.execute("INSERT OR REPLACE INTO taxpayers VALUES (?, ?, ?)", (rfc, name, postcode))
