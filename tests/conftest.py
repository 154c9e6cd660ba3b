"""Fixtures on real servers: one Redis and one PostgreSQL a run, started when the first test asks for them.

`session` is for tests that need one connection and is rolled back, 10 ms; `database_url` is a database of the test's
own, 80 ms, for what needs commits that others see (SKIP LOCKED, two workers, LISTEN). End-to-end tests share one worker
process (`stack`) and take an account of their own each.

TEST_DATABASE_URL and TEST_REDIS_URL point to servers of your own instead; the database's name must begin
with `test`, and every logical database of that Redis may be emptied.
"""

import itertools
import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import redis
import sqlalchemy as sa
from sqlalchemy.orm import Session

import devstack.stack
from config.values import redis_from_broker
from devstack import services
from migrations import upgrade
from sandbox.serve import RunningSandbox

# every process that a test starts would compile every library anew
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a run in the background of a shell ignores Ctrl-C, and would have every process that it starts ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)


LONGEST_FIRST = (
    *("test_short_runs", "test_operations", "test_operations_hosts", "test_crash_table", "test_production"),
    *("test_recovery", "test_demo", "test_connection_breaks", "test_canary", "test_production_tls"),
    *(
        "test_client_ways",
        "test_fairness",
        "test_metrics",
        "test_operations_restore",
        "test_operations_alerts",
    ),
    *("test_other_languages", "test_cli_operating", "test_cli_verbs", "test_main_job", "test_stack"),
)
"""Files that take longest: they start first, or one of them would still run when all else is done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; `--dist loadfile` keeps each in one process, so that what it shares starts once.

    Not `loadgroup`: pytest-xdist 3.8 writes the group into a field that pytest 9.2 does not read any more, so that the
    tests of a file, and its servers, were spread over all processes.
    """
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@dataclass(frozen=True)
class Servers:
    """The servers of this run. `runtime` can start workers against them."""

    runtime: devstack.stack.Stack
    database_url: str
    numbers: list[int] = field(repr=False)
    """The logical databases of the Redis that no test and no stack has now."""

    def broker_url(self, number: int) -> str:
        """Logical database `number` of the Redis, as Celery takes it."""
        url = self.runtime.broker_url
        if url.startswith("redis+socket"):
            return f"{url.partition('?')[0]}?virtual_host={number}"
        return urlsplit(url)._replace(path=f"/{number}").geturl()

    def take_number(self) -> int:
        """Take a logical database: two stacks on one would take each other's messages."""
        if not self.numbers:
            pytest.fail(
                "every logical database of the Redis is in use: it takes `databases 64`, as in devstack"
            )
        return self.numbers.pop(0)

    def redis_url(self, number: int) -> str:
        """The same as redis-py takes it."""

        return redis_from_broker(self.broker_url(number))


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    given = {}
    if url := os.environ.get("TEST_DATABASE_URL"):
        given["TIMBRADO_DATABASE_URL"] = url
        if not urlsplit(url).path.startswith("/test"):
            pytest.exit("TEST_DATABASE_URL must name a database whose name begins with test", 2)
    if url := os.environ.get("TEST_REDIS_URL"):
        given["TIMBRADO_BROKER_URL"] = url
    most = 15 if "TIMBRADO_BROKER_URL" in given else 63
    with devstack.stack.throw_away_servers(given) as runtime:
        yield Servers(runtime, runtime.database_url, list(range(1, most + 1)))


@pytest.fixture(scope="session")
def make_database(servers: Servers) -> Iterator[Callable[[], str]]:
    """Make databases, each a copy of one that was migrated once; all are dropped at the end."""

    url = sa.make_url(servers.database_url)
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    run = f"test_{uuid.uuid4().hex[:10]}"
    made: list[str] = []

    def execute(statement: str) -> None:
        with admin.connect() as connection:
            connection.execute(sa.text(statement))

    def make() -> str:
        name = f"{run}_{len(made)}"
        execute(f"CREATE DATABASE {name} TEMPLATE {run}")
        made.append(name)
        return url.set(database=name).render_as_string(hide_password=False)

    execute(f"CREATE DATABASE {run}")
    upgrade(url.set(database=run).render_as_string(hide_password=False))
    yield make
    for name in [*made, run]:
        execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    admin.dispose()


