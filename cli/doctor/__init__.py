"""`timbrado doctor`: checks everything once, reports how it is, and how to fix it.

What depends on something that does not answer is not tried: one cause is reported once, and nobody waits for the
timeouts of the rest.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cli import format, session
from cli.console import AsJson, err, print_json, show
from cli.doctor import services, work
from cli.doctor.findings import CheckResult, CheckResults, Installation, Level, bad, one_line, warn
from config.settings import SettingsError
from worker import resources

STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red"}


def doctor(as_json: AsJson = False) -> None:
    """Check settings, database, clock, broker, queues, workers, beat, storage, keys, invoices and each connection.

    One line each: ok, warn or bad, and how to fix it. Exit code 1 if anything is bad.
    """
    found = []
    for each in _examined():
        found.append(each)
        if not as_json:
            show(line(each))
    worst = [each for each in found if each.level is Level.BAD]
    if as_json:
        print_json({"ok": not worst, "findings": [each.as_dict() for each in found]})
    elif worst:
        err().print(f"{len(worst)} to fix before it works.")
    if worst:
        raise typer.Exit(1)


def line(each: CheckResult) -> RenderableType:
    """Return a finding as a line, with its fix behind an arrow."""
    found = Text(format.plain(each.found))
    if each.fix:
        found.append(f" → {format.plain(each.fix)}", style="green")
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=4, no_wrap=True)
    grid.add_column(width=10, no_wrap=True)
    grid.add_column()
    grid.add_row(Text(each.level.value, style=STYLES[each.level.value]), Text(each.what, style="bold"), found)
    return grid


def _examined() -> Iterable[CheckResult]:

    try:
        settings = resources.settings()
        app = session.celery()
        tools = resources.tools()
    except SettingsError as error:
        yield bad("settings", str(error).removeprefix("timbrado: "), ".env.example lists them")
        return
    except Exception as error:  # noqa: BLE001 (whatever prevents opening it is the result)
        yield bad("settings", one_line(error), "it cannot be opened with these settings")
        return
    try:
        yield from examine(Installation(settings, tools, app))
    finally:
        resources.close()


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """One thing to check, the fix when it cannot be checked, and what must answer before."""

    what: str
    run: Callable[[Installation], CheckResults]
    fix: str = "look at the log of this command with --debug"
    needs: str = ""


CHECKS = (
    DoctorCheck("settings", services.check_settings),
    DoctorCheck("database", services.check_database, "is PostgreSQL up, and TIMBRADO_DATABASE_URL right?"),
    DoctorCheck("broker", services.check_broker, "is it up, and TIMBRADO_BROKER_URL right?"),
    DoctorCheck("queues", services.check_queues, needs="broker"),
    DoctorCheck("workers", services.check_workers, needs="broker"),
    DoctorCheck(
        "beat", services.check_beat, "is the database up, and TIMBRADO_DATABASE_URL right?", needs="broker"
    ),
    DoctorCheck(
        "storage", services.check_storage, "can this user write to TIMBRADO_STORAGE_URL, and is there room?"
    ),
    DoctorCheck("keys", work.check_keys, needs="database"),
    DoctorCheck("provider", work.check_provider, needs="database"),
    DoctorCheck("invoices", work.check_invoices, needs="database"),
    DoctorCheck("events", work.check_events, needs="database"),
    DoctorCheck("connection", work.check_connections, needs="database"),
)


def examine(installation: Installation) -> CheckResults:
    """Check everything, in order; what could not be checked is bad, and the rest is checked all the same."""
    silent: set[str] = set()
    for check in CHECKS:
        if check.needs in silent:
            yield warn(
                check.what,
                f"not checked: the {check.needs} does not answer",
                f"fix the {check.needs} first",
            )
            continue
        try:
            yield from check.run(installation)
        except Exception as error:  # noqa: BLE001 (whatever prevents the check is its result)
            silent.add(check.what)
            yield bad(check.what, one_line(error), check.fix)
