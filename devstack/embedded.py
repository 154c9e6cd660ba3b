"""The same servers for one test run: thrown away at the end, and nothing fsynced.

The one thing a newcomer would get wrong: their folder is made under /tmp and not in pytest's, which is closed
to others; as root PostgreSQL runs as nobody and must get there.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from devstack.runtime import Runtime


def throw_away_servers(told: Mapping[str, str] | None = None) -> Runtime:
    """A runtime with Redis and PostgreSQL alone (each only where `told` names none); workers can be added."""
    var = Path(tempfile.mkdtemp(prefix="timbrado-test-", dir="/tmp"))
    var.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return Runtime(
        var,
        told=told,
        workers=0,
        sandbox=False,
        beat=False,
        flower=False,
        durable=False,
        fail_fast=True,
        migrate=False,
        throw_away=True,
    )
