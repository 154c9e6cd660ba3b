"""What operators do while invoices come in: deploy, migrate, hold, lose a host, restart the database.

Real processes throughout: two workers, beat, Redis, PostgreSQL, the sandbox. Each test counts what the sandbox stamped
against what was sent, and looks at what Apunto received.
"""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from migrations import configuration, downgrade
from tests.support.apunto import Apunto, invoices_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
ROOT = Path(__file__).parents[2]
HARMLESS = {"invoice.accepted", "invoice.stamped", "invoice.documents_ready"}
LEASE = 180  # seconds, the default


@pytest.fixture(scope="module")
def apunto(make_stack: Callable[..., Any], make_database: Callable[[], str]) -> Iterator[Apunto]:
    """Two workers as an operator has them, over the tables of the first release."""
    url = make_database()
    downgrade(url, "0001")
    env = {"TIMBRADO_SWEEP_EVERY": "1", "TIMBRADO_DATABASE_URL": url}
    with Apunto(make_stack(workers=2, env=env)) as client:
        yield client


@pytest.fixture(scope="module")
def clock_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds by how many seconds the two hosts are ahead."""
    return tmp_path_factory.mktemp("clock") / "offset"


@pytest.fixture(scope="module")
def two_hosts(make_stack: Callable[..., Any], clock_file: Path) -> Iterator[Apunto]:
    """Two workers whose time is in the test's hand, so that nobody waits for a lease to end."""
    env = {
        "TIMBRADO_SWEEP_EVERY": "0.5",
        "TIMBRADO_DOUBT_QUARANTINE": "2",
        "TIMBRADO_TEST_CLOCK_FILE": str(clock_file),
    }
    with Apunto(make_stack(workers=2, env=env)) as client:
        yield client


@contextmanager
def load(apunto: Apunto, accounts: list[str], every: float) -> Iterator[Counter[str]]:
    """Submit invoices to each account in turn until the block ends; counts them by account."""
    sent: Counter[str] = Counter()
    enough = threading.Event()

    def feed() -> None:
        while not enough.is_set():
            for account in accounts:
                apunto.submit(invoices_of(account, 1))
                sent[account] += 1
            enough.wait(every)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield sent
    finally:
        enough.set()
        feeder.join()


def slow_accounts(apunto: Apunto, count: int, seconds: float) -> list[str]:
    """Accounts whose calls take a while, so that there is always something in flight."""
    names = [apunto.open_account() for _ in range(count)]
    for name in names:
        apunto.stack.sandbox.play("latency", account=name, p50=seconds, p99=seconds * 1.5)
    return names


def assert_each_is_stamped_once(apunto: Apunto, sent: Counter[str], seconds: float = 40) -> None:
    for account, count in sent.items():
        rows = apunto.until(account, {"stamped"}, count, seconds)
        ledger = apunto.stack.sandbox.ledger(account)
        assert (len(rows), ledger["stamps"], ledger["duplicates"]) == (count, count, 0)


def emitted(apunto: Apunto, accounts: list[str]) -> set[str]:
    return {event.type for account in accounts for event in apunto.events(account) if event.external_id}


