"""The Redis transport: kombu's, made to lose nothing that it has taken from a queue.

kombu ends the worker over bytes that are no message, and over a Redis that refuses to note what was taken; in both
cases what was taken is gone. Here each becomes a message that the consumer can keep, and a message in hand is worked on
whether Redis has noted it or not.
"""

import base64
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

import structlog
from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from kombu.utils.json import dumps, loads
from redis import Redis
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from stamping.intake.untrusted import ARRIVED_AT, SENT_AT
from tasks import context

log = structlog.get_logger(__name__)

NO_MESSAGE = "timbrado-no-message"
"""The header of what was no message: it says why."""
MAX_BODY = 2_000_000
"""Bytes that are kept of what is no message."""
MAX_MESSAGE = 20_000_000
"""Bytes of a message: the largest invoice (4 MB), escaped and in base64, has no more, and to read one takes ten times
as much memory."""
MAX_HEADER = 1_000
"""Characters of a header or a property."""


class NoMessage(ValueError):
    """What a queue contained is not a message of Celery's; its text says what is wrong, and repeats nothing of it."""


def as_message(raw: bytes, queue: str, now: Callable[[], datetime]) -> bytes:
    """Return an entry of a queue as a message that kombu can read, and that goes back where it came from.

    What is no message becomes the body of one, under NO_MESSAGE. Of headers and properties only what is short and flat
    is kept: everything that Celery and we read is, and kombu writes all of it out again.
    """
    try:
        message = _message(raw)
    except NoMessage as error:
        message = _around(raw, str(error))
    headers, properties = message["headers"], message["properties"]
    # kombu puts a message back by the exchange that its sender named, and drops it where there is none of that name
    properties["delivery_info"] = {"exchange": "", "routing_key": queue}
    if not (headers.get(SENT_AT) or headers.get(ARRIVED_AT) or properties.get("timestamp")):
        headers[ARRIVED_AT] = now().isoformat()
    return dumps(message).encode()


def _message(raw: bytes) -> dict[str, Any]:
    """Return a message's parts. Raises NoMessage for everything in which kombu would meet an error, or lose it."""
    if len(raw) > MAX_MESSAGE:
        raise NoMessage(f"it has more than {MAX_MESSAGE:,} bytes")
    try:
        message = loads(raw)
    except RecursionError as error:
        raise NoMessage("it is nested too deep") from error
    except Exception as error:  # kombu reads types of its own in it, and they raise anything
        raise NoMessage(f"it is no JSON: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise NoMessage("it is no object")
    headers, properties = message.get("headers"), message.get("properties")
    if not isinstance(headers, dict | None):
        raise NoMessage("its headers are no object")
    tag = properties.get("delivery_tag") if isinstance(properties, dict) else None
    if not isinstance(properties, dict) or not isinstance(tag, str) or _flat(tag) is None:
        raise NoMessage("it has no properties with a delivery_tag")
    if not _is_body(message.get("body"), properties.get("body_encoding")):
        raise NoMessage("it has no body that can be decoded")
    return {
        "body": message["body"],
        "content-type": _flat(message.get("content-type")),
        "content-encoding": _flat(message.get("content-encoding")),
        "headers": _all_flat(headers or {}),
        "properties": _all_flat(properties),
    }


def _all_flat(values: dict[Any, Any]) -> dict[str, Any]:
    return {str(name): each for name, each in values.items() if _flat(each) is not None}


def _flat(value: Any) -> Any:
    """Return a short text or a number as it is, and None for anything else."""
    is_short = isinstance(value, int | float) or (isinstance(value, str) and len(value) <= MAX_HEADER)
    return value if is_short else None


def _is_body(body: object, encoding: object) -> bool:
    """Whether kombu can decode a body."""
    if not isinstance(body, str):
        return False
    if encoding != "base64":
        return encoding in (None, "", "utf-8")  # no set: what is here may be of any type
    try:
        base64.b64decode(body)
    except ValueError:
        return False
    return True


def _around(raw: bytes, why: str) -> dict[str, Any]:
    """Return a message whose body is the entry of a queue."""
    return {
        "body": base64.b64encode(raw[:MAX_BODY]).decode(),
        "content-type": "application/octet-stream",
        "content-encoding": "binary",
        "headers": {NO_MESSAGE: why},
        "properties": {
            "body_encoding": "base64",
            "delivery_mode": 2,
            "delivery_tag": str(uuid4()),
            "priority": 0,
        },
    }


class Client(Redis):
    """kombu's connection to Redis, which hands on nothing but messages."""

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        """Read an answer; what BRPOP took out of a queue is made a message."""
        answer = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]  # of redis-py
        if command_name != "BRPOP" or not answer:
            return answer
        place, item = answer
        queue = place.decode().split(redis.Channel.sep, 1)[0]  # without the suffix of its priority
        return place, as_message(item, queue, _now)


