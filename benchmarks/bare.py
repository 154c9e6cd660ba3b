"""Bare Celery's own figures: how many no-op tasks a second, and what CPU each costs."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from celery import Celery

from benchmarks import NOOP_QUEUE as QUEUE
from benchmarks.processes import cpu_seconds
from benchmarks.stack import BenchStack
from config.running import CHECKOUT
from devstack.process import Service

_names = itertools.count(1)
SAME = (
    "broker_url",
    "broker_connection_retry_on_startup",
    "broker_transport_options",
    "task_acks_late",
    "task_reject_on_worker_lost",
    "task_acks_on_failure_or_timeout",
    "task_ignore_result",
    "task_store_errors_even_if_ignored",
    "task_serializer",
    "accept_content",
    "worker_prefetch_multiplier",
    "worker_send_task_events",
    "task_send_sent_event",
    "worker_cancel_long_running_tasks_on_connection_loss",
    "timezone",
    "enable_utc",
)
"""What the bare app has in common with the worker's; what it has not is our tasks, resources and logging."""
_READ = f"""
import json
from worker.app import app
print(json.dumps({{name: app.conf[name] for name in {SAME!r}}}))
"""


@dataclass(frozen=True)
class Bare:
    """What no-op tasks cost in this stack, just now."""

    rate: float  # tasks a second, all processes together
    cpu_ms: float  # of the workers, a task


def bare(stack: BenchStack, *, processes: int, tasks: int, threads: int = 50) -> Bare:
    """Run so many no-op tasks through so many processes over the same Redis; all wait before the first is begun."""
    names = [f"bare{next(_names)}" for _ in range(processes)]
    options = _options(stack)
    stack.runtime.add(*(_service(name, stack.runtime.broker_url, threads, options) for name in names))
    pids = [stack.runtime.pids[name] for name in names]
    try:
        _send(stack, 100 * processes)
        _wait(stack)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        _send(stack, tasks)
        before, began = sum(map(cpu_seconds, pids)), time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        _wait(stack)
        seconds, spent = time.monotonic() - began, sum(map(cpu_seconds, pids)) - before
    finally:
        for name in names:
            stack.runtime.stop_service(name)
    return Bare(rate=tasks / seconds, cpu_ms=1e3 * spent / tasks)


def _options(stack: BenchStack) -> str:
    settings = {**stack.runtime.environment, "TIMBRADO_CONTADIGITAL_URL": stack.sandbox.url}
    done = subprocess.run(
        [sys.executable, "-c", _READ],
        env={**os.environ, **settings},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip().splitlines()[-1]


def _service(name: str, broker_url: str, threads: int, options: str) -> Service:
    node = f"{name}@timbrado"
    argv = [sys.executable, "-m", "celery", "--quiet", "-A", "benchmarks.noop", "worker", "--pool", "threads"]
    argv += ["-c", str(threads), "-Q", QUEUE, "--hostname", node, "--without-mingle", "--without-gossip"]
    argv += ["--loglevel", "info"]

    def ping() -> bool:
        with Celery(broker=broker_url, set_as_current=False) as app:
            return bool(app.control.ping(destination=[node], timeout=0.5))

    async def answers() -> bool:
        return await asyncio.to_thread(ping)

    return Service(name, argv, ready=answers, env={"BENCH_OPTIONS": options}, cwd=CHECKOUT)


def _send(stack: BenchStack, count: int) -> None:
    with stack.app.producer_or_acquire() as producer:
        for number in range(count):
            stack.app.send_task("noop.nothing", args=(str(number),), queue=QUEUE, producer=producer)


def _wait(stack: BenchStack, seconds: float = 120) -> None:
    """Wait until none waits and none is in hand (`unacked` is where Celery keeps what is not acknowledged)."""
    stack.until(lambda: not stack.redis.llen(QUEUE) and not stack.redis.hlen("unacked"), seconds, every=0.05)
