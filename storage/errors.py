"""What can go wrong between us and the place where documents rest.

StorageError
├── StorageUnavailable   nothing is known to be wrong with the document: put or read it again later
│   └── NotWriteOnce     the server overwrites what it holds: a person must choose another
├── KeyTaken             other bytes already rest under this key: keep yours in quarantine, change nothing
└── Missing              nothing rests under this key

A settings line that names no store is a plain `ValueError`: it stops the start, nobody handles it. Texts
never hold a credential or a document: they are cut before the part where S3 servers echo what they were sent.
"""

import re

_ECHO_OF_REQUEST = re.compile(
    r"<(AWSAccessKeyId|StringToSign|StringToSignBytes|CanonicalRequest|CanonicalRequestBytes|SignatureProvided)>"
    r".*?(</\1>|\Z)",
    re.DOTALL,
)
_LONGEST_TEXT = 300


class StorageError(Exception):
    """Anything that keeps a document from being put, read or checked."""


class StorageUnavailable(StorageError):
    """The store can't be used now (disk full, read-only, no rights, S3 5xx, no network): try again later."""

    def __init__(self, what: str, why: object) -> None:
        self.what = what
        self.why = one_line(why)
        super().__init__(f"{what}: {self.why}")


class NotWriteOnce(StorageUnavailable):
    """The store took other bytes under a key that was taken, so two workers racing could lose a document."""


class KeyTaken(StorageError):
    """Other bytes rest under this key already. They stay; the caller keeps its own under a quarantine key."""

    def __init__(self, key: str, stored_sha256: str, given_sha256: str) -> None:
        self.key = key
        self.stored_sha256 = stored_sha256
        self.given_sha256 = given_sha256
        super().__init__(f"{key} holds other bytes: stored sha256 {stored_sha256}, given {given_sha256}")


class Missing(StorageError):
    """Nothing rests under this key."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"{key} is not in the store")


def one_line(why: object) -> str:
    """The error as one line of at most 300 characters, without what an S3 server repeats of the request."""
    text = _ECHO_OF_REQUEST.sub("", str(why)).split("\n\nDebug source", 1)[0]
    text = " ".join(text.split()) or type(why).__name__
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
