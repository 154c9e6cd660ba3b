"""What publishing costs: many submissions in batches beside a loop of apply_async, over the same Redis."""

import time
from typing import Any

from celery import Celery
from kombu import Queue

from benchmarks.figures import Figure
from benchmarks.processes import middle
from devstack.stack import throw_away_servers
from tasks.enqueue import TASK, submit_many
from tests.support.builders import an_invoice

HIDDEN: dict[str, Any] = {"argsrepr": "", "kwargsrepr": ""}  # making them would only slow the loop down


def bulk(quick: bool) -> tuple[Figure, ...]:
    """The batches of `timbrado submit` beside apply_async in a loop that keeps its producer, without events."""
    count, rounds = (1000, 3) if quick else (3000, 5)
    invoices = [an_invoice(external_id=f"E-{number}") for number in range(count)]
    ratios, rates = [], []
    with throw_away_servers() as runtime, Celery(broker=runtime.broker_url, set_as_current=False) as app:
        app.conf.update(task_queues=[Queue("intake", routing_key="intake")], task_default_queue="intake")

        @app.task(name=TASK, ignore_result=True)
        def submit(invoice: object) -> None:
            """Only published."""

        list(submit_many(app, invoices[:10]))
        for _ in range(rounds):
            began = time.perf_counter()
            with app.producer_or_acquire() as producer:
                for invoice in invoices:
                    submit.apply_async(
                        kwargs={"invoice": invoice}, producer=producer, argsrepr="", kwargsrepr=""
                    )
            loop = time.perf_counter() - began
            began = time.perf_counter()
            list(submit_many(app, invoices))
            batches = time.perf_counter() - began
            ratios.append(loop / batches)
            rates.append((count / loop, count / batches))
    loop_rate, batch_rate = sorted(rates)[rounds // 2]
    return (
        Figure(
            "times the rate of an apply_async loop, in batches",
            middle(ratios),
            1.5,
            facts=(
                f"{batch_rate:,.0f} a second beside {loop_rate:,.0f}, median of {rounds} rounds of {count:,}",
            ),
        ),
    )
