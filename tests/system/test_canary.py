"""A canary flies through the whole stack: a key, an RFC, a name and an e-mail address that are nowhere else.

Sent well and badly, by a foreign client that hides nothing, past a crash and a refused row. They must be found in
PostgreSQL, in the documents and at the receiver of events, and nowhere else: not in Redis (read over and over while all
this happens), not in Flower's pages, API or file, not in a log (the servers' own among them), a metric or an event of
Celery's.
"""

import base64
import binascii
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from celery import Celery

from config.values import redis_from_broker
from devstack import services
from devstack.ports import any_port
from tests.support.apunto import NAME, POSTCODE, RFC, Apunto
from tests.support.builders import a_concepto, a_receptor, an_invoice

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]
PASSWORD = "timbrado:not-so-secret-1234"
MARK = uuid.uuid4().hex[:8].upper()
CANARIES = {
    "key": f"Canary-Key-{MARK}-0123456789abcdef",
    "rfc": "CAN850101AB3",
    "name": f"CANARIO {MARK} DEL NORTE",
    "email": f"canario.{MARK.lower()}@ejemplo.mx",
}
INTAKE = "intake"


def canaries_in(text: str | bytes) -> set[str]:
    """Which canaries a text holds, in whatever case."""
    lowered = (text.decode("utf-8", "replace") if isinstance(text, bytes) else text).lower()
    return {kind for kind, canary in CANARIES.items() if canary.lower() in lowered}


def opened(value: bytes) -> bytes:
    """A message with its body read: Celery writes it in base64."""
    try:
        reported = json.loads(value)
    except ValueError:
        return value
    for each in reported if isinstance(reported, list) else [reported]:
        if not isinstance(each, dict):
            continue
        try:
            value += base64.b64decode(each.get("body", ""), validate=True)
        except (binascii.Error, TypeError, ValueError):
            continue
    return value


@dataclass
class RedisWatch:
    """Reads every key and value, and whatever is published, again and again."""

    client: redis.Redis
    found: list[str] = field(default_factory=list)
    seen_in_intake: bool = False
    rounds: int = 0
    published: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.is_set():
            self.dump(while_running=True)
            self.rounds += 1
            time.sleep(0.02)

    def dump(self, *, while_running: bool) -> None:
        for key in self.client.scan_iter(count=500):
            for value in self._values(key):
                canaries = canaries_in(key) | canaries_in(opened(value))
                if canaries and while_running and self._is_intake(key, value):
                    self.seen_in_intake = True  # not accepted yet: where else could it be
                elif canaries:
                    self.found.append(f"{key!r}: {sorted(canaries)}")

    def _values(self, key: bytes) -> list[bytes]:
        try:
            match self.client.type(key):
                case b"string":
                    return [self.client.get(key) or b""]
                case b"list":
                    return list(self.client.lrange(key, 0, -1))
                case b"hash":
                    return [part for pair in self.client.hgetall(key).items() for part in pair]
                case b"set":
                    return list(self.client.smembers(key))
                case b"zset":
                    return [member for member, _ in self.client.zrange(key, 0, -1, withscores=True)]
                case b"none":  # gone since it was listed
                    return []
                case other:
                    raise AssertionError(f"{key!r} is of a kind that nobody looks into: {other!r}")
        except redis.ResponseError:  # became something else since
            return []

    @staticmethod
    def _is_intake(key: bytes, value: bytes) -> bool:
        if key == INTAKE.encode():
            return True
        if key != b"unacked":
            return False
        reported = json.loads(value)
        return bool(reported[2] == INTAKE)

    def listen(self) -> None:
        """Whatever is published; the foreign client's own `task-sent` aside, which is its own word."""
        with self.client.pubsub() as wire:
            wire.psubscribe("*")
            while not self.stop.is_set():
                message = wire.get_message(timeout=0.1)
                if message is None or message["type"] != "pmessage":
                    continue
                self.published += 1
                text = opened(message["data"])
                if canaries_in(text) and b"task-sent" not in text:
                    self.found.append(f"published: {text[:200]!r}")


