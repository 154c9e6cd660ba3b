"""Statements that are built and compiled once, for the path that every invoice takes.

Building a Core statement of fifty columns anew each time cost more CPU than everything else together (measured: 20 of
30 ms an invoice), and reading its result through Core a good part of the rest. So both are done here: the pool, the
transaction and the errors stay SQLAlchemy's. Only bound parameters may differ between two runs. What decides the
statement's shape belongs into another one.
"""

from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg as psycopg_dialect

_dialect = psycopg_dialect.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves its dialects untyped


def param(name: str, kind: Any = None) -> Any:
    """Return the place of a parameter; its type is that of the column it meets, unless `kind` says otherwise."""
    return sa.bindparam(name, None, type_=kind, required=False)


def constant(text: str) -> sa.ColumnElement[str]:
    """Return a text of ours that stands in the statement: no parameter to send, and known where it is planned."""
    return sa.literal_column(f"'{text}'", sa.Text)


def part_of(column: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[Any]:
    """Return a part of a JSON object."""
    return column.op("->")(constant(name))


def text_of(column: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[str]:
    """Return a part of a JSON object as text."""
    return column.op("->>", return_type=sa.Text())(constant(name))


class Compiled:
    """One statement: built at its first use, run with plain parameters by name."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._row: Callable[[Iterable[Any]], Any] | None = None

    @cached_property
    def _parts(self) -> tuple[str, dict[str, Any], dict[str, Callable[[Any], Any]]]:
        compiled = self._build().compile(dialect=_dialect, compile_kwargs={"render_postcompile": True})
        processors = {}
        for name, bind in compiled.binds.items():
            process = bind.type.dialect_impl(_dialect).bind_processor(_dialect)
            if process is not None:
                processors[name] = process
        constants = {
            name: processors[name](value) if name in processors else value
            for name, value in compiled.construct_params(_check=False).items()
        }
        return str(compiled), constants, processors

    def run(self, db: "sa.Connection | AtOnce", **parameters: Any) -> "Rows":
        """Run it; each parameter goes through its column's type, as Core would send it.

        Raises what SQLAlchemy raises: its errors are cut by kind, and a dead connection leaves its pool.
        """
        with db.taken() if isinstance(db, AtOnce) else _in_a_transaction(db) as raw:
            return self._run(raw, parameters)

    def _run(self, raw: "psycopg.Connection[Any]", parameters: dict[str, Any]) -> "Rows":
        sql, constants, processors = self._parts
        bound = dict(constants)
        for name, value in parameters.items():
            bound[name] = processors[name](value) if name in processors else value
        cursor = raw.cursor(row_factory=self._rows)
        cursor.execute(sql, bound)
        has_rows = cursor.pgresult is not None and cursor.pgresult.nfields
        return Rows(cursor.fetchall() if has_rows else [], cursor.rowcount)

    def _rows(self, cursor: "psycopg.Cursor[Any]") -> Callable[[Iterable[Any]], Any]:
        """Return what makes a row: a tuple with names, whose class is made once for the statement."""
        made = self._row
        if made is None:
            columns = [each.name for each in cursor.description or ()]
            kind: Any = namedtuple("Row", columns)  # type: ignore[misc]  # its names are the statement's
            made = self._row = kind._make
        return made


GONE = frozenset(
    {
        "25006",  # read-only: a primary that was demoted, and whose open connections stay with it
        "26000",  # a prepared statement that is not there: another server answers behind a pooler
        "57P01",  # the server shuts down, or ended this connection
        "57P02",
        "57P03",
    }
)
"""Codes that are true of a connection, not of its statement: the next statement needs another connection."""


@contextmanager
def _in_a_transaction(db: sa.Connection) -> "Iterator[psycopg.Connection[Any]]":
    """Yield the connection of a transaction, whose errors become SQLAlchemy's."""
    raw: Any = db.connection.driver_connection
    try:
        yield raw
    except psycopg.Error as error:
        is_gone = _leads_nowhere(raw, error)
        if is_gone:
            db.invalidate(error)
            db.engine.dispose()
        raise _error(error, is_gone) from error


class AtOnce:
    """A database for work that is one statement: it commits by itself, in one round trip, not three.

    It takes the connections of the engine's pool, without the objects that SQLAlchemy makes for a transaction. Its
    connections should commit by themselves already (`worker/database.py`); others are made to.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @contextmanager
    def taken(self) -> "Iterator[psycopg.Connection[Any]]":
        """Yield a connection for one statement; its errors are SQLAlchemy's, and a dead one ends the whole pool."""
        pool = self._engine.pool
        try:
            fairy = pool.connect()
        except psycopg.Error as error:
            raise _error(error, is_gone=True) from error
        raw: Any = fairy.driver_connection
        try:
            yield raw
            if not raw.autocommit:
                raw.commit()
        except psycopg.Error as error:
            is_gone = _leads_nowhere(raw, error)
            if is_gone:
                fairy.invalidate(error)
                if self._engine.pool is pool:  # of many that meet it at once, one
                    self._engine.dispose()  # what else is open leads there too
            raise _error(error, is_gone) from error
        finally:
            fairy.close()


def _leads_nowhere(raw: "psycopg.Connection[Any]", error: psycopg.Error) -> bool:
    return raw.closed or error.sqlstate in GONE


def _error(error: psycopg.Error, is_gone: bool) -> Any:
    """Return what SQLAlchemy would raise; the statement is not in it, nor what it was given."""
    return sa.exc.DBAPIError.instance(
        None, None, error, psycopg.Error, connection_invalidated=is_gone, dialect=_dialect
    )


class PlainSql(Compiled):
    """One statement written as SQL, with psycopg's named parameters; each value goes as psycopg adapts it."""

    def __init__(self, sql: str) -> None:
        super().__init__(lambda: None)
        self._sql = sql

    @cached_property
    def _parts(self) -> tuple[str, dict[str, Any], dict[str, Callable[[Any], Any]]]:
        return self._sql, {}, {}


class Rows:
    """What a statement gave back; the methods are those of SQLAlchemy's results, and as strict."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def all(self) -> list[Any]:
        """Every row."""
        return self._rows

    def one_or_none(self) -> Any:
        """The only row; None where there is none."""
        if len(self._rows) > 1:
            raise sa.exc.MultipleResultsFound("more than one row")
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        """The only row."""
        if not self._rows:
            raise sa.exc.NoResultFound("no row")
        return self.one_or_none()

    def scalar_one(self) -> Any:
        """The first column of the only row."""
        return self.one()[0]

    def scalar_one_or_none(self) -> Any:
        """The first column of the only row; None where there is none."""
        row = self.one_or_none()
        return None if row is None else row[0]

    def scalars(self) -> list[Any]:
        """The first column of every row."""
        return [row[0] for row in self._rows]
