"""The statements of the path that every invoice takes, one file a step; everything else is SQLAlchemy.

`take.sql` and `next.sql` make a function each, by the migration; `settle.sql` is a statement.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from models.compiled import PlainSql

FUNCTIONS = ("take", "next")


def text(name: str) -> str:
    """Return what a step's file holds."""
    return files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


@cache
def statement(name: str) -> PlainSql:
    """Return a step's statement, read once."""
    return PlainSql(text(name))


def call(function: str, names: Sequence[str], columns: str = "*") -> PlainSql:
    """Return the statement that calls a step's function with these parameters by name."""
    given = ", ".join(f"p_{name} => %({name})s" for name in names)
    return PlainSql(f"SELECT {columns} FROM {function}({given}) AS made")  # noqa: S608  # constants of ours
