"""Both ways in and the way back, as the guides have them: real broker, real worker, the application's own database.

The broker is one of this module's own, so that it can be taken away.
"""

import json
import os
import secrets
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
import timbrado_client
from celery import Celery
from kombu import Connection
from sqlalchemy.orm import Session
from timbrado_client import BrokerUnavailable, Timbrado, submit_in

from devstack import services
from devstack.ports import any_port
from tests.support.apunto import NAME, POSTCODE, RFC, Apunto
from tests.support.builders import an_invoice
from tests.support.doc_examples import examples

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CONNECT, EVENTS, INBOX = (examples(name) for name in ("connect-apunto.md", "events.md", "inbox.md"))
SECRETS = [f"whsec_{secrets.token_urlsafe(24).replace('-', 'x').replace('_', 'y')}" for _ in range(2)]


@dataclass(frozen=True)
class Place:
    """An application beside timbrado: its broker, its database, its receiver, and its client."""

    apunto: Apunto
    client: Timbrado
    account: str
    app: Celery
    database: sa.Engine
    """The application's own, which holds the inbox."""
    received: Path
    """What the receiver of the guide has stored."""
    receiver_url: str
    break_broker: Callable[[], None]
    restore_broker: Callable[[], None]

    def invoice(self, **changes: Any) -> dict[str, Any]:
        named = {"account": self.account, "external_id": f"OP-{uuid.uuid4().hex[:8]}", "fecha": None}
        return an_invoice(**named | changes)

    def until_stamped(self, invoice: dict[str, Any]) -> Any:
        name = invoice["external_id"]
        return self.apunto.until_true(
            lambda: self.apunto.rows(self.account),
            lambda rows: name in rows and rows[name].status == "stamped",
            60,
        )[name]

    def order(self, db: Session | sa.Connection, invoice: dict[str, Any]) -> None:
        db.execute(sa.text("INSERT INTO orders VALUES (:name)"), {"name": invoice["external_id"]})


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The twenty lines of docs/events.md, in a process of their own; it knows one of the two secrets."""
    home, port = tmp_path_factory.mktemp("receiver"), any_port()
    (home / "receiver.py").write_text(EVENTS["receiver"])
    source = str(Path(timbrado_client.__file__).parents[1])
    env = {**os.environ, "PORT": str(port), "WEBHOOK_SECRET": SECRETS[1], "PYTHONPATH": source}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "receiver.py"], cwd=home, env=env, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (home / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/hooks/timbrado", home / "events.db"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def database(make_database: Callable[[], str]) -> Iterator[tuple[sa.Engine, str]]:
    """The application's database, made ready by the SQL of docs/inbox.md; and the URL the worker gets."""
    engine = sa.create_engine(make_database())
    role = f"inbox_{uuid.uuid4().hex[:8]}"
    with engine.begin() as db:
        db.exec_driver_sql("DROP TABLE timbrado_inbox; CREATE TABLE orders (name text)")
        db.exec_driver_sql(INBOX["ddl"])
        db.exec_driver_sql(
            INBOX["grant"].replace("ROLE timbrado", f"ROLE {role}").replace("TO timbrado", f"TO {role}")
        )
    url = engine.url.set(username=role, password="change me")  # the guide's
    yield engine, url.render_as_string(hide_password=False)
    with engine.begin() as db:
        db.exec_driver_sql(f"DROP OWNED BY {role}; DROP ROLE {role}")
    engine.dispose()


