"""`timbrado audit`: compares an account with the SAT's files, XMLs, ContaDigital and the SAT's status service."""

import getpass
from collections.abc import Iterator
from pathlib import Path

import typer
from rich.table import Table

from cli import session
from cli.console import Account, AsJson, Problem, err, out, print_json
from stamping.recovery import audit as compare
from stamping.recovery import repair as repairing
from stamping.recovery.sources import Issued, UnreadableSource, read


def audit(
    account: Account,
    files: list[Path] = typer.Argument(  # typer reads its arguments so
        None, help="The SAT's metadata (.txt), XMLs, ZIPs or folders of them."
    ),
    provider: bool = typer.Option(False, "--provider", help="Ask ContaDigital for each Id that is known."),
    sat: bool = typer.Option(False, "--sat", help="Ask the SAT's status service for each folio fiscal."),
    stored: bool = typer.Option(False, "--stored", help="Compare with the XMLs in the document store, too."),
    repair: bool = typer.Option(False, "--repair", help="Adopt what is proven; change nothing else."),
    complete: bool = typer.Option(
        False, "--complete", help="The files hold every CFDI of their days: what is in none was not stamped."
    ),
    reason: str = typer.Option("", "--reason", help="Why, for the record; needed with --repair."),
    as_json: AsJson = False,
) -> None:
    """Compare what is stored here with what others have. Exit code 1 where they do not agree.

    `--repair` adopts an XML that is exactly one unsettled invoice's, has looked up what ContaDigital calls stamped, and
    with `--complete` lets go on what the files prove not to be stamped.
    """
    if not (files or provider or sat or stored):
        raise Problem("nothing to compare with: name files, or --provider, --sat, --stored")
    if repair and not reason.strip():
        raise Problem("--reason is missing: it is recorded with each repair")
    missing = [str(path) for path in files or () if not path.exists()]
    if missing:
        raise Problem(f"no such file: {', '.join(missing)}")
    with session.tools() as tools:
        if sat and tools.sat_status is None:
            raise Problem("--sat needs TIMBRADO_SAT_STATUS_URL")
        try:
            found = compare.audit(
                account,
                _sources(files or [], compare.stored(account, tools) if stored else iter(())),
                tools,
                ask_provider=provider,
                sat_status=tools.sat_status if sat else None,
            )
        except UnreadableSource as error:
            raise Problem(str(error)) from error
        repaired = (
            repairing.repair(
                found, tools, actor=f"cli:{getpass.getuser()}", reason=reason.strip(), complete=complete
            )
            if repair
            else None
        )
    if as_json:
        print_json(
            {
                "account": account,
                "here": found.here,
                "there": found.there,
                "unanswered": found.unanswered,
                "without_trace": found.without_trace,
                "found": [each.as_dict() for each in found.found],
                "repaired": repaired.as_dict() if repaired is not None else None,
            }
        )
    else:
        _show(found)
        if repaired is not None:
            out().print(
                f"repaired: {repaired.adopted} adopted, {repaired.due} looked up now, {repaired.released} let go on, "
                f"{len(repaired.left)} left to a person"
            )
    if found.found:
        raise typer.Exit(1)


def _sources(files: list[Path], stored: Iterator[Issued]) -> Iterator[Issued]:
    for path in files:
        yield from read(path)
    yield from stored


def _show(found: compare.Audit) -> None:
    out().print(f"here: {found.here} invoices; there: {found.there} CFDI of {found.account}", markup=False)
    if found.unanswered:
        err().print(f"{found.unanswered} questions had no usable answer: run it again for those")
    if found.without_trace:
        names = ", ".join(found.without_trace[:20])
        out().print(f"unsettled here, and nothing there that could be theirs: {names}", markup=False)
    if not found.found:
        out().print("they agree")
        return
    table = Table(box=None)
    for head in ("what", "folio fiscal", "external_id", "detail", "source"):
        table.add_column(head, overflow="fold")
    for each in found.found:
        table.add_row(each.kind.value, each.uuid or "", each.external_id or "", each.detail, each.source)
    out().print(table)
