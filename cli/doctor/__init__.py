"""`timbrado doctor`: checks everything once, reports how it is, and how to fix it.

All checks run at once and end within five seconds. What depends on something that does not answer is not tried: one
cause is reported once.
"""

import threading
import time
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
    DoctorCheck("catalogs", services.check_catalogs, "timbrado catalogs check"),
    DoctorCheck("database", services.check_database, "is PostgreSQL up, and TIMBRADO_DATABASE_URL right?"),
    DoctorCheck("locks", services.check_locks, needs="database"),
    DoctorCheck("kept", services.check_durability, needs="database"),
    DoctorCheck("broker", services.check_broker, "is it up, and TIMBRADO_BROKER_URL right?"),
    DoctorCheck("queues", services.check_queues, needs="broker"),
    DoctorCheck("workers", services.check_workers, needs="broker"),
    DoctorCheck("work", services.check_refusals, needs="database"),
    DoctorCheck("beat", services.check_beat, needs="database"),
    DoctorCheck(
        "storage", services.check_storage, "can this user write to TIMBRADO_STORAGE_URL, and is there room?"
    ),
    DoctorCheck("keys", work.check_keys, needs="database"),
    DoctorCheck("provider", work.check_provider, needs="database"),
    DoctorCheck("invoices", work.check_invoices, needs="database"),
    DoctorCheck("events", work.check_events, needs="database"),
    DoctorCheck("connection", work.check_connections, needs="database"),
)
LIMIT = 4.5
"""Seconds for all checks together: they run at once, and what has not answered by then is what is wrong."""


def examine(installation: Installation) -> CheckResults:
    """Check everything; what could not be checked is bad, and the rest is checked all the same."""
    ends = time.monotonic() + LIMIT
    running: dict[str, _Running] = {}
    for check in CHECKS:
        running[check.what] = _Running(check, installation, running.get(check.needs))
    for each in running.values():
        yield from each.results(ends)


class _Running:
    """One check in a thread of its own, which waits for what must answer before."""

    def __init__(self, check: DoctorCheck, installation: Installation, before: "_Running | None") -> None:
        self._check, self._installation, self._before = check, installation, before
        self._found: list[CheckResult] = []
        self._error: Exception | None = None
        self._answered = threading.Event()
        threading.Thread(target=self._run, name=check.what, daemon=True).start()

    @property
    def is_silent(self) -> bool:
        """Whether it did not answer, or ended in an error."""
        return self._error is not None or not self._answered.is_set()

    def _run(self) -> None:
        if self._before is not None:
            self._before._answered.wait()  # of this class
        try:
            if self._before is None or not self._before.is_silent:
                self._found.extend(self._check.run(self._installation))
        except Exception as error:  # noqa: BLE001 (whatever prevents the check is its result)
            self._error = error
        self._answered.set()

    def results(self, ends: float) -> CheckResults:
        """Wait for it until then, and return what it found."""
        self._answered.wait(max(0.0, ends - time.monotonic()))
        what = self._check.what
        if self._before is not None and self._before.is_silent:
            needs = self._check.needs
            yield warn(what, f"not checked: the {needs} does not answer", f"fix the {needs} first")
            return
        yield from list(self._found)
        if self._error is not None:
            yield bad(what, one_line(self._error), self._check.fix)
        elif not self._answered.is_set():
            yield bad(what, f"no answer in {LIMIT:g} s", self._check.fix)
