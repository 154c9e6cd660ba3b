"""`timbrado release`: sends again for an account that was paused."""

from cli import session
from cli.console import Account, AsJson
from cli.hold import set_paused


def release(account: Account, as_json: AsJson = False) -> None:
    """Send again for an account that was paused; what waited goes on at once."""
    set_paused(account, paused=False, as_json=as_json)
    session.enqueue("stamping.sweep")
