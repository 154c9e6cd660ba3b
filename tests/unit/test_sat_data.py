"""The SAT's data in a folder of their own: installed whole or not at all, checked, dated, and read instead."""

import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import pytest

from cfdi.sat import catalogs, data, files
from cfdi.sat.data import BadData, DataMissing, SatData


def package() -> Path:
    spec = find_spec("satcfdi")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations)))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> SatData:
    return data.install(package(), tmp_path_factory.mktemp("sat") / "data")


@pytest.fixture
def copy(installed: SatData, tmp_path: Path) -> Path:
    """A set that a test may spoil; a file is replaced there, never written to."""
    assert installed.folder is not None
    return shutil.copytree(installed.folder, tmp_path / "data", copy_function=os.link)


@pytest.fixture
def using() -> Iterator[None]:
    yield
    data.use(None)


def test_an_installed_set_is_whole_and_says_where_it_came_from(installed: SatData):
    """Its age is that of the version it came from: 26.10.1 is of October 2026."""
    assert data.check(installed) == ()
    assert installed.source.startswith("satcfdi 2")
    assert installed.published is not None
    assert installed.published.day == 1
    assert installed.age_in_days(date(installed.published.year + 1, installed.published.month, 1)) in (
        365,
        366,
    )


def test_it_holds_the_catalogues_of_the_cfdi_alone(installed: SatData):
    """Less than half of what the package carries."""
    assert installed.catalogs.stat().st_size * 2 < (package() / "catalogs/catalogs.db").stat().st_size


def test_what_is_read_from_it_is_the_same(installed: SatData, using: None):
    """An installed copy answers like the package, and the files come from it."""

    def seen() -> tuple[object, ...]:
        return (
            catalogs.clave_prod_serv("78101802"),
            catalogs.postcode("64000"),
            dict(catalogs.regimenes()),
            catalogs.currency("JPY"),
        )

    before = seen()
    assert installed.folder is not None
    data.use(installed.folder)

    assert seen() == before
    assert files.folder() == installed.folder / "cfd"
    assert files.schema() is not None


def test_the_installed_package_has_a_version_and_a_date():
    """Without a folder the package's data is checked and sound."""
    found = data.current()

    assert found.folder is None
    assert found.published is not None
    assert data.check(found) == ()


def test_a_wheel_can_be_installed(tmp_path: Path):
    """As a package index hands it out: nothing of its code is unpacked."""
    wheel = tmp_path / "satcfdi-26.11.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in package().rglob("*"):
            inside = path.relative_to(package().parent).as_posix()
            if path.is_file() and ("/catalogs/catalogs.db" in inside or "sitio_internet/cfd/" in inside):
                archive.write(path, inside)
    found = data.install(wheel, tmp_path / "data")

    assert (found.source, found.published) == ("satcfdi 26.11.2", date(2026, 11, 1))
    assert sorted(each.name for each in (tmp_path / "data").iterdir()) == [
        "catalogs.sqlite",
        "cfd",
        "manifest.json",
    ]
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize("kind", ["not a zip", "an empty zip", "no such file", "an empty folder"])
def test_what_is_no_satcfdi_changes_nothing(kind: str, copy: Path, tmp_path: Path):
    """A failed installation leaves the copy before it whole."""
    source = tmp_path / "satcfdi-26.11.2-py3-none-any.whl"
    match kind:
        case "not a zip":
            source.write_text("hello")
        case "an empty zip":
            zipfile.ZipFile(source, "w").close()
        case "an empty folder":
            source.mkdir()
    before = (copy / "manifest.json").read_text()

    with pytest.raises(BadData):
        data.install(source, copy)

    assert (copy / "manifest.json").read_text() == before
    data.use(copy)
    assert data.check(data.current()) == ()
    data.use(None)


def test_a_changed_file_is_found(copy: Path, using: None):
    """The check names the file."""
    (copy / "cfd/4/cfdv40.xsd").unlink()
    (copy / "cfd/4/cfdv40.xsd").write_text("<changed/>")
    data.use(copy)

    assert data.check(data.current()) == ("cfd/4/cfdv40.xsd is not the file that was installed",)


@pytest.mark.parametrize("lost", ["manifest.json", "catalogs.sqlite", "cfd/4/cfdv40.xsd"])
def test_a_folder_that_is_not_whole_is_refused_with_its_name(copy: Path, using: None, lost: str):
    """DataMissing names what is lost."""
    (copy / lost).unlink()
    data.use(copy)

    with pytest.raises(DataMissing, match=Path(lost).name):
        data.current()


def test_a_version_that_says_no_month_has_no_age(copy: Path, using: None):
    """Data put there by hand is neither old nor new."""
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").unlink()
    (copy / "manifest.json").write_text(json.dumps(manifest | {"source": "by hand"}))
    data.use(copy)

    assert data.current().age_in_days(date(2026, 11, 29)) is None
