"""What a process costs, as the kernel counts it: CPU seconds and resident memory from /proc."""

import os
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process and of its children that are gone (user and system)."""
    fields = _stat(pid)
    return sum(int(fields[place]) for place in (11, 12, 13, 14)) / TICK


def tree_cpu_seconds(pid: int) -> float:
    """CPU seconds of a process and of all below it: PostgreSQL is a process a connection."""
    total = 0.0
    for each in [pid, *descendants(pid)]:
        try:
            total += cpu_seconds(each)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def descendants(pid: int) -> list[int]:
    """All processes below one."""
    below: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                below.setdefault(int(_stat(int(path.name))[1]), []).append(int(path.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    found, left = [], [pid]
    while left:
        children = below.get(left.pop(), [])
        found += children
        left += children
    return found


def resident_mb(pid: int) -> float:
    """Resident memory in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6


def idle_seconds() -> tuple[float, float]:
    """Seconds that the machine's cores had nothing to do, and seconds that its host gave to somebody else."""
    fields = [int(each) / TICK for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return fields[3] + fields[4], fields[7]


def middle(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def load() -> float:
    """The machine's load over the last minute."""
    return os.getloadavg()[0]


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def median_ms(step: Callable[[], object], runs: int, rounds: int = 5) -> float:
    """Milliseconds of CPU that a step costs this process: the median of some rounds, after a few for warmth."""
    for _ in range(5):
        step()
    costs = []
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(runs):
            step()
        costs.append((time.process_time() - started) / runs * 1e3)
    return round(statistics.median(costs), 4)
