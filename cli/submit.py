"""`timbrado submit`: sends invoices as Apunto does, by Celery, and may wait for what comes of them; or only checks."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from kombu.exceptions import OperationalError
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from cli import format, invoice_files, session
from cli.console import AsJson, Problem, err, out, print_json, show
from cli.invoice_files import Read
from cli.progress import Ending, Followed
from stamping.intake import check as dry_run
from tasks import enqueue
from worker import resources

POLL = 0.25  # seconds between two reads of the table
MOST = 200  # rows of a table that a person reads


def submit(
    files: Annotated[list[str], typer.Argument(help="JSON, JSON Lines, folders of them, or `-`.")],
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait until each has settled.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only show every fault and warning; nothing is stored or sent.")
    ] = False,
    account: Annotated[str | None, typer.Option(help="The account, instead of the invoices' own.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for all of them.")] = 300,
    as_json: AsJson = False,
) -> None:
    """Send invoices through the queue, as Apunto does; with --wait show the result of each.

    What is no JSON is named with its line, and then nothing is sent. Exit code 1 if one could not be sent or, where it
    was waited for, was not stamped; with --check, if one has a fault.
    """
    try:
        read = invoice_files.read_all(files, sys.stdin, account=account)
    except invoice_files.NotAnInvoice as error:
        raise Problem(f"{error}; nothing was sent") from None
    if check:
        show_checked(read, as_json=as_json)
        return
    followed = None
    if wait:
        engine = resources.open_engine(resources.settings(), pool_size=1)
        followed = Followed(engine, [each.key for each in read])
    send(read)
    if followed is None:
        if as_json:
            print_json({"sent": len(read)})
        else:
            out().print(f"Sent {len(read):,}. What comes of them: timbrado list, timbrado watch.")
        return
    is_over = follow(followed, timeout)
    if as_json:
        print_json([each.as_dict() for each in followed.endings])
    else:
        show(*screen(followed.endings))
    if not is_over:
        left = len(followed.endings) - followed.settled
        raise Problem(
            f"{left:,} have not settled in {timeout:g} s; they go on: timbrado list, timbrado watch"
        )
    if not all(each.is_stamped for each in followed.endings):
        raise typer.Exit(1)


def show_checked(read: Sequence[Read], *, as_json: bool) -> None:
    """Print what a submission of each would get, with its totals. Raises Exit where one has a fault."""
    with session.tools() as tools:
        checked = [(each.key, dry_run.check(each.invoice, tools).as_dict()) for each in read]
    if as_json:
        print_json([{"account": key[0], "external_id": key[1], **found} for key, found in checked])
    else:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("account")
        table.add_column("external_id", overflow="fold")
        table.add_column("total", justify="right")
        table.add_column("faults and warnings", ratio=1)
        for (account, external_id), found in checked:
            totals = found["totals"] or {}
            words = (
                faults([*found["errors"], *found["warnings"]]) if found["errors"] or found["warnings"] else ""
            )
            table.add_row(
                Text(format.plain(account)),
                Text(format.plain(external_id)),
                totals.get("total", "-"),
                words or "good",
            )
        good = sum(not found["errors"] for _, found in checked)
        show(table, Text(f"{good:,} of {len(checked):,} would be accepted. Nothing was sent."))
    if any(found["errors"] for _, found in checked):
        raise typer.Exit(1)


def send(read: Sequence[Read]) -> None:
    """Send each as Apunto does, in batches over one connection. Raises Problem where the broker is away."""
    sent = 0
    hidden = not err().is_terminal or len(read) < 1000
    try:
        with Progress(console=err(), transient=True, disable=hidden) as bar:
            shown = bar.add_task("sending", total=len(read))
            for sent in enqueue.submit_many(session.celery(), (each.invoice for each in read)):
                bar.update(shown, completed=sent)
    except OperationalError as error:
        what = " ".join(str(error).split())[:200]
        raise Problem(
            f"the broker takes nothing: {what}; {sent} of {len(read)} were sent (sending one twice is harmless)"
        ) from None


def follow(followed: Followed, timeout: float) -> bool:
    """Wait until all have settled, with a bar on a terminal; False where `timeout` seconds were too short."""
    deadline = time.monotonic() + timeout
    columns = (
        TextColumn("settled"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=err(), transient=True, disable=not err().is_terminal) as bar:
        shown = bar.add_task("", total=len(followed.endings))
        while True:
            followed.refresh()
            counts = followed.counts()
            text = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.most_common(4))
            bar.update(shown, completed=followed.settled, description=text)
            if followed.is_settled:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL)


def screen(endings: Sequence[Ending]) -> list[RenderableType]:
    """Return a table of how each ended, every fault with its fix; of very many only those that did not stamp."""
    shown = endings if len(endings) <= MOST else [each for each in endings if not each.is_stamped]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("account")
    table.add_column("external_id", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("what came of it", ratio=1)
    for each in shown[:MOST]:
        table.add_row(
            Text(format.plain(each.account)),
            Text(format.plain(each.external_id)),
            format.coloured("rejected" if each.conflict else each.status, shown=_word(each)),
            _came_of(each),
        )
    counts = Counter(_word(each) for each in endings)
    last = Text(", ").join(
        Text.assemble(f"{count:,} ", format.coloured(name)) for name, count in counts.most_common()
    )
    parts: list[RenderableType] = [table] if shown else []
    if len(shown) > MOST:
        parts.append(Text(f"and {len(shown) - MOST:,} more that did not stamp: timbrado list, or --json"))
    return [*parts, last]


def _word(each: Ending) -> str:
    return "conflict" if each.conflict else each.status


def _came_of(each: Ending) -> Any:

    if each.is_stamped:
        return Text(f"{each.uuid}  {' '.join(filter(None, (each.serie, each.folio)))}")
    if each.status == "on_hold":
        account = format.plain(each.account)
        return Text(
            f"its connection does not work: timbrado connections {account}; it then goes on by itself"
        )
    if each.errors:
        return faults(each.errors)
    return Text(format.plain(each.message or each.reason or ""))


def faults(errors: Sequence[dict[str, Any]]) -> Any:
    """Return faults as text: where, what, and after an arrow how to fix it."""
    text = Text()
    for error in errors:
        if text:
            text.append("\n")
        where = error.get("field")
        if where:
            text.append(f"{format.plain(where)}: ", style="bold")
        text.append(format.plain(error.get("message", "")))
        if error.get("fix"):
            text.append(f" → {format.plain(error['fix'])}", style="green")
    return text
