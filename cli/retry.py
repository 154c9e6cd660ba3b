"""`timbrado retry`: tries an invoice again, or all that a filter finds, where that is safe.

The pipeline refuses what is unsafe and says why. A message is sent at once, so that it does not wait for the sweep.
"""

from typing import Annotated, Any

import typer

from cli import format, session
from cli.console import AsJson, Problem, err, out, print_json
from cli.selection import InvoiceFilter, Limit, OlderThan, Reason, Statuses, Yes, confirm, read_filter
from stamping.intake.operator_retry import retry as again
from stamping.tools import Tools


def retry(
    account: Annotated[str | None, typer.Argument(help="Apunto's id of the emisor's account.")] = None,
    external_id: Annotated[str | None, typer.Argument(help="Apunto's id of the invoice.")] = None,
    statuses: Statuses = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    limit: Limit = 1_000,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Try an invoice again now. One whose outcome is unknown is looked up and not sent; what is unsafe is refused.

    Without EXTERNAL_ID all that --status, --reason and --older-than find (of ACCOUNT, or of all), after asking. Exit
    code 1 where nothing was started; the message says why.
    """
    with session.tools() as tools:
        if external_id is not None and account is not None:
            results = [_one(account, external_id, tools)]
        else:
            if not statuses:
                raise Problem(
                    "name one invoice (ACCOUNT EXTERNAL_ID), or filter with --status, e.g. --status failed"
                )
            chosen = read_filter(statuses, account, reason, older_than)
            results = _many(chosen, limit, tools, yes=yes)
    if as_json:
        print_json(results if external_id is None else results[0])
    elif external_id is not None:
        out().print(results[0]["message"], markup=False)
    else:
        for each in results:
            if not each["done"]:
                out().print(f"{each['account']} {each['external_id']}: {each['message']}", markup=False)
        done = sum(each["done"] for each in results)
        out().print(f"{format.count(done, 'invoice')} of {len(results):,} tried again.")
    if not any(each["done"] for each in results):
        raise typer.Exit(1)


def _one(account: str, external_id: str, tools: Tools) -> dict[str, Any]:
    with tools.engine.begin() as db:
        invoice_id = session.invoice_id(db, account, external_id)
        session.record(db, "retry", tools, kind="invoice", subject_id=invoice_id, account=account)
    verdict = again(account, external_id, tools)
    enqueued = verdict.task is not None and session.enqueue(verdict.task, verdict.invoice_id)
    return {
        "account": account,
        "external_id": external_id,
        "done": verdict.done,
        "message": verdict.text,
        "enqueued": enqueued,
    }


def _many(chosen: InvoiceFilter, limit: int, tools: Tools, *, yes: bool) -> list[dict[str, Any]]:
    with session.snapshot(tools.engine) as db:
        rows = list(db.execute(chosen.select(("account", "external_id"), tools.clock.now(), limit)))
    if not rows:
        raise Problem("no such invoice")
    err().print(
        f"{format.count(len(rows), 'invoice')}, e.g. {rows[0].account} {rows[0].external_id}.", markup=False
    )
    confirm("Try them again?", yes=yes)
    return [_one(row.account, row.external_id, tools) for row in rows]
