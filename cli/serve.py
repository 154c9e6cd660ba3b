"""`timbrado serve`: the HTTP API and the panel, in one process.

It reads and writes PostgreSQL; a broker that is away delays nothing but the message, which the sweep sends.
"""

import logging
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated
from uuid import UUID

import typer
import uvicorn

from api.app import create_app
from api.metrics import HttpMeter, serve_metrics
from cli import session
from cli.console import Problem, err
from config import logging as logs
from worker import resources

NEXT_PORTS = 20
"""Ports after the usual one that are tried where it is taken and nobody asked for it by name."""
STOPS_WITHIN = 10  # seconds for the requests under way; open lines are closed
MOST_WAITING = 1_000
"""Messages that wait for a broker that does not answer; beyond them the sweep alone sends."""


def serve(
    bind: Annotated[
        str | None, typer.Option(help="Host and port, such as 0.0.0.0:8085, instead of TIMBRADO_HTTP_BIND.")
    ] = None,
) -> None:
    """Serve the HTTP API and the panel until Ctrl-C. Keys are made by `timbrado keys create`."""
    settings = resources.settings()
    logs.configure(format=settings.log_format, level=settings.log_level)
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    is_default = bind is None and "http_bind" not in settings.model_fields_set
    host, _, port = (bind or settings.http_bind).rpartition(":")
    if not host or not port.isdigit():
        raise Problem("--bind takes host:port, such as 127.0.0.1:8085")
    listening = _listen(host.strip("[]"), int(port), NEXT_PORTS if is_default else 1)
    where = f"http://{host}:{listening.getsockname()[1]}"
    with session.tools() as tools:
        sender = Sender()
        meter = HttpMeter() if settings.metrics_port is not None else None
        app = create_app(tools, enqueue=sender.send, public_url=settings.public_url or where, meter=meter)
        if settings.metrics_port is not None:
            try:
                serve_metrics(settings.metrics_port)
            except OSError as error:
                raise Problem(f"TIMBRADO_METRICS_PORT cannot be used: {error.strerror}") from error
        err().print(
            f"The panel: {settings.public_url or where}/   the API: {settings.public_url or where}/v1/docs"
        )
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=STOPS_WITHIN,
                lifespan="off",
            )
        )
        server.run(sockets=[listening])
        sender.close()


def _listen(host: str, port: int, tries: int) -> socket.socket:
    """Return a socket that listens on the first free port of these. Raises Problem."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for each in range(port, port + tries):
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, each))
        except OSError as error:
            listening.close()
            if each == port + tries - 1:
                raise Problem(
                    f"TIMBRADO_HTTP_BIND: {host}:{each} cannot be used: {error.strerror}"
                ) from error
        else:
            return listening
    raise AssertionError("no port was tried")


class Sender:
    """Sends messages beside the requests: no answer waits for a broker."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(2, "enqueue")
        self._waiting = 0

    def send(self, task: str, ids: Sequence[UUID], queue: str | None) -> None:
        """Send a task for each id, or once; what is not sent is found by the sweep."""
        if self._waiting > MOST_WAITING:
            return
        self._waiting += 1
        self._pool.submit(self._send, task, ids, queue)

    def _send(self, task: str, ids: Sequence[UUID], queue: str | None) -> None:
        try:
            for arguments in [[each] for each in ids] or [[]]:
                if not session.enqueue(task, *arguments, queue=queue):
                    return
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Drop what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)
