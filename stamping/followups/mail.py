"""The mail that ContaDigital sends to the addresses of `send_to` once an invoice is stamped."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from contadigital.errors import ContaDigitalError
from models.tables import attempts as attempts_table
from models.tables import invoices
from models.vocabulary import AttemptOutcome, Call, InvoiceStatus
from stamping import notify, retries
from stamping.followups.lease import FollowUp, event_of, take, wait
from stamping.prepare import prepare_lookup
from stamping.retries import Next
from stamping.texts import mail_failed
from stamping.tools import Tools

MOST_REFUSALS = 6
"""Refusals of one address before it is given up: within some ten minutes, so that a misspelled one is soon known."""
TRIED_FOR = timedelta(days=1)
"""For how long a mail is tried while ContaDigital does not answer."""
MAILS = InvoiceStatus.STAMPED, InvoiceStatus.CANCELLING
"""Statuses in which the documents are worth mailing: they stand for something."""


def send_mail(invoice_id: UUID, tools: Tools) -> bool:
    """Have ContaDigital mail the documents to each address of `send_to`; a failure is an event, and changes nothing.

    An address that has its mail is left alone while others are tried again. One whose answer was lost is tried again
    too: two mails are better than none.
    """
    mail = take(invoice_id, invoices.c.mail_due_at, tools)
    if mail is None:
        return False
    row = mail.row
    if row.status not in MAILS or mail.is_elsewhere:
        with tools.engine.begin() as db:
            mail.set(db, None)
        return False
    prepared = prepare_lookup(mail.claimed, tools)
    failed: list[int] = []
    least = timedelta(0)
    for place, address in addresses_of(row.content):
        mark = _mark(place, address)
        if _was_mailed(row, mark, tools):
            continue
        try:
            mail.ask(
                Call.MAIL,
                lambda address=address: tools.provider.send_mail(  # type: ignore[misc]  # a lambda's default has no type
                    prepared.credentials, row.record_id, address
                ),
                mark=mark,
            )
        except ContaDigitalError as error:
            failure = retries.decide(error)
            if failure.next is Next.HOLD:
                mail.break_connection(failure)
                return False
            failed.append(place)
            least = max(least, failure.wait or timedelta(0))
        with tools.engine.begin() as db:
            mail.close(db)
    return _mailed(mail, failed, least)


def _mailed(mail: FollowUp, failed: list[int], least: timedelta) -> bool:
    row, tools = mail.row, mail.tools
    now = tools.clock.now()
    with tools.engine.begin() as db:
        if not failed:
            mail.set(db, None)
            return True
        tries, refusals = _in_vain(db, row)
        if refusals < MOST_REFUSALS and now - row.stamped_at < TRIED_FOR:
            mail.set(db, now + max(wait(tries - 1), least))
            return False
        row = mail.set(db, None, version=invoices.c.version + 1, updated_at=now)
        notify.invoice(
            db,
            row,
            tools,
            event_of(row),
            variant="mail_failed",
            errors=[mail_failed(place) for place in failed],
            documents=notify.stored_documents(db, row.id),
        )
    return False


def addresses_of(content: dict[str, Any]) -> list[tuple[int, str]]:
    """Return each address of `send_to` once, with its place there; case does not make two of one, blanks none."""
    found: dict[str, tuple[int, str]] = {}
    for place, address in enumerate(content.get("send_to") or ()):
        if not address.strip():
            continue
        found.setdefault(address.strip().casefold(), (place, address.strip()))
    return list(found.values())


def _mark(place: int, address: str) -> str:
    """Name an address in the timeline without writing it down: `send_to[0] c***@ejemplo.mx`."""
    name, _, host = address.partition("@")
    return f"send_to[{place}] {name[:1]}***@{host}"


def _was_mailed(row: sa.Row[Any], mark: str, tools: Tools) -> bool:
    with tools.engine.begin() as db:
        return (
            db.execute(
                sa.select(attempts_table.c.id).where(
                    attempts_table.c.invoice_id == row.id,
                    attempts_table.c.call == Call.MAIL,
                    attempts_table.c.outcome == AttemptOutcome.DONE,
                    attempts_table.c.detail == mark,
                )
            ).first()
            is not None
        )


def _in_vain(db: sa.Connection, row: sa.Row[Any]) -> tuple[int, int]:
    """Return how often the address that failed most was tried in vain, and how often one was refused."""
    tries = sa.func.count()
    refusals = sa.func.count().filter(attempts_table.c.outcome == AttemptOutcome.REFUSED)
    counted = (
        sa.select(tries.label("tries"), refusals.label("refusals"))
        .where(
            attempts_table.c.invoice_id == row.id,
            attempts_table.c.call == Call.MAIL,
            sa.or_(attempts_table.c.outcome.is_(None), attempts_table.c.outcome != AttemptOutcome.DONE),
        )
        .group_by(sa.func.split_part(attempts_table.c.detail, " ", 1))
        .subquery()
    )
    found = db.execute(sa.select(sa.func.max(counted.c.tries), sa.func.max(counted.c.refusals))).one()
    return found[0] or 0, found[1] or 0
