"""`timbrado hold` and `timbrado release`: send nothing more for an account, or for all that a glob finds, and go on.

It is a column of the connection, so every worker obeys it, also one that starts later.
"""

from fnmatch import fnmatchcase
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from cli import session
from cli.console import AsJson, Problem, out, print_json
from cli.selection import Yes, confirm
from models.tables import connections, invoices
from models.vocabulary import DUE, ConnectionStatus, InvoiceStatus

Accounts = Annotated[
    str, typer.Argument(help="Apunto's id of the emisor's account, or a glob such as 'mx-*'.")
]
OfStatus = Annotated[
    str | None, typer.Option("--status", help="Of a glob's, only connections that are so: active, broken ...")
]


def hold(accounts: Accounts, status: OfStatus = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Send nothing more for an account until it is released. What is under way ends; doubts are still looked up.

    A glob holds every account that it finds, after asking.
    """
    set_paused(accounts, status, paused=True, yes=yes, as_json=as_json)


def release(accounts: Accounts, status: OfStatus = None, yes: Yes = False, as_json: AsJson = False) -> None:
    """Send again for an account that was paused; what waited goes on at once.

    A glob releases every account that it finds, after asking.
    """
    set_paused(accounts, status, paused=False, yes=yes, as_json=as_json)
    session.enqueue("stamping.sweep")


def set_paused(accounts: str, status: str | None, *, paused: bool, yes: bool, as_json: bool) -> None:
    """Pause or release accounts, and print what waits. Raises Problem where there is no such connection."""
    is_glob = any(mark in accounts for mark in "*?[")
    if status is not None and status not in set(ConnectionStatus):
        raise Problem(f"--status {status}: there is {', '.join(ConnectionStatus)}")
    with session.tools() as tools:
        with tools.engine.connect() as db:
            names = _names(db, accounts, status, is_glob=is_glob)
        if not names:
            raise Problem(f"there is no connection of account {accounts!r}")
        if is_glob:
            what = "Pause" if paused else "Release"
            confirm(f"{what} {len(names):,} accounts, e.g. {names[0]}?", yes=yes)
        with tools.engine.begin() as db:
            db.execute(
                sa.update(connections)
                .where(connections.c.account.in_(names))
                .values(paused=paused, updated_at=tools.clock.now())
            )
            for name in names:
                session.record(db, "hold" if paused else "release", tools, kind="connection", account=name)
            found = [_summary(db, name, paused=paused) for name in names]
    if as_json:
        print_json(found if is_glob else found[0])
        return
    for each in found:
        account, waiting = each["account"], each["waiting"]
        if paused:
            line = f"{account} is paused. Waiting: {waiting:,}; under way, and will end: {each['under_way']}."
        else:
            line = f"{account} is released. Waiting, and going on: {waiting:,}."
        out().print(line, markup=False)
    if paused:
        out().print(f"To go on: timbrado release {accounts}", markup=False)


def _names(db: sa.Connection, accounts: str, status: str | None, *, is_glob: bool) -> list[str]:
    chosen = sa.select(connections.c.account).order_by(connections.c.account)
    if status is not None:
        chosen = chosen.where(connections.c.status == status)
    if not is_glob:
        return list(db.execute(chosen.where(connections.c.account == accounts)).scalars())
    return [name for name in db.execute(chosen).scalars() if fnmatchcase(name, accounts)]


def _summary(db: sa.Connection, account: str, *, paused: bool) -> dict[str, Any]:
    counts: dict[str, int] = dict(
        db.execute(
            sa.select(invoices.c.status, sa.func.count())
            .where(invoices.c.account == account, invoices.c.status.in_([*DUE, InvoiceStatus.STAMPING]))
            .group_by(invoices.c.status)
        )
        .tuples()
        .all()
    )
    under_way = counts.pop(InvoiceStatus.STAMPING, 0)
    return {"account": account, "paused": paused, "waiting": sum(counts.values()), "under_way": under_way}
