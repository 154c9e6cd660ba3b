"""What a task works with: the runtime provides the opened tools once, so that no task reads settings."""

from collections.abc import Callable
from datetime import UTC, datetime

from stamping import heartbeat
from stamping.tools import Meter, Tools


def _by_the_host() -> datetime:
    return datetime.now(UTC)


_open: Callable[[], Tools] | None = None
_now: Callable[[], datetime] = _by_the_host


def provide(open_tools: Callable[[], Tools], now: Callable[[], datetime]) -> None:
    """Set how this process opens its tools, and how it tells the time before; called once by the runtime."""
    global _open, _now  # one per process
    _open, _now = open_tools, now


def now() -> datetime:
    """Return the time as this process knows it, without asking the database: for who must not wait for it.

    It opens nothing: Flower reads messages too, and where it runs there may be no way to the documents.
    """
    return _now()


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
