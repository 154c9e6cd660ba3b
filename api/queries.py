"""Reading: one invoice's state, pages of them, connections, and how the whole stands. Nothing here writes."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR, distinct_on

from api import words
from api.keys import Key
from models.tables import NAME_WORDS, attempts, connections, documents, events, invoices, providers
from models.vocabulary import DUE, HAS_UUID, OPEN, InvoiceStatus
from stamping import notify
from stamping.intake import untrusted
from stamping.timeline import read as timeline
from stamping.timeline.entries import Timeline

UrlOf = Callable[[str, str, str], str]
"""(account, external_id, kind of document) -> address."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
FEW = 1_000
"""Invoices of a name up to which they are looked at one by one."""
_FOLIO = re.compile(r"([A-Za-z]*)[- ]?([0-9]{1,20})")
_RFC = re.compile(r"[A-ZÑ&]{3,4}[0-9]{6}[A-Z0-9]{3}")


def one(
    db: sa.Connection, account: str, external_id: str, *, now: datetime, quarantine: timedelta
) -> Timeline | None:
    """Return everything known of an invoice; None where there is none."""
    names = untrusted.pair(account, external_id)
    return timeline.read(db, *names, now=now, quarantine=quarantine) if names is not None else None


def state_of(found: Timeline, url_of: UrlOf) -> dict[str, Any]:
    """Return an invoice as its events say it, with what comes next and who must act."""
    who, action = words.who_acts(found)
    return {
        "account": found.account,
        "external_id": found.external_id,
        "invoice_id": str(found.id),
        "version": found.version,
        "status": str(found.status),
        "reason": found.reason,
        "message": found.events[-1].message if found.events else "",
        "errors": [dict(each) for each in found.errors],
        "warnings": [dict(each) for each in found.warnings],
        "differences": [dict(each) for each in found.differences],
        "uuid": found.uuid,
        "serie": found.serie if found.uuid else None,
        "folio": found.folio,
        "fecha_timbrado": found.fecha_timbrado.isoformat(timespec="seconds")
        if found.fecha_timbrado
        else None,
        "documents": [
            {
                "kind": each.kind,
                "key": each.key,
                "sha256": each.sha256,
                "bytes": each.size,
                "url": url_of(found.account, found.external_id, each.kind),
            }
            for each in found.documents
            if each.quarantined_reason is None
        ],
        "created_at": _instant(found.created_at),
        "updated_at": _instant(found.updated_at),
        "expires_at": _instant(found.expires_at),
        "next": {
            "what": words.next_step(found),
            "at": _instant(found.next.at),
            "who": str(who),
            "action": action,
            "fixes": list(found.act.fixes),
        },
    }


def story_of(found: Timeline) -> list[dict[str, Any]]:
    """Return the timeline: what happened, in order of time."""
    entries = [*_changes(found), *_attempts(found), *_documents(found), *_events(found), *_actions(found)]
    entries.sort(key=lambda each: each["at"])
    return [{**each, "at": _instant(each["at"])} for each in entries]


def _changes(found: Timeline) -> Iterator[dict[str, Any]]:
    for each in found.changes:
        yield {
            "at": each.at,
            "kind": "status",
            "from": each.source,
            "to": each.target,
            "reason": each.reason,
            "corrected": each.corrected,
            "text": words.STATUS.get(each.target, each.target),
        }


def _attempts(found: Timeline) -> Iterator[dict[str, Any]]:
    for each in found.attempts:
        outcome = words.OUTCOME.get(each.outcome, each.outcome or "")
        yield {
            "at": each.started_at,
            "kind": "attempt",
            "number": each.number,
            "call": each.call,
            "outcome": each.outcome,
            "http_status": each.http_status,
            "latency_ms": each.latency_ms,
            "detail": each.detail,
            "text": f"{words.CALL.get(each.call, each.call)}: {outcome}",
        }


