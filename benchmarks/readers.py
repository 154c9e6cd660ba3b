"""People who read while invoices are stamped: what they cost the stamping, and how long they wait."""

import asyncio
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import httpx

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
    """Have users read for as long as the block lasts; the list fills with the seconds that each read took."""
    seconds: list[float] = []
    ended = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_read(url, key, seconds, ended)))
    thread.start()
    try:
        yield seconds
    finally:
        ended.set()
        thread.join(30)


async def _read(url: str, key: str, seconds: list[float], ended: threading.Event) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    limits = httpx.Limits(max_connections=READERS)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30, limits=limits) as http:
        await asyncio.gather(*(_one(http, number, seconds, ended) for number in range(READERS)))


async def _one(http: httpx.AsyncClient, number: int, seconds: list[float], ended: threading.Event) -> None:
    account = ACCOUNTS[number % len(ACCOUNTS)]
    params: dict[str, Any] = {"account": account}
    newest = (await http.get("/v1/invoices", params=params)).json()["items"][0]["external_id"]
    paths = cycle(
        [
            ("/v1/invoices", params),
            (f"/v1/invoices/{account}/{newest}", {}),
            ("/v1/invoices", {"q": newest}),
            ("/v1/events", params),
            ("/v1/status", {}),
        ]
    )
    await asyncio.sleep(EVERY * number / READERS)
    for path, asked in paths:
        if ended.is_set():
            return
        began = time.monotonic()
        answer = await http.get(path, params=asked)
        answer.raise_for_status()
        seconds.append(time.monotonic() - began)
        await asyncio.sleep(max(0.0, EVERY - (time.monotonic() - began)))
