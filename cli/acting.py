"""`timbrado retry` and `cancel`: what an operator may do to one invoice.

Both call the pipeline directly, which refuses what is unsafe and says why; then they ring, so that nobody has to wait
for the sweep.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import AsJson, Problem, out, print_json
from cli.status import Account, ExternalId

if TYPE_CHECKING:
    from stamping.tools import Tools


def retry(account: Account, external_id: ExternalId, as_json: AsJson = False) -> None:
    """Try an invoice again now. One whose outcome is unknown is looked up and not sent; what is unsafe is refused.

    Exit code 1 where nothing was set going; what it says tells why.
    """
    from cli import opened
    from stamping.intake.operator_retry import retry as again

    with opened.tools() as tools:
        verdict = again(account, external_id, tools)
    rung = verdict.ring is not None and opened.ring(verdict.ring, verdict.invoice_id)
    if as_json:
        print_json(
            {
                "account": account,
                "external_id": external_id,
                "done": verdict.done,
                "said": verdict.said,
                "rung": rung,
            }
        )
    else:
        out().print(verdict.said, markup=False)
    if not verdict.done:
        raise typer.Exit(1)


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

    Asked for is not cancelled: the receptor may have three business days. `timbrado status` tells how it stands.
    Exit code 1 where it was not asked for; every reason is told with its mend.
    """
    from cli import opened
    from stamping.cancellation.cancel import request

    with opened.tools() as tools:
        before = _version(account, external_id, tools)
        if before is None:
            raise Problem(f"there is no invoice {external_id!r} in account {account!r}")
        invoice_id = request(account, external_id, motivo, uuid_sustitucion, tools)
        errors = [] if invoice_id else _told(account, external_id, before, tools)
    if invoice_id is not None:
        opened.ring("stamping.settle_cancellation", invoice_id)
    if as_json:
        asked = invoice_id is not None
        print_json({"account": account, "external_id": external_id, "asked": asked, "errors": errors})
    elif invoice_id is not None:
        out().print(
            f"Asked for. How it stands: timbrado status {account} {external_id}", markup=False, soft_wrap=True
        )
    else:
        for error in errors:
            out().print(f"{error.get('code')}: {error.get('message')}", markup=False)
            out().print(f"  → {error.get('fix')}", markup=False)
        if not errors:
            out().print("Not asked for: it is being cancelled, or is cancelled.", markup=False)
    if invoice_id is None:
        raise typer.Exit(1)


def _version(account: str, external_id: str, tools: "Tools") -> int | None:
    import sqlalchemy as sa

    from models.tables import invoices

    with tools.engine.connect() as db:
        return db.execute(
            sa.select(invoices.c.version).where(
                invoices.c.account == account, invoices.c.external_id == external_id
            )
        ).scalar_one_or_none()


def _told(account: str, external_id: str, before: int, tools: "Tools") -> list[dict[str, Any]]:
    """Return the errors of what was told since."""
    from events.outbox import list_events

    with tools.engine.connect() as db:
        told = list_events(db, account=account, external_id=external_id, limit=5)
    return [
        dict(error)
        for each in told
        if each.version > before
        for error in each.event["data"].get("errors", ())
    ]
