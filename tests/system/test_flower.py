"""Flower as the runtime starts it: readable, behind a password, and with nothing in it that is nobody's business."""

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devstack import services
from devstack.ports import any_port
from tests.support.apunto import NAME, RFC, Apunto
from tests.support.builders import an_invoice

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]
ROOT = Path(__file__).parents[2]
PASSWORD = "timbrado:not-so-secret-1234"
MAIL = "canario@ejemplo.mx"


@dataclass
class Flower:
    port: int

    def get(self, path: str, password: str | None = PASSWORD, method: str = "GET") -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        if password:
            request.add_header("Authorization", f"Basic {base64.b64encode(password.encode()).decode()}")
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""

    def api(self, path: str) -> Any:
        status, body = self.get(f"/api{path}")
        assert status == 200
        return json.loads(body)


@pytest.fixture(scope="module")
def apunto(stack: Any) -> Iterator[Apunto]:
    with Apunto(stack) as client:
        yield client


@pytest.fixture(scope="module")
def flower(apunto: Apunto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    """Beside the workers that all end-to-end tests share; listening before anything is sent.

    It has no way to the documents, as in docker-compose.yml.
    """
    port, runtime = any_port(), apunto.stack.runtime
    environment = {**apunto.stack.environment, "TIMBRADO_STORAGE_URL": "file:///proc/no/documents"}
    service = services.flower(tmp_path_factory.mktemp("flower"), port, PASSWORD, environment)
    runtime.add(service)
    yield Flower(port)
    runtime.stop_service(service.name)


def test_nothing_is_shown_without_the_password(flower: Flower) -> None:
    """Neither the pages nor the API, and no button that stops a worker."""
    for path in ("/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks"):
        assert flower.get(path, None)[0] == 401, path
        assert flower.get(path, "timbrado:wrong-password")[0] == 401, path
    assert flower.get("/api/worker/shutdown/any", None, "POST")[0] == 401


def test_workers_queues_and_tasks_read_as_what_they_are(flower: Flower, apunto: Apunto) -> None:
    """A page of them can be read by somebody who knows invoices and not the code."""
    (worker,) = apunto.stack.workers

    reported = flower.api("/workers?refresh=1")[f"{worker}@timbrado"]

    assert [queue["name"] for queue in reported["active_queues"]] == list(services.QUEUES)
    assert {name for name in reported["registered"] if not name.startswith("celery.")} >= {
        "stamping.submit_invoice",
        "stamping.cancel_invoice",
        "stamping.connect",
        "stamping.stamp_invoice",
        "stamping.reconcile_invoice",
        "stamping.fetch_documents",
        "stamping.deliver_events",
        "stamping.sweep",
    }
    page = flower.get("/broker")[1]
    assert all(queue in page for queue in services.QUEUES)


def test_no_page_shows_whose_invoice_it_is(flower: Flower, apunto: Apunto) -> None:
    """Stamped, refused and broken: no RFC, no name, no address, no amount and no key, on no page and in no answer."""
    account = apunto.open_account()
    good = an_invoice(account=account, external_id="CANARY-1", fecha=None, send_to=[MAIL])
    apunto.submit([good, {**good, "external_id": "CANARY-2", "total": "98765.43"}])
    apunto.until(account, {"stamped"}, 1)
    apunto.until(account, {"rejected"}, 1)
    key = apunto.stack.sandbox.regenerate_key(account)
    apunto.connect(account, key)
    apunto.until_connection(account, "active")

    def sent() -> dict[str, Any]:
        tasks: dict[str, Any] = flower.api("/tasks?limit=400")
        return {name: task for name, task in tasks.items() if task["name"] == "stamping.submit_invoice"}

    tasks = apunto.until_true(sent, lambda found: len(found) >= 2, 20)
    pages = [flower.get(path)[1] for path in ("/workers", "/tasks", "/broker", "/api/tasks?limit=400")]
    pages += [flower.get(f"/task/{each}")[1] for each in tasks]
    pages += [flower.get(f"/worker/{apunto.stack.workers[0]}@timbrado")[1]]
    shown = "\n".join(pages)

    assert "stamping.submit_invoice" in shown
    assert "(hidden)" in shown
    receptor = good["receptor"]
    for secret in (
        RFC,
        NAME,
        receptor["rfc"],
        receptor["nombre"],
        MAIL,
        "98765.43",
        key,
        "CANARY-1",
        account,
    ):
        assert secret not in shown, secret


def test_it_remembers_across_a_restart(flower: Flower, apunto: Apunto) -> None:
    """What it saw is kept on the disk, as it was shown."""
    account = apunto.open_account()
    apunto.submit([an_invoice(account=account, external_id="KEPT-1", fecha=None)])
    apunto.until(account, {"stamped"}, 1)
    before = flower.api("/tasks?limit=400")

    apunto.stack.runtime.restart_service("flower")

    assert before
    assert before.keys() <= flower.api("/tasks?limit=10000").keys()


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.7"])
def test_it_does_not_start_open_to_others(apunto: Apunto, address: str) -> None:
    """On anything but loopback it wants a password, and says in one line which setting that is."""
    environment = {name: value for name, value in apunto.stack.environment.items() if "FLOWER" not in name}
    environment["TIMBRADO_VAR"] = str(
        apunto.stack.documents
    )  # where nothing runs, whose password it could take
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "worker",
            "flower",
            f"--address={address}",
            f"--port={any_port()}",
        ],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        f"timbrado: Flower must not listen on {address} without a password: "
        "set TIMBRADO_FLOWER_BASIC_AUTH=user:password"
    ]
