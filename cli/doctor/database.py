"""What the doctor checks of PostgreSQL: that it writes, who blocks whom, and whether it keeps what was committed."""

import time
from datetime import timedelta

import sqlalchemy as sa

from cli.doctor.findings import CheckResults, bad, ok, warn
from cli.doctor.installation import Installation
from config.settings import Settings
from stamping.clock import Clock, test_shift
from worker import database

CLOCK_OFF = timedelta(seconds=2)


def engine(settings: Settings) -> sa.Engine:
    """Open the database, for `Installation.shared`."""
    return database.open_engine(settings.database_url.get_secret_value())


def clock(settings: Settings) -> Clock:
    """Open the clock, for `Installation.shared`."""
    return Clock(test_shift(settings.test_clock_file))


def check_database(installation: Installation) -> CheckResults:
    """Ask it, have it write, and hold its clock against ours."""
    began = time.monotonic()
    with installation.shared(engine).connect() as db:
        version = db.execute(sa.text("SHOW server_version")).scalar_one().split()[0]
        took = (time.monotonic() - began) * 1000
        yield ok("database", f"PostgreSQL {version}, answers in {took:.0f} ms")
        encoding = db.execute(sa.text("SHOW server_encoding")).scalar_one()
        if encoding != "UTF8":
            yield bad(
                "database",
                f"its encoding is {encoding}: not every name fits",
                "create it with ENCODING 'UTF8'",
            )
        off = installation.shared(clock).sync(db)
    if (fault := database.write_fault(installation.shared(engine))) is not None:
        yield bad("database", f"it takes nothing: {fault}", "docs/operations.md#timbradodatabaserefuses")
    if abs(off) > CLOCK_OFF:
        yield warn(
            "clock",
            f"this host is {off.total_seconds():+.1f} s off the database's clock (workers go by the database's)",
            "set this host's clock by NTP",
        )
    else:
        yield ok("clock", f"{off.total_seconds() * 1000:+.0f} ms off the database's")


def check_locks(installation: Installation) -> CheckResults:
    """Name who keeps others waiting: looked for while the other checks, which may wait themselves, are under way."""
    found: list[database.Blocker] = []
    for _ in range(LOCK_CHECKS):
        with installation.shared(engine).connect() as db:
            found = database.blockers(db)
        if found:
            break
        time.sleep(BETWEEN_CHECKS)
    for each in found:
        yield bad("locks", str(each), f"SELECT pg_cancel_backend({each.pid}), or pg_terminate_backend")
    if not found:
        yield ok("locks", "nobody waits for one")


LOCK_CHECKS, BETWEEN_CHECKS = 4, 0.4  # seconds


def check_durability(installation: Installation) -> CheckResults:
    """See whether what was committed is kept, and whether a pooler in between changes what a session sets."""
    opened = installation.shared(engine)
    with opened.connect() as db:
        db.rollback()  # what follows is another transaction than the one that set the limits
        found = list(database.unsafe(db))
    for each in found:
        yield warn("kept", each.found, each.fix)
    if not database.prepares(opened):
        yield bad(
            "kept",
            "a prepared statement is gone with its transaction: a pooler in transaction mode",
            "use the pooler in session mode, or none",
        )
    elif not found:
        yield ok("kept", "commits are kept, and what a session sets too")
