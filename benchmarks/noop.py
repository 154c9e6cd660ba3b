"""Bare Celery beside which the worker is measured: a task that does nothing, under the same options and events.

    BENCH_OPTIONS='{"broker_url": ...}' celery -A benchmarks.noop worker --pool threads -c 50 -Q noop

The options are the worker's own (benchmarks/bare.py reads them from its app), so that
the comparison holds when they change; and nothing of ours is imported here, whose signals would come along.
"""

import json
import os
from typing import Any

from celery import Celery
from kombu import Queue

from benchmarks import NOOP_QUEUE

app: "Celery[Any]" = Celery("noop", set_as_current=True)
app.conf.update(json.loads(os.environ["BENCH_OPTIONS"]))
app.conf.update(
    task_queues=[Queue(NOOP_QUEUE, routing_key=NOOP_QUEUE)],
    task_default_queue=NOOP_QUEUE,
    result_backend=None,
)


@app.task(name="noop.nothing")
def nothing(number: str) -> None:
    """Do nothing."""
