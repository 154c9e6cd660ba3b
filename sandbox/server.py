"""Runs the sandbox under uvicorn, and reads its command line.

The socket is bound here before uvicorn starts, so `--port 0` finds a free
port and the one line on standard output names it: `sandbox ready at http://127.0.0.1:40123`. A second port,
on loopback only, answers the control calls while the first is down; GET /sandbox/health names it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import math
import os
import socket
import sys
from pathlib import Path
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox import fault_player
from sandbox.app import make_app
from sandbox.faults import Scenario, chaos
from sandbox.provider import Provider

_STDIN: Final = 0


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted."""
    options = _options().parse_args(arguments)
    try:
        bound = _bind(options.host, options.port)
        control = _bind("127.0.0.1", options.control_port)
    except OSError as error:
        sys.exit(f"sandbox: {options.host}:{options.port} cannot be used: {error.strerror}")
    host, port = bound.getsockname()[:2]
    provider = Provider(options.store, demo=options.demo)
    provider.control_url = f"http://127.0.0.1:{control.getsockname()[1]}"
    for scenario in _scenarios(options):
        provider.scenarios.seed(scenario.seed)
        provider.scenarios.add(scenario.rules, provider.clock.running())
    url = options.public_url or f"http://{host}:{port}"
    app = make_app(provider, links_to=url, open_control=options.open_control)
    config = uvicorn.Config(
        app,
        http=_Protocol,
        loop="uvloop",
        ws="none",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=30,
    )
    server = Server(config, provider, (host, port), until_stdin_closes=options.until_stdin_closes)
    # What lives now lives for good, and invoices leave no cycles: garbage is looked for less often.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn ends in order, and then raises it again
        server.run(sockets=[bound, control])


class Server(uvicorn.Server):
    """uvicorn, which can also be down: its port refuses connections for a while, and those that are open break."""

    def __init__(
        self,
        config: uvicorn.Config,
        provider: Provider,
        address: tuple[str, int],
        *,
        until_stdin_closes: bool,
    ) -> None:
        super().__init__(config)
        self._provider = provider
        self._address = address
        self._until_stdin_closes = until_stdin_closes
        self._down_since, self._down_until = 0.0, 0.0
        self._outage: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        self._provider.scenarios.on_outage = self.go_down
        if self._until_stdin_closes:
            asyncio.get_running_loop().add_reader(_STDIN, self._read_stdin)
        sys.stdout.write(f"sandbox ready at http://{self._address[0]}:{self._address[1]}\n")
        sys.stdout.flush()

    def go_down(self, seconds: float) -> None:
        """Refuse connections for so many seconds from now; 0 ends an outage."""
        now = self._provider.clock.running()
        # an end holds also when the clock is moved back right after it
        self._down_until = -math.inf if seconds == 0 else max(self._down_until, now + seconds)
        self._down_since = now
        if seconds and (self._outage is None or self._outage.done()):
            self._outage = asyncio.create_task(self._be_down())

    async def _be_down(self) -> None:
        self.servers[0].close()
        for connection in list(self.server_state.connections):
            address = getattr(connection, "server", None)
            if address is not None and address[1] == self._address[1]:
                connection.transport.abort()
        # Bound and not listening: the port stays ours, and a client that connects is refused by the kernel.
        listener = await self._hold()
        # the clock itself can be moved: before its beginning an outage is over, too
        while self._down_since <= self._provider.clock.running() < self._down_until:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        self._down_until = -math.inf
        listener.listen(512)
        self.servers[0] = await asyncio.get_running_loop().create_server(self._connection, sock=listener)

    async def _hold(self) -> socket.socket:
        for _ in range(200):
            try:
                return _bind(*self._address, listen=False)
            except OSError:
                await asyncio.sleep(
                    0.005
                )  # the listener that was closed lets go of the port in the next turns
        raise OSError(f"port {self._address[1]} was not let go of")

    def _connection(self) -> asyncio.Protocol:
        return _Protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _read_stdin(self) -> None:
        if not os.read(_STDIN, 4096):
            asyncio.get_running_loop().remove_reader(_STDIN)
            self.should_exit = True


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, whose socket faults can reach."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, Any] = {fault_player.TRANSPORT: self.transport}
        self.scope["extensions"] = extensions


def _bind(host: str, port: int, *, listen: bool = True) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        if listen:
            bound.listen(512)
    except OSError:
        bound.close()
        raise
    return bound


def _scenarios(options: argparse.Namespace) -> list[Scenario]:
    files = (Path(path).read_text("utf-8") for path in options.scenario)
    found = [Scenario.model_validate(json.loads(text)) for text in files]
    if options.chaos:
        seed, _, factor = options.chaos.partition(",")
        found.append(chaos(int(seed), float(factor or 1)))
    return found


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A stand-in ContaDigital.")
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=8090, help="0 finds a free one")
    add("--control-port", type=int, default=0, help="loopback port that stays up while the other is down")
    add("--store", type=Path, default=Path("var/sandbox/store.sqlite"), help="the file it remembers in")
    add("--demo", action="store_true", help="open the demo account (its key is in sandbox/accounts.py)")
    add("--scenario", action="append", default=[], metavar="FILE", help="faults to play (JSON)")
    add("--chaos", metavar="SEED,FACTOR", help="random faults at FACTOR times the assumed rates")
    add("--public-url", help="the address that document links begin with")
    add("--open-control", action="store_true", help="/sandbox/* answers beyond loopback, too")
    add("--until-stdin-closes", action="store_true", help="end when the process that started it is gone")
    return parser
