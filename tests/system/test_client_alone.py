"""The client installed alone: its wheel, what it declares to need and nothing else, beside an application that has
`models`, `tasks`, `config` and `worker` of its own. The five lines of the guide are run there.
"""

import json
import os
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.support.apunto import Apunto
from tests.support.builders import an_invoice
from tests.support.doc_examples import examples

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CLIENT = Path(__file__).resolve().parents[2] / "client" / "python"


@dataclass(frozen=True)
class Alone:
    """A virtual environment, and the folder of the application that runs in it."""

    python: Path
    application: Path

    def run(self, script: str, **env: str) -> str:
        """Run a script in the application's folder; return what it prints."""
        (self.application / "script.py").write_text(script, encoding="utf-8")
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        ended = subprocess.run(
            [str(self.python), "script.py"],
            cwd=self.application,
            env={**inherited, **env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


def needed(names: list[str]) -> Iterator[str]:
    """Every distribution that the given requirements lead to, in this environment."""
    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(name), "") for name in names]
    while todo:
        requirement, _ = todo.pop()
        for extra in ("", *requirement.extras):
            key = (requirement.name.lower(), extra)
            if key in seen:
                continue
            seen.add(key)
            if not extra:
                yield requirement.name
            for line in distribution(requirement.name).requires or ():
                inner = Requirement(line)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    todo.append((inner, extra))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    home = tmp_path_factory.mktemp("alone")
    wheel = build(home / "wheels")
    environment = home / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=60)
    (site,) = environment.glob("lib/python3*/site-packages")
    with zipfile.ZipFile(wheel) as packed:  # pure Python: to install it is to unpack it
        packed.extractall(site)
    # what it declares, out of the environment that runs the tests: nothing is fetched.
    declared = [line for line in declared_in(site) if "extra ==" not in line]
    for name in needed(declared):
        link(name, site)
    application = home / "application"
    for package in ("models", "tasks", "config", "worker", "events", "storage"):
        (application / package).mkdir(parents=True)
        (application / package / "__init__.py").write_text(f"OF = 'the application: {package}'\n")
    return Alone(environment / "bin" / "python", application)


def build(where: Path) -> Path:
    """Build the wheel as pip would, with the backend alone: nothing is fetched."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(where)]
    subprocess.run(command, cwd=CLIENT, check=True, timeout=60, capture_output=True)
    (wheel,) = where.glob("timbrado_client-*-py3-none-any.whl")
    return wheel


def declared_in(site: Path) -> list[str]:
    (metadata,) = site.glob("timbrado_client-*.dist-info/METADATA")
    lines = metadata.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]


def link(name: str, site: Path) -> None:
    """Make an installed distribution importable from another site-packages."""
    found = distribution(name)
    for top in {file.parts[0] for file in found.files or () if file.parts[0] not in {"..", "__pycache__"}}:
        here = site / top
        if not here.exists():
            here.symlink_to(Path(str(found.locate_file(top))))


def test_it_declares_four_needs_and_no_more(alone: Alone) -> None:
    """kombu with Redis, its packaging, pydantic, cryptography; SQLAlchemy, httpx and Celery are nobody's burden."""
    (site,) = alone.python.parents[1].glob("lib/python3*/site-packages")
    always = {Requirement(line).name for line in declared_in(site) if "extra ==" not in line}

    assert always == {"kombu", "packaging", "pydantic", "cryptography"}


def test_it_brings_one_package_typed(alone: Alone) -> None:
    """No top-level models, tasks, config or worker that could hide the application's."""
    (site,) = alone.python.parents[1].glob("lib/python3*/site-packages")
    (record,) = site.glob("timbrado_client-*.dist-info/RECORD")
    tops = {line.partition("/")[0] for line in record.read_text().splitlines()}

    assert {top for top in tops if not top.endswith(".dist-info")} == {"timbrado_client"}
    assert (site / "timbrado_client" / "py.typed").exists()
    assert (site / "timbrado_client" / "django" / "templates" / "timbrado" / "invoice.html").exists()


def test_beside_it_the_application_s_packages_stay_its_own(alone: Alone) -> None:
    """And nothing that it has not declared is there to be used by accident."""
    printed = alone.run(
        "import timbrado_client, models, tasks, config, worker, events, storage, importlib.util as u\n"
        "print(models.OF, tasks.OF, config.OF, worker.OF, events.OF, storage.OF, sep='|')\n"
        "print([name for name in ('sqlalchemy', 'httpx', 'celery', 'cfdi', 'stamping') if u.find_spec(name)])\n"
        "print(len(timbrado_client.json_schema()['properties']) > 10)\n"
    ).splitlines()

    assert printed[0].split("|") == [
        f"the application: {name}" for name in ("models", "tasks", "config", "worker", "events", "storage")
    ]
    assert printed[1:] == ["[]", "True"]


def test_the_five_lines_of_the_guide_connect_and_stamp(alone: Alone, stack: Any) -> None:
    """As they are printed, in the application's process, with what it has already: account, key, invoice."""
    account = f"guide-{uuid.uuid4().hex[:6]}"
    with Apunto(stack) as apunto:
        key = stack.sandbox.open_account(
            account,
            rfc="EKU9003173C9",
            razon_social="ESCUELA KEMPER URGATE",
            regimen_fiscal="601",
            lugares=["42501", "64000"],
        )["api_key"]
        invoice = json.loads(examples("connect-apunto.md")["invoice"]) | {"account": account}
        has = (
            f"account, api_key, invoice = {account!r}, {key!r}, {invoice!r}\n"
            "rfc, razon_social, codigo_postal = 'EKU9003173C9', 'ESCUELA KEMPER URGATE', '42501'\n"
        )
        five = examples("connect-apunto.md")["first"]
        assert len([line for line in five.splitlines() if line and line != "import os"]) <= 5

        alone.run(
            "import models, tasks, config, worker\n" + has + five,
            TIMBRADO_BROKER_URL=stack.broker_url,
            TIMBRADO_ENCRYPTION_KEYS=stack.environment["TIMBRADO_ENCRYPTION_KEYS"],
        )

        apunto.until_connection(account, "active")
        row = apunto.until(account, {"stamped"}, 1)[invoice["external_id"]]
        assert row.content == invoice
        assert stack.sandbox.ledger(account)["stamps"] == 1


def test_the_inbox_needs_no_sqlalchemy(alone: Alone) -> None:
    """With a DB-API connection, in an environment that has none."""
    script = (
        "from timbrado_client import submit_in\n"
        "class Cursor:\n"
        "    def execute(self, sql, values): print(sql.split()[2], values[1])\n"
        f"submit_in(Cursor(), {an_invoice()!r})\n"
    )

    assert alone.run(script).split() == ["timbrado_inbox", "submit"]
