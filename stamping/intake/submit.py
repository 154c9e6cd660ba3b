"""How an invoice comes in: stored before anything is done with it, and once for each (account, external_id).

The same pair with the same content is the same invoice: its status is emitted again. With other content it corrects
one that is certainly not stamped; once it is being stamped, or is stamped, that is a conflict, and reported as one.
"""

import hashlib
import json
from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa
import uuid_utils.compat as uuids
from psycopg.types.json import Jsonb
from sqlalchemy.dialects.postgresql import insert

from cfdi.faults import Fault, Whose
from cfdi.sat import zones
from cfdi.validation import Verdict, validate
from contadigital.dialect import Dialect
from contadigital.request_body import inexpressible
from models.compiled import Compiled, param
from models.tables import CLAIM_COLUMNS, DUE_SQL, EVENT_COLUMNS, invoices
from models.vocabulary import DUE, ConnectionStatus, FailedReason, InvoiceStatus
from stamping import notify
from stamping.cancellation import reasons
from stamping.cancellation.substitutes import has_another_substitute, related
from stamping.claims import Claimed
from stamping.connections import remembered
from stamping.connections.providers import read_dialect
from stamping.connections.remembered import issuer_of
from stamping.deadlines import next_reminder
from stamping.intake import asked_about, dead_letters, seen_messages, untrusted
from stamping.intake.seen_messages import Message
from stamping.limits import circuit_breaker, concurrency
from stamping.prepare import Prepared, from_memory
from stamping.recovery import mark
from stamping.sql import call
from stamping.tools import Tools


@dataclass(frozen=True)
class Accepted:
    """Stored, and due, or claimed already. `bulk` says in which queue."""

    invoice_id: UUID
    account: str
    due: int
    """What the account has due, with this one, up to a little more than what matters."""
    bulk: bool = False
    claimed: Claimed | None = None
    """The claim on it, where it was taken in the same commit: whoever called goes on with it at once."""
    prepared: Prepared | None = None
    """What is sent, where the same commit said that the save leaves."""

    @property
    def enqueue(self) -> bool:
        """Whether it needs a message: False where it is claimed, or enough messages of its account are out."""
        return 0 < self.due <= ENQUEUED_AHEAD


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
_INSERT = Compiled(
    lambda: (
        insert(invoices)
        .values(version=1, claim=0, **{name: param(name) for name in (*WHOSE, *NEW)})
        .on_conflict_do_nothing(index_elements=[invoices.c.account, invoices.c.external_id])
        .returning(*EVENT_COLUMNS)
    )
)
_TAKE_IN = call(
    "take_in",
    (
        "id", "account", "external_id", "content", "content_hash", "warnings", "trace_id", "sent_at", "fecha",
        "expires_at", "reminder_at", "now", "message_id", "task", "event_id", "event_data", "version", "count",
        "claims", "until", "worker", "most", "most_untried", "begins", "dialect", "relied",
        "sent_fecha", "sent_expires_at", "sent_reminder_at",
    ),
)  # fmt: skip
_Row = cast("Any", namedtuple("_Row", [column.name for column in CLAIM_COLUMNS]))
_EMPTY = dict.fromkeys(_Row._fields) | {"errors": [], "calls": 0, "tries": 0, "lookups": 0, "version": 1}


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
        as_sent = raw, content_hash(raw), untrusted.storable(raw)
    except RecursionError:  # nobody writes an invoice hundreds of levels deep
        return _unreadable(raw, tools, trace_id, faults=(dead_letters.TOO_DEEP,))
    connection = remembered.connection_of(account, tools)

    def checked(
        db: sa.Connection | None = None, sent: tuple[Any, str, Any] = as_sent
    ) -> tuple[Verdict, dict[str, Any]]:
        def dialect_of(base_url: str) -> Dialect:
            if db is not None:
                return read_dialect(db, base_url)
            with tools.engine.begin() as own:
                return read_dialect(own, base_url)

        given, digest, content = sent
        verdict = judge(given, connection, dialect_of, now)
        values = _row_values(content, digest, verdict, connection, tools, now, trace_id)
        return verdict, {**values, "sent_at": seen_messages.sent_at(message, now)}

    # asked for before the database was set back: it may have been stamped, and then forgotten
    is_doubtful = message is not None and message.is_older_than(mark.recovered_at(tools))
    verdict, values = checked()
    for _ in range(CONNECTION_READS):
        if (
            connection is None
            or values["status"] != InvoiceStatus.ACCEPTED
            or replaces is not None
            or is_doubtful
        ):
            break
        names_of = {"account": account, "external_id": external_id}
        taken = _take_in(names_of, values, verdict, connection, tools, now, message=message, claim=claim)
        if isinstance(taken, Accepted):
            return taken
        if taken == "known":
            break
        connection = remembered.connection_of(account, tools, version="read it anew")
        verdict, values = checked()
    with tools.engine.begin() as db:
        now_there = remembered.read(db, account)
        if (now_there and now_there.row_version) != (connection and connection.row_version):
            remembered.forget(account, tools)
            connection = now_there
            verdict, values = checked(db)
        is_new = seen_messages.is_new(db, message, account, now)
        if replaces is not None:
            values["replaces_id"] = replaces
            if has_another_substitute(db, replaces, external_id):
                asked_about.repeat_status(
                    db, asked_about.by_id(db, replaces), tools, reasons.REPLACED_BY_ANOTHER
                )
                return Settled(replaces, account, "conflict")
        whose = {"id": uuids.uuid7(), "account": account, "external_id": external_id, "created_at": now}
        row = _INSERT.run(db, **whose, **values).one_or_none()
        if row is None:
            known = _locked(db, account, external_id)
            if known.replaces_id is not None and replaces is None:  # it stays the substitute that it is
                given = related(raw, asked_about.by_id(db, known.replaces_id).uuid)
                values = checked(db, (given, content_hash(given), untrusted.storable(given)))[1]
            row = _known(db, known, values, tools, is_new=is_new)
        if isinstance(row, Settled):
            return row
        if is_doubtful and row.status in {InvoiceStatus.ACCEPTED, InvoiceStatus.ON_HOLD}:
            row = _doubt_of_a_restore(db, row.id, now)
        return _emit(db, row, connection, tools)


