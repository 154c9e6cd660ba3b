"""What a task works with: the runtime provides the opened tools once, so that no task reads settings."""

from collections.abc import Callable
from datetime import UTC, datetime

from stamping import heartbeat
from stamping.tools import Meter, Tools

_open: Callable[[], Tools] | None = None


def provide(open_tools: Callable[[], Tools]) -> None:
    """Set how this process opens its tools; called once by the runtime."""
    global _open  # noqa: PLW0603  # one per process
    _open = open_tools


def now() -> datetime:
    """Return the time as this process knows it, without asking the database: for who must not wait for it."""
    if _open is None:
        return datetime.now(UTC)
    return _open().clock.now()


def meter() -> Meter:
    """Return who counts here, also while the database is away."""
    return _open().meter if _open is not None else Meter()


def tools() -> Tools:
    """Return this process's tools, with the clock that all workers share."""
    if _open is None:
        raise RuntimeError("the runtime has provided no tools: start workers with `celery -A worker worker`")
    opened = _open()
    opened.clock.keep(opened.engine)
    return opened


def note_refusal(code: str) -> None:
    """Leave word in the database of why this process can't work: PostgreSQL's code, or EMFILE.

    Where an older row lay there is room for a new one, also on a full disk.
    """
    if _open is not None and code:
        heartbeat.leave_word(_open(), heartbeat.REFUSED, code=code)
