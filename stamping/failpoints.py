"""Named places where a test may stop or kill a process; silent unless the test runtime arms them.

The spec is `name=action[:number][,...]`: `after_stamp=kill` kills the process with SIGKILL the first time that it
comes by, `after_stamp=pause:3` sleeps three seconds, `before_settle=kill:2` waits for the second time.
"""

import os
import signal
import threading
import time

PLACES = (
    "after_claim",
    "after_prepare",
    "before_save",
    "after_save",
    "before_stamp",
    "after_stamp",
    "after_keep",
    "before_settle",
    "after_settle",
    "before_look_up",
    "after_look_up",
)


class Failpoints:
    """What is armed in this process; nothing by default."""

    def __init__(self, spec: str = "") -> None:
        """Read a spec; ValueError names what is wrong with it."""
        self._armed: dict[str, list[float | str]] = {}
        self._lock = threading.Lock()
        for entry in filter(None, spec.split(",")):
            place, _, action = entry.partition("=")
            verb, _, number = action.partition(":")
            if place not in PLACES or verb not in {"kill", "pause"}:
                raise ValueError(f"unknown failpoint {entry!r}: known places are {', '.join(PLACES)}")
            self._armed[place] = [verb, float(number or 1)]

    def reach(self, place: str) -> None:
        """Do what is armed for this place, if anything."""
        if not self._armed:
            return
        with self._lock:
            armed = self._armed.get(place)
            if armed is None:
                return
            verb, number = armed
            if verb == "kill" and isinstance(number, float) and number > 1:
                armed[1] = number - 1
                return
            del self._armed[place]
        if verb == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(number))
