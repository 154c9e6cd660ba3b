"""What people did: who, to what, and why; it stays in the timeline."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.tables import actions
from stamping.intake import untrusted


def note(
    db: sa.Connection,
    action: str,
    *,
    actor: str,
    at: datetime,
    kind: str = "invoice",
    subject_id: UUID | None = None,
    account: str | None = None,
    reason: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write down what a person does, in the transaction that does it."""
    db.execute(
        sa.insert(actions).values(
            subject_kind=kind,
            subject_id=subject_id,
            account=account,
            action=action,
            actor=actor,
            reason=untrusted.storable(reason) if reason else None,
            detail=dict(detail) if detail else None,
            at=at,
        )
    )
