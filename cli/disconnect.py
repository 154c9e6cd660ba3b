"""`timbrado disconnect`: forgets an account's key for good."""

from cli import session
from cli.connections import summaries
from cli.console import Account, AsJson, Problem, out, print_json
from stamping.connections.connect import disconnect as undo


def disconnect(account: Account, as_json: AsJson = False) -> None:
    """Forget an account's key for good, and put its open invoices on hold until it is connected again."""
    with session.tools() as tools:
        if not undo(account, tools):
            raise Problem(f"there is no connection of account {account!r}")
        [now] = summaries(tools, account)
    if as_json:
        print_json(now)
        return
    waiting = f" {now['on_hold']:,} of its invoices are on hold." if now["on_hold"] else ""
    out().print(f"{account} is disconnected, its key forgotten.{waiting}", markup=False)
