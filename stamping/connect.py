"""From "Conectar" to validated, and from broken back to active.

The key is stored encrypted and looked at only here and by the client. What a newcomer would get wrong: nothing of a
connection is believed by halves. It is `active` when every check of the inspection holds, and `broken` with all that
can be seen to be wrong told at once.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog
import uuid_utils.compat as uuids
from cryptography.fernet import InvalidToken
from sqlalchemy.dialects.postgresql import insert

from contadigital.inspection import ConnectionFault, ConnectionSettings, Held, Inspection, inspect
from contadigital.keys import MalformedKey, clean_api_key
from contadigital.reasons import explain
from contadigital.transport import base_address_fault
from models.status import BrokenReason, ConnectionStatus
from models.tables import connections, provider_refs
from stamping import hold, tell
from stamping.accept import MAX_ID
from stamping.pipeline import stamp_as_probe
from stamping.prepare import door_of
from stamping.tools import Tools

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Wish:
    """What `stamping.connect` asks for; `api_key_encrypted` is a Fernet token made with the shared key."""

    account: str
    api_key_encrypted: str
    rfc: str
    razon_social: str
    codigo_postal: str
    empresa_id: int | str | None = None
    serie: str | None = None
    base_url: str | None = None


def connect(wish: Wish, tools: Tools) -> sa.Row[Any]:
    """Store or replace a connection and validate it; return its row. What is wrong is told, never raised."""
    account = wish.account.strip()[:MAX_ID]
    key, malformed, notices = _key_of(wish, tools)
    base_url = (wish.base_url or tools.policy.production_url).strip().rstrip("/")
    if malformed is None and base_address_fault(base_url, _hosts(tools)) is not None:
        malformed = _fault("unreachable", base_url, "address_forbidden")
    now = tools.clock.now()
    empresa = str(wish.empresa_id).strip() if wish.empresa_id is not None else ""
    values: dict[str, Any] = {
        "rfc": "".join(wish.rfc.split()).upper(),
        "razon_social": " ".join(wish.razon_social.split()),
        "codigo_postal": wish.codigo_postal.strip(),
        "serie_asked": (wish.serie or "").strip() or None,
        "id_empresa_asked": int(empresa) if empresa.isdecimal() else None,
        "base_url": base_url,
        "key_encrypted": tools.fernet.encrypt(key.encode()).decode() if key else None,
        "key_last4": key[-4:] if key and len(key) >= 12 else None,
        "key_fingerprint": fingerprint(key, account) if key else None,
        "status": ConnectionStatus.PENDING,
        "reason": None,
        "detail": {"notices": notices} if notices else None,
        "next_probe_at": None,
        "probes": 0,
        "updated_at": now,
    }
    with tools.engine.begin() as db:
        row = db.execute(
            insert(connections)
            .values(id=uuids.uuid7(), account=account, created_at=now, **values)
            .on_conflict_do_update(index_elements=[connections.c.account], set_=values)
            .returning(*connections.c)
        ).one()
        # the ids of an account that was made anew, or of another one, may all be others
        db.execute(sa.delete(provider_refs).where(provider_refs.c.connection_id == row.id))
        if malformed is not None:
            return _break(db, row, (malformed,), tools, now)
    return _validate(row, tools)


def validate(account: str, tools: Tools) -> sa.Row[Any] | None:
    """Validate a connection again; None where there is none. A refused key is not tried again unless it is new."""
    with tools.engine.begin() as db:
        row = db.execute(sa.select(connections).where(connections.c.account == account)).one_or_none()
    if row is None:
        return None
    if row.key_encrypted is None:
        return row
    return _validate(row, tools)


def probe(connection_id: UUID, tools: Tools) -> bool:
    """Ask whether a broken connection is mended, at a growing interval; True when it is."""
    now = tools.clock.now()
    with tools.engine.begin() as db:
        row = db.execute(
            sa.update(connections)
            .where(
                connections.c.id == connection_id,
                connections.c.status == ConnectionStatus.BROKEN,
                connections.c.next_probe_at <= now,
            )
            .values(
                probes=connections.c.probes + 1,
                next_probe_at=now
                + sa.func.least(
                    sa.literal(tools.policy.probe_first)
                    * sa.func.power(2, sa.func.least(connections.c.probes + 1, 10)),
                    tools.policy.probe_cap,
                ),
            )
            .returning(*connections.c)
        ).one_or_none()
    if row is None:
        return False
    if row.reason == BrokenReason.NO_STAMPS and not _tells_stamps(row) and not stamp_as_probe(row.id, tools):
        return False
    return bool(_validate(row, tools).status == ConnectionStatus.ACTIVE)


def _tells_stamps(row: sa.Row[Any]) -> bool:
    """Whether this provider tells the stamps left; where it does not, only a stamp can say that there are some."""
    return bool(row.stamps_told_by == "contadigital")


def disconnect(account: str, tools: Tools) -> bool:
    """Forget the key for good, and hold what is open; False where there is no such connection."""
    now = tools.clock.now()
    with tools.engine.begin() as db:
        row = db.execute(
            sa.update(connections)
            .where(connections.c.account == account)
            .values(
                status=ConnectionStatus.DISCONNECTED,
                reason=None,
                detail=None,
                key_encrypted=None,
                key_fingerprint=None,
                key_last4=None,
                next_probe_at=None,
                version=connections.c.version + 1,
                updated_at=now,
            )
            .returning(*connections.c)
        ).one_or_none()
    if row is None:
        return False
    hold.hold_open(account, tools)
    return True


def _validate(row: sa.Row[Any], tools: Tools) -> sa.Row[Any]:
    """Inspect, write down what came of it under the very key that was inspected, and bring invoices into step."""
    found = inspect(
        tools.provider,
        door_of(row, tools),
        Held(row.rfc, row.razon_social, row.codigo_postal, row.serie_asked, row.id_empresa_asked),
    )
    now = tools.clock.now()
    with tools.engine.begin() as db:
        same_key = db.execute(
            sa.select(connections)
            .where(connections.c.id == row.id, connections.c.key_fingerprint == row.key_fingerprint)
            .with_for_update()
        ).one_or_none()
        if same_key is None:  # connected anew or disconnected meanwhile: our findings are about another key
            return db.execute(sa.select(connections).where(connections.c.id == row.id)).one()
        if found.settings is None and _is_passing(found) and same_key.status != ConnectionStatus.PENDING:
            return same_key  # an outage breaks no connection and hides no reason: the provider's breaker sees to it
        if found.settings is None:
            written = _break(db, same_key, found.faults, tools, now)
        else:
            written = _activate(db, same_key, found.settings, tools, now)
    if written.status == ConnectionStatus.ACTIVE:
        hold.release(written.account, tools)
    else:
        hold.hold_open(written.account, tools)
    return written


def _is_passing(found: Inspection) -> bool:
    return all(fault.reason == "unreachable" and not fault.cause for fault in found.faults)


def _activate(
    db: sa.Connection, row: sa.Row[Any], settings: ConnectionSettings, tools: Tools, now: datetime
) -> sa.Row[Any]:
    was_active = row.status == ConnectionStatus.ACTIVE
    told = settings.stamps_left if settings.stamps_left is not None else row.stamps_left
    if row.reason == BrokenReason.NO_STAMPS and settings.stamps_left is None:
        told = None  # the number that was counted down has proven wrong or was bought up: unknown again
    written = db.execute(
        sa.update(connections)
        .where(connections.c.id == row.id)
        .values(
            status=ConnectionStatus.ACTIVE,
            reason=None,
            detail=None,
            id_empresa=settings.id_empresa,
            registered_name=settings.razon_social,
            regimen_fiscal=settings.regimen_fiscal,
            serie=settings.serie,
            catalogs=settings.catalogs.to_json(),
            catalogs_at=now,
            stamps_left=told,
            stamps_told_by="contadigital" if settings.stamps_left is not None else row.stamps_told_by,
            validated_at=now,
            broken_at=None,
            next_probe_at=None,
            probes=0,
            tap_closed_until=None,
            version=connections.c.version + (0 if was_active else 1),
            updated_at=now,
        )
        .returning(*connections.c)
    ).one()
    if not was_active:
        tell.connection(
            db,
            written,
            tools,
            "connection.active",
            variant="resumed" if row.broken_at is not None else "",
            notices=(row.detail or {}).get("notices", ()),
        )
    return written


def _break(
    db: sa.Connection,
    row: sa.Row[Any],
    faults: tuple[ConnectionFault, ...],
    tools: Tools,
    now: datetime,
) -> sa.Row[Any]:
    first = faults[0]
    reason = BrokenReason(first.reason)
    detail = {
        "cause": first.cause,
        "text": first.detail,
        "message": first.message,
        "fix": first.fix,
        "faults": [
            {
                "code": f"timbrado.{fault.reason}",
                "field": FIELDS.get(fault.reason, ""),
                "message": fault.message + (f" {fault.detail}" if fault.reason in TELLING else ""),
                "fix": fault.fix,
                "source": "contadigital",
            }
            for fault in faults
        ],
    }
    is_news = (
        row.status != ConnectionStatus.BROKEN
        or row.reason != reason
        or (row.detail or {}).get("faults") != detail["faults"]
    )
    written = db.execute(
        sa.update(connections)
        .where(connections.c.id == row.id)
        .values(
            status=ConnectionStatus.BROKEN,
            reason=reason,
            detail=detail,
            broken_at=row.broken_at or now,
            next_probe_at=(row.next_probe_at or now + tools.policy.probe_first)
            if reason in hold.PROBED
            else None,
            version=connections.c.version + (1 if is_news else 0),
            updated_at=now,
        )
        .returning(*connections.c)
    ).one()
    if is_news:
        tell.connection(db, written, tools, "connection.broken")
    return written


FIELDS = {
    "key_rejected": "api_key",
    "key_malformed": "api_key",
    "rfc_mismatch": "rfc",
    "razon_social_mismatch": "razon_social",
    "lugar_expedicion_unknown": "codigo_postal",
    "serie_inactive": "serie",
    "empresa_unknown": "empresa_id",
}
TELLING = frozenset({"rfc_mismatch", "razon_social_mismatch", "lugar_expedicion_unknown", "serie_inactive"})
"""Reasons whose detail helps the user: both sides of a difference, or what there is to choose from."""


def _key_of(wish: Wish, tools: Tools) -> tuple[str | None, ConnectionFault | None, list[str]]:
    """Return the clean key, or what is wrong with it, and what was taken away around it."""
    try:
        pasted = tools.fernet.decrypt(wish.api_key_encrypted.encode()).decode()
    except (InvalidToken, UnicodeDecodeError, AttributeError):
        log.error("key_not_decrypted", account_hash=_short(wish.account))
        fault = _fault("key_malformed", "api_key_encrypted is no Fernet token of TIMBRADO_ENCRYPTION_KEYS")
        return None, fault, []
    clean = clean_api_key(pasted)
    if isinstance(clean, MalformedKey):
        return None, ConnectionFault("key_malformed", clean.message, clean.fix, "", clean.cause), []
    return clean.key, None, list(clean.notices)


def _fault(reason: Any, detail: str, cause: str = "") -> ConnectionFault:
    words = explain(reason, cause)
    return ConnectionFault(reason, words.message, words.fix, detail, cause)


def fingerprint(key: str, account: str) -> str:
    """Return what tells two keys of an account apart without holding either."""
    return hmac.new(account.encode(), key.encode(), hashlib.sha256).hexdigest()


def _short(account: str) -> str:
    return hashlib.sha256(account.encode()).hexdigest()[:12]


def _hosts(tools: Tools) -> frozenset[str]:
    return tools.policy.allowed_hosts


__all__ = ["Wish", "connect", "disconnect", "probe", "timedelta", "validate"]
