"""The whole stack as one object: real Redis, PostgreSQL, sandbox, workers, beat and Flower.

`timbrado up` and `demo`, `./dev chaos` and the tests all use it:

    with Stack(var, workers=2, flower=False) as stack:         # everything answers when the block begins
        every_setting = stack.environment                       # a dict of TIMBRADO_*
        httpx.get(f"{stack.sandbox_url}/sandbox/ledger")
        stack.kill("worker1")                                   # kill -9; it comes back by itself
        stack.until_up("worker1")
        stack.stop_service("redis")
        stack.start_service("redis")                            # the same data, the same socket

It is synchronous outside and an event loop in a thread of its own inside. From that loop, that is from an `on_line`
function, only `interrupt` may be called.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from config import running
from devstack import reaper, services
from devstack.environment import PREFIX, Environment, ServicePlan
from devstack.errors import CannotStart, LocalError
from devstack.ports import Ports
from devstack.process import Interrupted, LoopThread, OnLine, Service
from devstack.supervisor import Supervisor
from migrations import upgrade

T = TypeVar("T")

__all__ = ["Interrupted", "Stack", "silent"]


def silent(_service: str, _line: str) -> None:
    """Print nothing."""


class Stack:
    """Starts, watches and stops the services; what it makes lives under `var`, which two may not share.

    - given: the caller's settings (TIMBRADO_..., also as _FILE). A server that they name is not started, a value that
      they hold is used.
    - workers: how many worker processes: worker1, worker2, ...
    - sandbox, beat, flower, api: whether each is started.
    - env: further variables for every process of ours; env_for: for one of them, by name.
    - durable: False turns fsync and the append-only file off, for tests: they lose nothing by a power cut.
    - fail_fast: True makes the first unexpected death the end; else what dies is started again.
    - migrate: whether the tables are brought up to date.
    - throw_away: True removes `var` at the end, even when this process is killed; for tests.
    - on_line: called with (service, line) for each line printed, from another thread.

    Services are called redis, postgres, sandbox, worker1, ..., beat, flower, api. Times are seconds.
    """

    def __init__(
        self,
        var: Path,
        *,
        given: Mapping[str, str] | None = None,
        workers: int = 1,
        concurrency: int = services.CONCURRENCY,
        sandbox: bool = True,
        beat: bool = True,
        flower: bool = True,
        api: bool = False,
        env: Mapping[str, str] | None = None,
        env_for: Mapping[str, Mapping[str, str]] | None = None,
        sandbox_port: int | None = None,
        flower_port: int | None = None,
        api_port: int | None = None,
        redis_port: int | None = None,
        durable: bool = True,
        fail_fast: bool = False,
        migrate: bool = True,
        throw_away: bool = False,
        on_line: OnLine = silent,
    ) -> None:
        self.var = var.resolve()
        self._given = dict(given or {})
        self._workers = [f"worker{number}" for number in range(1, workers + 1)]
        self._concurrency = concurrency
        self._sandbox, self._beat, self._flower = sandbox, beat, flower
        self._env = dict(env or {})
        self._env_for = {name: dict(more) for name, more in (env_for or {}).items()}
        self._api = api
        self._sandbox_port, self._flower_port, self._api_port = sandbox_port, flower_port, api_port
        self._redis_port = redis_port
        self._durable = durable
        self._fail_fast = fail_fast
        self._migrate = migrate
        self._throw_away = throw_away
        self._on_line = on_line
        self._lock: IO[str] | None = None
        self._sockets: Path | None = None
        self._ports = Ports()
        self._found_environment: Environment | None = None
        self._supervisor: Supervisor | None = None
        self._loop: LoopThread | None = None
        self._starting: asyncio.Task[None] | None = None
        self._ending: asyncio.Event | None = None
        self._interruptions = 0

    # -- where things are, known once prepared

    @property
    def environment(self) -> dict[str, str]:
        """TIMBRADO_* that each process here gets besides what was given."""
        return dict(self._environment.variables)

    @property
    def broker_url(self) -> str:
        """The broker as Celery takes it."""
        return self._environment.setting("BROKER_URL")

    def is_given(self, name: str) -> bool:
        """Return whether the caller set this setting (its name without prefix)."""
        return self._environment.is_given(name)

    @property
    def redis_port(self) -> int | None:
        """The port on loopback at which Redis listens, too; None where it has its socket alone."""
        return self._environment.redis_port

    @property
    def redis_url(self) -> str:
        """The same Redis as `redis.Redis.from_url` takes it."""
        return self._environment.redis_url

    @property
    def database_url(self) -> str:
        """PostgreSQL as SQLAlchemy takes it."""
        return self._environment.setting("DATABASE_URL")

    @property
    def storage_url(self) -> str:
        """Where documents rest."""
        return self._environment.setting("STORAGE_URL")

    @property
    def sandbox_url(self) -> str | None:
        """The sandbox that is started here, None where none is."""
        return self._environment.sandbox_url

    @property
    def flower_url(self) -> str | None:
        """Flower's address, None where it is not started; user and password are in `flower_auth`."""
        return self._environment.flower_url

    @property
    def api_url(self) -> str | None:
        """The address of the HTTP API and the panel, None where they are not started."""
        return self._environment.api_url

    @property
    def flower_auth(self) -> str:
        """Flower's `user:password`."""
        return self._environment.setting("FLOWER_BASIC_AUTH").partition(",")[0]

    # -- as a whole

    def prepare(self) -> None:
        """Take the folder, find programs and ports, and decide the environment; nothing is started yet.

        Raises LocalError, whose text is one line.
        """
        try:
            self._lock = running.lock(self.var)
            services.room_on_disk(self.var)
            self._sockets = services.short_folder("timbrado-")
            if os.geteuid() == 0:
                self._sockets.chmod(0o711)  # PostgreSQL runs as nobody then, in a folder of its own below
            self._found_environment = Environment(
                self.var,
                self._sockets,
                self._given,
                self._ports,
                durable=self._durable,
                sandbox=self._sandbox,
                flower=self._flower,
                api=self._api,
                sandbox_port=self._sandbox_port,
                flower_port=self._flower_port,
                api_port=self._api_port,
                redis_port=self._redis_port,
            )
        except running.AlreadyRunning as error:
            raise CannotStart(str(error)) from error
        except OSError as error:
            self._release()
            raise CannotStart(f"{error.filename or self.var}: {error.strerror}") from error
        except LocalError:
            self._release()
            raise

    def start(self) -> Self:
        """Start everything; return once all of it answers.

        Raises LocalError or Interrupted; then nothing runs.
        """
        if self._lock is None:
            self.prepare()
        self._loop = LoopThread("timbrado-stack")
        try:
            self._call(self._start())
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop everything in order and give the folder back; may be called twice."""
        if self._loop is not None:
            if self._supervisor is not None:
                self._loop.call(self._stop(self._supervisor))
            self._loop.close()
            self._loop = None
        self._release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def wait(self) -> None:
        """Wait until `interrupt`, or until a service was given up; then raise its ServiceFailed."""
        self._call(self._end())

    def check(self) -> None:
        """Raise Interrupted where the end was asked for, and the ServiceFailed of a service that was given up."""
        if self.was_interrupted:
            raise Interrupted
        if self._running.failed is not None:
            raise self._running.failed

    def interrupt(self) -> None:
        """Ask for the end, from any thread or a signal's handler; asked again, it stops at once (kill -9)."""
        self._interruptions += 1
        if self._loop is not None:
            self._loop.soon(self._interrupted)

    @property
    def was_interrupted(self) -> bool:
        """Whether the end was asked for."""
        return self._interruptions > 0

    # -- one service at a time

    @property
    def services(self) -> tuple[str, ...]:
        """The names of all services, running or not."""
        return self._running.names

    @property
    def pids(self) -> dict[str, int]:
        """The process of each service that runs now."""
        found = {name: self._running.pid(name) for name in self.services}
        return {name: pid for name, pid in found.items() if pid is not None}

    def tail(self, name: str) -> list[str]:
        """The last lines a service printed."""
        return self._running.tail(name)

    def stop_service(self, name: str) -> None:
        """Stop one service properly; it stays down until `start_service`."""
        self._call(self._running.stop(name))

    def start_service(self, name: str, *, env: Mapping[str, str] | None = None) -> None:
        """Start a stopped service again, with these further variables where given; wait until it answers."""
        service = self._running.service(name)
        if env is not None:
            service = replace(service, env={**service.env, **env})
        self._call(self._running.start(service))

    def restart_service(self, name: str, *, env: Mapping[str, str] | None = None) -> None:
        """Stop one service properly, start it again, and wait until it answers."""
        self.stop_service(name)
        self.start_service(name, env=env)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL, *, again: bool = True) -> None:
        """Signal a service as an accident would (kill -9 unless given).

        It comes back by itself, at once; or, when not `again`, stays down until `start_service`. SIGSTOP
        freezes it until SIGCONT.
        """
        self._call(self._running.kill(name, number, again=again))

    def until_up(self, name: str, limit: float = 60.0) -> None:
        """Wait until a killed service answers again. Raises ServiceFailed."""
        self._call(self._running.until_up(name, limit))

    def add(self, *services: Service) -> None:
        """Start further services at once (`stack` makes them), and wait until all of them answer."""
        self._call(self._start_all(*services))

    # -- inside the loop

    async def _start(self) -> None:
        self._starting = asyncio.current_task()
        self._ending = asyncio.Event()
        if self._interruptions:  # asked before there was anything to stop: while the folder was waited for
            raise Interrupted
        environment, sockets = self._environment, self._sockets
        if self._lock is None or sockets is None:
            raise LocalError("the folder was given back")
        pid_file = running.folder(self.var) / "processes"
        reaper.stop_orphans(pid_file)
        base = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        base |= self._given | environment.variables | self._env
        # fifty threads would keep an arena of malloc for each few of them: 8 MB a worker, and growing
        base |= {"PYTHONUNBUFFERED": "1", "TMPDIR": str(sockets), "MALLOC_ARENA_MAX": "2"}
        self._supervisor = supervisor = Supervisor(
            self.var / "logs",
            on_line=self._pass_on,
            base_env=base,
            fail_fast=self._fail_fast,
            pass_to_reaper=[self._lock.fileno()],
            pid_file=pid_file,
        )
        supervisor.remove_at_end(sockets)
        if self._throw_away:
            supervisor.remove_at_end(self.var)
        await asyncio.gather(
            self._start_all(self._plan.redis(), self._plan.sandbox()), self._start_postgres(supervisor)
        )
        if self._migrate:
            await asyncio.to_thread(_upgrade, self.database_url)
        running.write(self.var, environment.complete())
        await self._start_all(*self._plan.workers_and_beat())
        await self._start_all(self._plan.flower(), self._plan.api())
        self._starting = None

    async def _start_all(self, *services: Service | None) -> None:
        wanted = [service for service in services if service is not None]
        await asyncio.gather(*(self._running.start(service) for service in wanted))

    async def _start_postgres(self, supervisor: Supervisor) -> None:
        cluster = self._environment.cluster
        if cluster is not None:
            await cluster.initialise(lambda argv, env, cwd: supervisor.run(argv, env=env, cwd=cwd))
            await supervisor.start(cluster.service())

    async def _stop(self, supervisor: Supervisor) -> None:
        """Clients first, then servers: beat and Flower, the workers together, sandbox, servers."""
        if self._interruptions > 1:
            supervisor.stop_at_once()
        ours = [name for name in supervisor.names if name not in ("redis", "postgres", "sandbox")]
        first = [name for name in ours if name in ("beat", "flower")]
        await asyncio.gather(*(supervisor.stop(name) for name in first))
        await asyncio.gather(*(supervisor.stop(name) for name in ours if name not in first))
        await supervisor.stop_all()
        self._supervisor = None

    async def _end(self) -> None:
        ending, supervisor = self._ending, self._running
        if ending is None:
            return
        waits = [asyncio.create_task(event.wait()) for event in (ending, supervisor.gave_up)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if supervisor.failed is not None and not ending.is_set():
            raise supervisor.failed

    def _interrupted(self) -> None:
        if self._ending is not None:
            self._ending.set()
        if self._interruptions > 1 and self._supervisor is not None:
            self._supervisor.stop_at_once()
        elif self._starting is not None:
            self._starting.cancel()

    def _pass_on(self, service: str, line: str) -> None:
        try:
            self._on_line(service, line)
        except OSError:  # our own output is gone (`up | head`): end in order, and in silence
            self._on_line = silent
            self._interruptions += 1
            self._interrupted()

    # -- between the two

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            coroutine.close()
            raise LocalError("the stack is not started")
        return self._loop.call(coroutine)

    @property
    def _plan(self) -> ServicePlan:
        return ServicePlan(
            var=self.var,
            environment=self._environment,
            given=self._given,
            env=self._env,
            env_for=self._env_for,
            workers=self._workers,
            concurrency=self._concurrency,
            beat=self._beat,
            durable=self._durable,
        )

    @property
    def _environment(self) -> Environment:
        if self._found_environment is None:
            raise LocalError("the stack is not prepared")
        return self._found_environment

    @property
    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise LocalError("the stack is not started")
        return self._supervisor

    def _release(self) -> None:
        self._ports.close()
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None
        if self._lock is not None:
            with contextlib.suppress(OSError):
                running.remove(self.var)
            self._lock.close()
            self._lock = None
        if self._throw_away:
            shutil.rmtree(self.var, ignore_errors=True)


def _upgrade(database_url: str) -> None:

    upgrade(database_url)


def throw_away_servers(given: Mapping[str, str] | None = None) -> Stack:
    """A stack with Redis and PostgreSQL alone (each only where `given` names none); workers can be added."""
    var = services.short_folder("timbrado-test-")
    var.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return Stack(
        var,
        given=given,
        workers=0,
        sandbox=False,
        beat=False,
        flower=False,
        durable=False,
        fail_fast=True,
        migrate=False,
        throw_away=True,
    )
