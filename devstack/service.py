"""One service: what it is, the life it leads now, and how it is heard and asked.

The one thing a newcomer would get wrong: its output comes through a pipe of our own. asyncio's would make `wait` wait
for grandchildren too, for whoever still holds the other end.
"""

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devstack.problems import LocalError

Say = Callable[[str, str], None]
"""Told (service, line) for everything a service prints and everything that happens to it."""

TAIL = 20  # lines kept of what a service printed last


@dataclass(frozen=True)
class Service:
    """One program to keep running.

    `ready` is asked until it says yes; `ready_line`, where given, must have been printed too. `before` runs
    ahead of every start, also of a second one. Times are seconds.
    """

    name: str
    argv: Sequence[str]
    ready: Callable[[], Awaitable[bool]] | None = None
    ready_line: str | None = None
    before: Callable[[], None] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    start_timeout: float = 60.0
    stop_timeout: float = 15.0


class Output:
    """What a program prints, line by line."""

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        self.lines = asyncio.StreamReader(limit=1 << 20)
        self._transport: asyncio.BaseTransport | None = None

    async def open(self) -> None:
        """Begin to read; the program has the other end now."""
        os.close(self.write_end)
        protocol = asyncio.StreamReaderProtocol(self.lines)
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: protocol, os.fdopen(self._read_end, "rb")
        )

    def close(self) -> None:
        """Read no more, whoever still writes."""
        if self._transport is not None:
            self._transport.close()


class Slot:
    """The place of one service: what runs there now, and whether anything should."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.process: asyncio.subprocess.Process | None = None
        self.output: Output | None = None
        self.born = 0.0
        self.tail: deque[str] = deque(maxlen=TAIL)
        self.printed_ready = asyncio.Event()
        self.up = asyncio.Event()
        self.deaths = 0
        self.killed_on_purpose = False
        self.pump: asyncio.Task[None] | None = None
        self.keeper: asyncio.Task[None] | None = None

    @property
    def is_alive(self) -> bool:
        """Say whether something runs there."""
        return self.process is not None and self.process.returncode is None


async def go(process: asyncio.subprocess.Process) -> None:
    """Let the shell become the program: the guardian knows of it now."""
    if process.stdin is not None:
        process.stdin.write(b"go\n")
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()
        process.stdin.close()


async def answers(slot: Slot) -> bool:
    """Ask a service once whether it is ready."""
    if slot.service.ready_line is not None and not slot.printed_ready.is_set():
        return False
    if slot.service.ready is None:
        return True
    try:
        return await asyncio.wait_for(slot.service.ready(), 5)
    except LocalError:
        raise
    except Exception:  # noqa: BLE001 (a probe fails in as many ways as there are clients; it is asked again)
        return False


async def settled(pump: asyncio.Task[None] | None) -> None:
    """Let a dead service's last lines be read; a grandchild that kept the pipe is not waited for."""
    if pump is not None:
        await asyncio.wait([pump], timeout=2)
        pump.cancel()


def send(pid: int, number: signal.Signals, *, group: bool = False) -> None:
    """Signal a process or its whole group; one that is gone is no fault."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        (os.killpg if group else os.kill)(pid, number)
