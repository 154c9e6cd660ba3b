"""Compares PostgreSQL, the stored files and the sandbox's ledger after a demo.

Our own table saying "stamped" proves nothing here: the ledger is the provider's side, and the files are read again.
"""

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import sqlalchemy as sa

from cfdi.sat import seals
from cli.console import Problem
from cli.demo.examples import Example
from cli.documents import fault
from cli.progress import Ending
from models.tables import documents, invoices
from models.vocabulary import HAS_UUID
from stamping.tools import Tools


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was compared, and what did not agree, one line each."""

    uuids: int
    files: int
    xmls: int
    duplicates: int
    wrong: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether all agree."""
        return not self.wrong


def ledger(sandbox_url: str, account: str) -> dict[str, list[str]]:
    """Ask the sandbox which UUIDs each FolioOriginal of an account has. Raises Problem."""
    ledger: dict[str, Any] = json.loads(_ask(sandbox_url, f"/sandbox/ledger?account={quote(account)}"))
    folios: dict[str, list[str]] = ledger["folios"].get(account, {})
    return folios


def pac_certificates(sandbox_url: str) -> dict[str, bytes]:
    """Ask the sandbox for its PAC's certificate, by its number, so that the SAT's seal can be verified too."""
    der = _ask(sandbox_url, "/sandbox/pac.cer")
    return {seals.from_der(der).no_certificado: der}


def _ask(sandbox_url: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(urlsplit(sandbox_url).netloc, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Problem(f"the sandbox at {sandbox_url} does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise Problem(f"the sandbox at {sandbox_url} answers {path} with HTTP {answer.status}")
    return body


def compare(
    sent: Sequence[Example],
    folios: dict[str, list[str]],
    pac: dict[str, bytes],
    account: str,
    tools: Tools,
) -> Agreement:
    """Compare what was sent with the table, the stored files and the ledger; `pac` has its certificate, by number."""
    wrong: list[str] = []
    rows = _rows(account, [each.invoice["external_id"] for each in sent], tools)
    uuids = files = xmls = duplicates = 0
    for each in sent:
        name = each.invoice["external_id"]
        row, theirs = rows.get(name), folios.get(name, [])
        if len(theirs) > 1:
            duplicates += 1
            wrong.append(f"{name}: the ledger has {len(theirs)} UUIDs")
        ours = row["uuid"] if row is not None and row["status"] in HAS_UUID else None
        if ([ours] if ours else []) != [uuid.upper() for uuid in theirs]:
            wrong.append(
                f"{name}: PostgreSQL has {ours or 'no UUID'}, the ledger {', '.join(theirs) or 'none'}"
            )
        if row is None or ours is None:
            continue
        uuids += 1
        for document in row["documents"]:
            found = fault(document, ours, pac, tools, every_seal=True)
            if found is not None:
                wrong.append(f"{name}: {document.key}: {' '.join(found).strip()}")
                continue
            files += 1
            xmls += document.kind == "xml"
        missing = {"xml", "pdf"} - {document.kind for document in row["documents"]}
        if missing:
            wrong.append(f"{name}: no {' and no '.join(sorted(missing))}")
    return Agreement(uuids, files, xmls, duplicates, tuple(wrong))


def _rows(account: str, names: list[str], tools: Tools) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    with tools.engine.connect() as db:
        for start in range(0, len(names), 1_000):
            part = names[start : start + 1_000]
            ours = sa.and_(invoices.c.account == account, invoices.c.external_id.in_(part))
            chosen = sa.select(invoices.c.id, invoices.c.external_id, invoices.c.status, invoices.c.uuid)
            by_id = {}
            for row in db.execute(chosen.where(ours)):
                by_id[row.id] = found[row.external_id] = {**row._asdict(), "documents": []}
            stored = sa.select(documents).where(
                documents.c.invoice_id.in_(list(by_id)), documents.c.quarantined_reason.is_(None)
            )
            for row in db.execute(stored):
                by_id[row.invoice_id]["documents"].append(row)
    return found


def unexpected(sent: Sequence[Example], endings: Sequence[Ending]) -> list[str]:
    """Describe each invoice that did not end as its example should, one line each."""
    found = []
    for example, ending in zip(sent, endings, strict=True):
        name = ending.external_id
        if example.should_stamp and not ending.is_stamped:
            codes = "; ".join(f"{error.get('code')} {error.get('field')}" for error in ending.errors)
            found.append(
                f"{name} should have been stamped and is {ending.status}{': ' + codes if codes else ''}"
            )
        if not example.should_stamp and ending.status != "rejected":
            found.append(f"{name} should have been refused and is {ending.status}")
        absent = set(example.codes) - {error.get("code") for error in ending.errors}
        if not example.should_stamp and ending.status == "rejected" and absent:
            found.append(f"{name} was refused without {', '.join(sorted(absent))}")
    return found
