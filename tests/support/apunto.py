"""What Apunto is to the worker, for end-to-end tests: a Celery client, and a pair of eyes on the table."""

import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Self

import sqlalchemy as sa
from celery import Celery
from cryptography.fernet import Fernet

from sandbox.serve import RunningSandbox
from tests.support.builders import an_invoice

RFC, NAME, POSTCODE = "EKU9003173C9", "ESCUELA KEMPER URGATE", "42501"


class Apunto:
    """Sends messages by name, as any Celery client would, and waits for what the table says."""

    def __init__(self, stack: Any) -> None:
        self.stack = stack
        self.app = Celery("apunto", broker=stack.broker_url)
        self.engine = sa.create_engine(stack.database_url, pool_size=2)
        self.fernet = Fernet(stack.environment["TIMBRADO_ENCRYPTION_KEYS"].split(",")[0])

    def close(self) -> None:
        self.app.close()
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, task: str, **kwargs: Any) -> None:
        self.app.send_task(task, kwargs=kwargs, queue="intake")

    def open_account(self, **facts: Any) -> str:
        """Open an account of its own in the sandbox, connect it, and wait until it is active."""
        name = f"acme-{uuid.uuid4().hex[:8]}"
        announce(name, self.stack.sandbox, self.app, self.fernet, **facts)
        self.until_connection(name, "active")
        return name

    def connect(self, account: str, key: str, **facts: Any) -> None:
        connect(self.app, self.fernet, account, key, **facts)

    def submit(self, invoices: Iterable[dict[str, Any]]) -> None:
        for invoice in invoices:
            self.send("stamping.submit_invoice", invoice=invoice)

    def query(self, sql: str, **values: Any) -> list[Any]:
        with self.engine.begin() as db:
            return list(db.execute(sa.text(sql), values).all())

    def rows(self, account: str) -> dict[str, Any]:
        found = self.query("SELECT * FROM invoices WHERE account = :account", account=account)
        return {row.external_id: row for row in found}

    def events(self, account: str) -> list[Any]:
        return self.query("SELECT * FROM events WHERE account = :account ORDER BY id", account=account)

    def until(
        self, account: str, statuses: set[str], count: int, seconds: float = 40, every: float = 0.05
    ) -> dict[str, Any]:
        return self.until_true(
            lambda: self.rows(account),
            lambda rows: sum(row.status in statuses for row in rows.values()) >= count,
            seconds,
            every,
        )

    def until_connection(self, account: str, status: str, seconds: float = 20) -> Any:
        return self.until_true(
            lambda: self.query("SELECT * FROM connections WHERE account = :account", account=account),
            lambda rows: bool(rows) and rows[0].status == status,
            seconds,
        )[0]

    def until_true(
        self, look: Callable[[], Any], holds: Callable[[Any], bool], seconds: float, every: float = 0.05
    ) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            seen = look()
            if holds(seen):
                return seen
            if time.monotonic() > deadline:
                raise AssertionError(f"not in {seconds} s; last seen: {summary(seen)}")
            time.sleep(every)


def announce(account: str, sandbox: RunningSandbox, app: Celery, fernet: Fernet, **facts: Any) -> None:
    """Open an account in the sandbox, and send what connects it."""
    opened = sandbox.open_account(
        account,
        **{
            "rfc": RFC,
            "razon_social": NAME,
            "regimen_fiscal": "601",
            "lugares": [POSTCODE, "64000"],
            **facts,
        },
    )
    connect(app, fernet, account, opened["api_key"])


def connect(app: Celery, fernet: Fernet, account: str, key: str, **facts: Any) -> None:
    """Send the message that connects an account with this key."""
    request = {
        "account": account,
        "api_key_encrypted": fernet.encrypt(key.encode()).decode(),
        "rfc": RFC,
        "razon_social": NAME,
        "codigo_postal": POSTCODE,
        "serie": "A",
        **facts,
    }
    app.send_task("stamping.connect", kwargs=request, queue="intake")


def summary(seen: Any) -> Any:
    """What was seen, short enough for a failure's message."""
    if isinstance(seen, dict):
        return {name: (row.status, row.reason, row.errors) for name, row in list(seen.items())[:20]}
    return seen


def invoices_of(account: str, count: int) -> list[dict[str, Any]]:
    """Good invoices of one account, each with an identifier of its own."""
    mark = uuid.uuid4().hex[:6]
    return [
        an_invoice(account=account, external_id=f"OP-{mark}-{number}", fecha=None) for number in range(count)
    ]
