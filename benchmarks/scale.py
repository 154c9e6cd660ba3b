"""Whether what is open makes the next invoice dearer: 100,000 beside 1,000, in two databases of one PostgreSQL.

In turn, a few stamps and sweeps here and a few there, so that whatever else the machine does falls on both.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from benchmarks.figures import Figure
from benchmarks.processes import middle, tree_cpu_seconds
from devstack.stack import throw_away_servers
from migrations import upgrade
from sandbox.serve import RunningSandbox
from tests.support.harness import Harness, open_harness, sweep

ACCOUNTS = 50


@dataclass
class Place:
    """One database with so many open invoices, and what was measured in it."""

    pipeline: Harness
    server: int  # PostgreSQL's process
    stamp_cpu: list[float] = field(default_factory=list)
    stamp_wall: list[float] = field(default_factory=list)
    sweep_cpu: list[float] = field(default_factory=list)
    sweep_wall: list[float] = field(default_factory=list)

    def stamps(self, ids: list[UUID]) -> None:
        cpu, began = self._cpu(), time.perf_counter()
        for invoice_id in ids:
            self.pipeline.stamp(invoice_id)
        self.stamp_wall.append(1e3 * (time.perf_counter() - began) / len(ids))
        self.stamp_cpu.append(1e3 * (self._cpu() - cpu) / len(ids))

    def sweeps(self, times: int) -> None:
        cpu, began = self._cpu(), time.perf_counter()
        for _ in range(times):
            sweep.sweep(self.pipeline.tools)
        self.sweep_wall.append(1e3 * (time.perf_counter() - began) / times)
        self.sweep_cpu.append(1e3 * (self._cpu() - cpu) / times)

    def _cpu(self) -> float:
        """CPU seconds of this process's own thread and of PostgreSQL."""
        return time.thread_time() + tree_cpu_seconds(self.server)


def open_invoices(quick: bool) -> tuple[Figure, ...]:
    """CPU (ours and PostgreSQL's) of a stamp and of a sweep at 100,000 open invoices, beside 1,000."""
    rounds, each = (4, 25) if quick else (12, 50)
    with throw_away_servers() as runtime, RunningSandbox() as sandbox, ExitStack() as stack:
        server = runtime.pids["postgres"]
        few = stack.enter_context(_place(runtime.database_url, "few", sandbox, server, 1_000))
        many = stack.enter_context(_place(runtime.database_url, "many", sandbox, server, 100_000))
        for number in range(rounds + 1):
            for place in (few, many) if number % 2 else (many, few):
                ids = [place.pipeline.submit(f"OP-{number}-{n}") for n in range(each)]
                place.stamps(ids)
                place.sweeps(20)
                if number == 0:  # the first round fills caches and prepares statements
                    for kept in (place.stamp_cpu, place.stamp_wall, place.sweep_cpu, place.sweep_wall):
                        kept.clear()
    return (
        _figure(
            "times the CPU of a stamp at 1,000 open, at 100,000",
            few.stamp_cpu,
            many.stamp_cpu,
            few.stamp_wall,
            many.stamp_wall,
        ),
        _figure(
            "times the CPU of a sweep at 1,000 open, at 100,000",
            few.sweep_cpu,
            many.sweep_cpu,
            few.sweep_wall,
            many.sweep_wall,
        ),
    )


def _figure(
    what: str, few: list[float], many: list[float], few_wall: list[float], many_wall: list[float]
) -> Figure:
    return Figure(
        what,
        middle(many) / middle(few),
        1.1,
        "at most",
        facts=(
            f"{middle(many):.1f} ms of CPU beside {middle(few):.1f} ms; on the wall {middle(many_wall):.1f} ms beside "
            f"{middle(few_wall):.1f} ms (medians of {len(few)} rounds, ours and PostgreSQL's together)",
        ),
    )


@contextmanager
def _place(url: str, name: str, sandbox: RunningSandbox, server: int, open_: int) -> Iterator[Place]:
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as db:
        db.execute(sa.text(f"CREATE DATABASE {name}"))
    admin.dispose()
    own = sa.make_url(url).set(database=name).render_as_string(hide_password=False)
    upgrade(own)
    with open_harness(own, sandbox) as pipeline:
        pipeline.stamped("OP-first")
        _fill(pipeline, open_)
        yield Place(pipeline, server)


def _fill(pipeline: Harness, open_: int) -> None:
    """Open invoices of 50 accounts that are all due, as copies of one that came in by a message."""
    with pipeline.tools.engine.begin() as db:
        _run(db, "ALTER TABLE invoices DISABLE TRIGGER USER")
        columns = [row.column_name for row in _columns(db) if row.column_name not in {"id", "account"}]
        names = ", ".join(columns)
        _run(
            db,
            f"INSERT INTO connections (id, account, {names}) SELECT gen_random_uuid(), 'other-' || n, {names} "
            f"FROM (SELECT * FROM connections LIMIT 1) one, generate_series(1, {ACCOUNTS}) n",
        )
        _run(
            db,
            f"""
            INSERT INTO invoices (id, account, external_id, status, version, content, content_hash, next_attempt_at,
              created_at, updated_at)
            SELECT gen_random_uuid(), 'other-' || (n % {ACCOUNTS} + 1), 'L-' || n, 'accepted', 1, content,
              content_hash, now() - n * interval '1 millisecond', now(), now()
            FROM (SELECT content, content_hash FROM invoices LIMIT 1) one, generate_series(1, {open_}) n""",
        )
        _run(db, "ALTER TABLE invoices ENABLE TRIGGER USER")
    with pipeline.tools.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        _run(db, "VACUUM ANALYZE")


def _columns(db: sa.Connection) -> list[Any]:
    asked = "SELECT column_name FROM information_schema.columns WHERE table_name = 'connections'"
    return list(db.execute(sa.text(asked)).all())


def _run(db: sa.Connection, sql: str) -> None:
    db.execute(sa.text(sql))
