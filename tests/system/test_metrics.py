"""What operators see: counts and ages from the database, calls from the process, and health that means it."""

import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.apunto import RFC, Apunto, invoices_of
from tests.builders import an_invoice

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def watched(make_stack: Callable[..., Any]) -> Iterator[tuple[Apunto, str]]:
    port = free_port()
    with Apunto(make_stack(beat=False, env={"TIMBRADO_METRICS_PORT": str(port)})) as apunto:
        yield apunto, f"http://127.0.0.1:{port}"


def test_metrics_tell_what_stands_where_and_never_whose(watched: tuple[Apunto, str]) -> None:
    """By status and age from the table, by call and outcome from the process; no account, no RFC."""
    apunto, url = watched
    account = apunto.open_account()
    apunto.submit(invoices_of(account, 5))
    apunto.until(account, {"stamped"}, 5)
    apunto.submit([an_invoice(account="nobody-knows", external_id="H-1", fecha=None)])
    apunto.until("nobody-knows", {"on_hold"}, 1)

    def figures() -> dict[str, float]:
        text = httpx.get(f"{url}/metrics", trust_env=False).text
        return {
            found[1]: float(found[2])
            for found in re.finditer(r"^(timbrado_\S+(?:\{.*?\})?) (\S+)$", text, re.MULTILINE)
        }

    seen = apunto.until_true(figures, lambda now: now.get('timbrado_invoices{status="on_hold"}') == 1, 20)

    assert seen['timbrado_attempts_total{call="stamp",outcome="done"}'] == 5
    assert seen['timbrado_call_seconds_count{answered="yes",call="stamp"}'] == 5
    assert seen['timbrado_connections{reason="",status="active"}'] == 1
    assert seen['timbrado_oldest_seconds{status="on_hold"}'] >= 0
    assert seen["timbrado_database_up"] == 1
    assert 'timbrado_queue_messages{queue="stamp.bulk"}' in seen
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    assert account not in text
    assert RFC not in text


def test_ready_means_that_it_could_work_now(watched: tuple[Apunto, str]) -> None:
    """Ready while PostgreSQL, Redis and the store answer; not a moment longer, and alive all the same."""
    apunto, url = watched
    assert httpx.get(f"{url}/readyz", trust_env=False).text == "ok\n"

    documents = apunto.stack.documents
    aside = documents.with_name("aside")
    documents.rename(aside)
    documents.write_text("no folder any more")
    try:
        answer = httpx.get(f"{url}/readyz", trust_env=False)
        alive = httpx.get(f"{url}/healthz", trust_env=False)
    finally:
        documents.unlink()
        aside.rename(documents)

    assert (answer.status_code, "document store" in answer.text) == (503, True)
    assert alive.status_code == 200
