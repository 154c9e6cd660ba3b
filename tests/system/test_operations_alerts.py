"""The alert that should fire fires, in a real Prometheus that watches a real worker and beat; and no other."""

import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devstack import services
from devstack.ports import any_port
from tests.support.apunto import Apunto, invoices_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="Prometheus is not here (Debian: prometheus)"
    ),
]
ALERTS = Path(__file__).parents[2] / "deploy/prometheus/alerts.yml"


@dataclass
class Prometheus:
    url: str

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    def targets(self) -> dict[str, str]:
        return {each["labels"]["job"]: each["health"] for each in self.ask("targets")["activeTargets"]}

    def firing(self) -> set[str]:
        return {
            each["labels"]["alertname"] for each in self.ask("alerts")["alerts"] if each["state"] == "firing"
        }


@pytest.fixture(scope="module")
def apunto(make_stack: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apunto]:
    """A worker and beat that tell, each on its own port."""
    stack = make_stack(beat=False, env={"TIMBRADO_METRICS_PORT": str(any_port())})
    environment = {**stack.environment, "TIMBRADO_METRICS_PORT": str(any_port())}
    stack.runtime.add(services.beat(tmp_path_factory.mktemp("beat"), environment, name="watched-beat"))
    stack.environment["BEAT_PORT"] = environment["TIMBRADO_METRICS_PORT"]
    with Apunto(stack) as client:
        yield client
    stack.runtime.stop_service("watched-beat")


@pytest.fixture(scope="module")
def prometheus(apunto: Apunto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Looks every second, and waits for nothing: an alert fires as soon as its expression holds for two seconds."""
    home, port = tmp_path_factory.mktemp("prometheus"), any_port()
    (home / "alerts.yml").write_text(re.sub(r"for: \d+m", "for: 2s", ALERTS.read_text()))
    jobs = {
        "timbrado-worker": apunto.stack.environment["TIMBRADO_METRICS_PORT"],
        "timbrado-beat": apunto.stack.environment["BEAT_PORT"],
    }
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [
            {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{reported}"]}]}
            for name, reported in jobs.items()
        ],
    }
    (home / "prometheus.yml").write_text(json.dumps(settings))
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={home / 'prometheus.yml'}",
            f"--storage.tsdb.path={home / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stderr=subprocess.DEVNULL,
    )
    yield Prometheus(f"http://127.0.0.1:{port}")
    process.terminate()
    process.wait(20)


def seen(look: Callable[[], Any], wanted: Any, seconds: float) -> Any:
    deadline, found = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            found = look()
        except OSError:  # it is starting
            found = None
        if found == wanted:
            return found
        time.sleep(0.25)
    return found


def test_an_outage_of_contadigital_is_reported_and_nothing_else(
    apunto: Apunto, prometheus: Prometheus
) -> None:
    """Quiet while invoices are stamped; then calls are answered with 503, and what fires is about that alone.

    Answers of 503 are lost ones too: the ticket about those may come with the page.
    """
    both = {"timbrado-worker": "up", "timbrado-beat": "up"}
    assert seen(prometheus.targets, both, 30) == both
    account = apunto.open_account()
    apunto.submit(invoices_of(account, 5))
    apunto.until(account, {"stamped"}, 5)
    time.sleep(4)
    assert prometheus.firing() == set()

    apunto.stack.sandbox.play("status_before", account=account, call="save", status=503)
    apunto.submit(invoices_of(account, 8))

    def paged() -> set[str]:
        return prometheus.firing() - {"TimbradoAnswersLost"}

    assert seen(paged, {"TimbradoProviderDown"}, 30) == {"TimbradoProviderDown"}
