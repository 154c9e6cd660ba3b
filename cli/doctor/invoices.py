"""What the doctor reads of the work in the tables: the provider's outages and waits, and invoices that are overdue."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from cli import format
from cli.doctor import database
from cli.doctor.findings import CheckResults, bad, ok, warn
from cli.doctor.installation import Installation
from models.tables import answer_samples, connections, invoices, providers
from models.vocabulary import DUE, OPEN, FailedReason, InvoiceStatus

LATE = timedelta(minutes=2)
"""Past its time by this much, an unclaimed invoice means that a process does not run."""
HURRY = timedelta(hours=6)
NEWS = timedelta(days=1)
"""An answer that was not understood is reported for so long."""


def check_provider(installation: Installation) -> CheckResults:
    """Name the providers that are taken for down, the waits that they asked for, and answers nobody understood."""
    now = installation.shared(database.clock).now()
    with installation.shared(database.engine).connect() as db:
        down = list(db.execute(sa.select(providers).where(providers.c.opened_at.is_not(None))))
        slowed = list(
            db.execute(
                sa.select(connections.c.account, connections.c.throttled_until)
                .where(connections.c.throttled_until > now)
                .order_by(connections.c.throttled_until.desc())
            )
        )
        unread = list(
            db.execute(
                sa.select(connections.c.account, answer_samples.c.call, answer_samples.c.at)
                .join(connections, connections.c.id == answer_samples.c.connection_id)
                .where(answer_samples.c.at > now - NEWS)
                .order_by(answer_samples.c.at.desc())
            )
        )
    for row in down:
        yield warn(
            "provider",
            f"{row.base_url} has not answered since {format.at(row.opened_at)}; asked again "
            f"{format.ago(row.next_probe_at, now)}",
            "nothing here: one invoice at a time asks, and what waits goes on by itself",
        )
    if slowed:
        cap = format.span(installation.settings.longest_retry_after)
        yield warn(
            "provider",
            f"{_names(slowed)} must wait, {slowed[0].account} until {format.at(slowed[0].throttled_until)} "
            f"(HTTP 429; what asks for more than {cap} is cut to that)",
            "nothing here: they go on by themselves",
        )
    if unread:
        yield warn(
            "provider",
            f"answers to {', '.join(sorted({row.call for row in unread}))} were not understood, of {_names(unread)}, "
            f"the last {format.ago(unread[0].at, now)}",
            f"timbrado connections {unread[0].account} shows what they looked like; then docs/dialect.md",
        )
    if not down:
        yield ok("provider", "no outage is known")


def _names(rows: Sequence[Any]) -> str:
    accounts = list(dict.fromkeys(row.account for row in rows))
    return (
        format.count(len(accounts), "account")
        + f" ({', '.join(accounts[:3])}{' ...' if accounts[3:] else ''})"
    )


def check_invoices(installation: Installation) -> CheckResults:
    """Find what is overdue, what is urgent and what needs a person."""
    now = installation.shared(database.clock).now()

    def count(*which: Any) -> int:
        return int(
            db.execute(
                sa.select(sa.func.count())
                .select_from(invoices.outerjoin(connections, connections.c.account == invoices.c.account))
                .where(*which)
            ).scalar_one()
        )

    usable = (connections.c.status == "active", connections.c.paused.is_(False))
    with installation.shared(database.engine).connect() as db:
        waiting = count(invoices.c.status.in_(sorted(OPEN)))
        claims = count(invoices.c.claimed_until < now - LATE)
        due = count(
            invoices.c.status.in_(sorted(DUE)),
            invoices.c.next_attempt_at < now - LATE,
            invoices.c.enqueued_at.is_(None),
            *usable,
            sa.or_(connections.c.throttled_until.is_(None), connections.c.throttled_until < now - LATE),
        )
        late = count(
            invoices.c.status.in_(sorted(OPEN)),
            invoices.c.expires_at < now + HURRY,
            invoices.c.expires_at > now,
        )
        doubts = count(
            invoices.c.status == InvoiceStatus.IN_DOUBT,
            invoices.c.doubt_since < now - 2 * installation.settings.doubt_quarantine,
        )
        person = count(
            invoices.c.status == InvoiceStatus.FAILED, invoices.c.reason == FailedReason.NEEDS_PERSON
        )
        differing = count(invoices.c.status == InvoiceStatus.DIFFERS)
    if claims:
        yield bad(
            "invoices",
            f"{claims} claims ran out and were not ended",
            "the sweep does not run: look at beat and workers above",
        )
    if due:
        yield bad(
            "invoices",
            f"{due} are due for more than {format.span(LATE)} and were not enqueued",
            "the sweep does not run: look at beat and workers above",
        )
    if late:
        yield warn(
            "invoices",
            f"{late} have less than {format.span(HURRY)} of the SAT's 72 hours left",
            "timbrado list --status open, and see what keeps them",
        )
    if doubts:
        yield warn(
            "invoices",
            f"{doubts} are in doubt for more than twice the quarantine",
            "timbrado list --status in_doubt; each one's `timbrado status` shows what it waits for",
        )
    if person:
        yield warn(
            "invoices",
            f"{person} need a person",
            "timbrado list --status failed; then `timbrado status` of each",
        )
    if differing:
        yield warn(
            "invoices",
            f"{differing} are stamped with a CFDI that differs from what was sent",
            "timbrado list --status differs; then `timbrado accept` or `timbrado cancel` each",
        )
    if not (claims or due):
        yield ok("invoices", f"{waiting:,} open, none overdue")
