"""`timbrado documents`: fetches and checks the XML and PDF of one invoice, or checks everything stored again.

Of one invoice only the hashes are checked, so that it is quick. `--verify` also verifies the seals: the hash alone
would not show that the wrong thing was
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from cfdi.evidence import examine
from cli import format, session
from cli.console import AsJson, Problem, err, out, print_json, show
from cli.month_zip import write_month
from models.tables import documents as stored
from models.tables import invoices
from stamping.recovery.documents import NotRefetched, refetch
from stamping.tools import Tools
from storage import ListedDocument, Missing, StorageUnavailable
from storage.keys import PROBES, QUARANTINE, segment


def documents(
    account: Annotated[str | None, typer.Argument(help="Apunto's id of the emisor's account.")] = None,
    external_id: Annotated[str | None, typer.Argument(help="Apunto's id of the invoice.")] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Write them to this folder, named by their UUID.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check everything that is stored (of ACCOUNT, or of all).")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Check, and fetch again from ContaDigital what is missing or changed."),
    ] = False,
    only: Annotated[str | None, typer.Option("--account", help="With --verify: only this account.")] = None,
    month: Annotated[
        str | None, typer.Option(help="With --zip: ACCOUNT's CFDIs whose Fecha is in this month, as 2026-11.")
    ] = None,
    zip_file: Annotated[
        Path | None, typer.Option("--zip", help="Write a month to this ZIP, with an index; may be run again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the documents of one invoice and check their hashes; a month as a ZIP; or check everything that is stored.

    --verify reads each file again: is it there, are its bytes those that were stored, do its seals verify, and does
    anything lie there that belongs to no invoice? Exit code 1 if anything is not as it should be. --repair (of all, of
    ACCOUNT or of one invoice) fetches what is missing or changed again, checks it, and puts it back.
    """
    if repair:
        _repair(only or account, external_id, as_json=as_json)
        return
    if verify:
        if external_id is not None:
            raise Problem(
                "--verify takes an account at most; without it the documents of one invoice are checked"
            )
        _verify(only or account, as_json=as_json)
        return
    if month is not None or zip_file is not None:
        if month is None or zip_file is None or account is None or external_id is not None:
            raise Problem("a month is written by: timbrado documents ACCOUNT --month 2026-11 --zip FILE")
        _write_month(account, month, zip_file, as_json=as_json)
        return
    if account is None or external_id is None:
        raise Problem("name one invoice (ACCOUNT EXTERNAL_ID), or check everything with --verify")
    _fetch(account, external_id, out_dir, as_json=as_json)


def _write_month(account: str, month: str, target: Path, *, as_json: bool) -> None:
    with session.tools() as tools:
        result = write_month(account, month, target, tools)
    missing = result.missing or []
    if as_json:
        print_json(
            {"file": target, "invoices": result.invoices, "documents": result.written, "missing": missing}
        )
    else:
        for each in missing:
            out().print(f"missing: {each}", markup=False)
        out().print(
            f"{format.count(result.invoices, 'CFDI')}, {format.count(result.written, 'document')} in {target}; "
            f"{len(missing):,} incomplete (index.csv names them).",
            markup=False,
        )
    if missing:
        raise typer.Exit(1)


# --- one invoice's ---------------------------------------------------------------------------------------------------


