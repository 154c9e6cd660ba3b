"""One program to run: what it is, its process now, its output, its log file; and the loop that all of them share.

Output comes through a pipe of our own: asyncio's would make `wait` wait for grandchildren too, for any process that
still holds the other end.
"""

import asyncio
import contextlib
import errno
import os
import signal
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TextIO, TypeVar

from devstack.errors import LocalError

OnLine = Callable[[str, str], None]
"""Called with (service, line) for everything a service prints and everything that happens to it."""

TAIL = 20  # lines remembered of what a service printed last


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
        """Read no more, though a grandchild may still write."""
        if self._transport is not None:
            self._transport.close()


class ServiceState:
    """The state of one service: its process now, and whether there should be one."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.process: asyncio.subprocess.Process | None = None
        self.output: Output | None = None
        self.started_at = 0.0
        self.tail: deque[str] = deque(maxlen=TAIL)
        self.printed_ready = asyncio.Event()
        self.up = asyncio.Event()
        self.crashes = 0
        self.killed_on_purpose = False
        self.pump: asyncio.Task[None] | None = None
        self.restarter: asyncio.Task[None] | None = None

    @property
    def is_alive(self) -> bool:
        """Return whether its process runs."""
        return self.process is not None and self.process.returncode is None


async def release(process: asyncio.subprocess.Process) -> None:
    """Let the shell become the program: the reaper knows of it now."""
    if process.stdin is not None:
        process.stdin.write(b"go\n")
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()
        process.stdin.close()


async def is_ready(state: ServiceState) -> bool:
    """Ask a service once whether it is ready."""
    if state.service.ready_line is not None and not state.printed_ready.is_set():
        return False
    if state.service.ready is None:
        return True
    try:
        return await asyncio.wait_for(state.service.ready(), 5)
    except LocalError:
        raise
    except Exception:  # noqa: BLE001 (a probe fails in as many ways as there are clients; it is asked again)
        return False


async def drained(pump: asyncio.Task[None] | None) -> None:
    """Let a dead service's last lines be read; a grandchild that kept the pipe is not waited for."""
    if pump is not None:
        await asyncio.wait([pump], timeout=2)
        pump.cancel()


def send(pid: int, number: signal.Signals, *, group: bool = False) -> None:
    """Signal a process or its whole group; one that is gone is no fault."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        (os.killpg if group else os.kill)(pid, number)


LARGEST = 10_000_000  # bytes; then it is renamed to NAME.log.1 and begun anew


class Log:
    """Appends lines; a full disk silences it, for the service must not end over that."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        self._file = self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as reason:
                if reason.errno != errno.ENOSPC:
                    raise

    def write(self, line: str) -> None:
        """Put one line down."""
        try:
            if self._file is None:
                self._file = self._open()
            self._file.write(f"{line}\n")
            self._file.flush()
            if self._file.tell() > LARGEST:
                self._file.close()
                self._path.replace(self._path.with_suffix(".log.1"))
                self._file = self._open()
        except OSError as reason:
            if reason.errno != errno.ENOSPC:
                raise
            self._file = None

    def _open(self) -> IO[str]:
        return open(self._path, "a", encoding="utf-8")


T = TypeVar("T")


class Interrupted(Exception):
    """What was waited for was cancelled by a request to stop."""


class LoopThread:
    """Runs coroutines for other threads; started when made."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return what it returns. Raises Interrupted when it was cancelled."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except CancelledError as error:
            raise Interrupted from error
        except KeyboardInterrupt:
            future.cancel()
            raise

    def soon(self, function: Callable[[], None]) -> None:
        """Call a function in the loop; from any thread, also from a signal's handler."""
        self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


_COLOURS = (36, 33, 32, 35, 34, 31)  # cyan, yellow, green, magenta, blue, red


class Prefixed:
    """Prints `name      | line`; made to be a stack's `on_line`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._coloured = stream.isatty() and "NO_COLOR" not in os.environ
        self._order: dict[str, int] = {}
        self._one_at_a_time = threading.Lock()

    def __call__(self, service: str, line: str) -> None:
        """Print one line. Raises OSError when nobody reads any more."""
        label = f"{service:<9} |"
        if self._coloured:
            number = self._order.setdefault(service, len(self._order))
            label = f"\x1b[{_COLOURS[number % len(_COLOURS)]}m{label}\x1b[0m"
        with self._one_at_a_time:
            self._stream.write(f"{label} {line}\n")
            self._stream.flush()
