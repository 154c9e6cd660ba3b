"""What is stored, held against the rows that tell of it: each file read again, and its seals verified.

The one thing a newcomer would get wrong: a document is good when its bytes are those that were stored *and* its seals
still verify. The hash alone would not show that the wrong thing was stored.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cfdi.evidence import examine
from cli.console import err
from models.tables import documents, invoices
from storage import Missing
from storage.keys import PROBES, QUARANTINE, segment

if TYPE_CHECKING:
    from stamping.tools import Tools

BATCH = 500
SEALS = ("sello", "sello_sat")


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


def verify_all(tools: "Tools", account: str | None = None) -> tuple[list[Finding], Counter[str]]:
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
            if (found := fault(row, row.uuid, tools.pac_certificates, tools)) is not None:
                what, detail = found
                findings.append(Finding(what, row.key, row.account, row.external_id, detail))
            bar.advance(task)
    findings += _extras(tools, account, known, began, counts)
    return findings, counts


def fault(
    row: sa.Row[Any],
    uuid: str | None,
    pac_certificates: Mapping[str, bytes],
    tools: "Tools",
    *,
    every_seal: bool = False,
) -> tuple[str, str] | None:
    """Say what is wrong with a stored document, and more of it; None where it is what was stored.

    `row` is of `documents`, `uuid` its invoice's; of what is in quarantine nothing but the bytes is asked. With
    `every_seal` a PAC whose certificate is not known here is a fault, too.
    """
    try:
        data = tools.store.get(row.key)
    except Missing:
        return "missing", ""
    if sha256(data) != row.sha256:
        return "changed", f"sha256 {sha256(data)}, stored was {row.sha256}"
    if row.quarantined_reason is not None:
        return None
    if row.kind == "pdf" and not data.startswith(b"%PDF-"):
        return "changed", "not a PDF"
    if row.kind == "xml":
        report = examine(data, None, known_pac_certificates=pac_certificates)
        if not report.ok:
            return "unsealed", "; ".join(f"{each.name}: {each.detail}" for each in report.failed[:3])
        if every_seal and not all(check.passed for check in report.checks if check.name in SEALS):
            return "unsealed", "not both of its seals could be verified"
        if report.uuid != uuid:
            return "changed", f"it is the CFDI {report.uuid}, the invoice is {uuid}"
    return None


def sha256(data: bytes) -> str:
    """Return it as documents keep it: in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def _extras(
    tools: "Tools", account: str | None, known: set[str], began: Any, counts: Counter[str]
) -> list[Finding]:
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


def _all(tools: "Tools", account: str | None) -> Iterator[Any]:
    """Read the rows of all documents in batches, so that no transaction stays open for long."""
    chosen = (
        sa.select(
            documents.c.id,
            documents.c.kind,
            documents.c.key,
            documents.c.sha256,
            documents.c.quarantined_reason,
            invoices.c.account,
            invoices.c.external_id,
            invoices.c.uuid,
        )
        .join(invoices, invoices.c.id == documents.c.invoice_id)
        .order_by(documents.c.id)
        .limit(BATCH)
    )
    if account is not None:
        chosen = chosen.where(invoices.c.account == account)
    last = 0
    while True:
        with tools.engine.connect() as db:
            rows = list(db.execute(chosen.where(documents.c.id > last)))
        yield from rows
        if len(rows) < BATCH:
            return
        last = rows[-1].id


def _how_many(tools: "Tools", account: str | None) -> int:
    counted = sa.select(sa.func.count()).select_from(documents)
    if account is not None:
        counted = counted.join(invoices, invoices.c.id == documents.c.invoice_id).where(
            invoices.c.account == account
        )
    with tools.engine.connect() as db:
        return int(db.execute(counted).scalar_one())
