"""Which services one runtime has, each with the variables it is given.

The one thing a newcomer would get wrong: the order of who wins. What is meant for one service goes before what is meant
for all, and both before what the runtime decided by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config import running
from devstack import stack
from devstack.addresses import PREFIX, Addresses
from devstack.service import Service


@dataclass(frozen=True)
class Plan:
    """The services of a runtime; `known` says where they are. Arguments are those of `Runtime`."""

    var: Path
    known: Addresses
    told: Mapping[str, str]
    env: Mapping[str, str]
    env_for: Mapping[str, Mapping[str, str]]
    workers: Sequence[str]
    concurrency: int
    beat: bool
    durable: bool

    def redis(self) -> Service | None:
        """Redis, unless somebody told of one."""
        socket = self.known.redis_socket
        return stack.redis(self.var, socket, durable=self.durable) if socket is not None else None

    def sandbox(self) -> Service | None:
        """The sandbox, beside the servers: workers read the certificate that it seals its stamps with."""
        if self.known.sandbox_port is None:
            return None
        return stack.sandbox(self.var, self.known.sandbox_port, self._own("sandbox"))

    def ours(self) -> list[Service]:
        """What may start at once when the servers and the sandbox answer."""
        services = [self.worker(name) for name in self.workers]
        if self.beat:
            services.append(stack.beat(self.var / "beat", self._own("beat")))
        return services

    def flower(self) -> Service | None:
        """Flower, last: started beside the workers it complains of each that is not there yet."""
        port = self.known.flower_port
        if port is None:
            return None
        return stack.flower(
            self.var / "flower", port, self.known.setting("FLOWER_BASIC_AUTH"), self._own("flower")
        )

    def worker(self, name: str) -> Service:
        """One worker process, which shows its heartbeat by a file of its own."""
        alive = {f"{PREFIX}ALIVE_FILE": str(running.folder(self.var) / f"{name}.alive")}
        own = {**alive, **self._metrics(name), **self._own(name)}
        broker = {**self.env, **own}.get(f"{PREFIX}BROKER_URL") or self.known.setting("BROKER_URL")
        return stack.worker(name, broker, own, concurrency=self.concurrency)

    def _own(self, name: str) -> Mapping[str, str]:
        return self.env_for.get(name, {})

    def _metrics(self, name: str) -> dict[str, str]:
        """A port of its own for each worker's metrics: the one that was told, and those after it."""
        first = self.told.get(f"{PREFIX}METRICS_PORT", "")
        if not first.isdigit() or name not in self.workers:
            return {}
        return {f"{PREFIX}METRICS_PORT": str(int(first) + self.workers.index(name))}