def _documents(found: Timeline) -> Iterator[dict[str, Any]]:
    for each in found.documents:
        what = "guardado" if each.quarantined_reason is None else "apartado para revisión"
        yield {
            "at": each.stored_at,
            "kind": "document",
            "document": each.kind,
            "sha256": each.sha256,
            "bytes": each.size,
            "quarantined_reason": each.quarantined_reason,
            "text": f"{each.kind.upper()} {what}",
        }


def _events(found: Timeline) -> Iterator[dict[str, Any]]:
    for each in found.events:
        deliveries = [
            {"channel": one.channel, "status": one.status, "tries": one.tries} for one in each.deliveries
        ]
        yield {
            "at": each.created_at,
            "kind": "event",
            "id": str(each.id),
            "type": each.type,
            "version": each.version,
            "text": each.message,
            "deliveries": deliveries,
        }


def _actions(found: Timeline) -> Iterator[dict[str, Any]]:
    for each in found.actions:
        yield {
            "at": each.at,
            "kind": "action",
            "action": each.action,
            "actor": each.actor,
            "reason": each.reason,
            "text": words.ACTION.get(each.action, each.action),
        }


_LISTED = (
    *(
        invoices.c[name]
        for name in (
            "id", "account", "external_id", "version", "status", "reason", "errors", "warnings", "uuid", "serie",
            "folio", "fecha_timbrado", "created_at", "updated_at", "expires_at",
        )
    ),
    *(invoices.c.content["receptor"][name].astext.label(name) for name in ("rfc", "nombre")),
    *(invoices.c.content[name].astext.label(name) for name in ("total", "moneda")),
)  # fmt: skip
"""What a page shows of an invoice: of what was sent four texts, not all of its lines."""


def page(
    db: sa.Connection,
    key: Key,
    *,
    url_of: UrlOf,
    account: str | None = None,
    statuses: Sequence[str] = (),
    since: datetime | None = None,
    q: str | None = None,
    cursor: UUID | None = None,
    limit: int = 50,
) -> tuple[list[dict[str, Any]], str | None]:
    """Return a page of invoices, the newest first, and the cursor of the next one."""
    newest = sa.tuple_(invoices.c.created_at, invoices.c.id)
    whose = key.sees_of(invoices.c.account)
    if account is not None:
        whose = sa.and_(whose, invoices.c.account == account)
    query = (
        sa.select(*_LISTED)
        .where(whose)
        .order_by(invoices.c.created_at.desc(), invoices.c.id.desc())
        .limit(limit + 1)
    )
    if statuses:
        query = query.where(invoices.c.status.in_(statuses))
    if since is not None:
        query = query.where(invoices.c.created_at >= since)
    if cursor is not None:
        place = (
            sa.select(invoices.c.created_at, invoices.c.id).where(invoices.c.id == cursor).scalar_subquery()
        )
        query = query.where(newest < place)
    found = {
        row.id: row
        for which in (_searches(db, q, whose) if q and q.strip() else [sa.true()])
        for row in db.execute(query.where(which))
    }
    rows = sorted(found.values(), key=lambda row: (row.created_at, row.id), reverse=True)
    shown = rows[:limit]
    more = str(shown[-1].id) if len(rows) > limit else None
    return _listed(db, shown, url_of), more


def _searches(db: sa.Connection, text: str, whose: sa.ColumnElement[bool]) -> list[sa.ColumnElement[bool]]:
    """Return the ways to find by a text: folio fiscal or our id; RFC; Apunto's id, serie and folio, words of a name.

    Each is a query of its own, that goes by its own index: one condition with OR reads the whole table.
    """
    text = text.strip()
    if _UUID.fullmatch(text):
        return [sa.or_(invoices.c.uuid == text.upper(), invoices.c.id == UUID(text))]
    ways: list[sa.ColumnElement[bool]] = [invoices.c.external_id.like(_escaped(text) + "%", escape="\\")]
    if _RFC.fullmatch(text.upper()):
        return [sa.literal_column("(content -> 'receptor' ->> 'rfc')") == text.upper(), *ways]
    if folio := _FOLIO.fullmatch(text):
        serie, number = folio.groups()
        ways.append(sa.and_(invoices.c.folio == number, invoices.c.serie == serie if serie else sa.true()))
    if words := re.findall(r"\w+", text):
        wanted = sa.func.to_tsquery("simple", " & ".join(f"{word}:*" for word in words))
        has_words = sa.literal_column(NAME_WORDS, TSVECTOR).op("@@")(wanted)
        ways.append(_named(db, whose, sa.and_(invoices.c.uuid.is_not(None), has_words)))
        ways.append(sa.and_(invoices.c.status.in_(sorted(set(InvoiceStatus) - HAS_UUID)), has_words))
    return ways


