"""`timbrado hold`: sends nothing more for one account.

It is a column of the connection, so every worker obeys it, also one that starts later.
"""

import sqlalchemy as sa

from cli import session
from cli.console import Account, AsJson, Problem, out, print_json
from models.tables import connections, invoices
from models.vocabulary import DUE, InvoiceStatus


def hold(account: Account, as_json: AsJson = False) -> None:
    """Send nothing more for an account until it is released. What is under way ends; doubts are still looked up."""
    set_paused(account, paused=True, as_json=as_json)


def set_paused(account: str, *, paused: bool, as_json: bool) -> None:
    """Pause or release an account, and print what waits. Raises Problem where there is no such connection."""
    with session.tools() as tools:
        with tools.engine.begin() as db:
            written = db.execute(
                sa.update(connections)
                .where(connections.c.account == account)
                .values(paused=paused, updated_at=tools.clock.now())
            ).rowcount
            if written:
                session.record(db, "hold" if paused else "release", tools, kind="connection", account=account)
            counts: dict[str, int] = dict(
                db.execute(
                    sa.select(invoices.c.status, sa.func.count())
                    .where(
                        invoices.c.account == account,
                        invoices.c.status.in_([*DUE, InvoiceStatus.STAMPING]),
                    )
                    .group_by(invoices.c.status)
                )
                .tuples()
                .all()
            )
    if not written:
        raise Problem(f"there is no connection of account {account!r}")
    under_way = counts.pop(InvoiceStatus.STAMPING, 0)
    waiting = sum(counts.values())
    if as_json:
        print_json({"account": account, "paused": paused, "waiting": waiting, "under_way": under_way})
    elif paused:
        out().print(
            f"{account} is paused. Waiting: {waiting:,}; under way, and will end: {under_way}.", markup=False
        )
        out().print(f"To go on: timbrado release {account}", markup=False)
    else:
        out().print(f"{account} is released. Waiting, and going on: {waiting:,}.", markup=False)
