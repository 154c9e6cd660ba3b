"""`timbrado connections`: the state of each account's connection to ContaDigital, and how to fix a broken one.

The reason is for operators, its text for a bookkeeper: what Apunto's user reads, in Spanish, is shown as it is.
"""

from datetime import datetime
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli import format, session
from cli.console import AsJson, Problem, out, print_json, show
from cli.status_page import samples_of
from models.tables import connections as table
from models.tables import invoices
from models.vocabulary import InvoiceStatus
from stamping import notify
from stamping.connections import samples
from stamping.tools import Tools


def connections(
    account: Annotated[
        str | None, typer.Argument(help="Only this account, with what Apunto holds of it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the state of each connection: status, reason, what to do, series, key's last four, stamps, what is on hold.

    Exit code 1 while one of them is broken.
    """
    with session.tools() as tools:
        found = summaries(tools, account)
        now = tools.clock.now()
    if account is not None and not found:
        raise Problem(
            f"there is no connection of account {account!r}: `timbrado connect {account}` makes one"
        )
    if as_json:
        print_json(found)
    elif not found:
        out().print("No account is connected yet: `timbrado connect ACCOUNT`.")
    else:
        show(*screen(found, now, with_facts=account is not None))
    if any(each["status"] == "broken" for each in found):
        raise typer.Exit(1)


def summaries(tools: Tools, account: str | None = None) -> list[dict[str, Any]]:
    """Return each connection as it may be shown: nothing of its key but the last four characters."""
    columns = [each for each in table.c if each.name not in {"catalogs", "key_encrypted", "key_fingerprint"}]
    chosen = sa.select(*columns).order_by(table.c.account)
    counts = (
        sa.select(invoices.c.account, sa.func.count().label("on_hold"))
        .where(invoices.c.status == InvoiceStatus.ON_HOLD)
        .group_by(invoices.c.account)
    )
    if account is not None:
        chosen = chosen.where(table.c.account == account)
        counts = counts.where(invoices.c.account == account)
    with session.snapshot(tools.engine) as db:
        on_hold = {row.account: row.on_hold for row in db.execute(counts)}
        found = [_summary(row, on_hold.get(row.account, 0)) for row in db.execute(chosen)]
        if account is not None:
            for each in found:
                each["samples"] = samples.of_account(db, account)
        return found


def _summary(row: sa.Row[Any], on_hold: int) -> dict[str, Any]:

    broken = notify.broken_words(row) if row.status == "broken" else None
    return {
        "account": row.account,
        "status": row.status,
        "reason": row.reason,
        "message": broken.message if broken is not None else None,
        "fix": broken.fix if broken is not None else None,
        "faults": (row.detail or {}).get("faults", []) if row.reason else [],
        "rfc": row.rfc,
        "razon_social": row.razon_social,
        "registered_name": row.registered_name,
        "codigo_postal": row.codigo_postal,
        "serie": row.serie or row.serie_asked,
        "id_empresa": row.id_empresa if row.id_empresa is not None else row.id_empresa_asked,
        "base_url": row.base_url,
        "key_last4": row.key_last4,
        "stamps_left": row.stamps_left,
        "stamps_left_source": row.stamps_left_source,
        "on_hold": on_hold,
        "paused": row.paused,
        "validated_at": row.validated_at,
        "broken_at": row.broken_at,
        "next_probe_at": row.next_probe_at,
        "throttled_until": row.throttled_until,
        "ids": row.ids,
        "recognised": row.recognised,
    }


def screen(found: list[dict[str, Any]], now: datetime, *, with_facts: bool = False) -> list[RenderableType]:
    """Return the table of connections, and below it what to do about each that is broken."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("account", overflow="fold")
    for name in ("status", "serie", "key"):
        table.add_column(name, no_wrap=True)
    table.add_column("stamps", justify="right")
    table.add_column("on hold", justify="right")
    table.add_column("validated", no_wrap=True)
    table.add_column("tried again", no_wrap=True)
    for each in found:
        status = format.coloured(each["status"])
        if each["paused"]:
            status.append(", paused", style="yellow")
        table.add_row(
            Text(format.plain(each["account"]), overflow="fold"),
            status,
            each["serie"] or "-",
            f"…{each['key_last4']}" if each["key_last4"] else "-",
            f"{each['stamps_left']:,}" if each["stamps_left"] is not None else "-",
            f"{each['on_hold']:,}" if each["on_hold"] else "-",
            format.ago(each["validated_at"], now, brief=True) if each["validated_at"] else "never",
            _probe(each, now),
        )
    parts: list[RenderableType] = [table]
    if with_facts:
        parts += [Padding(_facts(each), (1, 0, 0, 0)) for each in found]
    for each in found:
        parts += _answers(each, now)
    parts += [Padding(_broken(each, now), (1, 0, 0, 0)) for each in found if each["status"] == "broken"]
    return parts


def _probe(each: dict[str, Any], now: datetime) -> str:

    if each["next_probe_at"] is not None:
        return format.ago(each["next_probe_at"], now, brief=True) if each["next_probe_at"] > now else "now"
    if each["status"] != "broken":
        return "-"
    return {"stamps_differ": "once decided", "ids_missing": "with other ids"}.get(
        each["reason"], "with a new key"
    )


def _facts(each: dict[str, Any]) -> RenderableType:

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim")
    grid.add_column()
    for label, value in (
        ("RFC", each["rfc"]),
        ("razón social in Apunto", each["razon_social"]),
        ("as registered", each["registered_name"]),
        ("issued at", each["codigo_postal"]),
        ("IdEmpresa", each["id_empresa"]),
        ("address", each["base_url"]),
    ):
        grid.add_row(label, Text(format.plain(value if value is not None else "-")))
    return grid


def _answers(each: dict[str, Any], now: datetime) -> list[RenderableType]:
    """Return what of ContaDigital's answers was not taken or not understood, as far as it is known."""
    parts: list[RenderableType] = [
        Text(
            format.plain(f"{unclear['list']}: not taken, {unclear['why']} ({', '.join(unclear['from'])})"),
            "yellow",
        )
        for unclear in (each["recognised"] or {}).get("ambiguous", ())
    ]
    return parts + samples_of(each.get("samples", []), now)


def _broken(each: dict[str, Any], now: datetime) -> RenderableType:

    since = f", {format.ago(each['broken_at'], now)}" if each["broken_at"] else ""
    head = Text.assemble(
        (format.plain(each["account"]), "bold"), " is ", ("broken", "bold red"), f": {each['reason']}{since}"
    )
    parts: list[RenderableType] = [head, faults(each)]
    if each["on_hold"]:
        waiting = format.count(each["on_hold"], "invoice is", "invoices are")
        parts.append(
            Padding(
                Text(f"{waiting} on hold, and go on by themselves once this is fixed.", style="dim"),
                (0, 0, 0, 2),
            )
        )
    return Group(*parts)


def faults(each: dict[str, Any]) -> RenderableType:
    """Return what is wrong with a connection and how to fix it, side by side, every fault."""
    table = Table(box=None, padding=(0, 3, 0, 0), show_header=True, header_style="dim")
    table.add_column("what is wrong", ratio=1)
    table.add_column("how to fix it", ratio=1)
    shown = each["faults"] or [{"message": each["message"], "fix": each["fix"]}]
    for fault in shown:
        table.add_row(
            Text(format.plain(fault["message"])),
            Text(format.plain(fault["fix"]), style="green"),
            end_section=True,
        )
    return Padding(table, (0, 0, 0, 2))


def show_one(account: str, tools: Tools, *, as_json: bool) -> None:
    """Print one connection with its facts; exit code 1 unless it is active."""
    found = summaries(tools, account)
    if as_json:
        print_json(found[0])
    else:
        show(*screen(found, tools.clock.now(), with_facts=True))
    if found[0]["status"] != "active":
        raise typer.Exit(1)
