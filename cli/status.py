"""`timbrado status`: the whole timeline of one invoice, on one page."""

from typing import Annotated

import sqlalchemy as sa
import typer

from cli import session
from cli.console import AsJson, Problem, print_json, show
from cli.status_page import page, samples_of
from stamping.connections import samples
from stamping.timeline.find import find
from stamping.timeline.read import read


def status(
    account: Annotated[
        str,
        typer.Argument(
            metavar="ACCOUNT|ANY",
            help="The account; or alone: an invoice id, UUID, trace id, external_id, or serie and folio.",
        ),
    ],
    external_id: Annotated[str | None, typer.Argument(help="Apunto's id of the invoice.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the whole timeline of one invoice: who asked, each attempt and look-up, each document and event.

    It says what comes next and when, and who must act. Times are UTC. `timbrado status A1045` finds it by its folio.
    """
    with session.tools() as tools:
        with session.snapshot(tools.engine) as db:
            if external_id is None:
                account, external_id = _only_one(db, account)
            answers = samples.of_account(db, account)
            found = read(
                db,
                account,
                external_id,
                now=tools.clock.now(),
                quarantine=tools.policy.quarantine,
                store=tools.store,
            )
    if found is None:
        raise Problem(f"there is no invoice {external_id!r} in account {account!r}")
    answers = [each for each in answers if each["at"] >= found.created_at]
    if as_json:
        print_json(found.as_dict() | {"samples": answers})
        return
    show(page(found), *samples_of(answers, tools.clock.now()), page=True)


def _only_one(db: sa.Connection, text: str) -> tuple[str, str]:
    found = find(db, text)
    if not found:
        raise Problem(
            f"no invoice has the id, UUID, trace id, external_id or folio {text!r} "
            "(or name both: timbrado status ACCOUNT EXTERNAL_ID)"
        )
    if len(found) > 1:
        shown = ", ".join(" ".join(each) for each in found[:5])
        raise Problem(
            f"{text!r} names {len(found)} invoices: {shown}; name one: timbrado status ACCOUNT EXTERNAL_ID"
        )
    return found[0]
