"""One message into the worker's queue, over any broker that Celery speaks, within a few seconds or not at all.

The message is built and published here, and not with the application's own Celery app, because an app changes
messages on their way: CELERY_BROKER_URL overrides the URL that was given, `task_protocol` and `task_serializer`
their form, `global_keyprefix` the queue's name, `task_send_sent_event` shows their arguments to Flower, and with
its defaults publishing waits for a broker that is away without end.
"""

import os
import socket
import ssl
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from kombu import Connection, Producer, Queue
from kombu.exceptions import OperationalError

if TYPE_CHECKING:  # an application need not have Celery
    from celery import Celery

QUEUE = "intake"
HIDDEN = "(hidden)"
"""What Celery's events, and so Flower, say of our arguments."""
PAUSES = (0.1, 0.4, 1.0)
"""Seconds between one try and the next; after the last pause comes the last try."""
TIMEOUT = 5.0
"""Seconds after which no further try is begun, unless set otherwise."""
ONE_TRY = 2.0
"""Seconds that a try waits for the broker, to connect and again to answer."""
_IDLE = 8  # connections kept for the next message; more are used at once, and closed

# Names of queues are the worker's: an application's prefix for its own would hide the message from it.
_RENAMING = frozenset({"global_keyprefix", "queue_name_prefix", "sep", "priority_steps"})


class Unanswered(Exception):
    """The broker did not confirm; `tries` were made, the last error is `__cause__`."""

    def __init__(self, tries: int) -> None:
        super().__init__(f"no answer in {tries} tries")
        self.tries = tries


class Broker:
    """Publishes to one broker; safe to share between threads, and to inherit over a fork."""

    def __init__(self, broker: "str | Celery", timeout: float = TIMEOUT) -> None:
        """Take a URL as Celery writes it, or a Celery app whose broker it is. Nothing is opened yet."""
        self._timeout = timeout
        try:
            theirs = _careful(broker) if isinstance(broker, str) else broker.connection_for_write()
            self._model = _impatient(theirs)
        except KeyError:  # kombu's own, of a scheme that it does not know
            raise ValueError("broker_url is no broker's, such as redis://redis:6379/0") from None
        self._idle: deque[Connection] = deque()
        self._pid = os.getpid()

    def publish(self, message_id: str, task: str, kwargs: Mapping[str, Any], trace_id: str | None) -> None:
        """Put one message of Celery's protocol 2 into the intake queue, or raise Unanswered."""
        headers = _headers(message_id, task, trace_id)
        body = ((), dict(kwargs), {"callbacks": None, "errbacks": None, "chain": None, "chord": None})
        deadline = time.monotonic() + self._timeout
        for tries, pause in enumerate((*PAUSES, None), start=1):
            connection = self._take()
            try:
                _put(connection, headers, body)
            except _failures(connection) as error:
                _drop(connection)
                self.close()  # what killed this one has killed the idle ones
                if pause is None or time.monotonic() + pause > deadline:
                    raise Unanswered(tries) from error
                time.sleep(pause)
            except BaseException:
                _drop(connection)
                raise
            else:
                self._keep(connection)
                return

    def close(self) -> None:
        """Close the connections kept; the next message opens one again."""
        while True:
            try:
                connection = self._idle.popleft()
            except IndexError:
                return
            _drop(connection)

    def _take(self) -> Connection:
        if self._pid != os.getpid():  # after a fork: the parent's connections are not ours, not even to close
            self._idle, self._pid = deque(), os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return self._model.clone()

    def _keep(self, connection: Connection) -> None:
        if len(self._idle) < _IDLE:
            self._idle.append(connection)
        else:
            _drop(connection)


def _careful(url: str) -> Connection:
    """Return the broker of an address; one with TLS must show a certificate of its own name.

    Left alone kombu takes anybody's of Redis where the address says nothing of it, and py-amqp that of any host. Where
    several RabbitMQs are named, kombu would want the first one's name of all of them: there only who signed is asked.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "rediss" and "ssl_cert_reqs" not in parse_qs(urlsplit(url).query):
        return Connection(f"{url}{'&' if '?' in rest else '?'}ssl_cert_reqs=required")
    if scheme == "amqps" and ";" not in url:
        return Connection(url, ssl={"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None})
    return Connection(url)


def _impatient(theirs: Connection) -> Connection:
    """Return the same broker with waits that end, and without what renames queues."""
    kept = {name: value for name, value in (theirs.transport_options or {}).items() if name not in _RENAMING}
    options: dict[str, Any] = {
        "max_retries": max(len(theirs.alt) - 1, 0),
        "interval_start": 0,
        "interval_max": 0,
    }
    if theirs.transport.driver_type == "redis":
        options |= {
            "socket_timeout": ONE_TRY,
            "socket_connect_timeout": ONE_TRY,
            "socket_keepalive": True,
            "health_check_interval": 10,
        }
    elif theirs.transport.driver_type == "amqp":
        options |= {"confirm_publish": True, "read_timeout": ONE_TRY, "write_timeout": ONE_TRY}
    return theirs.clone(transport_options={**kept, **options}, connect_timeout=ONE_TRY, heartbeat=0)


def _failures(connection: Connection) -> tuple[type[BaseException], ...]:
    return (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors)


def _put(connection: Connection, headers: Mapping[str, Any], body: object) -> None:
    connection.default_channel  # noqa: B018  # connects, with the retries of its options and no others
    Producer(connection.default_channel).publish(
        body,
        exchange="",
        routing_key=QUEUE,
        declare=[
            Queue(QUEUE, routing_key=QUEUE)
        ],  # as the worker declares it: a queue before its first worker
        serializer="json",
        delivery_mode=2,
        headers=dict(headers),
        correlation_id=headers["id"],
        reply_to="",
        retry=False,
    )


def _drop(connection: Connection) -> None:
    """Close a connection without a message to the broker, which may not be there to read it."""
    with suppress(Exception):  # it is given up whatever it says
        connection.collect(socket_timeout=0.1)


def _headers(message_id: str, task: str, trace_id: str | None) -> dict[str, Any]:
    """Return the headers of Celery's message protocol 2."""
    headers: dict[str, Any] = {
        "lang": "py",
        "task": task,
        "id": message_id,
        "root_id": message_id,
        "parent_id": None,
        "group": None,
        "shadow": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": HIDDEN,
        "kwargsrepr": HIDDEN,
        "origin": f"timbrado-client@{socket.gethostname()}",
        "ignore_result": True,
        "sent_at": datetime.now(UTC).isoformat(),  # an older message never undoes what a newer one did
    }
    return headers if trace_id is None else {**headers, "trace_id": trace_id}
