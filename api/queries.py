"""Reading: one invoice's state, pages of them, connections, and how the whole stands. Nothing here writes."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from pydantic_core import from_json
from sqlalchemy.dialects.postgresql import TSVECTOR, aggregate_order_by

from api import keys, words
from api.keys import Key
from models.compiled import Compiled, constant, param, part_of, text_of
from models.tables import NAME_WORDS, attempts, connections, documents, events, invoices, providers
from models.vocabulary import DUE, HAS_UUID, OPEN, FailedReason, InvoiceStatus
from stamping import notify
from stamping.intake import untrusted
from stamping.timeline import read as timeline
from stamping.timeline.entries import Timeline

UrlOf = Callable[[str, str, str], str]
"""(account, external_id, kind of document) -> address."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
FEW = 5_000
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
            "id", "account", "external_id", "version", "status", "reason", "uuid", "serie", "folio", "fecha_timbrado",
            "created_at", "updated_at", "expires_at",
        )
    ),
    *(sa.func.nullif(invoices.c[name], sa.text("'[]'::jsonb")).label(name) for name in ("errors", "warnings")),
    *(text_of(part_of(invoices.c.content, "receptor"), name).label(name) for name in ("rfc", "nombre")),
    *(text_of(invoices.c.content, name).label(name) for name in ("total", "moneda")),
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
    if account is not None and not key.sees(account):
        return [], None
    asked = {"account": account, "since": since, "cursor": cursor}
    values: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    ways, searched = _searches(q.strip()) if q and q.strip() else (("any",), {})
    known = tuple(sorted({InvoiceStatus(each) for each in statuses}))
    statement = _page(key.account_glob, tuple(values), known, ways)
    rows = statement.run(db, most=limit + 1, **values, **searched).all()
    shown = rows[:limit]
    more = str(shown[-1].id) if len(rows) > limit else None
    return [_listed(row, url_of) for row in shown], more


