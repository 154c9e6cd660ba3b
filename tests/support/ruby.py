"""Running Ruby from tests: skipped where there is none, or an older one than the client needs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CLIENT = Path(__file__).resolve().parents[2] / "client" / "ruby"


def why_not() -> str | None:
    """Return why Ruby cannot be run here, or None."""
    if shutil.which("ruby") is None:
        return "there is no ruby (.ci/run installs it where it may)"
    asked = "begin; require 'minitest'; rescue LoadError; print 'no minitest'; else; print RUBY_VERSION; end"
    seen = subprocess.run(
        ["ruby", "-e", asked], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    if seen == "no minitest":
        return "this ruby has no minitest (apt-get install ruby-minitest)"
    return None if tuple(map(int, seen.split("."))) >= (3, 0) else f"ruby {seen} is older than 3.0"


def why_no_rails() -> str | None:
    """Return why Rails cannot be run here, or None."""
    if (reason := why_not()) is not None:
        return reason
    asked = 'require "logger"; %w[active_record action_controller sqlite3].each { |name| require name }'
    seen = subprocess.run(["ruby", "-W0", "-e", asked], capture_output=True, check=False, timeout=60)
    packages = "apt-get install ruby-activerecord ruby-actionpack ruby-sqlite3"
    return None if seen.returncode == 0 else f"there is no Rails ({packages})"


needs_ruby = pytest.mark.skipif((why := why_not()) is not None, reason=why or "")
needs_rails = pytest.mark.skipif((without := why_no_rails()) is not None, reason=without or "")


def ruby(
    script: str,
    *arguments: str,
    env: dict[str, str] | None = None,
    folder: Path = CLIENT,
    seconds: float = 60,
) -> str:
    """Run a script with the client in its path, in UTF-8 and with every warning on; return what it printed.

    A warning, like anything else on standard error, fails the test.
    """
    command = [
        "ruby",
        "-w",
        "-Eutf-8",
        f"-I{CLIENT / 'lib'}",
        f"-I{CLIENT / 'test'}",
        "-e",
        script,
        *arguments,
    ]
    ended = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "RUBYOPT": "", **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), f"{ended.stdout}\n{ended.stderr}"
    return ended.stdout
