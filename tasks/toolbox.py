"""How a task gets at what its process opened: the runtime hands it over once, so that no task reads settings."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from celery import current_app

if TYPE_CHECKING:
    from stamping.tools import Tools

_open: "Callable[[], Tools] | None" = None


def provide(open_tools: "Callable[[], Tools]") -> None:
    """Called once by the runtime: how this process opens its tools."""
    global _open  # noqa: PLW0603  # the hand-over is the point of this module
    _open = open_tools


def tools() -> "Tools":
    """Return this process's tools, with the clock that all workers share."""
    if _open is None:
        raise RuntimeError("the runtime has provided no tools: start workers with `celery -A worker worker`")
    opened = _open()
    opened.clock.keep(opened.engine)
    return opened


def ring(task: str, ids: Iterable[UUID], *, queue: str | None = None) -> None:
    """Ring for each id. A broker that is away loses nothing: the sweep rings again."""
    for each in ids:
        current_app.send_task(task, args=(str(each),), queue=queue)


def ring_bell(task: str) -> None:
    """Ring a bell that names nobody."""
    current_app.send_task(task)
