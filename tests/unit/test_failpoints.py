"""Failpoints: where a test may stop or kill a process, and that nobody can do so in production."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from config.settings import SettingsError, load
from stamping.failpoints import PLACES, Failpoints

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_armed_unless_somebody_says_so(place: str) -> None:
    """Every place is passed without a wait."""
    failpoints = Failpoints()
    failpoints.reach(place)

    assert not failpoints.armed


@pytest.mark.parametrize(
    "spec", ["nowhere=kill", "after_stamp=explode", "after_stamp", "after_stamp=kill,typo=pause:1"]
)
def test_a_misspelled_failpoint_is_refused(spec: str) -> None:
    """A test that arms nothing would show nothing."""
    with pytest.raises(ValueError, match="unknown failpoint"):
        Failpoints(spec)


def test_a_pause_stops_once() -> None:
    """The second time it is passed without a pause: nothing is armed any more."""
    failpoints = Failpoints("after_stamp=pause:0.01")
    armed = [failpoints.armed]
    for _ in range(2):
        failpoints.reach("before_stamp")
        failpoints.reach("after_stamp")
        armed.append(failpoints.armed)

    assert armed == [{"after_stamp"}, set(), set()]


def test_a_kill_is_a_kill() -> None:
    """SIGKILL, at the time that was asked for: nothing is flushed, nobody says goodbye."""
    program = (
        "import sys; from stamping.failpoints import Failpoints\n"
        "armed = Failpoints('after_save=kill:3')\n"
        "for number in range(1, 6):\n"
        "    print(number, file=sys.stderr, flush=True)\n"
        "    armed.reach('after_save')\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ended.returncode == -signal.SIGKILL
    assert ended.stderr.split()[-1] == "3"


def test_a_folder_arms_a_place_while_the_process_runs(tmp_path: Path) -> None:
    """Whoever comes by stands there, and says so, until the file is taken away."""
    armed = Failpoints(str(tmp_path))
    armed.reach("after_store")
    (tmp_path / "after_store").touch()
    passing = threading.Thread(target=armed.reach, args=("after_store",))

    passing.start()
    sign = tmp_path / f"after_store.{os.getpid()}"
    deadline = time.monotonic() + 10
    while not sign.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    stood = sign.exists() and passing.is_alive()
    (tmp_path / "after_store").unlink()
    passing.join(10)

    assert stood
    assert not passing.is_alive()
    assert not sign.exists()


PRODUCTION = {
    "TIMBRADO_BROKER_URL": "redis://redis:6379/0",
    "TIMBRADO_DATABASE_URL": "postgresql+psycopg://timbrado@db/timbrado",
    "TIMBRADO_STORAGE_URL": "file:///srv/cfdi",
    "TIMBRADO_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    "TIMBRADO_CONTADIGITAL_URL": "https://app.contadigital.mx",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TEST_FAILPOINTS", "after_stamp=kill"),
        ("TEST_FAILPOINTS", "/tmp/x"),
        ("TEST_CLOCK_FILE", "/tmp/clock"),
    ],
)
@pytest.mark.parametrize("with_runtime", [False, True], ids=["alone", "with the test runtime"])
def test_production_refuses_failpoints_and_a_moved_clock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, with_runtime: bool
) -> None:
    """Alone they are refused, and the test runtime that would allow them is refused where the address is real."""
    for known in [known for known in os.environ if known.startswith("TIMBRADO_")]:
        monkeypatch.delenv(known)
    environment = {**PRODUCTION, "TIMBRADO_VAR": str(tmp_path), f"TIMBRADO_{name}": value}
    if with_runtime:
        environment["TIMBRADO_TEST_RUNTIME"] = "1"
    for known, setting in environment.items():
        monkeypatch.setenv(known, setting)

    with pytest.raises(SettingsError) as refused:
        load()

    assert ("TIMBRADO_TEST_RUNTIME" if with_runtime else f"TIMBRADO_{name}") in str(refused.value)
