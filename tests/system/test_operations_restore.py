"""Backup and restore as docs/operations.md walks through them; and a database that went back in time.

That one stamps nothing twice, where `timbrado recover --after-restore` is run first.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa

from devstack import services
from models.tables import inbox
from sandbox.serve import RunningSandbox
from stamping import deadlines, pipeline, reconcile, sweep
from stamping.intake import submit
from stamping.intake.seen_messages import Message
from stamping.recovery import audit, repair, restore
from storage.keys import MARK
from tests.support.apunto import Apunto, invoices_of
from tests.support.breakable_stack import copy_server, open_wreck, replace_server
from tests.support.builders import a_concepto, an_invoice
from tests.support.command_line import CommandLine
from tests.support.harness import Harness, open_harness

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def copy_of(url: sa.URL, engine: sa.Engine) -> sa.URL:
    """A copy of the database as it stands now: what a backup would hold."""
    engine.dispose()
    name = f"{url.database}_backup"
    admin = sa.create_engine(
        url.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    with admin.connect() as db:
        db.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        db.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {url.database}"))
    return url.set(database=name)


def restored(harness: Harness, url: sa.URL) -> Harness:
    """The same installation over the backup, after `timbrado recover --after-restore`."""
    after = harness.another_worker(engine=sa.create_engine(url))
    restore.recover(after.tools, actor="test", reason="a backup")
    return after


def carry_on(harness: Harness) -> None:
    """What workers and beat would do."""
    for _ in range(2):  # a reminder that is due goes before the look-up of the same invoice
        due = sweep.sweep(harness.tools)
        for each in due.reminders:
            deadlines.remind(each, harness.tools)
        for each in [*due.stamp, *due.stamp_bulk]:
            pipeline.stamp(each, harness.tools)
        for each in due.look_up:
            reconcile.reconcile(each, harness.tools)


def go_down(sandbox: RunningSandbox) -> None:
    """Have it refuse connections, and wait until open ones are broken, too."""
    with closing(socket.create_connection(("127.0.0.1", sandbox.port), 5)) as opened:
        sandbox.play("down", seconds=600)
        with suppress(ConnectionError):
            opened.recv(1)
    with suppress(ConnectionRefusedError):
        while True:
            socket.create_connection(("127.0.0.1", sandbox.port), 1).close()


def program(name: str) -> str:
    """One of PostgreSQL's programs, of the server's own version."""
    return str(services.postgres_bin() / name)


def run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_dump_and_a_copy_of_the_documents_are_the_whole_installation(
    make_stack: Callable[..., Any], make_database: Callable[[], str], tmp_path: Path
) -> None:
    """Dumped beside a worker, restored elsewhere: the chain holds, each file is as stored, keys can be read, and the
    law's five years are kept there, too."""
    stack = make_stack()
    with Apunto(stack) as apunto:
        account = apunto.open_account()
        apunto.submit(invoices_of(account, 4))
        apunto.submit([an_invoice(account=account, external_id="W-1", fecha=None, total="1.00")])
        apunto.until(account, {"stamped"}, 4)
        apunto.until(account, {"rejected"}, 1)
    here = sa.make_url(stack.database_url).set(drivername="postgresql")
    there = sa.make_url(make_database()).set(drivername="postgresql")
    with psycopg.connect(dsn_of(there), autocommit=True) as db:
        db.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    dump = str(tmp_path / "timbrado.dump")
    run(program("pg_dump"), "--format=custom", f"--file={dump}", dsn_of(here))
    shutil.copytree(stack.documents, tmp_path / "documents")
    run(
        *(program("pg_restore"), "--no-owner", "--no-privileges", "--exit-on-error"),
        *(f"--dbname={dsn_of(there)}", dump),
    )
    timbrado = CommandLine(
        {
            **stack.environment,
            "TIMBRADO_DATABASE_URL": there.set(drivername="postgresql+psycopg").render_as_string(
                hide_password=False
            ),
            "TIMBRADO_STORAGE_URL": (tmp_path / "documents").as_uri(),
        }
    )

    assert timbrado("migrate").err == "The database is up to date.\n"
    verified = timbrado("verify", "--json")
    documents = timbrado("documents", "--verify", "--json")
    keys = [each for each in timbrado("doctor", "--json").json["findings"] if each["what"] == "keys"]
    assert (verified.code, verified.json["invoices"], verified.json["breaks"]) == (0, 5, [])
    assert (documents.code, documents.json["findings"]) == (0, [])
    assert [each["level"] for each in keys] == ["ok"]
    with pytest.raises(psycopg.errors.CheckViolation), psycopg.connect(dsn_of(there)) as db:
        db.execute("DELETE FROM documents")


