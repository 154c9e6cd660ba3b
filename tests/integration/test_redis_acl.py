"""The sender's user of deploy/redis/users.acl pushes into `intake`, and can do nothing else: command by command."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from kombu.utils.url import quote

ACL = Path(__file__).parents[2] / "deploy" / "redis" / "users.acl"
ALLOWED: tuple[tuple[Any, ...], ...] = (
    ("PING",),
    ("LPUSH", "intake", "x"),
    ("LLEN", "intake"),
    ("SADD", "_kombu.binding.intake", "intake"),
    ("SMEMBERS", "_kombu.binding.intake"),
)
DENIED: tuple[tuple[Any, ...], ...] = (
    ("LRANGE", "intake", 0, -1),
    ("RPOP", "intake"),
    ("BRPOP", "intake", 1),
    ("LTRIM", "intake", 1, 0),
    ("DEL", "intake"),
    ("RENAME", "intake", "x"),
    ("LPUSH", "stamp", "x"),
    ("LPUSH", "intake2", "x"),
    ("SADD", "_kombu.binding.celery.pidbox", "x"),
    ("SMEMBERS", "_kombu.binding.stamp"),
    ("HGETALL", "unacked"),
    ("GET", "timbrado:token:x"),
    ("SET", "x", "y"),
    ("KEYS", "*"),
    ("SCAN", 0),
    ("PUBLISH", "/0.celery.pidbox", "shutdown"),
    ("SUBSCRIBE", "/0.celeryev"),
    ("PSUBSCRIBE", "*"),
    ("EVAL", "return 1", 0),
    ("CONFIG", "GET", "*"),
    ("ACL", "LIST"),
    ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "ID", 1),
    ("INFO",),
    ("DEBUG", "SLEEP", 0),
    ("FLUSHDB",),
    ("SHUTDOWN",),
    ("MONITOR",),
    ("SAVE",),
)


@pytest.fixture
def sender(redis_url: str) -> Iterator[tuple[redis.Redis, str]]:
    """The sender's connection, and its user's name on the server of this run."""
    name = f"apunto-{uuid.uuid4().hex[:6]}"
    (rule,) = [line for line in ACL.read_text().splitlines() if line.startswith("user apunto")]
    words = ["nopass" if word.startswith("#") else word for word in rule.split()[2:]]
    with redis.Redis.from_url(redis_url) as root:
        root.execute_command("ACL", "SETUSER", name, "reset", *words)
        options = root.connection_pool.connection_kwargs | {"username": name, "password": "x"}
        kind = root.connection_pool.connection_class
        pool = redis.ConnectionPool(connection_class=kind, **options)
        try:
            yield redis.Redis(connection_pool=pool), name
        finally:
            pool.disconnect()
            root.execute_command("ACL", "DELUSER", name)


@pytest.mark.parametrize("command", ALLOWED, ids=lambda command: " ".join(map(str, command)))
def test_what_sending_needs_is_allowed(sender: tuple[redis.Redis, str], command: tuple[Any, ...]) -> None:
    """kombu declares the queue, and pushes."""
    sender[0].execute_command(*command)


@pytest.mark.parametrize("command", DENIED, ids=lambda command: " ".join(map(str, command)))
def test_everything_else_is_denied(sender: tuple[redis.Redis, str], command: tuple[Any, ...]) -> None:
    """It reads nothing back, reaches no other key, and neither publishes nor listens."""
    with pytest.raises(redis.exceptions.NoPermissionError):
        sender[0].execute_command(*command)


def test_a_celery_client_sends_with_it(
    sender: tuple[redis.Redis, str], broker_url: str, redis_url: str
) -> None:
    """Celery's own client, with its defaults."""
    client, name = sender
    options = client.connection_pool.connection_kwargs
    if "path" not in options:
        pytest.skip("a server of one's own, by TCP")
    url = f"redis+socket://{name}:x@{quote(options['path'])}?virtual_host={options.get('db', 0)}"
    app = Celery("apunto", broker=url.replace(quote(options["path"]), options["path"]), set_as_current=False)

    app.send_task("stamping.submit_invoice", kwargs={"invoice": {}}, queue="intake", retry=False)

    with redis.Redis.from_url(redis_url) as root:
        assert root.llen("intake") == 1
    app.close()
