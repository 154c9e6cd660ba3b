"""Every test says in its first line what it promises, and none replaces our own functions."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "client" / "python" / "tests").rglob("test_*.py")]
)
# what no test may do: this test looks for these words in all the others, and is the only one to have them
FORBIDDEN = ("unittest.mock", "monkeypatch.setattr", "pytest.mark.xfail")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_first_line_of_a_test_is_a_promise(path):
    """A docstring of at least three words, which stands before the body and says what holds."""
    short = [
        test.name
        for test in functions_of(path)
        if len((ast.get_docstring(test) or "").split("\n")[0].split()) < 3
    ]

    assert not short


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_first_line_of_a_test_says_more_than_its_name(path):
    """A docstring that repeats the function's name tells a reader nothing."""

    def letters(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    repeated = [
        test.name
        for test in functions_of(path)
        if letters(ast.get_docstring(test) or "") == letters(test.name.removeprefix("test_"))
    ]

    assert not repeated


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_of_ours_is_replaced_in_a_test(path):
    """No mock, no patched attribute, no expected failure: a test meets what production runs."""
    if path == Path(__file__):
        return
    text = path.read_text(encoding="utf-8")

    assert not [word for word in FORBIDDEN if word in text]


def test_no_assertion_compares_elapsed_time():
    """Speed is measured by benchmarks; a test compares order, counts and instants of the database."""
    found = []
    for path in FILES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare) and node.msg is None:
                text = ast.unparse(node.test)
                if re.search(r"(monotonic|perf_counter)\(\) - |\.latency <|^(seconds|elapsed|took) <", text):
                    found.append(f"{path.name}:{node.lineno}")

    assert not found
