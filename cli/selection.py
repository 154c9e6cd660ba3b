"""Invoices by a filter: what `list` shows, and what `retry` and others act on when no single invoice is named."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from cli import format
from cli.console import Problem, err
from models.tables import invoices
from models.vocabulary import OPEN, InvoiceStatus

Statuses = Annotated[
    list[str] | None,
    typer.Option("--status", help="Only these: accepted, in_doubt, on_hold ... or `open` for all that wait."),
]
OnlyAccount = Annotated[str | None, typer.Option("--account", help="Only this account's.")]
Reason = Annotated[
    str | None, typer.Option("--reason", help="Only with this reason: needs_person, expired ...")
]
OlderThan = Annotated[
    str | None, typer.Option("--older-than", help="Only those that came in longer ago: 90s, 10m, 6h, 3d.")
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")]


@dataclass(frozen=True, slots=True)
class InvoiceFilter:
    """Which invoices are meant; None and empty leave out a condition."""

    statuses: tuple[str, ...] = ()
    account: str | None = None
    reason: str | None = None
    age: timedelta | None = None

    def select(self, columns: Sequence[str], now: datetime, limit: int) -> sa.Select[Any]:
        """Return the query for these columns of the invoices that are meant, the newest first."""
        chosen = (
            sa.select(*(invoices.c[name] for name in columns))
            .order_by(invoices.c.created_at.desc(), invoices.c.id.desc())
            .limit(limit)
        )
        if self.statuses:
            chosen = chosen.where(invoices.c.status.in_(self.statuses))
        if self.account is not None:
            chosen = chosen.where(invoices.c.account == self.account)
        if self.reason is not None:
            chosen = chosen.where(invoices.c.reason == self.reason)
        if self.age is not None:
            chosen = chosen.where(invoices.c.created_at < now - self.age)
        return chosen


def read_filter(
    statuses: list[str] | None, account: str | None, reason: str | None, older_than: str | None
) -> InvoiceFilter:
    """Make the filter out of the options. Raises Problem."""
    try:
        age = format.duration(older_than) if older_than else None
    except ValueError:
        raise Problem(f"--older-than {older_than}: write 90s, 10m, 6h or 3d") from None
    return InvoiceFilter(tuple(_statuses(statuses or [])), account, reason, age)


def _statuses(asked: list[str]) -> list[str]:
    found: list[str] = []
    for name in (
        part.strip().replace("-", "_").replace(" ", "_") for each in asked for part in each.split(",")
    ):
        if name == "open":
            found += sorted(OPEN)
        elif name in set(InvoiceStatus):
            found.append(name)
        else:
            raise Problem(f"--status {name}: there is open, {', '.join(InvoiceStatus)}")
    return found


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone, or concerns many; raise Problem where nobody can answer."""
    if yes:
        return
    if not err().is_terminal:
        raise Problem(f"{question} Give --yes to do it without being asked")
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)
