"""The addresses of the embedded runtime: `timbrado up` writes them, every other command here reads them.

The file counts only while `up` holds its lock: after a SIGKILL it may still be there, and nothing answers at its
addresses.
"""

import fcntl
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

CHECKOUT = Path(__file__).resolve().parents[1]


class AlreadyRunning(Exception):
    """Another `timbrado up` holds this folder."""


def var() -> Path:
    """Where this checkout's embedded runtime keeps everything; known before any other setting is."""
    return Path(os.environ.get("TIMBRADO_VAR") or CHECKOUT / "var").resolve()


def folder(var: Path) -> Path:
    """Where the running runtime of `var` keeps what is true only while it runs."""
    return var / "run"


def lock(var: Path, *, timeout: float = 10.0) -> IO[str]:
    """Take the lock of this runtime until the returned file is closed or the process ends.

    Raises AlreadyRunning when a living process has it. One that was killed leaves it to its reaper, which
    clears up first: that is waited for, `timeout` seconds at most.
    """
    folder(var).mkdir(mode=0o700, parents=True, exist_ok=True)
    file = open(folder(var) / "lock", "a+", encoding="utf-8")  # noqa: SIM115 (the caller keeps it open)
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(var)
            if holder is None or _is_alive(holder) or time.monotonic() > deadline:
                file.close()
                who = f" (pid {holder})" if holder else ""
                raise AlreadyRunning(f"already running here{who}: {var}") from error
            time.sleep(0.05)
        else:
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            return file


def _holder(var: Path) -> int | None:
    try:
        return int((folder(var) / "lock").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_locked(var: Path) -> bool:
    """Return whether a `timbrado up` of this folder runs."""
    try:
        with open(folder(var) / "lock", encoding="utf-8") as probe:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def write(var: Path, values: Mapping[str, str]) -> Path:
    """Put the addresses down, whole or not at all, readable by this user alone; return the file's path."""
    path = folder(var) / "environment"
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in values.items())
    new.replace(path)
    return path


def read(var: Path) -> dict[str, str]:
    """The addresses of what runs here now; empty when nothing does."""
    if not is_locked(var):
        return {}
    try:
        text = (folder(var) / "environment").read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, equals, value in pairs if equals}


def remove(var: Path) -> None:
    """Remove the addresses: nothing answers there any more."""
    (folder(var) / "environment").unlink(missing_ok=True)
