"""Where everything of one runtime is: what somebody told, and for the rest what we make ourselves.

The one thing a newcomer would get wrong: what is made once (keys, passwords, ports) is kept under `var` and
stays the same at the next start; the sockets' folder is new every time.
"""

from collections.abc import Mapping
from pathlib import Path

from cryptography.fernet import Fernet

from config.values import redis_from_broker
from devstack import stack
from devstack.ports import LOOPBACK, Ports
from devstack.postgres import Cluster, secret
from devstack.problems import LocalError

PREFIX = "TIMBRADO_"


class Addresses:
    """The environment of a runtime, and its ports. Making one raises CannotStart or NoPrograms."""

    def __init__(
        self,
        var: Path,
        sockets: Path,
        told: Mapping[str, str],
        ports: Ports,
        *,
        durable: bool = True,
        sandbox: bool = True,
        flower: bool = True,
        sandbox_port: int | None = None,
        flower_port: int | None = None,
    ) -> None:
        self._told = told
        self.environment: dict[str, str] = {f"{PREFIX}VAR": str(var)}
        self.redis_socket = None if self.is_told("BROKER_URL") else sockets / "redis.sock"
        self.cluster = None if self.is_told("DATABASE_URL") else Cluster(var, sockets, durable=durable)
        self.sandbox_port: int | None = None
        self.flower_port: int | None = None
        if self.redis_socket is not None:
            self._set("BROKER_URL", f"redis+socket://{self.redis_socket}")
        if self.cluster is not None:
            self._set("DATABASE_URL", self.cluster.url())
        if not self.is_told("STORAGE_URL"):
            self._set("STORAGE_URL", (var / "documents").as_uri())
        if not self.is_told("ENCRYPTION_KEYS"):
            self._set(
                "ENCRYPTION_KEYS", secret(var / "encryption.keys", lambda: Fernet.generate_key().decode())
            )
        if sandbox and not self.is_told("CONTADIGITAL_URL"):
            self.sandbox_port = ports.take("sandbox", sandbox_port, var / "sandbox" / "port")
            self._set("CONTADIGITAL_URL", f"http://{LOOPBACK}:{self.sandbox_port}")
            if not self.is_told("PAC_CERTIFICATES"):
                self._set("PAC_CERTIFICATES", str(stack.pac_certificate(var)))
        if flower:
            remembered = var / "flower" / "port"
            self.flower_port = ports.take("flower", flower_port, remembered, stack.FLOWER_PORT)
            if not self.is_told("FLOWER_BASIC_AUTH"):
                self._set("FLOWER_BASIC_AUTH", f"timbrado:{secret(var / 'flower.password')}")

    def _set(self, name: str, value: str) -> None:
        self.environment[f"{PREFIX}{name}"] = value

    def is_told(self, name: str) -> bool:
        """Say whether somebody set this, also as a file."""
        return bool(self._told.get(f"{PREFIX}{name}") or self._told.get(f"{PREFIX}{name}_FILE"))

    def setting(self, name: str) -> str:
        """The value of a setting (its name without prefix), told or our own."""
        if value := self.environment.get(f"{PREFIX}{name}") or self._told.get(f"{PREFIX}{name}"):
            return value
        file = self._told.get(f"{PREFIX}{name}_FILE")
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
