"""A directory of documents where a put that returned survives a power cut.

obstore's own local put links a temporary file into place, so it is atomic and exclusive, but it never calls
fsync (seen with strace on 0.12.0: open, write, link, unlink, nothing else; its Python layer has no switch for
it). After a power cut such a file can be empty or gone, while the database already says "stamped". So the
write is ours: temporary file, fsync, link (which fails if the name is taken), fsync of each directory that
names it: of one for all the documents that come with a stamp. Reading and listing stay obstore's.
"""

import errno
import os
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

INCOMING = ".incoming"
"""Where temporary files live, beside the documents so that a link never crosses file systems."""

_DIRECTORY_MODE = 0o750
_DOCUMENT_MODE = 0o440  # write-once: nobody has a reason to open it for writing
_LEFTOVER_AFTER = 3600.0  # seconds; a put takes milliseconds, so an hour-old temporary file has no owner


class DurableDirectory:
    """Creates files under `root`, each once; they are on the disk once their folders are synced."""

    def __init__(self, root: Path, now: Callable[[], float] = time.time) -> None:
        self.root = root
        self._durable: set[Path] = set()
        self._make(root)
        self._make(root / INCOMING)
        self._drop_leftovers(now())

    def create(self, key: str, data: bytes) -> None:
        """Put `data` under `key`; FileExistsError when the name is taken, else the disk's own OSError.

        Its name is on the disk only after `sync` of the key.
        """
        self._place(key, data, os.link)

    def sync(self, keys: Iterable[str]) -> None:
        """Bring the names of these files to the disk: one fsync for each folder that they are in."""
        for folder in {(self.root / key).parent for key in keys}:
            _sync(folder)

    def replace(self, key: str, data: bytes) -> None:
        """Put `data` under `key` in the place of what lies there, in one step."""
        self._place(key, data, os.replace)
        self.sync([key])

    def _place(self, key: str, data: bytes, place: Callable[[Path, Path], None]) -> None:
        target = self.root / key
        self._make(target.parent)
        name = f"{os.getpid()}-{secrets.token_hex(8)}"
        try:
            self._write_and(place, self.root / INCOMING / name, target, data)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # an account's folder may be a file system of its own: what is written there first can be linked there
            self._write_and(place, target.parent / f".{name}", target, data)

    @staticmethod
    def _write_and(place: Callable[[Path, Path], None], temporary: Path, target: Path, data: bytes) -> None:
        try:
            _write(temporary, data)
            place(temporary, target)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()

    def settle(self, key: str) -> None:
        """Bring to the disk a file somebody else put: he may have died between his link and his fsync."""
        target = self.root / key
        self._make(target.parent)
        _sync(target)
        _sync(target.parent)

    def delete(self, key: str) -> None:
        """Take a file away; fine when it is gone."""
        with suppress(FileNotFoundError):
            (self.root / key).unlink()

    def _make(self, directory: Path) -> None:
        """Make a directory and see to it that every name on the way to it is on the disk."""
        if directory in self._durable and directory.is_dir():
            return
        made = _missing(directory)
        directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        # Another process may have made it a moment ago and not have synced it: sync up to our root anyway.
        on_the_way = {path.parent for path in made}
        on_the_way |= {path for path in directory.parents if path.is_relative_to(self.root)}
        for path in sorted(on_the_way, key=lambda each: len(each.parts), reverse=True):
            _sync(path)
        self._durable.add(directory)

    def _drop_leftovers(self, now: float) -> None:
        """Remove temporary files of processes that died while writing."""
        for path in (self.root / INCOMING).iterdir():
            with suppress(FileNotFoundError):
                if now - path.stat().st_mtime > _LEFTOVER_AFTER:
                    path.unlink()


def _missing(directory: Path) -> list[Path]:
    return [path for path in (directory, *directory.parents) if not path.exists()]


def _write(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _DOCUMENT_MODE)
    with os.fdopen(handle, "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            written = file.write(view)
            view = view[written:]
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    """Fsync a file or a directory; a network file system that refuses directories syncs them itself."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (path.is_dir() and error.errno in {errno.EINVAL, errno.ENOTSUP}):
            raise
    finally:
        os.close(handle)
