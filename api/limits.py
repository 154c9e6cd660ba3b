"""How large a body may be, and how often a key or an address may ask: buckets in this process's memory."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MAX_BODY = 8_000_000  # bytes: 5,000 lines are about 2 MB
MOST_BUCKETS = 10_000


class Buckets:
    """Token buckets by name: so many at once, refilled at so many a second."""

    def __init__(self, rate: float, burst: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str) -> float:
        """Take one; return 0, or the seconds to wait where there is none."""
        with self._lock:
            left = self._now(name)
            if left < 1:
                return (1 - left) / self._rate
            self._left[name] = (left - 1, self._clock())
            return 0

    def is_empty(self, name: str) -> float:
        """Return the seconds to wait where there is none left, 0 where there is; nothing is taken."""
        with self._lock:
            left = self._now(name)
            return 0 if left >= 1 else (1 - left) / self._rate

    def _now(self, name: str) -> float:
        left, at = self._left.get(name, (self._burst, self._clock()))
        left = min(self._burst, left + (self._clock() - at) * self._rate)
        self._left[name] = (left, self._clock())
        self._left.move_to_end(name)
        while len(self._left) > MOST_BUCKETS:
            self._left.popitem(last=False)
        return left


def of_a_key() -> Buckets:
    """Requests with one key: 200 at once, then 50 a second."""
    return Buckets(rate=50, burst=200)


def of_wrong_keys() -> Buckets:
    """Wrong keys of one address: ten at once, then five a minute."""
    return Buckets(rate=1 / 12, burst=10)
