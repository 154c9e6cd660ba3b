"""People who read while invoices are stamped: what they cost the stamping, and how long they wait."""

import json
import selectors
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from itertools import cycle
from urllib.parse import urlsplit

from api import keys
from benchmarks.figures import Figure
from benchmarks.pipeline import ACCOUNTS, IN_FLIGHT, steady_rate
from benchmarks.stack import BenchStack, a_bench_stack
from devstack import services
from devstack.ports import any_port

READERS = 50
EVERY = 2.0
"""Seconds between two requests of one reader."""


def beside_readers(quick: bool) -> tuple[Figure, ...]:
    """50 users who read every two seconds (lists, searches, invoices, events, status), beside the load of `ideal`.

    In turn without and with them, so that what the neighbours do falls on both.
    """
    count, rounds = (400, 1) if quick else (1200, 2)
    per_account = {"TIMBRADO_IN_FLIGHT_PER_ACCOUNT": str(IN_FLIGHT // len(ACCOUNTS))}
    alone, beside, waits = [], [], []
    with a_bench_stack(workers=2, env=per_account) as stack:
        port = any_port()
        stack.runtime.add(services.api(port, stack.runtime.environment))
        key = a_key(stack)
        stack.connect(ACCOUNTS)
        stack.warm(ACCOUNTS, 12)
        stack.latency(0.3)
        for _ in range(rounds):
            alone.append(rate(stack, count))
            with readers(f"http://127.0.0.1:{port}", key) as seconds:
                beside.append(rate(stack, count))
            waits += seconds
    assert len(waits) > READERS, "nobody read"
    share = statistics.median(beside) / statistics.median(alone)
    return (
        Figure(
            f"of the stamping rate without them, while {READERS} users read every {EVERY:g} s",
            share,
            0.95,
            facts=(
                f"{statistics.median(alone):.1f} invoices a second without them and {statistics.median(beside):.1f} "
                f"with them; {len(waits):,} reads, {statistics.median(waits) * 1e3:.0f} ms at the median",
            ),
        ),
        Figure("s for a read meanwhile, p95", statistics.quantiles(waits, n=20)[18], unit="s"),
    )


def rate(stack: BenchStack, count: int) -> float:
    """Stamp so many; return how many a second, once as many are in flight as may be."""
    known = stack.stamped()
    with stack.frozen():
        stack.submit(ACCOUNTS, count)
    stack.until_stamped(known + count, 60 + 4 * count * 0.6 / IN_FLIGHT)
    found, _ = steady_rate(stack, known, count)
    return found


def a_key(stack: BenchStack) -> str:
    with stack.engine.begin() as db:
        now = stack.rows("SELECT now() AS at")[0].at
        return keys.create(db, "readers", now=now, scopes=("read",))


@contextmanager
def readers(url: str, key: str) -> Iterator[list[float]]:
    """Have users read for as long as the block lasts; the list fills with the seconds that each read took.

    Their CPU is on other machines in real life, so they are sockets of one thread, which sends what was written before
    and counts the bytes that come back.
    """
    seconds: list[float] = []
    ended = threading.Event()
    every = [_Reader(url, key, number) for number in range(READERS)]
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(_read, every, seconds, ended)
        try:
            yield seconds
        finally:
            ended.set()
    reading.result()


class _Reader:
    """One user: a line that stays open, and the requests that follow each other on it."""

    def __init__(self, url: str, key: str, number: int) -> None:
        account, where = ACCOUNTS[number % len(ACCOUNTS)], urlsplit(url)
        http = HTTPConnection(where.netloc, timeout=30)
        newest = json.loads(_get(http, key, f"/v1/invoices?account={account}"))["items"][0]["external_id"]
        assert http.sock is not None, "the line stays open"
        self.socket = http.sock
        paths = (
            f"/v1/invoices?account={account}",
            f"/v1/invoices/{account}/{newest}",
            f"/v1/invoices?q={newest}",
            f"/v1/events?account={account}",
            "/v1/status",
        )
        rest = f"HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {key}\r\n\r\n"
        self._requests = cycle([f"GET {path} {rest}".encode() for path in paths])
        self.due = time.monotonic() + EVERY * number / READERS
        self.began: float | None = None
        self._missing: int | None = None

    def ask(self) -> None:
        """Send the next request."""
        self.began, self._missing = time.monotonic(), None
        self.socket.sendall(next(self._requests))

    def took(self) -> float | None:
        """Take what has come; return the seconds since the request where that is the whole answer."""
        piece = self.socket.recv(1 << 18)
        if self._missing is None:  # the head comes in one piece, uvicorn writes it at once
            head, _, piece = piece.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise AssertionError(head.decode())
            self._missing = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        self._missing -= len(piece)
        if self._missing > 0 or self.began is None:
            return None
        seconds, self.due, self.began = time.monotonic() - self.began, self.began + EVERY, None
        return seconds


def _read(every: list[_Reader], seconds: list[float], ended: threading.Event) -> None:
    with selectors.DefaultSelector() as answers:
        for each in every:
            answers.register(each.socket, selectors.EVENT_READ, each)
        while not ended.is_set():
            now = time.monotonic()
            for each in every:
                if each.began is None and each.due <= now:
                    each.ask()
            due = min((each.due for each in every if each.began is None), default=now + EVERY)
            for answer, _ in answers.select(max(0.0, due - now)):
                if (took := answer.data.took()) is not None:
                    seconds.append(took)
    for each in every:
        each.socket.close()


def _get(http: HTTPConnection, key: str, path: str) -> bytes:
    http.request("GET", path, headers={"Authorization": f"Bearer {key}"})
    answer = http.getresponse()
    body = answer.read()
    if answer.status != HTTPStatus.OK:
        raise AssertionError(f"{path}: HTTP {answer.status}")
    return body
