"""What one account's thousands do to another's one: in the table, after an outage, and in what comes in."""

import os
import subprocess
import sys
import time
from pathlib import Path

import sqlalchemy as sa

from benchmarks.figures import Figure
from benchmarks.processes import middle
from benchmarks.stack import BenchStack, a_bench_stack
from tasks.enqueue import submit_many
from tests.support.builders import an_invoice

LATENCY = 0.3
CROWD, SINGLE = "crowd", "single"


def beside_a_crowd(quick: bool) -> tuple[Figure, ...]:
    """10,000 wait for one account while another sends one: from its message to its stamp, 300 ms a call."""
    samples = 7 if quick else 15
    with a_bench_stack() as stack:
        stack.connect([CROWD, SINGLE])
        stack.warm([CROWD, SINGLE])
        stack.latency(LATENCY)
        idle = [_wait(stack) for _ in range(samples)]
        stack.lay(CROWD, 10_000)
        stack.until_stamped(stack.stamped() + 8, 60)
        before = _left(stack)
        beside = [_wait(stack) for _ in range(samples)]
        after = _left(stack)
    return (
        Figure(
            "times its idle wait, one invoice beside another account's 10,000",
            middle(beside) / middle(idle),
            2,
            "at most",
            facts=(
                f"{middle(beside):.2f} s beside {middle(idle):.2f} s idle (medians of {samples}); "
                f"the slowest {max(beside):.2f} s beside {max(idle):.2f} s",
                f"the crowd went on meanwhile: {before:,} to {after:,} waiting",
            ),
        ),
    )


def _wait(stack: BenchStack) -> float:
    known = _stamped(stack)
    began = time.perf_counter()
    stack.submit([SINGLE], 1)
    stack.until(lambda: _stamped(stack) > known, 60, every=0.01)
    return time.perf_counter() - began


def _stamped(stack: BenchStack) -> int:
    rows = stack.rows(
        "SELECT count(*) FROM invoices WHERE account = :name AND status = 'stamped'", name=SINGLE
    )
    return int(rows[0][0])


def _left(stack: BenchStack) -> int:
    rows = stack.rows(
        "SELECT count(*) FROM invoices WHERE account = :name AND status = 'accepted'", name=CROWD
    )
    return int(rows[0][0])


SMALL = "zz-small"
ROOT = Path(__file__).parents[1]


def after_an_outage(quick: bool) -> tuple[Figure, ...]:
    """100,000 invoices of 2,000 accounts are due at once, and three of a small one that wait longest of all."""
    accounts, each = (200, 50) if quick else (2_000, 50)
    with a_bench_stack(env={"TIMBRADO_SWEEP_EVERY": "3"}) as stack:
        stack.connect([SINGLE])
        stack.warm([SINGLE])
        stack.latency(LATENCY)
        with stack.frozen():
            _lay_due(stack, accounts, each)
        began, waiting, doctor, first = time.monotonic(), 0, 0.0, 0
        while _unserved(stack):
            waiting = max(waiting, sum(stack.redis.llen(name) for name in ("stamp", "stamp.bulk", "upkeep")))
            if not first and not stack.rows(
                "SELECT 1 FROM invoices WHERE account = :a AND stamped_at IS NULL", a=SMALL
            ):
                first = _stamps(stack)
            if not doctor and time.monotonic() - began > 10:
                doctor = _doctor(stack)
            if time.monotonic() - began > 900:
                raise TimeoutError(f"{_unserved(stack)} accounts have no stamp after 900 s")
            time.sleep(0.5)
        seconds, stamps = time.monotonic() - began, _stamps(stack)
    return (
        Figure(
            f"stamps for each of {accounts:,} accounts, when the last of them had its first",
            stamps / accounts,
            3,
            "at most",
            facts=(
                f"{stamps:,} stamps in {seconds:.0f} s",
                f"the small account was done after {first:,} stamps",
            ),
        ),
        Figure("part of the accounts served before the small one was", first / accounts, 0.5, "at most"),
        Figure("messages that waited in Redis at most", waiting, 600, "at most", unit="messages"),
        Figure("`timbrado doctor` meanwhile", doctor, 5, "at most", unit="s"),
    )