def dsn_of(url: sa.URL) -> str:
    return url.render_as_string(hide_password=False)


def test_what_was_stamped_since_the_backup_is_not_stamped_again(
    database_url: str, sandbox: RunningSandbox
) -> None:
    """One had an Id of ContaDigital and is taken over by a look-up; one had none, and waits for an audit."""
    with open_harness(database_url, sandbox) as harness:
        known = harness.stamped("OP-KNOWN")
        fresh = harness.submit("OP-FRESH")
        saved = harness.submit("OP-SAVED")
        sandbox.play(
            "status_before", account=harness.account, call="stamp", status=429, retry_after=1, times=1
        )
        harness.stamp(saved)
        assert harness.row(saved).status == "waiting"
        assert harness.row(saved).record_id is not None

        backup = copy_of(sa.make_url(database_url), harness.tools.engine)
        harness.later(minutes=11)
        for each in (fresh, saved):
            harness.stamp(each)
            assert harness.row(each).status == "stamped"
        uuid = harness.row(saved).uuid

        after = restored(harness, backup)
        try:
            assert (after.row(fresh).status, after.row(fresh).doubt) == ("in_doubt", "restore")
            for _ in range(30):
                after.later(minutes=5)
                carry_on(after)
            assert after.row(saved).version > 1000
            assert (after.row(saved).status, after.row(saved).uuid) == ("stamped", uuid)
            assert (after.row(fresh).status, after.row(fresh).doubt) == ("in_doubt", "restore")
            assert after.row(known).status == "stamped"
            found = audit.audit(after.account, audit.stored(after.account, after.tools), after.tools)
            repaired = repair.repair(found, after.tools, actor="test", reason="after the restore")
            assert (repaired.adopted, repaired.left) == (1, [])
            assert after.row(fresh).status == "stamped"
        finally:
            after.tools.engine.dispose()

        (stranger,) = [each for each in found.found if each.kind is audit.FindingKind.UNKNOWN_HERE]
        assert (stranger.external_id, stranger.invoice_id) == ("OP-FRESH", fresh)
        assert (harness.stamps(), harness.duplicates()) == (3, 0)


def test_one_that_was_dated_anew_since_the_backup_is_found_by_its_xml(
    database_url: str, sandbox: RunningSandbox
) -> None:
    """In the backup it bears the date of a save that then never left; it was stamped hours later, with another one."""
    with open_harness(database_url, sandbox) as harness:
        harness.stamped("OP-KNOWN")
        content = an_invoice(account=harness.account, external_id="OP-FRESH", fecha=None)
        taken = submit.submit(content, harness.tools, claim=True)
        assert isinstance(taken, submit.Accepted)
        assert taken.claimed is not None
        dated = harness.row(taken.invoice_id).fecha

        backup = copy_of(sa.make_url(database_url), harness.tools.engine)
        go_down(sandbox)
        pipeline.stamp_claimed(taken.claimed, harness.tools, taken.prepared)
        assert harness.row(taken.invoice_id).fecha is None
        sandbox.calm()
        harness.later(hours=3)
        while harness.row(taken.invoice_id).status != "stamped":  # the server takes a moment to be back
            carry_on(harness)
            harness.later(minutes=5)
        assert harness.row(taken.invoice_id).fecha - dated > timedelta(hours=1)

        after = restored(harness, backup)
        try:
            assert (after.row(taken.invoice_id).doubt, after.row(taken.invoice_id).fecha) == (
                "restore",
                dated,
            )
            found = audit.audit(after.account, audit.stored(after.account, after.tools), after.tools)
            done = repair.repair(found, after.tools, actor="test", reason="a restore", complete=True)
            carry_on(after)
            assert (done.adopted, done.released, done.left) == (1, 0, [])
            assert after.row(taken.invoice_id).status == "stamped"
            assert after.row(taken.invoice_id).uuid == harness.row(taken.invoice_id).uuid
        finally:
            after.tools.engine.dispose()

        assert (harness.stamps(), harness.duplicates()) == (2, 0)