@pytest.fixture
def database_url(servers: Servers, make_database: Callable[[], str]) -> Iterator[str]:
    """A migrated database of this test's own."""

    url = make_database()
    yield url
    admin = sa.create_engine(servers.database_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {sa.make_url(url).database} WITH (FORCE)"))


@pytest.fixture(scope="session")
def shared_engine(make_database: Callable[[], str]) -> Iterator[sa.Engine]:
    """One database for all tests that roll back."""

    engine = sa.create_engine(make_database())
    yield engine
    engine.dispose()


@pytest.fixture
def session(shared_engine: sa.Engine) -> Iterator[Session]:
    """A session whose commits are savepoints; all of it is rolled back."""

    with shared_engine.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as inner:
            yield inner
        outer.rollback()


@pytest.fixture
def redis_number(servers: Servers) -> Iterator[int]:
    """The number of a logical Redis database of this test's own, empty."""

    number = servers.take_number()
    with redis.Redis.from_url(servers.redis_url(number)) as client:
        client.flushdb()
    yield number
    servers.numbers.append(number)


@pytest.fixture
def redis_url(servers: Servers, redis_number: int) -> str:
    """An empty Redis database, as `redis.Redis.from_url` takes it."""
    return servers.redis_url(redis_number)


@pytest.fixture
def broker_url(servers: Servers, redis_number: int) -> str:
    """The same as Celery takes it."""
    return servers.broker_url(redis_number)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[RunningSandbox]:
    """One ContaDigital for the run, in a process of its own; take an account of your own in it."""

    with RunningSandbox() as running:
        yield running


@dataclass(frozen=True)
class Stack:
    """Real workers over real servers and the sandbox; `environment` is the settings of every process of it."""

    runtime: devstack.stack.Stack
    environment: dict[str, str]
    workers: tuple[str, ...]
    sandbox: RunningSandbox
    documents: Path

    @property
    def database_url(self) -> str:
        return self.environment["TIMBRADO_DATABASE_URL"]

    @property
    def broker_url(self) -> str:
        return self.environment["TIMBRADO_BROKER_URL"]


@pytest.fixture(scope="session")
def make_stack(
    servers: Servers,
    make_database: Callable[[], str],
    sandbox: RunningSandbox,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Stack]]:
    """Start a stack of its own: database, broker, documents, workers and beat; stopped at the end of the run.

    `env` is for every process, `workers` how many there are; a stack takes 2 to 3 s, so share one where you
    can.
    """

    pac_certificate = tmp_path_factory.mktemp("pac") / "pac.cer"
    pac_certificate.write_bytes(httpx.get(f"{sandbox.url}/sandbox/pac.cer").content)
    started: list[str] = []
    counter = itertools.count(1)

    def make(
        *,
        workers: int = 1,
        beat: bool = True,
        env: dict[str, str] | None = None,
        concurrency: int = services.CONCURRENCY,
    ) -> Stack:
        mark, documents = next(counter), tmp_path_factory.mktemp("documents")
        environment = {
            **servers.runtime.environment,
            "TIMBRADO_DATABASE_URL": make_database(),
            "TIMBRADO_BROKER_URL": servers.broker_url(servers.take_number()),
            "TIMBRADO_STORAGE_URL": documents.as_uri(),
            "TIMBRADO_CONTADIGITAL_URL": sandbox.url,
            "TIMBRADO_PAC_CERTIFICATES": str(pac_certificate),
            "TIMBRADO_TEST_RUNTIME": "1",
            **(env or {}),
        }
        names = tuple(f"stack{mark}-worker{number}" for number in range(1, workers + 1))
        broker = environment["TIMBRADO_BROKER_URL"]
        wanted = [services.worker(name, broker, environment, concurrency=concurrency) for name in names]
        if beat:
            home = tmp_path_factory.mktemp("beat")
            wanted.append(services.beat(home, environment, name=f"stack{mark}-beat"))
        servers.runtime.add(*wanted)
        started.extend(service.name for service in wanted)
        return Stack(servers.runtime, environment, names, sandbox, documents)

    yield make
    for name in reversed(started):
        servers.runtime.stop_service(name)


@pytest.fixture(scope="session")
def stack(make_stack: Callable[..., Stack]) -> Stack:
    """The stack that end-to-end tests share: one worker and beat. Take an account of your own."""
    return make_stack()
