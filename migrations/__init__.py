"""Alembic migrations, run from code: `timbrado migrate`, `up`, the tests.

Old workers may run beside a migration: every statement waits for its lock five seconds at most, and a change that
takes something away is made in two releases (expand, then contract; docs/operations.md). So a program also works with
tables that the next release has migrated, and going back to it needs no way back for the tables.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory


def configuration(database_url: str) -> Config:
    """Return Alembic's configuration for one database; no file is read."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["database_url"] = database_url
    return config


class NotUtf8(Exception):  # named for what is wrong, like the errors of the packages
    """A database that can't hold every name there is."""


def upgrade(database_url: str, revision: str = "head") -> bool:
    """Bring a database to `revision`; two at once take turns. False, and nothing done, where it is ahead of us.

    Raises NotUtf8.
    """
    engine = sa.create_engine(database_url, poolclass=sa.NullPool, connect_args={"client_encoding": "utf8"})
    with engine.connect() as db:
        encoding = db.execute(sa.text("SHOW server_encoding")).scalar_one()
        if encoding != "UTF8":
            raise NotUtf8(f"its encoding is {encoding}: create it with ENCODING 'UTF8' TEMPLATE template0")
        if is_ahead(db):
            return False
    command.upgrade(configuration(database_url), revision)
    return True


def is_ahead(db: sa.Connection) -> bool:
    """Whether a later release has migrated this database: it stands at a revision that this program has not."""
    at = MigrationContext.configure(db).get_current_revision()
    ours = ScriptDirectory.from_config(configuration("")).walk_revisions()
    return at is not None and at not in {each.revision for each in ours}


def downgrade(database_url: str, revision: str) -> None:
    """Take a database back to `revision`."""
    command.downgrade(configuration(database_url), revision)
