"""Stops what a supervisor had started when the supervisor was killed with -9.

It reads lines: `+PGID SIGNAL` and `-PGID` as groups come and go, and `~PATH` for what is to be removed at the end. At
end of file, which the supervisor's death brings in whatever way it came, the groups still listed are stopped, newest
first, and killed after a grace. Where both were killed, the next start stops the orphans by the pid file, in which
each process stands with its start time: a pid alone may belong to another process by then.

It runs under `python -I -S`, so it imports the standard library alone; and a zombie answers kill(0) like a living
process, so its state is read too.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

GRACE = 8.0


def is_alive(group: int) -> bool:
    """Return whether anything but zombies is left in a process group."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not os.path.isdir("/proc/self") or _has_living(group)


def _has_living(group: int) -> bool:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                    state, _parent, pgrp = stat.read().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(pgrp) == group and state not in "ZX":
                return True
    return False


def stop(groups: dict[int, int], grace: float = GRACE) -> None:
    """Signal each group, newest first, wait for all of them, and kill what is left after `grace` seconds."""
    for group in reversed(groups):
        _send(group, groups[group])
        _send(group, signal.SIGCONT)  # a stopped process handles no other signal
    deadline = time.monotonic() + grace
    while any(is_alive(group) for group in groups) and time.monotonic() < deadline:
        time.sleep(0.05)
    for group in groups:
        _send(group, signal.SIGKILL)


def _send(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def main() -> None:
    """Watch until the supervisor is gone, then clear up after it."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: dict[int, int] = {}
    paths: list[str] = []
    for line in sys.stdin:
        mark, rest = line[:1], line[1:].rstrip("\n")
        if mark == "+":
            group, _, number = rest.partition(" ")
            groups[int(group)] = int(number)
        elif mark == "-":
            groups.pop(int(rest), None)
        elif mark == "~":
            paths.append(rest)
    stop(groups)
    for path in paths:
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)


if __name__ == "__main__":
    main()


def record(pid_file: Path, pid: int, number: signal.Signals) -> None:
    """Write a process to the pid file: (the leader of its own group) and the signal that stops it."""
    with open(pid_file, "a", encoding="utf-8") as lines:
        lines.write(f"{pid} {_start_time(pid)} {int(number)}\n")


def stop_orphans(pid_file: Path) -> int:
    """Stop what an earlier stack left running, and count it. Only under the stack's lock."""
    try:
        lines = pid_file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    groups: dict[int, int] = {}
    for line in lines:
        words = line.split()
        if len(words) == 3 and all(word.isdigit() for word in words):
            pid, started, number = map(int, words)
            if started and _start_time(pid) == started:
                groups[pid] = number
    if groups:
        stop(groups)
    pid_file.unlink(missing_ok=True)
    return len(groups)


def _start_time(pid: int) -> int:
    """When a process started, in ticks since boot (proc(5), field 22); 0 where that cannot be known."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
