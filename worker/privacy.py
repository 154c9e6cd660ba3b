"""Keeps what Apunto sends out of Flower, whoever sent it.

An invoice travels in the arguments of the intake tasks. Celery shows arguments in three places: the worker's events,
`inspect active` (Flower's worker page), and the `task-sent` event of a sender that we do not control. Each is closed
here; tasks of our own carry ids only and stay readable.
"""

from typing import Any

from celery import Task
from celery.app.events import Events
from celery.events.receiver import EventReceiver
from celery.worker.request import Request

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
HIDDEN = "(hidden)"


class QuietRequest(Request):
    """A request that tells the arguments of an intake task to nobody but the task."""

    @property
    def argsrepr(self) -> Any:
        """What events say of the positional arguments."""
        return HIDDEN if self.name in INTAKE else super().argsrepr

    @property
    def kwargsrepr(self) -> Any:
        """What events say of the keyword arguments."""
        return HIDDEN if self.name in INTAKE else super().kwargsrepr

    def info(self, safe: bool = False) -> Any:
        """What `inspect active` says of this request."""
        told: Any = super().info(safe=safe)
        if self.name in INTAKE:
            told["args"], told["kwargs"] = [], {}
        return told


class QuietTask(Task):  # type: ignore[type-arg]  # the base of every task, whatever its arguments
    """The base of every task of this app."""

    Request = "worker.privacy:QuietRequest"
    abstract = True


class QuietReceiver(EventReceiver):
    """What Flower listens with: arguments are taken out of events, also of those that a foreign sender wrote."""

    def process(self, type: str, event: dict[str, Any]) -> None:
        """Pass an event on without what must not be read."""
        if type.startswith("task-") and not _is_ours(event):
            for name in ("args", "kwargs"):
                if name in event:
                    event[name] = HIDDEN
        if type in {"task-failed", "task-retried"}:
            event["exception"] = str(event.get("exception", "")).split("(", 1)[0]
            event["traceback"] = HIDDEN
        super().process(type, event)


def _is_ours(event: dict[str, Any]) -> bool:
    """Whether an event names one of our internal tasks, whose arguments are ids."""
    name = event.get("name")
    return name is None or (str(name).startswith("stamping.") and name not in INTAKE)


class QuietEvents(Events):
    """The app's events, read through QuietReceiver."""

    receiver_cls = "worker.privacy:QuietReceiver"
