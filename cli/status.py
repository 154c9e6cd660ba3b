"""`timbrado status`: the whole timeline of one invoice, on one page."""

from typing import Annotated

import typer

from cli import session
from cli.console import AsJson, Problem, print_json, show
from cli.status_page import page
from stamping.timeline import read

Account = Annotated[str, typer.Argument(help="Apunto's id of the emisor's account.")]
ExternalId = Annotated[str, typer.Argument(help="Apunto's id of the invoice.")]


def status(account: Account, external_id: ExternalId, as_json: AsJson = False) -> None:
    """Show the whole timeline of one invoice: who asked, each attempt and look-up, each document and event.

    It says what comes next and when, and who must act. Times are UTC.
    """
    with session.tools() as tools:
        with session.snapshot(tools.engine) as db:
            found = read.read(
                db, account, external_id, now=tools.clock.now(), quarantine=tools.policy.quarantine
            )
    if found is None:
        raise Problem(f"there is no invoice {external_id!r} in account {account!r}")
    if as_json:
        print_json(found.as_dict())
        return
    show(page(found), page=True)
