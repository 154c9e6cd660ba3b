"""Many services on one terminal: each line behind its service's name, each name in its colour."""

import os
import threading
from typing import TextIO

_COLOURS = (36, 33, 32, 35, 34, 31)  # cyan, yellow, green, magenta, blue, red


class Prefixed:
    """Prints `name      | line`; made to be a runtime's `say`."""

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
