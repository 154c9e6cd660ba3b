"""`timbrado health`: what a container's health check asks, cheaply.

`celery inspect ping` is no health check: it costs 1.3 s of CPU
each time, and beat never answers it. A worker touches a file with each heartbeat, which stops when its
event loop does; beat enqueues the sweep every few seconds, whose end a worker notes in PostgreSQL: so beat's health
also says that a worker took it. While the broker is away a worker's loop waits for it, and starting it again would fix
nothing.
"""

import time
from enum import StrEnum
from typing import Annotated

import typer

from cli.console import Problem, err
from config.settings import Settings, load

WORKER_STALE = 60.0  # seconds; heartbeats come every 2
BEAT_STALE = 90.0  # seconds; the sweep runs every few


class ProcessKind(StrEnum):
    """What can be asked for."""

    WORKER = "worker"
    BEAT = "beat"


def health(
    process: Annotated[ProcessKind, typer.Argument(help="Which process this container runs.")],
) -> None:
    """Exit 0 while the worker (its heartbeat's file) or beat (its last sweep, in PostgreSQL) is alive, else 1."""
    settings = load()
    if process is ProcessKind.WORKER:
        if settings.alive_file is None:
            raise Problem("set TIMBRADO_ALIVE_FILE for the worker and for this command")
        try:
            age = time.time() - settings.alive_file.stat().st_mtime
        except FileNotFoundError:
            raise Problem(
                f"the worker has sent no heartbeat yet: {settings.alive_file} is not there"
            ) from None
        if age > WORKER_STALE and not _answers(settings):
            err().print(
                "The worker's heartbeat stands still, and the broker does not answer: it waits for that."
            )
            return
        _judge("the worker's last heartbeat", age, WORKER_STALE)
    else:
        import psycopg  # noqa: PLC0415  # a third of the check's CPU, which a worker's does not need

        url = settings.database_url.get_secret_value().replace("postgresql+psycopg://", "postgresql://", 1)
        try:
            with psycopg.connect(url, connect_timeout=5) as connection:
                row = connection.execute(SWEPT).fetchone()
        except psycopg.Error:
            err().print("PostgreSQL does not answer: nothing can say when the last sweep ended.")
            return
        if row is None:
            raise Problem("beat has not run yet: no sweep ever ended")
        _judge("beat's last sweep", float(row[0]), BEAT_STALE)


SWEPT = "SELECT extract(epoch FROM clock_timestamp() - at) FROM heartbeats WHERE name = 'sweep'"


def _answers(settings: Settings) -> bool:
    import kombu  # noqa: PLC0415  # half a second of CPU that a heartbeat in time does not cost

    try:
        with kombu.Connection(settings.broker_url.get_secret_value(), connect_timeout=5) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
    except kombu.exceptions.OperationalError:
        return False
    return True


def _judge(what: str, age: float, limit: float) -> None:
    if age > limit:
        raise Problem(f"{what} is {age:.0f} s old, more than {limit:.0f} s")
