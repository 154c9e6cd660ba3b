"""As production runs it: a PostgreSQL role with the least it needs, a Redis user likewise, and RabbitMQ.

Each is deploy/'s own file, tried by a real worker that stamps with it, and by doing what it forbids.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import redis
from celery import Celery

from migrations import upgrade
from tests.support.apunto import Apunto, invoices_of
from tests.support.builders import an_invoice
from tests.support.production_servers import RABBITMQ, Guarded, Roles, rabbitmq

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def roles(make_database: Callable[[], str]) -> Iterator[Roles]:
    made = Roles(make_database())
    yield made
    made.drop()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    server = Guarded(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def apunto(make_stack: Callable[..., Any], roles: Roles, guarded: Guarded) -> Iterator[Apunto]:
    """A worker and beat that are nobody but timbrado_worker and the Redis user `timbrado`."""
    env = {
        "TIMBRADO_DATABASE_URL": roles.url("timbrado_worker"),
        "TIMBRADO_BROKER_URL": guarded.url("timbrado"),
        "TIMBRADO_SWEEP_EVERY": "1",
    }
    with Apunto(make_stack(env=env)) as client:
        yield client


def test_a_worker_needs_no_more_than_its_role_and_its_redis_user(apunto: Apunto) -> None:
    """Connect, stamp, refuse, break, hold, fix, cancel: all of it."""
    account = apunto.open_account()
    apunto.submit(invoices_of(account, 4))
    apunto.submit([an_invoice(account=account, external_id="W-1", fecha=None, total="1.00")])
    rows = apunto.until(account, {"stamped"}, 4)
    apunto.until(account, {"rejected"}, 1)

    apunto.stack.sandbox.revoke_key(account)
    apunto.stack.sandbox.kill_tokens(account)
    apunto.submit(invoices_of(account, 1))
    apunto.until(account, {"on_hold"}, 1)
    apunto.connect(account, apunto.stack.sandbox.regenerate_key(account))
    apunto.until(account, {"stamped"}, 5)
    stamped = next(name for name, row in rows.items() if row.status == "stamped")
    apunto.send("stamping.cancel_invoice", account=account, external_id=stamped, motivo="02")

    apunto.until(account, {"cancelled"}, 1)
    assert apunto.stack.sandbox.ledger(account)["duplicates"] == 0


def test_apunto_sends_with_a_redis_user_that_reads_nothing(apunto: Apunto, guarded: Guarded) -> None:
    """What it may: push into `intake`. What it may not: look into any queue, or at a token."""
    account = apunto.open_account()
    with Celery("apunto", broker=guarded.url("apunto")) as app:
        for invoice in invoices_of(account, 2):
            app.send_task("stamping.submit_invoice", kwargs={"invoice": invoice}, queue="intake")
    apunto.until(account, {"stamped"}, 2)

    with guarded.client("apunto") as link:
        for command in (("LRANGE", "intake", 0, -1), ("LPUSH", "stamp", "x"), ("KEYS", "*"), ("FLUSHALL",)):
            with pytest.raises(redis.exceptions.NoPermissionError):
                link.execute_command(*command)
    with guarded.client("timbrado") as link:
        for command in (("FLUSHALL",), ("CONFIG", "SET", "save", ""), ("SHUTDOWN",), ("KEYS", "*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                link.execute_command(*command)
    with redis.Redis(port=guarded.port) as stranger, pytest.raises(redis.exceptions.AuthenticationError):
        stranger.ping()


def test_what_the_law_wants_kept_no_worker_can_take_away(apunto: Apunto, roles: Roles) -> None:
    """Not an invoice, not an attempt, not a document's row, not a line of history; nor can it change history."""
    account = apunto.open_account()
    apunto.submit(invoices_of(account, 1))
    apunto.until(account, {"stamped"}, 1)

    for table in ("invoices", "attempts", "documents", "events", "history", "connections"):
        assert roles.may("timbrado_worker", f"SELECT count(*) FROM {table}")
        assert not roles.may("timbrado_worker", f"DELETE FROM {table}")
        assert not roles.may("timbrado_worker", f"TRUNCATE {table} CASCADE")
        assert not roles.may("timbrado_worker", f"DROP TABLE {table}")
    assert not roles.may("timbrado_worker", "UPDATE history SET to_status = 'cancelled'")
    assert not roles.may("timbrado_worker", "CREATE TABLE mine (x int)")


