"""The documents of one month as a ZIP with an index: for a bookkeeper who keeps them elsewhere.

It may be stopped at any moment and run again. Documents go in batches into a part file beside FILE, which is of this
account and month alone; after each batch the archive is closed, and its directory is copied to a file of its own, from
which an archive that was cut off is made whole again.
Memory does not grow with the documents: one at a time is read, and the index is written row by row.
"""

import csv
import hashlib
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import sqlalchemy as sa
from rich.progress import Progress

from cli.console import Problem, err
from models.tables import documents, invoices
from models.vocabulary import HAS_UUID
from stamping.tools import Tools
from storage import Missing

BATCH = 200  # invoices read at a time
INDEX = "index.csv"
COLUMNS = (
    *(
        "fecha",
        "serie",
        "folio",
        "uuid",
        "external_id",
        "status",
        "receptor_rfc",
        "receptor_nombre",
        "total",
        "moneda",
    ),
    *("xml", "pdf", "acuse", "missing"),
)
DATED_AROUND = timedelta(days=5)
"""An invoice comes in at most this long before or after its own fecha: 72 hours, the time zone, and a day."""


@dataclass(slots=True)
class MonthZip:
    """What was written: documents in the archive, and those that are missing, one line each."""

    invoices: int = 0
    written: int = 0
    missing: list[str] | None = None


def month_of(text: str) -> tuple[date, date]:
    """Return the first day of a month written `2026-11`, and that of the next. Raises Problem."""
    match = re.fullmatch(r"(20\d{2})-(\d{2})", text)
    if match is None or not 1 <= int(match[2]) <= 12:
        raise Problem(f"--month {text}: write it as 2026-11")
    first = date(int(match[1]), int(match[2]), 1)
    return first, (first + timedelta(days=32)).replace(day=1)


def write_month(account: str, month: str, target: Path, tools: Tools) -> MonthZip:
    """Write every document of the month's CFDIs to `target`; what a run before has written is kept."""
    first, following = month_of(month)
    part = part_of(account, month, target)
    directory = part.with_suffix(".directory")
    _make_whole(part, directory)
    result = MonthZip(missing=[])
    with (
        TemporaryFile("w+", encoding="utf-8", newline="") as rows,
        Progress(console=err(), transient=True, disable=not err().is_terminal) as bar,
    ):
        index = csv.DictWriter(rows, COLUMNS)
        index.writeheader()
        task = bar.add_task("writing", total=None)
        for batch in _batches(account, first, following, tools):
            with ZipFile(part, "a", ZIP_DEFLATED) as archive:
                there = set(archive.namelist())
                for row, stored in batch:
                    cells = _add(archive, there, row, stored, result, tools)
                    index.writerow({name: _plain(value) for name, value in cells.items()})
                    bar.update(task, advance=1)
            _copy_directory(part, directory)
        rows.flush()
        rows.seek(0)
        with ZipFile(part, "a", ZIP_DEFLATED) as archive:
            if INDEX not in archive.namelist():
                with archive.open(INDEX, "w") as entry:
                    for line in rows:
                        entry.write(line.encode())
    part.replace(target)
    directory.unlink(missing_ok=True)
    return result


def part_of(account: str, month: str, target: Path) -> Path:
    """Return what an archive is written to before it is whole: what is of another account stays out of it."""
    whose = hashlib.sha256(f"{month} {account}".encode()).hexdigest()[:12]
    return target.with_name(f"{target.name}.{whose}.part")


