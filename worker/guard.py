"""Settings of Celery that would make a task run twice, or be lost in silence: refused at boot, by name."""

from typing import Any

from celery import Celery

SHORTEST_VISIBILITY = 60  # seconds


class RunsTwice(SystemExit):
    """A Celery setting that this worker can't be safe with; its text is one line that names it."""


def refuse_what_runs_twice(app: "Celery[Any]") -> None:
    """Refuse, by name, what the environment or a config file may have changed."""
    conf = app.conf
    wrong: list[str] = []
    wanted = {
        "task_acks_late": True,  # early acknowledgement loses what a killed worker had in hand
        "worker_prefetch_multiplier": 1,  # more is reserved by one worker while another is idle
        "task_ignore_result": True,  # results would put documents into Redis
        "task_always_eager": False,  # tasks would run inside the caller
    }
    for name, value in wanted.items():
        if conf.get(name) != value:
            wrong.append(f"{name} must be {value}")
    if list(conf.accept_content) != ["json"]:
        wrong.append("accept_content must be ['json']")
    timeout = (conf.broker_transport_options or {}).get("visibility_timeout")
    if timeout is not None and timeout < SHORTEST_VISIBILITY:
        wrong.append(
            f"broker_transport_options.visibility_timeout must be {SHORTEST_VISIBILITY} s or more "
            "(messages still in hand would be handed out again)"
        )
    for name, options in (conf.task_annotations or {}).items() if conf.task_annotations else ():
        if "max_retries" in options or "autoretry_for" in options:
            wrong.append(f"task_annotations[{name}] must not make Celery retry")
    if wrong:
        raise RunsTwice(f"timbrado: {'; '.join(wrong)}")
