"""Whether a worker's memory stays where it is, however many invoices pass through it."""

import time

from benchmarks.figures import Figure
from benchmarks.house import a_house
from benchmarks.pipeline import ACCOUNTS, WIDE
from benchmarks.processes import resident_mb

MINUTES = 4


def flat(quick: bool) -> tuple[Figure, ...]:
    """Resident memory of one worker of 50 threads after 1,000 invoices, and after as many as fit the time."""
    seconds = 40 if quick else MINUTES * 60
    first = 300 if quick else 1000
    seen: list[float] = []
    with a_house(env=WIDE) as house:
        house.connect(ACCOUNTS)
        house.warm(ACCOUNTS, 8)
        pid = house.workers[0]
        start, deadline = house.stamped(), time.monotonic() + seconds
        while time.monotonic() < deadline:
            house.submit(ACCOUNTS, first)
            house.until_stamped(start + first * (len(seen) + 1), 300)
            seen.append(resident_mb(pid))
    passed = first * len(seen)
    every = max(1, len(seen) // 5)
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
                f"50,000 would have taken longer than the {seconds} s there are for this"
                if passed < 50_000
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