def judge(
    raw: Any, connection: sa.Row[Any] | None, dialect_of: Callable[[str], Dialect], now: datetime
) -> Verdict:
    """Validate an invoice, also for what its account's ContaDigital has no known way to take.

    The law may allow it all the same, so `validate` does; refused here, it costs neither a save nor a stamp.
    """
    verdict = validate(raw, issuer=issuer_of(connection), now=now)
    invoice = verdict.invoice
    if connection is None or invoice is None or not (invoice.cfdi_relacionados or invoice.informacion_global):
        return verdict
    faults = inexpressible(invoice, dialect_of(connection.base_url))
    return replace(verdict, faults=(*verdict.faults, *faults)) if faults else verdict


CONNECTION_READS = 2
"""How often a connection that was changed meanwhile is read again, before an invoice is taken in the longer way."""


def _take_in(
    whose: dict[str, str],
    values: dict[str, Any],
    verdict: Verdict,
    connection: sa.Row[Any],
    tools: Tools,
    now: datetime,
    *,
    message: Message | None,
    claim: bool,
) -> Accepted | str:
    """Take a new invoice in by one statement; `stale` where the connection is another by now, `known` where it is not
    new.

    Where it may be sent at once it is claimed by it too; and where nothing has to be asked for, its save is begun.
    """
    policy, account = tools.policy, whose["account"]
    row = _Row(
        **{
            **_EMPTY,
            **{name: values[name] for name in values if name in _EMPTY},
            **whose,
            "id": uuids.uuid7(),
            "created_at": now,
        }
    )
    claims_it = (
        claim and tools.store.fault is None and circuit_breaker.is_closed(connection.base_url, tools, now)
    )
    made = None
    if claims_it and verdict.invoice is not None:
        made = from_memory(Claimed(row, connection), verdict.invoice, tools)
    prepared, relied = made if made is not None else (None, {})
    event = notify.invoice_event(row, "invoice.accepted")
    taken_at = tools.clock.elapsed()
    fixed = {**values, **(prepared.fixed if prepared is not None else {})}
    done = _TAKE_IN.run(
        tools.at_once,
        **whose,
        id=row.id,
        content=Jsonb(values["content"]),
        content_hash=values["content_hash"],
        warnings=Jsonb(values["warnings"]),
        trace_id=values["trace_id"],
        sent_at=values["sent_at"],
        fecha=values["fecha"],
        expires_at=values["expires_at"],
        reminder_at=values["reminder_at"],
        now=now,
        message_id=message.id if message is not None else None,
        task=message.task if message is not None else None,
        event_id=uuids.uuid7(),
        event_data=Jsonb(dict(event.data)),
        version=connection.row_version,
        count=policy.bulk_threshold + 1,
        claims=claims_it,
        until=now + policy.lease,
        worker=tools.worker,
        most=policy.in_flight,
        most_untried=concurrency.UNTRIED,
        begins=prepared is not None,
        dialect=prepared.dialect_version if prepared is not None else 0,
        relied=Jsonb(
            [
                {"kind": kind, "key": key, "id": provider_id, "fingerprint": fingerprint}
                for (kind, key), (provider_id, fingerprint) in relied.items()
            ]
        ),
        sent_fecha=fixed["fecha"],
        sent_expires_at=fixed["expires_at"],
        sent_reminder_at=fixed["reminder_at"],
    ).one()
    match done.outcome:
        case "begun" | "claimed":
            is_begun = done.outcome == "begun"
            # a date that we gave it with the intent is not Apunto's: a save that never left takes it back
            written = row._replace(status=InvoiceStatus.STAMPING, claim=1, calls=int(is_begun))
            claimed = Claimed(written, connection, taken_at=taken_at)
            return Accepted(row.id, account, 0, claimed=claimed, prepared=prepared if is_begun else None)
        case "accepted":
            return _accepted(row.id, account, done.waiting, tools)
        case outcome:
            return str(outcome)


