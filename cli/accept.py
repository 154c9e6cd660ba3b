"""`timbrado accept`: accepts a stamp that differs from what was sent, with a reason that stays in its timeline."""

import getpass
from typing import Annotated

import typer

from cli import session
from cli.console import Account, AsJson, ExternalId, Problem, out, print_json
from stamping.intake import decisions

Why = Annotated[str, typer.Option("--reason", help="Why: kept in the timeline, with your name.")]


def accept(account: Account, external_id: ExternalId, reason: Why, as_json: AsJson = False) -> None:
    """Accept the CFDI of an invoice that differs from what was sent: from now on it is stamped.

    An account that stopped because its stamps differed goes on. Exit code 1 where there is nothing to
    accept. To cancel it instead: timbrado cancel.
    """
    with session.tools() as tools:
        try:
            decision = decisions.accept(
                account, external_id, reason=reason, actor=f"cli:{getpass.getuser()}", tools=tools
            )
        except decisions.NotDecidedError as refused:
            raise Problem(str(refused)) from refused
    session.enqueue("stamping.deliver_events")
    if as_json:
        print_json(
            {
                "account": account,
                "external_id": external_id,
                "status": decision.status,
                "uuid": decision.uuid,
                "differences": list(decision.differences),
                "lets_account_go_on": decision.lets_account_go_on,
            }
        )
        return
    out().print(f"Accepted: {external_id} is stamped as {decision.uuid}.", markup=False)
    if decision.lets_account_go_on:
        out().print(f"{account} stood still because its stamps differed: it is validated again and goes on.")
