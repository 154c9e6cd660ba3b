"""`timbrado documents`: the XML and PDF of one invoice, fetched and checked; or everything stored, checked again.

The one thing a newcomer would get wrong: a document is good when its bytes are those that were stored *and* its seals
still verify. The hash alone would not show that the wrong thing was stored.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.console import AsJson, Problem, err, out, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

    from stamping.tools import Tools

BATCH = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """One document that is not as it should be; `what` is missing, changed, unsealed or extra."""

    what: str
    key: str
    account: str | None
    external_id: str | None
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "what": self.what,
            "key": self.key,
            "account": self.account,
            "external_id": self.external_id,
            "detail": self.detail,
        }


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
    from storage import Missing
    from worker.cli import opened

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
                condition = "intact" if _sha256(data) == row.sha256 else "changed"
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

    from worker.cli import words
    from worker.cli.showing import show

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


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


# --- all of them -----------------------------------------------------------------------------------------------------


def _verify(account: str | None, *, as_json: bool) -> None:
    from worker.cli import opened

    with opened.tools() as tools:
        findings, counts = verify_all(tools, account)
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


def verify_all(tools: "Tools", account: str | None = None) -> "tuple[list[Finding], Counter[str]]":
    """Check every stored document of an account, or of all, against its row, and the store against the rows.

    What a worker has stored and not yet settled is no finding: it is left alone for two leases. Neither is what lies in
    quarantine without a row: it was kept aside on purpose.
    """
    from rich.progress import Progress

    findings: list[Finding] = []
    counts: Counter[str] = Counter()
    known: set[str] = set()
    began = tools.clock.now()
    with Progress(console=err(), transient=True, disable=not err().is_terminal) as bar:
        task = bar.add_task("checking", total=_how_many(tools, account))
        for row in _all(tools, account):
            known.add(row.key)
            counts[row.kind if row.quarantined_reason is None else "quarantined"] += 1
            findings += _check(row, tools)
            bar.advance(task)
    findings += _extras(tools, account, known, began, counts)
    return findings, counts


def _check(row: "sa.Row[Any]", tools: "Tools") -> list[Finding]:
    from cfdi.evidence import examine
    from storage import Missing

    def finding(what: str, detail: str = "") -> list[Finding]:
        return [Finding(what, row.key, row.account, row.external_id, detail)]

    try:
        data = tools.store.get(row.key)
    except Missing:
        return finding("missing")
    if _sha256(data) != row.sha256:
        return finding("changed", f"sha256 {_sha256(data)}, stored was {row.sha256}")
    if row.quarantined_reason is not None:
        return []
    if row.kind == "pdf":
        return [] if data.startswith(b"%PDF-") else finding("changed", "not a PDF")
    if row.kind != "xml":
        return []
    report = examine(data, None, known_pac_certificates=tools.pac_certificates)
    if not report.ok:
        return finding("unsealed", "; ".join(f"{each.name}: {each.detail}" for each in report.failed[:3]))
    if report.uuid != row.uuid:
        return finding("changed", f"it is the CFDI {report.uuid}, the invoice is {row.uuid}")
    return []


def _extras(
    tools: "Tools", account: str | None, known: set[str], began: Any, counts: "Counter[str]"
) -> list[Finding]:
    from storage.keys import PROBES, QUARANTINE, segment

    findings = []
    fresh = began - 2 * tools.policy.lease
    for entry in tools.store.list(segment(account) if account is not None else ""):
        top = entry.key.partition("/")[0]
        if entry.key in known or top == PROBES or entry.modified_at > fresh:
            continue
        if top == QUARANTINE:
            counts["kept aside"] += 1
            continue
        findings.append(Finding("extra", entry.key, None, None, "it belongs to no invoice"))
    return findings


def _all(tools: "Tools", account: str | None) -> "Iterator[Any]":
    """Read the rows of all documents in batches, so that no transaction stays open for long."""
    import sqlalchemy as sa

    from models.tables import documents as table
    from models.tables import invoices

    chosen = (
        sa.select(
            table.c.id,
            table.c.kind,
            table.c.key,
            table.c.sha256,
            table.c.quarantined_reason,
            invoices.c.account,
            invoices.c.external_id,
            invoices.c.uuid,
        )
        .join(invoices, invoices.c.id == table.c.invoice_id)
        .order_by(table.c.id)
        .limit(BATCH)
    )
    if account is not None:
        chosen = chosen.where(invoices.c.account == account)
    last = 0
    while True:
        with tools.engine.connect() as db:
            rows = list(db.execute(chosen.where(table.c.id > last)))
        yield from rows
        if len(rows) < BATCH:
            return
        last = rows[-1].id


def _how_many(tools: "Tools", account: str | None) -> int:
    import sqlalchemy as sa

    from models.tables import documents as table
    from models.tables import invoices

    counted = sa.select(sa.func.count()).select_from(table)
    if account is not None:
        counted = counted.join(invoices, invoices.c.id == table.c.invoice_id).where(
            invoices.c.account == account
        )
    with tools.engine.connect() as db:
        return int(db.execute(counted).scalar_one())
