"""The command line's manners: one line for what fails, JSON that can be piped, quick help."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from cli import VERBS, build
from cli.console import Problem, explain, print_json, print_json_line
from cli.health import ProcessKind, health
from devstack.errors import CannotStart, ServiceFailed

ROOT = Path(__file__).parents[2]
FERNET = "d2hhdGV2ZXItaXMtMzItYnl0ZXMtbG9uZy1lbm91Z2g="


def timbrado(*arguments, **settings):
    """Run the command as a user does."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("TIMBRADO_")}
    command = [sys.executable, "-m", "cli", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=env | settings, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (Problem("no such account: acme"), "timbrado: no such account: acme"),
        (CannotStart("port 5555 is taken"), "timbrado: port 5555 is taken"),
        (
            ServiceFailed("redis", "ended with 1", ["x", "No space left on device"]),
            "timbrado: redis ended with 1: No space left on device",
        ),
        (
            FileNotFoundError(2, "No such file or directory", "a.json"),
            "timbrado: a.json: No such file or directory",
        ),
        (KeyError("api_key=hush"), "timbrado: unexpected KeyError: 'api_key=***' (--debug shows where)"),
        (Problem("two\nlines"), "timbrado: two lines"),
    ],
)
def test_a_failure_is_one_line_without_a_secret(capsys, error, line):
    """Expected or not, an error is a line of its own words, redacted."""
    assert explain(error) == 1
    assert capsys.readouterr().err == f"{line}\n"


@dataclass
class FaultAt:
    def as_dict(self):
        return {"code": "CFDI40147"}


def test_json_holds_what_a_program_can_read(capsys):
    """Instants in ISO, amounts as text, durations in seconds, letters as they are."""
    value = {
        "at": datetime(2026, 11, 23, 16, 15, 3, tzinfo=UTC),
        "total": Decimal("16800.00"),
        "id": UUID(int=7),
        "waited": timedelta(seconds=90),
        "nombre": "MUÑOZ & CÍA",
        "faults": (FaultAt(),),
    }
    print_json(value)
    print_json_line(value)
    document, line = capsys.readouterr().out.rsplit("\n{", 1)

    assert json.loads("{" + line) == json.loads(document)
    assert json.loads(document) == {
        "at": "2026-11-23T16:15:03+00:00",
        "total": "16800.00",
        "id": "00000000-0000-0000-0000-000000000007",
        "waited": 90.0,
        "nombre": "MUÑOZ & CÍA",
        "faults": [{"code": "CFDI40147"}],
    }
    assert "MUÑOZ" in document


def test_json_moves_no_terminal(capsys):
    """A customer's name may hold C1 controls and marks of direction: escaped, so that a program reads the same text."""
    name = "MU\x9b31mÑOZ\x7f\x1b[0m\u202eXES"
    print_json({"nombre": name})
    print_json_line([name])
    printed = capsys.readouterr().out
    document, line = printed.split("}\n")

    assert json.loads(document + "}") == {"nombre": name}
    assert json.loads(line) == [name]
    assert all(mark.isprintable() or mark == "\n" for mark in printed)
    assert "Ñ" in printed


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_explains_itself(verb, capsys):
    """`VERB --help` ends with 0 and shows its usage."""
    with pytest.raises(SystemExit) as caught:
        build([verb.name])([verb.name, "--help"], prog_name="timbrado")

    assert caught.value.code == 0
    assert f"timbrado {verb.name}" in capsys.readouterr().out


def test_the_help_lists_every_verb_and_imports_none():
    """Neither a database driver nor a verb's module is imported for it."""
    done = timbrado("--help", PYTHONPROFILEIMPORTTIME="1")

    assert done.returncode == 0
    assert [verb.name for verb in VERBS if verb.name not in done.stdout] == []
    for heavy in ("sqlalchemy", "celery", "pydantic", "cli.up"):
        assert f" {heavy}\n" not in done.stderr


@pytest.fixture
def worker_settings(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("TIMBRADO_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "BROKER_URL": "redis://127.0.0.1:1/0",
        "DATABASE_URL": "postgresql://db/x",
        "STORAGE_URL": "file:///srv",
        "ENCRYPTION_KEYS": FERNET,
        "CONTADIGITAL_URL": "https://app.contadigital.mx",
        "ALIVE_FILE": str(tmp_path / "alive"),
    }.items():
        monkeypatch.setenv(f"TIMBRADO_{name}", value)
    return tmp_path / "alive"


def test_a_worker_that_beats_is_healthy(worker_settings):
    """A fresh heartbeat file: `health` returns."""
    worker_settings.touch()

    health(ProcessKind.WORKER)


def test_a_worker_that_waits_for_its_broker_is_not_to_blame(worker_settings, capsys):
    """Nothing listens at its broker: a heartbeat that stands still says nothing of the worker."""
    long_ago(worker_settings)

    health(ProcessKind.WORKER)

    assert "the broker does not answer" in capsys.readouterr().err


def long_ago(path):
    path.touch()
    os.utime(path, (time.time() - 100, time.time() - 100))


def test_a_worker_that_never_beat_is_not(worker_settings):
    """Without the file it is a Problem that says so."""
    with pytest.raises(Problem, match="the worker has sent no heartbeat yet"):
        health(ProcessKind.WORKER)


def test_a_worker_without_its_file_is_shown_what_to_set(worker_settings, monkeypatch):
    """A worker without its file names what to set."""
    monkeypatch.delenv("TIMBRADO_ALIVE_FILE")

    with pytest.raises(Problem, match="set TIMBRADO_ALIVE_FILE"):
        health(ProcessKind.WORKER)
