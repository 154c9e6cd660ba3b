"""`timbrado catalogs`: which set of the SAT's data is read, whether it is whole, and a newer one."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cfdi.sat import data
from cli import build


@pytest.fixture(autouse=True)
def installed_again() -> Iterator[None]:
    yield
    data.use(None)


def run(*words: str) -> Result:
    arguments = ["catalogs", *words]
    return CliRunner().invoke(build(arguments), arguments)


def package() -> str:
    spec = find_spec("satcfdi")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent)


def test_a_set_is_installed_shown_and_checked(tmp_path: Path):
    """A change of any file shows, with exit code 1."""
    folder = tmp_path / "catalogs"
    assert run("install", package(), "--folder", str(folder)).exit_code == 0

    shown = json.loads(run("show", "--folder", str(folder), "--json").output)
    assert shown["folder"] == str(folder)
    assert shown["source"].startswith("satcfdi ")
    assert isinstance(shown["age_in_days"], int)
    assert run("check", "--folder", str(folder)).exit_code == 0

    (folder / "cfd/4/cfdv40.xsd").write_text("<changed/>")
    checked = run("check", "--folder", str(folder), "--json")
    assert checked.exit_code == 1
    assert json.loads(checked.output)["problems"] == ["cfd/4/cfdv40.xsd is not the file that was installed"]


def test_what_is_read_without_a_folder_is_the_installed_package():
    """Without TIMBRADO's own folder `show` names none."""
    assert json.loads(run("show", "--json").output)["folder"] is None


@pytest.mark.parametrize(
    "words", [["show", "--folder", "{}"], ["install", "{}/none.whl", "--folder", "{}/x"]]
)
def test_what_is_not_there_is_one_sentence(words: list[str], tmp_path: Path):
    """A missing folder or wheel ends with 1 and names what is missing."""
    result = run(*(word.format(tmp_path) for word in words))

    assert result.exit_code == 1
    assert (
        "satcfdi" in str(result.exception)
        or "SAT data" in str(result.exception)
        or "none.whl" in str(result.exception)
    )
