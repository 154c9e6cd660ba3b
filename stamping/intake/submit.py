"""How an invoice comes in: stored before anything is done with it, and once for each (account, external_id).

The same pair with the same content is the same invoice: its status is emitted again. With other content it corrects
one that is certainly not stamped; once it is being stamped, or is stamped, that is a conflict, and reported as one.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import uuid_utils.compat as uuids
from sqlalchemy.dialects.postgresql import insert

from cfdi.faults import Fault
from cfdi.issuer import Issuer
from cfdi.sat import zones
from cfdi.validation import Verdict, validate
from contadigital.wire import inexpressible
from models.compiled import Compiled, param
from models.tables import CLAIM_COLUMNS, CONNECTION_COLUMNS, DUE_SQL, EVENT_COLUMNS, connections, invoices
from models.vocabulary import DUE, ConnectionStatus, FailedReason, InvoiceStatus
from stamping import claims, notify
from stamping.claims import Claimed
from stamping.connections.providers import read_dialect
from stamping.deadlines import next_reminder
from stamping.intake import asked_about, dead_letters, identity, untrusted
from stamping.intake.identity import Message
from stamping.recovery import mark
from stamping.tools import Tools


@dataclass(frozen=True)
class Accepted:
    """Stored, and due. `bulk` says in which queue; `enqueue` is False where enough messages of its account are out."""

    invoice_id: UUID
    account: str
    enqueue: bool
    bulk: bool
    claimed: Claimed | None = None
    """The claim on it, where it was taken in the same commit: whoever called goes on with it at once."""


@dataclass(frozen=True)
class Settled:
    """Stored, and nothing to enqueue: rejected, on hold, known before, or in conflict."""

    invoice_id: UUID | None
    account: str | None
    what: str  # rejected | on_hold | known | conflict | unreadable


NEW = (
    "content", "content_hash", "errors", "trace_id", "updated_at", "reason", "fecha", "expires_at",
    "next_attempt_at", "reminder_at", "last_reminder", "tries", "doubt", "doubt_since", "lookups", "status",
    "sent_at", "warnings",
)  # fmt: skip
"""What an invoice that comes in is written with, and a correction over what was there."""
WHOSE = ("id", "account", "external_id", "created_at", "replaces_id")
_CONNECTION = Compiled(
    lambda: sa.select(*CONNECTION_COLUMNS).where(connections.c.account == param("account"))
)
_INSERT = Compiled(
    lambda: (
        insert(invoices)
        .values(version=1, claim=0, **{name: param(name) for name in (*WHOSE, *NEW)})
        .on_conflict_do_nothing(index_elements=[invoices.c.account, invoices.c.external_id])
        .returning(*EVENT_COLUMNS)
    )
)
_INSERT_CLAIMED = Compiled(
    lambda: (
        insert(invoices)
        .values(
            version=1,
            **{name: param(name) for name in (*WHOSE, *NEW, "claim", "claimed_until", "claimed_by")},
        )
        .on_conflict_do_nothing(index_elements=[invoices.c.account, invoices.c.external_id])
        .returning(*CLAIM_COLUMNS)
    )
)


def submit(
    raw: Any,
    tools: Tools,
    *,
    message: Message | None = None,
    trace_id: str | None = None,
    replaces: UUID | None = None,
    claim: bool = False,
) -> Accepted | Settled:
    """Take one invoice in. Every ending is committed, with its event, before this returns.

    With `claim` one that may be sent at once is claimed in the same commit: the caller must go on with it.
    `replaces` is the stamped invoice that this one substitutes: kept with it, also through corrections.

    A message that was seen before, or that is older than what the invoice holds, only has its status reported again.
    """
    names = untrusted.pair(raw.get("account"), raw.get("external_id")) if isinstance(raw, dict) else None
    if names is None:
        return _unreadable(raw, tools, trace_id)
    account, external_id = names
    now = tools.clock.now()
    try:
        digest, content = content_hash(raw), untrusted.storable(raw)
    except RecursionError:  # nobody writes an invoice hundreds of levels deep
        return _unreadable(raw, tools, trace_id, faults=(dead_letters.TOO_DEEP,))
    with tools.engine.begin() as db:
        connection = _CONNECTION.run(db, account=account).one_or_none()
        verdict = judge(raw, connection, db, now)
        values = _row_values(content, digest, verdict, connection, tools, now, trace_id)
        values["sent_at"] = identity.sent_at(message, now)
        # asked for before the database was set back: it may have been stamped, and then forgotten
        is_doubtful = message is not None and message.is_older_than(mark.recovered_at(db, tools))
        if replaces is not None:
            values["replaces_id"] = replaces
        is_new = identity.is_new(db, message, account, now)
        place = None
        if claim and is_new and not is_doubtful and values["status"] == InvoiceStatus.ACCEPTED:
            place = claims.place_for_a_new_one(db, account, tools, now)
        whose = {"id": uuids.uuid7(), "account": account, "external_id": external_id, "created_at": now}
        if place is not None:
            through, taken = place
            row = _INSERT_CLAIMED.run(db, **whose, **{**values, **taken}).one_or_none()
            if row is not None:
                notify.invoice(db, row._replace(status=InvoiceStatus.ACCEPTED), tools, "invoice.accepted")
                return Accepted(row.id, account, enqueue=False, bulk=False, claimed=Claimed(row, through))
        else:
            row = _INSERT.run(db, **whose, **values).one_or_none()
        if row is None:
            row = _known(db, account, external_id, values, connection, tools, now, is_new=is_new)
        if isinstance(row, Settled):
            return row
        if is_doubtful and row.status in {InvoiceStatus.ACCEPTED, InvoiceStatus.ON_HOLD}:
            row = _doubt_of_a_restore(db, row.id, now)
        return _emit(db, row, connection, tools)


def judge(raw: Any, connection: sa.Row[Any] | None, db: sa.Connection, now: datetime) -> Verdict:
    """Validate an invoice, also for what its account's ContaDigital has no known way to take.

    The law may allow it all the same, so `validate` does; refused here, it costs neither a save nor a stamp.
    """
    verdict = validate(raw, issuer=issuer_of(connection), now=now)
    invoice = verdict.invoice
    if connection is None or invoice is None or not (invoice.cfdi_relacionados or invoice.informacion_global):
        return verdict
    faults = inexpressible(invoice, read_dialect(db, connection.base_url))
    return replace(verdict, faults=(*verdict.faults, *faults)) if faults else verdict


def issuer_of(connection: sa.Row[Any] | None) -> Issuer | None:
    """Return the emisor as a connection knows it; None without a connection."""
    if connection is None:
        return None
    return Issuer(
        rfc=connection.rfc,
        nombre=connection.registered_name or connection.razon_social,
        regimen_fiscal=connection.regimen_fiscal,
        serie=connection.serie,
    )


def content_hash(raw: dict[str, Any]) -> str:
    """Return the SHA-256 of an invoice's content: the order of its fields, and fields that say null, don't count."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: bare(each) for key, each in value.items() if each is not None}
        if isinstance(value, list):
            return [bare(each) for each in value]
        return value

    text = json.dumps(bare(raw), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _row_values(
    content: dict[str, Any],
    digest: str,
    verdict: Verdict,
    connection: sa.Row[Any] | None,
    tools: Tools,
    now: datetime,
    trace_id: str | None,
) -> dict[str, Any]:
    """Return the columns of an invoice that comes in, or is corrected, with this content."""
    values: dict[str, Any] = {
        "content": content,
        "content_hash": digest,
        "errors": untrusted.storable([fault.as_dict() for fault in verdict.faults]),
        "warnings": untrusted.storable([fault.as_dict() for fault in verdict.warnings]),
        "trace_id": trace_id,
        "updated_at": now,
        "reason": None,
        "fecha": None,
        "expires_at": None,
        "next_attempt_at": None,
        "reminder_at": None,
        "last_reminder": None,
        "tries": 0,
        "doubt": None,
        "doubt_since": None,
        "lookups": 0,
    }
    if verdict.invoice is None or verdict.faults:
        return {**values, "status": InvoiceStatus.REJECTED}
    if verdict.invoice.fecha is not None:
        place = verdict.invoice.lugar_expedicion
        values["fecha"] = zones.local(verdict.invoice.fecha, place)
        values["expires_at"] = zones.deadline(values["fecha"], place)
    delayed_at = now + tools.policy.delayed_after
    values["reminder_at"] = next_reminder(now=now, expires_at=values["expires_at"], delayed_at=delayed_at)
    if connection is None or connection.status != ConnectionStatus.ACTIVE:
        return {**values, "status": InvoiceStatus.ON_HOLD}
    return {**values, "status": InvoiceStatus.ACCEPTED, "next_attempt_at": now}


def _doubt_of_a_restore(db: sa.Connection, invoice_id: UUID, now: datetime) -> sa.Row[Any]:
    """Have an invoice wait for an audit, as those that stood open in the backup do."""
    return db.execute(
        sa.update(invoices)
        .where(invoices.c.id == invoice_id)
        .values(status=InvoiceStatus.IN_DOUBT, doubt=mark.DOUBT, doubt_since=now, next_attempt_at=now)
        .returning(*EVENT_COLUMNS)
    ).one()


def _known(
    db: sa.Connection,
    account: str,
    external_id: str,
    values: dict[str, Any],
    connection: sa.Row[Any] | None,
    tools: Tools,
    now: datetime,
    *,
    is_new: bool,
) -> Settled | sa.Row[Any]:
    row = db.execute(
        sa.select(invoices)
        .where(invoices.c.account == account, invoices.c.external_id == external_id)
        .with_for_update()
    ).one()
    is_old = row.sent_at is not None and values["sent_at"] < row.sent_at
    is_closed = (
        row.reason == FailedReason.NOT_STAMPED
    )  # by a person, so that it may be sent again, also as it was
    if not is_new or is_old or (row.content_hash == values["content_hash"] and not is_closed):
        sent_at = sa.func.greatest(row.sent_at, values["sent_at"])
        asked_about.repeat_status(db, row, tools, sent_at=sent_at)
        return Settled(row.id, account, "known")
    if not may_be_corrected(row):
        asked_about.repeat_status(db, row, tools, CONFLICT)
        return Settled(row.id, account, "conflict")
    return db.execute(
        sa.update(invoices)
        .where(invoices.c.id == row.id, invoices.c.status == row.status)
        .values(**values, version=invoices.c.version + 1)
        .returning(*invoices.c)
    ).one()


CONFLICT = Fault(
    code="timbrado.conflict",
    field="external_id",
    message="Esta factura ya se timbró (o se está timbrando) con otros datos.",
    fix="Para cambiarla, cancélala y haz una nueva en Apunto.",
    source="timbrado",
    detail="the same account and external_id came with other content; another invoice needs another external_id",
)


def may_be_corrected(row: sa.Row[Any]) -> bool:
    """Whether an invoice is certainly not stamped and nobody is at work on it, so that other content may replace it."""
    if row.status in {InvoiceStatus.REJECTED, InvoiceStatus.ON_HOLD, *DUE}:
        return True
    return row.status == InvoiceStatus.FAILED and row.reason in {
        FailedReason.EXPIRED,
        FailedReason.NOT_STAMPED,
    }


def _emit(
    db: sa.Connection, row: sa.Row[Any], connection: sa.Row[Any] | None, tools: Tools
) -> Accepted | Settled:
    if row.status == InvoiceStatus.ACCEPTED:
        notify.invoice(db, row, tools, "invoice.accepted")
        waiting = _due_ahead(db, row.account, tools)
        policy = tools.policy
        return Accepted(
            row.id,
            row.account,
            enqueue=waiting <= policy.in_flight + policy.bulk_threshold,
            bulk=waiting > policy.bulk_threshold,
        )
    if row.status == InvoiceStatus.IN_DOUBT:
        notify.invoice(db, row, tools, "invoice.in_doubt")
        return Settled(row.id, row.account, "in_doubt")
    if row.status == InvoiceStatus.ON_HOLD:
        notify.invoice(db, row, tools, "invoice.on_hold", connection=connection)
        return Settled(row.id, row.account, "on_hold")
    notify.invoice(db, row, tools, "invoice.rejected")
    return Settled(row.id, row.account, "rejected")


def _due_ahead(db: sa.Connection, account: str, tools: Tools) -> int:
    """Count what the account has due, up to a little more than what matters."""
    most = tools.policy.in_flight + tools.policy.bulk_threshold + 1
    return _AHEAD.run(db, account=account, most=most).scalar_one()  # type: ignore[no-any-return]  # a count


_AHEAD = Compiled(
    lambda: sa.select(sa.func.count()).select_from(
        sa.select(invoices.c.id)
        .where(invoices.c.account == param("account"), sa.text(f"invoices.{DUE_SQL}"))
        .limit(param("most", sa.Integer))
        .subquery()
    )
)


def _unreadable(
    raw: Any, tools: Tools, trace_id: str | None, *, faults: Sequence[Fault] | None = None
) -> Settled:
    """Keep a message that names no invoice, and emit what is wrong with it: nothing that arrives is lost."""
    if faults is None:
        faults = validate(raw, issuer=None, now=tools.clock.now()).faults
    origin = dead_letters.Origin(task="stamping.submit_invoice", queue="intake")
    reason = "it names no invoice that can be read"
    dead_letters.store(raw, tools, faults=faults, reason=reason, origin=origin, trace_id=trace_id)
    return Settled(None, None, "unreadable")
