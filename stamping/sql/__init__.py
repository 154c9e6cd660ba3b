"""The statements of the path that every invoice takes, one file a step; everything else is SQLAlchemy."""

from functools import cache
from importlib.resources import files

from models.compiled import PlainSql


@cache
def statement(name: str) -> PlainSql:
    """Return a step's statement, read once."""
    return PlainSql(files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8"))
