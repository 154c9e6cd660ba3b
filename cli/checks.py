"""What `timbrado doctor` looks at, and in which order: one function a thing, each of which says what to mend.

The one thing a newcomer would get wrong: what stands on something that does not answer is not tried. One cause is told
once, and nobody waits for the timeouts of the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cli import checks_services as services
from cli import checks_work as work
from cli.findings import Findings, Patient, bad, one_line, warn


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at, what to mend when it can't be, and what must answer before."""

    what: str
    look: Callable[[Patient], Findings]
    mend: str = "look at the log of this command with --debug"
    needs: str = ""


CHECKS = (
    Check("settings", services.settings),
    Check("database", services.database, "is PostgreSQL up, and TIMBRADO_DATABASE_URL right?"),
    Check("broker", services.broker, "is it up, and TIMBRADO_BROKER_URL (or TIMBRADO_REDIS_URL) right?"),
    Check("queues", services.queues, needs="broker"),
    Check("workers", services.workers, needs="broker"),
    Check("beat", services.beat, "is Redis up, and TIMBRADO_REDIS_URL right?", needs="broker"),
    Check("storage", services.storage, "can this user write to TIMBRADO_STORAGE_URL, and is there room?"),
    Check("keys", work.keys, needs="database"),
    Check("provider", work.provider, needs="database"),
    Check("invoices", work.invoices, needs="database"),
    Check("events", work.outbox, needs="database"),
    Check("connection", work.connections, needs="database"),
)


def examine(patient: Patient) -> Findings:
    """Look at everything, in order; what could not be looked at is bad, and the rest is looked at all the same."""
    silent: set[str] = set()
    for check in CHECKS:
        if check.needs in silent:
            yield warn(
                check.what,
                f"not looked at: the {check.needs} does not answer",
                f"mend the {check.needs} first",
            )
            continue
        try:
            yield from check.look(patient)
        except Exception as error:  # noqa: BLE001 (whatever keeps us from looking is what there is to tell)
            silent.add(check.what)
            yield bad(check.what, one_line(error), check.mend)
