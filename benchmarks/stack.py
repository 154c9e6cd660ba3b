"""A whole stack to measure in: real Redis, PostgreSQL, sandbox and workers, with Apunto's messages.

Redis and PostgreSQL write to the disk here as in production. Without it the figures
would be those of a stack that forgets.
"""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import sqlalchemy as sa
from celery import Celery
from cryptography.fernet import Fernet

from benchmarks.processes import cpu_seconds, idle_seconds, tree_cpu_seconds
from devstack.stack import Stack
from sandbox.serve import RunningSandbox
from tests.support.apunto import announce
from tests.support.builders import an_invoice

QUEUES = ("intake", "stamp", "stamp.bulk", "events", "upkeep")


class BenchStack:
    """One runtime with its sandbox; closed by `a_bench_stack`."""

    def __init__(self, runtime: Stack, sandbox: RunningSandbox) -> None:
        self.runtime, self.sandbox = runtime, sandbox
        self.engine = sa.create_engine(runtime.database_url, pool_size=2, pool_pre_ping=True)
        self.app = Celery("apunto", broker=runtime.broker_url, set_as_current=False)
        self.redis = redis.Redis.from_url(runtime.redis_url)
        self._sent = 0

    @property
    def workers(self) -> list[int]:
        """The processes of the workers."""
        return [pid for name, pid in self.runtime.pids.items() if name.startswith("worker")]

    # -- what is there

    def connect(self, names: Sequence[str]) -> None:
        """Open accounts in the sandbox, connect them, and wait until all are active."""
        for name in names:
            self.announce(name)
        wanted = sa.text("SELECT count(*) FROM connections WHERE status = 'active' AND account = ANY(:names)")
        self.until(lambda: self.scalar(wanted, names=list(names)) == len(names), 60)

    def announce(self, name: str) -> None:
        """Open an account in the sandbox, and send what connects it."""
        fernet = Fernet(self.runtime.environment["TIMBRADO_ENCRYPTION_KEYS"].split(",")[0])
        announce(name, self.sandbox, self.app, fernet, stamps=10**9)

    def warm(self, names: Sequence[str], each: int = 4) -> None:
        """Stamp a few of each account: customers, products and catalogues are known, caches are full."""
        self.submit(names, each * len(names))
        self.until_stamped(self._sent, 120)

    def lay(self, account: str, count: int, status: str = "accepted", *, due_in: str = "0 seconds") -> None:
        """Lay open invoices into the table by SQL, as copies of one that came in by a message."""
        with self.engine.begin() as db:
            db.execute(
                sa.text("ALTER TABLE invoices DISABLE TRIGGER USER")
            )  # their history is not what is measured
            db.execute(
                sa.text(
                    """
                    INSERT INTO invoices (id, account, external_id, status, version, content, content_hash, errors,
                      tries, doubt, lookups, next_attempt_at, reminder_at, created_at, updated_at)
                    SELECT gen_random_uuid(), CAST(:account AS text), 'L-' || gen_random_uuid(), CAST(:status AS text),
                      1, jsonb_set(content, '{account}', to_jsonb(CAST(:account AS text))), content_hash, '[]', 0,
                      NULL, 0, clock_timestamp() + CAST(:due AS interval), NULL, now(), now()
                    FROM (SELECT content, content_hash FROM invoices WHERE status = 'stamped' LIMIT 1) one,
                      generate_series(1, :count)"""
                ),
                {"account": account, "status": status, "due": due_in, "count": count},
            )
            db.execute(sa.text("ALTER TABLE invoices ENABLE TRIGGER USER"))
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
            db.execute(sa.text("ANALYZE invoices"))

    # -- what comes in

    def submit(self, names: Sequence[str], count: int) -> None:
        """Send invoices, the accounts in turn, as Apunto does."""
        with self.app.producer_or_acquire() as producer:
            for number in range(count):
                invoice = an_invoice(
                    account=names[number % len(names)], external_id=f"B-{self._sent + number}", fecha=None
                )
                self.app.send_task(
                    "stamping.submit_invoice",
                    kwargs={"invoice": invoice},
                    queue="intake",
                    producer=producer,
                    argsrepr="",
                    kwargsrepr="",
                )
        self._sent += count

    # -- what is seen

    def scalar(self, statement: Any, **values: Any) -> Any:
        with self.engine.begin() as db:
            return db.execute(statement, values).scalar_one()

    def rows(self, sql: str, **values: Any) -> list[Any]:
        with self.engine.begin() as db:
            return list(db.execute(sa.text(sql), values).all())

    def stamped(self) -> int:
        return int(self.scalar(sa.text("SELECT count(*) FROM invoices WHERE status = 'stamped'")))

    def until_stamped(self, count: int, seconds: float) -> None:
        self.until(lambda: self.stamped() >= count, seconds)

    def until(self, holds: Callable[[], bool], seconds: float, every: float = 0.1) -> None:
        """Wait; raises TimeoutError with what the table holds."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                seen = self.rows("SELECT status, count(*) FROM invoices GROUP BY status")
                tail = [line for pid in self.runtime.services for line in self.runtime.tail(pid)[-2:]]
                raise TimeoutError(f"not in {seconds:g} s: {seen}\n" + "\n".join(tail))
            time.sleep(every)

    def latency(self, p50: float, p99: float | None = None) -> None:
        """Have saves and stamps take so long each (seconds); 0 for as fast as they can."""
        self.sandbox.calm()
        if p50:
            for call in ("save", "stamp"):
                self.sandbox.play("latency", call=call, p50=p50, p99=p99 or p50)

    # -- what it costs

    def spent(self) -> "Spent":
        """CPU seconds of each part until now."""
        pids = self.runtime.pids
        idle, stolen = idle_seconds()
        return Spent(
            workers=sum(cpu_seconds(pid) for pid in self.workers),
            postgres=tree_cpu_seconds(pids["postgres"]),
            redis=tree_cpu_seconds(pids["redis"]),
            sandbox=cpu_seconds(self.sandbox.pid),
            idle=idle,
            stolen=stolen,
        )

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Hold the workers still: what is sent meanwhile waits, so that sending is not what is measured."""
        pids = self.workers
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        self.engine.dispose()
        self.app.close()
        self.redis.close()


