"""What a verb opens: this process's tools, closed again when the verb ends.

Times are compared with the database's clock, as workers do, so the clock is anchored before anything is read.
"""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from celery import Celery
from kombu.exceptions import OperationalError

from config.problem import Problem
from models.tables import invoices
from stamping.timeline import actions
from stamping.tools import Tools
from worker import resources


@contextmanager
def tools() -> Iterator[Tools]:
    """Open this process's tools, with the database's clock."""
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


def invoice_id(db: sa.Connection, account: str, external_id: str) -> UUID:
    """Return the id of an invoice. Raises Problem where there is none, so that a verb writes nothing about it."""
    found: UUID | None = db.execute(
        sa.select(invoices.c.id).where(invoices.c.account == account, invoices.c.external_id == external_id)
    ).scalar_one_or_none()
    if found is None:
        raise Problem(f"there is no invoice {external_id!r} in account {account!r}")
    return found


def record(
    db: sa.Connection,
    action: str,
    tools: Tools,
    *,
    kind: str,
    subject_id: UUID | None = None,
    account: str | None = None,
    reason: str | None = None,
) -> None:
    """Write down what a person does from this shell: it stays in the timeline with the user's name."""
    actions.note(
        db,
        action,
        actor=actor(),
        at=tools.clock.now(),
        kind=kind,
        subject_id=subject_id,
        account=account,
        reason=reason,
    )


def record_of(
    invoice_id: UUID, action: str, tools: Tools, *, account: str, reason: str | None = None
) -> None:
    """Write down what was done to an invoice; what was refused is no act."""
    with tools.engine.begin() as db:
        record(db, action, tools, kind="invoice", subject_id=invoice_id, account=account, reason=reason)


def actor() -> str:
    """Return who acts here, as the record of actions has it."""
    return f"cli:{getpass.getuser()}"


def celery() -> Celery:
    """Return the app, to send messages with as Apunto does."""
    from worker.app import app  # noqa: PLC0415 (it reads the settings; `--help` must not)

    return app


def enqueue(task: str, *ids: Any, queue: str | None = None) -> bool:
    """Send a message; False where the broker is away, which loses nothing: the sweep sends it within seconds."""
    options: dict[str, Any] = {"queue": queue} if queue else {}
    try:
        celery().send_task(task, args=tuple(str(each) for each in ids), retry=False, **options)
    except OperationalError:
        return False
    return True
