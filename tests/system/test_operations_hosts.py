"""Two worker hosts, each with a network of its own; one is cut off in mid-load without a word, and comes back.

A killed process closes its connections. A host that vanishes does not: servers wait for it with what it had taken, and
it waits for them. So here the cable is pulled, between network namespaces; that needs root and Linux.
"""

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from devstack import services
from tests.support.apunto import Apunto, invoices_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
ROOT = Path(__file__).parents[2]
LEASE = 180  # seconds, the default
HARMLESS = {"invoice.accepted", "invoice.stamped", "invoice.documents_ready", "invoice.in_doubt"}


def ip(*words: str, check: bool = True) -> int:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.returncode


class Host:
    """A network namespace with one cable, over which it reaches PostgreSQL, Redis and ContaDigital."""

    def __init__(self, number: int) -> None:
        self.name = f"timbrado{os.getpid()}h{number}"
        self.cable, inner = f"tb{os.getpid() % 100000}h{number}", f"tb{os.getpid() % 100000}i{number}"
        # 198.18.0.0/15 is for such tests
        self.gateway, self.address = f"198.18.{number}.1", f"198.18.{number}.2"
        ip("link", "add", self.cable, "type", "veth", "peer", "name", inner, "netns", self.name)
        ip("addr", "add", f"{self.gateway}/30", "dev", self.cable)
        ip("link", "set", self.cable, "up")
        ip("-n", self.name, "addr", "add", f"{self.address}/30", "dev", inner)
        ip("-n", self.name, "link", "set", inner, "up")
        ip("-n", self.name, "link", "set", "lo", "up")

    def inside(self, *argv: str) -> list[str]:
        return [str(shutil.which("ip")), "netns", "exec", self.name, *argv]

    def cut(self) -> None:
        """Pull the cable: what is sent is gone, and neither side is informed."""
        ip("link", "set", self.cable, "down")

    def repair(self) -> None:
        ip("link", "set", self.cable, "up")


@contextmanager
def relay(*mappings: str, inside: Host | None = None) -> Iterator[None]:
    argv = [sys.executable, "-m", "tests.support.relay", *mappings]
    process = subprocess.Popen(inside.inside(*argv) if inside else argv, cwd=ROOT)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Host]]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("two hosts need network namespaces: root, Linux and the program ip (Debian: iproute2)")
    with ExitStack() as opened:
        made = []
        for number in (1, 2):
            name = f"timbrado{os.getpid()}h{number}"
            if ip("netns", "add", name, check=False):
                pytest.skip("two hosts need network namespaces, and this machine lets nobody make one")
            opened.callback(ip, "netns", "delete", name)
            made.append(Host(number))
        yield made


