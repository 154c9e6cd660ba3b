"""Headers of both sides of outbound HTTP: `Retry-After`, and the id that ties calls to a message."""

from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

LONGEST_WAIT = timedelta(minutes=30)
"""The longest wait that an answer can ask for, where no setting says otherwise (`TIMBRADO_LONGEST_RETRY_AFTER`).

A provider that writes milliseconds asks for 16 hours with `60000`; nobody's invoices may stand still for that.
"""

_trace: ContextVar[str | None] = ContextVar("net_trace", default=None)


def retry_after(value: str | None, now: datetime, *, longest: timedelta = LONGEST_WAIT) -> timedelta | None:
    """The wait of a `Retry-After`, in seconds or as a date, no longer than `longest`; None where unreadable."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=int(text) if len(text) < 10 else 10**9), longest)
    try:
        at = parsedate_to_datetime(text)
        wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(wait, timedelta(0)), longest)


def traced(trace_id: str | None) -> None:
    """Send this id along with what this thread asks from now on (`X-Request-Id`; may be ignored: assumed)."""
    _trace.set(trace_id if trace_id and trace_id.isascii() and trace_id.isprintable() else None)


def trace_headers() -> dict[str, str]:
    """The header that ties a call to the message it came from; none where nothing is traced."""
    trace_id = _trace.get()
    return {"X-Request-Id": trace_id[:100]} if trace_id else {}
