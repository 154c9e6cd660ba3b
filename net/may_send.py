"""May the bytes still leave? Asked as the last thing before a request is written, after however long a pause."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_check: ContextVar[Callable[[], bool] | None] = ContextVar("net_fence", default=None)


@contextmanager
def fenced(check: Callable[[], bool]) -> Iterator[None]:
    """Have every request of this block, a token's included, leave only while `check` holds."""
    mark = _check.set(check)
    try:
        yield
    finally:
        _check.reset(mark)


def may_send() -> bool:
    """Whether a request may leave now; True outside of any fence."""
    check = _check.get()
    return check is None or check()
