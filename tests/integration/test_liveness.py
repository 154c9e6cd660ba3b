"""Nothing waits forever: at every moment an invoice that has not ended is due, claimed, or somebody's."""

import logging
import os
from collections import Counter
from collections.abc import Callable

import pytest
import structlog

from tests.support.liveness import World
from worker.database import open_engine

WORLDS = int(os.environ.get("LIVENESS_WORLDS", "1"))
"""More for a long run: each is a database with EACH invoices of ACCOUNTS accounts, and their substitutes."""
ACCOUNTS, EACH = 20, int(os.environ.get("LIVENESS_EACH", "10"))
FIRST = int(os.environ.get("LIVENESS_FIRST", "1"))


@pytest.mark.slow
@pytest.mark.timeout(120 + 6 * WORLDS * EACH)
def test_nothing_waits_forever(make_database: Callable[[], str]) -> None:
    """Whatever ContaDigital answers, people do, workers die of: at each moment what has not ended has an
    instant that falls due, a lease that ends or a named actor; in the end it has an actor or an end."""
    ends: Counter[str] = Counter()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        for seed in range(FIRST, FIRST + WORLDS):
            engine = open_engine(make_database())
            try:
                ends += World(engine, seed, accounts=ACCOUNTS, each=EACH).run()
            finally:
                engine.dispose()
            print(seed, ends.total(), flush=True)
    finally:
        structlog.reset_defaults()

    print(ends)
    assert ends.total() >= ACCOUNTS * EACH * WORLDS
