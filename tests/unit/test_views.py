"""What readiness and scrapes say is bounded in time, and says of our own want that it is ours."""

import errno
import threading

from storage import StorageUnavailable
from worker.metrics import own_fault, within


def test_a_check_that_hangs_is_what_is_wrong() -> None:
    """Whoever asks is answered within its time."""
    never = threading.Event()

    assert within(0.05, lambda: str(never.wait(30))) == "no answer in 0.05 s"
    never.set()
    assert within(5, lambda: "full") == "full"
    assert within(5, lambda: None) is None


def test_no_descriptors_is_our_own_fault() -> None:
    """Also where another error came of it: it is no outage of the store, of Redis, or of ContaDigital."""
    error = StorageUnavailable("put", "x")
    error.__cause__ = OSError(errno.EMFILE, "Too many open files")

    assert own_fault(error) == "this process has no file descriptors left (ulimit -n)"
    assert own_fault(OSError(errno.ENOSPC, "No space left")) is None
