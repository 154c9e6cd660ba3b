"""`timbrado probe`: makes every read-only call of an account, and shows what its answers look like."""

from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.pretty import Pretty
from rich.table import Table
from rich.text import Text

from cli import format, session
from cli.console import Account, AsJson, Problem, out, print_json, show
from contadigital.probe import ProbeReport, as_toml
from contadigital.probe import probe as make
from contadigital.resolve_ids import GivenIds, wanted
from models.tables import connections, invoices
from stamping.connections.credentials import credentials_of
from stamping.tools import Tools


def probe(
    account: Account,
    ids: Annotated[
        Path | None, typer.Option(help="Write the ids that were found to this file, with the gaps marked.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make every read-only call: what was recognised, what was not, and which ids must be typed. Changes nothing there.

    What is shown of an answer is its shape: names, types and lengths. Exit code 1 while an id is missing.
    """
    with session.tools() as tools:
        report = of_account(account, tools)
    if ids is not None:
        ids.write_text(as_toml(report.ids), encoding="utf-8")
    if as_json:
        print_json(report.as_dict())
    else:
        _show(report)
        if ids is not None:
            out().print(f"{ids} is ready to be filled in: `timbrado connect {account} ... --ids {ids}`")
    if report.missing or not all(each.is_understood for each in report.calls[:2]):
        raise typer.Exit(1)


def of_account(account: str, tools: Tools) -> ProbeReport:
    """Probe an account's connection. Raises Problem where there is none, or it has no key."""
    with tools.engine.begin() as db:
        row = db.execute(sa.select(connections).where(connections.c.account == account)).one_or_none()
        record_id = db.execute(
            sa.select(invoices.c.record_id)
            .where(
                invoices.c.account == account,
                invoices.c.record_id.is_not(None),
                invoices.c.record_base_url == (row.base_url if row is not None else None),
            )
            .limit(1)
        ).scalar_one_or_none()
    if row is None or row.key_encrypted is None:
        raise Problem(f"account {account!r} has no key to probe with: `timbrado connect {account}`")
    return make(
        tools.provider,
        credentials_of(row, tools, id_empresa=row.id_empresa_asked),
        GivenIds.read(row.ids),
        rfc=row.rfc,
        serie=row.serie_asked,
        codigo_postal=row.codigo_postal,
        record_id=record_id,
    )


def _show(report: ProbeReport) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("call", "HTTP", "understood", "says"):
        table.add_column(name)
    for each in report.calls:
        understood = Text("yes", "green") if each.is_understood else Text("no", "red")
        table.add_row(each.call, str(each.http_status or "-"), understood, format.plain(each.says))
    show(table)
    for each in report.calls:
        if not each.is_understood and each.sample is not None:
            show(Text(f"\n{each.call} looks like this:", style="bold"), Pretty(each.sample, max_depth=8))
    for found in report.recognised.get("lists", ()):
        out().print(
            f"{found['list']}: {found['rows']} from {found.get('from') or 'an empty list'}", style="green"
        )
    for unclear in report.recognised.get("ambiguous", ()):
        where = " y ".join(unclear["from"])
        out().print(f"{unclear['list']}: not taken, {unclear['why']} ({where})", style="yellow")
    for name in report.missing:
        out().print(f"missing: {wanted(name)} (ids.{name})", style="red")
