"""How many invoices a second the sandbox stamps on one core, over HTTP, XSD check on and PDF in the answer.

On a busy machine the wall clock measures the neighbours. So both are
reported: stamps per second of wall time, and per second of CPU that the server's process used, which is what one core
of its own would give. Even a second of CPU does less work beside busy neighbours, so `seal_ms` says what one
RSA-2048 signature took at that time: 0.26 on a quiet core of the machine this was written on. A stamp is nine to
thirteen of them.

    python -m benchmarks.sandbox --seconds 3 --lines 3
"""

import argparse
import asyncio
import json
import os
import time
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sandbox.serve import RunningSandbox
from tests.support.sandbox_client import HttpSandboxClient, a_line, dumps


@dataclass(frozen=True)
class Figures:
    """What one run measured; times in milliseconds."""

    stamps: int
    seconds: float
    stamps_per_second: float
    stamps_per_cpu_second: float
    cpu_ms_per_stamp: float
    p50_ms: float
    p99_ms: float
    in_flight: int
    lines: int
    pdf: bool
    seal_ms: float


def measure(
    *, seconds: float = 3.0, in_flight: int = 8, lines: int = 3, save_first: bool = False, pdf: bool = True
) -> Figures:
    """Stamp for so many seconds with so many connections kept alive; the server is pinned to one core.

    `save_first` does as the worker does: a save, then a stamp of that Id, and counts the pair as one. Without `pdf`
    the answer links to the documents, which are then drawn only for who asks.
    """
    cores = sorted(os.sched_getaffinity(0))
    with RunningSandbox() as sandbox:
        os.sched_setaffinity(sandbox.pid, {cores[0]})
        os.sched_setaffinity(0, cores[1:] or cores)
        sandbox.change(behaviour={"documents": "base64" if pdf else "links", "pdf": "slip"})
        client = HttpSandboxClient(sandbox.url, sandbox.demo_key).connect()
        body = client.body(*[a_line(ret_iva="4", comentarios=f"Flete, tramo {n}") for n in range(lines)])
        load = _Load(sandbox.port, client._token, body, save_first=save_first)
        asyncio.run(load.run(0.5, in_flight))  # the first stamp makes keys and reads schemas
        load.latencies.clear()
        before, start = _cpu_seconds(sandbox.pid), time.perf_counter()
        asyncio.run(load.run(seconds, in_flight))
        elapsed, cpu = time.perf_counter() - start, _cpu_seconds(sandbox.pid) - before
        done = sorted(load.latencies)
        if sandbox.ledger()["duplicates"]:
            raise RuntimeError("the benchmark made duplicates: its figures are not of honest stamps")
        seal_ms = _seal_ms()
    os.sched_setaffinity(0, cores)
    return Figures(
        stamps=len(done),
        seconds=round(elapsed, 2),
        stamps_per_second=round(len(done) / elapsed, 1),
        stamps_per_cpu_second=round(len(done) / cpu, 1),
        cpu_ms_per_stamp=round(1000 * cpu / len(done), 2),
        p50_ms=round(1000 * done[len(done) // 2], 1),
        p99_ms=round(1000 * done[int(len(done) * 0.99)], 1),
        in_flight=in_flight,
        lines=lines,
        pdf=pdf,
        seal_ms=round(seal_ms, 2),
    )


class _Load:
    """Connections that stamp one invoice after the other."""

    def __init__(self, port: int, token: str, body: dict[str, Any], *, save_first: bool) -> None:
        self._port = port
        self._head = (
            f"POST /api/cfdi.json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: "
        )
        self._body = json.loads(dumps(body))
        self._save_first = save_first
        self._numbers = count(1)
        self.latencies: list[float] = []

    async def run(self, seconds: float, in_flight: int) -> None:
        """Keep so many calls under way for so many seconds."""
        end = time.perf_counter() + seconds
        await asyncio.gather(*[self._one(end) for _ in range(in_flight)])

    async def _one(self, end: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        while (start := time.perf_counter()) < end:
            body = self._body | {"FolioOriginal": f"OP-{next(self._numbers)}"}
            if self._save_first:
                saved = await self._call(reader, writer, body | {"SoloGuardar": True})
                body["Id"] = json.loads(saved)["Resultado"]["Id"]
            answer = await self._call(reader, writer, body)
            if b'"UUID":"' not in answer or b'"Pdf' not in answer:
                raise RuntimeError(f"not stamped: {answer[:300]!r}")
            self.latencies.append(time.perf_counter() - start)
        writer.close()
        await writer.wait_closed()

    async def _call(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict[str, Any]
    ) -> bytes:
        data = json.dumps(body).encode()
        writer.write(f"{self._head}{len(data)}\r\n\r\n".encode() + data)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        return await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))


def _seal_ms() -> float:
    """CPU milliseconds of one RSA-2048 signature, now: the yardstick of the other figures."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    start = time.process_time()
    for _ in range(200):
        key.sign(b"||4.0|A|1||", padding.PKCS1v15(), hashes.SHA256())
    return 1000 * (time.process_time() - start) / 200


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--lines", type=int, default=3)
    parser.add_argument("--save-first", action="store_true")
    parser.add_argument("--links", action="store_true", help="documents as links: no PDF is drawn")
    options = parser.parse_args()
    figures = measure(
        seconds=options.seconds,
        in_flight=options.in_flight,
        lines=options.lines,
        save_first=options.save_first,
        pdf=not options.links,
    )
    print(json.dumps(asdict(figures), indent=2))
