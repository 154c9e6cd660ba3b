"""What beat runs, and how often. Beat only rings; every job is safe to run twice at once."""

from typing import Any

from config.settings import Settings


def beat_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return Celery beat's schedule. A bell that nobody answered in time is dropped: the next one is as good."""
    every = settings.sweep_every.total_seconds()
    return {
        "sweep": {
            "task": "stamping.sweep",
            "schedule": every,
            "options": {"queue": "upkeep", "expires": max(every * 3, 10)},
        },
        "deliver": {
            "task": "stamping.deliver_events",
            "schedule": max(every, 5.0),
            "options": {"queue": "events", "expires": 30},
        },
        "beat-alive": {
            "task": "stamping.beat_alive",
            "schedule": 15.0,
            "options": {"queue": "upkeep", "expires": 30},
        },
    }
