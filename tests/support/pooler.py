"""A pooler in transaction mode, as far as its clients notice: after each transaction the session is another one.

It passes the protocol of PostgreSQL on, and has the server forget the session (DISCARD ALL) whenever it is idle, which
is what a client sees who is handed another session: what was SET is gone, and what was prepared too.
"""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa

DISCARD = b"Q" + struct.pack("!i", 4 + len(b"DISCARD ALL\0")) + b"DISCARD ALL\0"


@contextmanager
def pooler_of_transactions(database_url: str) -> Iterator[str]:
    """Listen on a port of its own; gives the database's URL by way of it."""
    url = sa.make_url(database_url)
    folder = dict(url.query).get("host") or url.host
    port = int(dict(url.query).get("port") or url.port or 5432)
    target = f"{folder}/.s.PGSQL.{port}"
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                threading.Thread(target=_serve, args=(client, target), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        through = url.set(
            host="127.0.0.1",
            port=server.getsockname()[1],
            query={"sslmode": "disable", "gssencmode": "disable"},
        )
        yield through.render_as_string(hide_password=False)
    finally:
        server.close()


def _serve(client: socket.socket, target: str) -> None:
    upstream = socket.socket(socket.AF_UNIX)
    upstream.connect(target)

    def requests() -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                upstream.sendall(data)

    threading.Thread(target=requests, daemon=True).start()
    was_idle, withheld = False, b""
    with suppress(OSError), client, upstream:
        while kind := upstream.recv(1):
            head = _exactly(upstream, 4)
            message = kind + head + _exactly(upstream, struct.unpack("!i", head)[0] - 4)
            is_idle = message[:1] == b"Z" and message[5:] == b"I"
            if (
                withheld
            ):  # the server is asked to forget; the client waits for its answer, and sends nothing meanwhile
                if is_idle:
                    client.sendall(withheld)
                    withheld = b""
            elif is_idle and was_idle:
                withheld = message
                upstream.sendall(DISCARD)
            else:
                client.sendall(message)
                was_idle = was_idle or is_idle


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = source.recv(count - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data
