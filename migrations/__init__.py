"""Alembic migrations, run from code: `timbrado migrate`, `up`, the tests.

Old workers may run beside a migration: every statement waits for its lock five seconds at most, and a change that
takes something away is made in two releases (expand, then contract; docs/operations.md).
"""

from pathlib import Path

from alembic import command
from alembic.config import Config


def configuration(database_url: str) -> Config:
    """Return Alembic's configuration for one database; no file is read."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring a database to `revision`; two at once take turns."""
    command.upgrade(configuration(database_url), revision)


def downgrade(database_url: str, revision: str) -> None:
    """Take a database back to `revision`."""
    command.downgrade(configuration(database_url), revision)
