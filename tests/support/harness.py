"""The harness in this process: real PostgreSQL and the real sandbox, with the clock and the policy in the test's hand.

For what needs exact steps (which call is lost, when the quarantine ends). What a worker process does with it is shown
by tests/system.
"""

import functools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet

from cfdi.sat import seals
from contadigital.auth import MemoryTokens
from contadigital.client import ContaDigital
from net.transport import open_http
from sandbox.serve import RunningSandbox
from stamping import claims, deadlines, pipeline, reconcile, sweep
from stamping.clock import Clock
from stamping.connections import connect, providers, samples
from stamping.intake import submit
from stamping.limits import circuit_breaker
from stamping.outcome import Outcome
from stamping.saved_record import LEARNT
from stamping.tools import Policy, Tools
from storage import DocumentStore, open_store
from tests.support.apunto import NAME, POSTCODE, RFC
from tests.support.builders import an_invoice
from worker.database import open_engine

Asked = list[tuple[str, Any]]


@contextmanager
def statements(engine: sa.Engine) -> Iterator[Asked]:
    """The statements that connections taken meanwhile send, with their parameters; SQLAlchemy's and our own."""
    asked: Asked = []

    class Noting(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            asked.append((query, params))
            return super().execute(query, params, **options)

    def taken(connection: Any, *_: Any) -> None:
        connection.cursor_factory = Noting

    def given_back(connection: Any, *_: Any) -> None:
        connection.cursor_factory = psycopg.Cursor

    sa.event.listen(engine, "checkout", taken)
    sa.event.listen(engine, "checkin", given_back)
    try:
        yield asked
    finally:
        sa.event.remove(engine, "checkout", taken)
        sa.event.remove(engine, "checkin", given_back)


@dataclass
class Harness:
    """One database, one account of the sandbox, and the time."""

    tools: Tools
    sandbox: RunningSandbox
    account: str
    shift: list[timedelta] = field(default_factory=lambda: [timedelta()])

    def later(self, **time: float) -> None:
        """Let time pass, for us and for the sandbox."""
        self.shift[0] += timedelta(**time)
        self.sandbox.move_clock(self.shift[0].total_seconds())

    def connect(self, key: str, **facts: Any) -> Any:
        return connect.connect(
            connect.ConnectRequest(
                account=self.account,
                api_key_encrypted=self.tools.fernet.encrypt(key.encode()).decode(),
                **{"rfc": RFC, "razon_social": NAME, "codigo_postal": POSTCODE, "serie": "A", **facts},
            ),
            self.tools,
        )

    def submit(self, external_id: str = "OP-1", **changes: Any) -> UUID:
        taken = submit.submit(
            an_invoice(account=self.account, external_id=external_id, **{"fecha": None, **changes}),
            self.tools,
        )
        assert taken.invoice_id is not None
        return taken.invoice_id

    def stamp(self, invoice_id: UUID) -> Outcome:
        return pipeline.stamp(invoice_id, self.tools)

    def claim(self, invoice_id: UUID) -> claims.Claimed:
        """Claim it and do nothing with it, as a worker that then stands still."""
        claimed = claims.take(invoice_id, self.tools)
        assert isinstance(claimed, claims.Claimed), claimed
        return claimed

    def stamped(self, external_id: str) -> UUID:
        """Stamp one in the usual way: it teaches what this provider does, and is a control to look up."""
        invoice_id = self.submit(external_id)
        self.stamp(invoice_id)
        assert self.row(invoice_id).status == "stamped", self.row(invoice_id).errors
        return invoice_id

    def look(self, invoice_id: UUID) -> Outcome:
        """Look up once, whenever that is due."""
        wait = self.row(invoice_id).next_attempt_at - self.tools.clock.now()
        if wait > timedelta():
            self.later(seconds=wait.total_seconds() + 0.01)
        return reconcile.reconcile(invoice_id, self.tools)

    def look_until(self, invoice_id: UUID, *statuses: str, most: int = 60) -> int:
        """Look up until the doubt has one of these ends; return how many look-ups that took."""
        for count in range(1, most + 1):
            self.look(invoice_id)
            if self.row(invoice_id).status in statuses:
                return count
        raise AssertionError(f"still {self.row(invoice_id).status} after {most} look-ups")

    def go_on(self) -> None:
        """Do what workers and beat do: sweep, and everything that the sweep enqueues for invoices."""
        due = sweep.sweep(self.tools)
        for each in due.reminders:
            deadlines.remind(each, self.tools)
        for each in (*due.stamp, *due.stamp_bulk):
            pipeline.stamp(each, self.tools)
        for each in due.look_up:
            reconcile.reconcile(each, self.tools)

    def expire(self, invoice_id: UUID) -> str | None:
        """Look twice at an invoice whose time is over: the first look alone gives nothing up."""
        assert deadlines.remind(invoice_id, self.tools) is None
        self.later(seconds=deadlines.SECOND_LOOK.total_seconds() + 1)
        return deadlines.remind(invoice_id, self.tools)

    def row(self, invoice_id: UUID) -> Any:
        return self.one("SELECT * FROM invoices WHERE id = :id", id=invoice_id)

    def connection(self) -> Any:
        return self.one("SELECT * FROM connections WHERE account = :account", account=self.account)

    def attempts(self, invoice_id: UUID) -> list[tuple[str, str]]:
        rows = self.all(
            "SELECT call, outcome FROM attempts WHERE invoice_id = :id ORDER BY number", id=invoice_id
        )
        return [(row.call, row.outcome) for row in rows]

    def event_types(self) -> list[str]:
        rows = self.all("SELECT type FROM events WHERE account = :account ORDER BY id", account=self.account)
        return [row.type for row in rows]

    def duplicates(self) -> int:
        return int(self.sandbox.ledger(self.account)["duplicates"])

    def stamps(self) -> int:
        return int(self.sandbox.ledger(self.account)["stamps"])

    def one(self, sql: str, **values: Any) -> Any:
        return self.all(sql, **values)[0]

    def all(self, sql: str, **values: Any) -> list[Any]:
        with self.tools.engine.begin() as db:
            return list(db.execute(sa.text(sql), values).all())

    def another_worker(self, **changes: Any) -> "Harness":
        """The same database and account seen by another worker process."""
        return replace(self, tools=replace(self.tools, worker=f"host:{uuid.uuid4().hex[:4]}", **changes))


@functools.cache
def pac_certificates_of(sandbox: RunningSandbox) -> dict[str, bytes]:
    """The certificate that the sandbox's stamps are sealed with, by its number."""
    with httpx.Client(transport=open_http(), trust_env=False) as client:
        der = client.get(f"{sandbox.url}/sandbox/pac.cer").content
    return {seals.from_der(der).no_certificado: der}


@contextmanager
def open_harness(
    database_url: str,
    sandbox: RunningSandbox,
    *,
    policy: Policy | None = None,
    store: DocumentStore | None = None,
    connected: bool = True,
    reports: bool | None = False,
    wrap: Callable[[Tools], Tools] = lambda tools: tools,
    **facts: Any,
) -> Iterator[Harness]:
    """Open a harness with an account of its own in the sandbox; `facts` are the account's."""
    name = f"acme-{uuid.uuid4().hex[:8]}"
    opened = sandbox.open_account(
        name,
        **{
            "rfc": RFC,
            "razon_social": NAME,
            "regimen_fiscal": "601",
            "lugares": [POSTCODE, "64000"],
            **facts,
        },
    )
    shift = [timedelta()]
    clock = Clock(lambda: shift[0])
    engine = open_engine(database_url, pool_size=60)
    http = open_http(connections=64)
    policy = policy or Policy(production_url=sandbox.url, allowed_hosts=frozenset({sandbox.url[7:]}))
    provider = ContaDigital(
        http,
        MemoryTokens(clock=clock.now, timeout=timedelta(seconds=10)),
        call_timeout=timedelta(seconds=5),
        max_body=10_000_000,
        clock=clock.now,
        allowed_hosts=frozenset({f"127.0.0.1:{sandbox.port}"}),
        watch=circuit_breaker.watch(engine, clock.now, policy),
        keep_sample=samples.keeper(engine, clock.now),
    )
    tools = wrap(
        Tools(
            engine=engine,
            provider=provider,
            store=store or open_store("memory://"),
            clock=clock,
            fernet=MultiFernet([Fernet(Fernet.generate_key())]),
            worker="host:1",
            pac_certificates=pac_certificates_of(sandbox),
            policy=policy,
        )
    )
    providers.learn(
        sandbox.url, {LEARNT: reports}, tools
    )  # else the first invoice costs a look-up to find out
    harness = Harness(tools, sandbox, name, shift)
    try:
        if connected:
            row = harness.connect(opened["api_key"])
            assert row.status == "active", row.detail
        yield harness
    finally:
        sandbox.calm()
        sandbox.move_clock(0)
        engine.dispose()
        http.close()


__all__ = ["Harness", "claims", "open_harness", "sweep"]
