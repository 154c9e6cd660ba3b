"""Keeps what Apunto sends out of Flower, logs and events, whoever sent it.

An invoice travels in the arguments of the intake tasks, and a bug can carry it further in the text of an exception.
Celery shows both in many places: the worker's events, `inspect active` (Flower's worker page), the `task-sent` event of
a sender that we do not control, and the lines it logs when a message can't be read or a task raises. Each is closed
here (and messages that are no task, in consumer.py); tasks of our own carry ids only, and ids stay readable. A task's
name proves nothing about its arguments, since a sender may write any name.
"""

import re
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from celery import Task
from celery.app.events import Events
from celery.events.receiver import EventReceiver
from celery.exceptions import Ignore, InvalidTaskError, Reject, Retry
from celery.worker.request import Request

from stamping.intake.phrases import PHRASE
from stamping.intake.untrusted import ARRIVED_AT, SENT_AT, is_name
from tasks.enqueue import HIDDEN

INTAKE = frozenset(
    {
        "stamping.submit_invoice",
        "stamping.cancel_invoice",
        "stamping.retry_invoice",
        "stamping.connect",
        "stamping.validate_connection",
        "stamping.disconnect",
        "stamping.withdraw_invoice",
        "stamping.replace_invoice",
    }
)

HOME = Path(__file__).resolve().parent.parent


# --- a request -------------------------------------------------------------------------------------------------------


class RedactingRequest(Request):
    """A request that shows its arguments to nobody but the task, and of which the envelope decides nothing.

    Whatever a sender asks of Celery (`eta`, `expires`, time limits, callbacks, chains, replies) changes nothing: the
    table decides when work is due, and a message must not be lost for its age, nor write into another queue.
    """

    _type: str
    _args: Any
    _kwargs: Any
    _argsrepr: Any
    _kwargsrepr: Any
    _request_dict: dict[str, Any]

    def __init__(
        self, message: Any, *, body: Any = None, headers: Any = None, decoded: bool = False, **options: Any
    ) -> None:
        args, kwargs, _callbacks = body if decoded else message.payload
        if not isinstance(args, list | tuple) or not isinstance(kwargs, dict):
            raise InvalidTaskError("its arguments are no list and object")
        super().__init__(
            message,
            body=(args, kwargs, {}),
            headers=_heeded(headers or message.headers),
            decoded=True,
            **options,
        )
        self._is_redacted = self._type in INTAKE or not _are_ids(repr(self._args), repr(self._kwargs))
        if self._is_redacted:
            self._argsrepr = self._kwargsrepr = HIDDEN
            self._request_dict |= {"argsrepr": HIDDEN, "kwargsrepr": HIDDEN}
        self._request_dict["reply_to"] = None

    def info(self, safe: bool = False) -> Any:
        """What `inspect active` says of this request."""
        shown: Any = super().info(safe=safe)
        if self._is_redacted:
            shown["args"], shown["kwargs"] = [], {}
        return shown


HEEDED = ("id", "task", "root_id", "parent_id", "origin", "argsrepr", "kwargsrepr")
"""The headers of a message that Celery gets to see; the trace and the sending time are read by tasks/intake.py."""


def _heeded(headers: dict[str, Any]) -> dict[str, Any]:
    """Return what is heeded of a message's headers. Raises InvalidTaskError where its id can't be one."""
    if not is_name(headers.get("id")):
        raise InvalidTaskError("its id is no text of 1 to 200 characters")
    own = (*HEEDED, "trace_id", "traceparent", SENT_AT, ARRIVED_AT)
    return {name: headers[name] for name in own if isinstance(headers.get(name), str)} | {
        "ignore_result": True
    }


# --- a task ----------------------------------------------------------------------------------------------------------


class TaskBug(Exception):  # named for what happened, like the errors of the other packages
    """A task met a bug: which error, and where, without the words that may hold what Apunto sent.

    The original stays attached as its context, for the log, which leaves out the words too (config/tracebacks.py).
    """


class RedactingTask(Task):  # type: ignore[type-arg]  # the base of every task, whatever its arguments
    """The base of every task of this app: what it raises names an error and a place, and never a value."""

    Request = "worker.redaction:RedactingRequest"
    abstract = True
    max_retries = None  # Celery's own default is 3, and silent: the table decides when to try again

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
        super().process(type, redacted(type, event))


def redacted(type_: str, event: dict[str, Any]) -> dict[str, Any]:
    """Take out of an event what it may hold of others: arguments, results, and the words of an exception."""
    if not type_.startswith("task-"):
        return event
    if not _are_ids(event.get("args", "()"), event.get("kwargs", "{}")):
        event |= {name: HIDDEN for name in ("args", "kwargs") if name in event}
    if event.get("result") not in (None, "None") and not PHRASE.fullmatch(str(event["result"]).strip("'")):
        event["result"] = HIDDEN
    if "exception" in event:
        text = str(event["exception"])
        event["exception"] = text if _OURS.fullmatch(text) else text.split("(", 1)[0][:100]
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
    import flower.events  # noqa: PLC0415  # only where Flower runs

    flower.events.EventReceiver = RedactingReceiver
