"""`timbrado drain`: has the workers that run now finish what they have and take nothing new.

It uses Celery's remote control. A worker that starts afterwards takes what waits, which is what a rolling deploy
wants; what is drained stays in the queues and in the table, so nothing is lost either way.
"""

import time
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from celery import Celery

from cli import format, session
from cli.console import AsJson, Problem, err, out, print_json
from models.tables import invoices
from models.vocabulary import InvoiceStatus
from stamping.tools import Tools
from worker import broker

POLL = 0.5  # seconds between two questions to the workers
ANSWERS = 1.5  # seconds for their answers


def drain(
    worker: Annotated[
        list[str] | None,
        typer.Option(help="Only this worker (its node name, as Flower shows it); may be repeated."),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Have them take from the queues again.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for what is under way.")] = 120,
    as_json: AsJson = False,
) -> None:
    """Have the running workers take nothing new, and wait until what they have is done.

    Nothing is lost: what waits stays in the queues and in the table. Afterwards the workers can be stopped at once;
    or --undo has them go on. Exit code 1 if no worker answered, or something was still under way at the end.
    """
    app = session.celery()
    answers = _ask(app, worker, undo=undo)
    reached = sorted(name for name, agreed in answers.items() if agreed)
    if not answers:
        raise Problem("no worker answered: none runs, or the broker is away (`timbrado doctor`)")
    if len(reached) < len(answers):
        silent = ", ".join(sorted(answers.keys() - set(reached)))
        raise Problem(f"{silent}: did not answer; the others agreed. Try again")
    if undo:
        if as_json:
            print_json({"workers": reached, "drained": False})
        else:
            out().print(f"{', '.join(reached)}: taking from the queues again.", markup=False)
        return
    err().print(f"{', '.join(reached)}: taking nothing new; waiting for what is under way.", markup=False)
    left = _wait(app, reached, timeout)
    with session.tools() as tools:
        stamping = _stamping(tools)
    if as_json:
        print_json({"workers": reached, "drained": left == 0, "tasks_left": left, "stamping": stamping})
    elif left == 0:
        out().print("Drained: nothing is under way.")
        if stamping:
            out().print(
                f"{format.count(stamping, 'invoice')} under a claim of other workers, or of some that died; the sweep "
                "sees to them."
            )
    if left:
        raise Problem(f"{format.count(left, 'task')} still under way after {timeout:g} s")


def _ask(app: Celery, workers: list[str] | None, *, undo: bool) -> dict[str, bool]:
    """Ask the workers; return those that were named or run, and whether each agreed for every queue."""
    there = [name for reply in app.control.ping(destination=workers, timeout=ANSWERS) or [] for name in reply]
    if not there:
        return {}
    agreed = dict.fromkeys([*(workers or ()), *there], 0)
    verb = app.control.add_consumer if undo else app.control.cancel_consumer
    for queue in broker.QUEUES:
        replies = verb(queue, destination=there, reply=True, timeout=ANSWERS, limit=len(there))
        for reply in replies or []:
            for name, answer in reply.items():
                agreed[name] += "ok" in answer
    return {name: times == len(broker.QUEUES) for name, times in agreed.items()}


def _wait(app: Celery, workers: list[str], timeout: float) -> int:
    """Wait until the workers have no task left; return how many tasks are left at the end."""
    deadline = time.monotonic() + timeout
    while True:
        inspect = app.control.inspect(destination=workers, timeout=ANSWERS, limit=len(workers))
        # the workers' own ids: a task may be both reserved and active for a moment
        seen: set[Any] = set()
        for answers in (inspect.active() or {}, inspect.reserved() or {}):
            for tasks in answers.values():
                seen |= {task.get("id") for task in tasks}
        if not seen or time.monotonic() >= deadline:
            return len(seen)
        time.sleep(POLL)


def _stamping(tools: Tools) -> int:

    with tools.engine.connect() as db:
        counted = (
            sa.select(sa.func.count())
            .select_from(invoices)
            .where(invoices.c.status == InvoiceStatus.STAMPING)
        )
        return int(db.execute(counted).scalar_one())
