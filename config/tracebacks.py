"""What a log says of an exception: which one, from where, and its words only where they can hold nothing of others.

An exception's text is data. A KeyError quotes a name, a database error the whole row that it refused. So words are
kept where they speak of servers, files and code, and left out elsewhere; the place in the code is always there.
"""

import traceback

from structlog.typing import ExcInfo

_DEPTH = 5  # causes of causes
_FRAMES = 15
_HARMLESS = frozenset(
    {
        *("OSError", "ConnectionError", "TimeoutError", "ImportError", "NameError", "AttributeError"),
        *("RecursionError", "MemoryError", "SystemExit", "KeyboardInterrupt", "RedisError", "TaskBug"),
    }
)
"""Classes, with what derives from them, whose words are of this machine and of the code."""
_OF_THE_SERVER = ("08", "25", "28", "3D", "40", "42", "53", "54", "55", "57", "58", "XX")
"""SQLSTATE classes whose words name tables, connections and limits, and no value."""


def without_data(error: BaseException) -> str:
    """Return the traceback of an error and of what caused it, without the words that may hold somebody's data."""
    parts: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(parts) < _DEPTH:
        frames = traceback.extract_tb(seen.__traceback__)[-_FRAMES:]
        parts.append("".join(traceback.format_list(frames)) + headline(seen))
        seen = seen.__cause__ or seen.__context__
    return "\n\nwhich came of:\n".join(parts)


def headline(error: BaseException) -> str:
    """Return an error's class, and its words where they can be shown."""
    words = _words(error)
    return f"{type(error).__qualname__}: {words}" if words else type(error).__qualname__


def _words(error: BaseException) -> str:
    original = getattr(
        error, "orig", None
    )  # SQLAlchemy's wrapper; its own text repeats statement and parameters
    if isinstance(original, BaseException):
        return headline(original)
    state = getattr(error, "sqlstate", None)
    if hasattr(error, "diag"):
        return _of_the_database(error, state)
    if _HARMLESS & {each.__name__ for each in type(error).__mro__}:
        return " ".join(str(error).split())[:300]
    return ""


def _of_the_database(error: BaseException, state: str | None) -> str:
    """Return what PostgreSQL said, as far as it is about itself: never the row or the value that it refused."""
    if state is None:  # no server said it: there is no connection
        away = type(error).__name__ in {"OperationalError", "InterfaceError", "ConnectionTimeout"}
        return " ".join(str(error).split())[:300] if away else ""
    diag = error.diag  # type: ignore[attr-defined]  # asked for before
    message = f" {diag.message_primary}" if state[:2] in _OF_THE_SERVER else ""
    where = [name for name in (diag.table_name, diag.constraint_name, diag.column_name) if name]
    return f"SQLSTATE {state}{message}{' (' + ', '.join(where) + ')' if where else ''}"


def as_text(exc_info: ExcInfo) -> str:
    """For structlog's ExceptionRenderer: one exception as text."""
    return without_data(exc_info[1])
