"""Keeps what Apunto sends out of Flower, logs and events, whoever sent it.

An invoice travels in the arguments of the intake tasks, and a bug can carry it further in the text of an exception.
Celery shows both in many places: the worker's events, `inspect active` (Flower's worker page), the `task-sent` event of
a sender that we do not control, and the lines it logs when a message can't be read or a task raises. Each is closed
here (and messages that are no task, in consumer.py); tasks of our own carry ids only, and ids stay readable.
What a newcomer would get wrong: a task's name proves nothing about its arguments, since a sender may write any name.
"""

import re
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from celery import Task
from celery.app.events import Events
from celery.events.receiver import EventReceiver
from celery.exceptions import Ignore, Reject, Retry
from celery.worker.request import Request

from tasks.enqueue import HIDDEN

INTAKE = frozenset(
    {
        "stamping.submit_invoice",
        "stamping.cancel_invoice",
        "stamping.retry_invoice",
        "stamping.connect",
        "stamping.validate_connection",
        "stamping.disconnect",
    }
)

HOME = Path(__file__).resolve().parent.parent


# --- a request -------------------------------------------------------------------------------------------------------


class RedactingRequest(Request):
    """A request that tells its arguments to nobody but the task, unless they are ids."""

    _type: str
    _args: Any
    _kwargs: Any
    _argsrepr: Any
    _kwargsrepr: Any
    _request_dict: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # a sender's `shadow` may say anything
        self.name = self._type  # type: ignore[misc]  # an attribute, whatever its stub says
        self._is_quiet = self._type in INTAKE or not _are_ids(repr(self._args), repr(self._kwargs))
        if self._is_quiet:
            self._argsrepr = self._kwargsrepr = HIDDEN
            self._request_dict |= {"argsrepr": HIDDEN, "kwargsrepr": HIDDEN}

    def info(self, safe: bool = False) -> Any:
        """What `inspect active` says of this request."""
        told: Any = super().info(safe=safe)
        if self._is_quiet:
            told["args"], told["kwargs"] = [], {}
        return told


# --- a task ----------------------------------------------------------------------------------------------------------


class TaskBug(Exception):  # named for what happened, like the errors of the other rooms
    """A task met a bug: which error, and where, without the words that may hold what Apunto sent.

    The original stays attached as its context, for the log, which leaves out the words too (config/tracebacks.py).
    """


class RedactingTask(Task):  # type: ignore[type-arg]  # the base of every task, whatever its arguments
    """The base of every task of this app: what it raises names an error and a place, and never a value."""

    Request = "worker.redaction:RedactingRequest"
    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task; Celery writes what comes out of here into events and logs."""
        try:
            return self.run(*args, **kwargs)
        except (Ignore, Reject, Retry):
            raise
        except Exception as error:  # noqa: BLE001  # a bug may be of any class
            raise TaskBug(place_of(error)) from None


def place_of(error: BaseException) -> str:
    """Say which error it was and where it came from: `KeyError at stamping/claims.py:65 < tasks/stamp.py:22`."""
    frames = traceback.extract_tb(_whole(error.__traceback__))
    ours = [
        f"{Path(frame.filename).relative_to(HOME)}:{frame.lineno}"
        for frame in reversed(frames)
        if Path(frame.filename).is_relative_to(HOME) and ".venv" not in frame.filename
    ]
    return f"{type(error).__name__} at {' < '.join(ours[:6]) or 'an unknown place'}"


def _whole(found: TracebackType | None) -> TracebackType | None:
    """Return the traceback below this module's own frame."""
    return found.tb_next if found is not None and found.tb_frame.f_code.co_filename == __file__ else found


# --- events ----------------------------------------------------------------------------------------------------------


class RedactingReceiver(EventReceiver):
    """What Flower listens with: arguments are taken out of events, also of those that a foreign sender wrote."""

    def process(self, type: str, event: dict[str, Any]) -> None:
        """Pass an event on without what must not be read."""
        super().process(type, quiet(type, event))


def quiet(type_: str, event: dict[str, Any]) -> dict[str, Any]:
    """Take out of an event what it may hold of others: arguments, results, and the words of an exception."""
    if not type_.startswith("task-"):
        return event
    if not _are_ids(event.get("args", "()"), event.get("kwargs", "{}")):
        event |= {name: HIDDEN for name in ("args", "kwargs") if name in event}
    if event.get("result") not in (None, "None"):
        event["result"] = HIDDEN
    if "exception" in event:
        told = str(event["exception"])
        event["exception"] = told if _OURS.fullmatch(told) else told.split("(", 1)[0][:100]
    if "traceback" in event:
        event["traceback"] = HIDDEN
    return event


_PLACE = r"[\w./-]+\.py:\d+"
_OURS = re.compile(rf"TaskBug\('\w+ at (?:{_PLACE}(?: < {_PLACE})*|an unknown place)'\)")


def _are_ids(args: Any, kwargs: Any) -> bool:
    """Whether arguments, as they are written down, are what our own tasks carry: at most an id, and no names."""
    return _IDS.fullmatch(str(args)) is not None and str(kwargs) == "{}"


_IDS = re.compile(r"[\[(](?:'[0-9a-f-]{36}',?)?[\])]")


class RedactingEvents(Events):
    """The app's events, read through RedactingReceiver."""

    receiver_cls = "worker.redaction:RedactingReceiver"


def redact_flower() -> None:
    """Have Flower listen with RedactingReceiver. It names Celery's own class instead of asking the app for its one."""
    import flower.events

    flower.events.EventReceiver = RedactingReceiver
