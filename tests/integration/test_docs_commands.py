"""Every block of commands in a page is run, here or by the test that the page names, or the page says why it is not.

A comment before the block says which: `<!-- run: here -->`, `<!-- run: tests/... -->`, `<!-- not run: why -->`.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from api import keys
from tests.conftest import Stack
from tests.support.api import AskedApi, api_over
from tests.support.apunto import NAME
from tests.support.builders import an_invoice
from tests.support.command_line import CHECKOUT, CommandLine
from tests.support.harness import open_harness

PAGES = sorted(
    path.relative_to(CHECKOUT)
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "client/*/README.md",
        "sandbox/*.md",
        "examples/*.md",
        "deploy/**/*.md",
    )
    for path in CHECKOUT.glob(pattern)
)
PROGRAMS = (
    *(
        "timbrado",
        "./dev",
        "python",
        "python3",
        "pip",
        "docker",
        "podman",
        "celery",
        "curl",
        "ruby",
        "gem",
        "bundle",
    ),
    *(
        "psql",
        "pg_dump",
        "pg_restore",
        "awk",
        "cp",
        "rsync",
        "systemctl",
        "kubectl",
        "npm",
        "uv",
        "export",
        "redis-cli",
    ),
    *("opentelemetry-instrument", ".venv/bin/python"),
)
_FENCED = re.compile(r"```(?:bash|sh|shell|console)\n(?P<text>.*?)```", re.DOTALL)
_INDENTED = re.compile(r"(?:(?<=\n\n)|(?<=^))(?P<text>(?:    [^\n]*\n)+)")
_SAYS = re.compile(r"<!-- (?P<what>run|not run): (?P<how>[^>]+) -->\s*$")


def blocks(page: Path) -> list[tuple[str, str]]:
    """(what the comment before it says, the block's text) of each block of commands."""
    whole = (CHECKOUT / page).read_text(encoding="utf-8")
    found = []
    for block in [
        *_FENCED.finditer(whole),
        *_INDENTED.finditer(re.sub(r"```.*?```", _blank, whole, flags=re.DOTALL)),
    ]:
        text = re.sub(r"^ {4}", "", block["text"], flags=re.MULTILINE)
        first = text.lstrip("$ ").split()
        first = [word for word in first if "=" not in word or word.startswith("-")]
        if first and first[0] in PROGRAMS and " = " not in text.split("\n")[0]:
            says = _SAYS.search(whole[: block.start()].rstrip("\n") + "\n")
            found.append((says.group(0).strip()[5:-4] if says else "", text))
    return found


def _blank(fenced: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", fenced.group(0)).replace("    ", "  x ")


BLOCKS = [(page, says, text) for page in PAGES for says, text in blocks(page)]


def test_pages_have_blocks_of_commands() -> None:
    """So that what follows is not true of nothing."""
    assert {str(page) for page, _, _ in BLOCKS} >= {"README.md", "docs/operations.md", "docs/http-api.md"}


@pytest.mark.parametrize(("page", "says", "text"), BLOCKS, ids=lambda each: str(each)[:40].strip())
def test_each_block_says_what_runs_it(page: Path, says: str, text: str) -> None:
    """A test that is named exists and runs the same programs; a reason is a sentence."""
    what, _, how = says.partition(": ")
    assert what in {"run", "not run"}, f"{page}: say what runs it:\n{text}"
    if what == "not run":
        assert len(how) > 25
    elif how != "here":
        source = (CHECKOUT / how).read_text(encoding="utf-8")
        for line in text.replace("\\\n", " ").splitlines():
            words = line.lstrip("$ ").split()
            if words and words[0] in PROGRAMS:
                named = words[1] if words[0] == "timbrado" else words[0]
                assert named in source, f"{how} does not run {line!r}"


def here(page: str) -> list[str]:
    """The commands of a page that this module runs, each whole."""
    lines = [
        line
        for says, text in blocks(Path(page))
        if says == "run: here"
        for line in text.replace("\\\n", " ").splitlines()
    ]
    return [line.lstrip("$ ") for line in lines]


def run(timbrado: CommandLine, line: str, stdin: str = "") -> Any:
    program, *words = shlex.split(line.split(" < ", maxsplit=1)[0])
    assert program == "timbrado"
    done = timbrado(*words, stdin=stdin)
    assert done.code == 0, (line, done)
    return done


def test_the_commands_of_the_page_about_keys(timbrado: CommandLine, stack: Stack) -> None:
    """Keys are made, listed and revoked as printed; the last command is answered where the key is in force."""
    *commands, curl = here("docs/http-api.md")
    done = [run(timbrado, line) for line in commands]

    assert [line.split()[2] for line in commands] == ["create", "create", "create", "list", "revoke"]
    assert done[0].out.startswith(keys.PREFIX)
    assert "reportes" in done[3].out
    assert shlex.split(curl)[:2] == ["curl", "-H"]
    assert shlex.split(curl)[2] == "Authorization: Bearer $KEY"
    path = shlex.split(curl)[3].removeprefix("https://timbrado.example")
    assert asked(stack, done[0].out.strip()).get(path).status_code == 404
    assert asked(stack, done[1].out.strip()).get(path).status_code == 401


def asked(stack: Stack, key: str) -> AskedApi:
    with open_harness(stack.database_url, stack.sandbox) as harness:
        found = api_over(harness.tools)
        found.key = key
        return found


def test_the_first_hour_goes_as_printed(timbrado: CommandLine, stack: Stack, tmp_path: Path) -> None:
    """Connect, probe, connect with the file of ids, calibrate and submit, with the sandbox in the place."""
    account = stack.sandbox.open_account(
        "first-hour", rfc="EKU9003173C9", razon_social=NAME, regimen_fiscal="601", lugares=["64000"]
    )
    invoice = tmp_path / "invoice.json"
    invoice.write_text(json.dumps(an_invoice(account="first-hour", external_id="OP-1", fecha=None)))
    places = {
        "https://app.contadigital.mx/dev/pruebas": stack.sandbox.url,
        "--empresa-id 1014": f"--empresa-id {account['id_empresa']}",
        "ESCUELA KEMPER URGATE": NAME,
        "acme.toml": str(tmp_path / "acme.toml"),
        "invoice.json": str(invoice),
        " acme ": " first-hour ",
    }
    for line in here("docs/first-day.md"):
        for printed, real in places.items():
            line = line.replace(printed, real)
        run(timbrado, line, stdin=f"{account['api_key']}\n")

    engine = sa.create_engine(stack.database_url)
    with engine.connect() as db:
        chosen = sa.text("SELECT status FROM invoices WHERE account = 'first-hour' AND external_id = 'OP-1'")
        assert db.execute(chosen).scalar_one() == "stamped"
    engine.dispose()


def test_the_sandbox_starts_as_printed(tmp_path: Path) -> None:
    """It says where it listens."""
    command, shown = here("sandbox/README.md")
    words = [sys.executable, *shlex.split(command)[1:]]
    words[words.index("8090")] = "0"
    words[words.index("var/sandbox/store.sqlite")] = str(tmp_path / "store.sqlite")
    with subprocess.Popen(words, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        try:
            assert started.stdout.readline().startswith(shown.rpartition(":")[0])
        finally:
            started.terminate()
