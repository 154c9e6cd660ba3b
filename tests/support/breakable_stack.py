"""A runtime of its own whose every part may be broken: servers that keep their data, workers, beat, a sandbox.

`stack` (tests/conftest.py) shares its servers with every other test of the run, so nothing there may be killed. Here
all of it is this runtime's; `arm` holds a worker still at one line of the harness while the rest is broken, and
`pass_time` lets an hour go by in a moment for everybody at once.
"""

import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import redis
import sqlalchemy as sa

from devstack import services
from devstack.errors import LocalError
from devstack.stack import Stack
from sandbox.serve import RunningSandbox
from stamping.failpoints import PLACES

SETTINGS = {
    "TIMBRADO_TEST_RUNTIME": "1",
    "TIMBRADO_CALL_TIMEOUT": "10",
    "TIMBRADO_LEASE": "400",
    "TIMBRADO_DOUBT_QUARANTINE": "600",
    "TIMBRADO_SWEEP_EVERY": "0.5",
}
"""Times longer than any test: they end when the clock is moved, and not before."""
LEASE = 400


@dataclass
class Wreck:
    """The parts, and how each is broken and repaired."""

    runtime: Stack
    sandbox: RunningSandbox
    home: Path
    settings: dict[str, str]
    shift: float = 0.0

    @property
    def environment(self) -> dict[str, str]:
        """The settings of each process of it."""
        return {**self.runtime.environment, **self.settings}

    @property
    def broker_url(self) -> str:
        return self.runtime.broker_url

    @property
    def database_url(self) -> str:
        return self.runtime.database_url

    @property
    def documents(self) -> Path:
        return Path(self.runtime.storage_url.removeprefix("file://"))

    @property
    def workers(self) -> list[str]:
        return [name for name in self.runtime.services if name.startswith("worker")]

    # -- standing still

    def arm(self, place: str) -> None:
        """Hold whoever comes by this line of the harness."""
        (self.home / place).touch()

    def disarm(self, place: str) -> None:
        (self.home / place).unlink(missing_ok=True)

    def who_stands_at(self, place: str, seconds: float = 30) -> str:
        """Wait until a worker stands there; return its name."""

        def look() -> str:
            pids = self.runtime.pids
            return next((name for name in pids if (self.home / f"{place}.{pids[name]}").exists()), "")

        return str(until(look, seconds, every=0.02))

    # -- breaking and mending

    def flush(self) -> None:
        with redis.Redis.from_url(self.runtime.redis_url) as client:
            client.flushall()

    def outage_of(self, server: str, seconds: float, number: signal.Signals | None = None) -> None:
        """Stop a server, or kill it with a signal, and start it again after so many seconds."""
        if number is None:
            self.runtime.stop_service(server)
        else:
            self.runtime.kill(server, number, again=False)
        time.sleep(seconds)
        self.runtime.start_service(server)

    def fill_disk(self, full: bool = True) -> None:
        """Let the kernel refuse every byte that a worker would write to a file, or take them again."""
        for name in self.workers:
            pid = self.runtime.pids.get(name)
            if pid is not None:
                most = 0 if full else resource.RLIM_INFINITY
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

    def all_up(self) -> None:
        """Wait until every worker and beat answer; one that died too often to be started again is started by hand."""
        for name in (*self.workers, "beat"):
            try:
                self.runtime.until_up(name, 30)
            except LocalError:
                self.runtime.stop_service(name)
                self.runtime.start_service(name)

    def repair(self) -> None:
        """Leave nothing armed, nothing down and no fault behind."""
        for place in PLACES:
            self.disarm(place)
        self.fill_disk(full=False)
        self.sandbox.calm()
        self.all_up()

    # -- looking

    def pass_time(self, seconds: float) -> None:
        """Move everybody's clock on: the sandbox's, and then the workers'."""
        self.shift += seconds
        self.sandbox.move_clock(self.shift)
        new = self.home / "clock.new"
        new.write_text(str(self.shift))
        new.replace(self.home / "clock")

    def run_ahead(
        self, until_it: Callable[[], Any], seconds: float, *, step: float = 30, pause: float = 0.2
    ) -> None:
        """Let time pass in steps until something holds, `seconds` real ones at most."""
        deadline = time.monotonic() + seconds
        while not with_retries(until_it):
            assert time.monotonic() < deadline, f"not in {seconds} s"
            self.pass_time(step)
            time.sleep(pause)

    def now(self) -> datetime:
        """The time by the moved clock."""
        return datetime.now(UTC) + timedelta(seconds=self.shift)

    def logged(self, *words: str) -> list[str]:
        """The lines of the workers' logs that hold all of these words."""
        logs = (self.runtime.var / "logs" / f"{name}.log" for name in self.workers)
        lines = (line for log in logs for line in log.read_text("utf-8").splitlines())
        return [line for line in lines if all(word in line for word in words)]


