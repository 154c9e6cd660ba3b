"""What operators see: counts and ages from the database, calls from the process, and health that means it."""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import sqlalchemy as sa

from devstack import services
from devstack.ports import any_port
from tests.support.apunto import RFC, Apunto, invoices_of
from tests.support.builders import an_invoice
from worker.health import Health
from worker.metrics import FRESH

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def watched(make_stack: Callable[..., Any]) -> Iterator[tuple[Apunto, str]]:
    port = any_port()
    with Apunto(make_stack(beat=False, env={"TIMBRADO_METRICS_PORT": str(port)})) as apunto:
        yield apunto, f"http://127.0.0.1:{port}"


def test_metrics_show_what_stands_where_and_never_whose(watched: tuple[Apunto, str]) -> None:
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
    assert seen["timbrado_invoices_due"] == 0
    assert seen["timbrado_database_up"] == 1
    assert 'timbrado_queue_messages{queue="stamp.bulk"}' in seen
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    assert account not in text
    assert RFC not in text


def test_who_asks_whether_it_lives_waits_for_no_table(watched: tuple[Apunto, str]) -> None:
    """While a scrape waits for a lock, /healthz answers."""
    apunto, url = watched
    with apunto.engine.connect() as session, ThreadPoolExecutor() as pool:
        session.execute(sa.text("LOCK TABLE invoices IN ACCESS EXCLUSIVE MODE"))
        time.sleep(FRESH)  # so that the scrape does not tell what it knows
        scrape = pool.submit(httpx.get, f"{url}/metrics", trust_env=False, timeout=30)
        apunto.until_true(lambda: waits_for_a_lock(apunto), bool, 10)

        alive = httpx.get(f"{url}/healthz", trust_env=False, timeout=2)

        assert not scrape.done()
        session.rollback()
        assert scrape.result().status_code == alive.status_code == 200


def waits_for_a_lock(apunto: Apunto) -> bool:
    return bool(
        apunto.query(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )


def test_a_process_whose_loop_stands_still_is_not_alive() -> None:
    """Unless it waits for its broker: a restart would fix nothing, and once that is back it has its time again."""
    time_is, broker = [0.0], [True]
    nowhere = sa.create_engine("postgresql+psycopg://nowhere.invalid/x")
    health = Health(
        nowhere,
        redis.Redis(port=1),
        store=None,
        broker_answers=lambda: broker[0],
        clock=lambda: time_is[0],
    )
    time_is[0] = 59
    assert health.faults_of_life() == []
    time_is[0] = 61
    assert health.faults_of_life() == ["no sign of life for 61 s"]
    broker[0] = False
    assert health.faults_of_life() == []
    broker[0], time_is[0] = True, 120
    assert health.faults_of_life() == []
    time_is[0] = 122
    assert health.faults_of_life() == ["no sign of life for 61 s"]
    health.beat()
    assert health.faults_of_life() == []


def test_ready_means_that_it_could_work_now(watched: tuple[Apunto, str]) -> None:
    """Ready while PostgreSQL, the broker and the store answer; not a moment longer, and alive all the same."""
    apunto, url = watched
    assert httpx.get(f"{url}/readyz", trust_env=False).text == "ok\n"

    documents = apunto.stack.documents
    moved = documents.with_name("moved")
    documents.rename(moved)
    documents.write_text("no folder any more")
    try:
        answer = httpx.get(f"{url}/readyz", trust_env=False)
        alive = httpx.get(f"{url}/healthz", trust_env=False)
    finally:
        documents.unlink()
        moved.rename(documents)

    assert (answer.status_code, "document store" in answer.text) == (503, True)
    assert alive.status_code == 200


def test_beat_shows_the_table_where_no_documents_are(
    watched: tuple[Apunto, str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As in docker-compose.yml, where its root is read-only and has no volume."""
    apunto, _ = watched
    (tmp_path / "a-file").touch()
    port = any_port()
    environment = {
        **apunto.stack.environment,
        "TIMBRADO_STORAGE_URL": (tmp_path / "a-file" / "documents").as_uri(),
        "TIMBRADO_METRICS_PORT": str(port),
    }
    beat = services.beat(tmp_path_factory.mktemp("beat"), environment, name="beat-without-documents")
    apunto.stack.runtime.add(beat)
    try:
        answers = [
            httpx.get(f"http://127.0.0.1:{port}/{page}", trust_env=False)
            for page in ("metrics", "healthz", "readyz")
        ]
    finally:
        apunto.stack.runtime.stop_service(beat.name)

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert "timbrado_database_up 1.0" in answers[0].text
