"""Named places where a test may stop or kill a process; silent unless the test runtime arms them.

The spec is `name=action[:number][,...]`: `after_stamp=kill` kills the process with SIGKILL the first time that it
comes by, `after_stamp=pause:3` sleeps three seconds, `before_settle=kill:2` waits for the second time.

A spec that begins with `/` names a folder, and then everything is armed from outside while the process runs: whoever
comes by a place for which the folder holds a file of that name leaves `NAME.PID` beside it, and stands there until
the file is taken away. So a test can break everything else at exactly that line.
"""

import os
import signal
import threading
import time
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

PLACES = (
    "after_claim",
    "after_prepare",
    "before_save",
    "after_save",
    "before_stamp",
    "after_stamp",
    "after_store",
    "before_settle",
    "after_settle",
    "before_look_up",
    "after_look_up",
    "before_cancel",
    "after_cancel",
)
GLANCE = 0.02  # seconds between two looks at whether the file is still there


class Failpoints:
    """What is armed in this process; nothing by default."""

    def __init__(self, spec: str = "") -> None:
        """Read a spec; ValueError names what is wrong with it."""
        self._armed: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._folder: Path | None = Path(spec) if spec.startswith("/") else None
        if self._folder is not None:
            return
        for entry in filter(None, spec.split(",")):
            place, _, action = entry.partition("=")
            verb, _, number = action.partition(":")
            if place not in PLACES or verb not in {"kill", "pause"}:
                raise ValueError(f"unknown failpoint {entry!r}: known places are {', '.join(PLACES)}")
            self._armed[place] = (verb, float(number or 1))

    @property
    def armed(self) -> set[str]:
        """The places at which this process would still stop."""
        return set(self._armed)

    def reach(self, place: str) -> None:
        """Do what is armed for this place, if anything."""
        if self._folder is not None:
            _stand(self._folder / place)
            return
        if not self._armed:
            return
        with self._lock:
            verb, number = self._armed.pop(place, ("", 0.0))
            if verb == "kill" and number > 1:
                self._armed[place] = (verb, number - 1)
                return
        match verb:
            case "kill":
                log.warning("failpoint", place=place, action="kill")
                os.kill(os.getpid(), signal.SIGKILL)
            case "pause":
                log.warning("failpoint", place=place, action="pause", seconds=number)
                time.sleep(number)


def _stand(file: Path) -> None:
    """Stand still for as long as the file is there."""
    if not file.exists():
        return
    log.warning("failpoint", place=file.name, action="stand")
    sign = file.with_name(f"{file.name}.{os.getpid()}")
    sign.touch()
    while file.exists():
        time.sleep(GLANCE)
    sign.unlink(missing_ok=True)