def test_who_reads_sees_no_key_and_changes_nothing(roles: Roles) -> None:
    """Who looks sees no key and changes nothing."""
    assert roles.may("timbrado_read", "SELECT status, count(*) FROM invoices GROUP BY 1")
    assert roles.may("timbrado_read", "SELECT account, status, reason FROM connections")
    assert not roles.may("timbrado_read", "SELECT key_encrypted FROM connections")
    assert not roles.may("timbrado_read", "UPDATE invoices SET status = 'failed'")


def test_who_sends_writes_submissions_and_reads_nothing(apunto: Apunto, roles: Roles) -> None:
    """One INSERT into the inbox, and the worker takes it from there."""
    account = apunto.open_account()
    invoice = an_invoice(account=account, external_id="IN-1", fecha=None)
    with roles.connect("timbrado_sender") as db:
        db.execute(
            "INSERT INTO timbrado_inbox (id, kind, payload) VALUES (gen_random_uuid(), 'submit', %s)",
            [psycopg.types.json.Jsonb(invoice)],
        )
    apunto.until(account, {"stamped"}, 1)

    assert not roles.may("timbrado_sender", "SELECT * FROM timbrado_inbox")
    assert not roles.may("timbrado_sender", "SELECT count(*) FROM invoices")


def test_the_owner_migrates_and_the_roles_may_be_set_again(roles: Roles) -> None:
    """`timbrado migrate` runs as the owner; what a release adds is closed until roles.sql says who may use it."""
    upgrade(roles.url("timbrado_owner"))
    with roles.connect("timbrado_owner") as db:
        db.execute("CREATE TABLE of_the_next_release (x int)")

    assert not roles.may("timbrado_worker", "SELECT * FROM of_the_next_release")
    roles.apply()
    assert roles.may("timbrado_worker", "SELECT count(*) FROM invoices")


@pytest.fixture(scope="module")
def amqp_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A RabbitMQ of this module's own, or the one of TEST_AMQP_URL."""
    if given := os.environ.get("TEST_AMQP_URL"):
        yield given
        return
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as port:
        yield f"amqp://guest:guest@127.0.0.1:{port}//"


@pytest.mark.skipif(
    not (RABBITMQ.exists() or os.environ.get("TEST_AMQP_URL")),
    reason="RabbitMQ is not here (Debian: rabbitmq-server)",
)
def test_rabbitmq_is_a_broker_behind_the_same_setting(amqp_url: str, make_stack: Callable[..., Any]) -> None:
    """Stamped, refused, sent thrice and once stamped, taken up again after kill -9: as with Redis."""
    env = {"TIMBRADO_BROKER_URL": amqp_url, "TIMBRADO_SWEEP_EVERY": "1"}
    with Apunto(make_stack(env=env)) as apunto:
        account = apunto.open_account()
        invoices = invoices_of(account, 12)
        for _ in range(3):
            apunto.submit(invoices)
        apunto.submit([an_invoice(account=account, external_id="W-1", fecha=None, total="1.00")])
        apunto.until(account, {"stamped"}, 12)
        apunto.until(account, {"rejected"}, 1)
        (worker,) = apunto.stack.workers
        apunto.stack.runtime.kill(worker, again=False)
        apunto.submit(invoices_of(account, 6))
        apunto.stack.runtime.start_service(worker)

        apunto.until(account, {"stamped"}, 18)
        ledger = apunto.stack.sandbox.ledger(account)
        assert (ledger["stamps"], ledger["duplicates"]) == (18, 0)
