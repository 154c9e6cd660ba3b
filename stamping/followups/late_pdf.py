"""The PDF that was not there when the invoice was stamped: asked for again, ever less often, for a week."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from models.tables import documents, invoices
from models.vocabulary import AttemptOutcome, Call, DocumentKind
from stamping import notify, retries
from stamping.followups.lease import FollowUp, event_of, take, wait
from stamping.prepare import prepare_lookup
from stamping.retries import FAILED_CALL, Next
from stamping.store_documents import Subject, is_known, store_pdf
from stamping.texts import PDF_MISSING
from stamping.tools import Tools

ASKED_FOR = timedelta(days=7)
"""For how long a PDF is asked for; after that the user learns it, and `timbrado documents` can still fetch it."""


def fetch_pdf(invoice_id: UUID, tools: Tools) -> bool:
    """Fetch a PDF that was late; True once it is stored. A failure only means: later."""
    late = take(invoice_id, invoices.c.pdf_due_at, tools)
    if late is None:
        return False
    with tools.engine.begin() as db:
        if is_known(db, invoice_id, DocumentKind.PDF):
            late.set(db, None)
            return True
    try:
        stored = late.ask(Call.DOCUMENT, lambda: _fetched(late))
    except FAILED_CALL as error:
        failure = retries.decide(error)
        if failure.next is Next.HOLD:
            late.break_connection(failure)
            return False
        return _not_yet(late)
    if stored is None:
        late.note(AttemptOutcome.NO, "no PDF yet")
        return _not_yet(late)
    now = tools.clock.now()
    with tools.engine.begin() as db:
        late.close(db)
        if is_known(db, invoice_id, DocumentKind.PDF):
            late.set(db, None)
            return True
        db.execute(sa.insert(documents).values(**stored, invoice_id=invoice_id, stored_at=now))
        row = late.set(db, None, followup_tries=0, version=invoices.c.version + 1, updated_at=now)
        notify.invoice(
            db, row, tools, "invoice.documents_ready", documents=notify.stored_documents(db, invoice_id)
        )
    return True


def _fetched(late: FollowUp) -> dict[str, Any] | None:
    row, tools = late.row, late.tools
    if late.is_elsewhere:
        return None  # at another address the same Id is another invoice
    prepared = prepare_lookup(late.claimed, tools)
    record = tools.provider.look_up(prepared.credentials, row.record_id)
    if record.uuid is not None and record.uuid != row.uuid.upper():
        return None
    pdf = record.pdf
    if pdf is None and record.pdf_link:
        pdf = tools.provider.document(prepared.credentials, record.pdf_link)
    return store_pdf(Subject(row.account, row.id, row.fecha), row.uuid, pdf, tools) if pdf else None


def _not_yet(late: FollowUp) -> bool:
    """Ask again later, ever less often; after a week say that ContaDigital gives none."""
    row, tools = late.row, late.tools
    now = tools.clock.now()
    with tools.engine.begin() as db:
        late.close(db)
        if now - row.stamped_at < ASKED_FOR:
            late.set(db, now + wait(row.followup_tries), followup_tries=invoices.c.followup_tries + 1)
            return False
        row = late.set(db, None, followup_tries=0, version=invoices.c.version + 1, updated_at=now)
        notify.invoice(
            db,
            row,
            tools,
            event_of(row),
            variant="pdf_missing",
            errors=[PDF_MISSING],
            documents=notify.stored_documents(db, row.id),
        )
    return False
