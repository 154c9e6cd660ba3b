"""What readiness and scrapes say is bounded in time, and says of our own want that it is ours."""

import errno
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from contadigital.errors import NotSent, from_transport
from net import descriptors
from net.transport import open_http
from storage import StorageUnavailable
from worker.health import within


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

    assert descriptors.fault_of(error) == "this process has no file descriptors left (ulimit -n)"
    assert descriptors.fault_of(OSError(errno.ENOSPC, "No space left")) is None


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Leave this process none for a moment."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    taken: list[int] = []
    try:
        while not descriptors.fault():
            taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_descriptors_is_no_outage_of_the_provider() -> None:
    """A connection that this process can't open is not sent, and opens no circuit breaker; with some left it would."""
    http = open_http()
    request = httpx.Request("GET", "http://127.0.0.1:9/api/conectar.json")

    def failure() -> object:
        with pytest.raises(httpx.ConnectError) as failed:
            http.handle_request(request)
        return from_transport(failed.value)

    with no_descriptors():
        without = failure()
    refused = failure()
    http.close()

    assert isinstance(without, NotSent)
    assert isinstance(refused, NotSent)
    assert (without.is_outage, without.text) == (False, descriptors.WORDS)
    assert refused.is_outage
