"""The settings of one stack, given by the caller or made here, and the services that follow from them.

What is made once (keys, passwords, ports) is stored under `var` and stays the same at the next start; the sockets'
folder is new every time. A variable for one service goes before one for all, and both before what is made here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet

from config import running
from config.values import redis_from_broker
from devstack import services
from devstack.errors import LocalError
from devstack.ports import LOOPBACK, Ports
from devstack.postgres import Cluster, secret
from devstack.process import Service

PREFIX = "TIMBRADO_"
_ONE_PROCESS = frozenset({"TIMBRADO_VAR", "TIMBRADO_ALIVE_FILE", "TIMBRADO_METRICS_PORT"})
"""Settings that mean one process, not the stack."""


class Environment:
    """The settings of a stack, and its ports. Making one raises CannotStart or NoPrograms."""

    def __init__(
        self,
        var: Path,
        sockets: Path,
        given: Mapping[str, str],
        ports: Ports,
        *,
        durable: bool = True,
        sandbox: bool = True,
        flower: bool = True,
        api: bool = False,
        sandbox_port: int | None = None,
        flower_port: int | None = None,
        api_port: int | None = None,
        redis_port: int | None = None,
    ) -> None:
        self._given = given
        self.variables: dict[str, str] = {f"{PREFIX}VAR": str(var)}
        self.redis_socket = None if self.is_given("BROKER_URL") else sockets / "redis.sock"
        self.redis_port: int | None = None
        if self.redis_socket is not None and redis_port is not None:
            self.redis_port = ports.take("redis", redis_port, None)
        self.cluster = None if self.is_given("DATABASE_URL") else Cluster(var, sockets, durable=durable)
        self.sandbox_port: int | None = None
        self.flower_port: int | None = None
        self.api_port: int | None = None
        self.api_host = LOOPBACK
        if self.redis_socket is not None:
            self._set("BROKER_URL", f"redis+socket://{self.redis_socket}")
        if self.cluster is not None:
            self._set("DATABASE_URL", self.cluster.url())
        if not self.is_given("STORAGE_URL"):
            self._set("STORAGE_URL", (var / "documents").as_uri())
        if not self.is_given("ENCRYPTION_KEYS"):
            self._set(
                "ENCRYPTION_KEYS", secret(var / "encryption.keys", lambda: Fernet.generate_key().decode())
            )
        if sandbox and not self.is_given("CONTADIGITAL_URL"):
            self.sandbox_port = ports.take("sandbox", sandbox_port, var / "sandbox" / "port")
            self._set("CONTADIGITAL_URL", f"http://{LOOPBACK}:{self.sandbox_port}")
            if not self.is_given("PAC_CERTIFICATES"):
                self._set("PAC_CERTIFICATES", str(services.pac_certificate(var)))
        if flower:
            remembered = var / "flower" / "port"
            self.flower_port = ports.take("flower", flower_port, remembered, services.FLOWER_PORT)
            if not self.is_given("FLOWER_BASIC_AUTH"):
                self._set("FLOWER_BASIC_AUTH", f"timbrado:{secret(var / 'flower.password')}")

        if api:
            if api_port is None and self.is_given("HTTP_BIND"):
                self.api_host, _, port = self.setting("HTTP_BIND").rpartition(":")
                api_port = int(port) if port.isdigit() else None  # else refused where settings are read
            self.api_port = ports.take("api", api_port, var / "api" / "port", services.API_PORT)
            self._set("HTTP_BIND", f"{self.api_host}:{self.api_port}")
            if not self.is_given("PUBLIC_URL"):
                self._set("PUBLIC_URL", f"http://{services.reached_at(self.api_host)}:{self.api_port}")

    def _set(self, name: str, value: str) -> None:
        self.variables[f"{PREFIX}{name}"] = value

    def is_given(self, name: str) -> bool:
        """Return whether the caller set this, also as a file."""
        return bool(self._given.get(f"{PREFIX}{name}") or self._given.get(f"{PREFIX}{name}_FILE"))

    def complete(self) -> dict[str, str]:
        """Every setting of the stack, given or made here: what other commands in this checkout use while it runs."""
        found = {}
        for name in self._given:
            base = name.removesuffix("_FILE")
            if base not in _ONE_PROCESS and "\n" not in (value := self.setting(base.removeprefix(PREFIX))):
                found[base] = value
        return found | self.variables

    def setting(self, name: str) -> str:
        """The value of a setting (its name without prefix), given or made here."""
        if value := self.variables.get(f"{PREFIX}{name}") or self._given.get(f"{PREFIX}{name}"):
            return value
        file = self._given.get(f"{PREFIX}{name}_FILE")
        if file is None:
            raise LocalError(f"{PREFIX}{name} is not known here")
        return Path(file).read_text(encoding="utf-8").strip()

    @property
    def redis_url(self) -> str:
        """The broker as `redis.Redis.from_url` takes it, where the broker is Redis."""
        return redis_from_broker(self.setting("BROKER_URL"))

    @property
    def sandbox_url(self) -> str | None:
        """The sandbox that is started here, None where none is."""
        return f"http://{LOOPBACK}:{self.sandbox_port}" if self.sandbox_port is not None else None

    @property
    def flower_url(self) -> str | None:
        """Flower's address here, None where it is not started."""
        return f"http://{LOOPBACK}:{self.flower_port}" if self.flower_port is not None else None

    @property
    def api_url(self) -> str | None:
        """The address of the HTTP API and the panel, None where they are not started."""
        return self.setting("PUBLIC_URL") if self.api_port is not None else None


