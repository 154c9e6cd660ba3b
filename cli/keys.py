"""`timbrado keys`: who may use the HTTP API and the panel."""

from datetime import datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from api import keys as stored
from cli import session
from cli.console import AsJson, Problem, err, out, print_json, show

keys = typer.Typer(
    name="keys",
    help="Make, list and revoke the keys of the HTTP API and the panel.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@keys.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is: a program's or a person's name.")],
    scope: Annotated[
        str, typer.Option(help="submit, read, operate: several with commas. Of a program's key.")
    ] = "submit,read",
    account: Annotated[
        str | None, typer.Option(help="Only these accounts: `acme`, or a glob such as `mx-*`.")
    ] = None,
    person: Annotated[bool, typer.Option("--person", help="A person's key, for the panel.")] = False,
    role: Annotated[str, typer.Option(help="Of a person: viewer or operator.")] = "viewer",
    days: Annotated[int | None, typer.Option(min=1, max=36_500, help="It ends after so many days.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once: only its hash is kept."""
    if person and role not in stored.ROLES:
        raise Problem(f"--role {role}: there is {', '.join(stored.ROLES)}")
    scopes = [each.strip() for each in scope.split(",") if each.strip()]
    if unknown := set(scopes) - set(stored.SCOPES):
        raise Problem(f"--scope {', '.join(sorted(unknown))}: there is {', '.join(stored.SCOPES)}")
    if not name.strip() or not name.isprintable():
        raise Problem("a key needs a name that a person can read")
    with session.tools() as tools, tools.engine.begin() as db:
        now = tools.clock.now()
        try:
            secret = stored.create(
                db,
                name.strip(),
                now=now,
                scopes=scopes,
                role=role if person else None,
                account_glob=account,
                expires_at=now + timedelta(days=days) if days is not None else None,
            )
        except stored.NameTaken:
            raise Problem(
                f"there is a key {name!r} already, perhaps a revoked one: take another name"
            ) from None
    if as_json:
        print_json({"name": name.strip(), "key": secret})
        return
    err().print(f"The key of {name.strip()}. It is shown this once:", markup=False)
    out().print(secret, markup=False, soft_wrap=True)


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """Show every key: what it may, whether it is in force, and when it was last used."""
    with session.tools() as tools, tools.engine.connect() as db:
        found, now = stored.listed(db), tools.clock.now()
    if as_json:
        print_json(found)
        return
    if not found:
        out().print("There is no key yet: `timbrado keys create NAME`.")
        return
    table = Table("name", "may", "accounts", "state", "last used", box=None, header_style="bold")
    for each in found:
        may = f"{each['role']} (person)" if each["is_person"] else ", ".join(each["scopes"])
        used = each["last_used_at"]
        table.add_row(
            each["name"],
            may,
            each["account_glob"] or "all",
            _state(each["revoked_at"], each["expires_at"], now),
            f"{used:%Y-%m-%d %H:%M}" if used is not None else "never",
        )
    show(table)


@keys.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="The key's name.")], as_json: AsJson = False) -> None:
    """Take a key out of force at once, and end its sessions."""
    with session.tools() as tools, tools.engine.begin() as db:
        if not stored.revoke(db, name, tools.clock.now()):
            raise Problem(f"there is no key {name!r} in force: `timbrado keys list` shows them")
    if as_json:
        print_json({"revoked": name})
    else:
        out().print(f"{name} is revoked.", markup=False)


def _state(revoked_at: datetime | None, expires_at: datetime | None, now: datetime) -> str:
    if revoked_at is not None:
        return f"revoked {revoked_at:%Y-%m-%d}"
    if expires_at is not None and expires_at <= now:
        return "expired"
    return "in force" if expires_at is None else f"until {expires_at:%Y-%m-%d}"