@pytest.mark.parametrize("is_in_the_backup", [True, False])
def test_an_xml_whose_words_are_a_part_of_anothers_is_not_taken_for_its_stamp(
    database_url: str, sandbox: RunningSandbox, is_in_the_backup: bool
) -> None:
    """A provider may cut a description short: "Flete 3" is the stamp of the invoice that says so, else it may be
    that of "Flete 31", which waits for a person."""
    with open_harness(database_url, sandbox) as harness:
        harness.stamped("OP-KNOWN")

        def flete(number: int) -> UUID:
            return harness.submit(f"OP-{number}", conceptos=[a_concepto(descripcion=f"Flete {number}")])

        shorter = flete(3) if is_in_the_backup else None
        longer = flete(31)
        backup = copy_of(sa.make_url(database_url), harness.tools.engine)
        harness.stamp(shorter or flete(3))

        after = restored(harness, backup)
        try:
            found = audit.audit(after.account, audit.stored(after.account, after.tools), after.tools)
            done = repair.repair(found, after.tools, actor="test", reason="a restore", complete=True)
            carry_on(after)
            assert done.adopted == done.released == is_in_the_backup
            assert after.row(longer).status == ("stamped" if is_in_the_backup else "in_doubt")
        finally:
            after.tools.engine.dispose()

        assert harness.duplicates() == 0


def test_a_save_that_was_in_doubt_in_the_backup_is_not_saved_anew(
    database_url: str, sandbox: RunningSandbox
) -> None:
    """The backup holds a lost save; saved anew and stamped since, it must not be saved a third time."""
    with open_harness(database_url, sandbox) as harness:
        harness.stamped("CONTROL")
        lost = harness.submit("LOST")
        sandbox.play("drop_after", account=harness.account, call="save", times=1)
        harness.stamp(lost)
        assert (harness.row(lost).status, harness.row(lost).doubt) == ("in_doubt", "save")
        backup = copy_of(sa.make_url(database_url), harness.tools.engine)
        harness.look(lost)
        harness.later(minutes=1)
        harness.stamp(lost)
        assert harness.row(lost).status == "stamped"

        after = restored(harness, backup)
        try:
            for _ in range(30):
                after.later(minutes=2)
                carry_on(after)
            assert (after.row(lost).status, after.row(lost).doubt) == ("in_doubt", "restore")
        finally:
            after.tools.engine.dispose()

        assert harness.duplicates() == 0


