"""Ports on loopback that are free now, and reserved for one stack against every other that starts beside it.

That a port is free when it is asked for says nothing of the moment, seconds
later, when its server is started. Two checkouts started together would both find Flower's usual port free. So each
reserves what it takes: on Linux under a name that the kernel forgets with the process, elsewhere not at all.
"""

import errno
import socket
import sys
from pathlib import Path

from devstack.errors import CannotStart

LOOPBACK = "127.0.0.1"
NEXT = 20
"""How many ports are tried from the usual one on."""


class Ports:
    """The ports of one stack, reserved until `close`."""

    def __init__(self) -> None:
        self._reserved: list[socket.socket] = []

    def take(
        self, what: str, chosen: int | None, remembered: Path | None, preferred: int | None = None
    ) -> int:
        """Take the chosen port or none; else the one had last time, else the preferred or the next free, else any.

        The same as last time matters: what was printed, bookmarked or stored yesterday stays true. Raises
        CannotStart.
        """
        if chosen is not None:
            if (why := _refusal(chosen)) is not None and why.errno != errno.EADDRINUSE:
                raise CannotStart(
                    f"port {chosen} cannot be had ({why.strerror}): choose another with --{what}-port"
                )
            if why is not None or not self._reserve(chosen):
                raise CannotStart(f"port {chosen} is taken: choose another with --{what}-port")
            return chosen
        usual = range(preferred, min(preferred + NEXT, 65_536)) if preferred is not None else ()
        wanted: list[int] = [port for port in (_remembered(remembered), *usual) if port is not None]
        port = next((port for port in wanted if _refusal(port) is None and self._reserve(port)), None)
        while port is None:
            port = any_port()
            port = port if self._reserve(port) else None
        if remembered is not None:
            remembered.parent.mkdir(parents=True, exist_ok=True)
            remembered.write_text(f"{port}\n")
        return port

    def close(self) -> None:
        """Let others have them."""
        while self._reserved:
            self._reserved.pop().close()

    def _reserve(self, port: int) -> bool:
        """Reserve a port against other stacks on this machine, also of other users; False where one has it."""
        if sys.platform != "linux":
            return True
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0timbrado-port-{port}")  # abstract: no file, and gone with the process
        except OSError:
            name.close()
            return False
        self._reserved.append(name)
        return True


def any_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _refusal(port: int) -> OSError | None:
    """Why a port cannot be listened at, None where it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: TIME_WAIT is free
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            return error
    return None


def _remembered(path: Path | None) -> int | None:
    try:
        return int(path.read_text()) if path is not None else None
    except (OSError, ValueError):
        return None
