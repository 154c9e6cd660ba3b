"""`timbrado retry` and `timbrado withdraw`: one invoice, or all that a filter finds, where that is safe.

The pipeline refuses what is unsafe and says why. A message is sent at once, so that it does not wait for the sweep.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from cli import format, session
from cli.console import AsJson, Problem, err, out, print_json
from cli.selection import InvoiceFilter, Limit, OlderThan, Reason, Statuses, Yes, confirm, read_filter
from stamping.intake import operator_retry
from stamping.intake import withdraw as withdrawing
from stamping.intake.operator_retry import CommandResult
from stamping.tools import Tools

AnAccount = Annotated[str | None, typer.Argument(help="Apunto's id of the emisor's account.")]
AnInvoice = Annotated[str | None, typer.Argument(help="Apunto's id of the invoice.")]
Why = Annotated[str | None, typer.Option("--why", help="Kept in the history beside your name.")]


def retry(
    account: AnAccount = None,
    external_id: AnInvoice = None,
    statuses: Statuses = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    limit: Limit = 1_000,
    why: Why = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Try an invoice again now. One whose outcome is unknown is looked up and not sent; what is unsafe is refused.

    Without EXTERNAL_ID all that --status, --reason and --older-than find (of ACCOUNT, or of all), after asking. Exit
    code 1 where nothing was started; the message says why.
    """
    act = _Act("retry", operator_retry.retry, "Try them again?", "tried again", why)
    chosen = read_filter(statuses, account, reason, older_than)
    act.run(account, external_id, chosen, limit, yes=yes, as_json=as_json)


def withdraw(
    account: AnAccount = None,
    external_id: AnInvoice = None,
    statuses: Statuses = None,
    reason: Reason = None,
    older_than: OlderThan = None,
    limit: Limit = 1_000,
    why: Why = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take back an invoice that is not stamped. One whose outcome is unknown is looked up first.

    Without EXTERNAL_ID all that --status, --reason and --older-than find (of ACCOUNT, or of all), after asking. Exit
    code 1 where nothing was taken back or asked for; the message says why.
    """
    act = _Act(
        "withdraw", withdrawing.withdraw, "Take them back? None of them is then stamped.", "taken back", why
    )
    chosen = read_filter(statuses, account, reason, older_than)
    act.run(account, external_id, chosen, limit, yes=yes, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Act:
    """What is done to each invoice, and how that is asked and reported."""

    name: str
    function: Callable[..., CommandResult]
    question: str
    done: str
    why: str | None

    def run(
        self,
        account: str | None,
        external_id: str | None,
        chosen: InvoiceFilter,
        limit: int,
        *,
        yes: bool,
        as_json: bool,
    ) -> None:
        """Do it, and print what came of it. Raises Problem, and Exit where nothing was done."""
        with session.tools() as tools:
            if external_id is not None and account is not None:
                results = [self._one(account, external_id, tools)]
            else:
                if not chosen.statuses:
                    raise Problem(
                        "name one invoice (ACCOUNT EXTERNAL_ID), or filter with --status, e.g. --status failed"
                    )
                results = self._many(chosen, limit, tools, yes=yes)
        session.enqueue("stamping.deliver_events")
        if as_json:
            print_json(results if external_id is None else results[0])
        elif external_id is not None:
            out().print(results[0]["message"], markup=False)
        else:
            for each in results:
                if not each["done"]:
                    out().print(f"{each['account']} {each['external_id']}: {each['message']}", markup=False)
            done = sum(each["done"] for each in results)
            out().print(f"{format.count(done, 'invoice')} of {len(results):,} {self.done}.")
        if not any(each["done"] for each in results):
            raise typer.Exit(1)

    def _one(self, account: str, external_id: str, tools: Tools) -> dict[str, Any]:
        with tools.engine.connect() as db:
            subject_id = session.invoice_id(db, account, external_id)
        verdict = self.function(account, external_id, tools)
        if verdict.done:
            session.record_of(subject_id, self.name, tools, account=account, reason=self.why)
        enqueued = verdict.task is not None and session.enqueue(verdict.task, verdict.invoice_id)
        return {
            "account": account,
            "external_id": external_id,
            "done": verdict.done,
            "message": verdict.text,
            "enqueued": enqueued,
        }

    def _many(self, chosen: InvoiceFilter, limit: int, tools: Tools, *, yes: bool) -> list[dict[str, Any]]:
        with session.snapshot(tools.engine) as db:
            rows = list(db.execute(chosen.select(("account", "external_id"), tools.clock.now(), limit)))
        if not rows:
            raise Problem("no such invoice")
        err().print(
            f"{format.count(len(rows), 'invoice')}, e.g. {rows[0].account} {rows[0].external_id}.",
            markup=False,
        )
        confirm(self.question, yes=yes)
        return [self._one(row.account, row.external_id, tools) for row in rows]