@dataclass(frozen=True)
class ServicePlan:
    """The services of a stack; `environment` says where they are. Arguments are those of `Stack`."""

    var: Path
    environment: Environment
    given: Mapping[str, str]
    env: Mapping[str, str]
    env_for: Mapping[str, Mapping[str, str]]
    workers: Sequence[str]
    concurrency: int
    beat: bool
    durable: bool

    def redis(self) -> Service | None:
        """Redis, unless the caller named one."""
        socket = self.environment.redis_socket
        if socket is None:
            return None
        return services.redis(self.var, socket, port=self.environment.redis_port, durable=self.durable)

    def sandbox(self) -> Service | None:
        """The sandbox, beside the servers: workers read the certificate that it seals its stamps with."""
        if self.environment.sandbox_port is None:
            return None
        return services.sandbox(self.var, self.environment.sandbox_port, self._variables_for("sandbox"))

    def workers_and_beat(self) -> list[Service]:
        """What may start at once when the servers and the sandbox answer."""
        started = [self.worker(name) for name in self.workers]
        if self.beat:
            started.append(services.beat(self.var / "beat", self._variables_for("beat")))
        return started

    def flower(self) -> Service | None:
        """Flower, last: started beside the workers it complains of each that is not there yet."""
        port = self.environment.flower_port
        if port is None:
            return None
        return services.flower(
            self.var / "flower",
            port,
            self.environment.setting("FLOWER_BASIC_AUTH"),
            self._variables_for("flower"),
        )

    def api(self) -> Service | None:
        """The HTTP API and the panel."""
        port = self.environment.api_port
        if port is None:
            return None
        variables = {**self._metrics("api"), **self._variables_for("api")}
        return services.api(port, variables, self.environment.api_host)

    def worker(self, name: str) -> Service:
        """One worker process, which shows its heartbeat by a file of its own."""
        alive = {f"{PREFIX}ALIVE_FILE": str(running.folder(self.var) / f"{name}.alive")}
        own = {**alive, **self._metrics(name), **self._variables_for(name)}
        broker = {**self.env, **own}.get(f"{PREFIX}BROKER_URL") or self.environment.setting("BROKER_URL")
        return services.worker(name, broker, own, concurrency=self.concurrency)

    def _variables_for(self, name: str) -> Mapping[str, str]:
        return self.env_for.get(name, {})

    def _metrics(self, name: str) -> dict[str, str]:
        """A port of its own for each worker's metrics: the one that was given, and those after it."""
        first = self.given.get(f"{PREFIX}METRICS_PORT", "")
        if not first.isdigit() or name not in self.workers:
            return {}
        return {f"{PREFIX}METRICS_PORT": str(int(first) + self.workers.index(name))}