def timbrado(apunto: Apunto, *arguments: str) -> str:
    """Run the command as an operator does."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        env={**os.environ, **apunto.stack.environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def an_expansion(folder: Path) -> None:
    """The first half of a change, as a release would ship it: something is added, nothing is taken away."""
    head = ScriptDirectory.from_config(configuration("")).get_current_head()
    (folder / "next_expand.py").write_text(
        f'''
from alembic import op

revision, down_revision = "next", "{head}"


def upgrade():
    op.execute("ALTER TABLE invoices ADD COLUMN note text")
    op.execute("CREATE TABLE notes (invoice_id uuid REFERENCES invoices (id), note text)")
    with op.get_context().autocommit_block():
        op.execute("CREATE INDEX CONCURRENTLY ix_invoices_note ON invoices (note) WHERE note IS NOT NULL")
'''
    )


def migrate_beside(database_url: str, folder: Path) -> None:
    an_expansion(folder)
    config = configuration(database_url)
    config.set_main_option("path_separator", "os")
    versions = ROOT / "migrations" / "versions"
    config.set_main_option("version_locations", os.pathsep.join([str(versions), str(folder)]))
    command.upgrade(config, "next")


def test_a_rolling_deploy_under_load_loses_and_doubles_nothing(apunto: Apunto, tmp_path: Path) -> None:
    """Two releases' migrations run beside old workers; one is drained and replaced, one is just stopped: nobody
    notices."""
    runtime, accounts = apunto.stack.runtime, slow_accounts(apunto, 2, 0.3)
    first, second = apunto.stack.workers

    with load(apunto, accounts, 0.4) as sent:
        apunto.until_true(lambda: sum(len(apunto.rows(name)) for name in accounts), lambda n: n > 4, 20)
        timbrado(apunto, "migrate")
        migrate_beside(apunto.stack.database_url, tmp_path)
        apunto.engine.dispose()  # our own SELECT * was prepared for the old columns; the workers name theirs
        timbrado(apunto, "drain", "--worker", f"{first}@timbrado")
        runtime.restart_service(first)
        runtime.restart_service(second)

    assert_each_is_stamped_once(apunto, sent)
    assert emitted(apunto, accounts) <= HARMLESS
    ends = apunto.query(
        "SELECT DISTINCT a.outcome FROM attempts a JOIN invoices i ON i.id = a.invoice_id"
        " WHERE i.account = ANY(:accounts)",
        accounts=accounts,
    )
    assert [row.outcome for row in ends] == ["done"]


def test_a_rolling_upgrade_finds_invoices_in_every_state(apunto: Apunto, tmp_path: Path) -> None:
    """Both workers are replaced, one after the other: each invoice ends as it would have, and none is sent twice."""
    runtime, sandbox = apunto.stack.runtime, apunto.stack.sandbox
    account, broken = apunto.open_account(), apunto.open_account()
    control, cancelled = invoices_of(account, 1), invoices_of(account, 1)
    apunto.submit([*control, *cancelled])
    apunto.until(account, {"stamped"}, 2)
    wrong = [{**each, "total": "1.00"} for each in invoices_of(account, 1)]
    apunto.submit(wrong)
    apunto.until(account, {"rejected"}, 1)
    sandbox.revoke_key(broken)
    apunto.send("stamping.validate_connection", account=broken)
    apunto.until_connection(broken, "broken")
    apunto.submit(invoices_of(broken, 2))
    apunto.until(broken, {"on_hold"}, 2)
    sandbox.play("drop_after", account=account, call="cancel", times=1)
    apunto.send(
        "stamping.cancel_invoice", account=account, external_id=cancelled[0]["external_id"], motivo="02"
    )
    apunto.until(account, {"cancelling"}, 1)
    sandbox.play("drop_after", account=account, call="stamp", times=2)
    apunto.submit(invoices_of(account, 2))
    apunto.until(account, {"in_doubt"}, 2)
    sandbox.play("status_before", account=account, call="save", status=429, retry_after=5, times=2)
    apunto.submit(invoices_of(account, 3))
    apunto.until_true(lambda: apunto.rows(account), lambda rows: len(rows) == 8, 20)
    before = Counter(row.status for row in apunto.rows(account).values())

    timbrado(apunto, "migrate")
    for name in apunto.stack.workers:
        runtime.restart_service(name)

    def ended() -> Counter[str]:
        return Counter(row.status for row in apunto.rows(account).values())

    apunto.until_true(ended, lambda seen: seen == {"stamped": 6, "cancelled": 1, "rejected": 1}, 90)
    assert {"in_doubt", "cancelling", "rejected", "stamped"} <= set(before)
    assert {row.status for row in apunto.rows(broken).values()} == {"on_hold"}
    ledger = sandbox.ledger(account)
    assert (ledger["stamps"], ledger["duplicates"], ledger["cancelled"]) == (7, 0, 1)


def test_a_host_that_vanishes_costs_its_own_a_lease_and_others_nothing(
    two_hosts: Apunto, clock_file: Path
) -> None:
    """SIGKILL in mid-load: what it had in hand waits for its lease, is looked up, and is stamped once."""
    runtime, accounts = two_hosts.stack.runtime, slow_accounts(two_hosts, 4, 0.4)
    gone = two_hosts.stack.workers[0]
    for account in accounts:  # its customer and product are known: making them known has a lease of its own
        two_hosts.submit(invoices_of(account, 1))
    for account in accounts:
        two_hosts.until(account, {"stamped"}, 1)
    sent = Counter(dict.fromkeys(accounts, 9))
    for account in accounts:
        two_hosts.submit(invoices_of(account, 8))
    two_hosts.until_true(
        lambda: sum(len(two_hosts.rows(name)) for name in accounts), lambda n: n == sum(sent.values()), 30
    )

    def in_hand() -> list[Any]:
        return two_hosts.query(
            "SELECT external_id FROM invoices WHERE status = 'stamping' AND claimed_by LIKE :host",
            host=f"%:{pid}",
        )

    pid = runtime.pids[gone]
    two_hosts.until_true(in_hand, lambda rows: len(rows) >= 2, 20, every=0.01)
    runtime.kill(gone, again=False)
    in_flight = in_hand()
    beside = two_hosts.open_account()
    two_hosts.submit(invoices_of(beside, 5))
    assert_each_is_stamped_once(two_hosts, Counter({beside: 5}))
    assert in_flight
    assert sorted(in_hand()) == sorted(in_flight)

    ahead = clock_file.with_name("ahead")  # put in place whole: half a file would be read as no offset
    ahead.write_text(str(LEASE + 1))
    ahead.replace(clock_file)
    assert_each_is_stamped_once(two_hosts, sent)
    runtime.start_service(gone)

    assert emitted(two_hosts, accounts) <= HARMLESS | {"invoice.in_doubt"}


def test_a_paused_account_waits_and_the_others_go_on(apunto: Apunto) -> None:
    """`timbrado hold` stops one account's sending within a sweep, and `release` lets all of it go on."""
    paused, free = apunto.open_account(), apunto.open_account()
    timbrado(apunto, "hold", paused)

    apunto.submit(invoices_of(paused, 5))
    apunto.submit(invoices_of(free, 5))
    apunto.until(free, {"stamped"}, 5)
    apunto.until(paused, {"accepted"}, 5)
    time.sleep(1.5)
    assert apunto.stack.sandbox.ledger(paused)["stamps"] == 0
    assert {row.status for row in apunto.rows(paused).values()} == {"accepted"}
    timbrado(apunto, "release", paused)

    assert_each_is_stamped_once(apunto, Counter({paused: 5, free: 5}))
    assert emitted(apunto, [paused, free]) <= HARMLESS


def test_what_comes_in_while_postgresql_is_away_is_stamped_when_it_is_back(apunto: Apunto) -> None:
    """Messages go back into their queue; the worker needs no restart."""
    account = apunto.open_account()
    url = sa.make_url(apunto.stack.database_url)
    admin = sa.create_engine(
        url.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    with admin.connect() as db:
        apunto.engine.dispose()
        db.execute(sa.text(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS false"))
        db.execute(
            sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
            {"name": url.database},
        )
        apunto.submit(invoices_of(account, 10))
        time.sleep(3)
        db.execute(sa.text(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS true"))

    assert_each_is_stamped_once(apunto, Counter({account: 10}))
    assert emitted(apunto, [account]) <= HARMLESS
