"""`timbrado demo` as a newcomer runs it: everything started, the examples stamped or refused, everything stopped."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from cli.demo.examples import load
from config import running
from config.running import CHECKOUT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def var() -> Iterator[Path]:
    """A folder that PostgreSQL can reach as root's `nobody`, too."""
    made = Path(tempfile.mkdtemp(prefix="timbrado-demo-", dir="/tmp"))
    made.chmod(0o711 if os.geteuid() == 0 else 0o700)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def start(var: Path, *arguments: str, **settings: str) -> "subprocess.Popen[str]":
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TIMBRADO_")}
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "demo", *arguments],
        cwd=CHECKOUT,
        env=clean | {"TIMBRADO_VAR": str(var), "NO_COLOR": "1"} | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until_it_sends(demo: "subprocess.Popen[str]") -> str:
    """Wait until a demo begins to send; return what it has printed."""
    printed = ""
    assert demo.stderr is not None
    while "Connected. Sending" not in printed:
        line = demo.stderr.readline()
        assert line, f"it ended before it began: {printed}"
        printed += line
    return printed


def left_running(var: Path) -> list[str]:
    """Processes that have this folder in their command line, zombies aside."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(var) in line:
            found.append(line)
    return found


def test_the_demo_stamps_what_is_good_and_refuses_what_is_wrong_and_shows_when_it_does_not(var, tmp_path):
    """The demo stamps what is good and refuses what is wrong and tells when it does not."""
    first = start(var, "--json")
    out, err = first.communicate(timeout=200)
    result = json.loads(out)
    examples = load(CHECKOUT / "examples")

    assert first.returncode == 0, err
    assert result["as_expected"] is True
    assert result["stamped"] == sum(each.should_stamp for each in examples)
    assert result["rejected"] == sum(not each.should_stamp for each in examples)
    for each in result["invoices"]:
        assert each["status"] in {"stamped", "rejected"}
        assert all(error["fix"] for error in each["errors"])
    assert len(list(Path(result["documents"]).glob("*/*/*.xml"))) == result["stamped"]
    assert left_running(var) == []

    # The same folder again, with one of each in the wrong folder: both are result, and the exit code says so.
    folder = tmp_path / "examples"
    for kind, source in (("good", "01-flete-nacional"), ("wrong", "02-flete-local")):
        (folder / kind).mkdir(parents=True)
        shutil.copy(CHECKOUT / "examples" / "good" / f"{source}.json", folder / kind)
    shutil.copy(CHECKOUT / "examples" / "wrong" / "04-uso-que-no-corresponde.json", folder / "good")
    second = start(var, "--examples", str(folder))
    out, err = second.communicate(timeout=200)

    assert second.returncode == 1
    assert "2 stamped, 1 refused" in out
    assert "04-uso-que-no-corresponde should have been stamped and is rejected: CFDI40161" in " ".join(
        out.split()
    )
    assert "02-flete-local should have been refused and is stamped" in " ".join(out.split())
    assert "Agreed: PostgreSQL, files and the sandbox's ledger" in out


SOON = {
    "TIMBRADO_LEASE": "9",
    "TIMBRADO_CALL_TIMEOUT": "2",
    "TIMBRADO_CONNECT_TIMEOUT": "1",
    "TIMBRADO_DOUBT_QUARANTINE": "15",
}
"""What three minutes and a quarter of an hour are in production, so that nobody waits for them here."""


def test_a_worker_killed_in_the_middle_of_a_demo_of_200_leaves_no_twin_and_nothing_unsettled(var):
    """kill -9 once all are taken in, with calls to ContaDigital in the air; the demo itself counts, and ends with 0."""
    demo = start(var, "--invoices", "200", "--json", **SOON)
    output = until_it_sends(demo)
    worker = int(re.findall(r"worker1 +ready in .* \(pid (\d+)\)", output)[-1])
    engine = sa.create_engine(running.read(var)["TIMBRADO_DATABASE_URL"])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:

        def count(where: str) -> int:
            return int(db.execute(sa.text(f"SELECT count(*) FROM invoices WHERE {where}")).scalar_one())

        while count("true") < 200 or count("status = 'stamped'") < 20 or not count("status = 'stamping'"):
            time.sleep(0.01)
        os.kill(worker, signal.SIGKILL)
        stamped = count("status = 'stamped'")
    engine.dispose()
    out, err = demo.communicate(timeout=240)
    result = json.loads(out)

    assert stamped < result["stamped"]
    assert "ended with -9" in err
    assert (demo.returncode, result["as_expected"], result["disagreements"]) == (0, True, [])
    assert result["stamped"] + result["rejected"] == 200


@pytest.mark.parametrize("seconds", [0.2, 2], ids=["while it sends", "while they arrive"])
def test_the_demo_ends_at_once_when_asked_to_and_leaves_nothing_running(var, seconds):
    """Ctrl-C amid 2,000 invoices: exit code 130, and no process of it remains."""
    running = start(var, "--invoices", "2000")
    until_it_sends(running)
    time.sleep(seconds)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)

    assert running.returncode == 130, err
    assert left_running(var) == []
