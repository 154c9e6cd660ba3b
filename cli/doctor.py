"""`timbrado doctor`: looks at everything once, says how it is, and what to mend."""

from typing import TYPE_CHECKING

import typer

from cli.console import AsJson, err, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from cli.findings import Finding

STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red"}


def doctor(as_json: AsJson = False) -> None:
    """Check settings, database, clock, broker, queues, workers, beat, storage, keys, invoices and each connection.

    One line each: ok, warn or bad, and what to mend. Exit code 1 if anything is bad.
    """
    from cli.findings import Level
    from cli.showing import show

    found = []
    for each in _examined():
        found.append(each)
        if not as_json:
            show(line(each))
    worst = [each for each in found if each.level is Level.BAD]
    if as_json:
        print_json({"ok": not worst, "findings": [each.as_dict() for each in found]})
    elif worst:
        err().print(f"{len(worst)} to mend before it works.")
    if worst:
        raise typer.Exit(1)


def line(each: "Finding") -> "RenderableType":
    """Return a finding as a line, with its mend behind an arrow."""
    from rich.table import Table
    from rich.text import Text

    from cli import words

    said = Text(words.plain(each.said))
    if each.mend:
        said.append(f" → {words.plain(each.mend)}", style="green")
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=4, no_wrap=True)
    grid.add_column(width=10, no_wrap=True)
    grid.add_column()
    grid.add_row(Text(each.level.value, style=STYLES[each.level.value]), Text(each.what, style="bold"), said)
    return grid


def _examined() -> "Iterable[Finding]":
    from cli.checks import examine
    from cli.findings import Patient, bad, one_line
    from config.settings import SettingsError

    try:
        from cli import opened
        from worker import resources

        settings = resources.settings()
        app = opened.celery()
        tools = resources.tools()
    except SettingsError as error:
        yield bad("settings", str(error).removeprefix("timbrado: "), ".env.example lists them")
        return
    except Exception as error:  # noqa: BLE001 (whatever keeps us from opening it is what there is to tell)
        yield bad("settings", one_line(error), "it cannot be opened with these settings")
        return
    try:
        yield from examine(Patient(settings, tools, app))
    finally:
        resources.close()
