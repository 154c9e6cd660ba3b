"""Where the SAT's data lie: catalogues, schemas and stylesheets in one folder, with a note of where they came from.

The repository holds no copy of them. The satcfdi package carries them; it is never imported, since that costs more
than a whole invoice. `install` takes them out of it into a folder of a few files:

    catalogs.sqlite   the catalogues of CFDI 4.0, as satcfdi writes them
    cfd/              the SAT's www.sat.gob.mx/sitio_internet/cfd: XSD and XSLT
    manifest.json     source, version, date, and the SHA-256 of every file

A process reads one set: the folder given to `use` (TIMBRADO_CATALOGS), else the one that an image brings beside this
module, else the installed package itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

CATALOGS: Final = "catalogs.sqlite"
SCHEMAS: Final = "cfd"
MANIFEST: Final = "manifest.json"
BESIDE: Final = Path(__file__).parent / "installed"
"""Where an image has its data; not in the repository."""

_IN_PACKAGE: Final = ("catalogs/catalogs.db", "transform/schemas/www.sat.gob.mx/sitio_internet/cfd")
_PREFIX: Final = "C756_c_"
"""satcfdi's tables of the catalogues of CFDI 4.0 begin so."""
_NEEDED_FILES: Final = (
    "4/cfdv40.xsd",
    "4/cadenaoriginal_4_0/cadenaoriginal_4_0.xslt",
    "catalogos/catCFDI.xsd",
    "TimbreFiscalDigital/TimbreFiscalDigitalv11.xsd",
    "TimbreFiscalDigital/cadenaoriginal_TFD_1_1.xslt",
)
_LEAST_ROWS: Final = {
    "ClaveProdServ": 50_000,
    "ClaveUnidad": 2_000,
    "CodigoPostal": 90_000,
    "FormaPago": 20,
    "Moneda": 150,
    "RegimenFiscal": 19,
    "UsoCFDI": 20,
    "TipoRelacion": 7,
    "ObjetoImp": 8,
    "Exportacion": 4,
    "Periodicidad": 5,
    "Meses": 18,
}
"""What whole catalogues have at least: the SAT adds keys and hardly ever takes one away."""


class DataMissing(RuntimeError):
    """The SAT's data are not there: nothing can be validated and no CFDI believed."""


class BadData(ValueError):
    """What was to be installed is not whole; nothing was changed."""


@dataclass(frozen=True, slots=True)
class SatData:
    """One set of the SAT's data."""

    catalogs: Path
    schemas: Path
    folder: Path | None
    """None where they are read from the installed package."""
    source: str
    """Where they came from: `satcfdi 26.10.1`."""
    published: date | None
    """The month in which that was published; None where its version does not say."""

    def age_in_days(self, today: date) -> int | None:
        """How old they are; a month's data count from its first day."""
        return None if self.published is None else (today - self.published).days


_chosen: Path | None = None
_caches: list[Callable[[], object]] = []


def use(folder: Path | None) -> None:
    """Read the data from this folder from now on; None for those that are installed. For a process's start."""
    global _chosen  # noqa: PLW0603 - the one of this process
    _chosen = folder
    current.cache_clear()
    for clear in _caches:
        clear()


def on_change(clear: Callable[[], object]) -> None:
    """Have a cache of what was read emptied when the folder changes."""
    _caches.append(clear)


@cache
def current() -> SatData:
    """Return the data that this process reads; raise `DataMissing` where there are none."""
    if _chosen is not None:
        return _in_folder(_chosen)
    if (BESIDE / MANIFEST).is_file():
        return _in_folder(BESIDE)
    return _in_package()