def _fetch(account: str, external_id: str, folder: Path | None, *, as_json: bool) -> None:

    found_documents: list[dict[str, Any]] = []
    with session.tools() as tools:
        found = _of_one(account, external_id, tools)
        for row in found:
            written = None
            try:
                data = tools.store.get(row.key)
            except Missing:
                condition, data = "missing", b""
            else:
                condition = "intact" if sha256(data) == row.sha256 else "changed"
            if folder is not None and condition == "intact":
                written = _write(folder, row, data)
            found_documents.append(
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
        print_json(found_documents)
    elif not found_documents:
        err().print("It has no documents: `timbrado status` shows its state.")
    else:
        _show(found_documents)
    if not found_documents or any(each["condition"] != "intact" for each in found_documents):
        raise typer.Exit(1)


def _of_one(account: str, external_id: str, tools: Tools) -> list[sa.Row[Any]]:

    with tools.engine.connect() as db:
        invoice = db.execute(
            sa.select(invoices.c.id).where(
                invoices.c.account == account, invoices.c.external_id == external_id
            )
        ).scalar_one_or_none()
        if invoice is None:
            raise Problem(f"there is no invoice {external_id!r} in account {account!r}")
        chosen = sa.select(stored).where(stored.c.invoice_id == invoice).order_by(stored.c.id)
        return list(db.execute(chosen))


def _write(folder: Path, row: sa.Row[Any], data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    name = row.key.rpartition("/")[2]
    path = folder / (f"quarantined-{name}" if row.quarantined_reason else name)
    path.write_bytes(data)
    return path


def _show(found_documents: list[dict[str, Any]]) -> None:

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("kind")
    table.add_column("bytes", justify="right")
    table.add_column("sha256", no_wrap=True)
    table.add_column("checked")
    table.add_column("where")
    for each in found_documents:
        good = each["condition"] == "intact"
        checked = Text(each["condition"], style="green" if good else "bold red")
        if each["quarantined"]:
            checked.append(", quarantined", style="bold red")
        where = Text(format.plain(each["file"] or each["key"]), overflow="fold")
        table.add_row(each["kind"], f"{each['bytes']:,}", f"{each['sha256'][:16]}…", checked, where)
    show(table)


# --- all of them -----------------------------------------------------------------------------------------------------


def _verify(account: str | None, *, as_json: bool) -> None:

    with session.tools() as tools:
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


def _repair(account: str | None, external_id: str | None, *, as_json: bool) -> None:
    actor = session.actor()
    fetched: list[str] = []
    left: dict[str, str] = {}
    with session.tools() as tools:
        findings, counts = verify_all(tools, account, external_id)
        for each in findings:
            if each.what not in {"missing", "changed"} or each.document_id is None:
                left[each.key] = f"{each.what}: {each.detail}" if each.detail else each.what
                continue
            try:
                fetched.append(refetch(each.document_id, tools, actor=actor))
            except NotRefetched as refused:
                left[each.key] = f"{each.what}: {refused}"
    if as_json:
        print_json({"checked": dict(counts), "fetched": fetched, "left": left})
    else:
        for key in fetched:
            out().print(f"fetched again: {key}", markup=False)
        for key, why in left.items():
            out().print(f"left as it is: {key}: {why}", markup=False)
        out().print(
            f"{format.count(len(fetched), 'document')} fetched again, {len(left):,} left as they are."
        )
    if left:
        raise typer.Exit(1)


BATCH = 500
SEALS = ("sello", "sello_sat")
UNREADABLE_IN_A_ROW = 20
"""Documents that can't be read, one after the other, after which it is the store that does not answer."""


@dataclass(frozen=True, slots=True)
class DocumentFault:
    """One document that is not as it should be; `what` is missing, changed, unsealed, extra or unreadable."""

    what: str
    key: str
    account: str | None
    external_id: str | None
    detail: str = ""
    document_id: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "what": self.what,
            "key": self.key,
            "account": self.account,
            "external_id": self.external_id,
            "detail": self.detail,
        }


def verify_all(
    tools: Tools, account: str | None = None, external_id: str | None = None
) -> tuple[list[DocumentFault], Counter[str]]:
    """Check every stored document of an account, of one invoice or of all, and the store against the rows.

    What a worker has stored and not yet settled is no finding: it is left alone for two leases. Neither is what lies in
    quarantine without a row: it was quarantined on purpose.
    """
    findings: list[DocumentFault] = []
    counts: Counter[str] = Counter()
    known: set[str] = set()
    began = tools.clock.now()
    with Progress(console=err(), transient=True, disable=not err().is_terminal) as bar:
        task = bar.add_task("checking", total=_how_many(tools, account))
        in_vain = 0
        for row in _all(tools, account, external_id):
            known.add(row.key)
            counts[row.kind if row.quarantined_reason is None else "quarantined"] += 1
            if (found := fault(row, row.uuid, tools.pac_certificates, tools)) is not None:
                what, detail = found
                findings.append(DocumentFault(what, row.key, row.account, row.external_id, detail, row.id))
            in_vain = in_vain + 1 if found is not None and found[0] == "unreadable" else 0
            if in_vain == UNREADABLE_IN_A_ROW:
                raise Problem(f"the document store does not answer: {findings[-1].detail}")
            bar.advance(task)
    if external_id is None:
        findings += _extras(tools, account, known, began, counts)
    return findings, counts


def fault(
    row: sa.Row[Any],
    uuid: str | None,
    pac_certificates: Mapping[str, bytes],
    tools: Tools,
    *,
    every_seal: bool = False,
) -> tuple[str, str] | None:
    """Return what is wrong with a stored document, and more of it; None where it is what was

    `row` is of `documents`, `uuid` its invoice's; of what is in quarantine nothing but the bytes is asked. With
    `every_seal` a PAC whose certificate is not known here is a fault, too.
    """
    try:
        data = tools.store.get(row.key)
    except Missing:
        return "missing", ""
    except StorageUnavailable as error:
        return "unreadable", error.why
    if sha256(data) != row.sha256:
        return "changed", f"sha256 {sha256(data)}, stored was {row.sha256}"
    if row.quarantined_reason is not None:
        return None
    if row.kind == "pdf" and not data.startswith(b"%PDF-"):
        return "changed", "not a PDF"
    if row.kind == "xml":
        report = examine(
            data, None, known_pac_certificates=pac_certificates, sat_authorities=tools.sat_authorities
        )
        if not report.ok:
            return "unsealed", "; ".join(f"{each.name}: {each.detail}" for each in report.failed[:3])
        if every_seal and not all(check.passed for check in report.checks if check.name in SEALS):
            return "unsealed", "not both of its seals could be verified"
        if report.uuid != uuid:
            return "changed", f"it is the CFDI {report.uuid}, the invoice is {uuid}"
    return None


def sha256(data: bytes) -> str:
    """Return it as the documents table stores it: in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def _extras(
    tools: Tools, account: str | None, known: set[str], began: Any, counts: Counter[str]
) -> list[DocumentFault]:
    findings: list[DocumentFault] = []
    fresh = began - 2 * tools.policy.lease
    for entry in _listed(tools, account, findings):
        top = entry.key.partition("/")[0]
        if entry.key in known or top == PROBES or entry.modified_at > fresh:
            continue
        if top == QUARANTINE:
            counts["in quarantine"] += 1
            continue
        findings.append(DocumentFault("extra", entry.key, None, None, "it belongs to no invoice"))
    return findings


def _listed(tools: Tools, account: str | None, findings: list[DocumentFault]) -> Iterator[ListedDocument]:
    folder = segment(account) if account is not None else ""
    try:
        yield from tools.store.list(folder)
    except StorageUnavailable as error:
        findings.append(
            DocumentFault("unreadable", f"{folder}/", account, None, f"no list of it: {error.why}")
        )


def _all(tools: Tools, account: str | None, external_id: str | None) -> Iterator[Any]:
    """Read the rows of all documents in batches, so that no transaction stays open for long."""
    chosen = (
        sa.select(
            stored.c.id,
            stored.c.kind,
            stored.c.key,
            stored.c.sha256,
            stored.c.quarantined_reason,
            invoices.c.account,
            invoices.c.external_id,
            invoices.c.uuid,
        )
        .join(invoices, invoices.c.id == stored.c.invoice_id)
        .order_by(stored.c.id)
        .limit(BATCH)
    )
    if account is not None:
        chosen = chosen.where(invoices.c.account == account)
    if external_id is not None:
        chosen = chosen.where(invoices.c.external_id == external_id)
    last = 0
    while True:
        with tools.engine.connect() as db:
            rows = list(db.execute(chosen.where(stored.c.id > last)))
        yield from rows
        if len(rows) < BATCH:
            return
        last = rows[-1].id


def _how_many(tools: Tools, account: str | None) -> int:
    counted = sa.select(sa.func.count()).select_from(stored)
    if account is not None:
        counted = counted.join(invoices, invoices.c.id == stored.c.invoice_id).where(
            invoices.c.account == account
        )
    with tools.engine.connect() as db:
        return int(db.execute(counted).scalar_one())
