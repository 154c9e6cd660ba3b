"""Whether a worker's memory stays where it is, however many invoices pass through it."""

import time

from benchmarks.channel import a_receiver
from benchmarks.figures import Figure
from benchmarks.pipeline import ACCOUNTS, WIDE
from benchmarks.processes import resident_mb
from benchmarks.stack import a_bench_stack

MANY = 50_000
MINUTES = 30  # it takes 15 to 20 on two cores


def flat(quick: bool) -> tuple[Figure, ...]:
    """Resident memory of one worker of 50 threads after 1,000 invoices, and after 50,000; a webhook is switched on."""
    seconds = 40 if quick else MINUTES * 60
    first, many = (300, 3_000) if quick else (1_000, MANY)
    seen: list[float] = []
    with a_receiver() as receiver, a_bench_stack(env=WIDE | receiver.environment) as stack:
        stack.connect(ACCOUNTS)
        stack.warm(ACCOUNTS, 8)
        pid = stack.workers[0]
        start, deadline = stack.stamped(), time.monotonic() + seconds
        while len(seen) * first < many and time.monotonic() < deadline:
            stack.submit(ACCOUNTS, first)
            stack.until_stamped(start + first * (len(seen) + 1), 300)
            seen.append(resident_mb(pid))
    passed = first * len(seen)
    every = max(1, len(seen) // 10)
    course = ", ".join(f"{mb:.0f}" for mb in seen[::every])
    last = sum(seen[-3:]) / len(seen[-3:])
    return (
        Figure(
            f"MB resident after {passed:,} invoices",
            last,
            200,
            "at most",
            unit="MB",
            facts=(
                f"after {first:,}: {seen[0]:.0f} MB; on the way: {course}",
                f"{many:,} would have taken longer than the {seconds} s there are for this"
                if passed < many
                else f"{passed:,} passed through one process",
            ),
        ),
        Figure(
            f"times the memory after {first:,}",
            last / seen[0],
            1.1,
            "at most",
        ),
    )
