"""Where XML and PDF rest: write-once documents with their hashes, over obstore (local files, S3).

`open_store(url)` gives a `DocumentStore`; `document_key` and `quarantine_key` name what is put there. It
knows neither the database nor Celery, and never says "stamped": it says only that these bytes are safe under
this key.
"""

from storage.documents import Condition, DocumentStore, ListedDocument, Stored
from storage.errors import KeyTaken, Missing, NotWriteOnce, StorageError, StorageUnavailable
from storage.keys import DocumentKind, document_key, quarantine_key
from storage.opening import open_store

__all__ = [
    "Condition",
    "DocumentKind",
    "DocumentStore",
    "KeyTaken",
    "ListedDocument",
    "Missing",
    "NotWriteOnce",
    "StorageError",
    "StorageUnavailable",
    "Stored",
    "document_key",
    "open_store",
    "quarantine_key",
]
