"""`timbrado cancel`: asks for the cancellation of one stamped invoice.

A message is sent at once, so that it does not wait for the sweep.
"""

from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
import typer

from cli import session
from cli.console import Account, AsJson, ExternalId, out, print_json
from events.outbox import list_events
from models.tables import invoices
from stamping.cancellation.cancel import request
from stamping.tools import Tools


def cancel(
    account: Account,
    external_id: ExternalId,
    motivo: Annotated[
        str,
        typer.Option(
            help="01 with errors and substituted, 02 with errors, 03 it did not take place, 04 in a global one."
        ),
    ],
    uuid_sustitucion: Annotated[
        str | None, typer.Option(help="For 01: the UUID of the invoice that substitutes it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the SAT, through ContaDigital, to cancel a stamped invoice.

    Asked for is not cancelled: the receptor may have three business days. `timbrado status` shows its state.
    Exit code 1 where it was not asked for; every reason is shown with its fix.
    """
    with session.tools() as tools:
        with tools.engine.connect() as db:
            before = _version(db, session.invoice_id(db, account, external_id))
        invoice_id = request(account, external_id, motivo, uuid_sustitucion, tools)
        errors = [] if invoice_id else _errors_since(account, external_id, before, tools)
        if invoice_id is not None:
            session.record_of(invoice_id, "cancel", tools, account=account, reason=f"motivo {motivo}")
    if invoice_id is not None:
        session.enqueue("stamping.settle_cancellation", invoice_id)
    if as_json:
        asked = invoice_id is not None
        print_json({"account": account, "external_id": external_id, "asked": asked, "errors": errors})
    elif invoice_id is not None:
        out().print(
            f"Asked for. Its state: timbrado status {account} {external_id}", markup=False, soft_wrap=True
        )
    else:
        for error in errors:
            out().print(f"{error.get('code')}: {error.get('message')}", markup=False)
            out().print(f"  → {error.get('fix')}", markup=False)
        if not errors:
            out().print("Not asked for: it is being cancelled, or is cancelled.", markup=False)
    if invoice_id is None:
        raise typer.Exit(1)


def _version(db: sa.Connection, subject_id: UUID) -> int:
    return int(db.execute(sa.select(invoices.c.version).where(invoices.c.id == subject_id)).scalar_one())


def _errors_since(account: str, external_id: str, before: int, tools: Tools) -> list[dict[str, Any]]:
    """Return the errors of the events since."""
    with tools.engine.connect() as db:
        events = list_events(db, account=account, external_id=external_id, limit=5)
    return [
        dict(error)
        for each in events
        if each.version > before
        for error in each.event["data"].get("errors", ())
    ]