def _in_folder(folder: Path) -> SatData:
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        source = str(manifest["source"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataMissing(f"{folder} holds no SAT data ({MANIFEST}: {error}); install them there") from error
    found = SatData(folder / CATALOGS, folder / SCHEMAS, folder, source, _published(source))
    _require(found, str(folder))
    return found


def _in_package() -> SatData:
    spec = find_spec("satcfdi")
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        raise DataMissing("the SAT's data are not installed: set TIMBRADO_CATALOGS to a folder that has them")
    package = Path(next(iter(places)))
    try:
        source = f"satcfdi {version('satcfdi')}"
    except PackageNotFoundError:
        source = "satcfdi"
    catalogs, schemas = (package / path for path in _IN_PACKAGE)
    found = SatData(catalogs, schemas, None, source, _published(source))
    _require(found, "the installed satcfdi")
    return found


def _require(data: SatData, where: str) -> None:
    for path in (data.catalogs, *(data.schemas / name for name in _NEEDED_FILES)):
        if not path.is_file():
            raise DataMissing(f"{where} is not whole: {path.name} is missing")


def _published(source: str) -> date | None:
    """The month in satcfdi's version: 26.10.1 is of October 2026."""
    found = re.search(r" (\d\d)\.(\d{1,2})\.", source)
    return date(2000 + int(found[1]), int(found[2]), 1) if found and 1 <= int(found[2]) <= 12 else None


# --- checking and installing --------------------------------------------------------------------------


def check(data: SatData) -> tuple[str, ...]:
    """Return what is wrong with a set of data, a sentence for each; nothing where it is whole."""
    return (*_changed_files(data), *_short_catalogs(data.catalogs))


def _changed_files(data: SatData) -> Iterator[str]:
    if data.folder is None:
        return
    manifest = json.loads((data.folder / MANIFEST).read_text("utf-8"))
    for name, expected in dict(manifest.get("sha256", {})).items():
        path = data.folder / name
        if not path.is_file():
            yield f"{name} is missing"
        elif _sha256(path) != expected:
            yield f"{name} is not the file that was installed"


def _short_catalogs(path: Path) -> Iterator[str]:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            for name, least in _LEAST_ROWS.items():
                [[count]] = database.execute(f"SELECT count(*) FROM {_PREFIX}{name}")  # noqa: S608 - a constant
                if count < least:
                    yield f"c_{name} has {count:,} keys; {least:,} at least are expected"
    except sqlite3.Error as error:
        yield f"the catalogues can't be read: {error}"


def install(source: Path, folder: Path) -> SatData:
    """Put the data of a satcfdi wheel (`satcfdi-*.whl`), or of its unpacked package, into a folder.

    All or nothing: what was in the folder before stays where the new data are not whole. Raises BadData.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        unpacked, named = _unpack(source, Path(scratch))
        fresh = Path(scratch, "fresh")
        fresh.mkdir(mode=0o755)
        _copy_catalogs(unpacked / _IN_PACKAGE[0], fresh / CATALOGS)
        schemas = unpacked / _IN_PACKAGE[1]
        if not schemas.is_dir():
            raise BadData(f"{source} holds no schemas of the SAT: is it a satcfdi package?")
        shutil.copytree(schemas, fresh / SCHEMAS)
        files = sorted(path for path in fresh.rglob("*") if path.is_file())
        manifest = {
            "source": named,
            "sha256": {path.relative_to(fresh).as_posix(): _sha256(path) for path in files},
        }
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
        try:
            problems = check(_in_folder(fresh))
        except DataMissing as error:
            raise BadData(f"{source}: {error}") from error
        if problems:
            raise BadData(f"{source}: {'; '.join(problems)}")
        if folder.exists():
            os.replace(folder, Path(scratch, "before"))
        os.replace(fresh, folder)
    current.cache_clear()
    return _in_folder(folder)


def _unpack(source: Path, scratch: Path) -> tuple[Path, str]:
    """The package's folder, and its name and version."""
    if source.is_dir():
        found = sorted(source.parent.glob("satcfdi-*.dist-info"))
        release = found[-1].name.removeprefix("satcfdi-").removesuffix(".dist-info") if found else ""
        return source, f"satcfdi {release}".strip()
    try:
        with zipfile.ZipFile(source) as wheel:
            wanted = [
                name
                for name in wheel.namelist()
                if name.startswith(tuple(f"satcfdi/{each}" for each in _IN_PACKAGE))
            ]
            wheel.extractall(scratch / "wheel", wanted)  # names of a zip never lead out of the folder there
    except (OSError, zipfile.BadZipFile) as error:
        raise BadData(f"{source} is no wheel: {error}") from error
    release = source.name.split("-")[1] if source.name.startswith("satcfdi-") else ""
    return scratch / "wheel" / "satcfdi", f"satcfdi {release}".strip()


def _copy_catalogs(source: Path, target: Path) -> None:
    """Copy the catalogues that are read here: satcfdi's file has those of every complement and payroll too."""
    if not source.is_file():
        raise BadData(f"{source.name} is missing: is it a satcfdi package?")
    try:
        with closing(sqlite3.connect(f"{target.resolve().as_uri()}?mode=rwc", uri=True)) as database:
            database.execute("ATTACH DATABASE ? AS source", (f"{source.resolve().as_uri()}?mode=ro",))
            for name in _LEAST_ROWS:
                table = f"{_PREFIX}{name}"
                database.execute(f"CREATE TABLE main.{table} (key BLOB PRIMARY KEY, value BLOB)")
                database.execute(f"INSERT INTO main.{table} SELECT key, value FROM source.{table}")  # noqa: S608 - constants
            database.commit()
    except sqlite3.Error as error:
        raise BadData(f"{source.name} can't be read: {error}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """`python -m cfdi.sat.data SOURCE [FOLDER]`: install, beside this module where no folder is named."""
    match sys.argv[1:]:
        case [source]:
            folder = BESIDE
        case [source, named]:
            folder = Path(named)
        case _:
            sys.exit("usage: python -m cfdi.sat.data satcfdi-*.whl [FOLDER]")
    try:
        sys.stdout.write(f"{install(Path(source), folder).source}\n")
    except BadData as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
