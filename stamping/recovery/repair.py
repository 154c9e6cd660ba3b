"""Adopts what an audit proved, and nothing else; each repair is recorded with who asked for it and why."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from cfdi import document
from cfdi.sat import zones
from models.tables import invoices
from models.transitions import advance
from models.vocabulary import InvoiceStatus
from stamping import settle
from stamping.intake.decisions import NotDecidedError, resolve
from stamping.recovery import mark
from stamping.recovery.audit import Audit, FindingKind
from stamping.timeline import actions
from stamping.tools import Tools


@dataclass(slots=True)
class Repaired:
    """What was changed."""

    adopted: int = 0  # an XML that is exactly one unsettled invoice's
    due: int = 0  # ContaDigital calls it stamped: looked up now
    released: int = 0  # the files prove that it was not stamped: it goes on
    left: list[str] = field(default_factory=list)  # what a person must decide

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"adopted": self.adopted, "due": self.due, "released": self.released, "left": self.left}


def repair(found: Audit, tools: Tools, *, actor: str, reason: str, complete: bool = False) -> Repaired:
    """Adopt what is proven. `complete` says that the sources hold every CFDI of the days that they cover."""
    done = Repaired()
    for each in found.found:
        if each.kind is FindingKind.UNKNOWN_HERE and each.invoice_id is not None and each.xml is not None:
            try:
                resolve(
                    found.account,
                    each.external_id or "",
                    stamped_xml=each.xml,
                    reason=reason,
                    actor=actor,
                    tools=tools,
                )
            except NotDecidedError as refused:  # it went on meanwhile, or its XML proves less than it seemed
                done.left.append(f"{each.external_id}: {refused}")
            else:
                done.adopted += 1
        elif each.kind is FindingKind.STAMPED_THERE and each.invoice_id is not None:
            done.due += _look_up_now(each.invoice_id, tools)
        else:
            done.left.append(f"{each.kind}: {each.uuid or each.external_id}")
    if complete:
        _release(done, found, tools, actor=actor, reason=reason)
    return done


def _look_up_now(invoice_id: Any, tools: Tools) -> int:
    now = tools.clock.now()
    with tools.engine.begin() as db:
        return db.execute(
            sa.update(invoices)
            .where(
                invoices.c.id == invoice_id,
                invoices.c.status == InvoiceStatus.IN_DOUBT,
                invoices.c.claimed_until.is_(None),
            )
            .values(next_attempt_at=now, enqueued_at=None, updated_at=now)
        ).rowcount


def _release(done: Repaired, found: Audit, tools: Tools, *, actor: str, reason: str) -> None:
    """Let go on what a restore put in doubt without an Id, where complete files of its days have nothing like it."""
    set_back_at = mark.recovered_at(tools)
    for external_id in found.without_trace:
        now = tools.clock.now()
        with tools.engine.begin() as db:
            row = db.execute(
                sa.select(invoices.c.id, invoices.c.created_at, invoices.c.sent_at, invoices.c.content)
                .where(
                    invoices.c.account == found.account,
                    invoices.c.external_id == external_id,
                    invoices.c.doubt == mark.DOUBT,
                )
                .with_for_update()
            ).one_or_none()
            if row is None:
                continue
            first, last = _days_of(row, set_back_at or now)
            if not found.covers(first, last):
                done.left.append(
                    f"{external_id}: it may have been stamped from {first} to {last}, which the files do not cover"
                )
                continue
            moved = advance(
                db,
                row.id,
                target=InvoiceStatus.WAITING,
                source=InvoiceStatus.IN_DOUBT,
                now=now,
                doubt=None,
                doubt_since=None,
                next_attempt_at=now,
            )
            if moved is None:
                continue
            detail = {"audit": "in none of the files, which are complete"}
            actions.note(
                db,
                "release",
                actor=actor,
                at=now,
                subject_id=row.id,
                account=found.account,
                reason=reason,
                detail=detail,
            )
            settle.withdraw_if_asked(db, moved, tools, now)
            done.released += 1


def _days_of(row: Any, set_back_at: datetime) -> tuple[date, date]:
    """The first and the last day whose CFDI may hold a stamp of this invoice from before the database was set back."""
    invoice = document.read(row.content)
    if invoice.fecha is not None:
        day = zones.local(invoice.fecha, invoice.lugar_expedicion).date()
        return day, day
    came_in = min(row.created_at, row.sent_at or row.created_at)
    return (
        zones.local(came_in, invoice.lugar_expedicion).date(),
        zones.local(set_back_at, invoice.lugar_expedicion).date(),
    )
