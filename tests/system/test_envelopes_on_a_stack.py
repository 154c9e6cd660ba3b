"""No envelope ends a worker, loses what it carries, or has the worker write elsewhere; on a stack of its own."""

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from tests.support.apunto import Apunto, invoices_of
from tests.support.breakable_stack import Wreck, open_wreck, until
from tests.support.envelopes import NO_MESSAGES, an_envelope

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def wreck() -> Iterator[Wreck]:
    with open_wreck(workers=1) as opened:
        yield opened


@pytest.fixture
def apunto(wreck: Wreck) -> Iterator[Apunto]:
    wreck.all_up()
    with Apunto(wreck) as client:
        yield client


@pytest.fixture(scope="module")
def account(wreck: Wreck) -> str:
    with Apunto(wreck) as client:
        return client.open_account()


def push(wreck: Wreck, *raw: bytes | dict[str, Any], queue: str = "intake") -> None:
    with redis.Redis.from_url(wreck.runtime.redis_url) as client:
        client.lpush(queue, *(each if isinstance(each, bytes) else json.dumps(each) for each in raw))


def statuses(apunto: Apunto, several: list[dict[str, Any]]) -> list[str]:
    """Where these invoices stand: one that there is no row of yet is left out."""
    rows = apunto.rows(several[0]["account"])
    return [rows[each["external_id"]].status for each in several if each["external_id"] in rows]


def letters(apunto: Apunto) -> int:
    return int(apunto.query("SELECT count(*) AS n FROM dead_letters")[0].n)


def test_what_is_no_message_is_kept_and_ends_no_worker(wreck: Wreck, apunto: Apunto, account: str) -> None:
    """No JSON, deep nesting, no properties, a foreign encoding: each is a dead letter with its bytes, and the invoices
    beside them are stamped by the same process."""
    (good, after), before = invoices_of(account, 2), letters(apunto)
    pid = wreck.runtime.pids["worker1"]

    push(wreck, *NO_MESSAGES.values(), an_envelope("stamping.submit_invoice", {"invoice": good}))
    until(lambda: letters(apunto) >= before + len(NO_MESSAGES), 60)
    apunto.submit([after])
    until(lambda: statuses(apunto, [good, after]) == ["stamped"] * 2, 60)

    rows = apunto.query("SELECT body, queue, reason FROM dead_letters WHERE queue = 'intake'")
    assert {bytes(row.body) for row in rows} >= {raw[:2_000_000] for raw in NO_MESSAGES.values()}
    assert all(row.reason for row in rows)
    assert wreck.runtime.pids["worker1"] == pid


ENVELOPES: dict[str, dict[str, Any]] = {
    "expired": {"headers": {"expires": "2020-01-01T00:00:00+00:00"}},
    "for next year": {"headers": {"eta": "2036-01-01T00:00:00+00:00"}},
    "of the year 1": {
        "headers": {"eta": "0001-01-01T00:00:00-14:00", "expires": "0001-01-01T00:00:00-14:00"}
    },
    "rubbish": {
        "headers": {"eta": [1], "expires": 1e308, "retries": 10**30, "timelimit": ["a"], "shadow": "\x1b"}
    },
    "followed": {
        "embed": {
            name: [{"task": "x", "args": [], "kwargs": {}, "options": {"queue": "evil"}, "immutable": True}]
            for name in ("callbacks", "errbacks", "chain")
        }
    },
    "of an exchange that there is none of": {"delivery_info": {"exchange": "gone", "routing_key": "nowhere"}},
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_the_envelope_changes_nothing(wreck: Wreck, apunto: Apunto, account: str, name: str) -> None:
    """However old or early a message says to be, whatever is to follow it: its invoice is stamped, now, and no other
    queue is written."""
    (invoice,) = invoices_of(account, 1)

    push(wreck, an_envelope("stamping.submit_invoice", {"invoice": invoice}, **ENVELOPES[name]))

    until(lambda: statuses(apunto, [invoice]) == ["stamped"], 30)
    with redis.Redis.from_url(wreck.runtime.redis_url) as client:
        assert client.exists("evil", "_kombu.binding.evil", "nowhere") == 0


def test_a_message_that_waited_longer_than_its_sender_allowed_is_taken(
    wreck: Wreck, apunto: Apunto, account: str
) -> None:
    """Many applications set `expires` for all their tasks: a worker that was away must not cost them invoices."""
    several = invoices_of(account, 3)
    wreck.runtime.stop_service("worker1")
    for each in several:
        apunto.app.send_task("stamping.submit_invoice", kwargs={"invoice": each}, queue="intake", expires=1)
    later = datetime.now(UTC) + timedelta(seconds=1.2)
    while datetime.now(UTC) < later:
        time.sleep(0.1)
    wreck.runtime.start_service("worker1")

    names = {each["external_id"] for each in several}
    until(
        lambda: {"stamped"} == {row.status for name, row in apunto.rows(account).items() if name in names}, 60
    )


@pytest.mark.parametrize("cycle", range(2))
def test_a_full_redis_loses_nothing_that_was_taken(
    wreck: Wreck, apunto: Apunto, account: str, cycle: int
) -> None:
    """Redis allows a message to be taken while it is full, and refuses to note that it was: it is worked on all the
    same, each of ten is stamped while Redis is still full, and the worker goes on."""
    several = invoices_of(account, 10)
    pid = wreck.runtime.pids["worker1"]
    with redis.Redis.from_url(wreck.runtime.redis_url) as client:
        os.kill(pid, signal.SIGSTOP)
        apunto.submit(several)
        client.set("ballast", b"x" * 6_000_000)
        client.config_set("maxmemory", 4_000_000)
        os.kill(pid, signal.SIGCONT)
        try:
            until(lambda: client.llen("intake") == 0, 30)
            until(lambda: statuses(apunto, several) == ["stamped"] * 10, 30)
        finally:
            client.config_set("maxmemory", 0)
            client.delete("ballast")

    assert wreck.runtime.pids["worker1"] == pid
