"""A receiver of webhooks to test against: a real HTTP server whose manners a test chooses."""

import http.server
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """What came in: `headers` with lower-case names."""

    path: str
    headers: dict[str, str]
    body: str

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What goes out, `hang` seconds late; with status 0 nothing does, and the connection is closed."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hang: float = 0.0
    drip: int = 0
    """So many bytes of body, one each 50 ms."""


class Receiver:
    """The server: `manners` answers each request, `requests` remembers them in order of arrival."""

    def __init__(
        self, manners: Callable[[Request], Answer], tls: ssl.SSLContext | None = None, port: int = 0
    ) -> None:
        self.manners = manners
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                request = Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                with receiver.lock:
                    receiver.requests.append(request)
                answer = receiver.manners(request)
                if answer.hang:
                    receiver.stopping.wait(answer.hang)
                if answer.status == 0:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body) + answer.drip))
                self.end_headers()
                self.wfile.write(answer.body)
                for _ in range(answer.drip):
                    if receiver.stopping.is_set():
                        return
                    time.sleep(0.05)
                    self.wfile.write(b".")

            def log_message(self, *args: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that gives up is what some tests are about

        self.server = Server(("127.0.0.1", port), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}/hooks/timbrado"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.stopping.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@contextmanager
def receiving(
    manners: Callable[[Request], Answer] | Answer | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Receiver]:
    """A receiver for the time of the block; well-mannered unless asked otherwise."""
    answer = manners if isinstance(manners, Answer) else Answer()
    receiver = Receiver(manners if callable(manners) else lambda _: answer, tls)
    try:
        yield receiver
    finally:
        receiver.close()
