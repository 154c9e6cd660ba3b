"""What stands behind another account's thousands in `intake` goes ahead of them, in its own order."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from tasks.look_ahead import AHEAD, BLOCK, LONG, PREFIX, LookAhead
from tests.support.builders import an_invoice
from tests.support.envelopes import an_envelope

Client = Any


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with redis.Redis.from_url(redis_url) as opened:
        yield opened


def submission(account: str, number: int) -> bytes:
    invoice = an_invoice(account=account, external_id=f"{account}-{number}")
    return json.dumps(an_envelope("stamping.submit_invoice", {"invoice": invoice})).encode()


def connection(account: str) -> bytes:
    return json.dumps(an_envelope("stamping.connect", {"account": account, "rfc": "EKU9003173C9"})).encode()


def send(client: Client, *messages: bytes) -> None:
    with client.pipeline(transaction=False) as many:
        for each in messages:
            many.lpush("intake", each)
        many.execute()


def flood(client: Client, count: int, first: int = 0) -> list[bytes]:
    messages = [submission("crowd", first + number) for number in range(count)]
    send(client, *messages)
    return messages


def oldest_first(client: Client, queue: str) -> list[bytes]:
    return list(reversed(client.lrange(queue, 0, -1)))


def test_what_stands_behind_thousands_goes_ahead_in_its_order(client: Client) -> None:
    """Wherever it stands between them, and however often it is looked at; the thousands keep their order."""
    early, late = [submission("small", n) for n in range(3)], [submission("small", n) for n in range(3, 5)]
    before = flood(client, BLOCK + 10)
    send(client, *early)
    between = flood(client, 700, BLOCK + 10)
    send(client, connection("new"), *late)
    ahead_of = LookAhead(client, "worker")

    assert ahead_of.look() == 6
    ahead = oldest_first(client, AHEAD)
    assert [each for each in ahead if each in early + late] == early + late
    assert oldest_first(client, "intake") == before + between
    assert ahead_of.look() == 0


def test_what_comes_later_is_found_without_reading_all_again(client: Client) -> None:
    """Only what is newer than what was read; also while workers take from the other end."""
    before = flood(client, 600)
    ahead_of = LookAhead(client, "worker")
    assert ahead_of.look() == 0
    after = flood(client, 50, 600)
    new = [submission("small", n) for n in range(2)]
    send(client, *new)
    for _ in range(100):
        client.rpop("intake")

    assert ahead_of.look() == 2
    assert oldest_first(client, AHEAD) == new
    assert oldest_first(client, "intake") == [*before, *after][100:]


def test_a_crowd_is_read_without_carrying_its_messages(client: Client) -> None:
    """What begins like the crowd's messages is counted where it is; who only looks like it goes ahead all the same."""
    flood(client, 2 * BLOCK)
    others = [connection("crowd"), submission("crowd-2", 1), submission("crow", 1)]
    send(client, *others)
    before = client.info("stats")["total_net_output_bytes"]

    assert LookAhead(client, "worker").look() == 3
    assert oldest_first(client, AHEAD) == others
    carried = client.info("stats")["total_net_output_bytes"] - before
    assert carried < 1.5 * BLOCK * PREFIX


def test_a_crowds_own_key_goes_ahead_of_its_invoices(client: Client) -> None:
    """A request to connect is not behind the thousands of its own account either."""
    flood(client, 300)
    own = connection("crowd")
    send(client, own)

    assert LookAhead(client, "worker").look() == 1
    assert oldest_first(client, AHEAD) == [own]


@pytest.mark.parametrize(
    "fill",
    [
        lambda client: flood(client, LONG),
        lambda client: send(client, *(submission(f"a{n % 40}", n) for n in range(3_000))),
        lambda client: send(client, *(submission(f"a{n % 700}", n) for n in range(BLOCK + 2_000))),
        lambda client: send(client, *(b"\x00 no message" for _ in range(300))),
    ],
    ids=["short", "forty with as many each", "hundreds with a few each", "no messages"],
)
def test_nothing_moves_where_nobody_is_in_the_way(client: Client, fill: Callable[[Client], Any]) -> None:
    """A short queue, and one in which no account has more than the others, are worked as they come."""
    fill(client)
    before = client.lrange("intake", 0, -1)

    assert LookAhead(client, "worker").look() == 0
    assert (client.lrange("intake", 0, -1), client.llen(AHEAD)) == (before, 0)


def test_one_process_reads_at_a_time(client: Client) -> None:
    """The first one, until it has not looked for some seconds: then the next takes over, and reads from the start."""
    flood(client, 300)
    first, second = LookAhead(client, "first"), LookAhead(client, "second")
    first.look()
    send(client, submission("small", 1))

    assert second.look() == 0
    client.delete("timbrado.look_ahead")
    assert second.look() == 1


def test_a_body_that_is_not_base64_names_its_account_too(client: Client) -> None:
    """As clients of other languages write it."""
    flood(client, 300)
    envelope = json.loads(submission("small", 1))
    envelope["body"] = base64.b64decode(envelope["body"]).decode()
    send(client, json.dumps(envelope).encode())

    assert LookAhead(client, "worker").look() == 1
