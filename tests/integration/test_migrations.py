"""Migrations beside workers: two at once take turns, none waits long for a lock, and what the law keeps stays."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uuid_utils.compat as uuids
from alembic.script import ScriptDirectory

from migrations import configuration, downgrade, upgrade
from models.tables import attempts, documents, history, invoices
from tests.support.builders import an_invoice

ROOT = Path(__file__).parents[2]


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    made = sa.create_engine(database_url, poolclass=sa.NullPool)
    yield made
    made.dispose()


TO_THE_NEXT = """
import os, sys

from alembic import command
from migrations import configuration

config = configuration(sys.argv[1])
config.set_main_option("path_separator", "os")
config.set_main_option("version_locations", os.pathsep.join([os.path.abspath("migrations/versions"), sys.argv[2]]))
command.upgrade(config, "next")
"""


# --- at once ---------------------------------------------------------------------------------------------------------


def test_two_migrations_at_once_wait_for_each_other_over_an_index_that_is_made_concurrently(
    database_url: str, engine: sa.Engine, tmp_path: Path
) -> None:
    """CREATE INDEX CONCURRENTLY waits for every statement before it: the other one must not wait inside one."""
    head = ScriptDirectory.from_config(configuration("")).get_current_head()
    (tmp_path / "next.py").write_text(
        f"""
import time
from alembic import op

revision, down_revision = "next", "{head}"


def upgrade():
    time.sleep(1)  # until the other one is there
    with op.get_context().autocommit_block():
        op.execute("CREATE INDEX CONCURRENTLY ix_next ON invoices (folio)")
"""
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", TO_THE_NEXT, database_url, str(tmp_path)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]

    assert [each.communicate(timeout=60)[1] for each in both] == ["", ""]
    assert [each.returncode for each in both] == [0, 0]
    with engine.connect() as db:
        valid = db.execute(sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_next'::regclass"))
        assert valid.scalar_one()


def test_a_migration_that_meets_a_lock_gives_up_and_can_be_run_again(
    database_url: str, engine: sa.Engine
) -> None:
    """It waits five seconds and not more, says so in one line, and leaves nothing half done."""
    downgrade(
        database_url, "base"
    )  # Alembic's own table stays, and is the first thing that a migration writes
    migrate = [sys.executable, "-m", "cli", "migrate"]
    environment = {**os.environ, **settings(database_url)}
    with engine.connect() as session:
        session.execute(sa.text("LOCK TABLE alembic_version IN SHARE MODE"))
        refused = subprocess.run(
            migrate, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
    again = subprocess.run(
        migrate, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert refused.returncode == 1
    assert "lock timeout" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert (again.returncode, again.stderr) == (0, "The database is up to date.\n")


def settings(database_url: str) -> dict[str, str]:
    return {
        "TIMBRADO_DATABASE_URL": database_url,
        "TIMBRADO_BROKER_URL": "redis://127.0.0.1:1/0",
        "TIMBRADO_STORAGE_URL": "file:///nowhere",
        "TIMBRADO_ENCRYPTION_KEYS": "d2hhdGV2ZXItaXMtMzItYnl0ZXMtbG9uZy1lbm91Z2g=",
        "TIMBRADO_CONTADIGITAL_URL": "https://app.contadigital.mx",
    }


# --- kept for five years ---------------------------------------------------------------------------------------------


@pytest.fixture
def lay(engine: sa.Engine) -> Callable[[datetime], Any]:
    """Lay a stamped invoice of a day into the table, with an attempt, a document and its history."""

    def made(at: datetime) -> Any:
        invoice_id = uuids.uuid7()
        with engine.begin() as db:
            db.execute(
                sa.insert(invoices).values(
                    id=invoice_id,
                    account="acme",
                    external_id=str(invoice_id),
                    status="stamped",
                    version=1,
                    content=an_invoice(),
                    content_hash="c" * 64,
                    uuid=str(invoice_id).upper(),
                    stamped_at=at,
                    created_at=at,
                    updated_at=at,
                )
            )
            db.execute(
                sa.insert(attempts).values(
                    invoice_id=invoice_id, number=1, call="stamp", claim=1, started_at=at
                )
            )
            db.execute(
                sa.insert(documents).values(
                    invoice_id=invoice_id, kind="xml", key="a", sha256="0" * 64, bytes=1, stored_at=at
                )
            )
        return invoice_id

    return made


BELOW = (attempts, documents, history)


def deletions(invoice_id: Any) -> list[sa.Delete]:
    below = [sa.delete(table).where(table.c.invoice_id == invoice_id) for table in BELOW]
    return [*below, sa.delete(invoices).where(invoices.c.id == invoice_id)]


def test_nobody_deletes_before_five_years_are_over(engine: sa.Engine, lay: Callable[[datetime], Any]) -> None:
    """Not even the tables' owner: five years from the annual declaration of the year in which it was stamped."""
    youngest = lay(datetime(datetime.now(UTC).year - 5, 1, 1, tzinfo=UTC))
    for statement in deletions(youngest):
        with pytest.raises(sa.exc.IntegrityError, match="kept by law"), engine.begin() as db:
            db.execute(statement)
    for table in (*BELOW, invoices):
        with pytest.raises(sa.exc.IntegrityError, match="kept for five years"), engine.begin() as db:
            db.execute(sa.text(f"TRUNCATE {table.name} CASCADE"))

    with engine.connect() as db:
        for table in (*BELOW, invoices):
            assert db.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == 1


def test_what_is_old_enough_may_be_deleted(engine: sa.Engine, lay: Callable[[datetime], Any]) -> None:
    """What is older than the years to be kept goes by the documented statements, one after the other."""
    old = lay(datetime(datetime.now(UTC).year - 7, 12, 31, tzinfo=UTC))
    with engine.begin() as db:
        for statement in deletions(old):
            assert db.execute(statement).rowcount == 1


def test_a_line_of_history_never_changes(engine: sa.Engine, lay: Callable[[datetime], Any]) -> None:
    """An UPDATE of history is refused by the database itself."""
    lay(datetime(2001, 1, 1, tzinfo=UTC))
    with pytest.raises(sa.exc.IntegrityError, match="never changes"), engine.begin() as db:
        db.execute(sa.update(history).values(to_status="cancelled"))


def test_the_way_back_for_a_developer_is_whole(database_url: str) -> None:
    """Down to nothing and up again leaves no object that is in the way."""
    downgrade(database_url, "base")
    upgrade(database_url)
