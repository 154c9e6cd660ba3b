"""Whom a message is about, and what of it can be kept: values that came from outside and may be anything.

A Celery message is JSON, and JSON holds what PostgreSQL refuses (NUL, half of a surrogate pair, NaN). Such a value must
neither keep a message from being stored nor an event from being emitted.
"""

import json
import math
import re
from datetime import UTC, datetime
from typing import Any

MAX_ID = 200  # characters of `account` and of `external_id`
SENT_AT = "sent_at"
"""The header in which a sender says when it sent a message: RFC 3339."""
ARRIVED_AT = "timbrado-arrived-at"
"""The header that notes when a message without a sending time first came to a worker."""


def is_name(value: object) -> bool:
    """Whether a value can be one of Apunto's ids: text that a person can read, and not too long."""
    return isinstance(value, str) and bool(value.strip()) and len(value) <= MAX_ID and value.isprintable()


def pair(account: object, external_id: object) -> tuple[str, str] | None:
    """Return (account, external_id) where both are usable as a key; None where nobody could be answered."""
    if is_name(account) and is_name(external_id):
        return str(account), str(external_id)
    return None


def storable(value: Any) -> Any:
    """Return a JSON value as PostgreSQL can keep it: what it refuses is written out as text, not dropped."""
    return value if _REFUSED.search(json.dumps(value, default=str)) is None else _written_out(value)


_REFUSED = re.compile(r"\\u(?:0000|d[89a-f])|NaN|Infinity")
"""What JSON shows of a value that may be refused: also a whole pair, or such a word in a text, is looked at closely."""


def _written_out(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\x00", "\\u0000").encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_written_out(str(name)): _written_out(each) for name, each in value.items()}
        case list():
            return [_written_out(each) for each in value]
        case float() if not math.isfinite(value):
            return str(value)
        case _:
            return value


def instant(value: object) -> datetime | None:
    """Return the instant that a message says, as text of RFC 3339 or as seconds since 1970; None for anything else."""
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
    except (ValueError, OverflowError, OSError):
        return None
    if not isinstance(found, datetime):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
