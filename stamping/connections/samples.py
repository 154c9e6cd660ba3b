"""Answers that were not understood: one redacted sample per connection and call, the newest."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from contadigital.answer_shape import sample_of
from contadigital.client import KeepSample
from contadigital.records import Credentials
from contadigital.replies import Reply
from models.tables import answer_samples, connections


def keeper(engine: sa.Engine, now: Callable[[], datetime]) -> KeepSample:
    """Return what the client calls with an answer that it did not understand; it never fails."""

    def keep(credentials: Credentials, reply: Reply) -> None:
        facts = {"http_status": reply.status, "sample": sample_of(reply), "at": now()}
        owner = sa.select(connections.c.id).where(connections.c.account == credentials.account)
        with suppress(sa.exc.SQLAlchemyError), engine.begin() as db:
            connection_id = db.execute(owner).scalars().first()
            if connection_id is not None:
                db.execute(
                    insert(answer_samples)
                    .values(connection_id=connection_id, call=reply.call, **facts)
                    .on_conflict_do_update(
                        index_elements=[answer_samples.c.connection_id, answer_samples.c.call], set_=facts
                    )
                )

    return keep


def of_account(db: sa.Connection, account: str) -> list[dict[str, Any]]:
    """Return the samples of an account's connection, the newest first."""
    return _read(db, connections.c.account == account)


def since(db: sa.Connection, at: datetime) -> list[dict[str, Any]]:
    """Return what came since then from whichever account (`account` says whose it is), the newest first."""
    return _read(db, answer_samples.c.at >= at)


def _read(db: sa.Connection, which: sa.ColumnElement[bool]) -> list[dict[str, Any]]:
    columns = ("call", "http_status", "sample", "at")
    rows = db.execute(
        sa.select(connections.c.account, *(answer_samples.c[name] for name in columns))
        .join(connections, connections.c.id == answer_samples.c.connection_id)
        .where(which)
        .order_by(answer_samples.c.at.desc())
    )
    return [dict(row._mapping) for row in rows]  # SQLAlchemy's own name for it
