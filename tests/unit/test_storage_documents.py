"""The document store: written once, never changed, and honest about what it can't do."""

import errno
import os
import subprocess
import sys
import textwrap
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from storage import KeyTaken, Missing, StorageUnavailable, open_store
from storage.local import DurableDirectory

STRACE = ["/usr/bin/strace", "-f", "-y", "-e", "trace=fsync,link,linkat"]
KEY = "acme/2026/11/6a5f0b9c-2d41-4e7f-9c35-0d6e4f1b2a77.xml"


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path):
    return open_store(f"file://{tmp_path}/documents" if request.param == "file" else "memory://")


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "documents"


@pytest.fixture
def files(directory):
    return open_store(f"file://{directory}")


def everything_in(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_what_was_put_is_given_back_with_its_hash(store):
    """Bytes, size and SHA-256."""
    stored = store.put(KEY, b"<cfdi/>")

    assert (stored.key, stored.size, stored.fresh) == (KEY, 7, True)
    assert stored.sha256 == sha256(b"<cfdi/>").hexdigest()
    assert store.get(KEY) == b"<cfdi/>"
    assert store.exists(KEY)


def test_the_same_bytes_again_are_fine(store):
    """A repeated put is no error and says that it was not fresh."""
    first = store.put(KEY, b"<cfdi/>")
    again = store.put(KEY, b"<cfdi/>")

    assert not again.fresh
    assert (again.sha256, again.size) == (first.sha256, first.size)


def test_other_bytes_are_refused_and_change_nothing(store):
    """The error names both hashes, so that quarantine and its reader know what came second."""
    store.put(KEY, b"first")
    with pytest.raises(KeyTaken) as taken:
        store.put(KEY, b"second")

    assert taken.value.stored_sha256 == sha256(b"first").hexdigest()
    assert taken.value.given_sha256 == sha256(b"second").hexdigest()
    assert store.get(KEY) == b"first"


def test_of_several_the_one_whose_key_is_taken_is_returned(store):
    """The others are put all the same."""
    store.put(KEY, b"first")
    pdf = KEY.replace(".xml", ".pdf")
    put = store.put_all({KEY: b"second", pdf: b"%PDF-"})

    assert isinstance(put[KEY], KeyTaken)
    assert put[KEY].stored_sha256 == sha256(b"first").hexdigest()
    assert put[pdf].fresh
    assert (store.get(KEY), store.get(pdf)) == (b"first", b"%PDF-")


def test_nothing_there_is_missing(store):
    """A key never put does not exist, is missing to verify and to read."""
    assert not store.exists(KEY)
    assert store.verify(KEY, "0" * 64) == "missing"
    with pytest.raises(Missing):
        store.get(KEY)


def test_an_empty_document_and_a_large_one_are_kept(store):
    """No byte and six million."""
    store.put("acme/2026/11/empty.pdf", b"")
    store.put("acme/2026/11/large.pdf", b"\x00\xff" * 3_000_000)

    assert store.get("acme/2026/11/empty.pdf") == b""
    assert store.get("acme/2026/11/large.pdf") == b"\x00\xff" * 3_000_000


@pytest.mark.parametrize("key", ["../out.xml", "/etc/passwd", ".incoming/x", "a/../../b"])
def test_a_key_that_leads_elsewhere_is_refused_by_every_call(store, key):
    """A key that leads elsewhere is refused by every method."""
    for credentials in (lambda: store.put(key, b""), lambda: store.get(key), lambda: store.exists(key)):
        with pytest.raises(ValueError, match="not a document key"):
            credentials()


def test_verify_distinguishes_intact_from_changed(files, directory):
    """Verify tells intact from changed."""
    stored = files.put(KEY, b"<cfdi/>")
    assert files.verify(KEY, stored.sha256.upper()) == "intact"

    path = directory / KEY
    path.chmod(0o640)
    path.write_bytes(b"<cfdi />")

    assert files.verify(KEY, stored.sha256) == "changed"


def test_a_listing_is_by_whole_folders_and_shows_documents_only(store):
    """`acme/` does not list `acme2/`."""
    for key in ("acme/2026/11/a.xml", "acme/2026/12/b.pdf", "acme2/2026/11/c.xml"):
        store.put(key, key.encode())

    assert {entry.key: entry.size for entry in store.list("acme/")} == {
        "acme/2026/11/a.xml": 18,
        "acme/2026/12/b.pdf": 18,
    }
    assert len(list(store.list())) == 3
    assert list(store.list("acme/2025")) == []
    assert all(entry.modified_at.tzinfo is not None for entry in store.list())


def test_a_probe_leaves_nothing_behind(store):
    """What was there is still all that is there."""
    store.put(KEY, b"<cfdi/>")
    store.probe()

    assert [entry.key for entry in store.list()] == [KEY]


def test_of_many_writers_at_once_exactly_one_wins(store):
    """Threads of one process race for each key with different bytes; what is kept is the winner's."""
    for number in range(10):
        key = f"acme/2026/11/{number}.xml"
        barrier = threading.Barrier(6)
        won: list[int] = []

        def race(me: int, key: str = key, barrier: threading.Barrier = barrier, won: list[int] = won) -> None:
            barrier.wait()
            try:
                store.put(key, b"writer %d" % me)
            except KeyTaken:
                return
            won.append(me)

        threads = [threading.Thread(target=race, args=(me,)) for me in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(won) == 1
        assert store.get(key) == b"writer %d" % won[0]


def test_files_are_read_only_and_their_folder_is_private(files, directory):
    """By their modes, whatever the umask."""
    files.put(KEY, b"<cfdi/>")

    assert (directory / KEY).stat().st_mode & 0o777 == 0o440 & ~current_umask()
    assert directory.stat().st_mode & 0o007 == 0


def test_nothing_half_written_is_ever_seen(files, directory):
    """A process that dies while writing leaves a temporary file, which is no document."""
    files.put(KEY, b"<cfdi/>")
    (directory / ".incoming" / "123-dead").write_bytes(b"half a docu")

    assert [entry.key for entry in files.list()] == [KEY]
    assert everything_in(directory) == [".incoming/123-dead", KEY]


def test_leftovers_of_dead_writers_go_after_an_hour(directory):
    """A younger one may still be written."""
    DurableDirectory(directory)
    (directory / ".incoming" / "old").write_bytes(b"")
    (directory / ".incoming" / "young").write_bytes(b"")
    os.utime(directory / ".incoming" / "old", (1_000_000, 1_000_000))
    os.utime(directory / ".incoming" / "young", (1_003_000, 1_003_000))

    DurableDirectory(directory, now=lambda: 1_004_000.0)

    assert everything_in(directory) == [".incoming/young"]


def test_a_full_disk_is_try_again_and_leaves_no_trace(files, directory):
    """A file-size limit makes the kernel itself refuse the write, as a full disk would."""
    script = textwrap.dedent(
        """
        import resource, signal, sys
        from storage import StorageUnavailable, open_store
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = open_store(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            store.put("acme/2026/11/big.pdf", b"x" * 5000)
        except StorageUnavailable as error:
            print(error.why)
        """
    )
    run = subprocess.run(
        [sys.executable, "-c", script, f"file://{directory}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    assert os.strerror(errno.EFBIG) in run.stdout
    assert everything_in(directory) == []


def test_a_folder_that_is_a_file_is_unavailable_not_a_crash(files, directory):
    """StorageUnavailable names the key."""
    (directory / "acme").write_bytes(b"in the way")

    with pytest.raises(StorageUnavailable, match="put acme/2026"):
        files.put(KEY, b"<cfdi/>")


def test_a_folder_removed_meanwhile_is_made_again(files, directory):
    """An operator who restores a backup may move folders under a running worker."""
    files.put("acme/2026/11/a.xml", b"a")
    (directory / "acme/2026/11/a.xml").unlink()
    (directory / "acme/2026/11").rmdir()

    assert files.put("acme/2026/11/a.xml", b"a").fresh


def kernel_calls(tmp_path: Path, script: str, *arguments: str) -> list[str]:
    """What a script asks of the kernel's files, as strace shows it."""
    if not Path(STRACE[0]).exists():
        pytest.skip("needs strace (Debian package strace)")
    trace = tmp_path / "trace"
    run = subprocess.run(
        [*STRACE, "-o", trace, sys.executable, "-c", script, f"file://{tmp_path}/new/documents", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if run.returncode and "ptrace" in run.stderr.lower():
        pytest.skip("this machine does not let strace attach")
    assert run.returncode == 0, run.stderr
    return [line.partition(" ")[2].strip() for line in trace.read_text().splitlines()]


def test_a_put_that_returned_was_synced_name_and_all(tmp_path):
    """File before its link, then every directory that names it."""
    script = (
        "import sys; from storage import open_store; open_store(sys.argv[1]).put(sys.argv[2], b'<cfdi/>')"
    )
    calls = kernel_calls(tmp_path, script, KEY)
    root = f"{tmp_path}/new/documents"

    def last(text: str) -> int:
        return max(
            index for index, call in enumerate(calls) if text in call and call.startswith(("fsync", "link"))
        )

    linked = last(KEY)
    assert calls[linked].startswith("link")
    assert any("fsync" in call and "/.incoming/" in call for call in calls[:linked])
    assert last(f"<{root}/acme/2026/11>)") > linked
    for directory in (root, f"{root}/acme", f"{root}/acme/2026", f"{tmp_path}/new", str(tmp_path)):
        assert last(f"<{directory}>)") >= 0


def test_two_documents_of_a_folder_cost_one_sync_of_it(tmp_path):
    """After both are linked: three fsyncs for an XML and its PDF, once the folder is there."""
    script = (
        "import sys; from storage import open_store; store = open_store(sys.argv[1]); "
        "store.put('acme/2026/11/first.xml', b'<cfdi/>'); print('---', file=sys.stderr, flush=True); "
        "store.put_all({'acme/2026/11/a.xml': b'<cfdi/>', 'acme/2026/11/a.pdf': b'%PDF-'})"
    )
    calls = kernel_calls(tmp_path, script)
    asked = [call for call in calls if call.startswith(("fsync", "link"))]
    both = asked[
        next(n for n, call in enumerate(asked) if "first.xml" in call and call.startswith("link")) + 2 :
    ]

    assert [call.partition("(")[0] for call in both] == ["fsync", "link", "fsync", "link", "fsync"]
    assert f"<{tmp_path}/new/documents/acme/2026/11>)" in both[-1]


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
