"""Outlives a supervisor that was killed with -9, only to stop what it had started.

Reads lines: `+PGID SIGNAL` and `-PGID` as groups come and go, and `~PATH` for what is to be removed at the
end. At end of file, which the supervisor's death brings in whatever way it came, the groups still listed
are stopped, newest first, and killed after a grace.

The one thing a newcomer would get wrong: this runs under `python -I -S`, so it imports the standard library
alone; and a zombie answers kill(0) like a living process, so it is looked at more closely.
"""

import contextlib
import os
import shutil
import signal
import sys
import time

GRACE = 8.0


def is_alive(group: int) -> bool:
    """Say whether anything but zombies is left in a process group."""
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
        _send(group, signal.SIGCONT)  # one that was frozen hears nothing else
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
