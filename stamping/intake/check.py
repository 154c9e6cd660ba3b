"""A dry run: what a submission would get, and what it adds up to. Nothing is stored, emitted or sent."""

from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from cfdi.amounts import Amounts, UnknownCurrency, compute
from cfdi.faults import Fault
from models.tables import CONNECTION_COLUMNS, connections
from stamping.connections.providers import read_dialect
from stamping.intake import untrusted
from stamping.intake.submit import judge
from stamping.tools import Tools


@dataclass(frozen=True)
class DryRun:
    """The faults and warnings of the real submission; `amounts` are None where it could not be read as an invoice."""

    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]
    amounts: Amounts | None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object: amounts are texts, as in an invoice."""
        return {
            "errors": untrusted.storable([fault.as_dict() for fault in self.faults]),
            "warnings": untrusted.storable([fault.as_dict() for fault in self.warnings]),
            "totals": totals_of(self.amounts) if self.amounts is not None else None,
        }


def check(raw: Any, tools: Tools) -> DryRun:
    """Return every fault and warning that `submit` would give this invoice, and its totals as the CFDI has them."""
    account = raw.get("account") if isinstance(raw, dict) else None
    connection = None
    with tools.engine.connect() as db:
        if untrusted.is_name(account):
            connection = db.execute(
                sa.select(*CONNECTION_COLUMNS).where(connections.c.account == account)
            ).one_or_none()
        verdict = judge(raw, connection, lambda url: read_dialect(db, url), tools.clock.now())
    amounts = None
    if verdict.invoice is not None:
        try:
            amounts = compute(verdict.invoice)
        except UnknownCurrency:  # it is among the faults
            amounts = None
    return DryRun(verdict.faults, verdict.warnings, amounts)


def totals_of(amounts: Amounts) -> dict[str, Any]:
    """Return what an invoice adds up to: subtotal, descuento, taxes, total, and each line's importe."""
    return {
        "subtotal": str(amounts.subtotal),
        "descuento": str(amounts.descuento),
        "total_impuestos_trasladados": _text(amounts.total_trasladados),
        "total_impuestos_retenidos": _text(amounts.total_retenidos),
        "total": str(amounts.total),
        "traslados": [{name: _text(each) for name, each in asdict(row).items()} for row in amounts.traslados],
        "retenciones": [
            {name: _text(each) for name, each in asdict(row).items()} for row in amounts.retenciones
        ],
        "conceptos": [
            {"importe": str(line.importe), "descuento": _text(line.descuento)} for line in amounts.lines
        ],
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
