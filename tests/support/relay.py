"""Carries bytes from one address to another: `python -m tests.support.relay 192.0.2.1:5432=/tmp/pg/.s.PGSQL.5432 ...`.

It stands where a router would between hosts that are network namespaces of one machine. A target that begins with `/`
is a unix socket. Whoever is cut off learns nothing of it from here: this one keeps both its ends open.
"""

import asyncio
import contextlib
import sys


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def listen(address: str, target: str) -> None:
    async def arrived(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if target.startswith("/"):
                there = await asyncio.open_unix_connection(target)
            else:
                host, _, port = target.rpartition(":")
                there = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            return
        await asyncio.gather(carry(reader, there[1]), carry(there[0], writer))

    host, _, port = address.rpartition(":")
    server = await asyncio.start_server(arrived, host, int(port))
    await server.serve_forever()


async def main() -> None:
    await asyncio.gather(*(listen(*each.split("=", 1)) for each in sys.argv[1:]))


if __name__ == "__main__":
    asyncio.run(main())
