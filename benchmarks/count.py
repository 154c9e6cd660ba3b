"""Counts what one ordinary invoice costs: statements, commits, WAL, Redis commands, files; CPU of each part.

`./dev bench count` sends invoices one after the other through one worker, with and without a webhook, and reads the
servers' own counters before and after.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.channel import a_receiver
from benchmarks.figures import Figure
from benchmarks.pipeline import WIDE
from benchmarks.stack import BenchStack, a_bench_stack

ACCOUNT = "one"
FLUSHED = 11.0
"""Seconds after which a session at rest has given what it counted to PostgreSQL's statistics (10 s)."""
LOGGED = (
    "log_min_duration_statement = 0",
    "log_error_verbosity = 'terse'",
    "log_parameter_max_length = 0",
)


def an_ordinary_invoice(quick: bool) -> tuple[Figure, ...]:
    """One account, one worker of 8 threads, no beat: what the servers count for an invoice."""
    count = 10 if quick else 60
    with a_receiver() as receiver:
        without = _count(count, WIDE, None)
        with_one = _count(count, WIDE | receiver.environment, receiver.count)
    return tuple(
        Figure(
            f"commits that write, an invoice, {name}",
            seen["commits"],
            unit="commits",
            facts=tuple(f"{value:,.1f} {what}" for what, value in seen.items() if what != "commits"),
        )
        for name, seen in (("no channel", without), ("with a webhook", with_one))
    )


def _count(count: int, env: dict[str, str], arrived: Any) -> dict[str, float]:
    with a_bench_stack(workers=1, concurrency=8, env=env, beat=False) as stack:
        stack.connect([ACCOUNT])
        stack.warm([ACCOUNT], 60)
        log = next(stack.runtime.var.rglob("postgres.log"))
        for setting in LOGGED:
            _admin(stack, f"ALTER SYSTEM SET {setting}")
        _admin(stack, "SELECT pg_reload_conf()")
        time.sleep(FLUSHED)
        files_before = len([*_documents(stack)])
        before, at, spent = _counters(stack), log.stat().st_size, stack.spent()
        known, received = stack.stamped(), arrived() if arrived is not None else 0
        for number in range(count):
            stack.submit([ACCOUNT], 1)
            if arrived is not None:
                stack.until(lambda number=number: arrived() >= received + 2 * (number + 1), 30, every=0.02)  # type: ignore[misc]  # bound in this round
            else:
                time.sleep(0.15)
        stack.until_stamped(known + count, 60)
        time.sleep(1)
        cost = stack.spent() - spent
        time.sleep(FLUSHED)
        after = _counters(stack)
        files = len([*_documents(stack)])
        text = log.read_bytes()[at:].decode(errors="replace")
        syncs = _syncs(stack)
    ours = [
        line
        for line in text.splitlines()
        if "duration:" in line and "count(*)" not in line and "pg_stat" not in line
    ]
    statements = [line for line in ours if " execute " in line or " statement: " in line]
    return {
        "commits": (after["commits"] - before["commits"]) / count,
        "statements, with BEGIN and COMMIT; each is a round trip": len(statements) / count,
        "bytes of WAL": (after["wal_bytes"] - before["wal_bytes"]) / count,
        "WAL records": (after["wal_records"] - before["wal_records"]) / count,
        "rows updated, of them in place (HOT)": (after["updated"] - before["updated"]) / count,
        "rows updated in place": (after["hot"] - before["hot"]) / count,
        "files": (files - files_before) / count,
        **({"fsyncs of the worker": syncs} if syncs is not None else {}),
        "Redis commands": (after["redis"] - before["redis"]) / count,
        "ms of worker CPU": 1e3 * cost.workers / count,
        "ms of PostgreSQL CPU": 1e3 * cost.postgres / count,
        "ms of Redis CPU": 1e3 * cost.redis / count,
    }


def _documents(stack: BenchStack) -> Iterator[Path]:
    """The files of the document store."""
    return (path for path in (stack.runtime.var / "documents").rglob("*") if path.is_file())


def _syncs(stack: BenchStack, count: int = 5) -> float | None:
    """How often the worker calls fsync an invoice, as strace counts it; None where there is no strace."""
    if shutil.which("strace") is None:
        return None
    argv = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-p", str(stack.workers[0])]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as tracer:
        time.sleep(1)
        known = stack.stamped()
        stack.submit([ACCOUNT], count)
        stack.until_stamped(known + count, 60)
        tracer.terminate()
        _, seen = tracer.communicate()
    return sum("sync(" in line for line in seen.splitlines()) / count


def _counters(stack: BenchStack) -> dict[str, float]:
    (wal,) = stack.rows("SELECT wal_bytes, wal_records FROM pg_stat_wal")
    (rows,) = stack.rows(
        "SELECT sum(n_tup_upd) AS updated, sum(n_tup_hot_upd) AS hot FROM pg_stat_user_tables"
    )
    # a transaction has an id once it writes: reads of this benchmark, and of the worker, are not counted
    (db,) = stack.rows("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS written")
    calls: Any = stack.redis.info("commandstats")
    return {
        "wal_bytes": float(wal.wal_bytes),
        "wal_records": float(wal.wal_records),
        "updated": float(rows.updated),
        "hot": float(rows.hot),
        "commits": float(db.written),
        "redis": float(sum(each["calls"] for each in calls.values())),
    }


def _admin(stack: BenchStack, statement: str) -> None:
    with stack.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        db.execute(sa.text(statement))
