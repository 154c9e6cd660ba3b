"""The very same message delivered a second time by a real broker to real workers: it was done, and does nothing now."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.support.apunto import NAME, POSTCODE, RFC, Apunto
from tests.support.breakable_stack import Wreck, open_wreck, until
from tests.support.builders import an_invoice
from tests.support.envelopes import an_envelope

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def wreck() -> Iterator[Wreck]:
    with open_wreck(workers=2) as opened:
        yield opened


@pytest.fixture
def apunto(wreck: Wreck) -> Iterator[Apunto]:
    wreck.all_up()
    with Apunto(wreck) as client:
        yield client


def push(wreck: Wreck, envelope: dict[str, Any]) -> None:
    with redis.Redis.from_url(wreck.runtime.redis_url) as client:
        client.lpush("intake", json.dumps(envelope))


def in_hand(client: redis.Redis, task: str) -> list[bytes]:
    """The tags of the messages of a task that workers have taken and not acknowledged."""
    taken: dict[bytes, bytes] = client.hgetall("unacked")  # type: ignore[assignment]  # not asynchronous
    return [tag for tag, raw in taken.items() if f'"{task}"'.encode() in raw]


def connection(apunto: Apunto, account: str) -> Any:
    return apunto.query("SELECT * FROM connections WHERE account = :a", a=account)[0]


def connecting(apunto: Apunto, account: str, key: str) -> dict[str, Any]:
    token = apunto.fernet.encrypt(key.encode()).decode()
    return {
        "account": account,
        "api_key_encrypted": token,
        "rfc": RFC,
        "razon_social": NAME,
        "codigo_postal": POSTCODE,
        "serie": "A",
    }


def events_after(apunto: Apunto, account: str, count: int) -> list[Any]:
    """The events of an account after the first `count`, once there is one."""
    found: list[Any] = until(lambda: apunto.events(account)[count:], 30)
    return found


def test_a_killed_worker_does_not_bring_the_old_key_back(wreck: Wreck, apunto: Apunto) -> None:
    """kill -9 while an old key is being validated, and the right one is connected; when Redis hands the old message out
    again, the right key stays and nobody reads that it is bad."""
    account = apunto.open_account()
    old = wreck.sandbox.account(account)["api_key"]
    new = wreck.sandbox.regenerate_key(account)
    wreck.sandbox.play("silence_before", account=account, call="conectar", times=1, seconds=9)
    first = an_envelope("stamping.connect", connecting(apunto, account, old))
    push(wreck, first)
    until(lambda: connection(apunto, account).status == "pending", 20)
    with redis.Redis.from_url(wreck.runtime.redis_url) as client:
        for name in wreck.workers:
            wreck.runtime.kill(name)
        wreck.all_up()
        apunto.connect(account, new)
        apunto.until_connection(account, "active")
        count = len(apunto.events(account))
        tag = first["properties"]["delivery_tag"]
        assert client.hexists("unacked", tag)
        # what kombu does once the visibility timeout is over: here that would be eight minutes
        (kept, _, _) = json.loads(str(client.hget("unacked", tag), "utf-8"))  # type: ignore[arg-type]  # not asynchronous
        client.hdel("unacked", tag)
        client.lpush("intake", json.dumps(kept))

    assert [event.type for event in events_after(apunto, account, count)] == ["connection.active"]
    row = connection(apunto, account)
    assert (row.status, row.key_last4) == ("active", new[-4:])


def test_a_disconnect_delivered_again_forgets_no_key(wreck: Wreck, apunto: Apunto) -> None:
    """Disconnected, connected anew, and the old message once more."""
    account = apunto.open_account()
    gone = an_envelope("stamping.disconnect", {"account": account})
    push(wreck, gone)
    apunto.until_connection(account, "disconnected")
    apunto.connect(account, wreck.sandbox.account(account)["api_key"])
    apunto.until_connection(account, "active")

    push(wreck, gone)
    with redis.Redis.from_url(wreck.runtime.redis_url) as client:
        until(lambda: client.llen("intake") == 0 and not in_hand(client, "stamping.disconnect"), 30)

    assert connection(apunto, account).status == "active"


def test_an_old_file_of_redis_undoes_nothing(wreck: Wreck, apunto: Apunto) -> None:
    """Every message that was ever sent, handed out again in another order: what is stamped says so, what was corrected
    stays corrected, and no stamp is made."""
    account = apunto.open_account()
    wrong = an_invoice(account=account, external_id="X-1", fecha=None, total="1.00")
    right = an_invoice(account=account, external_id="X-1", fecha=None)
    first, second = (an_envelope("stamping.submit_invoice", {"invoice": each}) for each in (wrong, right))
    push(wreck, first)
    apunto.until(account, {"rejected"}, 1)
    push(wreck, second)
    apunto.until(account, {"stamped"}, 1)
    count = len(apunto.events(account))

    for each in (second, first):
        push(wreck, each)
        time.sleep(0.1)
    until(lambda: len(apunto.events(account)) >= count + 2, 30)

    emitted = apunto.events(account)[count:]
    assert [(event.type, event.data["errors"]) for event in emitted] == [("invoice.stamped", [])] * 2
    assert wreck.sandbox.ledger(account)["stamps"] == 1
