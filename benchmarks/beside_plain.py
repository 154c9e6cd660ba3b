"""Ours beside the plain implementation (plain.py): same stack, same sandbox, same invoices, in alternating rounds."""

import asyncio
import json
import os
import signal
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import sqlalchemy as sa
from celery import Celery

from benchmarks.channel import EVENTS, WebhookReceiver, a_receiver
from benchmarks.figures import Figure
from benchmarks.pipeline import ACCOUNTS, WIDE
from benchmarks.processes import cpu_seconds, middle, tree_cpu_seconds
from benchmarks.stack import BenchStack, a_bench_stack
from config.running import CHECKOUT
from devstack.process import Service
from tests.support.builders import an_invoice

PROCESSES, THREADS = 2, 50
TABLES = """
CREATE TABLE plain_invoices (
    id uuid PRIMARY KEY, account varchar NOT NULL, external_id varchar NOT NULL, status varchar NOT NULL,
    content json NOT NULL, record_id integer, uuid varchar UNIQUE, folio varchar, xml_path varchar, pdf_path varchar,
    attempts integer NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
    UNIQUE (account, external_id)
);
CREATE INDEX ON plain_invoices (account);
CREATE INDEX ON plain_invoices (status);
GRANT ALL ON plain_invoices TO PUBLIC;
"""


@dataclass(frozen=True)
class Round:
    """What one round of one implementation did."""

    rate: float  # invoices a second, from the first message to the last event
    worker_ms: float  # CPU an invoice
    postgres_ms: float
    redis_ms: float

    @property
    def cpu_ms(self) -> float:
        """Worker and PostgreSQL together."""
        return self.worker_ms + self.postgres_ms

    def __str__(self) -> str:
        return (
            f"{self.rate:.0f}/s, worker {self.worker_ms:.1f} ms, PostgreSQL {self.postgres_ms:.1f} ms, "
            f"Redis {self.redis_ms:.1f} ms"
        )


def with_a_webhook(quick: bool) -> tuple[Figure, ...]:
    """2 processes of 50 threads, no latency, a webhook switched on: ours sends two, signed, the plain one sends one."""
    return _beside(quick, webhook=True, rate=1.2, cpu_ms=14.0)


def without_a_channel(quick: bool) -> tuple[Figure, ...]:
    """The same with no channel: nothing is sent to anybody."""
    return _beside(quick, webhook=False, rate=1.4, cpu_ms=10.5)


def _beside(quick: bool, *, webhook: bool, rate: float, cpu_ms: float) -> tuple[Figure, ...]:
    count, rounds = (150, 1) if quick else (600, 3)
    ours: list[Round] = []
    theirs: list[Round] = []
    with a_receiver() as receiver:
        env = WIDE | (receiver.environment if webhook else {})
        with a_bench_stack(workers=PROCESSES, env=env) as stack:
            stack.connect(ACCOUNTS)
            stack.warm(ACCOUNTS, 40)
            with plain_workers(stack, receiver.url if webhook else None) as plain:
                hook = receiver if webhook else None
                plain.round(count // 4, hook)
                for _ in range(rounds):
                    ours.append(_ours(stack, count, hook))
                    theirs.append(plain.round(count, hook))
    ratios = [one.rate / other.rate for one, other in zip(ours, theirs, strict=True)]
    costs = [each.cpu_ms for each in ours]
    facts = tuple(
        f"round {number}: ours {one}; plain {other}"
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True), 1)
    )
    what = "a webhook" if webhook else "no channel"
    return (
        Figure(
            f"times the plain implementation's rate, with {what}",
            middle(ratios),
            rate,
            facts=(*facts, f"ratios {min(ratios):.2f} to {max(ratios):.2f}", _python()),
        ),
        Figure(
            f"ms of CPU an invoice, worker and PostgreSQL, with {what}",
            middle(costs),
            cpu_ms,
            "at most",
            unit="ms",
            facts=(
                f"{min(costs):.1f} to {max(costs):.1f} ms; plain {middle([e.cpu_ms for e in theirs]):.1f} ms",
            ),
        ),
    )


def _python() -> str:
    """Which Python, and whether it was built with PGO: by its own switch, or as Debian builds its packages."""
    flags = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    is_debian = "/usr/share/python-wheels" in flags
    pgo = "with" if "--enable-optimizations" in flags or is_debian else "without"
    return f"Python {sys.version.split()[0]} built {pgo} PGO"


def _ours(stack: BenchStack, count: int, receiver: WebhookReceiver | None) -> Round:
    """Stamp so many; the end is the last event's arrival where a receiver is there, else the last stamp."""
    known, received = stack.stamped(), receiver.count() if receiver is not None else 0
    with stack.frozen():
        stack.submit(ACCOUNTS, count)
        before, began = stack.spent(), time.monotonic()
    stack.until_stamped(known + count, 240)
    if receiver is not None:
        stack.until(lambda: receiver.count() >= received + EVENTS * count, 240)
    seconds, spent = time.monotonic() - began, stack.spent() - before
    return Round(
        count / seconds,
        1e3 * spent.workers / count,
        1e3 * spent.postgres / count,
        1e3 * spent.redis / count,
    )


