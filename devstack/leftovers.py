"""What an earlier runtime left when both it and its guardian were killed: the next start stops it.

The one thing a newcomer would get wrong: a process number alone names nobody, it may have gone to someone
else since. So each is kept with the moment it was born, as the kernel counts it; without /proc nothing is
touched.
"""

import signal
from pathlib import Path

from devstack import guardian


def note(book: Path, pid: int, number: signal.Signals) -> None:
    """Write down a process (the leader of its own group) and the signal that stops it."""
    with open(book, "a", encoding="utf-8") as lines:
        lines.write(f"{pid} {_born(pid)} {int(number)}\n")


def stop(book: Path) -> int:
    """Stop whatever of an earlier life still runs, and count it. Only under the runtime's lock."""
    try:
        lines = book.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    groups: dict[int, int] = {}
    for line in lines:
        words = line.split()
        if len(words) == 3 and all(word.isdigit() for word in words):
            pid, born, number = map(int, words)
            if born and _born(pid) == born:
                groups[pid] = number
    if groups:
        guardian.stop(groups)
    book.unlink(missing_ok=True)
    return len(groups)


def _born(pid: int) -> int:
    """When a process was born, in ticks since boot (proc(5), field 22); 0 where that cannot be known."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
