"""The short chaos and the few dialects of `./dev check`: they wait a good deal, so they run beside the tests."""

import subprocess
import sys

import pytest

from config.running import CHECKOUT


@pytest.mark.timeout(420)
@pytest.mark.parametrize(
    "words",
    [
        "chaos --invoices 200 --wipes 1 --restarts 1 --restores 0 --failovers 0",
        "dialects --seeds 3",
    ],
    ids=lambda words: words.partition(" ")[0],
)
def test_a_short_run_ends_well(words: str) -> None:
    """Exit code 0; else what it printed has the seed, and what was wrong."""
    program, *options = words.split()
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{program}", *options],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=400,
    )

    assert done.returncode == 0, done.stdout[-8_000:]
