"""`timbrado replace`: sends the invoice that substitutes a stamped one, which is cancelled once the new one is safe."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cli import session
from cli.console import Account, AsJson, ExternalId, Problem, out, print_json
from stamping.cancellation import replace as replacing
from stamping.intake.submit import Accepted


def replace(
    account: Account,
    external_id: ExternalId,
    invoice: Annotated[
        Path, typer.Argument(help="The new invoice, as JSON, with an external_id of its own.")
    ],
    as_json: AsJson = False,
) -> None:
    """Replace a stamped invoice: the new one is stamped with relation 04, then the old one is cancelled with motivo 01.

    Exit code 1 where it was refused: `timbrado status` of either says why.
    """
    try:
        new = json.loads(invoice.read_bytes())
    except OSError as error:
        raise Problem(f"{invoice} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Problem(f"{invoice} is no JSON") from error
    with session.tools() as tools:
        with tools.engine.connect() as db:
            subject_id = session.invoice_id(db, account, external_id)
        taken = replacing.replace(account, external_id, new, tools)
        refused = taken.invoice_id in (None, subject_id)  # then its reasons are the old one's, or nobody's
        if not refused:
            session.record_of(subject_id, "replace", tools, account=account)
    accepted = isinstance(taken, Accepted)
    session.enqueue("stamping.deliver_events")
    if isinstance(taken, Accepted) and taken.enqueue:
        session.enqueue("stamping.stamp_invoice", taken.invoice_id)
    if as_json:
        print_json({"account": account, "external_id": external_id, "accepted": accepted})
    else:
        name = external_id if refused else new["external_id"]
        line = (
            f"Accepted: {name} replaces {external_id}."
            if accepted
            else f"Not accepted: timbrado status {account} {name}"
        )
        out().print(line, markup=False, soft_wrap=True)
    if not accepted:
        raise typer.Exit(1)