def _named(
    db: sa.Connection, whose: sa.ColumnElement[bool], has_words: sa.ColumnElement[bool]
) -> sa.ColumnElement[bool]:
    """Return the condition for words of a name: the rows themselves where they are few, since the planner takes a word
    that it never counted for a common one, and reads on from the newest."""
    ids = db.execute(sa.select(invoices.c.id).where(whose, has_words).limit(FEW + 1)).scalars().all()
    return invoices.c.id == sa.any_(sa.literal(ids, ARRAY(sa.Uuid))) if len(ids) <= FEW else has_words


def _escaped(text: str) -> str:
    return re.sub(r"([%_\\])", r"\\\1", text)


def _listed(db: sa.Connection, rows: Sequence[sa.Row[Any]], url_of: UrlOf) -> list[dict[str, Any]]:
    ids = [row.id for row in rows]
    files: dict[UUID, list[dict[str, Any]]] = {each: [] for each in ids}
    messages: dict[UUID, str] = {}
    if ids:
        for each in db.execute(
            sa.select(documents)
            .where(documents.c.invoice_id.in_(ids), documents.c.quarantined_reason.is_(None))
            .order_by(documents.c.id)
        ):
            files[each.invoice_id].append(
                {"kind": each.kind, "key": each.key, "sha256": each.sha256, "bytes": each.bytes}
            )
        newest = (
            sa.select(events.c.subject_id, events.c.data["message"].astext.label("message"))
            .where(events.c.subject_id.in_(ids))
            .order_by(events.c.subject_id, events.c.version.desc())
            .ext(distinct_on(events.c.subject_id))
        )
        messages = {each.subject_id: each.message for each in db.execute(newest)}
    return [
        {
            "account": row.account,
            "external_id": row.external_id,
            "invoice_id": str(row.id),
            "version": row.version,
            "status": row.status,
            "reason": row.reason,
            "message": messages.get(row.id) or "",
            "errors": row.errors,
            "warnings": row.warnings or [],
            "uuid": row.uuid,
            "serie": row.serie if row.uuid else None,
            "folio": row.folio,
            "fecha_timbrado": row.fecha_timbrado.isoformat(timespec="seconds")
            if row.fecha_timbrado
            else None,
            "documents": [
                {**each, "url": url_of(row.account, row.external_id, each["kind"])} for each in files[row.id]
            ],
            "receptor": {"rfc": row.rfc, "nombre": row.nombre},
            "total": row.total,
            "moneda": row.moneda,
            "created_at": _instant(row.created_at),
            "updated_at": _instant(row.updated_at),
            "expires_at": _instant(row.expires_at),
        }
        for row in rows
    ]


def _instant(value: Any) -> str | None:
    return value.isoformat() if value is not None else None


# --- connections -----------------------------------------------------------------------------------------------------

_SHOWN = [
    each
    for each in connections.c
    if each.name not in {"catalogs", "key_encrypted", "key_fingerprint", "token_encrypted"}
]


def connection_rows(db: sa.Connection, key: Key, account: str | None = None) -> list[sa.Row[Any]]:
    """Return connections, by account."""
    query = sa.select(*_SHOWN).where(key.sees_of(connections.c.account)).order_by(connections.c.account)
    return list(db.execute(query if account is None else query.where(connections.c.account == account)).all())


