"""`timbrado dead-letters`: messages that nobody could read, or that met a bug of ours; sent again once that is over."""

from typing import Annotated, Any
from uuid import UUID

import typer
from rich.table import Table

from cli import format, session
from cli.console import AsJson, Problem, err, out, print_json
from stamping.intake import dead_letters as letters
from tasks import enqueue

dead_letters = typer.Typer(
    name="dead-letters",
    help="List, show and send again messages that could not be read.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

LetterId = Annotated[str, typer.Argument(help="The letter's id, as `dead-letters list` shows it.")]


@dead_letters.command("list")
def list_them(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List the messages that wait for somebody, the newest first, and why each could not be read."""
    with session.tools() as tools:
        now = tools.clock.now()
        with session.snapshot(tools.engine) as db:
            found = letters.waiting(db, limit=limit)
    if as_json:
        print_json([_row(each) for each in found])
        return
    if not found:
        err().print("No dead letter waits.")
        return
    table = Table("id", "came", "queue", "task", "why", box=None)
    for each in found:
        came = format.ago(each.created_at, now, brief=True)
        table.add_row(str(each.id), came, each.queue or "", each.task or "", each.reason or "")
    out().print(table)


@dead_letters.command("show")
def show(letter_id: LetterId, as_json: AsJson = False) -> None:
    """Show one message as it came, without API keys."""
    with session.tools() as tools, session.snapshot(tools.engine) as db:
        found = _find(db, letter_id)
    body = found.body.decode("utf-8", "backslashreplace") if found.body is not None else None
    print_json({**_row(found), "message": found.message, "body": body, "resent_at": found.resent_at})


@dead_letters.command("resend")
def resend(
    letter_id: LetterId,
    task: Annotated[
        str | None, typer.Option(help="The task it was meant for, where its name was misspelled.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send one message again, under a new id: for once its cause is gone.

    One that an API key was taken out of is refused: it could connect nothing.
    """
    with session.tools() as tools:
        with session.snapshot(tools.engine) as db:
            found = _find(db, letter_id)
        if letters.lacks_a_key(found):
            raise Problem("its API key was not kept: have it sent again by whoever sent it")
        name = task or found.task
        if not name:
            raise Problem("it names no task: give one with --task, e.g. --task stamping.submit_invoice")
        if not enqueue.again(session.celery(), name, found.queue, found.message, found.body):
            raise Problem("the broker did not take it: `timbrado doctor` says why")
        with tools.engine.begin() as db:
            letters.mark_resent(db, found.id, tools)
            session.record(db, "resend", tools, kind="message", subject_id=found.id)
    if as_json:
        print_json({"id": found.id, "task": name, "queue": found.queue or "intake"})
        return
    out().print(f"Sent to {found.queue or 'intake'} as {name}.", markup=False)


def _find(db: Any, letter_id: str) -> Any:
    try:
        found = letters.one(db, UUID(letter_id))
    except ValueError:
        raise Problem(f"{letter_id!r} is no id of a dead letter") from None
    if found is None:
        raise Problem(f"there is no dead letter {letter_id}")
    return found


def _row(each: Any) -> dict[str, Any]:
    return {
        "id": str(each.id),
        "task": each.task,
        "queue": each.queue,
        "reason": each.reason,
        "errors": each.errors,
        "created_at": each.created_at,
    }
