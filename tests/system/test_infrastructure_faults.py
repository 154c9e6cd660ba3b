"""Faults of what the product runs on, each made for real: what operators see is true, and all ends stamped once.

A disk that is full, read-only, without inodes or a mount of its own is a tmpfs here, so these tests want root.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import sqlalchemy as sa

from devstack.ports import any_port
from tests.support.apunto import Apunto, invoices_of
from tests.support.breakable_stack import Wreck, open_wreck, until
from tests.support.command_line import CommandLine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system"),
]
PORT = any_port()
IN_FLIGHT = 4  # calls at once of an account, the default


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@contextmanager
def small_disk(place: Path, options: str) -> Iterator[Path]:
    """A file system of its own in memory."""
    place.mkdir(exist_ok=True)
    try:
        mount("-t", "tmpfs", "-o", options, "tmpfs", str(place))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-R", "-l", str(place)], check=False)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_disk(tmp_path_factory.mktemp("disk"), "size=20m,mode=777") as place:
        yield place


@pytest.fixture(scope="module")
def wreck(disk: Path) -> Iterator[Wreck]:
    """Two workers whose documents lie on the small disk; the first one says how it is."""
    given = {"TIMBRADO_STORAGE_URL": (disk / "documents").as_uri()}
    with open_wreck(given=given, env_for={"worker1": {"TIMBRADO_METRICS_PORT": str(PORT)}}) as opened:
        yield opened


@pytest.fixture
def apunto(wreck: Wreck) -> Iterator[Apunto]:
    wreck.all_up()
    with Apunto(wreck) as client:
        yield client
    wreck.sandbox.calm()


@pytest.fixture
def account(apunto: Apunto) -> str:
    """An account with one stamp, which taught what this provider does and can be looked up."""
    name = apunto.open_account()
    apunto.submit(invoices_of(name, 1))
    apunto.until(name, {"stamped"}, 1)
    return name


def fill(place: Path) -> None:
    with suppress(OSError), (place / "ballast").open("ab", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * 4096)


def ask(page: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{PORT}/{page}", trust_env=False, timeout=10)


def doctor(wreck: Wreck, what: str) -> list[str]:
    """What is not ok of one thing, by the doctor."""
    found = CommandLine(wreck.environment)("doctor", "--json").json["findings"]
    return [each["found"] for each in found if each["what"] == what and each["level"] != "ok"]


def assert_each_stamped_once(wreck: Wreck, apunto: Apunto, account: str, count: int) -> None:
    """Everything of the account, the control included."""

    def all_stamped() -> bool:
        rows = apunto.rows(account)
        return len(rows) == count + 1 and {row.status for row in rows.values()} == {"stamped"}

    wreck.run_ahead(all_stamped, 90, step=20, pause=0.4)
    ledger = wreck.sandbox.ledger(account)
    assert (ledger["stamps"], ledger["duplicates"]) == (count + 1, 0)


# --- documents -------------------------------------------------------------------------------------------------------


def no_inodes(disk: Path) -> None:
    found = os.statvfs(disk)
    mount("-o", f"remount,nr_inodes={found.f_files - found.f_ffree}", str(disk))


STORES: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "full": (fill, lambda disk: (disk / "ballast").unlink()),
    "without inodes": (no_inodes, lambda disk: mount("-o", "remount,nr_inodes=100000", str(disk))),
    "read-only": (
        lambda disk: mount("-o", "remount,ro", str(disk)),
        lambda disk: mount("-o", "remount,rw", str(disk)),
    ),
}


@pytest.mark.parametrize("fault", STORES)
def test_a_disk_for_documents_that_takes_nothing_stops_new_stamps(
    wreck: Wreck, apunto: Apunto, account: str, disk: Path, fault: str
) -> None:
    """What is under way is in doubt, the rest waits; readiness, metrics, doctor and `status` name it."""
    breaks, repairs = STORES[fault]
    breaks(disk)
    try:
        several = invoices_of(account, 20)
        apunto.submit(several)
        rows = apunto.until_true(lambda: apunto.rows(account), lambda rows: len(rows) == 21, 30)
        until(lambda: [row for row in apunto.rows(account).values() if row.status == "in_doubt"], 30)
        time.sleep(2)  # four sweeps, each of which enqueues all that wait
        rows = apunto.rows(account)
        ready, metrics = ask("readyz"), ask("metrics").text
        storage = doctor(wreck, "storage")
        waiting = next(name for name, row in rows.items() if row.status in {"accepted", "waiting"})
        page = CommandLine(wreck.environment)("status", account, waiting).out
    finally:
        repairs(disk)

    statuses = [row.status for row in rows.values()]
    assert statuses.count("in_doubt") <= 2 * IN_FLIGHT
    assert statuses.count("accepted") + statuses.count("waiting") >= 20 - 2 * IN_FLIGHT
    assert (ready.status_code, "the document store takes nothing" in ready.text) == (503, True)
    assert "timbrado_store_up 0.0" in metrics
    assert storage
    assert "AN OPERATOR" in page
    assert "documents can't be stored" in " ".join(page.split())
    assert_each_stamped_once(wreck, apunto, account, 20)


def test_an_accounts_folder_may_be_a_file_system_of_its_own(
    wreck: Wreck, apunto: Apunto, account: str, disk: Path
) -> None:
    """Where a link would cross file systems the file is written beside its place: no doubt, and no list of it."""
    with small_disk(disk / "documents" / account, "size=10m,mode=777"):
        apunto.submit(invoices_of(account, 5))
        apunto.until(account, {"stamped"}, 6)
        verified = CommandLine(wreck.environment)("documents", "--verify", account, "--json")

    doubts = apunto.query(
        "SELECT 1 FROM history h JOIN invoices i ON i.id = h.invoice_id"
        " WHERE i.account = :a AND h.to_status = 'in_doubt'",
        a=account,
    )
    assert doubts == []
    assert {each["what"] for each in verified.json["findings"]} == {
        "missing"
    }  # the control's, below the mount
    assert len(verified.json["findings"]) == 2


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


@contextmanager
def admin(wreck: Wreck) -> Iterator[Callable[[str], Any]]:
    engine = sa.create_engine(wreck.database_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)

    def run(statement: str) -> None:
        with engine.connect() as db:
            db.execute(sa.text("SET default_transaction_read_only = off"))
            db.execute(sa.text("SET lock_timeout = '20s'"))
            db.execute(sa.text(statement))

    yield run
    engine.dispose()


def test_a_full_disk_of_postgresql_is_named_by_its_code(
    wreck: Wreck, apunto: Apunto, account: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The invoices' tables lie on a full disk, and all else has room: readiness, metrics and the doctor say 53100."""
    place = Path(os.path.realpath(tmp_path_factory.mktemp("tables")))
    for folder in (place, *place.parents[:3]):
        folder.chmod(0o755)
    tables = ("invoices", "attempts", "events", "history", "documents")
    with small_disk(place, "size=40m,mode=777"), admin(wreck) as run:
        (place / "data").mkdir(mode=0o777)
        os.chown(place / "data", 65534, 65534)
        run(f"CREATE TABLESPACE small LOCATION '{place / 'data'}'")
        for table in tables:
            run(f"ALTER TABLE {table} SET TABLESPACE small")
        fill(place)
        several = invoices_of(account, 150)
        apunto.submit(several)
        try:
            reported = until(lambda: [each for each in doctor(wreck, "work") if "53100" in each], 60)
            ready = until(lambda: (answer := ask("readyz")).status_code == 503 and answer.text, 40)
            metrics = ask("metrics").text
        finally:
            (place / "ballast").unlink()

        assert "its disk is full" in reported[0]
        assert "its disk is full (53100)" in ready
        assert 'timbrado_messages_given_back_total{sqlstate="53100"}' in metrics
        assert_each_stamped_once(wreck, apunto, account, 150)
        for table in tables:
            run(f"ALTER TABLE {table} SET TABLESPACE pg_default")
        run("DROP TABLESPACE small")


