"""The durable door: submissions that a client wrote in its own transaction, taken in even if no message ever comes.

The inbox may lie in the caller's own database. A row is marked as taken only after its invoice is safe in ours, and
taking one in twice is harmless: the pair (account, external_id) sees to that.
"""

from collections.abc import Iterator

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError

from models.tables import inbox
from stamping import accept, cancel, retry
from stamping.tools import Tools

log = structlog.get_logger(__name__)
BATCH = 100


def take(tools: Tools) -> Iterator[accept.Accepted | accept.Settled]:
    """Take in what waits, row by row; two at once do not take the same."""
    for _ in range(BATCH):
        with tools.inbox_engine.begin() as theirs:
            row = theirs.execute(
                sa.select(inbox)
                .where(inbox.c.taken_at.is_(None))
                .order_by(inbox.c.created_at)
                .limit(1)
                .with_for_update(skip_locked=True)
            ).one_or_none()
            if row is None:
                return
            try:
                taken = _take_one(row, tools)
            except DBAPIError:
                raise
            except Exception:
                # a bug of ours must not stop all that comes behind it
                log.exception("inbox_row_kept_aside", row=str(row.id))
                taken = accept.keep_aside(row.payload, tools, trace_id=row.trace_id)
            theirs.execute(sa.update(inbox).where(inbox.c.id == row.id).values(taken_at=sa.func.now()))
        yield taken


def _take_one(row: sa.Row[object], tools: Tools) -> accept.Accepted | accept.Settled:
    if row.kind == "submit":
        return accept.submit(row.payload, tools, trace_id=row.trace_id)
    return _other(row, tools)


def _other(row: sa.Row[object], tools: Tools) -> accept.Settled:
    payload = row.payload if isinstance(row.payload, dict) else {}
    account, external_id = str(payload.get("account")), str(payload.get("external_id"))
    sustitucion = payload.get("uuid_sustitucion")
    if row.kind == "cancel":
        cancel.request(
            account,
            external_id,
            str(payload.get("motivo")),
            str(sustitucion) if sustitucion is not None else None,
            tools,
            trace_id=row.trace_id,
        )
    else:
        retry.retry(account, external_id, tools)
    return accept.Settled(None, account, row.kind)