@dataclass(frozen=True)
class Spent:
    """CPU seconds by part, and of the machine's those that nobody used, or its host took."""

    workers: float
    postgres: float
    redis: float
    sandbox: float
    idle: float
    stolen: float

    def __sub__(self, before: "Spent") -> "Spent":
        return Spent(
            self.workers - before.workers,
            self.postgres - before.postgres,
            self.redis - before.redis,
            self.sandbox - before.sandbox,
            self.idle - before.idle,
            self.stolen - before.stolen,
        )

    def shown(self, invoices: int, seconds: float) -> str:
        """Milliseconds an invoice, by part, and how much of the machine all of them kept busy for so long."""
        parts = {
            "worker": self.workers,
            "PostgreSQL": self.postgres,
            "Redis": self.redis,
            "sandbox": self.sandbox,
        }
        each = ", ".join(f"{name} {1e3 * s / invoices:.1f} ms" for name, s in parts.items())
        busy, cores = sum(parts.values()) / seconds, os.cpu_count() or 1
        idle, stolen = (100 * share / seconds / cores for share in (self.idle, self.stolen))
        return (
            f"CPU an invoice: {each}: {busy:.2f} of {cores} cores ({idle:.0f} % of the machine idle, {stolen:.0f} % "
            "taken by its host)"
        )


@contextmanager
def a_bench_stack(
    *, workers: int = 1, concurrency: int = 50, env: dict[str, str] | None = None, beat: bool = True
) -> Iterator[BenchStack]:
    """Open a stack under a folder that goes with it."""
    with tempfile.TemporaryDirectory(prefix="timbrado-bench-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        with RunningSandbox() as sandbox:
            with Stack(
                Path(folder) / "var",
                given={"TIMBRADO_CONTADIGITAL_URL": sandbox.url},
                workers=workers,
                concurrency=concurrency,
                sandbox=False,
                flower=False,
                beat=beat,
                env={"TIMBRADO_LOG_FORMAT": "json", **(env or {})},
            ) as runtime:
                stack = BenchStack(runtime, sandbox)
                try:
                    yield stack
                finally:
                    stack.close()
