"""The Ruby client: its own tests under a real Ruby, and its gem."""

import subprocess
from pathlib import Path

import pytest
import timbrado_client

from tests.support.ruby import CLIENT, needs_ruby, ruby

pytestmark = [needs_ruby, pytest.mark.timeout(120)]


def test_the_ruby_clients_own_tests_pass_without_a_warning() -> None:
    """Client, documents, events, webhooks and values, against a server of their own on a real socket."""
    seen = ruby('Dir["test/*_test.rb"].each { |file| require "./#{file}" }')

    assert ", 0 failures, 0 errors, 0 skips" in seen


def test_the_gem_builds_and_what_it_installs_is_the_whole_client(tmp_path: Path) -> None:
    """Installed away from the checkout, it reads its own labels and has the version of the Python client."""
    gem = tmp_path / "timbrado.gem"
    for command in (
        ["gem", "build", "timbrado.gemspec", "--silent", "--output", str(gem)],
        [
            "gem",
            "install",
            "--local",
            "--no-document",
            "--silent",
            "--install-dir",
            str(tmp_path / "gems"),
            str(gem),
        ],
    ):
        subprocess.run(command, cwd=CLIENT, check=True, capture_output=True, timeout=60)
    script = 'require "timbrado"; print Timbrado::VERSION, Timbrado::Labels::STATUS.fetch("stamped")'
    seen = subprocess.run(
        ["ruby", "-Eutf-8", "-W0", "-e", script],
        env={
            "PATH": "/usr/bin:/bin:/usr/local/bin",
            "GEM_PATH": str(tmp_path / "gems"),
            "GEM_HOME": str(tmp_path / "gems"),
        },
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout

    assert seen == f"{timbrado_client.__version__}Timbrada"
