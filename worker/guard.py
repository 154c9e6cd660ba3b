"""Settings of Celery that would make a task run twice, or be lost in silence: refused at boot, by name.

worker/app.py sets all of this, and it can still be changed after it. Celery reads a
module named by CELERY_CONFIG_MODULE, takes settings at the end of its command line (`-- worker_prefetch_multiplier=4`),
a pool by `--pool`, and options on each task. So what holds is looked at when the worker starts, too.
"""

from datetime import timedelta
from typing import Any

from celery import Celery, Task
from celery.concurrency import get_implementation

POOLS = ("threads", "solo")
"""What a process opens (database, document store) must not be forked; gevent was measured to run tasks twice."""

WANTED: dict[str, Any] = {
    "task_acks_late": True,  # early acknowledgement loses what a killed worker had in hand
    "task_reject_on_worker_lost": True,  # likewise
    "task_acks_on_failure_or_timeout": True,  # what failed would be handed out again and again
    "worker_prefetch_multiplier": 1,  # more is reserved by one worker while another is idle
    "worker_cancel_long_running_tasks_on_connection_loss": False,  # a call that is under way would be cut
    "task_ignore_result": True,  # results would put documents into Redis
    "task_always_eager": False,  # tasks would run inside the caller
    "task_serializer": "json",
}


class RunsTwice(SystemExit):
    """A Celery setting that this worker can't be safe with; its text is one line that names it."""


def refuse_what_runs_twice(app: "Celery[Any]", *, lease: timedelta) -> None:
    """Refuse, by name, what the environment, a config file or the command line may have changed."""
    conf = app.conf
    wrong = [
        f"{name} must be {value}" for name, value in WANTED.items() if conf.get(name) != value
    ]  # `get`, since a setting that nobody named has its default
    if list(conf.accept_content) != ["json"]:
        wrong.append("accept_content must be ['json']")
    timeout = (conf.broker_transport_options or {}).get("visibility_timeout")
    if timeout is not None and timeout <= lease.total_seconds():
        wrong.append(
            "broker_transport_options.visibility_timeout must be more than TIMBRADO_LEASE "
            f"({lease.total_seconds():g} s): messages still in hand would be handed out again"
        )
    for each in _annotations(conf.task_annotations):
        for name, options in each.items():
            wrong += [
                f"task_annotations[{name!r}] must not set {option}" for option in REPEATS if option in options
            ]
    _refuse(wrong)


def refuse_what_runs_twice_here(worker: Any, *, lease: timedelta) -> None:
    """The same when a worker starts, now that its command line is read and its tasks are known."""
    refuse_what_runs_twice(worker.app, lease=lease)
    wrong = []
    if worker.pool_cls not in {*POOLS, *(get_implementation(name) for name in POOLS)}:
        wrong.append(f"worker_pool must be {' or '.join(POOLS)}")
    for name, task in sorted(worker.app.tasks.items()):
        if not name.startswith("celery."):
            wrong += [f"task {name}: {fault}" for fault in faults_of(task)]
    _refuse(wrong)


REPEATS = ("max_retries", "autoretry_for", "acks_late", "ignore_result", "reject_on_worker_lost")
"""Options of a task that are set once for all of them, and nowhere else."""


def faults_of(task: "Task[Any, Any]") -> list[str]:
    """Name the options of a task that would make Celery repeat it, or lose it: our table decides, not Celery."""
    wrong = []
    if task.max_retries is not None:
        wrong.append("max_retries must be None")  # Celery's own default is 3, and silent
    if getattr(task, "autoretry_for", None):
        wrong.append("autoretry_for must not be set")
    if not task.acks_late:
        wrong.append("acks_late must be True")
    if not task.reject_on_worker_lost:
        wrong.append("reject_on_worker_lost must be True")
    if not task.ignore_result:
        wrong.append("ignore_result must be True")
    return wrong


def _annotations(annotations: Any) -> list[dict[str, dict[str, Any]]]:
    """Celery takes one mapping or several, and also objects that it asks for each task: those nobody can read."""
    several = (
        list(annotations) if isinstance(annotations, list | tuple) else [annotations] if annotations else []
    )
    if not all(isinstance(each, dict) for each in several):
        raise RunsTwice("timbrado: task_annotations must be a plain mapping")
    return several


def _refuse(wrong: list[str]) -> None:
    if wrong:
        raise RunsTwice(f"timbrado: {'; '.join(wrong)}")
