"""Finds an invoice by whatever is known of it: id, UUID, trace id, external_id, or serie and folio."""

import re
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.tables import invoices

MOST = 20
"""Invoices returned at most: one text may be the folio of several accounts."""

_FOLIO = re.compile(r"([A-Za-zÑñ&]*?)[\s-]*(\d{1,40})")


def find(db: sa.Connection, text: str) -> list[tuple[str, str]]:
    """Return (account, external_id) of each invoice that `text` names, newest first.

    By invoice id or UUID it is one read of an index; by anything else the whole table is read.
    """
    text = text.strip()
    named = sa.select(invoices.c.account, invoices.c.external_id)
    if (uuid := _uuid(text)) is not None:
        by_id = sa.or_(invoices.c.id == uuid, invoices.c.uuid == str(uuid).upper())
        if found := _pairs(db, named.where(by_id)):
            return found
    others: list[sa.ColumnElement[bool]] = [
        invoices.c.external_id == text,
        invoices.c.trace_id == text.lower(),
    ]
    if (match := _FOLIO.fullmatch(text)) is not None:
        serie, folio = match.groups()
        by_serie = invoices.c.serie == serie.upper() if serie else sa.true()
        others.append(sa.and_(invoices.c.folio == folio, by_serie))
    return _pairs(db, named.where(sa.or_(*others)).order_by(invoices.c.created_at.desc()).limit(MOST))


def _pairs(db: sa.Connection, chosen: sa.Select[Any]) -> list[tuple[str, str]]:
    return [(row.account, row.external_id) for row in db.execute(chosen)]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
