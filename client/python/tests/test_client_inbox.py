"""The inbox table: what is written, into whose transaction, and what never reaches the database."""

import json
import uuid
from typing import Any

import pytest
from timbrado_client import (
    InvoiceInvalid,
    RequestInvalid,
    cancel_in,
    inbox,
    replace_in,
    retry_in,
    submit_in,
    withdraw_in,
)


class Cursor:
    """A DB-API cursor that remembers."""

    def __init__(self) -> None:
        self.executed: list[tuple[str, tuple[Any, ...]]] = []
        self.closed = False

    def execute(self, sql: str, values: tuple[Any, ...]) -> None:
        self.executed.append((sql, values))

    def close(self) -> None:
        self.closed = True


class Connection:
    """A DB-API connection: it would be noticed if anything committed."""

    def __init__(self) -> None:
        self.cursors: list[Cursor] = []
        self.calls: list[str] = []

    def cursor(self) -> Cursor:
        self.cursors.append(Cursor())
        return self.cursors[-1]

    def commit(self) -> None:
        self.calls.append("commit")

    def rollback(self) -> None:
        self.calls.append("rollback")


class DjangoCursor:
    """Django's CursorWrapper: its attribute `cursor` is the driver's cursor, not a method."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor

    def execute(self, sql: str, values: tuple[Any, ...]) -> None:
        self.cursor.execute(sql, values)


def test_submit_in_writes_one_row_and_commits_nothing(invoice: dict[str, Any]) -> None:
    """The row holds the invoice as it was given; the cursor is closed, the transaction is the caller's."""
    connection = Connection()

    row_id = submit_in(connection, invoice, trace_id="t-1")

    (cursor,) = connection.cursors
    ((sql, values),) = cursor.executed
    assert sql == inbox.INSERT
    assert uuid.UUID(values[0]) == uuid.UUID(row_id)
    assert (values[1], json.loads(values[2]), values[3]) == ("submit", invoice, "t-1")
    assert cursor.closed
    assert connection.calls == []


@pytest.mark.parametrize("wrap", [lambda cursor: cursor, DjangoCursor], ids=["driver's", "Django's"])
def test_a_cursor_is_used_and_left_open(wrap: Any, invoice: dict[str, Any]) -> None:
    """It is the caller's: used as it is, not closed."""
    cursor = Cursor()

    submit_in(wrap(cursor), invoice)

    assert len(cursor.executed) == 1
    assert not cursor.closed


def test_each_request_has_its_kind(invoice: dict[str, Any]) -> None:
    """With the same arguments as over the broker."""
    cursor = Cursor()
    new = {**invoice, "external_id": "OP-2"}

    cancel_in(cursor, "acme", "OP-1", "02")
    retry_in(cursor, "acme", "OP-1")
    withdraw_in(cursor, "acme", "OP-1")
    replace_in(cursor, "acme", "OP-1", new)

    assert [(values[1], json.loads(values[2])) for _, values in cursor.executed] == [
        ("cancel", {"account": "acme", "external_id": "OP-1", "motivo": "02"}),
        ("retry", {"account": "acme", "external_id": "OP-1"}),
        ("withdraw", {"account": "acme", "external_id": "OP-1"}),
        ("replace", {"account": "acme", "external_id": "OP-1", "invoice": new}),
    ]


def test_what_is_wrong_never_reaches_the_database(invoice: dict[str, Any]) -> None:
    """A failing statement would spoil the caller's whole transaction, so faults are found before."""
    connection = Connection()
    invoice["total"] = 1

    with pytest.raises(InvoiceInvalid):
        submit_in(connection, invoice)
    with pytest.raises(RequestInvalid):
        cancel_in(connection, "acme", "OP-1", "7")
    with pytest.raises(RequestInvalid):
        retry_in(connection, "", "OP-1")

    assert connection.cursors == []


def test_a_nul_is_refused_with_its_place(invoice: dict[str, Any]) -> None:
    """PostgreSQL's jsonb has no NUL; the broker's way takes it, so the inbox alone refuses it."""
    invoice["conceptos"][0]["descripcion"] = "Flete\x00"

    with pytest.raises(InvoiceInvalid) as refused:
        inbox.submission(invoice)

    assert [fault.field for fault in refused.value.faults] == ["conceptos[0].descripcion"]
    with pytest.raises(InvoiceInvalid) as refused:
        replace_in(Cursor(), "acme", "OP-1", {**invoice, "external_id": "OP-2"})
    assert [fault.field for fault in refused.value.faults] == ["conceptos[0].descripcion"]


class AsyncSession:
    async def execute(self, sql: str, values: Any) -> None: ...


class AsyncConnection:
    async def cursor(self) -> None: ...


@pytest.mark.parametrize("transaction", [AsyncSession(), AsyncConnection()])
def test_an_asynchronous_connection_is_refused_with_advice(transaction: Any, invoice: dict[str, Any]) -> None:
    """An awaitable that nobody awaits would lose the invoice in silence."""
    with pytest.raises(TypeError, match="run_sync"):
        submit_in(transaction, invoice)


@pytest.mark.parametrize("transaction", [None, "postgresql://db", object()])
def test_what_is_no_transaction_is_refused(transaction: Any, invoice: dict[str, Any]) -> None:
    """By its type's name."""
    with pytest.raises(TypeError, match=type(transaction).__name__):
        submit_in(transaction, invoice)


def test_an_engine_is_refused(invoice: dict[str, Any]) -> None:
    """An SQLAlchemy Engine has no transaction of the caller's."""
    sqlalchemy = pytest.importorskip(
        "sqlalchemy", reason="the client does without SQLAlchemy, and so may this test"
    )

    with pytest.raises(TypeError, match="Engine"):
        submit_in(sqlalchemy.create_engine("sqlite://"), invoice)


def test_an_entry_serves_other_ways_of_executing(invoice: dict[str, Any]) -> None:
    """Four values, in the order of INSERT's placeholders."""
    entry = inbox.submission(invoice, trace_id=None)

    assert len(entry.values) == inbox.INSERT.count("%s") == 4
    assert entry.values[0] == entry.id
