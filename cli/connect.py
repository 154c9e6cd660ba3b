"""`timbrado connect`, `validate`, `disconnect`: an account's link to ContaDigital, made and unmade by an operator.

These call the pipeline directly and don't go through the queue, so that the verdict is there when they end. The one
thing a newcomer would get wrong: a key is never an argument, where every list of processes would show it.
"""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import AsJson, Problem, err, out, print_json

if TYPE_CHECKING:
    from stamping.tools import Tools

Account = Annotated[str, typer.Argument(help="Apunto's id of the emisor's account.")]


def connect(
    account: Account,
    rfc: Annotated[str, typer.Option(help="The emisor's RFC, as Apunto holds it.")],
    razon_social: Annotated[str, typer.Option(help="Its name, without the régimen de capital.")],
    cp: Annotated[str, typer.Option(help="The postcode it issues from.")],
    serie: Annotated[str | None, typer.Option(help="The series; found out where only one is active.")] = None,
    empresa_id: Annotated[str | None, typer.Option(help="IdEmpresa; found out where it is told.")] = None,
    base_url: Annotated[
        str | None, typer.Option(help="ContaDigital's address, if not the usual one.")
    ] = None,
    stamps: Annotated[
        int | None, typer.Option(min=0, help="Stamps left, where ContaDigital does not tell: counted down.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Connect an account, or give it a new key, and validate it at once. What was on hold then goes on by itself.

    The key is asked for, or read from standard input: `timbrado connect acme --rfc ... < key`.
    Every fault is told with its mend; exit code 1 unless the connection is active in the end.
    """
    from cli import opened
    from contadigital.keys import CleanKey, clean_api_key
    from stamping.connections.connect import ConnectRequest, NoAccount
    from stamping.connections.connect import connect as make

    key = _ask_for_the_key()
    with opened.tools() as tools:
        clean = clean_api_key(key)
        if isinstance(clean, CleanKey):
            for notice in clean.notices:
                err().print(notice)
        request = ConnectRequest(
            account=account,
            api_key_encrypted=tools.fernet.encrypt(key.encode()).decode(),
            rfc=rfc,
            razon_social=razon_social,
            codigo_postal=cp,
            empresa_id=empresa_id,
            serie=serie,
            base_url=base_url,
        )
        try:
            row = make(request, tools)
        except NoAccount as error:
            raise Problem(str(error)) from None
        if stamps is not None:
            _count_down_from(stamps, row.id, tools)
        _show(row.account, tools, as_json=as_json)


def validate(account: Account, as_json: AsJson = False) -> None:
    """Validate a connection again, as the probe does; what was on hold goes on if it is active.

    Exit code 1 unless it is active in the end.
    """
    from cli import opened
    from stamping.connections.connect import validate as again

    with opened.tools() as tools:
        row = again(account, tools)
        if row is None:
            raise Problem(
                f"there is no connection of account {account!r}: `timbrado connect {account}` makes one"
            )
        if row.key_encrypted is None:
            raise Problem(f"account {account!r} is {row.status} and has no key: `timbrado connect {account}`")
        _show(account, tools, as_json=as_json)


def disconnect(account: Account, as_json: AsJson = False) -> None:
    """Forget an account's key for good, and put its open invoices on hold until it is connected again."""
    from cli import opened
    from cli.connections import summaries
    from stamping.connections.connect import disconnect as undo

    with opened.tools() as tools:
        if not undo(account, tools):
            raise Problem(f"there is no connection of account {account!r}")
        [now] = summaries(tools, account)
    if as_json:
        print_json(now)
        return
    waiting = f" {now['on_hold']:,} of its invoices are on hold." if now["on_hold"] else ""
    out().print(f"{account} is disconnected, its key forgotten.{waiting}", markup=False)


def _ask_for_the_key() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("API key of ContaDigital (hidden)", hide_input=True, err=True))
    key = sys.stdin.read()
    if not key.strip():
        raise Problem("no key on standard input: type it when asked, or `timbrado connect ... < file`")
    return key.removesuffix("\n").removesuffix("\r")  # the line's end is the file's, not the key's


def _count_down_from(stamps: int, connection_id: Any, tools: "Tools") -> None:
    import sqlalchemy as sa

    from models.tables import connections

    with tools.engine.begin() as db:
        db.execute(
            sa.update(connections)
            .where(
                connections.c.id == connection_id,
                connections.c.stamps_left_source.is_distinct_from("contadigital"),
            )
            .values(
                stamps_left=stamps,
                stamps_left_source="user",
                stamps_low_notified=False,
                updated_at=tools.clock.now(),
            )
        )


def _show(account: str, tools: "Tools", *, as_json: bool) -> None:
    from cli.connections import screen, summaries
    from cli.showing import show

    found = summaries(tools, account)
    if as_json:
        print_json(found[0])
    else:
        show(*screen(found, tools.clock.now(), with_facts=True))
    if found[0]["status"] != "active":
        raise typer.Exit(1)
