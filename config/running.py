"""The addresses of the embedded runtime: `timbrado up` writes them, every other command here reads them.

The one thing a newcomer would get wrong: the file alone proves nothing. `up` holds a lock for as long as it
lives, and after a SIGKILL the file may still lie there with nobody behind its addresses; so it counts only
while the lock is held.
"""

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO


class AlreadyRunning(Exception):
    """Another `timbrado up` holds this folder."""


def folder(var: Path) -> Path:
    """Where the running runtime of `var` keeps what is true only while it runs."""
    return var / "run"


def hold(var: Path) -> IO[str]:
    """Take the lock of this runtime until the returned file is closed or the process ends.

    Raises AlreadyRunning when somebody else has it.
    """
    folder(var).mkdir(mode=0o700, parents=True, exist_ok=True)
    held = open(folder(var) / "lock", "a+", encoding="utf-8")  # noqa: SIM115 (the caller keeps it open)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        held.close()
        raise AlreadyRunning(f"already running here: {var}") from error
    return held


def is_held(var: Path) -> bool:
    """Say whether a `timbrado up` of this folder lives."""
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
    if not is_held(var):
        return {}
    try:
        text = (folder(var) / "environment").read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, equals, value in pairs if equals}


def forget(var: Path) -> None:
    """Remove the addresses: nothing answers there any more."""
    (folder(var) / "environment").unlink(missing_ok=True)
