"""Where XML and PDF rest: each key is written once, and what was written is never changed.

To ask whether a key is free and then write is not safe: two workers can do that at the same moment, also on two
machines. Here the store itself decides (`link` on a disk, `If-None-Match: *` on S3), and whoever loses reads what the
winner wrote: the same bytes are fine, other bytes are `KeyTaken`.
"""

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, MemoryStore, S3Store

from storage.errors import KeyTaken, Missing, NotWriteOnce, StorageUnavailable
from storage.keys import CONTENT_TYPES, MARK, PROBES, check_key
from storage.local import DurableDirectory

Condition = Literal["intact", "changed", "missing"]

PROBE_SIZE = 65_536
"""Bytes of a probe: as much as an XML with its PDF, so that a disk with room for less is seen to be full."""
PROBE_EVERY = 5.0
"""Seconds between two probes of a store that refused something."""
PIECE = 64 * 1024  # bytes, at least, of each piece of `pieces` but the last
_PUT_ROUNDS = 3  # a name taken and then gone again: only a probe or an operator's hand removes anything


@dataclass(frozen=True, slots=True)
class Stored:
    """A document that is safe: where, its SHA-256 in lower-case hex, its size in bytes."""

    key: str
    sha256: str
    size: int
    fresh: bool
    """False when the very same bytes rested there already."""


@dataclass(frozen=True, slots=True)
class ListedDocument:
    """One line of a listing; `size` in bytes."""

    key: str
    size: int
    modified_at: datetime


