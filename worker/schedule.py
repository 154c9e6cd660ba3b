"""What beat runs, and how often. Beat only enqueues; every job is safe to run twice at once."""

from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry

from config.settings import Settings
from tasks import enqueue

MOST_WAITING = 20
"""Messages in a queue beyond which beat adds none: nobody takes them, and one of each kind would do."""


def beat_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return Celery beat's schedule.

    No message expires: its age would be measured by two hosts' clocks, and where beat's is behind none would be taken.
    """
    every = settings.sweep_every.total_seconds()
    return {
        "sweep": {"task": "stamping.sweep", "schedule": every, "options": {"queue": "upkeep"}},
        "deliver": {
            "task": "stamping.deliver_events",
            "schedule": max(every, 5.0),
            "options": {"queue": "events"},
        },
    }


class Scheduler(PersistentScheduler):
    """Celery's, which neither waits for a clock that was set back nor fills a queue that nobody takes from."""

    def is_due(self, entry: ScheduleEntry) -> tuple[bool, float]:
        """Whether an entry is due. Celery would wait until the host's clock has reached its last run again."""
        if entry.last_run_at is not None and entry.last_run_at > entry.default_now():
            return True, 1.0
        return super().is_due(entry)

    def apply_async(
        self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any
    ) -> Any:
        """Enqueue an entry's task, unless enough of its queue waits."""
        name = str((entry.options or {}).get("queue"))
        waiting = enqueue.queued([name]).get(name)
        if waiting is not None and waiting.length > MOST_WAITING:
            return None
        return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
