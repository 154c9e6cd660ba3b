"""`timbrado migrate`: the tables, brought up to date; safe beside running workers and safe to run twice."""

from worker.cli.console import err


def migrate() -> None:
    """Bring the database's tables up to date. Safe beside running workers, and safe to run twice at once."""
    from config.settings import load
    from migrations import upgrade

    upgrade(load().database_url.get_secret_value())
    err().print("The database is up to date.")
