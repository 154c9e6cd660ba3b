"""`timbrado documents`: the XML and PDF of one invoice, fetched and checked; or everything stored, checked again.

The one thing a newcomer would get wrong: of one invoice the hashes are checked, so that it is quick; seals are verified
with `--verify` (`stored.py`).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import AsJson, Problem, err, out, print_json

if TYPE_CHECKING:
    import sqlalchemy as sa

    from stamping.tools import Tools


def documents(
    account: Annotated[str | None, typer.Argument(help="Apunto's id of the emisor's account.")] = None,
    external_id: Annotated[str | None, typer.Argument(help="Apunto's id of the invoice.")] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Write them to this folder, named by their UUID.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check everything that is stored (of ACCOUNT, or of all).")
    ] = False,
    only: Annotated[str | None, typer.Option("--account", help="With --verify: only this account.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the documents of one invoice and check their hashes; with --verify, check everything that is stored.

    --verify reads each file again: is it there, are its bytes those that were stored, do its seals verify, and does
    anything lie there that belongs to no invoice? Exit code 1 if anything is not as it should be.
    """
    if verify:
        if external_id is not None:
            raise Problem(
                "--verify takes an account at most; without it the documents of one invoice are checked"
            )
        _verify(only or account, as_json=as_json)
        return
    if account is None or external_id is None:
        raise Problem("name one invoice (ACCOUNT EXTERNAL_ID), or check everything with --verify")
    _fetch(account, external_id, out_dir, as_json=as_json)


# --- one invoice's ---------------------------------------------------------------------------------------------------


def _fetch(account: str, external_id: str, folder: Path | None, *, as_json: bool) -> None:
    from cli import opened, stored
    from storage import Missing

    told: list[dict[str, Any]] = []
    with opened.tools() as tools:
        found = _of_one(account, external_id, tools)
        for row in found:
            written = None
            try:
                data = tools.store.get(row.key)
            except Missing:
                condition, data = "missing", b""
            else:
                condition = "intact" if stored.sha256(data) == row.sha256 else "changed"
            if folder is not None and condition == "intact":
                written = _write(folder, row, data)
            told.append(
                {
                    "kind": row.kind,
                    "key": row.key,
                    "sha256": row.sha256,
                    "bytes": row.bytes,
                    "condition": condition,
                    "quarantined": row.quarantined_reason,
                    "file": written,
                }
            )
    if as_json:
        print_json(told)
    elif not told:
        err().print("It has no documents: `timbrado status` tells how it stands.")
    else:
        _show(told)
    if not told or any(each["condition"] != "intact" for each in told):
        raise typer.Exit(1)


def _of_one(account: str, external_id: str, tools: "Tools") -> "list[sa.Row[Any]]":
    import sqlalchemy as sa

    from models.tables import documents as table
    from models.tables import invoices

    with tools.engine.connect() as db:
        invoice = db.execute(
            sa.select(invoices.c.id).where(
                invoices.c.account == account, invoices.c.external_id == external_id
            )
        ).scalar_one_or_none()
        if invoice is None:
            raise Problem(f"there is no invoice {external_id!r} in account {account!r}")
        chosen = sa.select(table).where(table.c.invoice_id == invoice).order_by(table.c.id)
        return list(db.execute(chosen))


def _write(folder: Path, row: "sa.Row[Any]", data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    name = row.key.rpartition("/")[2]
    path = folder / (f"quarantined-{name}" if row.quarantined_reason else name)
    path.write_bytes(data)
    return path


def _show(told: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from cli import words
    from cli.showing import show

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("kind")
    table.add_column("bytes", justify="right")
    table.add_column("sha256", no_wrap=True)
    table.add_column("checked")
    table.add_column("where")
    for each in told:
        good = each["condition"] == "intact"
        checked = Text(each["condition"], style="green" if good else "bold red")
        if each["quarantined"]:
            checked.append(", quarantined", style="bold red")
        where = Text(words.plain(each["file"] or each["key"]), overflow="fold")
        table.add_row(each["kind"], f"{each['bytes']:,}", f"{each['sha256'][:16]}…", checked, where)
    show(table)


# --- all of them -----------------------------------------------------------------------------------------------------


def _verify(account: str | None, *, as_json: bool) -> None:
    from cli import opened, stored

    with opened.tools() as tools:
        findings, counts = stored.verify_all(tools, account)
    if as_json:
        print_json({"checked": dict(counts), "findings": [each.as_dict() for each in findings]})
    else:
        for each in findings:
            whose = f" of {each.account} {each.external_id}" if each.external_id else ""
            out().print(
                f"{each.what}: {each.key}{whose}{': ' + each.detail if each.detail else ''}", markup=False
            )
        shown = ", ".join(f"{number:,} {kind}" for kind, number in sorted(counts.items())) or "nothing"
        out().print(
            f"Checked {shown}: {'all as stored' if not findings else f'{len(findings):,} not in order'}."
        )
    if findings:
        raise typer.Exit(1)
