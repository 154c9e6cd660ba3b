"""How the doctor shows an error on one line: what PostgreSQL's code means, or why a store refuses."""

from sqlalchemy.exc import DBAPIError

from config.redact import clean
from net import descriptors
from storage import StorageUnavailable
from worker import database

LONGEST = 240  # characters


def one_line(error: Exception) -> str:
    """Return an error on one line, without a secret."""
    if ours := descriptors.fault_of(error):
        return ours
    if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None):
        return database.fault_of(error)
    if isinstance(error, StorageUnavailable):
        return clean(f"{error.why} ({error.what})")[:LONGEST]
    text = " ".join(str(error).split()) or type(error).__name__
    return clean(text)[:LONGEST]
