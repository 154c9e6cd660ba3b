"""`timbrado migrate`: the tables, brought up to date; safe beside running workers and safe to run twice."""

from cli.console import err
from config.settings import load
from migrations import upgrade


def migrate() -> None:
    """Bring the database's tables up to date. Safe beside running workers, and safe to run twice at once."""
    if upgrade(load().database_url.get_secret_value()):
        err().print("The database is up to date.")
    else:
        err().print("A later release has migrated the database. It is left as it is: this one works with it.")
