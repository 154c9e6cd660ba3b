"""A receiver of webhooks that costs little and counts: `python -m benchmarks.webhook_receiver PORT [DELAY [FAILS]]`.

`POST /...` is answered with 204 after DELAY seconds, or with 500 for the share FAILS of them; `GET /count` with how
many came, `GET /last` with the instant (Unix time) of the last one. It is a process of its own, so that its CPU is
counted for nobody.
"""

import asyncio
import random
import sys
import time

seen = {"count": 0, "last": 0.0}


async def serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, fails: float
) -> None:
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
                if random.random() < fails:  # no secret
                    writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
                    await writer.drain()
                    continue
                seen["count"] += 1
                seen["last"] = time.time()
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main(port: int, delay: float, fails: float) -> None:
    """Serve until the process is ended."""
    server = await asyncio.start_server(
        lambda reader, writer: serve(reader, writer, delay, fails), "127.0.0.1", port
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    delay, fails = (float(each) for each in (*sys.argv[2:4], "0", "0")[:2])
    asyncio.run(main(int(sys.argv[1]), delay, fails))