@dataclass
class CanaryStack:
    stack: Any
    apunto: Apunto
    foreign: Celery
    """A Celery client like any other: it sends `task-sent` events, with its arguments in full."""
    flower: services.Service
    flower_port: int
    flower_home: Path
    metrics_port: int
    watch: RedisWatch

    def send(self, task: str, **kwargs: Any) -> None:
        self.foreign.send_task(task, kwargs=kwargs, queue=INTAKE)

    def get(self, path: str, port: int | None = None) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.flower_port}{path}")
        request.add_header("Authorization", f"Basic {base64.b64encode(PASSWORD.encode()).decode()}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return f"{error.code} {error.read().decode()}"

    def logs(self) -> dict[str, str]:
        folder = self.stack.runtime.var / "logs"
        names = [*self.stack.workers, self.stack.workers[0].replace("worker1", "beat"), "flower"]
        servers = [name for name in ("postgres", "redis") if (folder / f"{name}.log").exists()]
        return {name: (folder / f"{name}.log").read_text() for name in [*names, *servers]}


@pytest.fixture(scope="module")
def canary_stack(
    make_stack: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CanaryStack]:
    metrics_port, flower_port, home = any_port(), any_port(), tmp_path_factory.mktemp("flower")
    stack = make_stack(env={"TIMBRADO_LOG_LEVEL": "debug", "TIMBRADO_METRICS_PORT": str(metrics_port)})
    flower = services.flower(home, flower_port, PASSWORD, stack.environment)
    stack.runtime.add(flower)
    foreign = Celery("apunto", broker=stack.broker_url, set_as_current=False)
    foreign.conf.task_send_sent_event = True
    watch = RedisWatch(redis.Redis.from_url(redis_from_broker(stack.broker_url)))
    watchers = [threading.Thread(target=each) for each in (watch.run, watch.listen)]
    for each in watchers:
        each.start()
    with Apunto(stack) as apunto:
        yield CanaryStack(stack, apunto, foreign, flower, flower_port, home, metrics_port, watch)
    watch.stop.set()
    for each in watchers:
        each.join()
    if flower.name in stack.runtime.pids:
        stack.runtime.stop_service(flower.name)
    foreign.close()


def canary_invoice(account: str, external_id: str, **changes: Any) -> dict[str, Any]:
    receptor = a_receptor(
        rfc=CANARIES["rfc"],
        nombre=CANARIES["name"],
        domicilio_fiscal_receptor="64000",
        regimen_fiscal_receptor="601",
        email=CANARIES["email"],
    )
    return an_invoice(
        **{
            "account": account,
            "external_id": external_id,
            "fecha": None,
            "receptor": receptor,
            "conceptos": [],
            "send_to": [CANARIES["email"]],
            **changes,
        }
    )


def lines() -> list[dict[str, Any]]:
    return [a_concepto(retenciones=[], descripcion=f"Flete para {CANARIES['name']}")]


def connect(canary_stack: CanaryStack, account: str, key: str, **changes: Any) -> None:
    canary_stack.send(
        "stamping.connect",
        account=account,
        api_key_encrypted=canary_stack.apunto.fernet.encrypt(key.encode()).decode(),
        **{"rfc": RFC, "razon_social": NAME, "codigo_postal": POSTCODE, "serie": "A", **changes},
    )


def fly(canary_stack: CanaryStack) -> str:
    """Send the canary everywhere; return its account once everything has settled."""
    apunto, sandbox = canary_stack.apunto, canary_stack.stack.sandbox
    account = f"canary-{MARK.lower()}"
    sandbox.open_account(
        account,
        api_key=CANARIES["key"],
        rfc=RFC,
        razon_social=NAME,
        regimen_fiscal="601",
        lugares=[POSTCODE, "64000"],
    )
    sandbox.control(
        "POST", "/taxpayers", {"rfc": CANARIES["rfc"], "name": CANARIES["name"], "postcode": "64000"}
    )
    # a key in every wrong form, then the right one
    connect(canary_stack, account, f'"{CANARIES["key"]}"')
    apunto.until_connection(account, "broken")
    connect(canary_stack, account, CANARIES["key"], razon_social=CANARIES["name"], rfc=CANARIES["rfc"])
    apunto.until_true(
        lambda: apunto.query("SELECT reason FROM connections WHERE account = :a", a=account),
        lambda rows: rows[0].reason == "rfc_mismatch",
        20,
    )
    connect(canary_stack, account, f" {CANARIES['key']} ")
    apunto.until_connection(account, "active")

    # stamped and mailed, lost and found, refused by us and by the SAT, cancelled
    sandbox.play("drop_after", account=account, call="stamp", times=1, after=1)
    sandbox.play("mail_fails", account=account, call="mail", times=1)
    for external_id in ("GOOD-1", "GOOD-2", "GOOD-3"):
        canary_stack.send(
            "stamping.submit_invoice", invoice=canary_invoice(account, external_id, conceptos=lines())
        )
    wrong_place = canary_invoice(account, "SAT-SAYS-NO", conceptos=lines())
    wrong_place["receptor"]["domicilio_fiscal_receptor"] = "76343"
    long_name = canary_invoice(account, "WE-SAY-NO", conceptos=lines())
    long_name["receptor"] |= {"nombre": CANARIES["name"] * 12, "rfc": CANARIES["rfc"] + "X", "email": "no"}
    canary_stack.send("stamping.submit_invoice", invoice=wrong_place)
    canary_stack.send("stamping.submit_invoice", invoice=long_name)
    apunto.until(account, {"stamped"}, 3, 40)
    apunto.until(account, {"rejected"}, 2, 20)
    canary_stack.send("stamping.cancel_invoice", account=account, external_id="GOOD-1", motivo="02")
    canary_stack.send("stamping.retry_invoice", account=account, external_id=CANARIES["name"])
    canary_stack.send(
        "stamping.cancel_invoice",
        account={"rfc": CANARIES["rfc"]},
        external_id=CANARIES["email"],
        motivo="02",
    )
    apunto.until(account, {"cancelled"}, 1, 20)

    crash(canary_stack, account)
    apunto.until_true(lambda: sandbox.ledger(account)["mails"], lambda mails: len(mails) >= 2, 40)
    # a key that was revoked, and a forgotten connection
    sandbox.revoke_key(account)
    canary_stack.send("stamping.submit_invoice", invoice=canary_invoice(account, "LATE", conceptos=lines()))
    apunto.until_connection(account, "broken", 30)
    apunto.until(account, {"on_hold"}, 1, 20)
    canary_stack.send("stamping.disconnect", account=account)
    apunto.until_connection(account, "disconnected")
    return account


def crash(canary_stack: CanaryStack, account: str) -> None:
    """What nobody wants: rows that the tables refuse, a table that is away, messages that are no tasks."""
    apunto = canary_stack.apunto
    raw = canary_invoice(account, "CRASH", conceptos=lines())
    with apunto.engine.begin() as db:
        db.execute(sa.text("ALTER TABLE invoices ADD CONSTRAINT no_crash CHECK (external_id <> 'CRASH')"))
    canary_stack.send("stamping.submit_invoice", invoice=raw)
    until_stored(canary_stack, "CRASH")
    with apunto.engine.begin() as db:
        db.execute(sa.text("ALTER TABLE connections ADD CONSTRAINT no_crash CHECK (account <> 'NO-ACCOUNT')"))
    connect(canary_stack, "NO-ACCOUNT", CANARIES["key"], rfc=CANARIES["rfc"], razon_social=CANARIES["name"])
    until_stored(canary_stack, "NO-ACCOUNT")
    with apunto.engine.begin() as db:
        db.execute(sa.text("ALTER TABLE connections DROP CONSTRAINT no_crash"))
        db.execute(sa.text("ALTER TABLE invoices DROP CONSTRAINT no_crash"))
        db.execute(sa.text("ALTER TABLE dead_letters RENAME TO elsewhere"))
    canary_stack.send(
        "stamping.submit_invoice", invoice={"external_id": "GIVEN-BACK", "receptor": raw["receptor"]}
    )
    apunto.until_true(lambda: canary_stack.logs(), lambda logs: "given_back" in "".join(logs.values()), 20)
    with apunto.engine.begin() as db:
        db.execute(sa.text("ALTER TABLE elsewhere RENAME TO dead_letters"))
    until_stored(canary_stack, "GIVEN-BACK")

    canary_stack.foreign.send_task(
        "stamping.submit_invoic", kwargs={"invoice": {**raw, "external_id": "NO-TASK"}}, queue=INTAKE
    )
    canary_stack.foreign.send_task(
        "stamping.submit_invoice", args=[{**raw, "external_id": "BY-PLACE"}], queue=INTAKE
    )
    canary_stack.send(
        "stamping.submit_invoice", **{CANARIES["name"]: 1, "invoice": {**raw, "external_id": "ODD-KEYWORD"}}
    )
    canary_stack.foreign.send_task(
        "stamping.submit_invoice",
        kwargs={"invoice": {**raw, "external_id": "SHADOW"}},
        queue=INTAKE,
        shadow="stamping.sweep",
    )
    name = CANARIES["name"]
    for mark, body, headers in (
        (
            "NOT-JSON",
            f'{{"rfc": "{CANARIES["rfc"]}", "NOT-JSON',
            {"task": "stamping.connect", "id": "1"},
        ),
        ("NOT-CELERY", json.dumps({"NOT-CELERY": name}), {}),
        (
            "NO-ARGUMENTS",
            json.dumps(f"NO-ARGUMENTS {name}"),
            {"task": "stamping.connect", "id": "2"},
        ),
        ("NO-ID", json.dumps([["NO-ID", name], {}, {}]), {"task": "stamping.connect"}),
        ("4711", "4711", {"task": "stamping.connect", "id": "3"}),
    ):
        publish(canary_stack, body=body, headers=headers)
        until_stored(canary_stack, mark)
    for mark in ("NO-TASK", "BY-PLACE", "ODD-KEYWORD"):
        until_stored(canary_stack, mark)


def publish(canary_stack: CanaryStack, *, body: str, headers: dict[str, Any]) -> None:
    with canary_stack.foreign.connection_for_write() as connection, connection.Producer() as producer:
        producer.publish(
            body,
            routing_key=INTAKE,
            exchange="",
            headers=headers,
            content_type="application/json",
            content_encoding="utf-8",
            serializer=None,
        )


def until_stored(canary_stack: CanaryStack, mark: str) -> None:
    """Wait until a message lies where an operator finds it."""
    canary_stack.apunto.until_true(
        lambda: canary_stack.apunto.query("SELECT message FROM dead_letters"),
        lambda rows: any(mark in json.dumps(row.message) for row in rows),
        25,
    )


def test_the_canary_is_found_in_the_database_and_the_documents_and_nowhere_else(
    canary_stack: CanaryStack,
) -> None:
    """Not on a page of Flower, in Redis, a log or a metric."""
    account = fly(canary_stack)
    apunto = canary_stack.apunto
    apunto.until_true(
        lambda: canary_stack.watch.client.llen(INTAKE) + canary_stack.watch.client.hlen("unacked"),
        lambda n: n == 0,
        30,
    )
    worker = f"{canary_stack.stack.workers[0]}@timbrado"
    tasks = json.loads(canary_stack.get("/api/tasks?limit=10000"))
    pages = {
        path: canary_stack.get(path)
        for path in (
            *(
                "/",
                "/workers",
                "/tasks",
                "/broker",
                "/metrics",
                "/api/tasks?limit=10000",
                "/api/workers?refresh=1",
            ),
            f"/worker/{worker}",
            *(f"/task/{each}" for each in list(tasks)[-60:]),
            *(f"/api/task/info/{each}" for each in list(tasks)[-60:]),
        )
    }
    pages["worker's /metrics"] = canary_stack.get("/metrics", canary_stack.metrics_port)
    inspected = canary_stack.foreign.control.inspect(timeout=2)
    pages["inspect"] = str(
        [inspected.active(), inspected.reserved(), inspected.scheduled(), inspected.conf()]
    )
    canary_stack.stack.runtime.stop_service(canary_stack.flower.name)
    files = {path.name: path.read_bytes() for path in canary_stack.flower_home.rglob("*") if path.is_file()}
    canary_stack.watch.stop.set()
    canary_stack.watch.dump(while_running=False)

    # it was everywhere, and was looked for everywhere
    assert canary_stack.watch.rounds > 50
    assert canary_stack.watch.published > 50
    assert canary_stack.watch.seen_in_intake
    names = {task["name"] for task in tasks.values()}
    assert {"stamping.submit_invoice", "stamping.connect"} <= names
    assert any(task["state"] == "FAILURE" for task in tasks.values())
    assert files
    rows = apunto.query("SELECT content FROM invoices WHERE account = :a", a=account)
    assert canaries_in("".join(json.dumps(row.content) for row in rows)) == {"rfc", "name", "email"}
    stored = b"".join(path.read_bytes() for path in canary_stack.stack.documents.rglob("*.xml"))
    assert canaries_in(stored) == {"rfc", "name"}

    # and is nowhere else
    assert canary_stack.watch.found == []
    assert {name: canaries_in(text) for name, text in canary_stack.logs().items() if canaries_in(text)} == {}
    assert {path: canaries_in(text) for path, text in pages.items() if canaries_in(text)} == {}
    assert {name: canaries_in(data) for name, data in files.items() if canaries_in(data)} == {}


def test_the_key_is_nowhere_in_the_clear_not_even_in_the_database(canary_stack: CanaryStack) -> None:
    """Encrypted it was while it was needed; disconnected, nothing of it is left to decrypt."""
    tables = [
        row.tablename
        for row in canary_stack.apunto.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    ]
    canaries = {}
    for table in tables:
        text = "\n".join(str(tuple(row)) for row in canary_stack.apunto.query(f"SELECT * FROM {table}"))
        if "key" in canaries_in(text):
            canaries[table] = text
    (connection,) = canary_stack.apunto.query("SELECT * FROM connections WHERE account LIKE 'canary-%'")

    assert canaries == {}
    assert (connection.key_encrypted, connection.key_last4, connection.key_fingerprint) == (None, None, None)
