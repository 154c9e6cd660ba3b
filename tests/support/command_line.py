"""The `timbrado` command for tests: each run is a process of its own, forked from one that has everything imported.

A start of Python and its imports costs a second and more; a fork costs a fiftieth. Every command goes through
`cli.main` with the environment of its own, as a shell would have it, and leaves nothing behind for the next.
"""

import atexit
import functools
import importlib
import io
import json
import os
import subprocess
import sys
import traceback
import uuid
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli import main
from net.transport import open_http
from sandbox.serve import RunningSandbox
from tests.support.builders import an_invoice

FACTS = ("--rfc", "EKU9003173C9", "--razon-social", "ESCUELA KEMPER URGATE", "--cp", "64000")
CHECKOUT = Path(__file__).resolve().parents[2]
HEAVY = (
    *("celery", "kombu.transport.redis", "sqlalchemy.dialects.postgresql.psycopg", "psycopg", "redis"),
    *("alembic.command", "alembic.script", "rich.live", "rich.progress", "rich.table", "typer.main"),
    *("tasks.intake", "tasks.stamp", "tasks.upkeep", "tasks.deliver", "cfdi.evidence", "contadigital.client"),
    *(
        "stamping.connections.tokens",
        "events.webhook",
        "stamping.timeline.read",
        "storage",
        "worker.resources",
    ),
    *("celery.beat", "celery.fixups.django", "celery.loaders.app", "kombu.pidbox", "stamping.recovery.mark"),
    *(
        "worker.redis_transport",
        "worker.guard",
        "worker.schedule",
        "worker.flower",
        "cli.session",
        "cli.status",
    ),
    *("worker.redaction", "cli.doctor.services", "cli.doctor.work", "cli.progress", "cli.status_page"),
)
"""Imported once. Nothing here reads a setting; worker.app does, so that each command imports it."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        assert self.out, f"nothing on standard output, but: {self.err}"
        return json.loads(self.out)


class CommandLine:
    """`timbrado = CommandLine(environment); timbrado("status", "acme", "OP-1")`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TIMBRADO_")}
        self._environment = clean | dict(environment) | {"NO_COLOR": "1", "COLUMNS": "100"}

    def __call__(self, *arguments: str, stdin: str = "") -> Done:
        parent = _parent()
        assert parent.stdin is not None
        assert parent.stdout is not None
        asked = {"arguments": arguments, "stdin": stdin, "environment": self._environment}
        parent.stdin.write(json.dumps(asked) + "\n")
        parent.stdin.flush()
        answer = parent.stdout.readline()
        assert answer, "the command line died"
        return Done(**json.loads(answer))


@functools.cache
def _parent() -> "subprocess.Popen[str]":
    """Start the process that all commands of this run are forked from; it ends with us."""
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.support.command_line"],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(parent.communicate, timeout=10)
    return parent


class Account:
    """An account of this test's own, in the sandbox and (once connected) here."""

    def __init__(self, timbrado: CommandLine, sandbox: RunningSandbox) -> None:
        self.name = f"cli-{uuid.uuid4().hex[:8]}"
        self.sandbox = sandbox
        opened = sandbox.open_account(self.name)
        self.key: str = opened["api_key"]
        self.id_empresa: int = opened["id_empresa"]
        self._timbrado = timbrado

    def connect(self, key: str | None = None, *more: str) -> Done:
        return self._timbrado("connect", self.name, *FACTS, *more, "--json", stdin=f"{key or self.key}\n")

    def invoice(self, number: int = 1, **changes) -> dict:
        return an_invoice(account=self.name, external_id=f"OP-{number}", fecha=None, **changes)

    def submit(self, *invoices: dict) -> Done:
        lines = "\n".join(json.dumps(each) for each in invoices)
        return self._timbrado("submit", "-", "--wait", "--timeout", "60", "--json", stdin=lines)


def serve() -> None:
    """Fork a command for each line of standard input, until that ends."""
    for name in HEAVY:
        importlib.import_module(name)
    open_http().close()  # the authorities of TLS, which each command would read anew
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            answer = json.dumps(run(json.loads(line)))
            with open(writing, "w", encoding="utf-8") as pipe:
                pipe.write(answer)
            os._exit(0)
        os.close(writing)
        with open(reading, encoding="utf-8") as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Run one command as a shell would: its environment, its standard input, its exit code."""
    out, err = io.StringIO(), io.StringIO()
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["timbrado", *asked["arguments"]]
    sys.stdin = io.StringIO(asked["stdin"])
    code: int | str | None = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
            code = 1
    if isinstance(code, str):  # as Python itself ends with a text
        err.write(f"{code}\n")
    number = code if isinstance(code, int) else 0 if code is None else 1
    return {"code": number, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    serve()
