"""`timbrado connect`: gives an account its API key, and validates it at once.

It calls the pipeline directly, not through the queue, so that the verdict is there when it ends. A key is never an
argument, where every list of processes would show it.
"""

import json
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from cli import session
from cli.connections import show_one
from cli.console import Account, AsJson, Problem, err
from contadigital.pasted_key import CleanKey, clean_api_key
from models.tables import connections
from stamping.connections.connect import ConnectRequest, NoAccount, left_behind
from stamping.connections.connect import connect as make
from stamping.tools import Tools


def connect(
    account: Account,
    rfc: Annotated[str, typer.Option(help="The emisor's RFC, as Apunto holds it.")],
    razon_social: Annotated[str, typer.Option(help="Its name, without the régimen de capital.")],
    cp: Annotated[str, typer.Option(help="The postcode it issues from.")],
    serie: Annotated[str | None, typer.Option(help="The series; found out where only one is active.")] = None,
    empresa_id: Annotated[
        str | None, typer.Option(help="IdEmpresa; found where ContaDigital reports it.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="ContaDigital's address, if not the usual one.")
    ] = None,
    stamps: Annotated[
        int | None,
        typer.Option(min=0, help="Stamps left, where ContaDigital does not report them: counted down."),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(help="ContaDigital's ids of this account, as TOML or JSON: they win over its lists."),
    ] = None,
    move: Annotated[
        bool,
        typer.Option(
            "--move", help="Move to another address or company although invoices are open at the old one."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Connect an account, or give it a new key, and validate it at once. What was on hold then goes on by itself.

    The key is asked for, or read from standard input: `timbrado connect acme --rfc ... < key`.
    Every fault is shown with its fix; exit code 1 unless the connection is active in the end.
    """
    key = _ask_for_the_key()
    with session.tools() as tools:
        clean = clean_api_key(key)
        if isinstance(clean, CleanKey):
            for note in clean.corrections:
                err().print(note)
        left = left_behind(account, base_url, empresa_id, tools)
        if left and not move:
            shown = ", ".join(f"{count} {status}" for status, count in sorted(left.items()))
            raise Problem(
                f"this moves {account!r} to another address or company, and {shown} can only be looked up at the old "
                "one: a doubt would go before a person, a cancellation would be followed no further. Wait until they "
                "are settled (`timbrado list`), or repeat with --move"
            )
        request = ConnectRequest(
            account=account,
            api_key_encrypted=tools.fernet.encrypt(key.encode()).decode(),
            rfc=rfc,
            razon_social=razon_social,
            codigo_postal=cp,
            empresa_id=empresa_id,
            serie=serie,
            base_url=base_url,
            ids=_read_ids(ids) if ids is not None else None,
        )
        try:
            row = make(request, tools)
        except NoAccount as error:
            raise Problem(str(error)) from None
        if stamps is not None:
            _count_down_from(stamps, row.id, tools)
        show_one(row.account, tools, as_json=as_json)


def _read_ids(path: Path) -> Any:
    """Read a file of ids; what is wrong with them is said by the connection."""
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}"
        ) from None
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise Problem(f"{path} is neither TOML nor JSON: {error}") from None


def _ask_for_the_key() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("API key of ContaDigital (hidden)", hide_input=True, err=True))
    key = sys.stdin.read()
    if not key.strip():
        raise Problem("no key on standard input: type it when asked, or `timbrado connect ... < file`")
    return key.removesuffix("\n").removesuffix("\r")  # the line's end is the file's, not the key's


def _count_down_from(stamps: int, connection_id: Any, tools: Tools) -> None:

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
