"""What a person or a program does to an invoice, a connection or an event: the tasks' own functions, and who did it.

Each is committed before this returns; then messages are sent where the broker answers, and the sweep sends the rest.
"""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from api.context import ONCE, ApiContext, NamedRequest
from api.keys import Key
from api.problems import HttpProblem
from events import channels, dispatch, outbox
from models.tables import connections, events, invoices
from models.vocabulary import HAS_UUID, InvoiceStatus
from stamping.cancellation import cancel as cancellation
from stamping.cancellation import reasons
from stamping.cancellation import replace as substitution
from stamping.connections import connect as connecting
from stamping.intake import decisions, operator_retry, untrusted
from stamping.intake import withdraw as withdrawing
from stamping.intake.operator_retry import CommandResult
from stamping.intake.submit import Accepted, Settled, submit
from stamping.texts import NO_DECISION_OPEN, moves_away
from stamping.timeline import actions

NOT_FOUND = "There is no such invoice."


def find(db: sa.Connection, key: Key, account: str, external_id: str) -> sa.Row[Any]:
    """Return an invoice's row. Raises HttpProblem where the key's accounts have none."""
    names = untrusted.pair(account, external_id)
    row = None
    if names is not None and key.sees(account):
        row = db.execute(
            sa.select(invoices).where(invoices.c.account == account, invoices.c.external_id == external_id)
        ).one_or_none()
    if row is None:
        raise HttpProblem(404, NOT_FOUND, code="not_found")
    return row


