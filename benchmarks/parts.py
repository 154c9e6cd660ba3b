"""The parts by themselves: what the sandbox can stamp, what a validation and a look at the evidence cost; and where an
invoice's CPU goes, by samples of a process that does nothing but accept and stamp."""

import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from benchmarks import evidence, sandbox, validation
from benchmarks.figures import Figure
from devstack.stack import throw_away_servers
from migrations import upgrade
from sandbox.serve import RunningSandbox
from stamping import pipeline
from stamping.intake import submit
from storage import open_store
from tests.support.builders import a_concepto, an_invoice
from tests.support.harness import open_harness

PACKAGES = {
    "PostgreSQL (psycopg, SQLAlchemy, models)": ("psycopg", "psycopg_binary", "sqlalchemy", "models"),
    "HTTP (httpx, httpcore, h11, contadigital)": ("httpx", "httpcore", "h11", "contadigital"),
    "documents (storage, with fsync)": ("storage", "obstore"),
    "evidence and validation (cfdi, lxml, pydantic)": ("cfdi", "lxml", "pydantic", "elementpath", "satcfdi"),
    "log lines (structlog, logging, redaction)": ("structlog", "logging", "config"),
    "events (outbox and messages)": ("events",),
}
HERE = Path(__file__).resolve().parent.parent


def of_parts(quick: bool) -> tuple[Figure, ...]:
    """Stamps a second of the sandbox on one core, milliseconds of CPU of a validation and of the evidence."""
    made = sandbox.measure(seconds=1.5 if quick else 4)
    checked = validation.measure(runs=40 if quick else 200)
    looked = evidence.measure(runs=20 if quick else 100)
    return (
        Figure("stamps a second of the sandbox's CPU", made.stamps_per_cpu_second, 300, unit="/s", facts=(
            f"{made.stamps_per_second:.0f} a second on the wall, {made.cpu_ms_per_stamp:.1f} ms each, 3 lines, "
            "XSD check and PDF included",
            f"one RSA-2048 signature took {made.seal_ms:.2f} ms just then (0.26 on a quiet core): a stamp is "
            f"{made.cpu_ms_per_stamp / made.seal_ms:.1f} of them, and 300 a second on a quiet core are 12.8",
        )),
        Figure("ms of CPU to validate an invoice of 3 lines", checked["validation_3_lines_ms"], unit="ms", facts=(
            f"{checked['validation_1_lines_ms']:.2f} ms with 1, {checked['validation_20_lines_ms']:.2f} ms with 20",
        )),
        Figure("ms of CPU to examine an XML of 3 lines", looked["evidence_3_lines_ms"], unit="ms", facts=(
            f"{looked['evidence_1_lines_ms']:.2f} ms with 1, {looked['evidence_20_lines_ms']:.2f} ms with 20",
        )),
    )  # fmt: skip


def profile(quick: bool) -> tuple[Figure, ...]:
    """Where the CPU of accepting and stamping goes: samples by CPU time, in one thread."""
    count = 150 if quick else 500
    with throw_away_servers() as runtime, RunningSandbox() as running, _documents() as folder:
        upgrade(runtime.database_url)
        with open_harness(runtime.database_url, running, store=open_store(folder.as_uri())) as pipeline:
            for number in range(20):
                pipeline.stamped(f"OP-{number}")
            with _samples() as stacks:
                began = time.thread_time()
                for number in range(count):
                    pipeline.stamp(pipeline.submit(f"OP-s{number}"))
                spent = 1e3 * (time.thread_time() - began) / count
    total = sum(stacks.values())
    packages = sorted(((name, n / total) for name, n in stacks.items()), key=lambda each: -each[1])
    return (
        Figure(
            f"% of the CPU of accept and stamp goes to the first three of {len(packages)} packages",
            100 * sum(share for _, share in packages[:3]),
            unit="%",
            facts=tuple(
                f"{name}: {100 * share:.0f} %, {spent * share:.2f} ms an invoice" for name, share in packages
            ),
        ),
    )


def of_lines(quick: bool) -> tuple[Figure, ...]:
    """An invoice of 5,000 ordinary lines, taken in, stamped and verified as by a worker: milliseconds of CPU a line."""
    costs: dict[int, float] = {}
    with throw_away_servers() as runtime, RunningSandbox() as running, _documents() as folder:
        upgrade(runtime.database_url)
        with open_harness(runtime.database_url, running, store=open_store(folder.as_uri())) as harness:
            harness.stamped("OP-0")
            for lines in (500, 1_000 if quick else 5_000):
                many = [a_concepto(descripcion=f"Tramo {number}") for number in range(lines)]
                invoice = an_invoice(
                    account=harness.account, external_id=f"OP-{lines}", fecha=None, conceptos=many
                )
                began = time.thread_time()
                taken = submit.submit(invoice, harness.tools, claim=True)
                if not isinstance(taken, submit.Accepted) or taken.claimed is None:
                    raise AssertionError(f"an invoice of {lines} lines was not taken in")
                pipeline.stamp_claimed(taken.claimed, harness.tools, taken.prepared)
                costs[lines] = 1e3 * (time.thread_time() - began) / lines
                if harness.one(_STAMPED, name=f"OP-{lines}").status != "stamped":
                    raise AssertionError(f"an invoice of {lines} lines was not stamped")
    few, most = costs
    return (
        Figure(
            f"ms of CPU a line, of {most:,} lines",
            costs[most],
            0.5,
            "at most",
            unit="ms",
            facts=(f"{costs[few]:.2f} ms a line of {few:,}",),
        ),
    )


_STAMPED = "SELECT status FROM invoices WHERE external_id = :name"


@contextmanager
def _documents() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="timbrado-bench-", dir="/tmp") as folder:
        yield Path(folder)


@contextmanager
def _samples(every: float = 0.001) -> Iterator[Counter[str]]:
    """Count, for each millisecond of CPU, the room that the nearest frame with a name of ours or a library's is in."""
    seen: Counter[str] = Counter()

    def note(_: int, frame: FrameType | None) -> None:
        seen[_room(frame)] += 1

    before = signal.signal(signal.SIGPROF, note)
    signal.setitimer(signal.ITIMER_PROF, every, every)
    try:
        yield seen
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _room(frame: FrameType | None) -> str:
    """The room that is at work: a log line of the pipeline counts as a log line, its JSON too."""
    while frame is not None:
        path = frame.f_code.co_filename
        part = path.partition("site-packages/")[2] or path.removeprefix(f"{HERE}/")
        first = part.split("/", 1)[0]
        if "/logging/" in path:
            first = "logging"
        for name, packages in PACKAGES.items():
            if first in packages:
                return name
        if first in {"stamping", "tests"}:
            return "the pipeline itself (stamping)" if first == "stamping" else "the benchmark's own"
        frame = frame.f_back
    return "the rest"