class DocumentStore:
    """Write-once documents over one obstore store: one instance for all threads of a process, never
    forked."""

    def __init__(
        self, objects: LocalStore | MemoryStore | S3Store, name: str, disk: DurableDirectory | None = None
    ) -> None:
        """`name` is what messages say: the URL, with nothing secret. With `disk`, writes go through it."""
        self.name = name
        self._objects = objects
        self._disk = disk
        self._refused: StorageUnavailable | None = None
        self._probe_at = 0.0
        self._probing = threading.Lock()

    def put(self, key: str, data: bytes) -> Stored:
        """Keep `data` under `key` for good; on return it survives a power cut (or S3 has acknowledged it).

        Raises KeyTaken when other bytes rest there, StorageUnavailable when it can't be known to be safe.
        """
        stored = self.put_all({key: data})[key]
        if isinstance(stored, KeyTaken):
            raise stored
        return stored

    def put_all(self, documents: Mapping[str, bytes]) -> dict[str, Stored | KeyTaken]:
        """Keep several, as `put` does; on a disk for fewer writes than one by one. A key that is taken is returned."""
        try:
            stored = self._put_all(documents)
        except StorageUnavailable as refused:
            self._refused = refused
            raise
        self._refused = None
        return stored

    @property
    def fault(self) -> str | None:
        """Why the last put of this process failed, until one succeeds; costs nothing."""
        refused = self._refused
        return refused.why if refused is not None else None

    def takes(self) -> bool:
        """Whether a document can be put: after one that failed a probe says so, each `PROBE_EVERY` seconds at most."""
        if self._refused is None:
            return True
        if time.monotonic() < self._probe_at or not self._probing.acquire(blocking=False):
            return False
        try:
            self.probe()
        except StorageUnavailable as refused:
            self._refused = refused
            self._probe_at = time.monotonic() + PROBE_EVERY
            return False
        else:
            self._refused = None
            return True
        finally:
            self._probing.release()

    def _put_all(self, documents: Mapping[str, bytes]) -> dict[str, Stored | KeyTaken]:
        stored: dict[str, Stored | KeyTaken] = {}
        for key, data in documents.items():
            try:
                stored[key] = self._put(key, data)
            except KeyTaken as taken:
                stored[key] = taken
        fresh = [key for key, each in stored.items() if isinstance(each, Stored) and each.fresh]
        if self._disk is not None and fresh:
            with self._unavailable(f"put {fresh[0]}"):
                self._disk.sync(fresh)
        return stored

    def _put(self, key: str, data: bytes) -> Stored:
        check_key(key)
        given = hashlib.sha256(data).hexdigest()
        for _ in range(_PUT_ROUNDS):
            if self._create(key, data):
                return Stored(key, given, len(data), fresh=True)
            with suppress(Missing):
                stored = hashlib.sha256(self.get(key)).hexdigest()
                if stored != given:
                    raise KeyTaken(key, stored, given)
                if self._disk is not None:
                    with self._unavailable(f"put {key}"):
                        self._disk.settle(key)
                return Stored(key, given, len(data), fresh=False)
        raise StorageUnavailable(f"put {key}", "the key is neither free nor taken")

    def get(self, key: str) -> bytes:
        """The document's bytes. Raises Missing, or StorageUnavailable."""
        check_key(key)
        with self._unavailable(f"get {key}"):
            try:
                return bytes(self._objects.get(key).bytes())
            except FileNotFoundError as error:
                raise Missing(key) from error

    def replace(self, key: str, data: bytes) -> None:
        """Put a document in the place of one that is lost or was changed: a repair. Raises StorageUnavailable."""
        check_key(key)
        with self._unavailable(f"replace {key}"):
            if self._disk is not None:
                self._disk.replace(key, data)
            else:
                self._objects.put(key, data)

    def pieces(self, key: str) -> Iterator[bytes]:
        """Yield the document's bytes a piece at a time, of any size with the same memory. Raises as `get` does."""
        check_key(key)
        with self._unavailable(f"get {key}"):
            try:
                found = self._objects.get(key)
                for piece in found.stream(min_chunk_size=PIECE):
                    yield bytes(piece)
            except FileNotFoundError as error:
                raise Missing(key) from error

    def exists(self, key: str) -> bool:
        """Whether something rests under `key`; only ever for showing, since `put` decides by itself."""
        check_key(key)
        with self._unavailable(f"head {key}"):
            try:
                self._objects.head(key)
            except FileNotFoundError:
                return False
            return True

    def verify(self, key: str, sha256: str) -> Condition:
        """Read the document and say whether it is still what was stored. Raises StorageUnavailable."""
        try:
            found = hashlib.sha256(self.get(key)).hexdigest()
        except Missing:
            return "missing"
        return "intact" if found == sha256.lower() else "changed"

    def list(self, prefix: str = "") -> Iterator[ListedDocument]:
        """Every document under a folder, in no order; whole segments only (`acme/20` holds no
        `acme/2026`)."""
        folder = check_key(prefix.rstrip("/")) if prefix else None
        with self._unavailable(f"list {prefix}"):
            for batch in self._objects.list(prefix=folder):
                for each in batch:
                    # `.incoming`, and a name that begins with a dot, are half-written; the mark is no document either
                    if not each["path"].startswith((".", MARK)) and "/." not in each["path"]:
                        yield ListedDocument(each["path"], each["size"], each["last_modified"])

    def write_mark(self, data: bytes) -> None:
        """Write the installation's mark over the one before: no document, and the one object that changes.

        Raises StorageUnavailable.
        """
        with self._unavailable("write the mark"):
            self._objects.put(MARK, data)

    def read_mark(self) -> bytes | None:
        """The mark that was last written; None where none was. Raises StorageUnavailable."""
        with self._unavailable("read the mark"):
            try:
                return bytes(self._objects.get(MARK).bytes())
            except FileNotFoundError:
                return None

    def probe(self, clock: Callable[[], float] = time.monotonic) -> float:
        """Write, read, list and delete a small object; seconds it took. For `doctor` and readiness.

        Raises StorageUnavailable with the reason, and NotWriteOnce when the server ignores `If-None-Match`.
        """
        began = clock()
        key = f"{PROBES}/{secrets.token_hex(12)}"
        data = secrets.token_bytes(PROBE_SIZE)
        try:
            self._put_all({key: data})
            if self.get(key) != data:
                raise StorageUnavailable(f"probe {self.name}", "it gave back other bytes than it was given")
            if self._create(key, b"other bytes"):
                raise NotWriteOnce(
                    f"probe {self.name}",
                    "it overwrites what PUT with `If-None-Match: *` must leave alone: use another server",
                )
            if key not in {each.key for each in self.list(PROBES)}:
                raise StorageUnavailable(f"probe {self.name}", "it does not list what it was given")
        except StorageUnavailable:
            with suppress(StorageUnavailable):  # the first thing found is the one to fix
                self._forget(key)
            raise
        self._forget(key)
        return clock() - began

    def _create(self, key: str, data: bytes) -> bool:
        """Write if the name is free, in one step; whether it was."""
        with self._unavailable(f"put {key}"):
            try:
                if self._disk is not None:
                    self._disk.create(key, data)
                elif content_type := CONTENT_TYPES.get(key.rpartition(".")[2]):
                    self._objects.put(key, data, mode="create", attributes={"Content-Type": content_type})
                else:
                    self._objects.put(key, data, mode="create")
            except (AlreadyExistsError, FileExistsError):
                return False
            return True

    def _forget(self, key: str) -> None:
        """Take a probe's object away again; a document is never deleted here."""
        with self._unavailable(f"delete {key}"), suppress(FileNotFoundError):
            if self._disk is not None:
                self._disk.delete(key)
            else:
                self._objects.delete(key)

    @contextmanager
    def _unavailable(self, what: str) -> Iterator[None]:
        """Say StorageUnavailable for whatever disk or server say; obstore raises built-in errors too."""
        try:
            yield
        except (BaseError, OSError) as error:
            raise StorageUnavailable(f"{what} in {self.name}", error) from error

    def __repr__(self) -> str:
        return f"DocumentStore({self.name!r})"