def note(
    api: ApiContext,
    key: Key,
    action: str,
    *,
    kind: str,
    subject_id: UUID | None,
    account: str | None,
    reason: str | None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Keep who did what, and why."""
    with api.tools.engine.begin() as db:
        actions.note(
            db, action, actor=key.name, at=api.now(), kind=kind, subject_id=subject_id, account=account, reason=reason,
            detail=detail,
        )  # fmt: skip


def send(api: ApiContext, raw: Any, key: Key, asked: NamedRequest) -> Accepted | Settled:
    """Take an invoice in. Raises HttpProblem for an account that is not the key's."""
    account = raw.get("account") if isinstance(raw, dict) else None
    if isinstance(account, str) and not key.sees(account):
        raise HttpProblem(403, "This key may not send invoices of that account.", code="account_forbidden")
    about = untrusted.pair(account, raw.get("external_id")) if isinstance(raw, dict) else None
    message = asked.message(key, "submit", api.now(), *about) if about is not None else None
    return submit(raw, api.tools, message=message, trace_id=asked.trace_id)


def enqueue_accepted(api: ApiContext, taken: Accepted | Settled) -> None:
    """Have what was taken in stamped now, and what was emitted sent."""
    if isinstance(taken, Accepted) and taken.enqueue:
        api.enqueue("stamping.stamp_invoice", [taken.invoice_id], "stamp.bulk" if taken.bulk else "stamp")
    api.enqueue("stamping.deliver_events", [], None)


def retry(
    api: ApiContext, key: Key, account: str, external_id: str, reason: str | None, asked: NamedRequest = ONCE
) -> None:
    """Try again what stopped. Raises HttpProblem where there is nothing to try."""
    with api.reading() as db:
        row = find(db, key, account, external_id)
    message = asked.message(key, "retry", api.now(), account, external_id)
    verdict = operator_retry.retry(account, external_id, api.tools, message=message)
    _go_on(api, key, "retry", row, verdict, reason, "nothing_to_retry")


def _go_on(
    api: ApiContext,
    key: Key,
    action: str,
    row: sa.Row[Any],
    verdict: CommandResult,
    reason: str | None,
    code: str,
) -> None:
    """Note what was done and enqueue what follows. Raises HttpProblem where it was refused."""
    api.enqueue("stamping.deliver_events", [], None)
    if verdict.is_repeated:
        return
    if not verdict.done:
        raise HttpProblem(409, verdict.text, code=code, errors=[each.as_dict() for each in verdict.faults])
    note(api, key, action, kind="invoice", subject_id=row.id, account=row.account, reason=reason)
    if verdict.task is not None:
        api.enqueue(verdict.task, [verdict.invoice_id] if verdict.invoice_id else [], None)


def cancel(
    api: ApiContext,
    key: Key,
    account: str,
    external_id: str,
    *,
    motivo: str | None,
    uuid_sustitucion: str | None,
    reason: str | None,
    asked: NamedRequest = ONCE,
) -> None:
    """Ask for a cancellation before the SAT. Raises HttpProblem where it cannot be asked for."""
    message = asked.message(key, "cancel", api.now(), account, external_id)
    with api.reading() as db:
        row = find(db, key, account, external_id)
        if row.status not in HAS_UUID:
            raise HttpProblem(
                409,
                "It is not stamped.",
                code="not_stamped",
                errors=[reasons.not_stamped(row.status, row.reason).as_dict()],
            )
        substitute = uuid_sustitucion.upper() if uuid_sustitucion else None
        if row.status in {InvoiceStatus.STAMPED, InvoiceStatus.DIFFERS}:
            faults = reasons.check(db, row, motivo, substitute)
        else:  # asked for before: the same again only reads where it stands
            faults = reasons.check_form(motivo, substitute)
        if faults:
            detail = "The cancellation cannot be asked for like this."
            raise HttpProblem(422, detail, code="cancellation", errors=[fault.as_dict() for fault in faults])
    invoice_id = cancellation.request(
        account, external_id, motivo, uuid_sustitucion, api.tools, message=message
    )
    if invoice_id is not None:
        wanted = {"motivo": motivo, "uuid_sustitucion": uuid_sustitucion}
        note(
            api,
            key,
            "cancel",
            kind="invoice",
            subject_id=row.id,
            account=account,
            reason=reason,
            detail=wanted,
        )
        api.enqueue("stamping.settle_cancellation", [invoice_id], None)
    api.enqueue("stamping.deliver_events", [], None)


def replace(
    api: ApiContext,
    key: Key,
    account: str,
    external_id: str,
    invoice: Any,
    reason: str | None,
    asked: NamedRequest = ONCE,
) -> Accepted | Settled:
    """Take in the invoice that substitutes a stamped one. Raises HttpProblem where it cannot be replaced."""
    message = asked.message(key, "replace", api.now(), account, external_id)
    with api.reading() as db:
        row = find(db, key, account, external_id)
    taken = substitution.replace(
        account, external_id, invoice, api.tools, message=message, trace_id=asked.trace_id
    )
    if taken.invoice_id == row.id:  # refused: the event is the old one's
        with api.reading() as db:
            errors = newest_errors(db, row.id)
        raise HttpProblem(409, "It cannot be replaced like this.", code="not_replaced", errors=errors)
    detail = {"substitute": str(taken.invoice_id)}
    note(
        api, key, "replace", kind="invoice", subject_id=row.id, account=account, reason=reason, detail=detail
    )
    enqueue_accepted(api, taken)
    return taken


def newest_errors(db: sa.Connection, invoice_id: UUID) -> list[dict[str, Any]]:
    """Return the faults of an invoice's newest event: its row does not hold what another request was refused for."""
    data = db.execute(
        sa.select(events.c.data)
        .where(events.c.subject_id == invoice_id)
        .order_by(events.c.version.desc())
        .limit(1)
    ).scalar_one()
    return list(data.get("errors", ()))


def withdraw(
    api: ApiContext, key: Key, account: str, external_id: str, reason: str | None, asked: NamedRequest = ONCE
) -> None:
    """Take back what is not stamped. Raises HttpProblem where it cannot be."""
    with api.reading() as db:
        row = find(db, key, account, external_id)
    message = asked.message(key, "withdraw", api.now(), account, external_id)
    verdict = withdrawing.withdraw(account, external_id, api.tools, message=message)
    _go_on(api, key, "withdraw", row, verdict, reason, "not_withdrawn")


def accept(api: ApiContext, key: Key, account: str, external_id: str, reason: str) -> None:
    """Accept a stamp that differs from what was sent. Raises HttpProblem where there is nothing to accept."""
    _decide(api, key, account, external_id, lambda: decisions.accept(
        account, external_id, reason=reason, actor=key.name, tools=api.tools
    ))  # fmt: skip


def resolve(
    api: ApiContext, key: Key, account: str, external_id: str, reason: str, *, xml: str | None
) -> None:
    """Close what stands before a person: stamped, by its XML, or (None) certainly not. Raises HttpProblem."""
    _decide(api, key, account, external_id, lambda: decisions.resolve(
        account, external_id, stamped_xml=xml.encode() if xml is not None else None, reason=reason, actor=key.name,
        tools=api.tools,
    ))  # fmt: skip


def _decide(api: ApiContext, key: Key, account: str, external_id: str, decide: Callable[[], object]) -> None:
    api.now()
    with api.reading() as db:
        find(db, key, account, external_id)
    try:
        decide()
    except decisions.NotDecidedError as refused:
        faults = [fault.as_dict() for fault in refused.faults or (NO_DECISION_OPEN,)]
        raise HttpProblem(
            422 if refused.faults else 409, str(refused), code="not_decided", errors=faults
        ) from refused
    api.enqueue("stamping.deliver_events", [], None)


def connect(api: ApiContext, key: Key, account: str, facts: Mapping[str, Any]) -> None:
    """Store or replace a connection and validate it. Raises HttpProblem for an id that can be nobody's, and for a move
    that leaves open invoices behind and is not confirmed."""
    if not untrusted.is_name(account):
        raise HttpProblem(404, "There is no such account.", code="not_found")
    secret = facts.get("api_key")
    encrypted = facts.get("api_key_encrypted")
    if _is_text(secret):
        encrypted = api.tools.fernet.encrypt(str(secret).encode("utf-8", "surrogatepass")).decode()
    if not isinstance(encrypted, str):
        raise HttpProblem(400, "api_key must be a text.", code="bad_request")
    names = ("rfc", "razon_social", "codigo_postal", "empresa_id", "serie", "base_url", "ids")
    known = connecting.ConnectRequest.__dataclass_fields__
    given = {name: facts[name] for name in names if name in known and facts.get(name) not in (None, "")}
    if missing := [name for name in ("rfc", "razon_social", "codigo_postal") if name not in given]:
        raise HttpProblem(400, f"{', '.join(missing)} must be given.", code="bad_request")
    if not isinstance(given.get("ids", {}), dict):
        raise HttpProblem(400, "ids must be an object.", code="bad_request")
    if wrong := [
        name for name, each in given.items() if name not in {"ids", "empresa_id"} and not _is_text(each)
    ]:
        raise HttpProblem(400, f"{', '.join(wrong)} must be a text.", code="bad_request")
    if not isinstance(given.get("empresa_id", 0), int | str) or isinstance(given.get("empresa_id"), bool):
        raise HttpProblem(400, "empresa_id must be a number.", code="bad_request")
    if not isinstance(facts.get("move", False), bool):
        raise HttpProblem(400, "move must be true or false.", code="bad_request")
    api.now()
    left = connecting.left_behind(account, given.get("base_url"), given.get("empresa_id"), api.tools)
    if left and facts.get("move") is not True:
        raise HttpProblem(
            409,
            "This moves the account to another address or company, and leaves open invoices behind: repeat it with "
            "move: true, or wait until they are settled.",
            code="move_unconfirmed",
            errors=[moves_away(sum(left.values())).as_dict()],
            left_behind=left,
        )
    row = connecting.connect(
        connecting.ConnectRequest(account=account, api_key_encrypted=encrypted, **given), api.tools
    )
    note(api, key, "connect", kind="connection", subject_id=row.id, account=account, reason=None)
    _after_connection(api)


def validate(api: ApiContext, key: Key, account: str, reason: str | None = None) -> None:
    """Validate a connection again."""
    row = find_connection(api, key, account)
    api.now()
    connecting.validate(account, api.tools)
    note(api, key, "validate", kind="connection", subject_id=row.id, account=account, reason=reason)
    _after_connection(api)


def disconnect(api: ApiContext, key: Key, account: str, reason: str | None = None) -> None:
    """Forget a connection's key; its open invoices are put on hold."""
    row = find_connection(api, key, account)
    api.now()
    connecting.disconnect(account, api.tools)
    note(api, key, "disconnect", kind="connection", subject_id=row.id, account=account, reason=reason)
    _after_connection(api)


def set_paused(api: ApiContext, key: Key, account: str, *, paused: bool, reason: str | None) -> None:
    """Send nothing more for an account, or go on."""
    row = find_connection(api, key, account)
    with api.tools.engine.begin() as db:
        db.execute(
            sa.update(connections)
            .where(connections.c.id == row.id)
            .values(paused=paused, updated_at=api.now())
        )
    note(
        api, key, "hold" if paused else "release", kind="connection", subject_id=row.id, account=account, reason=reason
    )  # fmt: skip
    api.enqueue("stamping.sweep", [], None)


def replay(api: ApiContext, key: Key, event_id: UUID, reason: str | None) -> None:
    """Send one event again, over the installation's channels. Raises HttpProblem where the key's accounts have none."""
    now = api.now()
    with api.tools.engine.begin() as db:
        row = db.execute(sa.select(events.c.account).where(events.c.id == event_id)).one_or_none()
        if row is None or (row.account and not key.sees(row.account)):
            raise HttpProblem(404, "There is no such event.", code="not_found")
        over = channels.current(db)
        if not over:
            raise HttpProblem(409, "Events leave over no channel: the workers have none.", code="no_channel")
        for each in over:
            dispatch.enable(db, each, now)
        outbox.replay(db, event_id, channels=over, now=now)
    note(api, key, "replay", kind="event", subject_id=event_id, account=row.account, reason=reason)
    api.enqueue("stamping.deliver_events", [], None)


def find_connection(api: ApiContext, key: Key, account: str) -> Any:
    """Return a connection's row. Raises HttpProblem where the key's accounts have none."""
    row = None
    if key.sees(account) and untrusted.is_name(account):
        with api.reading() as db:
            row = db.execute(
                sa.select(connections.c.id, connections.c.status).where(connections.c.account == account)
            ).one_or_none()
    if row is None:
        raise HttpProblem(404, "There is no such connection.", code="not_found")
    return row


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\0" not in value


def _after_connection(api: ApiContext) -> None:
    api.enqueue("stamping.sweep", [], None)
    api.enqueue("stamping.deliver_events", [], None)
