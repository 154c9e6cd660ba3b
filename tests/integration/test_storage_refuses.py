"""While the document store refuses, nothing new is stamped and nothing looked up; and an operator is named."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.serve import RunningSandbox
from stamping.intake import submit
from stamping.outcome import Full
from stamping.timeline.next_action import Actor
from stamping.timeline.read import read
from storage import open_store
from tests.support.builders import an_invoice
from tests.support.harness import Harness, open_harness


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "documents"


@pytest.fixture
def harness(database_url: str, sandbox: RunningSandbox, folder: Path) -> Iterator[Harness]:
    with open_harness(database_url, sandbox, store=open_store(folder.as_uri())) as opened:
        yield opened


def refuse(folder: Path) -> None:
    """A file lies where temporary files are written: so it is for root, too."""
    (folder / ".incoming").rmdir()
    (folder / ".incoming").write_text("in the way")


def repair(folder: Path) -> None:
    (folder / ".incoming").unlink()
    (folder / ".incoming").mkdir()


def act_of(harness: Harness, external_id: str) -> tuple[Actor, str, str]:
    with harness.tools.engine.connect() as db:
        found = read(
            db,
            harness.account,
            external_id,
            now=harness.tools.clock.now(),
            quarantine=harness.tools.policy.quarantine,
        )
    assert found is not None
    return found.act.who, found.act.why, found.next.what


def test_a_store_that_refuses_stops_new_stamps_and_look_ups(harness: Harness, folder: Path) -> None:
    """One doubt, and no more: the next ones wait as accepted, ContaDigital is not called, and all end by themselves."""
    harness.stamped("FIRST")
    refuse(folder)
    doubtful, waiting = harness.submit("DOUBTFUL"), harness.submit("WAITING")
    harness.stamp(doubtful)
    stamps = harness.stamps()
    outcome = harness.stamp(waiting)
    harness.look(doubtful)

    assert (harness.row(doubtful).status, harness.row(waiting).status) == ("in_doubt", "accepted")
    assert outcome == Full(harness.account)
    assert harness.stamps() == stamps
    assert harness.attempts(waiting) == []
    assert harness.attempts(doubtful) == [("save", "done"), ("stamp", "lost")]
    for name, next_of in (("WAITING", "the first try"), ("DOUBTFUL", "look-up 1")):
        who, why, what = act_of(harness, name)
        assert who is Actor.OPERATOR
        assert why.startswith("documents can't be stored")
        assert what == f"{next_of}, once documents can be stored again"

    repair(folder)
    ends = time.monotonic() + 20
    while harness.row(waiting).status != "stamped" or harness.row(doubtful).status != "stamped":
        assert time.monotonic() < ends, (harness.row(waiting).status, harness.row(doubtful).status)
        harness.later(seconds=30)
        harness.go_on()
        time.sleep(0.2)

    assert harness.duplicates() == 0


def test_a_new_invoice_takes_no_place_while_the_store_refuses(harness: Harness, folder: Path) -> None:
    """Accepting claims in the same commit: what comes in while nothing can be stored is only accepted."""
    refuse(folder)
    harness.stamp(harness.submit("DOUBTFUL"))

    content = an_invoice(account=harness.account, external_id="NEW", fecha=None)
    taken = submit.submit(content, harness.tools, claim=True)

    assert isinstance(taken, submit.Accepted)
    assert taken.claimed is None
    assert harness.row(taken.invoice_id).status == "accepted"
