"""The log file of one service: what it printed, as it printed it, bounded for an `up` of weeks."""

import errno
from pathlib import Path
from types import TracebackType
from typing import IO, Self

LARGEST = 10_000_000  # bytes; then it is set aside as NAME.log.1 and begun anew


class Log:
    """Appends lines; a full disk silences it, for the service it listens to must not die of that."""

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