def _add(
    archive: ZipFile,
    there: set[str],
    row: sa.Row[Any],
    stored: list[sa.Row[Any]],
    result: MonthZip,
    tools: Tools,
) -> dict[str, Any]:
    """Add one invoice's documents, and return its line of the index."""
    content = row.content if isinstance(row.content, dict) else {}
    receptor = content.get("receptor") or {}
    line: dict[str, Any] = {
        "fecha": row.fecha.isoformat() if row.fecha else "",
        "serie": row.serie,
        "folio": row.folio,
        "uuid": row.uuid,
        "external_id": row.external_id,
        "status": row.status,
        "receptor_rfc": receptor.get("rfc"),
        "receptor_nombre": receptor.get("nombre"),
        "total": content.get("total"),
        "moneda": content.get("moneda"),
    }
    result.invoices += 1
    missing = {"xml", "pdf"} - {each.kind for each in stored}
    for each in stored:
        name = _name(row, each)
        if name not in there:
            try:
                data = tools.store.get(each.key)
            except Missing:
                missing.add(each.kind)
                continue
            if hashlib.sha256(data).hexdigest() != each.sha256:
                missing.add(f"{each.kind} (changed)")
                continue
            archive.writestr(name, data)
            there.add(name)
        line[each.kind] = name
        result.written += 1
    line["missing"] = " ".join(sorted(missing))
    if missing and result.missing is not None:
        result.missing.append(f"{row.external_id} {row.uuid}: {', '.join(sorted(missing))}")
    return line


def _plain(value: Any) -> Any:
    """Return a cell that a spreadsheet shows and does not run: anybody may call a customer `=HYPERLINK(...)`."""
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )


def _name(row: sa.Row[Any], document: sa.Row[Any]) -> str:
    folio = re.sub(r"[^0-9A-Za-z]", "", f"{row.serie or ''}{row.folio or ''}")
    suffix = "acuse.xml" if document.kind == "acuse" else document.kind
    return f"{folio}_{row.uuid}.{suffix}" if folio else f"{row.uuid}.{suffix}"


def _batches(
    account: str, first: date, following: date, tools: Tools
) -> Iterator[list[tuple[sa.Row[Any], list[sa.Row[Any]]]]]:
    """Read the month's CFDIs with their documents, by the order in which they came in."""
    columns = ("id", "created_at", "external_id", "status", "uuid", "serie", "folio", "fecha", "content")
    dated = sa.func.coalesce(invoices.c.fecha, invoices.c.fecha_timbrado)
    chosen = (
        sa.select(*(invoices.c[name] for name in columns))
        .where(
            invoices.c.account == account,
            invoices.c.status.in_(sorted(HAS_UUID)),
            invoices.c.created_at >= first - DATED_AROUND,
            invoices.c.created_at < following + DATED_AROUND,
            dated >= first,
            dated < following,
        )
        .order_by(invoices.c.created_at, invoices.c.id)
        .limit(BATCH)
    )
    place = sa.tuple_(invoices.c.created_at, invoices.c.id)
    after: tuple[Any, Any] | None = None
    while True:
        with tools.engine.connect() as db:
            batch = list(db.execute(chosen if after is None else chosen.where(place > sa.tuple_(*after))))
            of = sa.select(documents).where(
                documents.c.invoice_id.in_([row.id for row in batch]),
                documents.c.quarantined_reason.is_(None),
            )
            stored: dict[Any, list[sa.Row[Any]]] = {}
            for each in db.execute(of.order_by(documents.c.id)):
                stored.setdefault(each.invoice_id, []).append(each)
        if batch:
            yield [(row, stored.get(row.id, [])) for row in batch]
        if len(batch) < BATCH:
            return
        after = (batch[-1].created_at, batch[-1].id)


# --- an archive that was cut off -------------------------------------------------------------------------------------


def _copy_directory(part: Path, directory: Path) -> None:
    """Keep the archive's directory: the next batch overwrites it in place."""
    with ZipFile(part) as archive, open(part, "rb") as file:
        file.seek(archive.start_dir)
        new = directory.with_name(f"{directory.name}.new")
        new.write_bytes(archive.start_dir.to_bytes(8) + file.read())
        new.replace(directory)


def _make_whole(part: Path, directory: Path) -> None:
    """Bring an archive that was cut off in the middle of a batch back to the end of the one before."""
    if not part.exists():
        return
    try:
        with ZipFile(part):
            return
    except zipfile.BadZipFile:
        pass
    if not directory.exists():
        part.unlink()
        return
    saved = directory.read_bytes()
    with open(part, "r+b") as file:
        file.truncate(int.from_bytes(saved[:8]))
        file.seek(0, os.SEEK_END)
        file.write(saved[8:])