def test_a_message_from_before_the_restore_is_not_sent(database_url: str, sandbox: RunningSandbox) -> None:
    """A broker hands out again what was taken in, and stamped, since the backup: it waits for an audit. What is sent
    after the restore is stamped."""
    with open_harness(database_url, sandbox) as harness:
        harness.stamped("CONTROL")
        backup = copy_of(sa.make_url(database_url), harness.tools.engine)
        content = an_invoice(account=harness.account, external_id="FORGOTTEN", fecha=None)
        message = Message("message-1", "stamping.submit_invoice", harness.tools.clock.now())
        taken = submit.submit(content, harness.tools, message=message)
        harness.stamp(taken.invoice_id)
        assert harness.row(taken.invoice_id).status == "stamped"
        harness.later(minutes=11)

        after = restored(harness, backup)
        try:
            again = submit.submit(content, after.tools, message=message, claim=True)
            fresh = submit.submit(
                an_invoice(account=harness.account, external_id="FRESH", fecha=None),
                after.tools,
                message=Message("message-2", "stamping.submit_invoice", after.tools.clock.now()),
            )
            for _ in range(4):
                after.later(minutes=5)
                carry_on(after)
            forgotten = after.row(again.invoice_id)
            assert (forgotten.status, forgotten.doubt) == ("in_doubt", "restore")
            assert after.row(fresh.invoice_id).status == "stamped"
        finally:
            after.tools.engine.dispose()

        assert (harness.stamps(), harness.duplicates()) == (3, 0)


def test_the_inbox_of_the_backup_is_taken_in_and_not_sent(database_url: str, sandbox: RunningSandbox) -> None:
    """A row that no worker had taken when the backup was made may have been stamped since: stored, in doubt."""
    with open_harness(database_url, sandbox) as harness:
        content = an_invoice(account=harness.account, external_id="BOX-1", fecha=None)
        with harness.tools.engine.begin() as db:
            db.execute(sa.insert(inbox).values(kind="submit", payload=content))

        done = restore.recover(harness.tools, actor="test", reason="a backup")
        carry_on(harness)

        (row,) = harness.all("SELECT status, doubt FROM invoices WHERE external_id = 'BOX-1'")
        assert done.taken_in == 1
        assert (row.status, row.doubt) == ("in_doubt", "restore")
        assert harness.stamps() == 0


@pytest.mark.timeout(240)
def test_a_failover_before_the_first_sweep_is_noticed_by_the_worker_that_starts() -> None:
    """A standby takes over that lacks the last second, in which an invoice was stamped: no worker works on it before
    `timbrado recover`, and then the stamp is found. Beat is away: each start of a worker leaves a mark."""
    with open_wreck(workers=1) as wreck, Apunto(wreck) as apunto:
        wreck.runtime.stop_service("beat")
        with psycopg.connect(wreck.database_url.replace("+psycopg", "", 1)) as db:
            db.execute("DELETE FROM installation")
        (wreck.documents / MARK).unlink()
        wreck.runtime.restart_service("worker1")  # the first of a new installation
        account = apunto.open_account()
        wreck.arm("before_stamp")
        apunto.submit(invoices_of(account, 1))
        wreck.who_stands_at("before_stamp")
        copy_server(wreck.runtime, wreck.home / "standby")
        wreck.disarm("before_stamp")
        apunto.until(account, {"stamped"}, 1)

        wreck.runtime.kill("worker1", again=False)
        replace_server(wreck.runtime, wreck.home / "standby", promoted=True)
        refused = subprocess.run(
            services.worker("refused", wreck.broker_url, {}).argv,
            env={**os.environ, **wreck.environment},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert refused.returncode != 0
        assert "the database was set back: it was failed over" in refused.stderr
        found = CommandLine(wreck.environment)("doctor", "--json").json["findings"]
        assert [each["level"] for each in found if each["what"] == "set back"] == ["bad"]

        done = CommandLine(wreck.environment)(
            "recover", "--after-restore", "--reason", "a failover", "--json"
        )
        assert [each["next"] for each in done.json["in_doubt"]] == ["look-up"]
        for service in ("worker1", "beat"):
            wreck.runtime.start_service(service)
        wreck.run_ahead(lambda: {row.status for row in apunto.rows(account).values()} == {"stamped"}, 60)

        ledger = wreck.sandbox.ledger(account)
        assert (ledger["stamps"], ledger["duplicates"]) == (1, 0)
