"""`timbrado validate`: validates an account's connection again."""

from cli import session
from cli.connections import show_one
from cli.console import Account, AsJson, Problem
from stamping.connections.connect import validate as again


def validate(account: Account, as_json: AsJson = False) -> None:
    """Validate a connection again, as the probe does; what was on hold goes on if it is active.

    Exit code 1 unless it is active in the end.
    """
    with session.tools() as tools:
        row = again(account, tools)
        if row is None:
            raise Problem(
                f"there is no connection of account {account!r}: `timbrado connect {account}` makes one"
            )
        if row.key_encrypted is None:
            raise Problem(f"account {account!r} is {row.status} and has no key: `timbrado connect {account}`")
        show_one(account, tools, as_json=as_json)