ENQUEUED_AHEAD = 2
"""Messages of an account that are due and not begun; whoever begins one enqueues the next, while places are free."""


def _accepted(invoice_id: UUID, account: str, due: int, tools: Tools) -> Accepted:
    return Accepted(invoice_id, account, due, bulk=due > tools.policy.bulk_threshold)


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


def _locked(db: sa.Connection, account: str, external_id: str) -> sa.Row[Any]:
    return db.execute(
        sa.select(invoices)
        .where(invoices.c.account == account, invoices.c.external_id == external_id)
        .with_for_update()
    ).one()


def _known(
    db: sa.Connection, row: sa.Row[Any], values: dict[str, Any], tools: Tools, *, is_new: bool
) -> Settled | sa.Row[Any]:
    is_old = seen_messages.is_superseded(values["sent_at"], row.sent_at, tools.clock.now())
    is_closed = (
        row.reason == FailedReason.NOT_STAMPED
    )  # by a person, so that it may be sent again, also as it was
    is_same = row.content_hash == values["content_hash"] and not is_closed
    is_to_replace = is_same and values.get("replaces_id", row.replaces_id) != row.replaces_id
    if not is_new or ((is_old or is_same) and not is_to_replace):
        sent_at = sa.func.greatest(row.sent_at, values["sent_at"])
        asked_about.repeat_status(db, row, tools, sent_at=sent_at)
        return Settled(row.id, row.account, "known")
    fault: Fault | None = _conflict(row.status)
    if may_be_corrected(row):
        is_taken = row.replaces_id is not None and has_another_substitute(
            db, row.replaces_id, row.external_id
        )
        fault = reasons.SUBSTITUTE_CAME_LATE if is_taken else None
    elif is_to_replace:
        fault = reasons.NO_SUBSTITUTE
    if fault is not None:
        asked_about.repeat_status(db, row, tools, fault)
        return Settled(row.id, row.account, "conflict")
    return db.execute(
        sa.update(invoices)
        .where(invoices.c.id == row.id, invoices.c.status == row.status)
        .values(**values, version=invoices.c.version + 1)
        .returning(*invoices.c)
    ).one()


def _refusal(message: str, fix: str, whose: Whose = "user") -> Fault:
    return Fault(
        code="timbrado.conflict",
        field="external_id",
        message=message,
        fix=fix,
        source="timbrado",
        whose=whose,
        detail="the same account and external_id came with other content; another invoice needs another external_id",
    )


CONFLICT = _refusal(
    "Esta factura ya se timbró (o se está timbrando) con otros datos.",
    "Para cambiarla, cancélala y haz una nueva en Apunto.",
)
IS_OVER = _refusal(
    "Esta factura ya está cancelada o en proceso de cancelación, así que no se puede cambiar.",
    "Si todavía necesitas facturar, haz una nueva en Apunto.",
)
IS_WITHDRAWN = _refusal(
    "Esta factura se retiró antes de timbrarla, así que no se puede cambiar.",
    "Si todavía necesitas facturar, haz una nueva en Apunto.",
)
IS_UNKNOWN = _refusal(
    "No se sabe si esta factura quedó timbrada, así que no se puede cambiar.",
    "No la envíes de nuevo: soporte lo revisa.",
    "support",
)


def _conflict(status: str) -> Fault:
    """Return why other content changes nothing of an invoice that stands so."""
    match status:
        case InvoiceStatus.CANCELLING | InvoiceStatus.CANCELLED:
            return IS_OVER
        case InvoiceStatus.WITHDRAWN:
            return IS_WITHDRAWN
        case InvoiceStatus.FAILED:
            return IS_UNKNOWN
        case _:
            return CONFLICT


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
        return _accepted(row.id, row.account, _due(db, row.account, tools), tools)
    if row.status == InvoiceStatus.IN_DOUBT:
        notify.invoice(db, row, tools, "invoice.in_doubt")
        return Settled(row.id, row.account, "in_doubt")
    if row.status == InvoiceStatus.ON_HOLD:
        notify.invoice(db, row, tools, "invoice.on_hold", connection=connection)
        return Settled(row.id, row.account, "on_hold")
    notify.invoice(db, row, tools, "invoice.rejected")
    return Settled(row.id, row.account, "rejected")


def _due(db: sa.Connection, account: str, tools: Tools) -> int:
    """Count what the account has due, up to a little more than what matters."""
    most = tools.policy.bulk_threshold + 1
    return _DUE.run(db, account=account, now=tools.clock.now(), most=most).scalar_one()  # type: ignore[no-any-return]  # a count


_DUE = Compiled(
    lambda: sa.select(sa.func.count()).select_from(
        sa.select(invoices.c.id)
        .where(
            invoices.c.account == param("account"),
            sa.text(f"invoices.{DUE_SQL}"),
            invoices.c.next_attempt_at <= param("now", sa.DateTime(timezone=True)),
        )
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