def connection_of(row: sa.Row[Any]) -> dict[str, Any]:
    """Return a connection as it may be shown: nothing of its key but the last four characters."""
    message, fix = notify.connection_words(row)
    detail: Mapping[str, Any] = row.detail or {}
    return {
        "account": row.account,
        "connection_id": str(row.id),
        "version": row.version,
        "status": row.status,
        "reason": row.reason,
        "message": message,
        "fix": fix,
        "errors": list(detail.get("faults", ())) if row.reason else [],
        "paused": row.paused,
        "key_last4": row.key_last4,
        "rfc": row.rfc,
        "razon_social": row.razon_social,
        "codigo_postal": row.codigo_postal,
        "empresa_id": row.id_empresa if row.id_empresa is not None else row.id_empresa_asked,
        "serie": row.serie or row.serie_asked,
        "base_url": row.base_url,
        "ids": row.ids,
        "recognised": row.recognised,
        "stamps_left": row.stamps_left,
        "validated_at": _instant(row.validated_at),
        "broken_at": _instant(row.broken_at),
        "next_probe_at": _instant(row.next_probe_at),
    }


# --- the whole -------------------------------------------------------------------------------------------------------

RECENT = 1_000
"""Attempts that the latencies are of: the newest, so that the question costs the same however many there are."""


def status(db: sa.Connection, key: Key, now: datetime) -> dict[str, Any]:
    """Say whether ContaDigital answers, how fast, and what waits."""
    mine = key.sees_of(invoices.c.account)
    recent = (
        sa.select(attempts.c.call, attempts.c.latency_ms)
        .where(attempts.c.outcome == "done")
        .order_by(attempts.c.id.desc())
        .limit(RECENT)
        .subquery()
    )
    measured = db.execute(
        sa.select(
            recent.c.call,
            sa.func.count(),
            *(sa.func.percentile_cont(share).within_group(recent.c.latency_ms) for share in (0.5, 0.95)),
        )
        .where(recent.c.latency_ms.is_not(None))
        .group_by(recent.c.call)
    ).all()
    latency = {
        call: {"count": count, "p50_ms": round(p50), "p95_ms": round(p95)}
        for call, count, p50, p95 in measured
    }
    open_ = db.execute(
        sa.select(invoices.c.status, sa.func.count(), sa.func.min(invoices.c.created_at))
        .where(mine, invoices.c.status.in_([*OPEN, InvoiceStatus.CANCELLING, InvoiceStatus.DIFFERS]))
        .group_by(invoices.c.status)
    ).all()
    counts = {name: count for name, count, _ in open_}
    waiting = [oldest for name, _, oldest in open_ if name in DUE]
    nearest = db.execute(
        sa.select(invoices.c.account, invoices.c.external_id, invoices.c.expires_at)
        .where(mine, invoices.c.status.in_(OPEN), invoices.c.expires_at.is_not(None))
        .order_by(invoices.c.expires_at)
        .limit(5)
    ).all()
    down = db.execute(
        sa.select(providers.c.base_url, providers.c.opened_at).where(providers.c.opened_at.is_not(None))
    ).all()
    broken = db.execute(
        sa.select(sa.func.count()).where(key.sees_of(connections.c.account), connections.c.status == "broken")
    ).scalar_one()
    person = db.execute(
        sa.select(sa.func.count()).where(
            mine, invoices.c.status == InvoiceStatus.FAILED, invoices.c.reason == "needs_person"
        )
    ).scalar_one()
    return {
        "provider": {
            "answers": not down,
            "down_since": _instant(min((each.opened_at for each in down), default=None)),
            "stamp": latency.get("stamp"),
            "look_up": latency.get("look_up"),
        },
        "open": counts,
        "oldest_waiting_at": _instant(min(waiting, default=None)),
        "in_doubt": counts.get(InvoiceStatus.IN_DOUBT, 0),
        "needs_person": person + counts.get(InvoiceStatus.DIFFERS, 0),
        "broken_connections": broken,
        "nearest_deadlines": [
            {
                "account": each.account,
                "external_id": each.external_id,
                "expires_at": _instant(each.expires_at),
            }
            for each in nearest
        ],
        "as_of": _instant(now),
    }
