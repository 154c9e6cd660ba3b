"""What a demo shows: the invoices as they move, and the result at the end."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli import format
from cli.console import err
from cli.demo.check import Agreement
from cli.demo.examples import Example
from cli.progress import Ending, Followed

ORDER = (
    *("sent", "accepted", "stamping", "waiting", "in_doubt", "on_hold"),
    *("stamped", "rejected", "failed", "conflict", "cancelled"),
)
LATEST = 12
LONGEST_NAME = 34
STAMPED_WITH = 42
"""Columns of a UUID with its serie and folio: a narrow terminal shortens the names rather than these."""
REFRESH = 0.2  # seconds between two reads of the table
MOST_REFUSALS = 40
MOST_COMPLAINTS = 12


def follow(followed: Followed, deadline: Callable[[], float], *, prefix: str, quiet: bool) -> bool:
    """Show invoices as they move until all have settled; False where they had not by `deadline` (time.monotonic).

    Names are shown without `prefix`, which all of a run's have.
    A live table on a terminal, a line for each that settles elsewhere.
    """
    began = time.monotonic()
    if quiet:
        return _poll(followed, deadline, lambda _: None)
    console = err()
    if not console.is_terminal:
        return _poll(followed, deadline, lambda each: console.print(_line(each, prefix), soft_wrap=True))

    latest: deque[Ending] = deque(maxlen=LATEST)
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def redraw() -> None:
            shown = screen(followed, latest, time.monotonic() - began, prefix, console.width)
            live.update(shown, refresh=True)

        return _poll(followed, deadline, latest.append, redraw)


def _poll(
    followed: Followed, deadline: Callable[[], float], on_settled: Any, redraw: Any = lambda: None
) -> bool:
    settled: set[str] = set()
    while True:
        followed.refresh()
        for each in followed.endings:
            if each.settled and each.external_id not in settled:
                settled.add(each.external_id)
                on_settled(each)
        redraw()
        if followed.is_settled:
            return True
        if time.monotonic() >= deadline():
            return False
        time.sleep(REFRESH)


def _line(each: Ending, prefix: str) -> Text:
    name = format.plain(each.external_id.removeprefix(prefix))
    return Text.assemble(format.coloured(each.status), f"  {name}  ", (_known(each), "dim"))


def _known(each: Ending) -> str:
    if each.is_stamped:
        return f"{each.uuid}  {' '.join(filter(None, (each.serie, each.folio)))}"
    if not each.errors:
        return format.plain(each.message or "")
    more = f" (and {len(each.errors) - 1} more)" if len(each.errors) > 1 else ""
    return format.plain(each.errors[0].get("message", "")) + more


def screen(
    followed: Followed, latest: Sequence[Ending], took: float, prefix: str, width: int
) -> RenderableType:
    """Return how far it is, how many are at each status, and the latest that settled, for so many columns."""
    counts = followed.counts()
    total = len(followed.endings)
    bar = Table.grid(padding=(0, 2, 0, 0))
    bar.add_row(
        ProgressBar(total=total, completed=followed.settled, width=40),
        f"{followed.settled:,} of {total:,}",
        Text(f"{took:.1f} s", style="dim"),
    )
    shown = Table.grid(padding=(0, 3, 0, 0))
    used = [name for name in ORDER if counts[name] or name in ("sent", "stamping", "stamped", "rejected")]
    shown.add_row(*(format.coloured(name) for name in used))
    shown.add_row(*(Text(f"{counts[name]:,}", style="bold") for name in used))
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    status = max(map(len, ORDER))
    table.add_column(no_wrap=True, width=status)
    table.add_column(
        no_wrap=True, overflow="ellipsis", width=max(8, min(LONGEST_NAME, width - status - STAMPED_WITH - 4))
    )
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for each in latest:
        name = format.plain(each.external_id.removeprefix(prefix))
        table.add_row(format.coloured(each.status), name, Text(_known(each), style="dim"))
    return Group(bar, Padding(shown, (1, 0)), table)


def summary(
    sent: Sequence[Example],
    endings: Sequence[Ending],
    agreement: Agreement,
    unexpected: Sequence[str],
    took: float,
) -> RenderableType:
    """Return the result, each refusal with its fix."""
    stamped = sum(each.is_stamped for each in endings)
    refused = sum(each.status == "rejected" for each in endings)
    rest = len(endings) - stamped - refused
    head = Text.assemble(
        (f"{stamped:,} stamped", "bold green"),
        ", ",
        (f"{refused:,} refused", "bold red"),
        f", {rest:,} otherwise" if rest else "",
        f"{'' if unexpected else ', each as it should be'}, in {took:.1f} s.",
    )
    parts: list[RenderableType] = []
    refusals = _refusals(sent, endings)
    if refusals is not None:
        parts.append(Padding(refusals, (0, 0, 1, 0)))
    parts += [head, _agreement(agreement)]
    parts += _some("not as expected", unexpected)
    return Group(*parts)


def _refusals(sent: Sequence[Example], endings: Sequence[Ending]) -> RenderableType | None:
    """Return each kind of refusal once, however often its example was sent."""
    parts: list[RenderableType] = []
    seen: set[str] = set()
    for example, ending in zip(sent, endings, strict=True):
        if ending.status != "rejected" or example.name in seen or len(seen) == MOST_REFUSALS:
            continue
        seen.add(example.name)
        parts.append(Text.assemble(("refused ", "red"), (format.plain(example.name), "bold")))
        parts += [Padding(_fault(error), (0, 0, 0, 2)) for error in ending.errors]
    return Group(*parts) if parts else None


def _fault(error: dict[str, Any]) -> RenderableType:
    where = format.plain(error.get("field") or "la factura")
    text = Text.assemble((f"{where}: ", "cyan"), format.plain(error.get("message", "")))
    if error.get("fix"):
        text.append(f" → {format.plain(error['fix'])}", style="green")
    return text


def _agreement(agreement: Agreement) -> RenderableType:
    if agreement.holds:
        return Text.assemble(
            ("Agreed: ", "bold green"),
            f"PostgreSQL, files and the sandbox's ledger: {format.count(agreement.uuids, 'UUID')}, one for each "
            f"FolioOriginal; {format.count(agreement.files, 'file')} as stored, both seals of "
            f"{format.count(agreement.xmls, 'XML')} verified.",
        )
    return Group(*_some("NOT AGREED", agreement.wrong))


def _some(label: str, lines: Sequence[str]) -> list[Text]:
    """Return the first of many complaints, and how many more there are."""
    shown = [
        Text.assemble((f"{label}: ", "bold red"), format.plain(each)) for each in lines[:MOST_COMPLAINTS]
    ]
    if len(lines) > MOST_COMPLAINTS:
        shown.append(Text(f"and {len(lines) - MOST_COMPLAINTS:,} more", style="red"))
    return shown
