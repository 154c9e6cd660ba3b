"""What the verbs open: this process's tools, closed again when the verb ends.

The one thing a newcomer would get wrong: times are compared with the database's clock, as workers do, and not with
this host's. So the clock is anchored before anything is read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from celery import Celery

    from stamping.tools import Tools


@contextmanager
def tools() -> "Iterator[Tools]":
    """Open this process's tools, with the database's clock."""
    from worker import resources

    try:
        opened = resources.tools()
        with opened.engine.begin() as db:
            opened.clock.sync(db)
        yield opened
    finally:
        resources.close()


@contextmanager
def snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Read at one moment: what several queries find belongs together, and nothing is written."""
    with engine.connect().execution_options(
        isolation_level="REPEATABLE READ", postgresql_readonly=True
    ) as db:
        with db.begin():
            yield db


def celery() -> "Celery":
    """Return the app, to send messages with as Apunto does."""
    from worker.app import app

    return app


def ring(task: str, *ids: Any, queue: str | None = None) -> bool:
    """Ring a bell; False where the broker is away, which loses nothing: the sweep rings within seconds."""
    from kombu.exceptions import OperationalError

    options: dict[str, Any] = {"queue": queue} if queue else {}
    try:
        celery().send_task(task, args=tuple(str(each) for each in ids), retry=False, **options)
    except OperationalError:
        return False
    return True
