"""`timbrado retry`: tries one invoice again, where that is safe.

The pipeline refuses what is unsafe and says why. A message is sent at once, so that it does not wait for the sweep.
"""

import typer

from cli import session
from cli.console import Account, AsJson, ExternalId, out, print_json
from stamping.intake.operator_retry import retry as again


def retry(account: Account, external_id: ExternalId, as_json: AsJson = False) -> None:
    """Try an invoice again now. One whose outcome is unknown is looked up and not sent; what is unsafe is refused.

    Exit code 1 where nothing was started; the message says why.
    """
    with session.tools() as tools:
        verdict = again(account, external_id, tools)
    enqueued = verdict.ring is not None and session.enqueue(verdict.ring, verdict.invoice_id)
    if as_json:
        print_json(
            {
                "account": account,
                "external_id": external_id,
                "done": verdict.done,
                "message": verdict.said,
                "enqueued": enqueued,
            }
        )
    else:
        out().print(verdict.said, markup=False)
    if not verdict.done:
        raise typer.Exit(1)
