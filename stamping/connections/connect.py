"""From "Conectar" to validated, and from broken back to active.

The key is stored encrypted and looked at only here and by the client. Nothing of a connection is believed by halves.
It is `active` when every check of the inspection holds, and `broken` with all that can be seen to be wrong reported
at once.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog
import uuid_utils.compat as uuids
from cryptography.fernet import InvalidToken
from sqlalchemy.dialects.postgresql import insert

from cfdi.faults import Fault
from contadigital.inspection import ConnectionFault, ConnectionSettings, GivenConnection, Inspection, inspect
from contadigital.pasted_key import MalformedKey, clean_api_key
from contadigital.reasons import explain
from contadigital.resolve_ids import BadIds, GivenIds, called
from models.tables import connections, invoices
from models.vocabulary import DUE, BrokenReason, ConnectionStatus, FailedReason, InvoiceStatus
from net.addresses import base_address_fault
from stamping import notify, provider_refs
from stamping.connections import providers, suspend
from stamping.connections.credentials import credentials_of
from stamping.connections.tokens import NO_TOKEN
from stamping.intake import seen_messages, untrusted
from stamping.intake.seen_messages import Message
from stamping.pipeline import stamp_as_probe
from stamping.tools import Tools

log = structlog.get_logger(__name__)

UNFINISHED = timedelta(minutes=3)
"""A connection that is still `pending` after this long was being validated by a worker that died: asked again."""
SAME_KEY_AGAIN = timedelta(minutes=10)
"""The very key that was refused is tried again only this long after, should its owner insist: once, not in a loop."""


@dataclass(frozen=True)
class ConnectRequest:
    """What `stamping.connect` asks for; `api_key_encrypted` is a Fernet token made with the shared key.

    It comes out of a message, so that each field may hold anything; what is no text is reported as wrong.
    """

    account: str
    api_key_encrypted: str
    rfc: str
    razon_social: str
    codigo_postal: str
    empresa_id: int | str | None = None
    serie: str | None = None
    base_url: str | None = None
    ids: object = None
    """ContaDigital's ids given by hand (contract, section 7): an object, or its JSON. None keeps those given before, as
    long as the address stays the same; an empty one forgets them."""


class NoAccount(ValueError):  # named for what happened, like the errors of the other packages
    """The account's id can't be one: nobody could be answered."""


def connect(request: ConnectRequest, tools: Tools, *, message: Message | None = None) -> sa.Row[Any]:
    """Store or replace a connection and validate it; return its row. What is wrong with it is reported, never raised.

    A message that was seen before, or is older than the last one about this account, only reports the status again.

    Raises NoAccount where there is no account to report it to.
    """
    if not untrusted.is_name(request.account):
        raise NoAccount("an account's id is text of 1 to 200 printable characters")
    account = request.account
    key, malformed, corrections = _key_of(request, tools)
    base_url = (_text(request.base_url).strip() or tools.policy.production_url).rstrip("/")
    if malformed is None and base_address_fault(base_url, _hosts(tools)) is not None:
        malformed = _fault("unreachable", base_url, "address_forbidden")
    now = tools.clock.now()
    given = _given_ids(request.ids)
    if isinstance(given, ConnectionFault):
        malformed, given = malformed or given, None
    values: dict[str, Any] = {
        "rfc": "".join(_text(request.rfc).split()).upper(),
        "razon_social": " ".join(_text(request.razon_social).split()),
        "codigo_postal": _text(request.codigo_postal).strip(),
        "serie_asked": _text(request.serie).strip() or None,
        "id_empresa_asked": _company(request.empresa_id),
        "base_url": base_url,
        "ids": given.to_json() if given is not None else sa.null(),
        "key_encrypted": tools.fernet.encrypt(key.encode()).decode() if key else None,
        "key_last4": key[-4:] if key and len(key) >= 12 else None,
        "key_fingerprint": fingerprint(key, account) if key else None,
        "status": ConnectionStatus.PENDING,
        "reason": None,
        "detail": {"corrections": corrections} if corrections else None,
        **NO_TOKEN,
        "next_probe_at": now + UNFINISHED,
        "probes": 0,
        "sent_at": seen_messages.sent_at(message, now),
        "updated_at": now,
    }
    # what was learnt of a provider is true of its address only
    same_address = connections.c.base_url == base_url
    learnt = {
        name: sa.case((same_address, connections.c[name]), else_=None)
        for name in ("honours_id", "saves_only")
    }
    if given is None:
        learnt["ids"] = sa.case((same_address, connections.c.ids), else_=None)
    with tools.engine.begin() as db:
        before = db.execute(
            sa.select(connections).where(connections.c.account == account).with_for_update()
        ).one_or_none()
        is_new = seen_messages.is_new(db, message, account, now)
        if before is not None and (not is_new or _is_overtaken(before, message, now)):
            return _repeat_status(db, before, tools)
        left = _left_behind(db, before, base_url, values["id_empresa_asked"])
        if left:
            corrections.append(
                f"La conexión cambió de dirección o de empresa: {sum(left.values())} facturas que se estaban "
                "timbrando, aclarando o cancelando en la anterior ya no se pueden consultar desde aquí; las revisa "
                "soporte."
            )
            values["detail"] = {"corrections": corrections}
        if before is not None and before.base_url != base_url:
            _forget_drafts(db, account)
        if malformed is None and _was_just_refused(before, values, now):
            malformed = _fault("key_rejected", "the key that was refused a moment ago")
        row = db.execute(
            insert(connections)
            .values(id=uuids.uuid7(), account=account, created_at=now, **values)
            .on_conflict_do_update(index_elements=[connections.c.account], set_={**values, **learnt})
            .returning(*connections.c)
        ).one()
        # the ids of an account that was made anew, or of another one, may all be others
        provider_refs.forget_all(db, row.id)
        if malformed is not None:
            row = _break(db, row, (malformed,), tools, now)
    if malformed is not None:
        suspend.put_on_hold(account, tools)
        return row
    return _validate(row, tools)


MOVED_AWAY_FROM = frozenset({InvoiceStatus.STAMPING, InvoiceStatus.IN_DOUBT, InvoiceStatus.CANCELLING})
"""What can only be looked up where it was saved: at the address and for the company that the connection leaves."""


def _company(empresa_id: int | str | None) -> int | None:
    """Return an IdEmpresa as a number; None for what is none."""
    text = str(empresa_id).strip() if empresa_id is not None else ""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def left_behind(
    account: str, base_url: str | None, empresa_id: int | str | None, tools: Tools
) -> dict[str, int]:
    """Count by status what a connection would leave behind by moving to another address or company.

    A doubt whose record can't be looked up any more goes before a person, and a cancellation is followed no further.
    """
    with tools.engine.begin() as db:
        row = db.execute(sa.select(connections).where(connections.c.account == account)).one_or_none()
        return _left_behind(
            db, row, (base_url or tools.policy.production_url).rstrip("/"), _company(empresa_id)
        )


def _left_behind(
    db: sa.Connection, before: sa.Row[Any] | None, base_url: str, empresa_id: int | None
) -> dict[str, int]:
    if before is None:
        return {}
    same_company = empresa_id is None or before.id_empresa in (None, empresa_id)
    if before.base_url == base_url and same_company:
        return {}
    counted = db.execute(
        sa.select(invoices.c.status, sa.func.count().label("open"))
        .where(invoices.c.account == before.account, invoices.c.status.in_(sorted(MOVED_AWAY_FROM)))
        .group_by(invoices.c.status)
    )
    return {row.status: row.open for row in counted}


def _is_overtaken(row: sa.Row[Any], message: Message | None, now: datetime) -> bool:
    """Whether a newer request than this one has been done."""
    return message is not None and seen_messages.is_superseded(message.sent_at, row.sent_at, now)


def _was_just_refused(before: sa.Row[Any] | None, values: dict[str, Any], now: datetime) -> bool:
    """Whether this is the very key that was refused: pasted again and again it would have the account locked."""
    return (
        before is not None
        and before.status == ConnectionStatus.BROKEN
        and before.reason == BrokenReason.KEY_REJECTED
        and (before.key_fingerprint, before.base_url) == (values["key_fingerprint"], values["base_url"])
        and now - before.updated_at < SAME_KEY_AGAIN
    )


def _forget_drafts(db: sa.Connection, account: str) -> None:
    """Forget the Ids of what was saved at another address: here the same Id is somebody else's invoice.

    One whose stamp was once sent and not answered then goes to a person: it could not be found from here.
    """
    unstamped = sa.or_(
        invoices.c.status.in_(sorted({*DUE, InvoiceStatus.ON_HOLD, InvoiceStatus.REJECTED})),
        sa.and_(invoices.c.status == InvoiceStatus.FAILED, invoices.c.reason == FailedReason.EXPIRED),
    )
    db.execute(
        sa.update(invoices)
        .where(invoices.c.account == account, invoices.c.record_id.is_not(None), unstamped)
        .values(record_id=None, record_empresa=None, record_hash=None)
    )
    db.execute(  # a mail that is still to go would be of the invoice that has this Id here
        sa.update(invoices)
        .where(invoices.c.account == account, invoices.c.mail_due_at.is_not(None))
        .values(mail_due_at=None)
    )


def validate(account: str, tools: Tools, *, message: Message | None = None) -> sa.Row[Any] | None:
    """Validate a connection again, for a person who asks: its status is reported, also where nothing has changed.

    None where there is none. A refused key is not tried again: some providers lock an account after three.
    """
    if not untrusted.is_name(account):
        return None
    with tools.engine.begin() as db:
        row = db.execute(sa.select(connections).where(connections.c.account == account)).one_or_none()
        if row is None or row.status == ConnectionStatus.DISCONNECTED:
            return row
        is_new = seen_messages.is_new(db, message, account, tools.clock.now())
        if not is_new or (
            row.status == ConnectionStatus.BROKEN and not suspend.is_probed(row.reason, row.detail)
        ):
            return _repeat_status(db, row, tools)
    return _validate(row, tools, asked=True)


def go_on(base_url: str, tools: Tools) -> list[str]:
    """Validate what stood still at this address because its stamps differed, now that its dialect is known or changed.

    Return the accounts that go on. One whose validation is not answered now is validated again by the sweep.
    """
    with tools.engine.begin() as db:
        stopped = providers.validate_stopped(db, tools.clock.now(), connections.c.base_url == base_url)
    for each in stopped:
        probe(each, tools)
    with tools.engine.begin() as db:
        return list(
            db.execute(
                sa.select(connections.c.account)
                .where(connections.c.id.in_(stopped), connections.c.status == ConnectionStatus.ACTIVE)
                .order_by(connections.c.account)
            ).scalars()
        )


def probe(connection_id: UUID, tools: Tools) -> bool:
    """Ask whether a broken connection works again, at a growing interval; True when it is.

    Also ends a validation whose worker died in the middle of it.
    """
    now = tools.clock.now()
    with tools.engine.begin() as db:
        row = db.execute(
            sa.select(connections)
            .where(
                connections.c.id == connection_id,
                connections.c.status.in_([ConnectionStatus.BROKEN, ConnectionStatus.PENDING]),
                connections.c.next_probe_at <= now,
            )
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if row is None:
            return False
        wait = min(tools.policy.probe_first * (2 ** min(row.probes + 1, 10)), tools.policy.probe_cap)
        db.execute(
            sa.update(connections)
            .where(connections.c.id == connection_id)
            .values(probes=connections.c.probes + 1, next_probe_at=now + wait)
        )
    return bool(_validate(row, tools, probing=True).status == ConnectionStatus.ACTIVE)


def disconnect(account: str, tools: Tools, *, message: Message | None = None) -> bool:
    """Forget the key for good, and hold what is open; False where there is no such connection.

    Nothing is done for a message that was seen before, or that is older than the last request of the account.
    """
    if not untrusted.is_name(account):
        return False
    now = tools.clock.now()
    with tools.engine.begin() as db:
        row = db.execute(
            sa.select(connections).where(connections.c.account == account).with_for_update()
        ).one_or_none()
        if row is None:
            return False
        if not seen_messages.is_new(db, message, account, now) or _is_overtaken(row, message, now):
            return False
        db.execute(
            sa.update(connections)
            .where(connections.c.id == row.id)
            .values(
                status=ConnectionStatus.DISCONNECTED,
                sent_at=seen_messages.sent_at(message, now),
                reason=None,
                detail=None,
                key_encrypted=None,
                key_fingerprint=None,
                key_last4=None,
                **NO_TOKEN,
                next_probe_at=None,
                version=connections.c.version + 1,
                updated_at=now,
            )
        )
    suspend.put_on_hold(account, tools)
    return True


def _validate(row: sa.Row[Any], tools: Tools, *, asked: bool = False, probing: bool = False) -> sa.Row[Any]:
    """Inspect, write down what came of it where it is still about this connection, and bring invoices into step.

    Where the provider does not report the stamps left, only a stamp says that there are some: a probe sends one of the
    invoices on hold, and only once the rest of the connection is in order.
    """
    found = inspect(
        tools.provider,
        credentials_of(row, tools),
        GivenConnection(
            row.rfc,
            row.razon_social,
            row.codigo_postal,
            row.serie_asked,
            row.id_empresa_asked,
            GivenIds.read(row.ids),
        ),
    )
    is_known = found.settings is None or found.settings.stamps_left is not None
    lacks_stamps = probing and row.reason == BrokenReason.NO_STAMPS and not is_known
    if lacks_stamps and not stamp_as_probe(row.id, tools):
        return row
    now = tools.clock.now()
    with tools.engine.begin() as db:
        same = db.execute(
            sa.select(connections)
            .where(
                connections.c.id == row.id,
                *(_is_still(row, name) for name in INSPECTED),
            )
            .with_for_update()
        ).one_or_none()
        if same is None:
            return db.execute(sa.select(connections).where(connections.c.id == row.id)).one()
        passing = _is_passing(found) or (found.is_unread and same.catalogs is not None)
        if found.settings is None and passing and same.status != ConnectionStatus.PENDING:
            # an outage breaks no connection and hides no reason: the provider's breaker sees to it
            is_broken = same.status == ConnectionStatus.BROKEN
            return _repeat_status(db, same, tools) if asked and is_broken else same
        if found.settings is None:
            written = _break(db, same, found.faults, tools, now, asked=asked, recognised=found.recognised)
        else:
            written = _activate(db, same, found.settings, tools, now, asked=asked)
    if written.status == ConnectionStatus.ACTIVE:
        suspend.release(written.account, tools)
    else:
        suspend.put_on_hold(written.account, tools)
    return written


INSPECTED = (
    "key_fingerprint", "base_url", "rfc", "razon_social", "codigo_postal", "serie_asked", "id_empresa_asked",
    "validated_at", "broken_at", "ids",
)  # fmt: skip
"""What an inspection is about. Where any of it has changed meanwhile (connected anew with another key or another name,
disconnected, broken or validated by somebody else), what it found is old, and whoever changed it has reported it."""


def _is_still(row: sa.Row[Any], name: str) -> sa.ColumnElement[bool]:
    value = getattr(row, name)  # None would be JSON's null beside a column of JSON
    return connections.c[name].is_not_distinct_from(value if value is not None else sa.null())


def _is_passing(found: Inspection) -> bool:
    return all(
        fault.reason == "unreachable" and fault.cause in ("", "not_understood") for fault in found.faults
    )


def _repeat_status(db: sa.Connection, row: sa.Row[Any], tools: Tools) -> sa.Row[Any]:
    """Report how a connection stands to whoever asked."""
    again = db.execute(
        sa.update(connections)
        .where(connections.c.id == row.id)
        .values(version=connections.c.version + 1, updated_at=tools.clock.now())
        .returning(*connections.c)
    ).one()
    if again.status == ConnectionStatus.BROKEN:
        notify.connection(db, again, tools, "connection.broken")
    elif again.status == ConnectionStatus.ACTIVE:
        notify.connection(db, again, tools, "connection.active")
    return again


def _activate(
    db: sa.Connection,
    row: sa.Row[Any],
    settings: ConnectionSettings,
    tools: Tools,
    now: datetime,
    *,
    asked: bool = False,
) -> sa.Row[Any]:
    was_active = row.status == ConnectionStatus.ACTIVE
    stamps_left = settings.stamps_left if settings.stamps_left is not None else row.stamps_left
    if row.reason == BrokenReason.NO_STAMPS and settings.stamps_left is None:
        stamps_left = (
            None  # the number that was counted down has proven wrong or was bought up: unknown again
        )
    written = db.execute(
        sa.update(connections)
        .where(connections.c.id == row.id)
        .values(
            status=ConnectionStatus.ACTIVE,
            reason=None,
            detail=None,
            id_empresa=settings.id_empresa,
            registered_name=settings.razon_social or None,  # its lists need not say either
            regimen_fiscal=settings.regimen_fiscal or None,
            serie=settings.serie or None,
            catalogs=settings.catalogs.to_json(),
            catalogs_at=now,
            recognised=settings.catalogs.recognised,
            stamps_left=stamps_left,
            stamps_left_source="contadigital" if settings.stamps_left is not None else row.stamps_left_source,
            validated_at=now,
            broken_at=None,
            next_probe_at=None,
            probes=0,
            throttled_until=None,
            version=connections.c.version + (0 if was_active and not asked else 1),
            updated_at=now,
        )
        .returning(*connections.c)
    ).one()
    if asked or not was_active:
        notify.connection(
            db,
            written,
            tools,
            "connection.active",
            variant="resumed" if row.broken_at is not None else "",
            corrections=(row.detail or {}).get("corrections", ()),
        )
    return written


def _break(
    db: sa.Connection,
    row: sa.Row[Any],
    faults: tuple[ConnectionFault, ...],
    tools: Tools,
    now: datetime,
    *,
    asked: bool = False,
    recognised: Mapping[str, Any] | None = None,
) -> sa.Row[Any]:
    first = faults[0]
    reason = BrokenReason(first.reason)
    listed = [
        Fault(
            f"timbrado.{fault.reason}",
            fault.field or FIELDS.get(fault.reason, ""),
            fault.message + (f" {fault.detail}." if fault.reason in TELLING else ""),
            fault.fix,
            "contadigital",
            whose=explain(fault.reason, fault.cause).whose,
            detail=fault.detail if fault.reason in OF_IDS else "",
        ).as_dict()
        for fault in faults
    ]
    detail: dict[str, Any] = {
        "cause": first.cause,
        "text": first.detail,
        "message": listed[0]["message"],
        "fix": first.fix,
        "faults": listed,
    }
    is_news = asked or _is_news(row, reason, listed)
    pending = row.status != ConnectionStatus.BROKEN  # its next probe was a net under the validation
    first_probe = now + tools.policy.probe_first
    next_probe_at = first_probe if pending else row.next_probe_at or first_probe
    written = db.execute(
        sa.update(connections)
        .where(connections.c.id == row.id)
        .values(
            status=ConnectionStatus.BROKEN,
            reason=reason,
            detail=detail,
            broken_at=row.broken_at or now,
            recognised=recognised if recognised is not None else row.recognised,
            next_probe_at=next_probe_at if reason in suspend.PROBED else None,
            version=connections.c.version + (1 if is_news else 0),
            updated_at=now,
        )
        .returning(*connections.c)
    ).one()
    if is_news:
        notify.connection(db, written, tools, "connection.broken")
    return written


def _is_news(row: sa.Row[Any], reason: BrokenReason, faults: list[dict[str, str]]) -> bool:
    """Whether a connection broke just now, or for other reasons than were reported. A refusal in the middle of the work
    reports one; the probe that comes after it reports more only where it sees more."""
    if row.status != ConnectionStatus.BROKEN or row.reason != reason:
        return True
    before = (row.detail or {}).get("faults")
    return before != faults if before is not None else len(faults) > 1


FIELDS = {
    "key_rejected": "api_key",
    "key_malformed": "api_key",
    "rfc_mismatch": "rfc",
    "razon_social_mismatch": "razon_social",
    "lugar_expedicion_unknown": "codigo_postal",
    "serie_inactive": "serie",
    "empresa_unknown": "empresa_id",
}
OF_IDS = frozenset({"ids_missing"})
"""Reasons whose detail names ids as Apunto sends them."""
TELLING = frozenset({"rfc_mismatch", "razon_social_mismatch", "lugar_expedicion_unknown", "serie_inactive"})
"""Reasons whose detail helps the user: both sides of a difference, or what there is to choose from."""


def _key_of(request: ConnectRequest, tools: Tools) -> tuple[str | None, ConnectionFault | None, list[str]]:
    """Return the clean key, or what is wrong with it, and what was taken away around it."""
    try:
        pasted = tools.fernet.decrypt(request.api_key_encrypted.encode()).decode()
    except (InvalidToken, UnicodeError, AttributeError):
        log.error("key_not_decrypted", account_hash=_short(request.account))
        detail = "api_key_encrypted is no Fernet token of TIMBRADO_ENCRYPTION_KEYS"
        return None, _fault("key_malformed", detail, "unreadable"), []
    clean = clean_api_key(pasted)
    if isinstance(clean, MalformedKey):
        return None, ConnectionFault("key_malformed", clean.message, clean.fix, "", clean.cause), []
    return clean.key, None, list(clean.corrections)


def _given_ids(value: object) -> GivenIds | ConnectionFault | None:
    """Return the ids given by hand, or what is wrong with them, each by its name."""
    try:
        if isinstance(value, str):
            value = json.loads(value)
        return GivenIds.read(value) if value is not None else None
    except (ValueError, RecursionError) as error:
        problems = error.problems if isinstance(error, BadIds) else ("no es un objeto JSON",)
        names = "; ".join(map(called, error.names[:10])) if isinstance(error, BadIds) else ""
        return ConnectionFault(
            "ids_missing",
            f"Algún número de tu cuenta de ContaDigital está mal escrito{f': {names}' if names else ''}.",
            explain("ids_missing").fix,
            "; ".join(problems)[:500],
            field="ids",
        )


def _text(value: object) -> str:
    """Return what Apunto holds of an account as text that can be kept; nothing for nothing."""
    return str(untrusted.storable(str(value))) if value is not None else ""


def _fault(reason: Any, detail: str, cause: str = "") -> ConnectionFault:
    words = explain(reason, cause)
    return ConnectionFault(reason, words.message, words.fix, detail, cause)


def fingerprint(key: str, account: str) -> str:
    """Return what distinguishes two keys of an account without holding either."""
    return hmac.new(account.encode(), key.encode(), hashlib.sha256).hexdigest()


def _short(account: str) -> str:
    return hashlib.sha256(account.encode()).hexdigest()[:12]


def _hosts(tools: Tools) -> frozenset[str]:
    return tools.policy.allowed_hosts


__all__ = ["ConnectRequest", "NoAccount", "connect", "disconnect", "probe", "validate"]