def _now() -> datetime:
    return context.now()


class QoS(redis.QoS):
    """Which messages are in hand, and noted in Redis so that they come back when this process dies.

    Redis allows to take a message while it is full, and refuses to note it. Such a message is in this process's memory
    alone: it is worked on all the same, and goes back into its queue only once Redis takes it again.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unnoted: set[str] = set()

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message that was taken; one that can't be noted is in hand nevertheless."""
        try:
            super().append(message, delivery_tag)
        except (RedisError, OSError) as error:
            log.error("message_not_noted", error=type(error).__name__)
            self._unnoted.add(delivery_tag)
            virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Let a message go: it is done. A full Redis refuses this in a transaction, and allows it outside of one."""
        self._unnoted.discard(delivery_tag)
        try:
            super().ack(delivery_tag)
        except ResponseError:
            with self.channel.conn_or_acquire() as client:  # type: ignore[attr-defined]  # the channel is of Redis
                client.zrem(self.unacked_index_key, delivery_tag)
                client.hdel(self.unacked_key, delivery_tag)
            virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Put a message back, or let it go. One that is nowhere else is retried until Redis takes it."""
        while requeue and delivery_tag in self._unnoted:
            try:
                self.restore_by_tag(delivery_tag, leftmost=True)
            except (RedisError, OSError) as error:
                log.error("message_not_put_back", error=type(error).__name__)
                time.sleep(1)
        super().reject(delivery_tag, requeue=requeue)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Put a message back into its queue."""
        if tag not in self._unnoted:
            super().restore_by_tag(tag, client, leftmost)
            return
        message = self.get(tag)
        with self.channel.conn_or_acquire(client) as to:  # type: ignore[attr-defined]  # the channel is of Redis
            put = to.lpush if leftmost else to.rpush
            put(message.delivery_info["routing_key"], dumps(message._raw))
        self._unnoted.discard(tag)

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Put back what a process that died had in hand; once there is room where Redis is full."""
        try:
            super().restore_visible(*args, **kwargs)
        except OutOfMemoryError as error:
            log.error("message_not_put_back", error=type(error).__name__)


class RedisChannel(redis.Channel):
    """kombu's channel, with the two classes above; it begins to take messages also from a Redis that is full.

    kombu makes a client for each command that it sends, which costs more than sending it: here a channel has one,
    which all threads may use, over the same connections.
    """

    QoS = QoS
    _shared: Client | None = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous)  # type: ignore[misc]  # not in the stubs of kombu
        shared = self._shared
        if (
            shared is None or shared.connection_pool is not self.pool
        ):  # a new one, after an error of the old one
            shared = self._shared = super()._create_client()  # type: ignore[misc]  # as above
        return shared

    def _get_client(self) -> type[Client]:
        return Client

    def _size(self, queue: str) -> int:
        """Return how many messages wait in a queue; not in a transaction, in which a full Redis refuses even that."""
        with self.conn_or_acquire() as client:
            lengths = client.pipeline(transaction=False)
            for priority in self.priority_steps:
                lengths.llen(self._q_for_pri(queue, priority))  # type: ignore[attr-defined]  # not in the stubs of kombu
            return sum(lengths.execute())

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Note which queue an exchange leads to; a full Redis does not, and the default exchange needs no note."""
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)  # type: ignore[misc]  # not in the stubs of kombu
        except ResponseError as error:
            if "command not allowed when used memory" not in str(error):  # a script's is no OutOfMemoryError
                raise
            log.error("binding_not_noted", queue=queue, error=type(error).__name__)


class RedisTransport(redis.Transport):
    """kombu's transport for Redis, with the channel above."""

    Channel = RedisChannel


def install() -> None:
    """Have this process use it for each address that names Redis: an address on a socket takes no other way."""
    TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = "worker.redis_transport:RedisTransport"