def copy_server(stack: Stack, target: Path) -> None:
    """Copy the whole PostgreSQL server as it stands in this moment: a backup, or a standby that lags behind."""
    url = sa.make_url(stack.database_url)
    shutil.rmtree(target, ignore_errors=True)
    program = str(services.postgres_bin() / "pg_basebackup")
    options = ["-h", str(url.query["host"]), "-U", str(url.username), "--checkpoint=fast", "-D", str(target)]
    environment = {**os.environ, "PGPASSWORD": url.password or ""}
    subprocess.run([program, *options], env=environment, check=True, capture_output=True)


def replace_server(stack: Stack, copied: Path, *, promoted: bool = False) -> None:
    """Lose the PostgreSQL server at once, and go on with a copy of it; `promoted`, as a standby that takes over."""
    dsn = stack.database_url.replace("+psycopg", "", 1)
    with psycopg.connect(dsn) as db:
        data = Path(db.execute("SHOW data_directory").fetchone()[0])  # type: ignore[index]  # one row
    stack.kill("postgres", signal.SIGQUIT, again=False)
    if promoted:
        (copied / "standby.signal").touch()
    owner = data.stat()
    shutil.rmtree(data)
    copied.rename(data)
    for path in (data, *data.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    stack.start_service("postgres")
    if promoted:
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute("SELECT pg_promote()")


@contextmanager
def open_wreck(
    *,
    workers: int = 2,
    env: Mapping[str, str] | None = None,
    given: Mapping[str, str] | None = None,
    env_for: Mapping[str, Mapping[str, str]] | None = None,
    concurrency: int = 16,
) -> Iterator[Wreck]:
    """Start it all (5 to 10 s), and stop it at the end."""
    place = Path(tempfile.mkdtemp(prefix="timbrado-wreck-", dir="/tmp"))
    place.chmod(0o755)  # as root PostgreSQL runs as nobody and must get to its data
    home = place / "test"
    home.mkdir()
    try:
        with RunningSandbox() as sandbox:
            settings = {
                **SETTINGS,
                "TIMBRADO_TEST_FAILPOINTS": str(home),
                "TIMBRADO_TEST_CLOCK_FILE": str(home / "clock"),
                "TIMBRADO_CONTADIGITAL_URL": sandbox.url,
                **(env or {}),
            }
            with Stack(
                place / "var",
                given={"TIMBRADO_CONTADIGITAL_URL": sandbox.url, **(given or {})},
                workers=workers,
                sandbox=False,
                flower=False,
                concurrency=concurrency,
                env=settings,
                env_for=env_for,
            ) as runtime:
                wreck = Wreck(runtime, sandbox, home, settings)
                yield wreck
                for name in wreck.workers:  # nothing of it is needed any more: no need to end in order
                    runtime.kill(name, again=False)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def with_retries(look: Callable[[], Any]) -> Any:
    """Look, and see nothing while a server is away."""
    try:
        return look()
    except (sa.exc.OperationalError, redis.ConnectionError, OSError):
        return None


def until(look: Callable[[], Any], seconds: float, every: float = 0.1) -> Any:
    """Wait until something holds, in spite of servers that are away; return what it gave."""
    deadline = time.monotonic() + seconds
    while not (seen := with_retries(look)):
        assert time.monotonic() < deadline, f"not in {seconds} s"
        time.sleep(every)
    return seen