@pytest.fixture(scope="module")
def clock_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds by how many seconds everybody is ahead, so that nobody waits for a lease to end."""
    return tmp_path_factory.mktemp("clock") / "offset"


@pytest.fixture(scope="module")
def apunto(make_stack: Callable[..., Any], hosts: list[Host], clock_file: Path) -> Iterator[Apunto]:
    """Beat beside the servers, and a worker on each host that reaches them over its cable alone."""
    settings = {
        "TIMBRADO_SWEEP_EVERY": "0.5",
        "TIMBRADO_DOUBT_QUARANTINE": "2",
        "TIMBRADO_TEST_CLOCK_FILE": str(clock_file),
    }
    stack = make_stack(workers=0, env=settings)
    database, broker = sa.make_url(stack.database_url), urlsplit(stack.broker_url)
    assert broker.scheme == "redis+socket", "the test's own Redis is needed"
    sandbox = urlsplit(stack.sandbox.url).netloc
    with ExitStack() as opened:
        for number, host in enumerate(hosts, 1):
            opened.enter_context(
                relay(
                    f"{host.gateway}:5432={database.query['host']}/.s.PGSQL.5432",
                    f"{host.gateway}:6379={broker.path}",
                    f"{host.gateway}:8080={sandbox}",
                )
            )
            # the sandbox may be on this machine alone: the host has it there too
            opened.enter_context(relay(f"{sandbox}={host.gateway}:8080", inside=host))
            environment = {
                **stack.environment,
                "TIMBRADO_DATABASE_URL": database.set(
                    host=host.gateway, port=5432, query={}
                ).render_as_string(hide_password=False),
                "TIMBRADO_BROKER_URL": f"redis://{host.gateway}:6379/{broker.query.partition('=')[2]}",
            }
            worker = services.worker(f"host{number}", stack.broker_url, environment)
            stack.runtime.add(replace(worker, argv=host.inside(*worker.argv)))
            opened.callback(stack.runtime.stop_service, f"host{number}")
        with Apunto(stack) as client:
            yield client


def test_a_host_that_is_cut_off_loses_and_doubles_nothing(
    apunto: Apunto, hosts: list[Host], clock_file: Path
) -> None:
    """What it had in hand waits for its lease and no longer; what it says when it is back changes nothing."""
    runtime = apunto.stack.runtime
    lost = runtime.pids["host1"]
    accounts = [apunto.open_account() for _ in range(4)]
    for account in accounts:
        apunto.stack.sandbox.play("latency", account=account, p50=0.4, p99=0.6)
        apunto.submit(
            invoices_of(account, 1)
        )  # its customer is known: making it known has a lease of its own
        apunto.until(account, {"stamped"}, 1)
    for account in accounts:
        apunto.submit(invoices_of(account, 8))
    sent = Counter(dict.fromkeys(accounts, 9))
    apunto.until_true(
        lambda: sum(len(apunto.rows(name)) for name in accounts), lambda n: n == sent.total(), 30
    )

    def in_hand() -> set[str]:
        rows = apunto.query(
            "SELECT external_id FROM invoices WHERE status = 'stamping' AND claimed_by LIKE :host",
            host=f"%:{lost}",
        )
        return {row.external_id for row in rows}

    apunto.until_true(in_hand, lambda rows: len(rows) >= 2, 20, every=0.01)
    hosts[0].cut()
    time.sleep(1.5)  # Redis gives up on the question that the lost host had asked it
    in_flight = in_hand()
    beside = apunto.open_account()
    apunto.submit(invoices_of(beside, 5))
    assert_each_is_stamped_once(apunto, Counter({beside: 5}))
    assert in_flight
    assert in_hand() == in_flight

    ahead = clock_file.with_name("ahead")  # put in place whole: half a file would be read as no offset
    ahead.write_text(str(LEASE + 1))
    ahead.replace(clock_file)
    assert_each_is_stamped_once(apunto, sent)

    hosts[0].repair()
    runtime.stop_service("host2")
    alone = apunto.open_account()
    apunto.submit(invoices_of(alone, 5))
    assert_each_is_stamped_once(apunto, Counter({alone: 5}) + sent)
    emitted = {event.type for each in sent for event in apunto.events(each) if event.external_id}
    assert emitted <= HARMLESS
    assert runtime.pids["host1"] == lost


ASKS_FOR_FOUR_SECONDS = """
import sqlalchemy as sa
from config.settings import load
from worker import resources

with resources.open_engine(load()).connect() as db:
    print("asked", flush=True)
    try:
        db.execute(sa.text("SELECT pg_sleep(4)"))
    except sa.exc.OperationalError:
        print("told", flush=True)
"""


def test_who_waits_for_a_database_that_vanished_is_reported(apunto: Apunto, hosts: list[Host]) -> None:
    """The pool of threads can't be killed into: with the kernel's defaults such a thread waits for two hours."""
    far = sa.make_url(apunto.stack.database_url).set(host=hosts[0].gateway, port=5432, query={})
    environment = {
        **os.environ,
        **apunto.stack.environment,
        "TIMBRADO_DATABASE_URL": far.render_as_string(hide_password=False),
    }
    process = subprocess.Popen(
        hosts[0].inside(sys.executable, "-c", ASKS_FOR_FOUR_SECONDS),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    hosts[0].cut()
    try:
        assert process.communicate(timeout=45)[0] == "told\n"
    finally:
        hosts[0].repair()
        process.kill()


def assert_each_is_stamped_once(apunto: Apunto, sent: Counter[str]) -> None:
    for account, count in sent.items():
        rows = apunto.until(account, {"stamped"}, count, 60)
        ledger = apunto.stack.sandbox.ledger(account)
        assert (len(rows), ledger["stamps"], ledger["duplicates"]) == (count, count, 0)
