"""`timbrado up`: everything on one machine, in the foreground, until Ctrl-C.

The settings that this process got are used: where TIMBRADO_DATABASE_URL names a database, no PostgreSQL is started, and
where TIMBRADO_CONTADIGITAL_URL names ContaDigital, no sandbox is.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from cli import format
from cli.console import err
from config import running
from config.settings import load
from devstack.environment import PREFIX
from devstack.errors import ServiceFailed
from devstack.process import Prefixed
from devstack.stack import Interrupted, Stack, silent

Port = Annotated[int | None, typer.Option(min=1, max=65535, show_default="one that is free")]


def up(
    workers: Annotated[int, typer.Option(min=0, max=32, help="How many worker processes.")] = 1,
    sandbox_port: Port = None,
    flower_port: Port = None,
    api_port: Port = None,
    redis_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="Have Redis listen on loopback, too, for a program that sends from elsewhere.",
        ),
    ] = None,
    sandbox: Annotated[bool, typer.Option(help="Whether the sandbox is started.")] = True,
    beat: Annotated[bool, typer.Option(help="Whether beat is started; one is needed somewhere.")] = True,
    flower: Annotated[bool, typer.Option(help="Whether Flower is started.")] = True,
    api: Annotated[bool, typer.Option(help="Whether the HTTP API and the panel are started.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no service's lines.")] = False,
) -> None:
    """Run everything on this machine: Redis, PostgreSQL, migrations, sandbox, workers, beat, Flower and the HTTP API.

    What is set (TIMBRADO_DATABASE_URL, ...) is used and not started. What dies is started again. Ctrl-C
    stops all in order, a second one at once. Data, logs and keys live under var/ of the checkout.
    """
    stack = Stack(
        running.var(),
        given=given(),
        workers=workers,
        sandbox=sandbox,
        beat=beat,
        flower=flower,
        api=api,
        sandbox_port=sandbox_port,
        flower_port=flower_port,
        api_port=api_port,
        redis_port=redis_port,
        on_line=silent if quiet else Prefixed(sys.stdout),
    )
    with asked_to_stop(stack):
        try:
            prepared(stack)
            with stack:
                announce(stack)
                stack.wait()
        except Interrupted:
            raise typer.Exit(130) from None
        except ServiceFailed as failure:
            if quiet:
                show_tail(failure)
            raise
    err().print("All stopped.")


def given() -> dict[str, str]:
    """The settings this process was given."""
    return {name: value for name, value in os.environ.items() if name.startswith(PREFIX) and value}


def prepared(stack: Stack) -> None:
    """Prepare a stack and check every setting it will run with, before anything is started.

    A wrong setting is one line here; later it would be five deaths of a worker. This process then has the
    same settings as those it starts. Raises LocalError or SettingsError.
    """
    stack.prepare()
    os.environ.update(stack.environment)
    try:
        load()
    except BaseException:
        stack.stop()
        raise


@contextmanager
def asked_to_stop(stack: Stack) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end the stack in order; a second one stops it at once."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        stack.interrupt()

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def announce(stack: Stack) -> None:
    """Print where everything is."""
    console = err()
    console.print(f"[bold green]Up.[/] {len(stack.pids)} services; Ctrl-C stops them all.")
    if stack.api_url is not None:
        console.print(f"  panel      {stack.api_url}/  (its key: ./dev run keys create NAME --person)")
        console.print(f"  HTTP API   {stack.api_url}/v1/docs  (its key: ./dev run keys create NAME)")
    if stack.flower_url is not None:
        user = stack.flower_auth.partition(":")[0]
        password = format.place(stack.var / "flower.password")
        console.print(f"  Flower     {stack.flower_url}  (user {user}, password in {password})")
    if stack.sandbox_url is not None:
        console.print(f"  sandbox    {stack.sandbox_url}  (plays ContaDigital; nothing leaves this machine)")
    console.print(f"  broker     {_broker(stack)}", soft_wrap=True)
    if not stack.is_given("ENCRYPTION_KEYS"):
        keys = format.place(stack.var / "encryption.keys")
        console.print(
            f"  keys       {keys}  (TIMBRADO_ENCRYPTION_KEYS: encrypts the API keys that a program sends)"
        )
    console.print(f"  documents  {format.place(stack.storage_url)}", soft_wrap=True)
    console.print(f"  logs       {format.place(stack.var / 'logs')}", soft_wrap=True)
    console.print("  In another terminal here: ./dev run connect, submit, status, doctor ...")


def _broker(stack: Stack) -> str:
    if stack.redis_port is not None:
        return f"redis://127.0.0.1:{stack.redis_port}/0  (no password: open to every user of this machine)"
    if stack.is_given("BROKER_URL"):
        return "as TIMBRADO_BROKER_URL says"
    return f"{stack.broker_url}  (by TCP: --redis-port 6379)"


def show_tail(failure: ServiceFailed) -> None:
    """Print the last lines of the service that failed: its own lines explain more than ours."""
    for line in failure.tail:
        err().print(f"{failure.service} | {line}", markup=False)
