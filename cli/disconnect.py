"""`timbrado disconnect`: forgets an account's key for good."""

from cli import session
from cli.connections import summaries
from cli.console import Account, AsJson, Problem, out, print_json
from cli.selection import Yes, confirm
from stamping.connections.connect import disconnect as undo


def disconnect(account: Account, yes: Yes = False, as_json: AsJson = False) -> None:
    """Forget an account's key for good, and put its open invoices on hold until it is connected again. Asks first."""
    with session.tools() as tools:
        before = summaries(tools, account)
        if not before:
            raise Problem(f"there is no connection of account {account!r}")
        rfc = before[0]["rfc"]
        confirm(f"Forget the key of {account} ({rfc})? It has to be typed again to connect.", yes=yes)
        undo(account, tools)
        with tools.engine.begin() as db:
            session.record(db, "disconnect", tools, kind="connection", account=account)
        [now] = summaries(tools, account)
    if as_json:
        print_json(now)
        return
    waiting = f" {now['on_hold']:,} of its invoices are on hold." if now["on_hold"] else ""
    out().print(f"{account} is disconnected, its key forgotten.{waiting}", markup=False)
