"""A receiver of webhooks that costs little and counts: `python -m benchmarks.webhook_receiver PORT [DELAY]`.

`POST /...` is answered with 204 after DELAY seconds; `GET /count` with how many came, `GET /last` with the instant
(Unix time) of the last one. It is a process of its own, so that its CPU is counted for nobody.
"""

import asyncio
import sys
import time

seen = {"count": 0, "last": 0.0}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Answer the requests of one connection, one after the other."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = 0
            for line in head.split(b"\r\n"):
                if line[:15].lower() == b"content-length:":
                    length = int(line[15:])
            if length:
                await reader.readexactly(length)
            if head.startswith(b"GET"):
                which = "last" if b"/last" in head.split(b"\r\n", 1)[0] else "count"
                text = str(seen[which]).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
            else:
                if delay:
                    await asyncio.sleep(delay)
                seen["count"] += 1
                seen["last"] = time.time()
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main(port: int, delay: float) -> None:
    """Serve until the process is ended."""
    server = await asyncio.start_server(
        lambda reader, writer: serve(reader, writer, delay), "127.0.0.1", port
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