def test_a_primary_that_was_demoted_is_left_for_the_new_one(
    wreck: Wreck, apunto: Apunto, account: str
) -> None:
    """Open sessions are read-only for ever, as after a failover whose old primary stays up; new ones can write."""
    with admin(wreck) as run:
        name = sa.make_url(wreck.database_url).database
        run(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        run("ALTER SYSTEM SET default_transaction_read_only = on")
        run("SELECT pg_reload_conf()")
        try:
            apunto.submit(invoices_of(account, 5))
            assert_each_stamped_once(wreck, apunto, account, 5)
        finally:
            run("ALTER SYSTEM RESET default_transaction_read_only")
            run("SELECT pg_reload_conf()")
            run(f"ALTER DATABASE {name} RESET default_transaction_read_only")


# --- Redis -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "repaired", "words"),
    [
        (
            ("REPLICAOF", "127.0.0.1", "1"),
            ("REPLICAOF", "NO", "ONE"),
            "You can't write against a read only replica",
        ),
        (
            ("CONFIG", "SET", "maxmemory", "100000"),
            ("CONFIG", "SET", "maxmemory", "0"),
            "used memory > 'maxmemory'",
        ),
    ],
    ids=["a replica", "full"],
)
def test_a_redis_that_takes_nothing_is_reported_with_its_reason(
    wreck: Wreck, apunto: Apunto, account: str, fault: tuple[str, ...], repaired: tuple[str, ...], words: str
) -> None:
    """Demoted in a failover, or full: nothing is sent, one sentence says so; afterwards the same workers go on."""
    before = {name: wreck.runtime.pids[name] for name in wreck.workers}
    several = invoices_of(account, 5)
    lines = "\n".join(map(json.dumps, several))
    with redis.Redis.from_url(wreck.runtime.redis_url) as server:
        server.execute_command(*fault)
        try:
            done = CommandLine(wreck.environment)("submit", "-", stdin=lines)
        finally:
            server.execute_command(*repaired)

    assert done.code == 1
    assert "the broker takes nothing: " in done.err
    assert words in done.err
    assert "0 of 5 were sent (sending one twice is harmless)" in done.err
    apunto.submit(several)
    assert_each_stamped_once(wreck, apunto, account, 5)
    assert {name: wreck.runtime.pids[name] for name in wreck.workers} == before


