"""`timbrado verify`: computes the hash chain of each invoice's history again, and reports tampering."""

from collections.abc import Iterator
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
import typer
from rich.progress import Progress

from cli import format, session
from cli.console import AsJson, err, out, print_json
from models.chain import Break, CurrentState, HistoryEntry, breaks
from models.tables import history, invoices
from stamping.tools import Tools

BATCH = 500  # invoices read at one moment


def verify(
    account: Annotated[str | None, typer.Argument(help="Only this account's invoices.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compute the hash chain of each invoice's history again. A changed, removed or added entry shows.

    Exit code 1 if any does. Documents are checked by `timbrado documents --verify`.
    """
    found: list[tuple[Any, Break]] = []
    invoices = entries = 0
    with session.tools() as tools:
        with Progress(console=err(), transient=True, disable=not err().is_terminal) as bar:
            task = bar.add_task("verifying", total=None)
            for row, count, broken in check_all(tools, account):
                invoices, entries = invoices + 1, entries + count
                found += [(row, each) for each in broken]
                bar.update(task, completed=invoices)
    if as_json:
        print_json(
            {
                "invoices": invoices,
                "entries": entries,
                "breaks": [
                    {
                        "account": row.account,
                        "external_id": row.external_id,
                        "entry": each.entry_id,
                        "what": each.what,
                    }
                    for row, each in found
                ],
            }
        )
    else:
        for row, each in found:
            entry = f", entry {each.entry_id}" if each.entry_id is not None else ""
            out().print(f"{row.account} {row.external_id}{entry}: {each.what}", markup=False)
        verdict = "the chain holds" if not found else f"{len(found):,} breaks"
        out().print(f"{format.count(invoices, 'invoice')}, {entries:,} entries: {verdict}.")
    if found:
        raise typer.Exit(1)


def check_all(tools: Tools, account: str | None = None) -> Iterator[tuple[Any, int, list[Break]]]:
    """Go through every invoice: its row, how many entries it has, and where its chain breaks."""
    names = ("id", "account", "external_id", "status", "reason", "uuid", "content_hash")
    chosen = sa.select(*(invoices.c[name] for name in names)).order_by(invoices.c.id).limit(BATCH)
    if account is not None:
        chosen = chosen.where(invoices.c.account == account)
    last: UUID | None = None
    while True:
        with session.snapshot(tools.engine) as db:  # an invoice and its history must be of one moment
            batch = list(db.execute(chosen if last is None else chosen.where(invoices.c.id > last)))
            entries = _entries(db, [row.id for row in batch])
        for row in batch:
            as_it_is = CurrentState(row.status, row.reason, row.uuid, row.content_hash)
            mine = entries.get(row.id, [])
            yield row, len(mine), breaks(row.id, as_it_is, mine)
        if len(batch) < BATCH:
            return
        last = batch[-1].id


def _entries(db: sa.Connection, ids: list[UUID]) -> dict[Any, list[Any]]:

    found: dict[Any, list[Any]] = {}
    if ids:
        chosen = (
            sa.select(history)
            .where(history.c.invoice_id.in_(ids))
            .order_by(history.c.invoice_id, history.c.id)
        )
        for row in db.execute(chosen):
            found.setdefault(row.invoice_id, []).append(HistoryEntry(**row._asdict()))
    return found
