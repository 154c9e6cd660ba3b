"""What the doctor examines, and what its checks share of it."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from config.settings import Settings

Part = TypeVar("Part")


class Installation:
    """The settings, and what checks open from them: once, by the first that asks for it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._parts: dict[Any, Any] = {}
        self._lock = threading.Lock()

    def shared(self, opened: Callable[[Settings], Part]) -> Part:
        """Return what this function opens from the settings."""
        with self._lock:
            if opened not in self._parts:
                self._parts[opened] = opened(self.settings)
            part: Part = self._parts[opened]
            return part