class PlainWorkers:
    """The plain implementation's workers, held still while ours work."""

    def __init__(self, stack: BenchStack, names: list[str]) -> None:
        self._stack, self._names, self._sent = stack, names, 0

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [self._stack.runtime.pids[name] for name in self._names]

    def round(self, count: int, receiver: WebhookReceiver | None) -> Round:
        """Stamp so many, our workers held still meanwhile."""
        stack = self._stack
        with stack.frozen():
            known, received = self._stamped(), receiver.count() if receiver is not None else 0
            self._send(count)
            before, began = self._spent(), time.monotonic()
            self.signal(signal.SIGCONT)
            stack.until(lambda: self._stamped() >= known + count, 240)
            if receiver is not None:
                stack.until(lambda: receiver.count() >= received + count, 240)
            seconds, after = time.monotonic() - began, self._spent()
            self.signal(signal.SIGSTOP)
        worker, postgres, redis = (1e3 * (b - a) / count for a, b in zip(before, after, strict=True))
        return Round(count / seconds, worker, postgres, redis)

    def signal(self, number: signal.Signals) -> None:
        """Hold them still, or let them go on."""
        for pid in self.pids:
            os.kill(pid, number)

    def _send(self, count: int) -> None:
        stack = self._stack
        with stack.app.producer_or_acquire() as producer:
            for number in range(count):
                account = ACCOUNTS[number % len(ACCOUNTS)]
                invoice = an_invoice(account=account, external_id=f"P-{self._sent + number}", fecha=None)
                stack.app.send_task(
                    "plain.stamp", kwargs={"invoice": invoice}, queue="plain", producer=producer
                )
        self._sent += count

    def _stamped(self) -> int:
        return int(
            self._stack.scalar(sa.text("SELECT count(*) FROM plain_invoices WHERE status = 'stamped'"))
        )

    def _spent(self) -> tuple[float, float, float]:
        pids = self._stack.runtime.pids
        return (
            sum(map(cpu_seconds, self.pids)),
            tree_cpu_seconds(pids["postgres"]),
            tree_cpu_seconds(pids["redis"]),
        )


@contextmanager
def plain_workers(stack: BenchStack, webhook: str | None) -> Iterator[PlainWorkers]:
    """Start the plain implementation over the stack's own servers; held still until a round."""
    with stack.engine.begin() as db:
        for statement in filter(str.strip, TABLES.split(";")):
            db.execute(sa.text(statement))
    documents = stack.runtime.var / "plain"
    documents.mkdir()
    documents.chmod(0o777)
    options = json.dumps(
        {
            "broker": stack.runtime.broker_url,
            "database": stack.runtime.database_url,
            "documents": str(documents),
            "accounts": {name: _account(stack, name) for name in ACCOUNTS},
            "webhook": webhook,
        }
    )
    names = [f"plain{number}" for number in range(1, PROCESSES + 1)]
    stack.runtime.add(*(_service(name, stack.runtime.broker_url, options) for name in names))
    plain = PlainWorkers(stack, names)
    plain.signal(signal.SIGSTOP)
    try:
        yield plain
    finally:
        plain.signal(signal.SIGCONT)
        for name in names:
            stack.runtime.stop_service(name)


def _account(stack: BenchStack, name: str) -> dict[str, Any]:
    """The ids that a team would have typed in, and a customer and a product made once."""
    facts = stack.sandbox.account(name)
    lists, base_url = facts["catalogues"], stack.sandbox.url
    with httpx.Client(base_url=base_url, trust_env=False) as http:
        token = http.post("/api/conectar.json", json={"ApiKey": facts["api_key"]}).json()["Resultado"][
            "Token"
        ]
        http.headers["Authorization"] = f"Bearer {token}"
        sample = an_invoice()
        receptor, line = sample["receptor"], sample["conceptos"][0]
        unit = _id(lists["UnidadesDeMedida"], "Clave", line["clave_unidad"])
        empresa = facts["id_empresa"]
        customer = http.get(f"/api/clientes.json/{empresa}/{receptor['rfc']}").json()["Resultado"]["Id"]
        product = http.get(f"/api/productos.json/{empresa}/{line['clave_prod_serv']}").json()["Resultado"]
    return {
        "api_key": facts["api_key"],
        "base_url": base_url,
        "id_empresa": empresa,
        "rfc": lists["RFCs"][0]["Id"],
        "serie": lists["Series"][0]["Id"],
        "sucursal": lists["Sucursales"][0]["Id"],
        "place": _id(lists["LugaresDeExpedicion"], "CP", sample["lugar_expedicion"]),
        "currency": _id(lists["Monedas"], "Clave", "MXN"),
        "payment_form": _id(lists["FormasDePago"], "Clave", "03"),
        "unit": unit,
        "customer": customer,
        "product": (product[0] if isinstance(product, list) else product)["Id"],
    }


def _id(rows: list[dict[str, Any]], key: str, value: str) -> int:
    return int(next(row["Id"] for row in rows if row[key] == value))


def _service(name: str, broker_url: str, options: str) -> Service:
    node = f"{name}@timbrado"
    argv = [
        sys.executable,
        "-m",
        "celery",
        "--quiet",
        "-A",
        "benchmarks.plain",
        "worker",
        "--pool",
        "threads",
    ]
    argv += ["-c", str(THREADS), "-Q", "plain", "--hostname", node, "--without-mingle", "--without-gossip"]

    def ping() -> bool:
        with Celery(broker=broker_url, set_as_current=False) as app:
            return bool(app.control.ping(destination=[node], timeout=0.5))

    async def answers() -> bool:
        return await asyncio.to_thread(ping)

    return Service(name, argv, ready=answers, env={"PLAIN": options}, cwd=CHECKOUT)
