"""Settings of Celery that make a task run twice, or lose it, stop the start with one line that names them."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from cryptography.fernet import Fernet
from kombu import Connection

from config.settings import load
from devstack.ports import any_port
from worker import guard
from worker.guard import RunsTwice, refuse_what_runs_twice, refuse_what_runs_twice_here

ROOT = Path(__file__).parents[2]
LEASE = timedelta(seconds=180)
SETTINGS = {
    "TIMBRADO_BROKER_URL": "redis://127.0.0.1:1/0",
    "TIMBRADO_DATABASE_URL": "postgresql+psycopg://timbrado@127.0.0.1:1/timbrado",
    "TIMBRADO_STORAGE_URL": "file:///nowhere/cfdi",
    "TIMBRADO_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    "TIMBRADO_CONTADIGITAL_URL": "https://app.contadigital.mx",
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIMBRADO_")}
    return kept | SETTINGS | {"TIMBRADO_VAR": str(tmp_path_factory.mktemp("guard"))}


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> "Celery[Any]":
    """The app as it is made from good settings."""
    for name in [name for name in os.environ if name.startswith("TIMBRADO_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    from worker.app import create_app  # noqa: PLC0415  # it reads the settings

    return create_app(load())


def a_worker(app: "Celery[Any]", pool: str = "threads") -> Any:
    """As much of Celery's worker as the guard looks at."""
    return SimpleNamespace(app=app, pool_cls=pool)


def test_the_app_as_it_is_made_is_safe(app: "Celery[Any]") -> None:
    """Nothing is refused of our own settings and our own tasks."""
    app.loader.import_default_modules()

    refuse_what_runs_twice(app, lease=LEASE)
    refuse_what_runs_twice_here(a_worker(app), lease=LEASE)

    assert {name for name in app.tasks if name.startswith("stamping.")} >= {
        "stamping.submit_invoice",
        "stamping.stamp_invoice",
        "stamping.sweep",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_acks_late", False),
        ("task_reject_on_worker_lost", False),
        ("task_acks_on_failure_or_timeout", False),
        ("worker_prefetch_multiplier", 4),
        ("worker_cancel_long_running_tasks_on_connection_loss", True),
        ("task_ignore_result", False),
        ("task_always_eager", True),
        ("task_serializer", "pickle"),
        ("accept_content", ["json", "pickle"]),
        ("broker_transport_options", {"visibility_timeout": 180}),
        ("task_annotations", {"*": {"max_retries": 3}}),
        ("task_annotations", [{"stamping.stamp_invoice": {"autoretry_for": (Exception,)}}]),
        ("task_annotations", [object()]),
    ],
)
def test_each_setting_that_runs_things_twice_is_named(app: "Celery[Any]", name: str, value: Any) -> None:
    """One line, which holds the setting's own name."""
    app.conf[name] = value

    with pytest.raises(RunsTwice, match=name) as refused:
        refuse_what_runs_twice(app, lease=LEASE)

    assert "\n" not in str(refused.value)


def test_a_longer_lease_asks_for_a_longer_visibility(app: "Celery[Any]") -> None:
    """What is still in hand must not be handed out again: the two go together."""
    app.conf.broker_transport_options = {"visibility_timeout": 240}

    refuse_what_runs_twice(app, lease=LEASE)
    with pytest.raises(RunsTwice, match="visibility_timeout must be more than TIMBRADO_LEASE"):
        refuse_what_runs_twice(app, lease=timedelta(seconds=300))


@pytest.mark.parametrize("pool", ["prefork", "gevent", "eventlet"])
def test_a_pool_that_forks_or_patches_is_refused(app: "Celery[Any]", pool: str) -> None:
    """What a process opens may not be forked, and gevent was measured to run tasks twice."""
    with pytest.raises(RunsTwice, match="worker_pool must be threads or solo"):
        refuse_what_runs_twice_here(a_worker(app, pool), lease=LEASE)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "max_retries"),  # Celery's default is 3, and it says nothing
        ({"max_retries": None, "autoretry_for": (OSError,)}, "autoretry_for"),
        ({"max_retries": None, "acks_late": False}, "acks_late"),
        ({"max_retries": None, "ignore_result": False}, "ignore_result"),
        ({"max_retries": None, "reject_on_worker_lost": False}, "reject_on_worker_lost"),
    ],
)
def test_a_task_with_options_of_its_own_is_named(options: dict[str, Any], named: str) -> None:
    """Whoever adds a task cannot forget what all tasks share."""
    ours = Celery("guard-test", set_as_current=False)
    ours.conf.update(task_acks_late=True, task_ignore_result=True, task_reject_on_worker_lost=True)

    @ours.task(name=f"stamping.new_with_{named}", **options)
    def new() -> None:
        """Do nothing."""

    assert any(fault.startswith(named) for fault in guard.faults_of(ours.tasks[new.name]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "module", "named"),
    [
        (
            [],
            "task_annotations = {'*': {'max_retries': 3}}",
            "task_annotations['*'] must not set max_retries",
        ),
        (["--", "worker_prefetch_multiplier=8"], "", "worker_prefetch_multiplier must be 1"),
    ],
    ids=["a config module", "the command line"],
)
def test_a_real_start_ends_with_that_line(
    environment: dict[str, str], tmp_path: Path, arguments: list[str], module: str, named: str
) -> None:
    """`celery -A worker worker` ends with code 1 and one line, before it opened anything."""
    (tmp_path / "their_config.py").write_text(module)
    settings = {**environment, "PYTHONPATH": str(tmp_path)}
    if module:
        settings["CELERY_CONFIG_MODULE"] = "their_config"

    refused_with(named, settings, *arguments)


def test_a_start_without_a_place_for_its_alive_file_ends_with_that_line(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """It would otherwise run, log an error with each heartbeat, and be taken for dead."""
    settings = {**environment, "TIMBRADO_ALIVE_FILE": str(tmp_path / "nowhere" / "alive")}
    refused_with("TIMBRADO_ALIVE_FILE", settings)


def refused_with(named: str, settings: dict[str, str], *arguments: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", "worker", *arguments],
        cwd=ROOT,
        env=settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr


class Given(Connection):
    """A connection to nobody, which ends the test at its third failure."""

    pauses: list[float]

    def ensure_connection(self, *args: Any, **how: Any) -> Any:
        _, max_retries = args

        def noted(_: Exception, pause: float) -> None:
            self.pauses.append(pause)
            if len(self.pauses) == 3:
                raise GivenUpError

        assert max_retries is None
        return super().ensure_connection(noted, max_retries, **how)


class GivenUpError(Exception):
    """Seen enough."""


@pytest.mark.slow
def test_a_broker_that_is_away_is_asked_for_every_two_seconds_without_end(app: "Celery[Any]") -> None:
    """Celery's own pauses grow to half a minute, and nothing is taken in for so long once it is back."""
    from worker.consumer import RedactingConsumer  # noqa: PLC0415  # it reads the settings

    connection = Given(f"redis://127.0.0.1:{any_port()}/0")
    connection.pauses = []
    worker = SimpleNamespace(use_eventloop=False)

    with pytest.raises(GivenUpError):
        RedactingConsumer(lambda _: None, app=app, controller=worker).ensure_connected(connection)

    assert connection.pauses == [1, 2, 2]
