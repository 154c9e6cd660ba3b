"""The command itself: its verbs, its help, and how it fails."""

import importlib
import inspect
import json
import re
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from cli import VERBS, build
from config.running import CHECKOUT
from config.version import VERSION
from tests.support.command_line import CommandLine, Done

CONTRACT = (
    *("up", "demo", "connect", "disconnect", "connections", "submit", "status", "list", "watch"),
    *("retry", "cancel", "documents", "doctor", "withdraw", "replace", "accept", "resolve", "probe"),
    *("calibrate", "dialect", "audit", "serve", "keys"),
)
PRINTS_NOTHING_TO_PARSE = {"serve", "up", "migrate", "health", "secrets", "schema"}
"""Verbs with no table for a person: their result is their exit code, files, or JSON already."""


def functions_of(where: str):
    module, _, name = where.partition(":")
    found = getattr(importlib.import_module(f"cli.{module}"), name)
    if isinstance(found, typer.Typer):
        return {command.name: command.callback for command in found.registered_commands}
    return {None: found}


EVERY = [(verb.name, sub, function) for verb in VERBS for sub, function in functions_of(verb.where).items()]


def test_every_verb_of_the_contract_is_there():
    """None of the contract's verbs is missing from VERBS."""
    assert set(CONTRACT) <= {verb.name for verb in VERBS}


@pytest.mark.parametrize(
    ("verb", "sub", "function"), EVERY, ids=lambda each: each if isinstance(each, str) else ""
)
def test_every_verb_shows_what_it_is_for(verb, sub, function):
    """`--help` works, and is the verb's own sentence."""
    words = [verb, sub, "--help"] if sub else [verb, "--help"]
    output = CliRunner().invoke(build(words), words, env={"COLUMNS": "100", "NO_COLOR": "1"})

    assert output.exit_code == 0, output.output
    sentence = (inspect.getdoc(function) or "").split(".")[0]
    assert len(sentence) > 20
    assert " ".join(sentence.split())[:40] in " ".join(re.sub(r"[│╭╰─╮╯]", " ", output.output).split())


@pytest.mark.parametrize(
    ("verb", "sub", "function"), EVERY, ids=lambda each: each if isinstance(each, str) else ""
)
def test_whatever_is_printed_for_a_person_is_there_as_json(verb, sub, function):
    """Each verb with a table for a person takes --json."""
    if verb not in PRINTS_NOTHING_TO_PARSE:
        assert "as_json" in inspect.signature(function).parameters


def test_no_verb_takes_a_key_as_an_argument():
    """A key on a command line shows in every list of processes."""
    for _, _, function in EVERY:
        names = inspect.signature(function).parameters
        assert not [name for name in names if "key" in name or "secret" in name or "password" in name]


def run(*arguments: str, **environment: str) -> Done:
    """The command in a process of its own, forked from one that has imported what is slow to import."""
    return CommandLine(environment)(*arguments)


def test_help_loads_nothing_heavy():
    """Whoever asks what there is should not wait for a database driver."""
    code = (
        "import sys, json\n"
        "from typer.testing import CliRunner\n"
        "from cli import build\n"
        "assert CliRunner().invoke(build(['--help']), ['--help']).exit_code == 0\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=True
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}

    assert not loaded & {
        "sqlalchemy",
        "celery",
        "kombu",
        "psycopg",
        "pydantic",
        "redis",
        "lxml",
        "httpx",
        "cfdi",
        "structlog",
    }


def test_a_failure_is_one_line_and_exit_code_1(tmp_path):
    """Nothing runs, nothing is set: the line says what to do, and there is no traceback."""
    done = run("status", "acme", "OP-1", TIMBRADO_VAR=str(tmp_path))

    assert done.code == 1
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert "timbrado up" in done.err


def test_a_file_that_is_no_invoice_is_named_before_anything_is_opened(tmp_path):
    """No settings are needed to say that."""
    path = tmp_path / "bad.jsonl"
    path.write_text('{"account": "a", "external_id": "1"}\n{oops\n', encoding="utf-8")

    done = run("submit", str(path), TIMBRADO_VAR=str(tmp_path))

    assert done.code == 1
    assert f"{path}:2: not JSON" in done.err
    assert "nothing was sent" in done.err


def test_the_schema_is_json_and_is_the_contract():
    """`timbrado schema` prints a schema with the contract's fields."""
    done = run("schema")

    assert done.code == 0, done.err
    assert {"account", "external_id", "conceptos", "receptor"} <= json.loads(done.out)["properties"].keys()


def test_the_demo_never_stamps_at_a_real_provider(tmp_path):
    """With ContaDigital's address set it refuses, and says what to unset."""
    done = run("demo", TIMBRADO_VAR=str(tmp_path), TIMBRADO_CONTADIGITAL_URL="https://app.contadigital.mx")

    assert done.code == 1
    assert "unset TIMBRADO_CONTADIGITAL_URL" in done.err


def test_version_is_one_line():
    """`timbrado --version` is the wheel's version."""
    done = run("--version")

    assert (done.code, done.out) == (0, f"timbrado {VERSION}\n")


@pytest.mark.parametrize(
    ("typed", "word", "offered"), [("timbrado canc", 1, "cancel"), ("timbrado list --ol", 2, "--older-than")]
)
def test_a_shell_completes_verbs_and_their_options(typed, word, offered):
    """Only the verb that was typed is imported for it."""
    done = run(_TIMBRADO_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(word))

    assert done.out.split() == [offered]