def test_a_full_redis_ends_no_worker(wreck: Wreck, apunto: Apunto, account: str) -> None:
    """Also where the workers have lost it as a replica, and reach for it while it is full."""
    before = {name: wreck.runtime.pids[name] for name in wreck.workers}
    with redis.Redis.from_url(wreck.runtime.redis_url) as server:
        server.execute_command("REPLICAOF", "127.0.0.1", "1")
        time.sleep(1)
        server.config_set("maxmemory", 100_000)
        server.execute_command("REPLICAOF", "NO", "ONE")
        time.sleep(10)
        server.config_set("maxmemory", 0)
    apunto.submit(invoices_of(account, 5))

    assert_each_stamped_once(wreck, apunto, account, 5)
    assert {name: wreck.runtime.pids[name] for name in wreck.workers} == before


def test_workers_that_start_beside_a_full_redis_make_room_in_it(
    wreck: Wreck, apunto: Apunto, account: str
) -> None:
    """It is full of what waits for them: they take it, though Redis notes neither their queues nor what they took."""
    for name in wreck.workers:
        os.kill(wreck.runtime.pids[name], signal.SIGSTOP)
    several = invoices_of(account, 100)
    apunto.submit(several)
    with redis.Redis.from_url(wreck.runtime.redis_url) as server:
        server.config_set("maxmemory", 100_000)
        try:
            left = server.llen("intake")
            for name in wreck.workers:
                wreck.runtime.kill(name)
            until(lambda: server.llen("intake") == 0, 40)
        finally:
            server.config_set("maxmemory", 0)
    wreck.all_up()

    assert left > 90
    apunto.submit(several)  # the killed ones had some in hand
    assert_each_stamped_once(wreck, apunto, account, 100)


# --- processes and clocks --------------------------------------------------------------------------------------------


