"""`timbrado doctor`: checks everything once, reports how it is, and how to fix it.

The command ends within five seconds of its start (`--within`), also on a busy machine: what has not answered by then is
what is wrong. Importing takes most of that time there, so each check begins once its module is loaded, first those that
wait for others' answers. What depends on something that does not answer is not tried: one cause is reported once.
"""

import importlib
import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cli import format
from cli.console import AsJson, err, print_json, show
from cli.doctor.findings import CheckResult, CheckResults, Level, bad, warn
from cli.doctor.installation import Installation
from config.settings import SettingsError, load

STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red"}


def doctor(
    within: Annotated[
        float,
        typer.Option(
            min=1, max=600, help="Seconds from the command's start to its end; more on a busy machine."
        ),
    ] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Check settings, database, clock, broker, queues, workers, beat, storage, keys, invoices and each connection.

    One line each: ok, warn or bad, and how to fix it. Exit code 1 if anything is bad.
    """
    found: list[CheckResult] = []
    for some in _examined(within - TO_PRINT):
        found.extend(some)
        if not as_json:
            show(*map(line, some))
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


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """One thing to check (`run` is `module:function` here), the fix if it cannot be, and what must answer before."""

    what: str
    run: str
    fix: str = "look at the log of this command with --debug"
    needs: str = ""


CHECKS = (
    DoctorCheck("settings", "services:check_settings"),
    DoctorCheck("catalogs", "services:check_catalogs", "timbrado catalogs check"),
    DoctorCheck("database", "database:check_database", "is PostgreSQL up, and TIMBRADO_DATABASE_URL right?"),
    DoctorCheck("migrations", "services:check_migrations", needs="database"),
    DoctorCheck("locks", "database:check_locks", needs="database"),
    DoctorCheck("kept", "database:check_durability", needs="database"),
    DoctorCheck("set back", "services:check_mark", needs="database"),
    DoctorCheck("broker", "broker:check_broker", "is it up, and TIMBRADO_BROKER_URL right?"),
    DoctorCheck("queues", "broker:check_queues", needs="broker"),
    DoctorCheck("workers", "broker:check_workers", needs="broker"),
    DoctorCheck("work", "services:check_refusals", needs="database"),
    DoctorCheck("beat", "services:check_beat", needs="database"),
    DoctorCheck(
        "storage",
        "services:check_storage",
        "can this user write to TIMBRADO_STORAGE_URL, and is there room?",
    ),
    DoctorCheck("keys", "work:check_keys", needs="database"),
    DoctorCheck("provider", "invoices:check_provider", needs="database"),
    DoctorCheck("invoices", "invoices:check_invoices", needs="database"),
    DoctorCheck("events", "work:check_events", needs="database"),
    DoctorCheck("connection", "work:check_connections", needs="database"),
)
IN_TURN = ("broker", "database", "invoices", "services", "work")
"""The modules of the checks, in the order in which they are loaded: workers are waited for longest."""
TO_PRINT = 0.9
"""Seconds that are left to print what was found, and to end."""


def _examined(seconds: float) -> Iterable[list[CheckResult]]:
    """Check everything; what could not be checked is bad, and the rest is checked all the same."""
    ends = _began() + seconds
    try:
        installation = Installation(load())
    except SettingsError as error:
        yield [bad("settings", str(error).removeprefix("timbrado: "), ".env.example lists them")]
        return
    running: dict[str, _Running] = {}
    for check in CHECKS:
        running[check.what] = _Running(check, installation, running.get(check.needs))
    loaded = threading.Event()
    threading.Thread(target=_start, args=(list(running.values()), loaded), daemon=True).start()
    for each in running.values():
        yield list(each.results(ends, loaded, f"within {seconds:g} s of the start"))


def _began() -> float:
    """Return when this process began, by the monotonic clock: Python and its imports may have taken seconds."""
    now = time.monotonic()
    with suppress(OSError, AttributeError):  # no Linux
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        if 0 <= age < 60:  # as it must be, unless the kernel counts otherwise
            return now - age
    return now


def _start(checks: "list[_Running]", loaded: threading.Event) -> None:
    """Start each check as soon as its module is loaded."""
    for module in IN_TURN:
        with suppress(Exception):  # its checks meet the same error, and report it
            importlib.import_module(f"{__name__}.{module}")
        for each in checks:
            if each.check.run.startswith(f"{module}:"):
                threading.Thread(target=each.run, name=each.check.what, daemon=True).start()
    loaded.set()


def _load(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


class _Running:
    """One check in a thread of its own, which waits for what must answer before."""

    def __init__(self, check: DoctorCheck, installation: Installation, before: "_Running | None") -> None:
        self.check = check
        self._installation, self._before = installation, before
        self._found: list[CheckResult] = []
        self._error: str | None = None
        self._answered = threading.Event()

    @property
    def is_silent(self) -> bool:
        """Whether it did not answer, or ended in an error."""
        return self._error is not None or not self._answered.is_set()

    def run(self) -> None:
        """Run the check to its end."""
        if self._before is not None:
            self._before._answered.wait()  # of this class
        try:
            if self._before is None or not self._before.is_silent:
                self._found.extend(_load(self.check.run)(self._installation))
        except Exception as error:  # noqa: BLE001 (whatever prevents the check is its result)
            self._error = _load("errors:one_line")(error)
        self._answered.set()

    def results(self, ends: float, loaded: threading.Event, within: str) -> CheckResults:
        """Wait for it until then, and return what it found: no answer is a fault only where everything is loaded."""
        self._answered.wait(max(0.0, ends - time.monotonic()))
        what = self.check.what
        is_silent = self._before is not None and self._before.is_silent
        if not loaded.is_set() and (is_silent or not self._answered.is_set()):
            yield bad(
                what,
                f"not checked {within}: this machine is too busy",
                "timbrado doctor --within 30; and what else runs here (top)?",
            )
            return
        if is_silent:
            needs = self.check.needs
            yield warn(what, f"not checked: the {needs} does not answer", f"fix the {needs} first")
            return
        yield from list(self._found)
        if self._error is not None:
            yield bad(what, self._error, self.check.fix)
        elif not self._answered.is_set():
            yield bad(what, f"no answer {within}", self.check.fix)
