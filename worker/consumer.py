"""Messages that are no task of ours: kept aside and told, instead of printed and dropped.

The one thing a newcomer would get wrong: a misspelled task name, or a body that is no JSON, may be an invoice.
Celery's own consumer acknowledges such a message, and writes all of it into the log.
"""

import re
import time
from collections.abc import Callable
from typing import Any

import structlog
from celery.worker.consumer import Consumer

from cfdi.faults import Fault
from tasks import context

log = structlog.get_logger(__name__)

NOT_UNDERSTOOD = (KeyError, IndexError, ValueError, TypeError, AttributeError)
"""What reading a message as something else than it is ends in."""


class RedactingConsumer(Consumer):
    """Takes messages from the queues. One that can't be read, or names no task of ours, is kept and not printed.

    Celery would log it with its whole body, and drop it.
    """

    connection_errors: tuple[type[Exception], ...]

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Return what takes each message. Celery's own stops the whole worker over a body that is JSON and no
        arguments, and over headers without an id; and the next worker, when it comes back.
        """
        receive = super().create_task_handler(*args, **kwargs)

        def on_message(message: Any) -> Any:
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
        from stamping.intake import submit

        queue = (message.delivery_info or {}).get("routing_key")
        log.error("message_unreadable", why=why, error=type(exc).__name__ if exc else None, queue=queue)
        try:
            submit.dead_letter(as_it_came(message), context.tools(), faults=(NOT_A_TASK,))
        except Exception as error:  # noqa: BLE001  # whatever it is, the message must not be gone
            log.error("message_not_kept", error=type(error).__name__)
            time.sleep(1)  # the database is away: nothing else could be done meanwhile
            message.requeue()
            return
        message.ack_log_error(log, self.connection_errors)


def as_it_came(message: Any) -> dict[str, Any]:
    """Return a message's task, id and body as text, to be kept where nothing could be made of it."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    body = message.body
    text = body.decode("utf-8", "backslashreplace") if isinstance(body, bytes) else str(body)
    return {
        "task": str(headers.get("task", "")),
        "id": str(headers.get("id", "")),
        "content_type": str(message.content_type),
        "body": _ENCRYPTED.sub("(hidden)", text)[:MAX_KEPT],
    }


MAX_KEPT = 2_000_000  # characters
_ENCRYPTED = re.compile(r"gAAAAA[\w-]{20,}={0,2}")  # an API key: `disconnect` promises to forget it for good
NOT_A_TASK = Fault(
    code="timbrado.mensaje_desconocido",
    field="",
    message="Llegó un mensaje que no es ninguna de las tareas que atendemos, o que no se puede leer; lo guardamos.",
    fix="Revisa el nombre de la tarea y que los argumentos sean JSON con nombre.",
    source="timbrado",
)