def test_workers_without_descriptors_end_and_take_nobody_for_down(
    wreck: Wreck, apunto: Apunto, account: str
) -> None:
    """No circuit breaker opens; the doctor says whose fault it is; both are started anew, and all is stamped."""
    pids = {name: wreck.runtime.pids[name] for name in wreck.workers}
    for pid in pids.values():
        most = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, most))
    several = invoices_of(account, 30)
    apunto.submit(several)

    reported = until(lambda: [each for each in doctor(wreck, "work") if "descriptors" in each], 30)
    opened = apunto.query("SELECT opened_at FROM providers WHERE opened_at IS NOT NULL")
    until(lambda: all(wreck.runtime.pids.get(name) not in {None, pid} for name, pid in pids.items()), 90)
    wreck.all_up()

    assert "EMFILE" in reported[0]
    assert opened == []
    assert wreck.logged("no_descriptors")
    apunto.submit(
        several
    )  # what they had taken comes back after the visibility timeout, or is sent again before
    assert_each_stamped_once(wreck, apunto, account, 30)


def test_workers_without_memory_lose_nothing(wreck: Wreck, apunto: Apunto, account: str) -> None:
    """Not a byte more than they have: they make do with it, or end and are started anew; each is stamped once."""
    for name in wreck.workers:
        pid = wreck.runtime.pids[name]
        taken = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (taken, resource.prlimit(pid, resource.RLIMIT_AS)[1]))
    several = invoices_of(account, 60)
    apunto.submit(several)
    time.sleep(10)
    wreck.all_up()

    apunto.submit(several)  # as above
    assert_each_stamped_once(wreck, apunto, account, 60)


def test_workers_that_get_next_to_no_processor_lose_nothing(
    wreck: Wreck, apunto: Apunto, account: str
) -> None:
    """Nice 19 beside four busy loops: slower, and each stamped once; nothing is taken for dead and done twice."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        for name in (*wreck.workers, "beat"):
            for thread in Path(f"/proc/{wreck.runtime.pids[name]}/task").iterdir():
                os.setpriority(os.PRIO_PROCESS, int(thread.name), 19)
        apunto.submit(invoices_of(account, 60))
        assert_each_stamped_once(wreck, apunto, account, 60)
    finally:
        for each in busy:
            each.kill()
            each.wait()
        for name in (*wreck.workers, "beat"):
            wreck.runtime.restart_service(name)


SHIFTED = """
import copyreg, os, time, datetime as module
off, real, clock = float(os.environ.get("WALL_OFF", "0")), module.datetime, time.time
if off:
    class Kind(type):
        def __instancecheck__(cls, other):
            return isinstance(other, real)
    class Shifted(real, metaclass=Kind):
        @classmethod
        def now(cls, tz=None):
            return real.now(tz) + module.timedelta(seconds=off)
        @classmethod
        def utcnow(cls):
            return real.utcnow() + module.timedelta(seconds=off)
    def again(text):
        return real.fromisoformat(text)
    copyreg.pickle(real, lambda value: (again, (value.isoformat(),)))  # of beat's schedule
    module.datetime, time.time = Shifted, lambda: clock() + off
"""


def test_a_beat_whose_clock_is_behind_is_named_and_sweeps_all_the_same(
    wreck: Wreck, apunto: Apunto, account: str, tmp_path: Path
) -> None:
    """Twenty seconds behind the workers: lost answers are looked up, and the doctor says by how much it is off."""
    (tmp_path / "sitecustomize.py").write_text(SHIFTED)
    wreck.runtime.restart_service("beat", env={"WALL_OFF": "-20", "PYTHONPATH": str(tmp_path)})
    try:
        wreck.sandbox.play("drop_after", account=account, call="stamp", times=3)
        apunto.submit(invoices_of(account, 6))
        assert_each_stamped_once(wreck, apunto, account, 6)
        reported = until(lambda: [each for each in doctor(wreck, "clock") if "beat's host" in each], 90)
    finally:
        wreck.runtime.stop_service("beat")
        for schedule in wreck.runtime.var.rglob("schedule*"):
            schedule.unlink()
        wreck.runtime.start_service("beat")

    assert "is -20." in reported[0] or "is -19." in reported[0]
