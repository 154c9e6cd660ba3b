"""A follow-up of a stamp (the late PDF, the mail) in one worker's hands, without touching the invoice's status.

A follow-up is a due time on the invoice. Taking it moves that time past the lease, so that two workers never both have
it; whoever is done sets the next one. A refused key breaks the connection here as anywhere: a follow-up that kept
trying it alone could have the account locked.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa

from contadigital.errors import ContaDigitalError
from models.tables import CONNECTION_COLUMNS, connections, invoices
from models.vocabulary import HAS_UUID, AttemptOutcome, Call, ConnectionStatus, InvoiceStatus
from stamping import attempts, retries
from stamping.attempts import Ended
from stamping.claims import Claimed
from stamping.connections import suspend
from stamping.retries import FAILED_CALL, Failure
from stamping.tools import Tools

T = TypeVar("T")
FIRST = timedelta(seconds=5)
CAP = timedelta(hours=6)


@dataclass
class FollowUp:
    """A follow-up that is ours until its lease runs out, and how its last call ended."""

    claimed: Claimed
    due: sa.Column[Any]
    tools: Tools
    ended: Ended = attempts.NO_CALL

    @property
    def row(self) -> sa.Row[Any]:
        """The invoice."""
        return self.claimed.invoice

    @property
    def is_elsewhere(self) -> bool:
        """Whether its record's Id was issued at another address than the connection has now."""
        return self.row.record_base_url not in (None, self.claimed.connection.base_url)

    def ask(self, call: Call, send: Callable[[], T], *, mark: str | None = None) -> T:
        """Write that a call is made, make it, and remember how it ended; `mark` stands at the start of its detail."""
        number = self._begin(call, mark)
        began = time.monotonic()

        def ended(outcome: AttemptOutcome, detail: str | None, failure: Failure | None = None) -> Ended:
            return Ended(
                number,
                outcome,
                failure.http_status if failure is not None else None,
                failure.codigo if failure is not None else None,
                round((time.monotonic() - began) * 1000),
                detail,
            )

        try:
            answer = send()
        except FAILED_CALL as error:
            failure = retries.decide(error)
            outcome = failure.outcome if isinstance(error, ContaDigitalError) else AttemptOutcome.NO
            text = f"{mark}: {failure.text}" if mark else failure.text
            self.ended = ended(outcome, text, failure)
            raise
        self.ended = ended(AttemptOutcome.DONE, mark)
        return answer

    def note(self, outcome: AttemptOutcome, detail: str) -> None:
        """Say otherwise how the last call ended."""
        self.ended = replace(self.ended, outcome=outcome, detail=detail)

    def _begin(self, call: Call, detail: str | None) -> int:
        row, now = self.row, self.tools.clock.now()
        with self.tools.engine.begin() as db:
            number: int = db.execute(
                sa.update(invoices)
                .where(invoices.c.id == row.id)
                .values(calls=invoices.c.calls + 1)
                .returning(invoices.c.calls)
            ).scalar_one()
            attempts.write(
                db,
                row.id,
                number,
                call,
                self.tools,
                now,
                claim=row.claim,
                record_id=row.record_id,
                detail=detail,
            )
        return number

    def close(self, db: sa.Connection) -> None:
        """Write how the last call ended."""
        attempts.end(
            db, self.row.id, self.ended, self.tools, self.tools.clock.now(), trace_id=self.row.trace_id
        )

    def set(self, db: sa.Connection, at: datetime | None, **values: Any) -> sa.Row[Any]:
        """Let go of it: due again at an instant, or done with None."""
        return db.execute(
            sa.update(invoices)
            .where(invoices.c.id == self.row.id)
            .values(
                {self.due: at, invoices.c.enqueued_at: None, **{invoices.c[n]: v for n, v in values.items()}}
            )
            .returning(*invoices.c)
        ).one()

    def break_connection(self, failure: Failure) -> None:
        """The refusal concerns the account: its connection breaks, once, and the follow-up waits for it."""
        now = self.tools.clock.now()
        with self.tools.engine.begin() as db:
            self.close(db)
            self.set(db, now + suspend.CONNECTION_BACK)
            suspend.break_for(db, self.claimed, failure, self.tools, now)
        suspend.put_on_hold(self.row.account, self.tools)


def take(invoice_id: UUID, due: sa.Column[Any], tools: Tools) -> FollowUp | None:
    """Take a follow-up that is due, under a lease; None where it is not, or its connection can't be used now."""
    now = tools.clock.now()
    with tools.engine.begin() as db:
        row = db.execute(
            sa.update(invoices)
            .where(invoices.c.id == invoice_id, due <= now, invoices.c.status.in_(sorted(HAS_UUID)))
            .values({due: now + tools.policy.lease, invoices.c.enqueued_at: None})
            .returning(*invoices.c)
        ).one_or_none()
        if row is None:
            return None
        connection = db.execute(
            sa.select(*CONNECTION_COLUMNS).where(
                connections.c.account == row.account, connections.c.status == ConnectionStatus.ACTIVE
            )
        ).one_or_none()
        if connection is None:  # nothing was tried, so nothing is counted
            FollowUp(Claimed(row, row), due, tools).set(db, now + suspend.CONNECTION_BACK)
            return None
    return FollowUp(Claimed(row, connection), due, tools)


def wait(tries: int) -> timedelta:
    """Return the wait after so many failed tries (from 0): five seconds, then three times as long each time."""
    return min(CAP, FIRST * float(3 ** max(0, min(tries, 9))))


def event_of(row: sa.Row[Any]) -> str:
    """Return the event of an invoice that has its stamp, whatever became of it since."""
    match row.status:
        case InvoiceStatus.CANCELLED:
            return "invoice.cancelled"
        case InvoiceStatus.DIFFERS:
            return "invoice.differs"
        case _:
            return "invoice.stamped"
