"""What the doctor checks of what workers and beat need: settings, catalogues, tables, sweeps, storage."""

import os
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote, urlsplit

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from cfdi.sat import data
from cli import format, session
from cli.doctor import database
from cli.doctor.database import CLOCK_OFF
from cli.doctor.errors import one_line
from cli.doctor.findings import CheckResults, bad, ok, warn
from cli.doctor.installation import Installation
from config.settings import SettingsError
from migrations import configuration, is_ahead
from stamping import heartbeat
from stamping.recovery import mark
from worker import resources
from worker.database import MEANING

BEAT_STALE = 90.0  # seconds; the sweep runs every 15
BEAT_SILENT = 150.0  # seconds; beat notes its clock each minute
OLD_CATALOGS = 180  # days
LEAST_DISK = 1_000  # MB
SLOW_STORE = 2.0  # seconds for a probe


def check_settings(installation: Installation) -> CheckResults:
    """Open everything as a worker does; name the provider and the store, and warn of what belongs to tests."""
    settings = installation.settings
    try:
        session.celery()
        resources.tools()
    except SettingsError as error:
        yield bad("settings", str(error).removeprefix("timbrado: "), ".env.example lists them")
        return
    except Exception as error:  # noqa: BLE001 (whatever prevents opening it is the result)
        yield bad("settings", one_line(error), "it cannot be opened with these settings")
        return
    where = f"{settings.contadigital_url}, documents in {settings.storage_url}"
    if settings.test_runtime:
        yield warn(
            "settings", f"{where}; the test runtime is on", "unset TIMBRADO_TEST_RUNTIME in production"
        )
    else:
        yield ok("settings", where)


def check_catalogs(_: Installation) -> CheckResults:
    """Say how old the SAT's catalogues are."""
    found = data.current()
    age = found.age_in_days(datetime.now(UTC).date())
    if age is not None and age > OLD_CATALOGS:
        yield warn(
            "catalogs", f"{found.source}: {age} days old", "timbrado catalogs install, with a newer satcfdi"
        )
    else:
        yield ok("catalogs", f"{found.source}, {'of an unknown date' if age is None else f'{age} days old'}")


def check_migrations(installation: Installation) -> CheckResults:
    """Hold the tables against this program."""
    head = ScriptDirectory.from_config(configuration("")).get_current_head()
    with installation.shared(database.engine).connect() as db:
        at = MigrationContext.configure(db).get_current_revision()
        ahead = is_ahead(db)
    if ahead:
        yield ok("migrations", f"at {at}, of a later release than this program, which works with it")
    elif at != head:
        yield bad(
            "migrations",
            f"the tables are at {at or 'nothing'}, this program wants {head}",
            "timbrado migrate",
        )
    else:
        yield ok("migrations", f"at {head}")


def check_mark(_: Installation) -> CheckResults:
    """Compare the database with the mark outside it: whether it was restored, or failed over with a loss."""
    why = mark.fault(resources.tools())
    if why is not None:
        yield bad(
            "set back",
            f"{why}; nothing is sent from it",
            "docs/operations.md#when-the-backup-is-older-than-the-last-stamp: timbrado recover --after-restore",
        )
    else:
        yield ok("set back", "the database knows all that was done")


def check_refusals(installation: Installation) -> CheckResults:
    """Say what kept workers from their work in the last minute, and whether submissions may be gone."""
    with installation.shared(database.engine).connect() as db:
        refused, store = heartbeat.last(db, heartbeat.REFUSED), heartbeat.last(db, heartbeat.STORE)
        dropped = heartbeat.last(db, heartbeat.DROPPED)
    if refused is not None and refused.age < RECENT:
        code = str(refused.detail.get("code"))
        why = (
            f"it has no file descriptors left ({code})"
            if code == "EMFILE"
            else f"PostgreSQL does not store what comes in: {MEANING.get(code, 'it refuses')} ({code})"
        )
        yield bad("work", f"{refused.worker}, {refused.age:.0f} s ago: {why}", REMEDY.get(code, REMEDY[""]))
    if store is not None and store.age < RECENT:
        yield bad(
            "work",
            f"{store.worker}, {store.age:.0f} s ago: documents can't be stored, so nothing new is stamped: "
            f"{store.detail.get('why')}",
            "see storage below, on the worker's host",
        )
    if dropped is not None and dropped.age < REMEMBERED:
        yield warn(
            "work",
            f"Redis dropped {dropped.detail.get('keys')} keys for want of memory, "
            f"{format.span(timedelta(seconds=dropped.age))} ago: submissions may be gone",
            "have Apunto send again what it has no event for (harmless twice)",
        )
    if not any(each is not None and each.age < RECENT for each in (refused, store)):
        yield ok("work", "no worker was refused anything in the last minute")


RECENT = 60.0  # seconds
REMEMBERED = timedelta(days=7).total_seconds()
"""For how long it is said that Redis dropped something: it forgets that itself when it restarts."""
REMEDY = {
    "53100": "make room where PostgreSQL's data, WAL and tablespaces lie: df -h",
    "EMFILE": "raise its limit of open files (LimitNOFILE, ulimit -n) to 1024 or more",
    "55P03": "see locks above",
    "57014": "see locks above",
    "": "docs/operations.md#timbradodatabaserefuses",
}


def check_beat(installation: Installation) -> CheckResults:
    """Read when the last sweep ended, and what beat last said of its own clock."""
    with installation.shared(database.engine).begin() as db:
        swept, beat = heartbeat.last(db, heartbeat.SWEEP), heartbeat.last(db, heartbeat.BEAT)
    start = "start it, once in all: celery -A worker beat"
    runs = beat is not None and beat.age < BEAT_SILENT
    if swept is None or swept.age > BEAT_STALE:
        found = "no sweep ever ran" if swept is None else f"its last sweep ran {swept.age:.0f} s ago"
        if runs:
            yield bad(
                "beat", f"it runs, and {found}", "does a worker take from upkeep? See workers and its log"
            )
        else:
            yield bad("beat", found, f"{start}; or no worker takes from upkeep")
    else:
        yield ok("beat", f"its last sweep ran {swept.age:.0f} s ago")
    if beat is not None and runs and abs(beat.detail.get("off", 0.0)) > CLOCK_OFF.total_seconds():
        yield warn(
            "clock",
            f"beat's host ({beat.worker}) is {beat.detail['off']:+.1f} s off the database's clock",
            "set that host's clock by NTP",
        )


def check_storage(installation: Installation) -> CheckResults:
    """Write, read and list a small object."""
    took = resources.tools().store.probe()
    if took > SLOW_STORE:
        yield warn(
            "storage",
            f"writes, reads and keeps, in {took:.1f} s",
            "each stamp waits for this: look at the disk",
        )
    else:
        yield ok("storage", f"writes, reads and keeps, in {took * 1000:.0f} ms")
    left = _disk_left(installation.settings.storage_url)
    if left is not None and left < LEAST_DISK:
        yield warn("storage", f"{left:,} MB left on its disk", "make room: a full disk stops stamping")


def _disk_left(url: str) -> int | None:
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    found = os.statvfs(unquote(parts.path))
    return found.f_bavail * found.f_frsize // 1_000_000