@pytest.fixture(scope="module")
def place(
    servers: Any,
    make_stack: Callable[..., Any],
    receiver: tuple[str, Path],
    database: tuple[sa.Engine, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    name = f"redis-{uuid.uuid4().hex[:6]}"
    path = Path("/tmp") / f"timbrado-{name}.sock"
    durable = services.redis(tmp_path_factory.mktemp("redis"), path)
    servers.runtime.add(replace(durable, name=name))
    stack = make_stack(
        env={
            "TIMBRADO_BROKER_URL": f"redis+socket://{path}",
            "TIMBRADO_INBOX_URL": database[1],
            "TIMBRADO_WEBHOOK_URL": receiver[0],
            "TIMBRADO_WEBHOOK_SECRET": ",".join(SECRETS),
            "TIMBRADO_WEBHOOK_HOSTS": "127.0.0.1",
            "TIMBRADO_EVENTS_TASK": "apunto.stamping_event",
            "TIMBRADO_EVENTS_QUEUE": "apunto",
        }
    )
    client = Timbrado(
        stack.broker_url, stack.environment["TIMBRADO_ENCRYPTION_KEYS"], timeout=timedelta(seconds=0.3)
    )
    with Apunto(stack) as apunto, client:
        account = apunto.open_account()
        yield Place(
            apunto=apunto,
            client=client,
            account=account,
            app=apunto.app,
            database=database[0],
            received=receiver[1],
            receiver_url=receiver[0],
            break_broker=lambda: servers.runtime.stop_service(name),
            restore_broker=lambda: servers.runtime.start_service(name),
        )
    servers.runtime.stop_service(name)
    path.unlink(missing_ok=True)


def test_what_the_client_sends_is_stamped(place: Place) -> None:
    """And its trace id is found with the invoice and with its events."""
    invoice = place.invoice()

    sent = place.client.submit(invoice, trace_id="0af7651916cd43dd8448eb211c80319c")

    row = place.until_stamped(invoice)
    assert row.trace_id == sent.trace_id
    traces = {
        event.trace_id for event in place.apunto.events(place.account) if event.external_id == row.external_id
    }
    assert traces == {sent.trace_id}


def test_a_typed_invoice_is_stamped_too(place: Place) -> None:
    """Made of the client's models, with Decimals: the amounts that the SAT sees are the same."""
    raw = place.invoice()
    typed = timbrado_client.Invoice.model_validate(raw)

    place.client.submit(typed)

    row = place.until_stamped(raw)
    assert row.content["conceptos"][0]["valor_unitario"] == raw["conceptos"][0]["valor_unitario"]


def test_every_request_of_the_client_is_understood(place: Place) -> None:
    """Connect, validate, cancel, retry and disconnect, on an account of its own."""
    apunto = place.apunto
    account = f"whole-{uuid.uuid4().hex[:6]}"
    key = apunto.stack.sandbox.open_account(
        account, rfc=RFC, razon_social=NAME, regimen_fiscal="601", lugares=[POSTCODE, "64000"]
    )["api_key"]

    place.client.connect(account, f"  {key}\n", rfc=RFC, razon_social=NAME, codigo_postal=POSTCODE, serie="A")
    apunto.until_connection(account, "active")
    place.client.validate_connection(account)
    invoice = an_invoice(account=account, external_id="OP-1", fecha=None)
    place.client.submit(invoice)
    apunto.until(account, {"stamped"}, 1)
    place.client.retry(account, "OP-1")
    place.client.cancel(account, "OP-1", "02")
    apunto.until(account, {"cancelling", "cancelled"}, 1)
    place.client.disconnect(account)
    apunto.until_connection(account, "disconnected")

    assert apunto.stack.sandbox.ledger(account)["stamps"] == 1


def test_plain_celery_as_the_guide_has_it_is_stamped(place: Place) -> None:
    """Without the client: any Celery app on the same broker."""
    invoice = place.invoice()

    exec(CONNECT["celery"], {"app": place.app, "invoice": invoice})

    assert place.until_stamped(invoice).trace_id == "0af7651916cd43dd8448eb211c80319c"


def test_plain_sql_as_the_guide_has_it_is_stamped(place: Place) -> None:
    """One INSERT by any language; the role of the guide suffices for the worker."""
    invoice = place.invoice()
    start = INBOX["insert"].index("'{")
    end = INBOX["insert"].index("}'") + 2
    statement = INBOX["insert"][:start] + "%s" + INBOX["insert"][end:]
    with place.database.begin() as db:
        db.exec_driver_sql(statement, (json.dumps(invoice),))

    place.until_stamped(invoice)
    with place.database.begin() as db:
        db.exec_driver_sql(INBOX["purge"])
        waiting = place.apunto.until_true(
            lambda: db.exec_driver_sql(INBOX["waiting"]).one().count, lambda left: left == 0, 10
        )

    assert waiting == 0


def test_the_inbox_loses_nothing_without_a_broker(place: Place) -> None:
    """Committed while the broker is away: stamped once it is back. Rolled back: it never was."""
    committed, dropped = place.invoice(), place.invoice()
    place.break_broker()
    try:
        with pytest.raises(BrokerUnavailable):
            place.client.submit(committed)
        with Session(place.database) as session, session.begin():
            place.order(session, committed)
            submit_in(session, committed)
        with Session(place.database) as session:
            place.order(session, dropped)
            submit_in(session, dropped)
            session.rollback()
    finally:
        place.restore_broker()

    place.until_stamped(committed)
    with place.database.begin() as db:
        orders = set(db.execute(sa.text("SELECT name FROM orders")).scalars())
    assert committed["external_id"] in orders
    assert dropped["external_id"] not in orders | place.apunto.rows(place.account).keys()
    place.client.submit(place.invoice())  # the same client goes on once the broker is there again


def test_the_guide_s_session_example_is_stamped(place: Place) -> None:
    """`with Session(engine) as session, session.begin(): ... submit_in(session, invoice)`."""

    class Base(sa.orm.DeclarativeBase):
        pass

    class Order(Base):
        __tablename__ = "orders"
        name: sa.orm.Mapped[str] = sa.orm.mapped_column(primary_key=True)

    invoice = place.invoice()
    scope = {"Session": Session, "engine": place.database, "order": Order(name=invoice["external_id"])}

    exec(INBOX["python"], {**scope, "invoice": invoice})

    place.until_stamped(invoice)


def known_to(received: Path) -> dict[str, int]:
    with closing(sqlite3.connect(received)) as db:
        return dict(db.execute("SELECT subject, version FROM known").fetchall())


def true_state(apunto: Apunto) -> dict[str, int]:
    found = apunto.query(
        "SELECT subject_kind || ':' || subject_id AS subject, max(version) AS version FROM events GROUP BY 1"
    )
    return {row.subject: row.version for row in found}


def test_the_receiver_of_the_guide_ends_with_the_true_state(place: Place) -> None:
    """Twenty lines, and every subject stands at its last version; what nobody signed changed nothing."""
    wrong, right = place.invoice(total="1.00"), place.invoice()
    place.client.submit(wrong)
    place.client.submit(right)
    place.apunto.until(place.account, {"rejected"}, 1)
    place.until_stamped(right)
    forged = {"webhook-id": "x", "webhook-timestamp": f"{time.time():.0f}", "webhook-signature": "v1,AAAA"}
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(urllib.request.Request(place.receiver_url, b"{}", forged), timeout=10)

    seen = place.apunto.until_true(
        lambda: (known_to(place.received), true_state(place.apunto)), lambda pair: pair[0] == pair[1], 60
    )

    assert len(seen[0]) >= 2


def test_the_celery_events_of_the_guide_end_with_the_true_state(place: Place) -> None:
    """The same objects, as messages in the application's own queue."""
    app = Celery("events", set_as_current=False)
    alone = SimpleNamespace(
        task=partial(app.task, shared=False)
    )  # Celery gives a shared task to every app there is
    scope: dict[str, Any] = {"app": alone, "known": {}}
    exec(EVENTS["celery-event"], scope)
    invoice = place.invoice()
    place.client.submit(invoice)
    invoice_id = place.until_stamped(invoice).id

    def take() -> tuple[dict[str, int], dict[str, int]]:
        with Connection(place.apunto.stack.broker_url) as connection:
            channel = connection.default_channel
            for message in iter(lambda: channel.basic_get("apunto", no_ack=True), None):
                assert message.headers["kwargsrepr"] == "(hidden)"
                args, kwargs, _ = message.decode()
                scope["stamping_event"](*args, **kwargs)
        return scope["known"], true_state(place.apunto)

    known, _ = place.apunto.until_true(take, lambda pair: pair[0] == pair[1], 60)

    assert known[f"invoice:{invoice_id}"] >= 2
