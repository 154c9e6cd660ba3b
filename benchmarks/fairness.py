"""What one account's ten thousand do to another's one."""

import time

from benchmarks.figures import Figure
from benchmarks.processes import middle
from benchmarks.stack import BenchStack, a_bench_stack

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
