"""`timbrado recover`: what is done once after the database was restored from a backup, or failed over with a loss."""

import getpass

import typer

from cli import session
from cli.console import AsJson, Problem, err, out, print_json
from cli.format import count
from stamping.recovery import mark, restore


def recover(
    after_restore: bool = typer.Option(
        False, "--after-restore", help="The database is older than what this installation has done since."
    ),
    reason: str = typer.Option("", "--reason", help="Why, for the record: which backup, which failover."),
    as_json: AsJson = False,
) -> None:
    """Put everything in doubt whose outcome the database may not know, and let work go on.

    Run it once, with workers and beat stopped, before they start again. What has an Id at ContaDigital is looked up
    by itself; for the rest run `timbrado audit ACCOUNT` with the SAT's metadata or the XMLs of those days.
    """
    if not after_restore:
        raise Problem("say what happened: timbrado recover --after-restore --reason TEXT")
    if not reason.strip():
        raise Problem("--reason is missing: which backup, or which failover")
    with session.tools() as tools:
        why = mark.fault(tools)
        done = restore.recover(tools, actor=f"cli:{getpass.getuser()}", reason=reason.strip())
    if as_json:
        print_json({"why": why, **done.as_dict()})
        return
    lookups = sum(1 for each in done.in_doubt if each.record_id)
    out().print(f"found: {why or 'nothing by itself; you said so'}", markup=False)
    out().print(
        f"in doubt: {count(len(done.in_doubt), 'invoice')}, {lookups} of them looked up by themselves"
    )
    for each in done.in_doubt:
        if not each.record_id:
            out().print(f"  {each.account} {each.external_id}: has no Id, needs an audit", markup=False)
    out().print(f"taken in from the inbox: {done.taken_in}")
    out().print(f"events still to deliver: {done.deliveries} (they are; an old one overwrites nothing)")
    out().print(f"rejected in the backup: {done.rejected} (a correction may have been stamped since: audit)")
    if done.resumed:
        out().print(f"connections that go on: {', '.join(done.resumed)}", markup=False)
    err().print("next: start workers and beat, then `timbrado audit ACCOUNT FILE...` for each account above")
