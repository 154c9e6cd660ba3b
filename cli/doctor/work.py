"""What the doctor checks of the work: stored keys, the provider, overdue invoices, deliveries, connections."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken

from cli import format
from cli.connections import summaries
from cli.doctor.findings import CheckResults, Installation, bad, ok, warn
from events import channels as installed
from events import endpoints
from events.outbox import backlogs
from models.tables import answer_samples, connections, invoices, providers
from models.vocabulary import DUE, OPEN, FailedReason, InvoiceStatus

LATE = timedelta(minutes=2)
"""Past its time by this much, an unclaimed invoice means that a process does not run."""
HURRY = timedelta(hours=6)
OLD_DELIVERY = timedelta(hours=1)

NEWS = timedelta(days=1)
"""An answer that was not understood is reported for so long."""
SHOWN = 200
"""Active connections that have a line of their own."""


def check_keys(installation: Installation) -> CheckResults:
    """Try to decrypt every stored API key."""
    newest = Fernet(installation.settings.encryption_keys[0].get_secret_value())
    with installation.tools.engine.connect() as db:
        stored = list(
            db.execute(
                sa.select(connections.c.account, connections.c.key_encrypted).where(
                    connections.c.key_encrypted.is_not(None)
                )
            )
        )
    old, lost = 0, []
    for row in stored:
        token = row.key_encrypted.encode()
        try:
            installation.tools.fernet.decrypt(token)
        except InvalidToken:
            lost.append(row.account)
            continue
        try:
            newest.decrypt(token)
        except InvalidToken:
            old += 1
    if lost:
        shown = ", ".join(lost[:5]) + (" ..." if len(lost) > 5 else "")
        yield bad(
            "keys",
            f"{len(lost)} stored API keys cannot be decrypted: {shown}",
            "put the old key back into TIMBRADO_ENCRYPTION_KEYS, or connect these accounts again",
        )
    elif old:
        yield warn("keys", f"{old} of {len(stored)} stored API keys use an older key", "timbrado rotate-keys")
    else:
        yield ok("keys", f"{len(stored)} stored API keys fit TIMBRADO_ENCRYPTION_KEYS")


def check_provider(installation: Installation) -> CheckResults:
    """Name the providers that are taken for down, the waits that they asked for, and answers nobody understood."""
    now = installation.tools.clock.now()
    with installation.tools.engine.connect() as db:
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


def check_connections(installation: Installation) -> CheckResults:
    """Report each account's connection."""
    found = summaries(installation.tools)
    if not found:
        yield warn("connection", "no account is connected", "timbrado connect ACCOUNT")
    shown: Counter[str] = Counter()
    for each in found:
        shown[each["status"]] += 1
        if each["status"] == "active" and shown["active"] > SHOWN:
            continue
        name = f"{each['account']}: {each['status']}"
        waiting = f", {each['on_hold']:,} invoices on hold" if each["on_hold"] else ""
        if each["status"] == "broken":
            yield warn("connection", f"{name}, {each['reason']}{waiting}", f"{each['message']} {each['fix']}")
        elif each["status"] == "disconnected":
            yield (
                warn("connection", f"{name}{waiting}", f"timbrado connect {each['account']}")
                if each["on_hold"]
                else ok("connection", name)
            )
        elif each["status"] == "pending":
            yield warn("connection", f"{name}{waiting}", f"timbrado validate {each['account']}")
        elif each["paused"]:
            yield warn("connection", f"{name}, paused by an operator", f"timbrado release {each['account']}")
        else:
            stamps = f", {each['stamps_left']:,} stamps left" if each["stamps_left"] is not None else ""
            yield ok("connection", f"{name}, serie {each['serie']}{stamps}")
    if shown["active"] > SHOWN:
        yield ok("connection", f"{shown['active'] - SHOWN:,} more are active: timbrado connections")


def check_invoices(installation: Installation) -> CheckResults:
    """Find what is overdue, what is urgent and what needs a person."""
    now = installation.tools.clock.now()

    def count(*which: Any) -> int:
        return int(
            db.execute(
                sa.select(sa.func.count())
                .select_from(invoices.outerjoin(connections, connections.c.account == invoices.c.account))
                .where(*which)
            ).scalar_one()
        )

    usable = (connections.c.status == "active", connections.c.paused.is_(False))
    with installation.tools.engine.connect() as db:
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
            invoices.c.doubt_since < now - 2 * installation.tools.policy.quarantine,
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


def check_events(installation: Installation) -> CheckResults:
    """See whether Apunto learns what happens."""
    tools = installation.tools
    now = tools.clock.now()
    with tools.engine.connect() as db:
        found = backlogs(db)
        channels = installed.current(db)
        far = {channel: endpoints.state(db, channel) for channel in channels}
    if not channels:
        yield warn(
            "events",
            "they leave over no channel: the workers have neither a webhook nor a task",
            "set TIMBRADO_WEBHOOK_URL and _SECRET, or TIMBRADO_EVENTS_TASK and _QUEUE, where the workers run",
        )
    for channel, state in far.items():
        if state is not None and state.disabled_at is not None:
            yield bad(
                "events",
                f"the {channel} is switched off: {state.disabled_reason}",
                "set another address, or fix it and `timbrado events replay --dead`",
            )
        elif state is not None and state.failures >= endpoints.FAILING:
            yield warn(
                "events", f"the {channel} failed {state.failures} times in a row", "look at Apunto's receiver"
            )
    well = True
    for each in found:
        if each.status == "dead":
            well = False
            text = f"{each.count:,} over {each.channel} were given up"
            yield warn(
                "events", text, "timbrado events list --status dead, then timbrado events replay --dead"
            )
        elif each.oldest_at < now - OLD_DELIVERY:
            well = False
            text = (
                f"{each.count:,} over {each.channel} wait, the oldest since {format.ago(each.oldest_at, now)}"
            )
            yield warn("events", text, "look at Apunto's receiver: timbrado events list --status pending")
    if well and channels:
        waiting = sum(each.count for each in found if each.status == "pending")
        yield ok("events", f"sent by {', '.join(channels)}; {waiting:,} on their way")
