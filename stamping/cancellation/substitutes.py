"""What makes an invoice the substitute of a stamped one: its relation, being the only one, and what its stamp cancels.

Two stamped substitutes of one invoice would both be valid.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.tables import invoices
from models.vocabulary import FailedReason, InvoiceStatus
from stamping.cancellation.begin import begin

SUBSTITUTED = "01"
"""Motivo of the cancellation of what was substituted."""
RELATION = "04"
"""TipoRelacion of a substitute (cfdi rules, section 6)."""


def begin_for_substitute(db: sa.Connection, substitute_id: UUID, now: datetime) -> UUID | None:
    """Have the invoice cancelled that this one, stamped in the same commit, replaces; None where it replaces none."""
    row = db.execute(
        sa.select(invoices.c.replaces_id, invoices.c.uuid).where(invoices.c.id == substitute_id)
    ).one()
    if row.replaces_id is None:
        return None
    return begin(db, row.replaces_id, SUBSTITUTED, row.uuid, now)


def related(invoice: dict[str, Any], uuid: str) -> dict[str, Any]:
    """Return a substitute with its relation 04 to the folio fiscal that it replaces, added where it is missing."""
    given = invoice.get("cfdi_relacionados") or []
    relations = list(given) if isinstance(given, list) else [given]
    for each in relations:
        if isinstance(each, dict) and each.get("tipo_relacion") == RELATION:
            uuids = each.get("uuids")
            if isinstance(uuids, list) and uuid in {str(one).strip().upper() for one in uuids}:
                return invoice
    relations.append({"tipo_relacion": RELATION, "uuids": [uuid]})
    return {**invoice, "cfdi_relacionados": relations[0] if len(relations) == 1 else relations}


def has_another_substitute(db: sa.Connection, replaced_id: UUID, external_id: str) -> bool:
    """Whether an invoice other than this one replaces it, or may: two stamped substitutes would both be valid.

    Whoever asks waits for others who ask of the same invoice, and holds its substitutes until the commit.
    """
    db.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(str(replaced_id), 0))))
    found = db.execute(
        sa.select(invoices.c.external_id, invoices.c.status, invoices.c.reason)
        .where(invoices.c.replaces_id == replaced_id)
        .with_for_update()
    )
    return any(
        each.external_id != external_id
        and each.status not in _GIVEN_UP
        and each.reason not in {FailedReason.EXPIRED, FailedReason.NOT_STAMPED}
        for each in found
    )


_GIVEN_UP = frozenset({InvoiceStatus.REJECTED, InvoiceStatus.WITHDRAWN, InvoiceStatus.CANCELLED})
