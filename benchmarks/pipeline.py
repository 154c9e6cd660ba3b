"""The whole pipeline: how near to what the provider allows, and what an invoice costs beside a no-op task."""

import time

from benchmarks.bare import bare
from benchmarks.channel import EVENTS, a_receiver
from benchmarks.figures import Figure
from benchmarks.processes import middle
from benchmarks.stack import BenchStack, a_bench_stack

IN_FLIGHT = 32
ACCOUNTS = [f"bench-{number}" for number in range(8)]
WIDE = {"TIMBRADO_IN_FLIGHT_PER_ACCOUNT": "50"}


def of_the_ideal(quick: bool) -> tuple[Figure, ...]:
    """Two processes, 32 calls in flight (8 accounts of 4), a save and a stamp of 300 ms, a webhook: against 32 / 0.6 s.

    From the first message to the last event's arrival.
    """
    return _against_ideal(
        "of the ideal rate at 32 in flight and 300 ms a call, to the last event",
        0.3,
        None,
        500 if quick else 1500,
        0.9,
    )


def long_tail(quick: bool) -> tuple[Figure, ...]:
    """The same with answers of 1 s at the median and 6 s at the 99th percentile."""
    return _against_ideal("of the ideal rate at p50 1 s, p99 6 s", 1.0, 6.0, 250 if quick else 700, None)


def _against_ideal(
    what: str, p50: float, p99: float | None, count: int, target: float | None
) -> tuple[Figure, ...]:
    per_account = {"TIMBRADO_IN_FLIGHT_PER_ACCOUNT": str(IN_FLIGHT // len(ACCOUNTS))}
    with (
        a_receiver() as receiver,
        a_bench_stack(workers=2, env=per_account | receiver.environment) as stack,
    ):
        stack.connect(ACCOUNTS)
        stack.warm(ACCOUNTS, 12)
        stack.latency(p50, p99)
        known, arrived = stack.stamped(), receiver.count()
        with stack.frozen():
            stack.submit(ACCOUNTS, count)
            before, began, began_at = stack.spent(), time.monotonic(), time.time()
        stack.until_stamped(known + count, 60 + 4 * count * (p99 or p50) / IN_FLIGHT)
        stack.until(lambda: receiver.count() >= arrived + EVENTS * count, 60)
        spent = (stack.spent() - before).shown(count, time.monotonic() - began)
        whole = count / (receiver.last() - began_at)
        rate, seconds = steady_rate(stack, known, count)
        calls = stack.rows(
            """SELECT sum(latency_ms) / 1000.0 / count(DISTINCT invoice_id) AS waited FROM attempts
            WHERE call IN ('save', 'stamp') AND invoice_id IN
              (SELECT id FROM invoices ORDER BY stamped_at DESC LIMIT :count)""",
            count=count,
        )[0]
        waited = float(calls.waited)
        (late,) = stack.rows(
            """SELECT percentile_cont(0.95) WITHIN GROUP
                 (ORDER BY extract(epoch FROM d.delivered_at - e.created_at)) AS p95
            FROM deliveries d JOIN events e ON e.id = d.event_id
            WHERE e.type = 'invoice.stamped' AND e.created_at > now() - make_interval(secs => :seconds)""",
            seconds=time.monotonic() - began,
        )
    wanted = IN_FLIGHT / (2 * p50) if p99 is None else IN_FLIGHT / waited
    return (
        Figure(
            what,
            whole / wanted,
            target,
            facts=(
                f"{whole:.1f} invoices a second of {wanted:.1f} from the first message to the last event, {count:,} "
                f"invoices; {rate:.1f} between the first and the last tenth, over {seconds:.0f} s",
                f"an invoice waited {waited:.3f} s for its two calls: {rate * waited / IN_FLIGHT:.2f} of the "
                f"{IN_FLIGHT} places were always in use",
                spent,
            ),
        ),
        Figure(
            f"s from the commit of a stamp to its webhook's arrival, p95, at {p50:g} s a call",
            float(late.p95),
            1.0 if target is not None else None,
            "at most",
            unit="s",
        ),
    )


def one_account(quick: bool) -> tuple[Figure, ...]:
    """All invoices of one account, 50 in flight, beside the same of twelve accounts; a provider without latency."""
    count, rounds = (300, 1) if quick else (1200, 3)
    twelve = [f"bench-{number}" for number in range(12)]
    ratios, facts = [], []
    with a_bench_stack(workers=2, env=WIDE) as stack:
        stack.connect(twelve)
        stack.warm(twelve, 8)
        for _ in range(rounds):
            rates = []
            for names in (twelve, twelve[:1]):
                known = stack.stamped()
                with stack.frozen():
                    stack.submit(names, count)
                    before, began = stack.spent(), time.monotonic()
                stack.until_stamped(known + count, 240)
                seconds = time.monotonic() - began
                rates.append(count / seconds)
                facts.append(
                    f"{len(names)}: {rates[-1]:.0f}/s; {(stack.spent() - before).shown(count, seconds)}"
                )
            ratios.append(rates[1] / rates[0])
    return (
        Figure(
            "of the rate of twelve accounts, one account with 50 in flight",
            middle(ratios),
            0.95,
            facts=(*facts, f"ratios {min(ratios):.2f} to {max(ratios):.2f}"),
        ),
    )


def steady_rate(stack: BenchStack, known: int, count: int) -> tuple[float, float]:
    """Stamps a second between the first tenth and the last: while as many are in flight as may be."""
    times = [
        row.stamped_at.timestamp()
        for row in stack.rows(
            "SELECT stamped_at FROM invoices WHERE stamped_at IS NOT NULL ORDER BY stamped_at"
        )
    ][known:]
    first, last = count // 20, count - count // 10
    seconds = times[last - 1] - times[first]
    return (last - 1 - first) / seconds, seconds


def against_no_ops(quick: bool) -> tuple[Figure, ...]:
    """Two processes of 50 threads, a provider without latency: rate and CPU beside bare Celery's no-op tasks."""
    count, tasks, rounds = (400, 1500, 1) if quick else (1200, 4000, 3)
    rates, costs, facts = [], [], []
    with a_receiver() as receiver, a_bench_stack(workers=2, env=WIDE | receiver.environment) as stack:
        stack.connect(ACCOUNTS)
        stack.warm(ACCOUNTS, 8)
        for _ in range(rounds):  # in turn, so that what the neighbours do falls on both
            nothing = bare(stack, processes=2, tasks=tasks)
            known = stack.stamped()
            with stack.frozen():
                stack.submit(ACCOUNTS, count)
                before, began = stack.spent(), time.monotonic()
            stack.until_stamped(known + count, 240)
            seconds, spent = time.monotonic() - began, stack.spent() - before
            rates.append(count / seconds / nothing.rate)
            costs.append(1e3 * spent.workers / count / nothing.cpu_ms)
            facts.append(
                f"{count / seconds:.0f} invoices a second beside {nothing.rate:.0f} no-op tasks; "
                f"{spent.shown(count, seconds)}; a no-op task {nothing.cpu_ms:.2f} ms"
            )
    order = sorted(range(rounds), key=lambda number: costs[number])[rounds // 2]
    return (
        Figure(
            "of the rate of bare no-op tasks, 2 processes x 50 threads, with a webhook",
            sorted(rates)[rounds // 2],
            facts=tuple(facts),
        ),
        Figure("times the CPU of a no-op task, an invoice with its webhooks", costs[order]),
    )
