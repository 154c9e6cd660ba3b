"""Messages that are no task of ours become dead letters, instead of being printed and dropped.

A misspelled task name, or a body that is no JSON, may be an invoice. Celery's own consumer acknowledges such a message,
and writes all of it into the log.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import structlog
from celery.worker.consumer import Consumer

from stamping.intake import dead_letters
from tasks import context
from worker.redis_transport import MAX_BODY, NO_MESSAGE

log = structlog.get_logger(__name__)

RECONNECT = {"interval_start": 1, "interval_step": 1, "interval_max": 2}
"""Seconds between two tries to reach a broker that is away. Celery's own grow to half a minute, which is for how long
nothing would be taken in once it is back."""
EVENTS_EVERY = 0.5
"""Seconds between two messages with the events of this process's tasks, which Flower shows."""

NOT_UNDERSTOOD = (KeyError, IndexError, ValueError, TypeError, AttributeError)
"""What reading a message as something else than it is ends in."""


class RedactingConsumer(Consumer):
    """Takes messages from the queues. One that can't be read, or names no task of ours, is kept and not printed.

    Celery would log it with its whole body, and drop it.
    """

    connection_errors: tuple[type[Exception], ...]
    hub: Any
    _flush_events: Callable[[], None]
    _flushes: Any = None

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, however long the broker is away, and soon after it is back."""
        conn.ensure_connection = partial(conn.ensure_connection, **RECONNECT)
        return super().ensure_connected(conn)

    def on_send_event_buffered(self) -> Any:
        """Leave an event of a task in its buffer: `create_task_handler` has it sent with its neighbours.

        Celery sends it in the next round of its loop, so in a message of its own: a twentieth of an invoice's CPU.
        """

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Return what takes each message. Celery's own stops the whole worker over a body that is JSON and no
        arguments, and over headers without an id; and the next worker, when it comes back.
        """
        receive = super().create_task_handler(*args, **kwargs)
        if self.hub is not None:
            if self._flushes is not None:  # of the connection before
                self._flushes.cancel()
            self._flushes = self.hub.call_repeatedly(EVENTS_EVERY, self._flush_events)

        def on_message(message: Any) -> Any:
            if NO_MESSAGE in (message.headers or ()):
                return self._keep(message, "")
            try:
                return receive(message)
            except NOT_UNDERSTOOD as error:
                return self._keep(message, "it is not of Celery's protocol", error)

        return on_message

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Keep a message whose body is not what its headers say."""
        self._keep(message, "it can't be decoded", exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Keep a message that is no message of Celery's protocol."""
        self._keep(message, "it is not of Celery's protocol", exc)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Keep a message that was not written by Celery."""
        self._keep(message, "it names no task")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Keep a message for a task that there is none of."""
        self._keep(message, "there is no such task", exc)

    def _keep(self, message: Any, why: str, exc: Exception | None = None) -> None:
        headers = message.headers if isinstance(message.headers, dict) else {}
        why = str(headers.get(NO_MESSAGE) or why)
        origin = origin_of(message, headers)
        log.error(
            "message_unreadable", why=why, error=type(exc).__name__ if exc else None, queue=origin.queue
        )
        raw = {"task": origin.task, "id": str(headers.get("id", "")), "body": text_of(message.body)}
        try:
            dead_letters.store(raw, context.tools(), faults=(NOT_A_TASK,), reason=why, origin=origin)
        except Exception as error:  # noqa: BLE001  # whatever it is, the message must not be gone
            log.error("message_not_stored", error=type(error).__name__)
            time.sleep(1)  # the database is away: nothing else could be done meanwhile
            message.requeue()
            return
        message.ack_log_error(log, self.connection_errors)


def origin_of(message: Any, headers: dict[str, Any]) -> dead_letters.Origin:
    """Return where a message came from, and its body as it came."""
    body = message.body if isinstance(message.body, bytes) else str(message.body).encode("utf-8", "replace")
    return dead_letters.Origin(
        task=str(headers.get("task", "")),
        queue=str((message.delivery_info or {}).get("routing_key", "")),
        body=body[:MAX_BODY],
    )


def text_of(body: Any) -> str:
    """Return the beginning of a body as a person reads it; all of it is stored as bytes."""
    text = body.decode("utf-8", "backslashreplace") if isinstance(body, bytes) else str(body)
    return text[:MAX_TEXT]


MAX_TEXT = 2_000  # characters
NOT_A_TASK = replace(
    dead_letters.OTHER_ARGUMENTS,
    detail="no task of ours has this name, or its body is not JSON with keyword arguments",
)
