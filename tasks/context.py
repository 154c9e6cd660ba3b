"""What a task works with: the runtime provides the opened tools once, so that no task reads settings."""

from collections.abc import Callable

from stamping.tools import Tools

_open: Callable[[], Tools] | None = None


def provide(open_tools: Callable[[], Tools]) -> None:
    """Set how this process opens its tools; called once by the runtime."""
    global _open  # noqa: PLW0603  # one per process
    _open = open_tools


def tools() -> Tools:
    """Return this process's tools, with the clock that all workers share."""
    if _open is None:
        raise RuntimeError("the runtime has provided no tools: start workers with `celery -A worker worker`")
    opened = _open()
    opened.clock.keep(opened.engine)
    return opened
