"""`timbrado watch`: how many invoices are at each status, by account, and the latest events; live.

Open invoices are counted in the table, settled ones from the events of the last hour: counting all that was ever
stamped each second would cost too much.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli import format, session
from cli.console import AsJson, out, print_json_line, show
from events.outbox import list_events
from models.tables import events, invoices
from stamping.tools import Tools

OPEN_COLUMNS = ("accepted", "stamping", "waiting", "in_doubt", "on_hold", "cancelling")
SETTLED = {
    "invoice.stamped": "stamped",
    "invoice.rejected": "rejected",
    "invoice.failed": "failed",
    "invoice.cancelled": "cancelled",
}
ACCOUNTS, EVENTS = 15, 10
RECENT = timedelta(hours=1)
EVERY = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Overview:
    """How many invoices are at each status, at one moment."""

    at: datetime
    accounts: dict[str, dict[str, int]]
    """By account: how many are at each open status, and how many settled in the last hour."""
    events: list[dict[str, Any]]
    oldest_open_at: datetime | None


def watch(
    once: Annotated[bool, typer.Option("--once", help="Print it once and end.")] = False,
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    as_json: AsJson = False,
) -> None:
    """Watch how many invoices are at each status, by account, and the latest events. Ctrl-C ends it.

    Where there is no terminal each change is a line; with --json each second is a line of JSON.
    """
    with session.tools() as tools:
        if once:
            seen = take(tools, account)
            if as_json:
                print_json_line(as_dict(seen))
            else:
                show(screen(seen))
            return
        with suppress(KeyboardInterrupt):
            if as_json:
                while True:
                    print_json_line(as_dict(take(tools, account)))
                    time.sleep(EVERY)
            elif out().is_terminal:
                _live(tools, account)
            else:
                _lines(tools, account)


def take(tools: Tools, account: str | None = None) -> Overview:
    """Read how many invoices are at each status."""
    now = tools.clock.now()
    open_now = (
        sa.select(
            invoices.c.account,
            invoices.c.status,
            sa.func.count().label("n"),
            sa.func.min(invoices.c.created_at),
        )
        .where(invoices.c.status.in_(OPEN_COLUMNS))
        .group_by(invoices.c.account, invoices.c.status)
    )
    settled = (
        sa.select(events.c.account, events.c.type, sa.func.count(sa.distinct(events.c.subject_id)))
        .where(events.c.created_at > now - RECENT, events.c.type.in_(list(SETTLED)))
        .group_by(events.c.account, events.c.type)
    )
    if account is not None:
        open_now = open_now.where(invoices.c.account == account)
        settled = settled.where(events.c.account == account)
    accounts: dict[str, dict[str, int]] = {}
    oldest: list[datetime] = []
    with session.snapshot(tools.engine) as db:
        for name, status, count, since in db.execute(open_now):
            accounts.setdefault(name, {})[status] = count
            oldest.append(since)
        for name, kind, count in db.execute(settled):
            accounts.setdefault(name, {})[SETTLED[kind]] = count
        latest = list_events(db, account=account, limit=EVENTS)
    return Overview(
        now,
        accounts,
        [
            {
                "at": each.created_at,
                "type": each.type,
                "account": each.account,
                "external_id": each.external_id,
                "message": each.event["data"].get("message", ""),
            }
            for each in latest
        ],
        min(oldest, default=None),
    )


def as_dict(seen: Overview) -> dict[str, Any]:
    """Return an overview as plain values."""
    return {
        "at": seen.at,
        "oldest_open_at": seen.oldest_open_at,
        "accounts": seen.accounts,
        "events": seen.events,
    }


def screen(seen: Overview) -> RenderableType:
    """Return an overview as one screen."""
    waiting = sum(each.get(name, 0) for each in seen.accounts.values() for name in OPEN_COLUMNS)
    head = Text.assemble((f"{format.clock(seen.at)[:8]} UTC", "dim"), "  ", (f"{waiting:,} open", "bold"))
    if seen.oldest_open_at is not None:
        head.append(f", the oldest came in {format.ago(seen.oldest_open_at, seen.at)}")
    parts: list[RenderableType] = [head, Padding(_counts(seen), (1, 0, 0, 0))]
    if seen.events:
        parts.append(Padding(_events(seen), (1, 0, 0, 0)))
    return Group(*parts)


def _counts(seen: Overview) -> RenderableType:

    columns = [*OPEN_COLUMNS, *SETTLED.values()]
    used = [
        name
        for name in columns
        if name in ("accepted", "stamping", "stamped", "rejected")
        or any(name in each for each in seen.accounts.values())
    ]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_footer=len(seen.accounts) > 1)
    totals = {name: sum(each.get(name, 0) for each in seen.accounts.values()) for name in used}
    table.add_column("account", footer=f"{len(seen.accounts)} accounts", footer_style="dim")
    for name in used:
        since = " (1 h)" if name in SETTLED.values() else ""
        style = format.STYLES.get(name, "")
        table.add_column(
            name.replace("_", " ") + since,
            justify="right",
            style=style,
            footer=f"{totals[name]:,}",
            footer_style=style,
        )
    busiest = sorted(
        seen.accounts.items(),
        key=lambda each: (-sum(each[1].get(name, 0) for name in OPEN_COLUMNS), each[0]),
    )
    for name, counts in busiest[:ACCOUNTS]:
        table.add_row(
            Text(format.plain(name)), *(f"{counts[each]:,}" if counts.get(each) else "·" for each in used)
        )
    if len(busiest) > ACCOUNTS:
        table.add_row(Text(f"and {len(busiest) - ACCOUNTS} more", style="dim"))
    return table


def _events(seen: Overview) -> RenderableType:

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, expand=True)
    table.add_column(style="dim", no_wrap=True, width=8)
    table.add_column(no_wrap=True, width=max(len(each["type"]) for each in seen.events))
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=2)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=3)
    for each in seen.events:
        kind = each["type"]
        status = SETTLED.get(kind, kind.partition(".")[2])
        subject = each["account"] + (f" {each['external_id']}" if each["external_id"] else "")
        table.add_row(
            format.clock(each["at"])[:8],
            Text(kind, style=format.STYLES.get(status, "")),
            Text(format.plain(subject)),
            Text(format.plain(each["message"]), style="dim"),
        )
    return table


def _live(tools: Tools, account: str | None) -> None:

    with Live(screen(take(tools, account)), console=out(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(screen(take(tools, account)), refresh=True)
            time.sleep(EVERY)


def _lines(tools: Tools, account: str | None) -> None:
    """Print a line for each change: counts over all accounts."""
    last = None
    while True:
        seen = take(tools, account)
        totals: dict[str, int] = {}
        for counts in seen.accounts.values():
            for name, number in counts.items():
                totals[name] = totals.get(name, 0) + number
        if totals != last:
            last = totals
            shown = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in totals.items())
            out().print(f"{seen.at:%H:%M:%S} {shown or 'nothing'}")
        time.sleep(EVERY)
