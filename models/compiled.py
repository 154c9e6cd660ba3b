"""Statements that are built and compiled once, for the path that every invoice takes.

Building a Core statement of fifty columns anew each time cost more CPU than everything else together (measured: 20 of
30 ms an invoice). What a newcomer would get wrong: only bound parameters may differ between two runs. What decides the
statement's shape belongs into another one.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg

_dialect = psycopg.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves its dialects untyped


def param(name: str, kind: Any = None) -> Any:
    """Return the place of a parameter; its type is that of the column it meets, unless `kind` says otherwise."""
    return sa.bindparam(name, None, type_=kind, required=False)


class Compiled:
    """One statement: built at its first use, run with plain parameters by name."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build

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

    def run(self, db: sa.Connection, **parameters: Any) -> sa.CursorResult[Any]:
        """Run it; each parameter goes through its column's type, as Core would send it."""
        sql, constants, processors = self._parts
        bound = dict(constants)
        for name, value in parameters.items():
            bound[name] = processors[name](value) if name in processors else value
        return db.exec_driver_sql(sql, bound)
