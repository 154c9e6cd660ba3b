"""What deploy/ says of tables, queues and time fits the code."""

import configparser
import re
from pathlib import Path

import pytest
import yaml

from config.settings import Settings
from devstack.services import QUEUES
from models.tables import metadata

DEPLOY = Path(__file__).parents[2] / "deploy"
ROLES = (DEPLOY / "postgres/roles.sql").read_text()
UNITS = {path.name: path for path in sorted((DEPLOY / "systemd").glob("*.service"))}


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names of systemd have capitals
    parser.read(UNITS[name])
    return parser


@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_each_table_says_who_may_use_it(table):
    """A table that a release adds is closed to workers until roles.sql names it."""
    grants = " ".join(re.findall(r"GRANT .*?;", ROLES, re.DOTALL))

    assert re.search(rf"\b{table}\b", grants)


@pytest.mark.parametrize("table", ["invoices", "attempts", "documents", "events", "history"])
def test_what_the_law_wants_kept_is_deleted_by_no_role(table):
    """No GRANT gives DELETE, TRUNCATE or ALL on those tables."""
    for grant in re.findall(r"GRANT .*?;", ROLES, re.DOTALL):
        assert not (re.search(r"\b(DELETE|TRUNCATE|ALL)\b", grant) and re.search(rf"\b{table}\b", grant))


def test_the_redis_users_open_nothing_before_somebody_sets_a_password():
    """Placeholder hashes match no password, and `default` is off."""
    rules = [
        line for line in (DEPLOY / "redis/users.acl").read_text().splitlines() if line.startswith("user")
    ]

    assert [line.split()[1] for line in rules] == ["default", "timbrado", "apunto", "admin"]
    assert "off" in rules[0].split()
    for digit, line in enumerate(rules[1:]):
        assert re.search(rf"#{digit}{{64}}\b", line)
        assert "nopass" not in line


def test_a_unit_starts_what_the_compose_file_does():
    """Queues and pool are the same, and the stop timeout outlasts a call."""
    worker = unit("timbrado-worker@.service")["Service"]

    assert f"--queues={','.join(QUEUES)}" in worker["ExecStart"]
    assert "--pool=threads" in worker["ExecStart"]
    call = Settings.model_fields["call_timeout"].default.total_seconds()
    assert int(worker["TimeoutStopSec"]) > call + 10
    assert worker["KillSignal"] == "SIGTERM"


def test_the_page_about_kubernetes_runs_what_the_compose_file_does():
    """The same commands and grace periods, probes where the process answers, one beat that never overlaps another."""
    root = DEPLOY.parent
    compose = yaml.safe_load((root / "docker-compose.yml").read_text())["services"]
    blocks = re.findall(r"```yaml\n(.*?)```", (root / "docs/kubernetes.md").read_text(), re.DOTALL)
    objects = list(yaml.safe_load_all(blocks[0]))
    by_name = {each["metadata"]["name"]: each["spec"] for each in objects}

    for name in ("migrate", "worker", "beat", "api"):
        spec = by_name[f"timbrado-{name}"]["template"]["spec"]
        (container,) = spec["containers"]
        assert container["command"][:4] == compose[name]["command"][:4]
        if name == "worker":
            assert container["command"] == compose[name]["command"]
        if name in {"worker", "api"}:
            grace = compose[name]["stop_grace_period"]
            assert f"{spec['terminationGracePeriodSeconds']}s" == grace
        for probe in ("livenessProbe", "readinessProbe"):
            if probe in container:
                asked = container[probe]["httpGet"]
                assert asked["path"] in {"/healthz", "/readyz"}
                ports = {each["value"].rpartition(":")[2] for each in container["env"]}
                assert str(asked["port"]) in ports
    assert by_name["timbrado-beat"]["replicas"] == 1
    assert by_name["timbrado-beat"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_has_its_secrets_as_files_and_no_rights(name):
    """LoadCredential for each secret, an unprivileged user, no new privileges."""
    service = unit(name)["Service"]
    text = UNITS[name].read_text()

    assert service["User"] == "timbrado"
    assert service["NoNewPrivileges"] == "yes"
    for secret in re.findall(r"LoadCredential=(\w+):", text):
        assert f"TIMBRADO_{secret.upper()}_FILE=%d/{secret}" in text
    assert not re.search(r"TIMBRADO_(DATABASE_URL|BROKER_URL|ENCRYPTION_KEYS)=", text)
