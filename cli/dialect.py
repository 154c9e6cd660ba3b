"""`timbrado dialect`: shows and changes how ContaDigital is spoken to at one address, without a restart."""

from typing import Annotated

import typer
from rich.table import Table

from cli import session
from cli.console import AsJson, Problem, out, print_json, show
from contadigital.dialect import ASPECTS, Dialect, UnknownChoice
from stamping.connections import connect, providers
from stamping.tools import Tools

app = typer.Typer(no_args_is_help=True, help="Show or change how ContaDigital is spoken to at one address.")
Url = Annotated[str | None, typer.Option(help="The provider's address, if not the installation's own.")]


@app.command("show")
def show_dialect(url: Url = None, as_json: AsJson = False) -> None:
    """Show every aspect of the wire that nobody observed: what it is set to, and what else it can be."""
    with session.tools() as tools:
        address = _address(url, tools)
        dialect = providers.dialect_of(address, tools)
        facts = dict(providers.learnt(address, tools))
    if as_json:
        print_json(
            {"address": address, "version": dialect.version, "dialect": _values(dialect), "learnt": facts}
        )
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("aspect", "is", "can be", "mark"):
        table.add_column(name)
    for aspect in ASPECTS:
        value = dialect[aspect.name]
        table.add_row(
            aspect.name,
            f"[bold]{value}[/]" if value != aspect.default else value,
            ", ".join(choice for choice in aspect.choices if choice != value),
            aspect.mark,
        )
    show(table)
    out().print(f"{address}, version {dialect.version}; what differs from the default is bold", style="dim")


@app.command("set")
def set_dialect(name: str, value: str, url: Url = None, as_json: AsJson = False) -> None:
    """Set one aspect of the wire to another choice.

    Accounts that stand still because their stamps differed are validated again and go on.
    """
    with session.tools() as tools:
        try:
            dialect = providers.set_dialect(_address(url, tools), {name: value}, tools)
        except UnknownChoice as error:
            raise Problem(str(error)) from None
        _changed(_address(url, tools), dialect, tools, as_json=as_json)


@app.command("reset")
def reset_dialect(url: Url = None, as_json: AsJson = False) -> None:
    """Go back to the defaults, which are what the sources wrote."""
    with session.tools() as tools:
        address = _address(url, tools)
        _changed(address, providers.reset_dialect(address, tools), tools, as_json=as_json)


def _changed(address: str, dialect: Dialect, tools: Tools, *, as_json: bool) -> None:
    accounts = connect.go_on(address, tools)
    if as_json:
        print_json(
            {"address": address, "version": dialect.version, "dialect": _values(dialect), "go_on": accounts}
        )
        return
    out().print(f"{address}: version {dialect.version}; every process uses it within seconds")
    for account in accounts:
        out().print(f"{account} goes on")


def _values(dialect: Dialect) -> dict[str, str]:
    return {aspect.name: dialect[aspect.name] for aspect in ASPECTS}


def _address(url: str | None, tools: Tools) -> str:
    return (url or tools.policy.production_url).rstrip("/")