def _searches(text: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the ways to find by a text, and their values: folio fiscal or our id; RFC; Apunto's id, serie and folio,
    words of a name."""
    if _UUID.fullmatch(text):
        return ("uuid",), {"uuid": text.upper(), "id": UUID(text)}
    ways, values = ["external_id"], dict(zip(("low", "high"), _range_of(text), strict=True))
    if _RFC.fullmatch(text.upper()):
        return ("rfc", *ways), values | {"rfc": text.upper()}
    if folio := _FOLIO.fullmatch(text):
        serie, number = folio.groups()
        ways.append("serie_and_folio" if serie else "folio")
        values |= {"serie": serie, "folio": number} if serie else {"folio": number}
    if words := re.findall(r"\w+", text):
        ways += ["few_names", "many_names", "names_of_open"]
        values["words"] = " & ".join(f"{word}:*" for word in words)
    return tuple(ways), values


def _range_of(beginning: str) -> tuple[str, str]:
    """Return the first text that begins so, and the first that comes after all of those.

    A plan that is made once, as ours are, cannot answer LIKE by an index: it does not know how the pattern begins.
    """
    last = ord(beginning[-1]) + 1
    return beginning, beginning[:-1] + chr({0xD800: 0xE000}.get(last, min(last, 0x10FFFF)))


@lru_cache(maxsize=512)
def _page(
    glob: str | None, given: tuple[str, ...], statuses: tuple[str, ...], ways: tuple[str, ...]
) -> Compiled:
    return Compiled(lambda: _pages(glob, given, statuses, ways))


def _pages(
    glob: str | None, given: tuple[str, ...], statuses: tuple[str, ...], ways: tuple[str, ...]
) -> sa.Select[Any]:
    """Build the statement of a page. Each way to find is a query of its own, that goes by its own index: one condition
    with OR reads the whole table."""
    its = invoices.c
    whose = its.account == param("account") if "account" in given else keys.sees_of(glob, its.account)
    asked = [whose]
    if statuses:
        asked.append(its.status.in_([constant(each) for each in statuses]))
    if "since" in given:
        asked.append(its.created_at >= param("since"))
    if "cursor" in given:
        place = sa.select(its.created_at, its.id).where(its.id == param("cursor")).scalar_subquery()
        asked.append(sa.tuple_(its.created_at, its.id) < place)
    conditions, most = _conditions(whose), param("most", sa.Integer)
    order = its.created_at.desc(), its.id.desc()
    if len(ways) == 1:
        listed = sa.select(*_LISTED).where(*asked, conditions[ways[0]]).order_by(*order)
    else:
        several = (
            sa.select(its.id).where(*asked, conditions[way]).order_by(*order).limit(most) for way in ways
        )
        ids = sa.union_all(*(sa.select(each.subquery()) for each in several)).subquery()
        is_found = its.id == sa.any_(sa.func.array(sa.select(ids.c.id).scalar_subquery()))
        # OFFSET 0: looked up by their ids and then sorted; else the planner reads the whole index of the order
        rows = sa.select(*_LISTED).where(is_found).offset(sa.literal_column("0")).subquery("rows")
        listed = sa.select(rows).order_by(rows.c.created_at.desc(), rows.c.id.desc())
    found = listed.limit(most).subquery("found")
    newest = (
        sa.select(text_of(events.c.data, "message"))
        .where(events.c.subject_id == found.c.id)
        .order_by(events.c.version.desc())
        .limit(sa.literal_column("1"))
    )
    file = (
        part for name in ("kind", "key", "sha256", "bytes") for part in (constant(name), documents.c[name])
    )
    files = sa.select(
        sa.func.json_agg(aggregate_order_by(sa.func.json_build_object(*file), documents.c.id))
    ).where(documents.c.invoice_id == found.c.id, documents.c.quarantined_reason.is_(None))
    return sa.select(
        found,
        newest.scalar_subquery().label("message"),
        sa.cast(files.scalar_subquery(), sa.Text).label("files"),
    ).order_by(found.c.created_at.desc(), found.c.id.desc())


def _conditions(whose: sa.ColumnElement[bool]) -> dict[str, sa.ColumnElement[bool]]:
    """Return what each way to find asks for.

    Stamped ones with words in their names are counted first, up to a few, and then looked at one by one: the planner
    takes a word that it never counted for a common one, and reads on from the newest.
    """
    its = invoices.c
    has_words = sa.literal_column(NAME_WORDS, TSVECTOR).op("@@")(
        sa.func.to_tsquery(constant("simple"), param("words", sa.Text))
    )
    stamped = sa.and_(its.uuid.is_not(None), has_words)
    few = sa.select(its.id).where(whose, stamped).limit(FEW + 1).cte("few")
    counted = sa.select(sa.func.count()).select_from(few).scalar_subquery()
    return {
        "any": sa.true(),
        "uuid": sa.or_(its.uuid == param("uuid"), its.id == param("id")),
        "rfc": sa.literal_column("(content -> 'receptor' ->> 'rfc')") == param("rfc", sa.Text),
        "external_id": sa.and_(
            its.external_id.op("~>=~", is_comparison=True)(param("low")),
            its.external_id.op("~<~", is_comparison=True)(param("high")),
        ),
        "folio": its.folio == param("folio"),
        "serie_and_folio": sa.and_(its.folio == param("folio"), its.serie == param("serie")),
        "few_names": sa.and_(
            counted <= FEW, its.id == sa.any_(sa.func.array(sa.select(few.c.id).scalar_subquery()))
        ),
        # IS TRUE keeps the planner off the words' index: it would read every one of the many and sort them
        "many_names": sa.and_(counted > FEW, its.uuid.is_not(None), has_words.is_(sa.true())),
        "names_of_open": sa.and_(its.status.in_(_WITHOUT_UUID), has_words),
    }


_WITHOUT_UUID = [constant(each) for each in sorted(set(InvoiceStatus) - HAS_UUID)]


def _listed(row: Any, url_of: UrlOf) -> dict[str, Any]:
    """Return an invoice of a page, in the order of `InvoiceShape`."""
    return {
        "account": row.account,
        "external_id": row.external_id,
        "invoice_id": str(row.id),
        "version": row.version,
        "status": row.status,
        "reason": row.reason,
        "message": row.message or "",
        "errors": row.errors or [],
        "warnings": row.warnings or [],
        "uuid": row.uuid,
        "serie": row.serie if row.uuid else None,
        "folio": row.folio,
        "fecha_timbrado": row.fecha_timbrado.isoformat(timespec="seconds") if row.fecha_timbrado else None,
        "documents": [
            {**each, "url": url_of(row.account, row.external_id, each["kind"])}
            for each in from_json(row.files or "[]")
        ],
        "created_at": _instant(row.created_at),
        "updated_at": _instant(row.updated_at),
        "expires_at": _instant(row.expires_at),
        "next": None,
        "story": None,
        "receptor": {"rfc": row.rfc, "nombre": row.nombre},
        "total": row.total,
        "moneda": row.moneda,
    }


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
    row = _status(key.account_glob).run(db).one()
    latency = {
        each["call"]: {name: round(each[name]) for name in ("count", "p50_ms", "p95_ms")}
        for each in row.latency or ()
    }
    open_ = row.open or ()
    counts = {each["status"]: each["count"] for each in open_}
    waiting = [datetime.fromisoformat(each["oldest"]) for each in open_ if each["status"] in DUE]
    return {
        "provider": {
            "answers": row.down_since is None,
            "down_since": _instant(row.down_since),
            "stamp": latency.get("stamp"),
            "look_up": latency.get("look_up"),
        },
        "open": counts,
        "oldest_waiting_at": _instant(min(waiting, default=None)),
        "in_doubt": counts.get(InvoiceStatus.IN_DOUBT, 0),
        "needs_person": row.person + counts.get(InvoiceStatus.DIFFERS, 0),
        "broken_connections": row.broken,
        "nearest_deadlines": [
            {**each, "expires_at": _instant(datetime.fromisoformat(each["expires_at"]))}
            for each in row.nearest or ()
        ],
        "as_of": _instant(now),
    }


@lru_cache(maxsize=256)
def _status(glob: str | None) -> Compiled:
    return Compiled(lambda: _whole(glob))


def _whole(glob: str | None) -> sa.Select[Any]:
    """Build the statement of the whole: all of it is of one moment."""
    its, mine = invoices.c, keys.sees_of(glob, invoices.c.account)
    recent = (
        sa.select(attempts.c.call, attempts.c.latency_ms)
        .where(attempts.c.outcome == constant("done"))
        .order_by(attempts.c.id.desc())
        .limit(RECENT)
        .subquery("recent")
    )
    of_call = sa.func.percentile_cont
    latency = (
        sa.select(
            recent.c.call,
            sa.func.count().label("count"),
            *(
                of_call(sa.literal_column(share)).within_group(recent.c.latency_ms).label(name)
                for name, share in (("p50_ms", "0.5"), ("p95_ms", "0.95"))
            ),
        )
        .where(recent.c.latency_ms.is_not(None), recent.c.call.in_([constant("stamp"), constant("look_up")]))
        .group_by(recent.c.call)
    )
    open_ = (
        sa.select(its.status, sa.func.count().label("count"), sa.func.min(its.created_at).label("oldest"))
        .where(mine, its.status.in_([constant(each) for each in _SHOWN_OPEN]))
        .group_by(its.status)
    )
    nearest = (
        sa.select(its.account, its.external_id, its.expires_at)
        .where(mine, its.status.in_([constant(each) for each in sorted(OPEN)]), its.expires_at.is_not(None))
        .order_by(its.expires_at)
        .limit(5)
    )
    several = {"latency": latency, "open": open_, "nearest": nearest}
    return sa.select(
        *(
            sa.select(sa.func.json_agg(each.subquery().table_valued())).scalar_subquery().label(name)
            for name, each in several.items()
        ),
        sa.select(sa.func.min(providers.c.opened_at)).scalar_subquery().label("down_since"),
        sa.select(sa.func.count())
        .where(keys.sees_of(glob, connections.c.account), connections.c.status == constant("broken"))
        .scalar_subquery()
        .label("broken"),
        sa.select(sa.func.count())
        .where(
            mine,
            its.status == constant(InvoiceStatus.FAILED),
            its.reason == constant(FailedReason.NEEDS_PERSON),
        )
        .scalar_subquery()
        .label("person"),
    )


_SHOWN_OPEN = sorted({*OPEN, InvoiceStatus.CANCELLING, InvoiceStatus.DIFFERS})
