"""`timbrado resolve`: closes an invoice that stands before a person, by its XML or as certainly not stamped."""

import getpass
from pathlib import Path
from typing import Annotated

import typer

from cli import session
from cli.accept import Why
from cli.console import Account, AsJson, ExternalId, Problem, out, print_json
from models.vocabulary import InvoiceStatus
from stamping.intake import decisions


def resolve(
    account: Account,
    external_id: ExternalId,
    reason: Why,
    stamped: Annotated[
        Path | None, typer.Option(help="It is stamped: its XML, as ContaDigital or the SAT gives it.")
    ] = None,
    not_stamped: Annotated[
        bool, typer.Option("--not-stamped", help="It is certainly not stamped: it may be sent again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Close an invoice whose outcome nobody could determine: with its XML, or as not stamped.

    The XML is examined, and adopted only where it is a good CFDI of this invoice's parties. Before --not-stamped look
    for it at ContaDigital and at the SAT: sent again, an invoice that was stamped exists twice. Exit code 1 where the
    decision is refused; the message says why.
    """
    if (stamped is None) is not not_stamped:
        raise Problem("say one of --stamped XML and --not-stamped")
    try:
        xml = stamped.read_bytes() if stamped is not None else None
    except OSError as error:
        raise Problem(f"{stamped} cannot be read: {error.strerror}") from error
    with session.tools() as tools:
        try:
            decision = decisions.resolve(
                account,
                external_id,
                stamped_xml=xml,
                reason=reason,
                actor=f"cli:{getpass.getuser()}",
                tools=tools,
            )
        except decisions.NotDecidedError as refused:
            details = "".join(f"\n  {fault.message}" for fault in refused.faults)
            raise Problem(f"{refused}{details}") from refused
    session.enqueue("stamping.deliver_events")
    if as_json:
        print_json(
            {
                "account": account,
                "external_id": external_id,
                "status": decision.status,
                "uuid": decision.uuid,
                "differences": list(decision.differences),
                "at_the_sat": decision.at_the_sat,
            }
        )
    elif decision.status == InvoiceStatus.WITHDRAWN:
        out().print(f"Closed: {external_id} is not stamped, and is withdrawn as was asked.", markup=False)
    elif decision.uuid is None:
        out().print(f"Closed: {external_id} is not stamped, and may be sent again.", markup=False)
    else:
        sat = f"; the SAT has it as {decision.at_the_sat}" if decision.at_the_sat else ""
        out().print(f"Closed: {external_id} is {decision.status} as {decision.uuid}{sat}.", markup=False)
        for each in decision.differences:
            out().print(f"  {each['message']}", markup=False)
