"""`timbrado calibrate`: finds out how ContaDigital wants to be spoken to, by trying."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.table import Table

from cfdi.sat import zones
from cli import format, session
from cli.console import Account, AsJson, Problem, err, out, print_json, show
from contadigital import calibrate as trying
from contadigital.calibrate import Calibration, CannotCalibrate
from contadigital.catalogs import Catalogs
from contadigital.errors import ContaDigitalError
from contadigital.resolve_ids import GivenIds
from models.tables import connections, invoices
from stamping.connections import connect, providers
from stamping.connections.credentials import credentials_of
from stamping.connections.remembered import issuer_of
from stamping.saved_record import LEARNT
from stamping.tools import Tools

TESTS = "/dev/pruebas"
"""What stands in the address of ContaDigital's tests; every other address beyond this machine is production."""


def calibrate(
    account: Account,
    invoice: Annotated[
        Path | None,
        typer.Option(help="A good invoice whose receptor and product are tried with; else its last one."),
    ] = None,
    spend: Annotated[
        int | None,
        typer.Option(min=0, max=50, help="Stamps that may be spent; needed at a production address."),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Set what was found false to what is right.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find the dialect by trying: drafts first, and stamps only where they decide nothing, never more than --spend.

    A production address is refused without --spend (0 is drafts alone). Ends with a table to send to the developers.
    Exit code 1 where ContaDigital's answers ended it early: what was found and left until then is shown.
    """
    with session.tools() as tools:
        with tools.engine.begin() as db:
            row = db.execute(sa.select(connections).where(connections.c.account == account)).one_or_none()
        if row is None or row.key_encrypted is None or row.catalogs is None:
            raise Problem(
                f"account {account!r} is not connected: `timbrado connect {account}`, `timbrado probe {account}`"
            )
        if spend is None and _is_production(row.base_url):
            raise Problem(
                "this is a production address: say how many stamps may be spent with --spend (0 for none)"
            )
        base = _read(invoice) if invoice is not None else _last(account, tools)
        try:
            found = _calibrator(row, base, spend or 0, tools).run()
        except (CannotCalibrate, ContaDigitalError) as error:
            raise Problem(str(error)) from None
        if found.record_reports is not None:
            providers.learn(row.base_url, {LEARNT: found.record_reports}, tools)
        if apply and found.changes:
            providers.set_dialect(row.base_url, found.changes, tools)
        if found.is_settled and (apply or not found.changes):  # what is set stamps what was meant
            for name in connect.go_on(row.base_url, tools):
                err().print(f"{name} goes on")
    if as_json:
        print_json(found.as_dict())
    else:
        _show(found, applied=apply)
    if found.interrupted:
        raise typer.Exit(1)


def _calibrator(row: sa.Row[Any], base: dict[str, Any], spend: int, tools: Tools) -> trying.Calibrator:
    issuer = issuer_of(row)
    if issuer is None:
        raise CannotCalibrate("the account has no RFC")
    place = str(base.get("lugar_expedicion") or row.codigo_postal)
    return trying.Calibrator(
        tools.provider,
        trying.TrialAccount(
            credentials_of(row, tools),
            Catalogs.from_json(row.catalogs),
            GivenIds.read(row.ids),
            issuer,
            row.codigo_postal,
            row.serie_asked,
        ),
        {**base, "account": row.account, "external_id": "TIMBRADO-CALIBRA"},
        providers.dialect_of(row.base_url, tools),
        spend=spend,
        fecha=lambda: zones.local(tools.clock.now() - timedelta(minutes=2), place),
        related=_newest_uuid(row, tools),
    )


def _newest_uuid(row: sa.Row[Any], tools: Tools) -> str | None:
    """Return a stamp of this account at this address, which a relation can be tried with."""
    with tools.engine.begin() as db:
        return db.execute(
            sa.select(invoices.c.uuid)
            .where(
                invoices.c.account == row.account,
                invoices.c.uuid.is_not(None),
                invoices.c.record_base_url == row.base_url,
            )
            .order_by(invoices.c.stamped_at.desc())
            .limit(1)
        ).scalar_one_or_none()


def _is_production(base_url: str) -> bool:
    return base_url.startswith("https://") and TESTS not in base_url


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Problem(f"{path} holds no invoice: {error}") from None
    if not isinstance(raw, dict) or not raw.get("conceptos"):
        raise Problem(f"{path} holds no invoice")
    return raw


def _last(account: str, tools: Tools) -> dict[str, Any]:
    with tools.engine.begin() as db:
        content = db.execute(
            sa.select(invoices.c.content)
            .where(invoices.c.account == account)
            .order_by(invoices.c.created_at.desc())
            .limit(1)
        ).scalar_one_or_none()
    if content is None:
        raise Problem(f"account {account!r} has no invoice to try with: --invoice FILE")
    return dict(content)


_COLOURS = {trying.CONFIRMED: "green", trying.FALSE: "bold red", trying.UNKNOWN: "dim"}


def _show(found: Calibration, *, applied: bool) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("aspect", "verdict", "right", "evidence"):
        table.add_column(name)
    for each in found.findings:
        table.add_row(
            each.aspect,
            f"[{_COLOURS[each.verdict]}]{each.verdict}[/]",
            format.plain(each.value),
            format.plain(each.evidence),
        )
    show(table)
    out().print(f"{found.drafts} drafts, {found.stamps} stamps spent")
    for left in found.left:
        out().print(f"left at ContaDigital: {format.plain(left)}", style="yellow")
    if found.interrupted:
        out().print(f"it ended early: {format.plain(found.interrupted)}", style="red")
    if found.changes:
        next_step = "set now" if applied else "`--apply` sets them"
        out().print(
            f"{format.count(len(found.changes), 'aspect is', 'aspects are')} false: {next_step}", style="bold"
        )
