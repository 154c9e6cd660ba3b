"""Runs the sandbox under uvicorn, and reads its command line.

What a newcomer would get wrong: the socket is bound here before uvicorn starts, so `--port 0` finds a free port and the
one line on standard output names it: `sandbox ready at http://127.0.0.1:40123`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import socket
import sys
from pathlib import Path
from typing import cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox import faults
from sandbox.app import make_app
from sandbox.provider import Provider
from sandbox.scenarios import Scenario, chaos


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted."""
    options = _options().parse_args(arguments)
    try:
        bound = _bind(options.host, options.port)
    except OSError as error:
        sys.exit(f"sandbox: {options.host}:{options.port} cannot be used: {error.strerror}")
    host, port = bound.getsockname()[:2]
    url = options.public_url or f"http://{host}:{port}"
    provider = Provider(options.books, demo=options.demo)
    for scenario in _scenarios(options):
        provider.scenarios.seed(scenario.seed)
        provider.scenarios.add(scenario.rules, provider.clock.running())
    app = make_app(provider, links_to=url, open_control=options.open_control)
    config = uvicorn.Config(
        app,
        http=_protocol(provider),
        loop="uvloop",
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=30,
    )
    server = _Server(config, f"sandbox ready at http://{host}:{port}")
    gc.collect()
    gc.freeze()
    server.run(sockets=[bound])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: str) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(self._ready + "\n")
        sys.stdout.flush()


def _protocol(provider: Provider) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which also lets faults reach the socket and closes it at once while the provider is down."""

    class Protocol(HttpToolsProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
            super().connection_made(transport)
            if _is_down(provider) and self.client is not None:
                transport.abort()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.scope["extensions"] = {faults.TRANSPORT: cast("dict[object, object]", self.transport)}

    return Protocol


def _is_down(provider: Provider) -> bool:
    return provider.clock.running() < provider.scenarios.down_until


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    bound.listen(512)
    return bound


def _scenarios(options: argparse.Namespace) -> list[Scenario]:
    found = [Scenario.model_validate(json.loads(Path(path).read_text("utf-8"))) for path in options.scenario]
    if options.chaos:
        seed, _, factor = options.chaos.partition(",")
        found.append(chaos(int(seed), float(factor or 1)))
    return found


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A stand-in ContaDigital.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090, help="0 finds a free one")
    parser.add_argument(
        "--books", type=Path, default=Path("var/sandbox/books.sqlite"), help="the file it remembers in"
    )
    parser.add_argument(
        "--demo", action="store_true", help="open the demo account (key in sandbox/accounts.py)"
    )
    parser.add_argument(
        "--scenario", action="append", default=[], metavar="FILE", help="faults to play (JSON)"
    )
    parser.add_argument(
        "--chaos", metavar="SEED,FACTOR", help="random faults at FACTOR times the assumed rates"
    )
    parser.add_argument("--public-url", help="the address that document links begin with")
    parser.add_argument("--open-control", action="store_true", help="/sandbox/* answers beyond loopback, too")
    return parser
