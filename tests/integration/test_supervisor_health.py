"""Health that means it, and Flower as Celery's own command starts it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from cli.console import Problem
from cli.health import ProcessKind, health
from stamping import heartbeat

ROOT = Path(__file__).parents[2]
FERNET = "d2hhdGV2ZXItaXMtMzItYnl0ZXMtbG9uZy1lbm91Z2g="


@pytest.fixture
def beat_settings(monkeypatch, broker_url):
    for name in [name for name in os.environ if name.startswith("TIMBRADO_")]:
        monkeypatch.delenv(name)
    settings = {
        "TIMBRADO_BROKER_URL": broker_url,
        "TIMBRADO_DATABASE_URL": "postgresql://db/x",
        "TIMBRADO_STORAGE_URL": "file:///srv",
        "TIMBRADO_ENCRYPTION_KEYS": FERNET,
        "TIMBRADO_CONTADIGITAL_URL": "https://app.contadigital.mx",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings


def test_beat_is_healthy_while_its_sweep_runs(beat_settings, monkeypatch, database_url):
    """By the database's clock, whatever the hosts' clocks say; a database that is away is no fault of beat's."""
    engine = sa.create_engine(database_url)
    with engine.connect() as db:
        monkeypatch.setenv("TIMBRADO_DATABASE_URL", database_url)
        with pytest.raises(Problem, match="beat has not run yet"):
            health(ProcessKind.BEAT)
        heartbeat.note(db, heartbeat.SWEEP, "worker1")
        db.commit()
        health(ProcessKind.BEAT)
        db.execute(sa.text("UPDATE heartbeats SET at = at - interval '200 seconds'"))
        db.commit()
        with pytest.raises(Problem, match=r"beat's last sweep is 20\d s old"):
            health(ProcessKind.BEAT)
    engine.dispose()


def test_a_worker_that_stopped_beating_is_not_healthy(beat_settings, monkeypatch, tmp_path):
    """The broker answers, so it is the worker that stands still."""
    alive = tmp_path / "alive"
    alive.touch()
    os.utime(alive, (time.time() - 100, time.time() - 100))
    monkeypatch.setenv("TIMBRADO_ALIVE_FILE", str(alive))

    with pytest.raises(Problem, match=r"last heartbeat is \d+ s old, more than 60 s"):
        health(ProcessKind.WORKER)


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_celery_flower_does_not_open_to_the_world(beat_settings, address):
    """An open address without a password ends Flower with one line and code 1."""
    command = [sys.executable, "-m", "celery", "-A", "worker", "flower", f"--address={address}", "--port=0"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | beat_settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        f"timbrado: Flower must not listen on {address} without a password: "
        "set TIMBRADO_FLOWER_BASIC_AUTH=user:password"
    )


def test_celery_refuses_a_wrong_setting_in_one_line(beat_settings):
    """A worker started by celery's own command ends without a traceback."""
    env = os.environ | beat_settings | {"TIMBRADO_SWEEP_EVERY": "never"}
    command = [sys.executable, "-m", "celery", "-A", "worker", "worker"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 1
    assert done.stderr == "timbrado: TIMBRADO_SWEEP_EVERY must be a positive number of seconds\n"
