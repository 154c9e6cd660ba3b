"""The client over a real Redis: many threads at once, connections that die, and a broker that says no."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import redis
from timbrado_client import BrokerUnavailable, Timbrado

from tests.support.builders import an_invoice


@pytest.fixture
def client(broker_url: str) -> Iterator[Timbrado]:
    with Timbrado(broker_url, timeout=timedelta(seconds=0.5)) as client:
        yield client


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as server:
        yield server


def queued(server: redis.Redis) -> list[str]:
    """The headers' ids of what lies in the queue."""
    return [json.loads(message)["headers"]["id"] for message in server.lrange("intake", 0, -1)]


def test_many_threads_share_one_client(client: Timbrado, server: redis.Redis) -> None:
    """Each message is there once, and few connections stay open."""

    def send(number: int) -> str:
        return client.submit(an_invoice(external_id=f"OP-{number}")).message_id

    with ThreadPoolExecutor(16) as threads:
        sent = list(threads.map(send, range(160)))

    assert sorted(queued(server)) == sorted(sent)
    assert len(client._broker._idle) <= 8


def test_a_connection_that_died_meanwhile_costs_nothing(client: Timbrado, server: redis.Redis) -> None:
    """The broker was restarted, or a firewall forgot: the next message is sent all the same."""
    client.submit(an_invoice(external_id="before"))
    for other in server.client_list():
        if (
            other["db"] == str(server.connection_pool.connection_kwargs["db"])
            and other["cmd"] != "client|list"
        ):
            server.client_kill_filter(_id=other["id"])

    client.submit(an_invoice(external_id="after"))

    assert len(queued(server)) == 2


def test_a_broker_that_refuses_the_message_is_one_error(client: Timbrado, server: redis.Redis) -> None:
    """Whatever Redis says no with (here: the key is of another type; else: out of memory, a replica)."""
    server.set("intake", "not a list")

    with pytest.raises(BrokerUnavailable) as lost:
        client.submit(an_invoice())

    assert "WRONGTYPE" in str(lost.value.__cause__)
    server.delete("intake")
    client.submit(an_invoice())
    assert len(queued(server)) == 1


@pytest.mark.slow
def test_a_broker_that_hangs_is_given_up_after_its_timeout() -> None:
    """It takes the connection and never answers: the first try outlasts the timeout, and none follows."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        client = Timbrado(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", timeout=timedelta(seconds=0.5))

        with pytest.raises(BrokerUnavailable) as lost:
            client.submit(an_invoice())

    assert lost.value.tries == 1
