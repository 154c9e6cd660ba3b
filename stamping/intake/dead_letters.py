"""Messages in which no request could be read, or that met a bug: kept whole, listed, and sent again by a person.

All of a message is kept but an API key, encrypted or not: `disconnect` promises to forget it for good.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import uuid_utils.compat as uuids
from sqlalchemy.dialects.postgresql import insert

from cfdi.faults import Fault
from contadigital.pasted_key import FERNET_TOKEN
from models.tables import dead_letters
from stamping import notify
from stamping.intake import untrusted
from stamping.tools import Tools

HIDDEN = "(hidden)"
MAX_TEXT = 1_000_000
"""Characters that are kept of what can't be written as JSON."""
TOO_DEEP = Fault(
    code="timbrado.demasiados_niveles",
    field="",
    message="Apunto envió algo que no es una factura.",
    fix="No es culpa tuya: escribe a soporte de Apunto.",
    source="timbrado",
    detail="nested too deeply to be read",
)
OTHER_ARGUMENTS = Fault(
    code="timbrado.mensaje_desconocido",
    field="",
    message="Apunto envió algo que el servicio de timbrado no puede leer; lo guardamos.",
    fix="No es culpa tuya: escribe a soporte de Apunto.",
    source="timbrado",
    detail="an argument that this task needs is missing, or it takes none of that name",
)
OUR_BUG = Fault(
    code="timbrado.error_interno",
    field="",
    message="No pudimos procesar la factura por un error nuestro; la guardamos y soporte la revisa.",
    fix="No la envíes de nuevo: escribe a soporte de Apunto si es urgente.",
    source="timbrado",
)


@dataclass(frozen=True)
class Origin:
    """Where a message came from: the task it named, its queue, and its body's bytes where they are no arguments."""

    task: str = ""
    queue: str = ""
    body: bytes | None = None


def store(
    raw: Any,
    tools: Tools,
    *,
    faults: Sequence[Fault] = (OUR_BUG,),
    reason: str = "",
    origin: Origin = Origin(),
    trace_id: str | None = None,
) -> UUID | None:
    """Keep a message, once, and emit what is wrong with it; None where it is kept already.

    `reason` is for operators, in English. One that was sent again and came back waits for a person again.
    """
    now = tools.clock.now()
    try:
        bare = without_keys(raw)
        text = json.dumps(bare, sort_keys=True, ensure_ascii=False, default=str)
        message = untrusted.storable(bare)
    except (RecursionError, TypeError):  # too deep, or names that can't be put in order: no JSON of ours
        text = message = FERNET_TOKEN.sub(HIDDEN, repr(raw))[:MAX_TEXT]
    body = _FERNET_BYTES.sub(HIDDEN.encode(), origin.body) if origin.body is not None else None
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace") + (body or b"")).hexdigest()
    errors = untrusted.storable([fault.as_dict() for fault in faults])
    with tools.engine.begin() as db:
        written = db.execute(
            insert(dead_letters)
            .values(
                id=uuids.uuid7(),
                message=message if isinstance(message, dict) else {"message": untrusted.storable(message)},
                message_hash=digest,
                errors=errors,
                task=untrusted.storable(origin.task)[: untrusted.MAX_ID] or None,
                queue=untrusted.storable(origin.queue)[: untrusted.MAX_ID] or None,
                body=body,
                reason=reason or None,
                created_at=now,
            )
            .on_conflict_do_update(
                index_elements=[dead_letters.c.message_hash], set_={"resent_at": None, "created_at": now}
            )
            .returning(dead_letters.c.id, sa.literal_column("xmax = 0").label("is_new"))
        ).one()
        if written.is_new:
            notify.unreadable(db, written.id, raw, errors, tools, now, trace_id)
    return written.id if written.is_new else None


def without_keys(value: Any) -> Any:
    """Return a message without the API keys in it, wherever its sender put them, and encrypted or not."""
    match value:
        case dict():
            return {
                name: without_keys(each) for name, each in value.items() if not _KEY_NAME.search(str(name))
            }
        case list() | tuple():
            return [without_keys(each) for each in value]
        case str():
            return FERNET_TOKEN.sub(HIDDEN, value)
        case _:
            return value


_KEY_NAME = re.compile(r"(?i)api[_-]?key")
_FERNET_BYTES = re.compile(FERNET_TOKEN.pattern.encode())


# --- what a person does with them ------------------------------------------------------------------------------------


def waiting(db: sa.Connection, *, limit: int = 100) -> Sequence[sa.Row[Any]]:
    """Return the newest letters that were not sent again, without their content."""
    columns = ("id", "task", "queue", "reason", "errors", "created_at")
    return db.execute(
        sa.select(*(dead_letters.c[name] for name in columns))
        .where(dead_letters.c.resent_at.is_(None))
        .order_by(dead_letters.c.created_at.desc())
        .limit(limit)
    ).all()


def one(db: sa.Connection, letter_id: UUID) -> sa.Row[Any] | None:
    """Return one letter, with its content; None where there is none."""
    return db.execute(sa.select(dead_letters).where(dead_letters.c.id == letter_id)).one_or_none()


def lacks_a_key(letter: sa.Row[Any]) -> bool:
    """Whether an API key was taken out of a letter, so that sending it again could connect nothing."""
    return letter.task == "stamping.connect" or HIDDEN in json.dumps(letter.message)


def mark_resent(db: sa.Connection, letter_id: UUID, tools: Tools) -> None:
    """Note that a letter was sent again."""
    db.execute(
        sa.update(dead_letters).where(dead_letters.c.id == letter_id).values(resent_at=tools.clock.now())
    )
