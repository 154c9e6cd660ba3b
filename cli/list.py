"""`timbrado list`: the invoices at each status, the newest first."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cli import format, session
from cli.console import AsJson, err, print_json, show
from cli.selection import Limit, OlderThan, OnlyAccount, Reason, Statuses, read_filter

COLUMNS = (
    *("account", "external_id", "status", "reason", "created_at", "updated_at", "next_attempt_at"),
    *("expires_at", "uuid", "serie", "folio", "tries", "lookups", "errors"),
)


def list_invoices(
    statuses: Statuses = None,
    account: OnlyAccount = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List invoices, the last that came in first, with what comes next. Names and RFCs are shown by `status` alone."""
    chosen = read_filter(statuses, account, reason, older_than)
    with session.tools() as tools:
        now = tools.clock.now()
        with session.snapshot(tools.engine) as db:
            rows = list(db.execute(chosen.select(COLUMNS, now, limit + 1)))
    more, rows = len(rows) > limit, rows[:limit]
    if as_json:
        print_json([_as_dict(row) for row in rows])
        return
    if not rows:
        err().print("No such invoice.")
        return
    show(_table(rows, now))
    if more:
        err().print(f"The last {limit}; there are more (--limit).")


def _as_dict(row: sa.Row[Any]) -> dict[str, Any]:
    invoice = dict(row._mapping)
    invoice["errors"] = [
        {name: error.get(name) for name in ("code", "field", "source")} for error in row.errors or ()
    ]
    return invoice


def _table(rows: list[sa.Row[Any]], now: datetime) -> RenderableType:

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("account")
    table.add_column("external_id", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("came in", no_wrap=True)
    table.add_column("what is known", overflow="fold")
    for row in rows:
        shown = row.status + (f" ({row.reason})" if row.reason else "")
        table.add_row(
            Text(format.plain(row.account)),
            Text(format.plain(row.external_id)),
            format.coloured(row.status, shown=shown),
            format.ago(row.created_at, now, brief=True),
            Text(_known(row, now)),
        )
    return table


def _known(row: sa.Row[Any], now: datetime) -> str:
    """Return the one thing to know: what it became, what is wrong, or what comes and when."""
    if row.uuid is not None:
        return f"{row.uuid}  {' '.join(filter(None, (row.serie, row.folio)))}"
    if row.errors:
        codes = dict.fromkeys(
            f"{error.get('code', '')} {error.get('field', '')}".strip() for error in row.errors
        )
        first = list(codes)[:3]
        return format.plain(", ".join(first) + (f" and {len(codes) - 3} more" if len(codes) > 3 else ""))
    parts = ["waits for its connection"] if row.status == "on_hold" else []
    if row.next_attempt_at is not None:
        when = format.ago(row.next_attempt_at, now, brief=True)
        parts.append(f"due {when}" if row.next_attempt_at <= now else f"next {when}")
    if row.tries:
        parts.append(format.count(row.tries, "failed try", "failed tries"))
    if row.lookups:
        parts.append(format.count(row.lookups, "look-up"))
    if row.expires_at is not None:
        parts.append(
            f"{format.span(row.expires_at - now, brief=True)} of 72 h left"
            if row.expires_at > now
            else "72 h over"
        )
    return ", ".join(parts)
