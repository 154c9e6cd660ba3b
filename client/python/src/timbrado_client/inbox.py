"""The inbox table: a request written in the application's own transaction, beside the order it belongs to.

Commit, and it will be done, though the broker be away for a day; roll back, and it never was. The worker reads the
table `timbrado_inbox` from the database that TIMBRADO_INBOX_URL names (its own, unless set). Nothing here commits:
outside a transaction the row is there at once if the connection is in autocommit, and never if it is not.
"""

import inspect
import json
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from timbrado_client import requests
from timbrado_client.errors import InvoiceInvalid
from timbrado_client.explain import NOT_YOUR_FAULT
from timbrado_client.faults import Fault, path_of
from timbrado_client.invoice import Invoice
from timbrado_client.labels import label_of
from timbrado_client.reading import check

DDL = """\
CREATE TABLE IF NOT EXISTS timbrado_inbox (
    id          uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    kind        text        NOT NULL DEFAULT 'submit'
                            CHECK (kind IN ('submit', 'cancel', 'retry', 'withdraw', 'replace')),
    payload     jsonb       NOT NULL,
    trace_id    text,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    taken_at    timestamptz
);
CREATE INDEX IF NOT EXISTS ix_timbrado_inbox_waiting ON timbrado_inbox (created_at) WHERE taken_at IS NULL;
"""
"""The table, for PostgreSQL 13 or newer; running it again changes nothing."""

INSERT = """\
INSERT INTO timbrado_inbox (id, kind, payload, trace_id)
VALUES (CAST(%s AS uuid), %s, CAST(%s AS jsonb), %s)"""
"""One row, for a DB-API cursor: `cursor.execute(INSERT, entry.values)`."""

_NAMED = """\
INSERT INTO timbrado_inbox (id, kind, payload, trace_id)
VALUES (CAST(:id AS uuid), :kind, CAST(:payload AS jsonb), :trace_id)"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row to be written: for whoever executes SQL by other means, such as an asynchronous driver."""

    id: str
    kind: str
    payload: str
    """JSON."""
    trace_id: str | None

    @property
    def values(self) -> tuple[str, str, str, str | None]:
        """What INSERT's placeholders stand for, in their order."""
        return self.id, self.kind, self.payload, self.trace_id


def submission(invoice: Invoice | Mapping[str, Any], *, trace_id: str | None = None) -> Entry:
    """Return the row that has an invoice stamped; raise InvoiceInvalid."""
    return _entry("submit", check(invoice), trace_id)


def submit_in(transaction: Any, invoice: Invoice | Mapping[str, Any], *, trace_id: str | None = None) -> str:
    """Write an invoice into the caller's transaction, to be stamped once that commits; return the row's id.

    `transaction` is an SQLAlchemy Session or Connection, Django's `connection`, or a DB-API connection or cursor
    of PostgreSQL. Raises InvoiceInvalid before the database is touched.
    """
    return _write(transaction, submission(invoice, trace_id=trace_id))


def cancel_in(
    transaction: Any,
    account: str,
    external_id: str,
    motivo: str,
    uuid_sustitucion: str | None = None,
    *,
    trace_id: str | None = None,
) -> str:
    """Write a request to cancel into the caller's transaction; return the row's id. Raises RequestInvalid."""
    payload = requests.cancellation(account, external_id, motivo, uuid_sustitucion)
    return _write(transaction, _entry("cancel", payload, trace_id))


def retry_in(transaction: Any, account: str, external_id: str, *, trace_id: str | None = None) -> str:
    """Write a request to try again into the caller's transaction; return the row's id. Raises RequestInvalid."""
    return _write(transaction, _entry("retry", requests.of_invoice(account, external_id), trace_id))


def withdraw_in(transaction: Any, account: str, external_id: str, *, trace_id: str | None = None) -> str:
    """Write a request to take an invoice back into the caller's transaction; return the row's id.

    Raises RequestInvalid.
    """
    return _write(transaction, _entry("withdraw", requests.of_invoice(account, external_id), trace_id))


def replace_in(
    transaction: Any,
    account: str,
    external_id: str,
    invoice: Invoice | Mapping[str, Any],
    *,
    trace_id: str | None = None,
) -> str:
    """Write the invoice that replaces a stamped one into the caller's transaction; return the row's id.

    Raises RequestInvalid, and InvoiceInvalid for the new invoice.
    """
    payload = requests.replacement(account, external_id, invoice)
    return _write(transaction, _entry("replace", payload, trace_id))


def _entry(kind: str, payload: Mapping[str, Any], trace_id: str | None) -> Entry:
    broken = _nul_in(payload, ())
    if broken is not None:
        raise InvoiceInvalid([_no_nul(broken if kind != "replace" else broken[1:])])
    return Entry(str(uuid.uuid4()), kind, json.dumps(payload, ensure_ascii=False), trace_id)


def _write(transaction: Any, entry: Entry) -> str:
    execute = getattr(transaction, "execute", None)
    cursor = getattr(transaction, "cursor", None)
    if inspect.iscoroutinefunction(execute) or inspect.iscoroutinefunction(cursor):
        raise TypeError(
            f"{type(transaction).__name__} is asynchronous: with SQLAlchemy use "
            "`await session.run_sync(submit_in, invoice)`, else execute inbox.INSERT with inbox.submission(...).values"
        )
    if callable(cursor):
        with closing(cursor()) as ours:
            ours.execute(INSERT, entry.values)
    elif lineage := _sqlalchemy_classes(transaction):
        if lineage & {"Engine", "AsyncEngine"}:
            raise TypeError("an Engine has no transaction of the caller's: pass its Session or Connection")
        from sqlalchemy import text  # noqa: PLC0415  # the caller has it, or there were no such object

        named = {"id": entry.id, "kind": entry.kind, "payload": entry.payload, "trace_id": entry.trace_id}
        transaction.execute(text(_NAMED), named)
    elif callable(execute):
        execute(INSERT, entry.values)
    else:
        raise TypeError(f"{type(transaction).__name__} is neither a connection, nor a cursor, nor a session")
    return entry.id


def _sqlalchemy_classes(transaction: object) -> set[str]:
    """Return the names of SQLAlchemy's classes that it is one of; none where it is somebody else's."""
    return {
        each.__name__
        for each in type(transaction).__mro__
        if each.__module__.partition(".")[0] == "sqlalchemy"
    }


def _nul_in(value: object, at: tuple[str | int, ...]) -> tuple[str | int, ...] | None:
    """Find a NUL, which JSON has and PostgreSQL's jsonb has not: it would fail the caller's whole transaction."""
    if isinstance(value, str):
        return at if "\x00" in value else None
    parts = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    )
    return next((found for step, each in parts if (found := _nul_in(each, (*at, step))) is not None), None)


def _no_nul(location: tuple[str | int, ...]) -> Fault:
    field = path_of(location)
    return Fault(
        "timbrado.texto_roto",
        field,
        f"Apunto envió mal un texto: {label_of(field)}.",
        NOT_YOUR_FAULT,
        detail="a NUL character, which PostgreSQL's jsonb has not",
    )