def _lay_due(stack: BenchStack, accounts: int, each: int) -> None:
    names = [column["name"] for column in sa.inspect(stack.engine).get_columns("connections")]
    with stack.engine.begin() as db:
        db.execute(sa.text("ALTER TABLE invoices DISABLE TRIGGER USER"))
        for account, count in (("'acc-' || lpad(g::text, 5, '0')", accounts), (f"'{SMALL}'", 1)):
            copied = {"id": "gen_random_uuid()", "account": account}
            db.execute(
                sa.text(
                    f"INSERT INTO connections ({', '.join(names)})"
                    f" SELECT {', '.join(copied.get(name, name) for name in names)}"
                    " FROM connections, generate_series(1, :count) g WHERE account = :source"
                ),
                {"count": count, "source": SINGLE},
            )
        for account, count, due in (
            ("'acc-' || lpad((1 + g % :accounts)::text, 5, '0')", accounts * each, "1 hour"),
            (f"'{SMALL}'", 3, "5 hours"),
        ):
            db.execute(
                sa.text(
                    f"""
                    INSERT INTO invoices (id, account, external_id, status, version, content, content_hash, errors,
                      tries, lookups, next_attempt_at, created_at, updated_at)
                    SELECT gen_random_uuid(), {account}, 'L-' || g, 'waiting', 1,
                      jsonb_set(content, '{{account}}', to_jsonb(CAST({account} AS text))), content_hash, '[]', 1, 0,
                      clock_timestamp() - CAST(:due AS interval) + random() * interval '50 minutes',
                      now() - interval '6 hours', now()
                    FROM (SELECT content, content_hash FROM invoices LIMIT 1) one, generate_series(1, :count) g"""
                ),
                {"count": count, "due": due, "accounts": accounts}
                if "acc" in account
                else {"count": count, "due": due},
            )
        db.execute(sa.text("ALTER TABLE invoices ENABLE TRIGGER USER"))
    with stack.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        db.execute(sa.text("ANALYZE"))


def _unserved(stack: BenchStack) -> int:
    served = "SELECT 1 FROM invoices i WHERE i.account = c.account AND i.stamped_at IS NOT NULL"
    return int(stack.rows(f"SELECT count(*) FROM connections c WHERE NOT EXISTS ({served})")[0][0])


def _stamps(stack: BenchStack) -> int:
    return int(
        stack.rows("SELECT count(*) FROM invoices WHERE stamped_at IS NOT NULL AND external_id LIKE 'L-%'")[
            0
        ][0]
    )


def _doctor(stack: BenchStack) -> float:
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "cli", "doctor"],
        cwd=ROOT,
        env={**os.environ, **stack.runtime.environment},
        capture_output=True,
        timeout=120,
        check=False,
    )
    return time.monotonic() - began


def behind_a_flood(quick: bool) -> tuple[Figure, ...]:
    """200,000 messages of one account wait in `intake` when another one connects, and sends an invoice."""
    return (_behind(500, 1.0), _behind(20_000 if quick else 200_000, 5.0))


def _behind(messages: int, bound: float) -> Figure:
    with a_bench_stack() as stack:
        stack.connect([CROWD, SINGLE])
        stack.warm([CROWD, SINGLE])
        known = int(stack.rows("SELECT count(*) FROM invoices WHERE account = :a", a=SINGLE)[0][0])
        flood = (an_invoice(account=CROWD, external_id=f"F-{n}", fecha=None) for n in range(messages))
        with stack.frozen():
            for _ in submit_many(stack.app, flood, batch=1_000):
                pass
            stack.announce("newcomer")
            stack.submit([SINGLE], 1)
            megabytes = stack.redis.info("memory")["used_memory"] / 2**20
        began = time.perf_counter()
        stack.until(
            lambda: stack.rows("SELECT count(*) FROM invoices WHERE account = :a", a=SINGLE)[0][0] > known,
            600,
            every=0.02,
        )
        accepted = time.perf_counter() - began
        stack.until(
            lambda: bool(
                stack.rows("SELECT 1 FROM connections WHERE account = 'newcomer' AND status = 'active'")
            ),
            600,
            every=0.02,
        )
        connected = time.perf_counter() - began
        left = stack.redis.llen("intake")
    return Figure(
        f"until another account's invoice is accepted and a new one is connected, behind {messages:,} messages",
        max(accepted, connected),
        bound,
        "at most",
        unit="s",
        facts=(
            f"accepted after {accepted:.2f} s, connected after {connected:.2f} s; {left:,} were still waiting",
            f"Redis held {megabytes:.0f} MB",
        ),
    )
